//! `bom.cdx.json`: a CycloneDX 1.6 ML-BOM (ECMA-424). The same inputs give the same bytes.

use super::entitlement::Base;
use super::manifest::Manifest;
use super::plan::PackPlan;
use crate::digest::{Hasher, Sha256};
use serde_json::{Value, json};

/// The bill of materials; private data stands in it by salted digest only.
pub(super) fn bom(plan: &PackPlan<'_>, manifest: &Manifest, derivative: Sha256) -> Vec<u8> {
    let bases: Vec<_> = plan.bases.iter().enumerate().map(|(i, base)| component_of(plan, i, base)).collect();
    let refs: Vec<_> = (0..bases.len()).map(base_ref).collect();
    let mut dependencies = vec![json!({"ref": "derivative", "dependsOn": refs})];
    dependencies.extend(refs.iter().map(|r| json!({"ref": r})));
    let tool = json!({"type": "application", "name": "sealwright", "version": env!("CARGO_PKG_VERSION")});
    let bom = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial_number(manifest, derivative),
        "version": 1,
        "metadata": {
            "timestamp": timestamp(manifest),
            "tools": {"components": [tool]},
            "manufacturer": {"name": plan.vendor},
            "component": the_product(plan, derivative),
        },
        "components": bases,
        "dependencies": dependencies,
    });
    let mut bytes = serde_json::to_vec_pretty(&bom).expect("a JSON value serialises");
    bytes.push(b'\n');
    bytes
}

/// Whole seconds, as the manifest has them.
fn timestamp(manifest: &Manifest) -> Option<String> {
    let seconds = i64::try_from(manifest.issued).ok()?;
    jiff::Timestamp::from_second(seconds).ok().map(|t| t.to_string())
}

fn base_ref(index: usize) -> String {
    format!("base-{index}")
}

/// A base as a component: its licences, and its fingerprint as properties.
fn component_of(plan: &PackPlan<'_>, index: usize, base: &Base) -> Value {
    let print = &base.fingerprint;
    let properties = [
        property("sealwright:base:weights:sha256", &print.weights),
        property("sealwright:base:config:sha256", &print.config),
        property("sealwright:base:tokenizer:sha256", &print.tokenizer),
        property("sealwright:base:template:sha256", &print.template),
    ];
    json!({
        "bom-ref": base_ref(index),
        "type": "machine-learning-model",
        "name": base.name,
        "licenses": licenses(&plan.papers.licenses),
        "properties": properties,
    })
}

fn the_product(plan: &PackPlan<'_>, derivative: Sha256) -> Value {
    let ancestors: Vec<_> =
        plan.bases.iter().map(|b| json!({"type": "machine-learning-model", "name": b.name})).collect();
    let metrics: Vec<_> = plan.metrics.iter().map(|(name, value)| json!({"type": name, "value": value})).collect();
    json!({
        "bom-ref": "derivative",
        "type": "machine-learning-model",
        "name": plan.product.name,
        "version": plan.product.version,
        "description": plan.product.title,
        "licenses": [license(plan.terms)],
        "pedigree": {"ancestors": ancestors},
        "modelCard": {
            "modelParameters": parameters(plan, derivative),
            "quantitativeAnalysis": {"performanceMetrics": metrics},
            "considerations": {"useCases": [plan.purpose]},
        },
    })
}

/// What goes in and out is known of an adapter alone: of another derivative the files are, and no more.
fn parameters(plan: &PackPlan<'_>, derivative: Sha256) -> Value {
    let datasets = data_sets(plan, derivative);
    match plan.recipe {
        None => json!({"datasets": datasets}),
        Some(_) => json!({
            "task": "text-generation",
            "datasets": datasets,
            "inputs": [{"format": "text"}],
            "outputs": [{"format": "text"}],
        }),
    }
}

fn data_sets(plan: &PackPlan<'_>, derivative: Sha256) -> Vec<Value> {
    let mut salt = Hasher::default();
    salt.update(b"sealwright/1 data salt\0");
    salt.update(&derivative.0);
    let salt = salt.finish();
    let set = |(i, digest): (usize, &Sha256)| {
        let mut salted = Hasher::default();
        salted.update(&salt.0);
        salted.update(&digest.0);
        json!({
            "type": "dataset",
            "name": format!("training data {}", i + 1),
            "classification": "private",
            "contents": {"properties": [property("sealwright:data:salted-sha256", &salted.finish())]},
            "governance": {"owners": [{"organization": {"name": plan.vendor}}]},
        })
    };
    plan.data.iter().enumerate().map(set).collect()
}

fn property(name: &str, digest: &Sha256) -> Value {
    json!({"name": name, "value": digest})
}

/// All of them bind together: an SPDX expression, where there are several.
fn licenses(ids: &[String]) -> Vec<Value> {
    match ids {
        [_, _, ..] => vec![json!({"expression": ids.join(" AND ")})],
        ids => ids.iter().map(|id| license(id)).collect(),
    }
}

/// An id where SPDX lists it, else a name.
fn license(id: &str) -> Value {
    let key = if spdx::license_id(id).is_some() { "id" } else { "name" };
    json!({"license": {key: id}})
}

/// A UUID of version 8 (RFC 9562): the first 122 free bits of a digest over what makes this bundle this one.
fn serial_number(manifest: &Manifest, derivative: Sha256) -> String {
    let mut bytes = Sha256::of_json(&("sealwright/1 bom", manifest, derivative)).0;
    bytes[6] = 0x80 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    let hex = Sha256(bytes).to_string();
    format!("urn:uuid:{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
}

//! `bom.cdx.json`: a CycloneDX 1.6 ML-BOM (ECMA-424). The same inputs give the same bytes.

use super::manifest::Manifest;
use super::seal::PackPlan;
use crate::digest::{Hasher, Sha256};
use serde_json::{Value, json};

/// The bill of materials; private data stands in it by salted digest only.
pub(super) fn bom(plan: &PackPlan<'_>, manifest: &Manifest, derivative: Sha256) -> Vec<u8> {
    let bases: Vec<_> = plan.bases.iter().enumerate().map(|(i, base)| {
        let print = &base.fingerprint;
        let components = [("weights", print.weights), ("config", print.config), ("tokenizer", print.tokenizer), ("template", print.template)];
        let properties: Vec<_> =
            components.iter().map(|(name, digest)| property(&format!("sealwright:base:{name}:sha256"), digest)).collect();
        let licenses: Vec<_> = plan.papers.licenses.iter().map(|id| license(id)).collect();
        json!({"bom-ref": format!("base-{i}"), "type": "machine-learning-model", "name": base.name, "licenses": licenses, "properties": properties})
    }).collect();
    let refs: Vec<_> = (0..bases.len()).map(|i| format!("base-{i}")).collect();
    let mut dependencies = vec![json!({"ref": "derivative", "dependsOn": refs})];
    dependencies.extend(refs.iter().map(|r| json!({"ref": r})));
    let bom = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial_number(manifest, derivative),
        "version": 1,
        "metadata": {
            "timestamp": plan.issued.to_string(),
            "tools": {"components": [{"type": "application", "name": "sealwright", "version": env!("CARGO_PKG_VERSION")}]},
            "manufacturer": {"name": plan.vendor},
            "component": component(plan, derivative),
        },
        "components": bases,
        "dependencies": dependencies,
    });
    let mut bytes = serde_json::to_vec_pretty(&bom).expect("a JSON value serialises");
    bytes.push(b'\n');
    bytes
}

fn component(plan: &PackPlan<'_>, derivative: Sha256) -> Value {
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
            "modelParameters": {"task": "text-generation", "datasets": data_sets(plan, derivative), "inputs": [{"format": "text"}], "outputs": [{"format": "text"}]},
            "quantitativeAnalysis": {"performanceMetrics": metrics},
            "considerations": {"useCases": [plan.purpose]},
        },
    })
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

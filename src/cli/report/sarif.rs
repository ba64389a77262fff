//! The report as SARIF 2.1.0: one rule a kind of finding, one result a finding, one run a base.

use super::super::explain;
use super::common::{self, Judged};
use super::places::{Place, Places};
use sealwright::digest::Sha256;
use sealwright::license::{DISCLAIMER, Finding, FindingCode, Severity};
use serde_json::{Value, json};

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The whole log.
pub fn log(judged: &[Judged], places: &Places) -> Value {
    let runs: Vec<Value> = judged.iter().map(|j| run(j, places)).collect();
    json!({"$schema": SCHEMA, "version": "2.1.0", "runs": runs})
}

fn run(judged: &Judged, places: &Places) -> Value {
    let report = &judged.report;
    let results: Vec<Value> = report.findings().iter().map(|f| result(f, &places.of(f, &judged.base))).collect();
    json!({
        "tool": {"driver": {
            "name": "sealwright",
            "version": env!("CARGO_PKG_VERSION"),
            "semanticVersion": env!("CARGO_PKG_VERSION"),
            "fullDescription": {"text": DISCLAIMER},
            "rules": FindingCode::ALL.iter().map(|code| rule(*code)).collect::<Vec<_>>(),
        }},
        "automationDetails": {"id": format!("sealwright check/{}", judged.name)},
        "invocations": [{"executionSuccessful": true}],
        "columnKind": "unicodeCodePoints",
        "results": results,
        "properties": {
            "verdict": report.verdict(),
            "customers": report.customers(),
            "licenses": report.licenses(),
            "records": report.records(),
            "obligations": report.obligations(),
            "rulings": report.rulings(),
            "digests": report.digests(),
            "judged": report.judged(),
            "expires": report.expires(),
        },
    })
}

fn rule(code: FindingCode) -> Value {
    let page = explain::page(code.name()).unwrap_or_default();
    let (first, rest) = page.split_once('\n').unwrap_or((page, ""));
    let full = if rest.trim().is_empty() { first } else { rest.trim() };
    json!({
        "id": code.name(),
        "shortDescription": {"text": first},
        "fullDescription": {"text": full},
        "help": {"text": page, "markdown": page},
        "defaultConfiguration": {"level": level(code.floor())},
        "properties": {"term": code.term()},
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Deny => "error",
        Severity::Review => "warning",
        Severity::Obligation | Severity::Note => "note",
    }
}

fn result(finding: &Finding, places: &[Place]) -> Value {
    let clause = common::clause(finding).map_or(String::new(), |clause| format!(" ({clause})"));
    let asked = finding.question.as_ref().map_or(String::new(), |question| format!(" {question}"));
    let identity = (&finding.license, &finding.subject, &finding.term, &finding.customer);
    let mut result = json!({
        "ruleId": finding.code.name(),
        "ruleIndex": FindingCode::ALL.iter().position(|code| *code == finding.code),
        "level": level(finding.severity),
        "message": {"text": format!("{}{clause}.{asked} Remedy: {}.", finding.message, finding.remedy)},
        "locations": places.iter().take(1).map(location).collect::<Vec<_>>(),
        "relatedLocations": places.iter().skip(1).map(location).collect::<Vec<_>>(),
        "partialFingerprints": {"finding/v1": Sha256::of_json(&(finding.code, identity))},
        "properties": finding,
    });
    if let Some(ruled) = &finding.ruled {
        let why = common::lifted(ruled);
        result["suppressions"] = json!([{"kind": "external", "status": "accepted", "justification": why}]);
    }
    result
}

fn location(place: &Place) -> Value {
    json!({"physicalLocation": {
        "artifactLocation": {"uri": place.uri},
        "region": {"startLine": place.line},
    }})
}

//! What changes if the base is another one: verdicts, findings and duties gone and new.

use super::common::{self, Judged};
use sealwright::license::{Finding, Obligation, Report};
use std::fmt::Write as _;

/// Each base after the first beside the first; nothing for one base alone.
pub fn compared(judged: &[Judged]) -> String {
    let [first, others @ ..] = judged else { return String::new() };
    let mut out = String::new();
    for other in others {
        let _ = writeln!(out, "\n{} instead of {}", other.base.display(), first.base.display());
        verdicts(&mut out, &first.report, &other.report);
        let (before, after) = (entries(&first.report), entries(&other.report));
        let mut changes = 0;
        for (sign, of, against) in [("gone", &before, &after), ("new", &after, &before)] {
            for (_, words) in of.iter().filter(|(key, _)| !against.iter().any(|(k, _)| k == key)) {
                let _ = writeln!(out, "  {sign}: {words}");
                changes += 1;
            }
        }
        if changes == 0 {
            out.push_str("  the same findings and duties\n");
        }
    }
    out
}

fn verdicts(out: &mut String, first: &Report, other: &Report) {
    let change = |before: &str, after: &str| {
        if before == after { format!("{after}, as before") } else { format!("{before} -> {after}") }
    };
    let _ = writeln!(out, "  verdict: {}", change(first.verdict().name(), other.verdict().name()));
    for (before, after) in first.customers().iter().zip(other.customers()).filter(|(a, b)| a.verdict != b.verdict) {
        let _ = writeln!(out, "  for {}: {}", after.name, change(before.verdict.name(), after.verdict.name()));
    }
}

/// What two bases are compared by, and how it reads: a finding by its code, term and customer, a duty by its kind and set words.
fn entries(report: &Report) -> Vec<(String, String)> {
    let mut entries: Vec<(String, String)> = report.findings().iter().map(finding).collect();
    entries.extend(report.obligations().iter().map(duty));
    let mut seen = std::collections::BTreeSet::new();
    entries.retain(|(key, _)| seen.insert(key.clone()));
    entries
}

fn finding(finding: &Finding) -> (String, String) {
    let customer = finding.customer.as_ref().map_or(String::new(), |c| format!(" for {c}"));
    let severity = common::severity(finding.severity);
    let what = format!("{severity} {}{customer}", finding.code.name());
    let clause = common::clause(finding).map_or(String::new(), |clause| format!(" ({clause})"));
    (format!("{what} {}", finding.term), format!("{what}{clause}"))
}

fn duty(duty: &Obligation) -> (String, String) {
    let words = duty.words.as_ref().map_or(String::new(), |w| format!(": {w}"));
    let what = format!("duty {}{words}", duty.term);
    (what.clone(), format!("{what} ({}, clause {})", duty.license, duty.clause))
}

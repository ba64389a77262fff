//! What became of something that was shipped, for a terminal.

use super::super::say::visible;
use super::common;
use super::compare::{duty, step};
use super::text::{hanging, wrapped};
use sealwright::license::{FactChange, Finding, Said, Shipped, Watched};
use std::fmt::Write as _;

/// One paragraph.
pub fn watched(shipped: &Shipped, found: &Watched) -> String {
    let mut out = format!("{} for {}, judged on {}: ", shipped.product, shipped.customer, shipped.on);
    let changes = &found.changes;
    if found.is_unchanged() {
        let _ = writeln!(out, "unchanged, {}", changes.verdict.is.name());
        return out;
    }
    let _ = writeln!(out, "{}", if found.is_worse() { "worse" } else { "changed" });
    let _ = writeln!(out, "  verdict: {}", step(changes.verdict));
    if !found.bound.is_empty() {
        out.push_str(&hanging(&format!("another one than then: {}", found.bound.join(", ")), "  "));
    }
    found.facts.iter().for_each(|f| out.push_str(&fact(f)));
    for ruling in &found.lapsed {
        let line = format!("ruling on {} ({}): {}", ruling.code.name(), visible(&ruling.subject), ruling.state);
        out.push_str(&hanging(&line, "  "));
    }
    for (sign, part) in [("gone", &changes.gone), ("new", &changes.new)] {
        part.findings.iter().for_each(|f| out.push_str(&finding(sign, f)));
        part.obligations.iter().for_each(|d| out.push_str(&hanging(&format!("{sign}: {}", duty(d)), "  ")));
    }
    out
}

/// `record of MIT, share-alike: none (clause 1) -> strong (clause 2)`
fn fact(change: &FactChange) -> String {
    let side = |of: &[Said]| match of {
        [] => "nothing".to_owned(),
        of => of.iter().map(|s| format!("{} ({})", s.value, s.clause)).collect::<Vec<_>>().join("; "),
    };
    let line = format!("record of {}, {}: {} -> {}", change.license, change.term, side(&change.was), side(&change.is));
    hanging(&visible(&line), "  ")
}

fn finding(sign: &str, finding: &Finding) -> String {
    let clause = common::clause(finding).map_or(String::new(), |clause| format!(" ({clause})"));
    let severity = common::severity(finding.severity);
    let head = format!("{sign}: {severity} {}{clause}, decided by {}", finding.code.name(), common::policy(finding));
    let question =
        finding.question.as_ref().map_or(String::new(), |q| wrapped(&format!("question: {}", visible(q)), "        "));
    hanging(&head, "  ") + &wrapped(&visible(&finding.message), "        ") + &question
}

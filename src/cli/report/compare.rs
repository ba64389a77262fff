//! What changes if the base is another one: verdicts, findings and duties gone and new.

use super::super::say::visible;
use super::common::{self, Judged};
use sealwright::license::{Account, Changes, Finding, Obligation, Part, Sameness, Step};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Each base after the first beside the first; nothing for one base alone.
fn changes(judged: &[Judged]) -> Vec<(&Judged, &Judged, Changes)> {
    let Some((first, others)) = judged.split_first() else { return Vec::new() };
    let before = Account::from(&first.report);
    others.iter().map(|other| (first, other, before.changes(&Account::from(&other.report), Sameness::Kind))).collect()
}

/// The bases, each in a few lines, and then what changes; for a terminal.
pub fn compared(judged: &[Judged]) -> String {
    judged.iter().map(base).collect::<String>() + &changed(judged)
}

fn base(judged: &Judged) -> String {
    let mut licenses: Vec<&str> =
        judged.report.licenses().iter().map(|l| l.id.as_deref().unwrap_or("unknown")).collect();
    licenses.dedup();
    format!("{}\n  {}, under {}\n", visible(&judged.name), judged.report.verdict().name(), licenses.join(" and "))
}

/// What changes with each base after the first.
pub fn changed(judged: &[Judged]) -> String {
    let one = |(first, other, changes): (&Judged, &Judged, Changes)| {
        format!("\n{} instead of {}\n{}", visible(&other.name), visible(&first.name), lines(&changes))
    };
    changes(judged).into_iter().map(one).collect()
}

/// All bases as one JSON document: the reports, and what changes.
pub fn document(judged: &[Judged]) -> Value {
    let base = |j: &Judged| json!({"base": j.name, "report": j.report});
    let one = |(first, other, changes): (&Judged, &Judged, Changes)| json!({"from": first.name, "to": other.name, "changes": changes});
    json!({
        "bases": judged.iter().map(base).collect::<Vec<_>>(),
        "comparisons": changes(judged).into_iter().map(one).collect::<Vec<_>>(),
    })
}

/// Changes, a line each.
pub fn lines(changes: &Changes) -> String {
    let mut out = format!("  verdict: {}\n", step(changes.verdict));
    for customer in &changes.customers {
        let _ = writeln!(out, "  for {}: {}", customer.name, step(customer.verdict));
    }
    if changes.gone == Part::default() && changes.new == Part::default() {
        out.push_str("  the same findings and duties\n");
    }
    for (sign, part) in [("gone", &changes.gone), ("new", &changes.new)] {
        for words in part.findings.iter().map(finding).chain(part.obligations.iter().map(duty)) {
            let _ = writeln!(out, "  {sign}: {words}");
        }
    }
    out
}

/// `deny -> allow`, or that it is as before.
pub fn step(step: Step) -> String {
    let (was, is) = (step.was.name(), step.is.name());
    if was == is { format!("{is}, as before") } else { format!("{was} -> {is}") }
}

fn finding(finding: &Finding) -> String {
    let customer = finding.customer.as_ref().map_or(String::new(), |c| format!(" for {c}"));
    let clause = common::clause(finding).map_or(String::new(), |clause| format!(" ({clause})"));
    format!("{} {}{customer}{clause}", common::severity(finding.severity), finding.code.name())
}

/// A duty in one line.
pub fn duty(duty: &Obligation) -> String {
    let words = duty.words.as_ref().map_or(String::new(), |w| format!(": {w}"));
    format!("duty {}{words} ({})", duty.term, common::clause_of(&duty.license, &duty.clause))
}

//! The path from evidence to verdict, for a terminal.

use super::super::say::visible;
use super::common;
use super::text::{hanging, wrapped};
use sealwright::license::{Finding, ReadText, Trace, Why};
use std::fmt::Write as _;

/// One paragraph a piece of evidence, then what the policy decides.
pub fn path(why: &Why) -> String {
    let mut out = format!("term: {}\n", why.term);
    if let Some(meaning) = &why.meaning {
        let _ = writeln!(out, "  {meaning}");
    }
    why.traces.iter().for_each(|t| trace(&mut out, t));
    if !why.evidence.is_empty() {
        out.push_str("\non the whole\n");
        why.evidence.iter().for_each(|f| finding(&mut out, f));
    }
    if !why.possible.is_empty() {
        out.push_str("\nthe policy on this term's findings\n");
    }
    for possible in &why.possible {
        let severity = common::severity(possible.severity);
        let _ = writeln!(out, "  {}: {severity}, by {}", possible.code.name(), possible.policy);
    }
    let _ = writeln!(out, "\nof this term: {}\nverdict: {}", why.of_term.name(), why.verdict.name());
    out
}

fn trace(out: &mut String, trace: &Trace) {
    let listed = &trace.listed;
    let id = listed.id.as_deref().unwrap_or("unknown");
    let _ = writeln!(out, "\n{} ({}) -> {id}", visible(&listed.of), common::how(listed));
    if let Some(basis) = &listed.basis {
        out.push_str(&hanging(&format!("known from: {}", visible(basis)), "  "));
    }
    if let Some(reading) = &trace.reading {
        out.push_str(&hanging(&format!("record: {}", common::reading(reading)), "  "));
        reading.texts.iter().for_each(|t| text(out, t));
    }
    for said in &trace.says {
        let _ = writeln!(out, "  says: {} (clause {})", visible(&said.value), said.clause);
    }
    if trace.says.is_empty() && listed.id.is_some() {
        out.push_str("  says: nothing on it\n");
    }
    for duty in &trace.obligations {
        let unmet = duty.unmet.as_ref().map_or(String::new(), |why| format!("; cannot be met yet: {why}"));
        let _ = writeln!(out, "  duty: by {}{unmet}", duty.done_by.name());
    }
    trace.findings.iter().for_each(|f| finding(out, f));
    if trace.findings.is_empty() {
        out.push_str("  no finding\n");
    }
}

/// A text of a record: its whole digest, and where it was had.
fn text(out: &mut String, text: &ReadText) {
    let source = text.source.as_deref().unwrap_or("no source stated");
    match text.sha256 {
        Some(digest) => {
            let _ = writeln!(out, "      {digest}");
            out.push_str(&wrapped(&visible(source), "        "));
        }
        None => out.push_str(&wrapped(&format!("not at hand: {}", visible(source)), "      ")),
    }
}

fn finding(out: &mut String, finding: &Finding) {
    let clause = finding.clause.as_ref().map_or(String::new(), |c| format!(", clause {c}"));
    let customer = finding.customer.as_ref().map_or(String::new(), |c| format!(", for {c} only"));
    let ruled = finding.ruled.as_ref().map_or(String::new(), |r| format!(", {}", common::lifted(r)));
    let severity = common::severity(finding.severity);
    let _ = writeln!(
        out,
        "  finding: {}, {severity} by {}{clause}{customer}{ruled}\n      {}",
        finding.code.name(),
        common::policy(finding),
        visible(&finding.message)
    );
    if let Some(question) = &finding.question {
        out.push_str(&wrapped(&format!("question: {}", visible(question)), "      "));
    }
}

//! The report for a terminal.

use super::super::say::visible;
use super::common;
use sealwright::license::{DISCLAIMER, Finding, Report, Severity};
use std::fmt::Write as _;

/// The report, readable without colour.
pub fn text(report: &Report) -> String {
    let mut out = format!("verdict: {}\n", report.verdict().name());
    for customer in report.customers() {
        let _ = writeln!(out, "  for {}: {}", customer.name, customer.verdict.name());
    }
    out.push_str("\nlicences\n");
    for listed in report.licenses() {
        let id = listed.id.as_deref().unwrap_or("unknown");
        let _ = writeln!(out, "  {id}  {}: {}", common::how(listed), visible(&listed.of));
    }
    for (title, findings) in common::findings(report) {
        let _ = writeln!(out, "\n{title}");
        findings.iter().for_each(|f| finding(&mut out, f));
    }
    obligations(&mut out, report);
    for ruling in report.rulings() {
        let _ = writeln!(out, "\nruling on {} ({}): {}", ruling.code.name(), visible(&ruling.subject), ruling.state);
    }
    let _ = writeln!(out, "\n{DISCLAIMER}");
    out
}

fn finding(out: &mut String, finding: &Finding) {
    let _ = writeln!(out, "  {}: {}", finding.code.name(), visible(&finding.message));
    let clause = common::clause(finding).map_or(String::new(), |clause| clause + "; ");
    let customer = finding.customer.as_ref().map_or(String::new(), |c| format!(", for {c} only"));
    let _ = writeln!(out, "      {clause}decided by {}{customer}", common::policy(finding));
    match &finding.ruled {
        Some(ruled) => {
            let _ = writeln!(out, "      lifted by a ruling of {} on {}", visible(&ruled.by), ruled.on);
        }
        None if finding.severity > Severity::Note => {
            let _ = writeln!(out, "      remedy: {}", visible(&finding.remedy));
        }
        None => {}
    }
}

fn obligations(out: &mut String, report: &Report) {
    for (title, duties) in common::duties(report) {
        let _ = writeln!(out, "\n{title}");
        for duty in duties {
            let _ = writeln!(out, "  {} ({}, clause {})\n      {}", duty.term, duty.license, duty.clause, duty.how);
            if let Some(words) = &duty.words {
                let _ = writeln!(out, "      words: {words}");
            }
            if let Some(unmet) = &duty.unmet {
                let _ = writeln!(out, "      cannot be met yet: {unmet}");
            }
        }
    }
}

//! The report for a terminal.

use super::super::say::visible;
use super::common::{self, Judged};
use sealwright::license::{DISCLAIMER, DoneBy, Finding, Report, Severity, Verdict};
use std::fmt::Write as _;

/// Columns of a line, where words allow it.
const WIDTH: usize = 100;

/// The report, readable without colour.
pub fn text(judged: &Judged) -> String {
    let report = &judged.report;
    let mut out = format!("verdict: {}\n", report.verdict().name());
    for customer in report.customers() {
        let _ = writeln!(out, "  for {}: {}", customer.name, customer.verdict.name());
    }
    out.push_str(&wrapped(&next(report), "  "));
    out.push_str("\nlicences\n");
    if report.licenses().is_empty() {
        out.push_str("  none was found\n");
    }
    for listed in report.licenses() {
        let id = listed.id.as_deref().unwrap_or("unknown");
        let _ = writeln!(out, "  {id}, known by {}: {}", common::how(listed), common::of(listed));
        if let Some(basis) = &listed.basis {
            out.push_str(&wrapped(&format!("known from: {}", visible(basis)), "      "));
        }
    }
    if !report.records().is_empty() {
        out.push_str("\nwhat the facts were read from\n");
    }
    for (id, reading) in report.records() {
        out.push_str(&hanging(&format!("{id}: {}", common::reading(reading)), "  "));
    }
    for (title, findings) in common::findings(report) {
        let _ = writeln!(out, "\n{title}");
        findings.iter().for_each(|f| finding(&mut out, f));
    }
    obligations(&mut out, report);
    if !report.rulings().is_empty() {
        out.push_str("\nrulings\n");
    }
    for ruling in report.rulings() {
        let _ = writeln!(out, "  {} ({}): {}", ruling.code.name(), visible(&ruling.subject), ruling.state);
    }
    let _ = writeln!(out, "\njudged on {}; a clearance would hold until {}", report.judged(), report.expires());
    out.push_str(&wrapped(DISCLAIMER, ""));
    out
}

/// What the reader does next.
fn next(report: &Report) -> String {
    let count = |severity| report.findings().iter().filter(|f| f.severity == severity).count();
    let unmet = report.obligations().iter().filter(|o| o.unmet.is_some()).count();
    let yours = report.obligations().iter().filter(|o| o.done_by == DoneBy::Vendor).count();
    let blocked = if unmet == 0 { "" } else { "; `pack` refuses until every duty can be met" };
    match report.verdict() {
        Verdict::Deny => format!("next: follow the remedies under `forbidden`; no ruling lifts a deny{blocked}"),
        Verdict::NeedsReview => {
            let open = common::counted(count(Severity::Review), "finding needs", "findings need");
            format!(
                "next: {open} a person's answer: `sealwright explain CODE`, then `sealwright rule FOLDER CODE \
                 --by ROLE --reason TEXT`{blocked}"
            )
        }
        Verdict::AllowWithObligations | Verdict::Allow if yours > 0 => {
            format!("next: {} yours to meet, listed last{blocked}", common::counted(yours, "duty is", "duties are"))
        }
        Verdict::AllowWithObligations | Verdict::Allow => format!("next: nothing is left to you{blocked}"),
    }
}

fn finding(out: &mut String, finding: &Finding) {
    let head = format!("{}: {}", finding.code.name(), visible(&finding.message));
    out.push_str(&hanging(&head, "  "));
    let clause = common::clause(finding).map_or(String::new(), |clause| clause + "; ");
    let customer = finding.customer.as_ref().map_or(String::new(), |c| format!(", for {c} only"));
    let by = format!("{clause}decided by {}{customer}", common::policy(finding));
    out.push_str(&wrapped(&by, "      "));
    if let Some(basis) = &finding.basis {
        out.push_str(&wrapped(&format!("known from: {}", visible(basis)), "      "));
    }
    if let Some(question) = &finding.question {
        out.push_str(&wrapped(&format!("question: {}", visible(question)), "      "));
    }
    let then = match &finding.ruled {
        Some(ruled) => common::lifted(ruled),
        None if finding.severity > Severity::Note => format!("remedy: {}", visible(&finding.remedy)),
        None => return,
    };
    out.push_str(&wrapped(&then, "      "));
}

fn obligations(out: &mut String, report: &Report) {
    for (title, duties) in common::duties(report) {
        let _ = writeln!(out, "\n{title}");
        for duty in duties {
            let head = format!("{} ({})", duty.term, common::clause_of(&duty.license, &duty.clause));
            out.push_str(&hanging(&head, "  "));
            out.push_str(&wrapped(&duty.how, "      "));
            if let Some(words) = &duty.words {
                let _ = writeln!(out, "      words: {words}");
            }
            if let Some(unmet) = &duty.unmet {
                out.push_str(&wrapped(&format!("cannot be met yet: {unmet}"), "      "));
            }
        }
    }
}

/// A first line at `indent`, the others further in.
pub fn hanging(text: &str, indent: &str) -> String {
    let text = wrapped(text, &format!("{indent}    "));
    format!("{indent}{}", text.trim_start())
}

/// Lines of at most [`WIDTH`] columns, each after `indent`; a longer word stays whole.
pub fn wrapped(text: &str, indent: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut used = 0;
        for word in line.split_whitespace() {
            let wide = word.chars().count();
            let (before, start) = match used {
                0 => (indent, indent.len()),
                used if used + 1 + wide > WIDTH => (&*format!("\n{indent}"), indent.len()),
                used => (" ", used + 1),
            };
            out.push_str(before);
            out.push_str(word);
            used = start + wide;
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_keep_their_indent() {
        let long = "word ".repeat(40);
        let text = wrapped(&long, "    ");
        assert!(text.lines().all(|l| l.starts_with("    word") && l.len() <= WIDTH && !l.ends_with(' ')), "{text}");
        assert_eq!(text.split_whitespace().count(), 40);
        assert_eq!(wrapped(&"x".repeat(200), ""), "x".repeat(200) + "\n");
        assert_eq!(hanging("a b", "  "), "  a b\n");
        assert_eq!(wrapped("a\nb", " "), " a\n b\n");
    }
}

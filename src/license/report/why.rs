//! The path from evidence to verdict for one term: which text or claim, which record, what it says and where, which
//! finding, by which line of the policy. It reads a report and judges nothing anew.

use crate::data::nearest;
use crate::error::{Code, Error, Result};
use crate::license::facts::policy::Policies;
use crate::license::facts::reading::Reading;
use crate::license::finding::{Finding, FindingCode, Severity};
use crate::license::report::says::{Said, says};
use crate::license::rules::member::Listed;
use crate::license::rules::obligations::Obligation;
use crate::license::verdict::{Report, Verdict};
use serde::Serialize;

/// Everything that bears on one term.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Why {
    /// A fact, a kind of duty, or what else findings are about.
    pub term: String,
    /// By the vocabulary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<String>,
    /// One a licence that is listed.
    pub traces: Vec<Trace>,
    /// Findings on the base as a whole, and on what is not listed.
    pub evidence: Vec<Finding>,
    /// What the policy decides on the term's findings, made or not.
    pub possible: Vec<Possible>,
    /// The worst of the term's findings.
    pub of_term: Verdict,
    /// The worst of all findings.
    pub verdict: Verdict,
}

/// From one piece of evidence to its findings.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Trace {
    /// The file, model or data file, and the licence it led to.
    #[serde(flatten)]
    pub listed: Listed,
    /// From what the licence's record was read; nothing where there is no record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reading: Option<Reading>,
    /// What the record says on the term.
    pub says: Vec<Said>,
    /// What came of it.
    pub findings: Vec<Finding>,
    /// Duties of that kind under this use.
    pub obligations: Vec<Obligation>,
}

/// A kind of finding on the term.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Possible {
    /// Its code.
    pub code: FindingCode,
    /// What the policy decides on it.
    pub severity: Severity,
    /// The line that decides.
    pub policy: String,
}

/// The path for one term, or for the term of one code.
pub fn why(asked: &str, report: &Report, policies: &Policies) -> Result<Why> {
    let term = term_of(asked, policies)?;
    let about = |f: &&Finding| f.term == term || f.code.term() == term;
    let findings: Vec<&Finding> = report.findings().iter().filter(about).collect();
    let traces: Vec<Trace> = report.licenses().iter().map(|l| trace(&term, l, &findings, report, policies)).collect();
    let traced = |f: &&&Finding| traces.iter().any(|t| t.findings.contains(f));
    let possible = FindingCode::ALL.iter().filter(|c| c.term() == term).map(|code| {
        let decision = policies.decision(*code, report.judged());
        Possible { code: *code, severity: decision.severity, policy: decision.place.clone() }
    });
    Ok(Why {
        meaning: policies.meaning(&term).map(String::from),
        evidence: findings.iter().filter(|f| !traced(f)).map(|f| (*f).clone()).collect(),
        possible: possible.collect(),
        of_term: findings.iter().map(|f| f.severity).max().map_or(Verdict::Allow, Verdict::from),
        verdict: report.verdict(),
        traces,
        term,
    })
}

fn trace(term: &str, listed: &Listed, findings: &[&Finding], report: &Report, policies: &Policies) -> Trace {
    let record = listed.id.as_deref().and_then(|id| policies.record(id));
    let own = |f: &&&Finding| f.subject == listed.of && (f.license.is_none() || f.license == listed.id);
    let duties = report.obligations().iter().filter(|o| o.term == term && Some(&o.license) == listed.id.as_ref());
    Trace {
        listed: listed.clone(),
        reading: record.map(Reading::of),
        says: record.map_or_else(Vec::new, |r| says(r, term)),
        findings: findings.iter().filter(own).map(|f| (*f).clone()).collect(),
        obligations: duties.cloned().collect(),
    }
}

/// The term that is meant: itself, or that of a code.
fn term_of(asked: &str, policies: &Policies) -> Result<String> {
    if let Ok(code) = asked.parse::<FindingCode>() {
        return Ok(code.term().to_owned());
    }
    let known = || policies.terms().chain(FindingCode::ALL.iter().map(|c| c.term()));
    if known().any(|term| term == asked) {
        return Ok(asked.to_owned());
    }
    let error = Error::new(Code::Usage, format!("no such term: {asked}"));
    let codes = FindingCode::ALL.iter().map(|c| c.name());
    Err(match nearest(asked, known().chain(codes)) {
        Some(word) => error.with_hint(format!("did you mean `{word}`?")),
        None => error.with_hint("name a fact or duty of policies/vocabulary.toml, or the code of a finding"),
    })
}

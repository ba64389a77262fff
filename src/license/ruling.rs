//! Rulings: a person's written answers to findings that ask for one. Each lifts one finding and binds the digests of
//! what was judged; it lapses with any of them, or on its own day. A `deny` is never lifted.

use super::finding::{FindingCode, Ruled, Severity};
use crate::data;
use crate::digest::Sha256;
use crate::error::{AtPath as _, Error, Result};
use crate::license::Finding;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// The file of rulings in a product's folder.
pub const FILE_NAME: &str = "rulings.toml";
/// It may not be larger than this.
const MAX_BYTES: u64 = 1 << 20;

/// Digests of everything that was judged, and where customers are: a ruling binds them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Digests {
    /// The base's licence files, card and parents.
    pub text: Sha256,
    /// Records, vocabulary, open spans, lineage.
    pub facts: Sha256,
    /// The organisation's decisions.
    pub policy: Sha256,
    /// The declared use.
    #[serde(rename = "use")]
    pub declared: Sha256,
    /// Where customers are: countries, and who has none stated.
    pub places: BTreeSet<String>,
}

/// `[[ruling]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ruling {
    /// The kind of finding that it answers.
    pub code: FindingCode,
    /// The licence, where the finding names one.
    pub license: Option<String>,
    /// What the finding is about.
    pub subject: String,
    /// The term at issue.
    pub term: String,
    /// The customer, where the finding concerns one only.
    pub customer: Option<String>,
    /// The role that answers for it.
    pub by: String,
    /// When it was given.
    pub on: jiff::civil::Date,
    /// The last day that it holds.
    pub until: Option<jiff::civil::Date>,
    /// Why. It never travels in a bundle.
    pub reason: String,
    /// Digest of the base's licence files, card and parents.
    pub text: Sha256,
    /// Digest of the records.
    pub facts: Sha256,
    /// Digest of the organisation's decisions.
    pub policy: Sha256,
    /// Digest of the declared use.
    #[serde(rename = "use")]
    pub declared: Sha256,
    /// Where customers were; it covers none elsewhere.
    #[serde(default)]
    pub places: BTreeSet<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RulingsFile {
    #[serde(default, rename = "ruling")]
    rulings: Vec<Ruling>,
}

/// What became of a ruling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RulingState {
    /// The kind of finding that it answers.
    pub code: FindingCode,
    /// The licence.
    pub license: Option<String>,
    /// What it is about.
    pub subject: String,
    /// `applied`, `unused`, or why it lapsed.
    pub state: String,
}

impl Ruling {
    /// An answer to this finding, bound to what was judged.
    pub fn answer(finding: &Finding, digests: &Digests, by: &str, reason: &str, on: jiff::civil::Date) -> Self {
        Self {
            code: finding.code,
            license: finding.license.clone(),
            subject: finding.subject.clone(),
            term: finding.term.clone(),
            customer: finding.customer.clone(),
            by: by.to_owned(),
            on,
            until: None,
            reason: reason.to_owned(),
            text: digests.text,
            facts: digests.facts,
            policy: digests.policy,
            declared: digests.declared,
            places: digests.places.clone(),
        }
    }

    /// Do both answer the same finding?
    pub fn is_on_the_same(&self, other: &Self) -> bool {
        (self.code, &self.license, &self.subject, &self.term, &self.customer)
            == (other.code, &other.license, &other.subject, &other.term, &other.customer)
    }

    /// Why it no longer holds.
    fn lapsed(&self, digests: &Digests, today: jiff::civil::Date) -> Option<String> {
        let bound = [
            ("the base's licence files, card or parents", self.text == digests.text),
            ("the records of licences", self.facts == digests.facts),
            ("the organisation's policy", self.policy == digests.policy),
            ("the declared use", self.declared == digests.declared),
        ];
        let changed: Vec<&str> = bound.iter().filter_map(|(what, same)| (!same).then_some(*what)).collect();
        if !changed.is_empty() {
            return Some(format!("lapsed: {} changed", changed.join(", ")));
        }
        let new: Vec<&str> = digests.places.difference(&self.places).map(String::as_str).collect();
        if !new.is_empty() {
            return Some(format!("lapsed: it was given before there was a customer in {}", new.join(", ")));
        }
        match self.until {
            Some(until) if until < today => Some(format!("lapsed: it held until {until}")),
            _ if self.on > today => Some(format!("not yet: it was given on {}", self.on)),
            _ => None,
        }
    }

    fn answers(&self, finding: &Finding) -> bool {
        self.code == finding.code
            && self.license == finding.license
            && self.subject == finding.subject
            && self.term == finding.term
            && self.customer == finding.customer
    }
}

/// The rulings of a file; none where there is no file.
pub fn read(path: &Path) -> Result<Vec<Ruling>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let file: RulingsFile = data::parse(path, &data::read_text(path, MAX_BYTES)?)?;
    Ok(file.rulings)
}

/// Writes a file of rulings.
pub fn write(path: &Path, rulings: Vec<Ruling>) -> Result<()> {
    let text = toml::to_string(&RulingsFile { rulings }).map_err(|e| Error::input(path, e))?;
    let head =
        "# Rulings. Each lifts one finding and lapses when what it was given for changes. Sign off by review.\n\n";
    data::write_atomically(path, |file| std::io::Write::write_all(file, (head.to_owned() + &text).as_bytes()).at(path))
}

/// Lifts what may be lifted; says what became of each ruling.
pub(super) fn apply(
    findings: &mut [Finding],
    rulings: &[Ruling],
    digests: &Digests,
    today: jiff::civil::Date,
) -> Vec<RulingState> {
    let mut states = Vec::new();
    for ruling in rulings {
        let mut state = ruling.lapsed(digests, today);
        let mut used = false;
        for finding in findings.iter_mut().filter(|f| f.ruled.is_none() && ruling.answers(f)) {
            match finding.severity {
                Severity::Deny => state = Some("not applied: a `deny` cannot be lifted".into()),
                Severity::Review if state.is_none() => {
                    finding.severity = Severity::Note;
                    finding.ruled = Some(Ruled { by: ruling.by.clone(), on: ruling.on });
                    used = true;
                }
                _ => {}
            }
        }
        let unapplied = || if used { "applied" } else { "unused" }.to_owned();
        states.push(RulingState {
            code: ruling.code,
            license: ruling.license.clone(),
            subject: ruling.subject.clone(),
            state: state.unwrap_or_else(unapplied),
        });
    }
    states
}

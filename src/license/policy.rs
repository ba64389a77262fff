//! The policies folder: facts, vocabulary, open spans, lineage, and an organisation's decisions with the line that
//! each stands on. A word that the vocabulary lacks is refused.

use super::facts::{Record, Role};
use super::finding::{FindingCode, Severity};
use super::lineage::Lineage;
use super::spans::{OpenSpan, SpansFile};
use crate::data::{self, Folder, nearest};
use crate::digest::Sha256;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use toml::Spanned;

/// The organisation's decisions in a policies folder.
const ORG: &str = "org/default.toml";

/// Everything that a check is judged by.
pub struct Policies {
    records: BTreeMap<String, Record>,
    vocabulary: Vocabulary,
    lineage: Lineage,
    pub(super) spans: Vec<OpenSpan>,
    pub(super) known: BTreeMap<Sha256, Vec<(String, Role)>>,
    decisions: BTreeMap<FindingCode, Decision>,
    forbidden_fields: BTreeSet<String>,
    clearance_days: u32,
    facts_digest: Sha256,
    policy_digest: Sha256,
}

/// What the organisation decided on a kind of finding.
#[derive(Debug, Clone)]
pub struct Decision {
    /// How bad it is.
    pub severity: Severity,
    /// File and line.
    pub place: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Org {
    clearance_days: u32,
    fields: Fields,
    severity: BTreeMap<String, Spanned<Severity>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    forbidden: Vec<String>,
}

/// `vocabulary.toml`: the closed list of words, and what they mean.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Vocabulary {
    #[serde(rename = "fact")]
    facts: Vec<FactWord>,
    #[serde(rename = "obligation")]
    obligations: Vec<ObligationWord>,
    /// Restricted fields of use.
    #[serde(rename = "field-of-use")]
    fields: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FactWord {
    name: String,
    /// For people, and for the test that compares them with the code's words.
    #[serde(rename = "values")]
    _values: Vec<String>,
    meaning: String,
}

/// A kind of duty.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ObligationWord {
    /// Its name.
    pub kind: String,
    /// What it asks.
    pub meaning: String,
    /// How it is met.
    pub satisfy: String,
    /// Who meets it.
    pub done_by: DoneBy,
}

/// Who meets a duty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DoneBy {
    /// `sealwright pack` writes it into the bundle.
    Pack,
    /// The pre-flight compares and refuses.
    Check,
    /// Only a person can.
    Vendor,
}

impl DoneBy {
    /// For people and papers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pack => "pack",
            Self::Check => "check",
            Self::Vendor => "vendor",
        }
    }
}

impl Policies {
    /// The policies that the program carries, or those of a folder laid out the same way.
    pub fn load(folder: Option<&Path>) -> Result<Self> {
        let files = match folder {
            Some(folder) => Folder::on_disk(folder)?,
            None => Folder::embedded(&data::POLICIES),
        };
        Self::read(&files)
    }

    fn read(files: &Folder) -> Result<Self> {
        let vocabulary: Vocabulary = files.parse("vocabulary.toml")?;
        let spans: SpansFile = files.parse("open-spans.toml")?;
        let lineage = Lineage::read(files)?;
        let mut records = BTreeMap::new();
        let mut known: BTreeMap<Sha256, Vec<(String, Role)>> = BTreeMap::new();
        for (name, text) in files.under("licenses/") {
            let record: Record = data::parse(Path::new(name), text)?;
            vocabulary.check(Path::new(name), &record)?;
            for text in &record.texts {
                let of = (record.id.clone(), text.role);
                let same = text.sha256.map(|digest| known.entry(digest).or_default());
                // two sources may have given the same text
                if let Some(same) = same.filter(|same| !same.contains(&of)) {
                    same.push(of);
                }
            }
            if let Some(twice) = records.insert(record.id.clone(), record) {
                return Err(Error::input(Path::new(name), format!("a second record of {}", twice.id)));
            }
        }
        for id in spans.open.iter().flat_map(OpenSpan::ids).chain(lineage.licenses()) {
            if !records.contains_key(id) {
                return Err(Error::input(Path::new("policies"), format!("no record of the licence {id}")));
            }
        }
        let (org, decisions) = decisions(files)?;
        let facts = ["licenses/", "vocabulary.toml", "open-spans.toml", "lineage.toml"];
        let facts: BTreeMap<_, _> = facts.into_iter().flat_map(|prefix| files.under(prefix)).collect();
        let forbidden_fields: BTreeSet<String> = org.fields.forbidden.into_iter().collect();
        vocabulary.check_fields(Path::new(ORG), forbidden_fields.iter())?;
        Ok(Self {
            records,
            vocabulary,
            lineage,
            spans: spans.open,
            known,
            decisions,
            forbidden_fields,
            clearance_days: org.clearance_days,
            facts_digest: Sha256::of_json(&facts),
            policy_digest: Sha256::of_json(&files.under(ORG).collect::<BTreeMap<_, _>>()),
        })
    }

    /// The record of a licence.
    pub fn record(&self, id: &str) -> Option<&Record> {
        self.records.get(id)
    }

    /// All records, by id.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// Known models and what they were made from.
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// What the organisation decided on this kind of finding.
    pub fn decision(&self, code: FindingCode) -> &Decision {
        &self.decisions[&code]
    }

    /// Does the organisation take a product that touches this restricted field as forbidden?
    pub fn forbids_field(&self, field: &str) -> bool {
        self.forbidden_fields.contains(field)
    }

    /// How long a clearance holds.
    pub fn clearance_days(&self) -> u32 {
        self.clearance_days
    }

    /// What a kind of duty asks, and who meets it.
    ///
    /// # Panics
    /// Never on a duty of a loaded record: loading refuses unknown kinds.
    pub fn duty(&self, kind: &str) -> &ObligationWord {
        self.vocabulary.obligation(kind).expect("loading refuses unknown kinds of duty")
    }

    /// What a fact or a kind of duty means, by the vocabulary.
    pub fn meaning(&self, term: &str) -> Option<&str> {
        let fact = self.vocabulary.facts.iter().find(|f| f.name == term).map(|f| f.meaning.as_str());
        fact.or_else(|| self.vocabulary.obligation(term).map(|o| o.meaning.as_str()))
    }

    /// Every fact and kind of duty of the vocabulary.
    pub fn terms(&self) -> impl Iterator<Item = &str> {
        let facts = self.vocabulary.facts.iter().map(|f| f.name.as_str());
        facts
            .chain(["field-of-use", "governing-law"])
            .chain(self.vocabulary.obligations.iter().map(|o| o.kind.as_str()))
    }

    /// Refuses a restricted field that the vocabulary lacks.
    pub fn check_fields<'a>(&self, source: &Path, fields: impl IntoIterator<Item = &'a String>) -> Result<()> {
        self.vocabulary.check_fields(source, fields)
    }

    /// Digest of records, vocabulary, open spans and lineage.
    pub fn facts_digest(&self) -> Sha256 {
        self.facts_digest
    }

    /// Digest of the organisation's decisions.
    pub fn policy_digest(&self) -> Sha256 {
        self.policy_digest
    }
}

/// The organisation's file: every kind of finding must be decided, none milder than the code's floor.
fn decisions(files: &Folder) -> Result<(Org, BTreeMap<FindingCode, Decision>)> {
    let org: Org = files.parse(ORG)?;
    let text = files.under(ORG).next().map_or("", |(_, text)| text);
    let mut decisions = BTreeMap::new();
    for (name, severity) in &org.severity {
        let line = text[..severity.span().start.min(text.len())].matches('\n').count() + 1;
        let place = format!("{ORG}:{line}");
        let refuse = |message: String| Error::input(Path::new(&place), message);
        let code: FindingCode = name.parse().map_err(|message: String| {
            let hint = nearest(name, FindingCode::ALL.iter().map(|c| c.name()));
            refuse(message)
                .with_hint(hint.map_or("docs/codes.md lists them".into(), |w| format!("did you mean `{w}`?")))
        })?;
        if *severity.get_ref() < code.floor() {
            return Err(refuse(format!("{name} may not be milder than its floor"))
                .with_hint("a person's ruling lifts one finding; a policy cannot lift them all"));
        }
        decisions.insert(code, Decision { severity: *severity.get_ref(), place });
    }
    match FindingCode::ALL.iter().find(|c| !decisions.contains_key(c)) {
        Some(missing) => Err(Error::input(Path::new(ORG), format!("[severity] does not decide on {}", missing.name()))),
        None => Ok((org, decisions)),
    }
}

impl Vocabulary {
    fn obligation(&self, kind: &str) -> Option<&ObligationWord> {
        self.obligations.iter().find(|o| o.kind == kind)
    }

    /// Words that serde doesn't know by type: fields of use, kinds of duty, names of facts.
    fn check(&self, path: &Path, record: &Record) -> Result<()> {
        self.check_fields(path, &record.field_of_use)?;
        let kinds = || self.obligations.iter().map(|o| o.kind.as_str());
        let facts = || self.facts.iter().map(|f| f.name.as_str()).chain(["field-of-use", "governing-law"]);
        let about = || kinds().chain(facts()).chain(["limit", "territory"]);
        record.obligations.iter().try_for_each(|o| known(path, "kind of duty", &o.kind, kinds()))?;
        record.clause.keys().try_for_each(|fact| known(path, "fact", fact, facts()))?;
        let questions = record.questions.iter().flat_map(|q| &q.bears_on);
        questions.into_iter().try_for_each(|word| known(path, "fact or duty", word, about()))
    }

    fn check_fields<'a>(&self, path: &Path, fields: impl IntoIterator<Item = &'a String>) -> Result<()> {
        fields.into_iter().try_for_each(|tag| known(path, "field of use", tag, self.fields.keys().map(String::as_str)))
    }
}

fn known<'a>(path: &Path, what: &str, word: &str, words: impl Iterator<Item = &'a str> + Clone) -> Result<()> {
    if words.clone().any(|w| w == word) {
        return Ok(());
    }
    let error = Error::input(path, format!("unknown {what}: {word}"));
    Err(match nearest(word, words) {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error.with_hint("policies/vocabulary.toml lists the words"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_carries_sound_policies() {
        let policies = Policies::load(None).unwrap();
        assert!(policies.records().count() >= 60);
        for record in policies.records() {
            assert!(record.spdx_listed == spdx::license_id(&record.id).is_some(), "{}", record.id);
        }
    }

    #[test]
    fn every_value_of_the_vocabulary_is_a_word_of_the_code() {
        let policies = Policies::load(None).unwrap();
        let text = data::POLICIES.get_file("licenses/mit.toml").unwrap().contents_utf8().unwrap();
        for fact in &policies.vocabulary.facts {
            let line = text.lines().find(|l| l.starts_with(&format!("{} =", fact.name))).unwrap();
            for value in &fact._values {
                let value = if line.contains('[') { format!("[\"{value}\"]") } else { format!("\"{value}\"") };
                let changed = text.replace(line, &format!("{} = {value}", fact.name));
                data::parse::<Record>(Path::new("mit.toml"), &changed).unwrap();
            }
        }
    }
}

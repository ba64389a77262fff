//! The policies folder: facts, vocabulary, open spans, lineage, and an organisation's decisions. A word that the
//! vocabulary lacks is refused.

use crate::data::{self, Folder, nearest};
use crate::digest::Sha256;
use crate::error::{Error, Result};
use crate::license::facts::lineage::Lineage;
use crate::license::facts::links;
use crate::license::facts::org::{Decision, Org};
use crate::license::facts::record::{Record, Role};
use crate::license::facts::signs::{self, Signs};
use crate::license::finding::FindingCode;
use crate::license::ruling::RulingKey;
use crate::license::text::spans::{OpenSpan, SpansFile};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Everything that a check is judged by.
pub struct Policies {
    records: BTreeMap<String, Record>,
    vocabulary: Vocabulary,
    lineage: Lineage,
    signs: Signs,
    pub(in crate::license) spans: Vec<OpenSpan>,
    pub(in crate::license) known: BTreeMap<Sha256, Vec<(String, Role)>>,
    org: Org,
    facts_digest: Sha256,
    policy_digest: Sha256,
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
    /// Kinds of company.
    business: BTreeMap<String, String>,
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
        let mut records = BTreeMap::new();
        let mut known: BTreeMap<Sha256, Vec<(String, Role)>> = BTreeMap::new();
        for (name, text) in files.under("licenses/") {
            let record: Record = data::parse(Path::new(name), text)?;
            vocabulary.check(Path::new(name), &record)?;
            let mut addresses = record.links.iter().chain(&record.links_unread);
            if let Some(link) = addresses.find(|link| links::plain(link) != **link) {
                let error = Error::input(Path::new(name), format!("a link is not as it is compared: {link}"));
                return Err(error.with_hint(format!("write it as {}", links::plain(link))));
            }
            if record.links.is_empty() == record.links_source.is_some() {
                let error = Error::input(Path::new(name), "`links` and `links-source` need each other");
                return Err(error.with_hint("an address that nobody looked up stands in `links-unread`"));
            }
            if let Some(what) = crate::license::facts::agreement::contradictions(&record).first() {
                let error = Error::input(Path::new(name), format!("the record contradicts itself: {what}"));
                return Err(error.with_hint("read the licence again where the two stand; docs/licences.md says how"));
            }
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
        for id in spans.open.iter().flat_map(OpenSpan::ids) {
            if !records.contains_key(id) {
                return Err(Error::input(Path::new("policies"), format!("no record of the licence {id}")));
            }
        }
        let lineage = Lineage::read(files, |id| records.contains_key(id))?;
        let signs = Signs::read(files, |id| records.contains_key(id))?;
        let org = Org::read(files)?;
        let facts = ["licenses/", "vocabulary.toml", "open-spans.toml", "lineage.toml"].into_iter().chain(signs::FILES);
        let facts: BTreeMap<_, _> = facts.flat_map(|prefix| files.under(prefix)).collect();
        org.forbidden().try_for_each(|(place, field)| vocabulary.check_fields(Path::new(place), [field]))?;
        Ok(Self {
            records,
            vocabulary,
            lineage,
            signs,
            spans: spans.open,
            known,
            org,
            facts_digest: Sha256::of_json(&facts),
            policy_digest: Sha256::of_json(&files.under("org/").collect::<BTreeMap<_, _>>()),
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

    /// Well-known data sets, phrases and tokenizers.
    pub fn signs(&self) -> &Signs {
        &self.signs
    }

    /// What the organisation's decision on this kind of finding is today.
    pub fn decision(&self, code: FindingCode, today: jiff::civil::Date) -> &Decision {
        self.org.decision(code, today)
    }

    /// The next day on which a decision ends.
    pub fn decisions_end(&self, today: jiff::civil::Date) -> Option<jiff::civil::Date> {
        self.org.end(today)
    }

    /// Does the organisation take a product that touches this restricted field as forbidden?
    pub fn forbids_field(&self, field: &str) -> bool {
        self.org.forbidden().any(|(_, word)| word == field)
    }

    /// The keys whose rulings count; where there are none, a ruling needs no signature.
    pub fn ruling_keys(&self) -> &[RulingKey] {
        self.org.ruling_keys()
    }

    /// How long a clearance holds.
    pub fn clearance_days(&self) -> u32 {
        self.org.clearance_days()
    }

    /// Lines of the organisation's files that decide nothing today, and why.
    pub fn unused(&self, today: jiff::civil::Date) -> Vec<String> {
        let restricted: BTreeSet<&str> = self.records().flat_map(|r| &r.field_of_use).map(String::as_str).collect();
        self.org.unused(&restricted, today)
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

    /// What a restricted field of use is, by the vocabulary.
    pub fn field_meaning(&self, field: &str) -> Option<&str> {
        self.vocabulary.fields.get(field).map(String::as_str)
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

    /// Refuses a kind of company that the vocabulary lacks.
    pub(in crate::license) fn check_business(&self, place: &Path, word: &str) -> Result<()> {
        known(place, "kind of company", word, self.vocabulary.business.keys().map(String::as_str))
    }

    /// Refuses a kind of duty that the vocabulary lacks.
    pub(in crate::license) fn check_duty(&self, place: &Path, kind: &str) -> Result<()> {
        known(place, "kind of duty", kind, self.vocabulary.obligations.iter().map(|o| o.kind.as_str()))
    }

    /// Refuses a licence without a record.
    pub(in crate::license) fn check_license(&self, place: &Path, id: &str) -> Result<()> {
        known(place, "licence", id, self.records.keys().map(String::as_str))
    }

    /// Digest of records, vocabulary, open spans, lineage and signs.
    pub fn facts_digest(&self) -> Sha256 {
        self.facts_digest
    }

    /// Digest of the organisation's decisions.
    pub fn policy_digest(&self) -> Sha256 {
        self.policy_digest
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
        let companies = record.obligations.iter().flat_map(|o| &o.companies);
        let business = || self.business.keys().map(String::as_str);
        companies.into_iter().try_for_each(|word| known(path, "kind of company", word, business()))?;
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
        None if what == "licence" => error.with_hint("policies/licenses/ has the records"),
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

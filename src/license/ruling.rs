//! Rulings: a person's written answers to findings that ask for one. Each lifts one finding and binds the digests of
//! what was judged; it lapses with any of them, or on its own day. A `deny` is never lifted. Where the policy names
//! keys, only a ruling that one of them signed for its role counts.

use crate::data;
use crate::digest::Sha256;
use crate::error::{AtPath as _, Error, Result};
use crate::license::Finding;
use crate::license::finding::{FindingCode, Ruled, Severity};
use crate::sign::{PublicKey, SigningKey, pae};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// The file of rulings in a product's folder.
pub const FILE_NAME: &str = "rulings.toml";
/// What a ruling is signed as: no signature of anything else passes for it.
const TYPE: &str = "application/vnd.sealwright.ruling+json";
/// It may not be larger than this.
const MAX_BYTES: u64 = 1 << 20;

/// Digests of everything that was judged, and where customers are: a ruling binds them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// Over everything above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<RulingSignature>,
}

/// `[ruling.signature]`: ECDSA P-256 over the DSSE encoding of the ruling's canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulingSignature {
    /// SHA-256 of the public key's DER.
    pub key: Sha256,
    /// Strict base64 of the DER signature, s in the lower half.
    pub sig: String,
}

/// A key whose rulings count, for one role.
#[derive(Debug, Clone)]
pub struct RulingKey {
    /// The role that it signs for.
    pub by: String,
    /// The line of the policy that names it.
    pub place: String,
    /// The public half.
    pub key: PublicKey,
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

impl Digests {
    /// What is another one in `now`, in words.
    pub fn differ(&self, now: &Self) -> Vec<&'static str> {
        let bound = [
            ("the base's licence files, card or parents", self.text == now.text),
            ("the records of licences", self.facts == now.facts),
            ("the organisation's policy", self.policy == now.policy),
            ("the declared use", self.declared == now.declared),
        ];
        bound.iter().filter_map(|(what, same)| (!same).then_some(*what)).collect()
    }
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
            signature: None,
        }
    }

    /// Signs all of it; whatever is changed afterwards, the signature is wrong.
    ///
    /// # Errors
    /// `signer-failed` from a key that is elsewhere.
    pub fn sign(&mut self, key: &SigningKey) -> Result<()> {
        let sig = BASE64.encode(key.sign(&self.signed())?);
        self.signature = Some(RulingSignature { key: key.public().id(), sig });
        Ok(())
    }

    /// The bytes that are signed.
    fn signed(&self) -> Vec<u8> {
        let unsigned = Self { signature: None, ..self.clone() };
        pae(TYPE, &serde_json_canonicalizer::to_vec(&unsigned).expect("our own values serialise"))
    }

    /// The key that signed it; none where the policy asks for none; why it does not count, otherwise.
    fn signer(&self, keys: &[RulingKey]) -> Result<Option<Sha256>, String> {
        let [first, ..] = keys else { return Ok(None) };
        let Some(signature) = &self.signature else {
            return Err(format!("not counted: it is not signed, and {} asks for that", first.place));
        };
        let Some(named) = keys.iter().find(|k| k.by == self.by && k.key.id() == signature.key) else {
            return Err(format!("not counted: the policy names no such key for {}: {}", self.by, signature.key));
        };
        let der = BASE64.decode(&signature.sig).unwrap_or_default();
        match named.key.verifies(&self.signed(), &der, true) {
            true => Ok(Some(signature.key)),
            false => Err("not counted: its signature is not one by the key it names over these words".into()),
        }
    }

    /// Do both answer the same finding?
    pub fn is_on_the_same(&self, other: &Self) -> bool {
        (self.code, &self.license, &self.subject, &self.term, &self.customer)
            == (other.code, &other.license, &other.subject, &other.term, &other.customer)
    }

    /// Why it no longer holds.
    fn lapsed(&self, digests: &Digests, today: jiff::civil::Date) -> Option<String> {
        let places = digests.places.clone();
        let of = Digests { text: self.text, facts: self.facts, policy: self.policy, declared: self.declared, places };
        let changed = of.differ(digests);
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
    keys: &[RulingKey],
    today: jiff::civil::Date,
) -> Vec<RulingState> {
    let mut states = Vec::new();
    for ruling in rulings {
        let signer = ruling.signer(keys);
        let mut state = signer.as_ref().err().cloned().or_else(|| ruling.lapsed(digests, today));
        let mut used = false;
        for finding in findings.iter_mut().filter(|f| f.ruled.is_none() && ruling.answers(f)) {
            match finding.severity {
                Severity::Deny => state = Some("not applied: a `deny` cannot be lifted".into()),
                Severity::Review if state.is_none() => {
                    finding.severity = Severity::Note;
                    finding.ruled =
                        Some(Ruled { by: ruling.by.clone(), on: ruling.on, key: signer.clone().ok().flatten() });
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

//! What is judged: the evidence that a base's folder gives of its licences. Weights may be absent.

use crate::base::{Base, is_hub_name};
use crate::data;
use crate::digest::Sha256;
use crate::error::{AtPath, Error, Result};
use crate::license::evidence::norms::Norms;
use crate::license::evidence::piece::{CARD, Evidence, Gathering, Topic};
use crate::license::evidence::shape::Shape;
use crate::license::text::stream::MAX_BYTES;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// More licence files than this in one folder are refused.
pub const MAX_FILES: usize = 64;
/// What a notice file's name begins with, in lower case.
const NOTICE: &str = "notice";

/// What a base's folder says of its licences and of what it was made from. It can be kept and read back, to be judged
/// again without the base.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Subject {
    /// What the base calls itself: for notices and messages.
    pub name: String,
    /// Licence texts and use policies.
    pub texts: Vec<TextFile>,
    /// Notice files, to be carried.
    pub notices: Vec<TextFile>,
    /// Every claim, with its place.
    pub evidence: Vec<Evidence>,
    /// What follows the card's front matter, and the line that it begins in.
    pub prose: Option<(String, usize)>,
    /// Its dimensions, as its config, a GGUF or the headers of its weights give them.
    pub shape: Option<Shape>,
    /// The fingerprints of its norms, where weights are at hand.
    pub norms: Option<Norms>,
    /// The special tokens of its tokenizer.
    pub tokens: BTreeSet<String>,
    /// Is there a config, or a GGUF in its place?
    pub has_config: bool,
    /// Does the base take pictures or sound, too?
    pub multimodal: bool,
    /// What the derivative is, or begins from: parents with licences of their own.
    #[serde(default)]
    pub adapters: Vec<Adapter>,
    digest: Sha256,
}

/// A file of the base's folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TextFile {
    /// Relative to the folder, with `/`.
    pub name: String,
    /// As they are; base64 where they are kept.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub bytes: Vec<u8>,
    /// Not from the base's folder: the vendor vouches for it.
    pub vouched: bool,
}

impl TextFile {
    /// As text, where it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }
}

/// An adapter, or merged weights, that another training made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Adapter {
    /// Its folder, as the product file names it.
    pub name: String,
    /// The vendor states that it is its own work.
    pub own: bool,
    /// What its folder says; `None`: it is not at hand.
    pub subject: Option<Subject>,
}

/// A licence that is named without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// As it stands there: `apache-2.0`, `llama2`.
    pub license: String,
    /// `card` or `weights`.
    pub by: &'static str,
}

impl Subject {
    /// Gathers the evidence; `license_text` is a file that the vendor vouches for.
    pub fn read(base: &Base, license_text: Option<&Path>) -> Result<Self> {
        let (mut texts, notices) = files(&base.folder)?;
        if let Some(path) = license_text {
            let name = path.file_name().map_or_else(|| "LICENSE".into(), |n| n.to_string_lossy().into_owned());
            texts.push(TextFile { name, bytes: data::read_bytes(path, MAX_BYTES)?, vouched: true });
        }
        let mut found = Gathering::default();
        for (topic, files) in [(Topic::Text, &texts), (Topic::Notice, &notices)] {
            for file in files {
                let at = file.vouched.then(|| "[base] license-text".to_owned());
                found.add(topic, &Sha256::of(&file.bytes).to_string(), &file.name, at);
            }
        }
        base.card.iter().for_each(|card| found.card(card));
        found.hub(base);
        found.config(base);
        let tokens = found.tokenizer(&base.folder)?;
        found.adapter(&base.folder)?;
        found.merge(&base.folder)?;
        found.safetensors(base);
        base.gguf.iter().try_for_each(|gguf| found.gguf(gguf))?;
        let config = base.config.value();
        let shape = found.dimensions(base);
        let vectors = base.norms()?;
        let norms = Norms::of(&vectors);
        norms.iter().for_each(|norms| found.norms(norms, &vectors));
        let mut subject = Self {
            name: base.name(),
            evidence: found.0,
            prose: base.card.as_ref().map(|card| (card.prose.clone(), card.prose_line)),
            multimodal: ["vision_config", "audio_config"].iter().any(|k| config.get(k).is_some_and(|v| !v.is_null())),
            shape,
            norms,
            has_config: base.config.is_there(),
            tokens,
            texts,
            notices,
            adapters: Vec::new(),
            digest: Sha256([0; 32]),
        };
        subject.digest = Sha256::of_json(&(&subject.evidence, &subject.tokens, &subject.shape, subject.multimodal));
        Ok(subject)
    }

    /// The same base, under a derivative that these were part of.
    pub fn with_adapters(mut self, adapters: Vec<Adapter>) -> Self {
        if !adapters.is_empty() {
            let of = |a: &Adapter| (a.name.clone(), a.own, a.subject.as_ref().map(Self::digest));
            self.digest = Sha256::of_json(&(self.digest, adapters.iter().map(of).collect::<Vec<_>>()));
            self.adapters = adapters;
        }
        self
    }

    /// Over all evidence: texts, notices, card, claims, names, dimensions, tokenizer.
    pub fn digest(&self) -> Sha256 {
        self.digest
    }

    /// The evidence on one topic.
    pub fn on(&self, topic: Topic) -> impl Iterator<Item = &Evidence> {
        self.evidence.iter().filter(move |e| e.topic == topic)
    }

    /// Models that the base says it was made from, each once.
    pub fn parents(&self) -> Vec<&str> {
        let mut parents: Vec<&str> = self.on(Topic::Parent).map(|e| e.says.as_str()).collect();
        parents.sort_unstable();
        parents.dedup();
        parents
    }

    /// The base, and what the derivative is or begins from.
    pub(in crate::license) fn with_parts(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.adapters.iter().filter_map(|adapter| adapter.subject.as_ref()))
    }

    /// Is this its name, that of its model, or its place on somebody's disk? An adapter names its base by any of them.
    pub(in crate::license) fn is_called(&self, name: &str) -> bool {
        !is_hub_name(name) || self.name == name || self.names().contains(&name) || self.parents().contains(&name)
    }

    /// The same, but for some of its parents.
    pub(in crate::license) fn without_parents(&self, left_out: impl Fn(&str) -> bool) -> Self {
        let mut rest = self.clone();
        rest.evidence.retain(|e| !matches!(e.topic, Topic::Parent | Topic::Name) || !left_out(&e.says));
        rest
    }

    /// Names in its configs that may be the base's own or a parent's, each once.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.on(Topic::Name).map(|e| e.says.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Licences that are named, each once; `other` says nothing where its name stands beside it.
    pub fn claims(&self) -> Vec<Claim> {
        let mut claims: Vec<Claim> = Vec::new();
        for claim in self.on(Topic::License) {
            let name = |e: &&Evidence| claim.says == "other" && e.file == claim.file;
            let names: Vec<&Evidence> = self.on(Topic::LicenseName).filter(name).collect();
            let by = if claim.file == CARD { "card" } else { "weights" };
            for said in if names.is_empty() { vec![claim] } else { names } {
                if !claims.iter().any(|c| c.license == said.says) {
                    claims.push(Claim { license: said.says.clone(), by });
                }
            }
        }
        claims
    }
}

/// Licence texts and notices, sorted by name; also those in a folder `LICENSES`.
fn files(folder: &Path) -> Result<(Vec<TextFile>, Vec<TextFile>)> {
    let (mut texts, mut notices) = (Vec::new(), Vec::new());
    let mut paths = list(folder)?;
    for inner in paths.clone().iter().filter(|p| p.is_dir() && lower_name(p) == "licenses") {
        paths.extend(list(inner)?);
    }
    for path in paths.into_iter().filter(|p| p.is_file()) {
        let name = lower_name(&path);
        let inside = path.parent() != Some(folder);
        let is_notice = name.starts_with(NOTICE);
        if !inside && !is_evidence_name(&name) {
            continue;
        }
        let bytes = data::read_bytes(&path, MAX_BYTES)?;
        let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        let file = TextFile { name, bytes, vouched: false };
        if is_notice { notices.push(file) } else { texts.push(file) }
    }
    if texts.len() + notices.len() > MAX_FILES {
        return Err(Error::input(folder, format!("more than {MAX_FILES} licence files")));
    }
    Ok((texts, notices))
}

fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).at(folder)?;
    let mut paths = entries.map(|e| e.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>().at(folder)?;
    paths.sort();
    Ok(paths)
}

fn lower_name(path: &Path) -> String {
    path.file_name().map_or(String::new(), |n| n.to_string_lossy().to_lowercase())
}

/// Is a file of this name, in lower case, a licence text, a use policy or a notice?
pub fn is_evidence_name(name: &str) -> bool {
    name.starts_with(NOTICE) || is_license_name(name)
}

/// `LICENSE`, `MODEL_LICENSE.txt`, `Tongyi Qianwen LICENSE AGREEMENT`, `COPYING`, `USE_POLICY.md`; no program.
fn is_license_name(name: &str) -> bool {
    let program = [".py", ".json", ".jinja", ".safetensors", ".gguf", ".bin", ".model", ".toml"]
        .iter()
        .any(|end| name.ends_with(end));
    let plain: String = name.replace(['-', ' '], "_");
    !program
        && (["license", "licence", "use_policy"].iter().any(|word| plain.contains(word))
            || plain.starts_with("copying"))
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    BASE64.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

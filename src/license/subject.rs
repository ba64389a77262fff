//! What is judged: the evidence that a base's folder gives of its licences. Weights may be absent.

use super::shape::Shape;
use super::text::MAX_BYTES;
use crate::base::Base;
use crate::data;
use crate::digest::Sha256;
use crate::error::{AtPath, Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// More licence files than this in one folder are refused.
pub const MAX_FILES: usize = 64;
/// What a notice file's name begins with, in lower case.
const NOTICE: &str = "notice";

/// Licence files, claims and parents of a base. It can be kept and read back, to be judged again without the base.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Subject {
    /// What the base calls itself: for notices and messages.
    pub name: String,
    /// Licence texts and use policies.
    pub texts: Vec<TextFile>,
    /// Notice files, to be carried.
    pub notices: Vec<TextFile>,
    /// What card and weights say of the licence.
    pub claims: Vec<Claim>,
    /// Models that the base says it was made from.
    pub parents: Vec<String>,
    /// A name in the config that may be the base's own or a parent's.
    pub config_name: Option<String>,
    /// `owner/name`, where it came from the hub.
    pub hub: Option<String>,
    /// Its dimensions, as its config gives them.
    pub shape: Option<Shape>,
    /// Does the base take pictures or sound, too?
    pub multimodal: bool,
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
        let config = base.config.value();
        let mut subject = Self {
            name: base.name(),
            claims: claims(base),
            parents: parents(base)?,
            multimodal: ["vision_config", "audio_config"].iter().any(|k| config.get(k).is_some_and(|v| !v.is_null())),
            config_name: base.hub_name().map(String::from),
            hub: base.hub.clone(),
            shape: Shape::of(config),
            texts,
            notices,
            digest: Sha256([0; 32]),
        };
        subject.digest = subject.evidence();
        Ok(subject)
    }

    /// Over all evidence: texts, notices, claims, parents, dimensions.
    pub fn digest(&self) -> Sha256 {
        self.digest
    }

    fn evidence(&self) -> Sha256 {
        let files = |files: &[TextFile]| -> Vec<_> {
            files.iter().map(|f| (f.name.clone(), Sha256::of(&f.bytes), f.vouched)).collect()
        };
        Sha256::of_json(&(
            (files(&self.texts), files(&self.notices), &self.claims),
            (&self.parents, (&self.config_name, &self.hub), self.multimodal, &self.shape),
        ))
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
    let program = [".py", ".json", ".jinja", ".safetensors", ".bin", ".model"].iter().any(|end| name.ends_with(end));
    let plain: String = name.replace(['-', ' '], "_");
    !program
        && (["license", "licence", "use_policy"].iter().any(|word| plain.contains(word))
            || plain.starts_with("copying"))
}

fn claims(base: &Base) -> Vec<Claim> {
    let mut claims = Vec::new();
    if let Some(card) = &base.card {
        let mut named = card.words("license");
        // `other` says nothing; its name stands beside it
        if named.contains(&"other") && !card.words("license_name").is_empty() {
            named.retain(|l| *l != "other");
            named.extend(card.words("license_name"));
        }
        claims.extend(named.into_iter().map(|l| Claim { license: l.trim().to_owned(), by: "card" }));
    }
    let metadata = base.headers.metadata.iter().filter(|(key, _)| key.to_lowercase().ends_with("license"));
    claims.extend(metadata.map(|(_, l)| Claim { license: l.trim().to_owned(), by: "weights" }));
    claims.retain(|c| !c.license.is_empty());
    claims.dedup_by(|a, b| a.license == b.license);
    claims
}

fn parents(base: &Base) -> Result<Vec<String>> {
    let mut parents: Vec<String> =
        base.card.iter().flat_map(|c| c.words("base_model")).map(|p| p.trim().to_owned()).collect();
    let adapter = base.folder.join("adapter_config.json");
    if adapter.is_file() {
        let value: Value =
            serde_json::from_slice(&data::read_bytes(&adapter, MAX_BYTES)?).map_err(|e| Error::input(&adapter, e))?;
        parents.extend(value.get("base_model_name_or_path").and_then(Value::as_str).map(String::from));
    }
    parents.sort();
    parents.dedup();
    Ok(parents)
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    BASE64.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

impl<'de> Deserialize<'de> for Claim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Kept {
            license: String,
            by: String,
        }
        let Kept { license, by } = Kept::deserialize(deserializer)?;
        let known = ["card", "weights"].into_iter().find(|word| *word == by);
        let by = known.ok_or_else(|| serde::de::Error::custom(format!("nothing of a base makes claims as {by}")))?;
        Ok(Self { license, by })
    }
}

//! The identity of a base: one digest a component, so that a changed template is named as that.

use super::Base;
use crate::data;
use crate::digest::{Hasher, Sha256};
use crate::error::{AtPath, Error, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// SHA-256 of each component of a base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// Over the sorted lines `NAME DTYPE SHAPE SHA256-OF-DATA\n` of its tensors; shape as `2x3`.
    pub weights: Sha256,
    /// Canonical JSON of `config.json` without `_name_or_path` and `transformers_version`.
    pub config: Sha256,
    /// `tokenizer.json`, or else `tokenizer.model`; of nothing where there is none.
    pub tokenizer: Sha256,
    /// The chat template's text; of nothing where there is none.
    pub template: Sha256,
}

/// A tokenizer may not be larger than this.
pub const MAX_TOKENIZER_BYTES: u64 = 256 << 20;

impl Fingerprint {
    /// One digest of all components: SHA-256 of their canonical JSON.
    pub fn id(&self) -> Sha256 {
        Sha256::of_json(self)
    }

    /// The names of the components that differ.
    pub fn differs_in(&self, other: &Self) -> Vec<&'static str> {
        [
            ("weights", self.weights != other.weights),
            ("config", self.config != other.config),
            ("tokenizer", self.tokenizer != other.tokenizer),
            ("template", self.template != other.template),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }

    pub(super) fn of(base: &Base) -> Result<Self> {
        if base.headers.tensors.is_empty() {
            return Err(base.no_weights());
        }
        let mut config = base.config.value().clone();
        if let Some(map) = config.as_object_mut() {
            map.retain(|key, _| !matches!(key.as_str(), "_name_or_path" | "transformers_version"));
        }
        Ok(Self {
            weights: weights(base)?,
            config: Sha256::of_json(&config),
            tokenizer: optional(&tokenizer_file(&base.folder), MAX_TOKENIZER_BYTES)?,
            template: Sha256::of(chat_template(&base.folder)?.unwrap_or_default()),
        })
    }
}

/// The file that says what the tokens are: `tokenizer.json`, or else a SentencePiece model.
pub(super) fn tokenizer_file(folder: &Path) -> PathBuf {
    let [json, model] = ["tokenizer.json", "tokenizer.model"].map(|name| folder.join(name));
    if !json.is_file() && model.is_file() { model } else { json }
}

fn optional(path: &Path, limit: u64) -> Result<Sha256> {
    if path.is_file() { data::read_bytes(path, limit).map(Sha256::of) } else { Ok(Sha256::of("")) }
}

fn weights(base: &Base) -> Result<Sha256> {
    let headers = &base.headers;
    let mut files =
        headers.files.iter().map(|p| File::open(p).map(BufReader::new).at(p)).collect::<Result<Vec<_>>>()?;
    let mut all = Hasher::default();
    for tensor in &headers.tensors {
        let (path, file) = (&headers.files[tensor.file], &mut files[tensor.file]);
        file.seek(SeekFrom::Start(tensor.start)).at(path)?;
        let mut data = Hasher::default();
        let bytes = std::io::copy(&mut file.take(tensor.end - tensor.start), &mut data).at(path)?;
        if bytes != tensor.end - tensor.start {
            return Err(Error::input(path, format!("ends inside tensor {}", tensor.name)));
        }
        let shape = tensor.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x");
        all.update(format!("{} {} {shape} {}\n", tensor.name, tensor.dtype, data.finish()).as_bytes());
    }
    Ok(all.finish())
}

/// The text of the chat template: `chat_template.jinja`, or else `chat_template` in `tokenizer_config.json`.
pub fn chat_template(folder: &Path) -> Result<Option<String>> {
    let file = folder.join("chat_template.jinja");
    if file.is_file() {
        return data::read_text(&file, 1 << 20).map(Some);
    }
    let path = folder.join("tokenizer_config.json");
    if !path.is_file() {
        return Ok(None);
    }
    let value: serde_json::Value =
        serde_json::from_slice(&data::read_bytes(&path, 16 << 20)?).map_err(|e| Error::input(&path, e))?;
    Ok(match value.get("chat_template") {
        Some(serde_json::Value::String(text)) => Some(text.clone()),
        // a list of named templates: the default one is for chat
        Some(serde_json::Value::Array(named)) => named
            .iter()
            .find(|t| t.get("name").and_then(|n| n.as_str()) == Some("default"))
            .and_then(|t| t.get("template")?.as_str().map(String::from)),
        _ => None,
    })
}

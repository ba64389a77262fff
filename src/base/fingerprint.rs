//! The identity of a base: one digest a component, so that a changed template is named as that.

use super::{Base, Files, Gguf, Headers, opaque};
use crate::data;
use crate::digest::{Hasher, Sha256};
use crate::error::{AtPath, Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// SHA-256 of each component of a base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// Over the sorted lines `NAME DTYPE SHAPE SHA256-OF-DATA\n` of its tensors, as its files name them; shape as `2x3`.
    /// Of other frameworks over the sorted lines `NAME SHA256-OF-FILE\n` of their files of weights.
    pub weights: Sha256,
    /// Canonical JSON of `config.json` without `_name_or_path` and `transformers_version`; where a GGUF stands in for
    /// it, over the sorted lines `KEY SHA256-OF-VALUE\n` of its metadata but for `general.*` and `tokenizer.*`.
    pub config: Sha256,
    /// `tokenizer.json`, or else `tokenizer.model`, or else over such lines of a GGUF's `tokenizer.*` but for the
    /// template; of nothing where there is none.
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
        let weights = match base.files() {
            Ok(Files::Safetensors(headers)) => weights(of_headers(headers))?,
            Ok(Files::Gguf(gguf)) => weights(of_gguf(gguf))?,
            Err(error) => opaque::weights(base)?.ok_or(error)?,
        };
        Ok(Self {
            weights,
            config: config(base)?,
            tokenizer: tokenizer(base)?,
            template: Sha256::of(chat_template(base)?.unwrap_or_default()),
        })
    }
}

/// What of a GGUF's metadata is about the network.
const ARCHITECTURE: &str = "general.architecture";
/// What of it is about tokens.
const TOKENIZER: &str = "tokenizer.";
/// The chat template in it.
const TEMPLATE: &str = "tokenizer.chat_template";

fn config(base: &Base) -> Result<Sha256> {
    if let Some(gguf) = base.own_gguf().filter(|gguf| base.config.path() == gguf.path) {
        return pairs(gguf, |key| key == ARCHITECTURE || !(key.starts_with("general.") || key.starts_with(TOKENIZER)));
    }
    let mut config = base.config.value().clone();
    if let Some(map) = config.as_object_mut() {
        map.retain(|key, _| !matches!(key.as_str(), "_name_or_path" | "transformers_version"));
    }
    Ok(Sha256::of_json(&config))
}

fn tokenizer(base: &Base) -> Result<Sha256> {
    let path = tokenizer_file(&base.folder);
    match base.own_gguf() {
        Some(gguf) if !path.is_file() => pairs(gguf, |key| key.starts_with(TOKENIZER) && key != TEMPLATE),
        _ => optional(&path, MAX_TOKENIZER_BYTES),
    }
}

/// Over the sorted lines `KEY SHA256-OF-VALUE\n`; a value's bytes as they lie in the file, their type before them.
fn pairs(gguf: &Gguf, wanted: impl Fn(&str) -> bool) -> Result<Sha256> {
    let mut all = Hasher::default();
    for key in gguf.metadata.keys().filter(|key| wanted(key)) {
        let value = gguf.raw(key)?.unwrap_or_default();
        all.update(format!("{key} {}\n", Sha256::of(value)).as_bytes());
    }
    Ok(all.finish())
}

/// The file that says what the tokens are: `tokenizer.json`, or else a SentencePiece model.
pub(super) fn tokenizer_file(folder: &Path) -> PathBuf {
    let [json, model] = ["tokenizer.json", "tokenizer.model"].map(|name| folder.join(name));
    if !json.is_file() && model.is_file() { model } else { json }
}

fn optional(path: &Path, limit: u64) -> Result<Sha256> {
    if path.is_file() { data::read_bytes(path, limit).map(Sha256::of) } else { Ok(Sha256::of("")) }
}

/// A tensor for the digest, as its file has it.
struct Line<'a> {
    path: &'a Path,
    name: &'a str,
    dtype: String,
    shape: Vec<String>,
    bytes: Range<u64>,
}

fn of_headers(headers: &Headers) -> impl Iterator<Item = Line<'_>> {
    headers.tensors.iter().map(|t| Line {
        path: &headers.files[t.file],
        name: &t.name,
        dtype: t.dtype.to_string(),
        shape: t.shape.iter().map(ToString::to_string).collect(),
        bytes: t.start..t.end,
    })
}

fn of_gguf(gguf: &Gguf) -> impl Iterator<Item = Line<'_>> {
    gguf.tensors.iter().map(|t| Line {
        path: &gguf.path,
        name: &t.name,
        dtype: t.kind.name.to_owned(),
        shape: t.shape.iter().map(ToString::to_string).collect(),
        bytes: t.start..t.end,
    })
}

fn weights<'a>(lines: impl Iterator<Item = Line<'a>>) -> Result<Sha256> {
    let mut files: BTreeMap<&Path, BufReader<File>> = BTreeMap::new();
    let mut all = Hasher::default();
    for Line { path, name, dtype, shape, bytes } in lines {
        let file = match files.entry(path) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(new) => new.insert(File::open(path).map(BufReader::new).at(path)?),
        };
        file.seek(SeekFrom::Start(bytes.start)).at(path)?;
        let mut data = Hasher::default();
        if std::io::copy(&mut file.take(bytes.end - bytes.start), &mut data).at(path)? != bytes.end - bytes.start {
            return Err(Error::input(path, format!("ends inside tensor {name}")));
        }
        all.update(format!("{name} {dtype} {} {}\n", shape.join("x"), data.finish()).as_bytes());
    }
    Ok(all.finish())
}

/// The text of the chat template: `chat_template.jinja`, or else `chat_template` in `tokenizer_config.json`, or else a
/// GGUF's.
pub fn chat_template(base: &Base) -> Result<Option<String>> {
    let of_gguf = || base.own_gguf().and_then(|gguf| gguf.text(TEMPLATE)).map(String::from);
    Ok(beside(&base.folder)?.or_else(of_gguf))
}

fn beside(folder: &Path) -> Result<Option<String>> {
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

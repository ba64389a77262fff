//! The pieces of evidence that a base's folder holds: what each claims, and where it stands. Gathered, not judged.

use crate::base::gguf::Gguf;
use crate::base::{Base, Card, Norm, is_hub_name};
use crate::data;
use crate::error::{Error, Result};
use crate::license::evidence::norms::Norms;
use crate::license::evidence::shape::Shape;
use crate::license::evidence::tensors::Tensors;
use crate::license::text::stream::MAX_BYTES;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// What a piece of evidence speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// A licence text or use policy: the digest of its bytes.
    Text,
    /// A notice: the digest of its bytes.
    Notice,
    /// The model card: the digest of its bytes.
    Card,
    /// A licence that is named.
    License,
    /// The name of a licence that is `other`.
    LicenseName,
    /// Where a licence is said to be found.
    LicenseLink,
    /// A model that is the base itself or its parent.
    Name,
    /// A model that it was made from.
    Parent,
    /// How it was made from it: finetune, adapter, merge, quantized.
    Relation,
    /// A data set that it was trained on.
    DataSet,
    /// What the hub asks to accept before it hands the base out.
    Acceptance,
    /// A condition in the card's prose.
    Condition,
    /// The network's class or family.
    Architecture,
    /// Its dimensions.
    Dimensions,
    /// What its tensors' shapes contradict in its config.
    Tensors,
    /// What its tokenizer calls itself.
    Tokenizer,
    /// Its norms' weights: the digest of their fingerprints.
    Norms,
}

/// One claim, with its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Evidence {
    /// What it speaks of.
    pub topic: Topic,
    /// What it claims; a long text's beginning.
    pub says: String,
    /// The file, relative to the base's folder.
    pub file: String,
    /// The key or line in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// A claim is shown up to this many characters; the card's digest stands for the rest.
const MAX_SHOWN: usize = 160;
/// The file that an adapter's trainer writes.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// The card's file.
pub const CARD: &str = "README.md";
/// What mergekit leaves beside merged weights.
const MERGE_CONFIG: &str = "mergekit_config.yml";
/// Parts of a config that may be models of their own.
const PARTS: [&str; 6] =
    ["text_config", "llm_config", "language_config", "vision_config", "audio_config", "speech_config"];

/// Collects pieces of evidence.
#[derive(Default)]
pub struct Gathering(pub Vec<Evidence>);

impl Gathering {
    /// Adds one, unless it says nothing.
    pub fn add(&mut self, topic: Topic, says: &str, file: &str, at: impl Into<Option<String>>) {
        let says = shown(says);
        if !says.is_empty() {
            self.0.push(Evidence { topic, says, file: file.to_owned(), at: at.into() });
        }
    }

    /// The front matter.
    pub fn card(&mut self, card: &Card) {
        self.add(Topic::Card, &card.digest.to_string(), CARD, None);
        for (key, topic) in [
            ("license", Topic::License),
            ("license_name", Topic::LicenseName),
            ("license_link", Topic::LicenseLink),
            ("base_model", Topic::Parent),
            ("base_model_relation", Topic::Relation),
            ("datasets", Topic::DataSet),
        ] {
            card.words(key).into_iter().for_each(|word| self.add(topic, word, CARD, key.to_owned()));
        }
        for (key, value) in card.front.iter().filter(|(key, _)| key.starts_with("extra_gated")) {
            let says = match value {
                Value::String(text) => text.clone(),
                Value::Object(fields) => fields.keys().cloned().collect::<Vec<_>>().join(", "),
                _ => continue,
            };
            self.add(Topic::Acceptance, &says, CARD, key.clone());
        }
    }

    /// The name under which the hub has it.
    pub fn hub(&mut self, base: &Base) {
        base.hub.iter().for_each(|name| self.add(Topic::Name, name, "hub", "repository".to_owned()));
    }

    /// `config.json`; a GGUF's dimensions where it stands in for it.
    pub fn config(&mut self, base: &Base) {
        let value = base.config.value();
        let file = file_name(base.config.path());
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(String::from);
        if let Some(name) = base.hub_name() {
            self.add(Topic::Name, name, &file, "_name_or_path".to_owned());
        }
        for part in PARTS {
            let name = value.get(part).and_then(|inner| text(inner, "_name_or_path")).filter(|n| is_hub_name(n));
            name.iter().for_each(|name| self.add(Topic::Name, name, &file, format!("{part}._name_or_path")));
        }
        if let Some(class) = base.config.architecture() {
            self.add(Topic::Architecture, class, &file, "architectures".to_owned());
        }
        if let Some(family) = base.config.model_type() {
            self.add(Topic::Architecture, family, &file, "model_type".to_owned());
        }
    }

    /// The dimensions that the config names; those of the weights where it names none, or they contradict it.
    pub fn dimensions(&mut self, base: &Base) -> Option<Shape> {
        let weights = Tensors::of(base);
        let mut of_weights = weights.iter().find_map(|tensors| Some((tensors.shape()?, tensors.file)));
        for tensors in &weights {
            let against = tensors.against(base.config.value());
            against.iter().for_each(|(says, name)| {
                self.add(Topic::Tensors, says, &file_name(tensors.file), shown(name));
            });
            if !against.is_empty() {
                of_weights = tensors.shape().map(|shape| (shape, tensors.file)).or(of_weights);
            }
        }
        let of_config = Shape::of(base.config.value()).map(|shape| (shape, base.config.path()));
        let contradicted = self.0.iter().any(|e| e.topic == Topic::Tensors);
        let (shape, file) = if contradicted { of_weights.or(of_config) } else { of_config.or(of_weights) }?;
        self.add(Topic::Dimensions, &shape.to_string(), &file_name(file), None);
        Some(shape)
    }

    /// The norms of the weights; the digest stands for their fingerprints.
    pub fn norms(&mut self, norms: &Norms, vectors: &[Norm]) {
        let says = format!("{} vectors of {}: {}", norms.prints.len(), norms.width, norms.digest());
        self.add(Topic::Norms, &says, &file_name(&vectors[0].file), None);
    }

    /// `tokenizer_config.json`; gives its special tokens, which often betray a family.
    pub fn tokenizer(&mut self, folder: &Path) -> Result<BTreeSet<String>> {
        const FILE: &str = "tokenizer_config.json";
        let Some(value) = json(&folder.join(FILE))? else { return Ok(BTreeSet::new()) };
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        if let Some(name) = text("name_or_path").filter(|n| is_hub_name(n)) {
            self.add(Topic::Name, name, FILE, "name_or_path".to_owned());
        }
        if let Some(class) = text("tokenizer_class") {
            self.add(Topic::Tokenizer, class, FILE, "tokenizer_class".to_owned());
        }
        let added = value.get("added_tokens_decoder").and_then(Value::as_object);
        let added = added.into_iter().flat_map(|map| map.values());
        let named = ["bos_token", "eos_token"].into_iter().filter_map(|key| value.get(key));
        let more = value.get("additional_special_tokens").and_then(Value::as_array).into_iter().flatten();
        let content = |token: &Value| token.get("content").unwrap_or(token).as_str().map(String::from);
        Ok(added.chain(named).chain(more).filter_map(content).collect())
    }

    /// `adapter_config.json`: what an adapter was trained on.
    pub fn adapter(&mut self, folder: &Path) -> Result<()> {
        let value = json(&folder.join(ADAPTER_CONFIG))?;
        let key = "base_model_name_or_path";
        if let Some(name) = value.as_ref().and_then(|v| v.get(key)?.as_str()) {
            self.add(Topic::Parent, name, ADAPTER_CONFIG, key.to_owned());
        }
        Ok(())
    }

    /// The models that mergekit was told to merge.
    pub fn merge(&mut self, folder: &Path) -> Result<()> {
        let path = folder.join(MERGE_CONFIG);
        if !path.is_file() {
            return Ok(());
        }
        let text = data::read_text(&path, MAX_BYTES)?;
        self.add(Topic::Relation, "merge", MERGE_CONFIG, None);
        for (number, line) in text.lines().enumerate() {
            let entry = line.trim_start().trim_start_matches("- ");
            let name = entry.split_once(':').filter(|(key, _)| matches!(key.trim(), "model" | "base_model"));
            let name = name.map(|(_, name)| name.trim().trim_matches(['"', '\'']));
            // a model may be followed by the adapter that it is merged with
            for name in name.iter().flat_map(|name| name.split('+')).filter(|name| is_hub_name(name)) {
                self.add(Topic::Parent, name, MERGE_CONFIG, format!("line {}", number + 1));
            }
        }
        Ok(())
    }

    /// `__metadata__` of the safetensors files.
    pub fn safetensors(&mut self, base: &Base) {
        for pair in &base.headers.metadata {
            let key = pair.key.to_lowercase();
            let topic = match key.rsplit(['.', ':']).next().unwrap_or(&key) {
                k if k.ends_with("license") => Topic::License,
                "license_name" => Topic::LicenseName,
                "license_link" => Topic::LicenseLink,
                "base_model" | "base_model_name_or_path" | "merged_from" | "derived_from" => Topic::Parent,
                "name_or_path" | "_name_or_path" => Topic::Name,
                "dataset" | "datasets" => Topic::DataSet,
                _ => continue,
            };
            let file = file_name(&base.headers.files[pair.file]);
            self.add(topic, &pair.value, &file, format!("__metadata__.{}", pair.key));
        }
    }

    /// A GGUF's metadata (ggml, `docs/gguf.md`, "General metadata").
    pub fn gguf(&mut self, gguf: &Gguf) -> Result<()> {
        let file = file_name(&gguf.path);
        for (key, value) in gguf.metadata.iter().filter_map(|(key, value)| Some((key, value.as_text()?))) {
            let (topic, says) = match key.as_str() {
                "general.license" => (Topic::License, value.to_owned()),
                "general.license.name" => (Topic::LicenseName, value.to_owned()),
                "general.license.link" => (Topic::LicenseLink, value.to_owned()),
                "general.name" => (Topic::Name, value.trim().replace(' ', "-")),
                "general.architecture" => (Topic::Architecture, value.to_owned()),
                "tokenizer.ggml.pre" => (Topic::Tokenizer, value.to_owned()),
                "general.source.huggingface.repository" => (Topic::Name, value.to_owned()),
                "general.source.repo_url" => (Topic::Name, hub_path(value)),
                key if numbered(key, "general.base_model.") == Some("repo_url") => (Topic::Parent, hub_path(value)),
                key if numbered(key, "general.base_model.") == Some("name") => (Topic::Parent, named(gguf, key, value)),
                key if numbered(key, "general.dataset.") == Some("repo_url") => (Topic::DataSet, hub_path(value)),
                key if numbered(key, "general.dataset.") == Some("name") => (Topic::DataSet, named(gguf, key, value)),
                _ => continue,
            };
            self.add(topic, &says, &file, key.clone());
        }
        let sets = gguf.texts("general.datasets")?.unwrap_or_default();
        sets.iter().for_each(|name| self.add(Topic::DataSet, name, &file, "general.datasets".to_owned()));
        Ok(())
    }
}

/// What stands after `prefix` and a number: `name` in `general.base_model.0.name`.
fn numbered<'k>(key: &'k str, prefix: &str) -> Option<&'k str> {
    let (number, rest) = key.strip_prefix(prefix)?.split_once('.')?;
    number.parse::<u32>().ok().map(|_| rest)
}

/// `org/name` out of a name and its organisation; nothing where an address beside it says it better.
fn named(gguf: &Gguf, key: &str, name: &str) -> String {
    let beside = |what: &str| gguf.text(&format!("{}{what}", key.trim_end_matches("name")));
    if beside("repo_url").is_some() {
        return String::new();
    }
    let organization = beside("organization").map_or(String::new(), |o| format!("{}/", o.trim()));
    format!("{organization}{}", name.trim()).replace(' ', "-")
}

/// `org/model` at the end of a hub's address.
fn hub_path(address: &str) -> String {
    let mut parts = address.trim().trim_end_matches('/').rsplit('/');
    let (name, organization) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let path = format!("{organization}/{name}");
    if is_hub_name(&path) { path } else { address.to_owned() }
}

fn json(path: &Path) -> Result<Option<Value>> {
    if !path.is_file() {
        return Ok(None);
    }
    serde_json::from_slice(&data::read_bytes(path, 4 * MAX_BYTES)?).map(Some).map_err(|e| Error::input(path, e))
}

/// The name of a file of the folder.
pub fn file_name(path: &Path) -> String {
    path.file_name().map_or(String::new(), |n| n.to_string_lossy().into_owned())
}

/// One line of at most [`MAX_SHOWN`] characters.
fn shown(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

//! The base: an open-weights model, read only. Headers need no tensor library; weights are mapped once.

mod card;
mod config;
mod fingerprint;
mod headers;

#[cfg(feature = "ml")]
pub mod chat;
#[cfg(feature = "ml")]
pub mod family;
#[cfg(feature = "ml")]
pub mod tokenizer;
#[cfg(feature = "ml")]
pub mod weights;

pub use card::Card;
pub use config::Config;
pub use fingerprint::Fingerprint;
pub use headers::{Dtype, Headers, INDEX, MAX_HEADER_BYTES, MAX_INDEX_BYTES, Part, TensorHeader, weight_files};

use crate::error::{Code, Error, Result};
use std::path::{Path, PathBuf};

/// A card's title that is longer than this names nothing.
const MAX_NAME_BYTES: usize = 80;

/// A model folder in the Hugging Face layout; opening it reads headers, never weights.
#[derive(Debug, Clone)]
pub struct Base {
    /// Where it lies.
    pub folder: PathBuf,
    /// `config.json`.
    pub config: Config,
    /// `README.md`, where there is one.
    pub card: Option<Card>,
    /// Names, shapes and places of the tensors; empty where the folder has no weights.
    pub headers: Headers,
    /// `owner/name`, where it came from the hub and nobody has to guess.
    pub hub: Option<String>,
}

impl Base {
    /// Reads a folder's `config.json`, model card and safetensors headers.
    pub fn open(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            let error = Error::new(Code::Io, format!("no base here: {}", folder.display()));
            return Err(match folder.extension() {
                Some(e) if e == "gguf" => {
                    Error::new(Code::NotBuilt, format!("a GGUF base cannot be read yet: {}", folder.display()))
                        .with_hint("use the model's Hugging Face folder")
                }
                _ => error.with_hint("`base.path` names a folder with config.json, tokenizer.json and *.safetensors"),
            });
        }
        Self::with_headers(folder, Headers::read(folder)?)
    }

    /// The same where the headers were read elsewhere: the folder needs no weights.
    pub fn with_headers(folder: &Path, headers: Headers) -> Result<Self> {
        let (config, card) = (Config::read(folder)?, Card::read(folder)?);
        Ok(Self { folder: folder.to_owned(), config, card, headers, hub: None })
    }

    /// Its public name: the hub's, or else its card's title, or else its folder's name; never a path.
    pub fn name(&self) -> String {
        let title = self.card.as_ref().and_then(|card| card.prose.lines().find_map(|l| l.trim().strip_prefix("# ")));
        let plain = |title: &&str| title.len() <= MAX_NAME_BYTES && !title.contains(char::is_control);
        let folder = || self.folder.canonicalize().ok()?.file_name().map(|n| n.to_string_lossy().into_owned());
        let named = self.hub.as_deref().or_else(|| self.hub_name()).or(title.map(str::trim).filter(plain));
        named.map(String::from).or_else(folder).unwrap_or_else(|| "base".into())
    }

    /// `org/model`, where `_name_or_path` in its config is that and no path on somebody's disk.
    pub fn hub_name(&self) -> Option<&str> {
        let part = |p: &str| !p.is_empty() && !p.starts_with('.') && !p.contains(['\\', ' ', ':']);
        let name = self.config.value().get("_name_or_path")?.as_str()?;
        name.split_once('/').filter(|(org, model)| part(org) && part(model) && !model.contains('/')).map(|_| name)
    }

    /// The identity of the weights, config, tokenizer and template, whatever the sharding. Reads everything once.
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        Fingerprint::of(self)
    }
}

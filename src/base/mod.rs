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
pub use headers::{Dtype, Headers, TensorHeader};

use crate::error::{Code, Error, Result};
use std::path::{Path, PathBuf};

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
        Ok(Self {
            folder: folder.to_owned(),
            config: Config::read(folder)?,
            card: Card::read(folder)?,
            headers: Headers::read(folder)?,
        })
    }

    /// Its public name: where its config says that it comes from, or else its folder's name; never a path.
    pub fn name(&self) -> String {
        let named = self.config.value().get("_name_or_path").and_then(|name| name.as_str());
        let of_hub = |name: &&str| {
            name.split('/').count() == 2 && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
        };
        let of_folder = || self.folder.canonicalize().ok()?.file_name().map(|n| n.to_string_lossy().into_owned());
        named.filter(of_hub).map(String::from).or_else(of_folder).unwrap_or_else(|| "base".into())
    }

    /// The identity of the weights, config, tokenizer and template, whatever the sharding. Reads everything once.
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        Fingerprint::of(self)
    }
}

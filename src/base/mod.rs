//! The base: an open-weights model, read only. Headers need no tensor library; weights are mapped once.

mod card;
mod config;
mod fingerprint;
pub mod gguf;
mod headers;
mod norms;
mod opaque;

#[cfg(feature = "ml")]
pub mod chat;
#[cfg(feature = "ml")]
pub mod family;
#[cfg(feature = "ml")]
mod sentencepiece;
#[cfg(feature = "ml")]
pub mod tokenizer;
#[cfg(feature = "ml")]
pub mod weights;

pub use card::Card;
pub use config::Config;
pub use fingerprint::Fingerprint;
pub use gguf::Gguf;
pub use headers::{
    Dtype, Headers, INDEX, MAX_HEADER_BYTES, MAX_INDEX_BYTES, Metadata, Part, TensorHeader, WeightFiles, floats,
    weight_files,
};
pub use norms::Norm;

use crate::error::{AtPath, Code, Error, Result};
use std::path::{Path, PathBuf};

/// A card's title that is longer than this names nothing.
const MAX_NAME_BYTES: usize = 80;

/// A folder may not hold more GGUF files than this.
pub const MAX_GGUF_FILES: usize = 64;

/// What the weights of a base lie in.
#[derive(Debug, Clone, Copy)]
pub enum Files<'a> {
    /// One or more of safetensors.
    Safetensors(&'a Headers),
    /// One of llama.cpp.
    Gguf(&'a Gguf),
}

/// A model folder in the Hugging Face layout, or a GGUF file with what lies beside it; opening it reads headers, never
/// weights.
#[derive(Debug, Clone)]
pub struct Base {
    /// Where it lies.
    pub folder: PathBuf,
    /// `config.json`, or else what a GGUF says in its place.
    pub config: Config,
    /// `README.md`, where there is one.
    pub card: Option<Card>,
    /// Names, shapes and places of the tensors; empty where the folder has no safetensors.
    pub headers: Headers,
    /// The heads of its GGUF files.
    pub gguf: Vec<Gguf>,
    /// `owner/name`, where it came from the hub and nobody has to guess.
    pub hub: Option<String>,
}

impl Base {
    /// Reads a folder's `config.json`, model card and the heads of its weights, or one GGUF file's. All but the folder
    /// may be absent: what needs the absent says so.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, Headers::read)
    }

    /// The same, to be judged and not to be run: of its safetensors, some may be missing or cut off after their header.
    pub fn open_evidence(path: &Path) -> Result<Self> {
        Self::open_with(path, Headers::read_what_is_there)
    }

    fn open_with(path: &Path, headers: fn(&Path) -> Result<Headers>) -> Result<Self> {
        let is_gguf = |path: &Path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
        if path.is_file() && is_gguf(path) {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            return Self::new(folder, Headers::default(), vec![Gguf::read(path)?]);
        }
        if !path.is_dir() {
            let hint = "`base.path` names a folder with config.json, tokenizer.json and *.safetensors, or a GGUF file";
            return Err(Error::new(Code::Io, format!("no base here: {}", path.display())).with_hint(hint));
        }
        let entries = std::fs::read_dir(path).at(path)?;
        let files = entries.map(|e| e.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>().at(path)?;
        if files.is_empty() {
            return Err(Error::new(Code::Io, format!("no base here, the folder is empty: {}", path.display()))
                .with_hint("`base.path` names a model's folder: its licence, card and config at least"));
        }
        let mut ggufs: Vec<PathBuf> = files.into_iter().filter(|p| is_gguf(p) && p.is_file()).collect();
        ggufs.sort();
        if ggufs.len() > MAX_GGUF_FILES {
            return Err(Error::input(path, format!("more than {MAX_GGUF_FILES} GGUF files: {}", ggufs.len())));
        }
        let ggufs = ggufs.iter().map(|p| Gguf::read(p)).collect::<Result<_>>()?;
        Self::new(path, headers(path)?, ggufs)
    }

    fn new(folder: &Path, headers: Headers, gguf: Vec<Gguf>) -> Result<Self> {
        let config = match (Config::read(folder)?, gguf.first()) {
            (config, Some(gguf)) if !config.is_there() => Config::of_gguf(gguf)?,
            (config, _) => config,
        };
        Ok(Self { folder: folder.to_owned(), config, card: Card::read(folder)?, headers, gguf, hub: None })
    }

    /// A folder whose weights' heads were read elsewhere: it needs no weights.
    pub fn with_heads(folder: &Path, headers: Headers, ggufs: Vec<Gguf>) -> Result<Self> {
        Self::new(folder, headers, ggufs)
    }

    /// Its public name: the hub's, or else its card's title, or else its folder's name; never a path.
    pub fn name(&self) -> String {
        let title = self.card.as_ref().and_then(|card| card.prose.lines().find_map(|l| l.trim().strip_prefix("# ")));
        let own = self.gguf.first().and_then(|gguf| gguf.text("general.name"));
        let plain = |title: &&str| title.len() <= MAX_NAME_BYTES && !title.contains(char::is_control);
        let folder = || self.folder.canonicalize().ok()?.file_name().map(|n| n.to_string_lossy().into_owned());
        let named = self.hub.as_deref().or_else(|| self.hub_name()).or(title.or(own).map(str::trim).filter(plain));
        named.map(String::from).or_else(folder).unwrap_or_else(|| "base".into())
    }

    /// `org/model`, where `_name_or_path` in its config is that and no path on somebody's disk.
    pub fn hub_name(&self) -> Option<&str> {
        let name = self.config.value().get("_name_or_path")?.as_str()?;
        is_hub_name(name).then_some(name)
    }

    /// What its weights lie in: safetensors where there are any, or else its one GGUF file.
    pub fn files(&self) -> Result<Files<'_>> {
        if !self.headers.tensors.is_empty() {
            return Ok(Files::Safetensors(&self.headers));
        }
        match &self.gguf[..] {
            [] => Err(Error::input(&self.folder, "no weights in this folder")
                .with_hint("the folder needs its *.safetensors, or a GGUF file")),
            [gguf] if gguf.count("split.count").is_some_and(|parts| parts > 1) => {
                Err(Error::new(Code::UnsupportedBase, format!("{}: one part of several", gguf.path.display()))
                    .with_hint("join them: llama-gguf-split --merge FIRST-PART OUT.gguf"))
            }
            [gguf] => Ok(Files::Gguf(gguf)),
            [one, other, ..] => {
                let names = [one, other].map(|g| g.path.display().to_string()).join(", ");
                Err(Error::input(&self.folder, format!("several GGUF files in this folder: {names}"))
                    .with_hint("name the one that is meant: base.path = \"FOLDER/NAME.gguf\""))
            }
        }
    }

    /// The GGUF that stands in for what its folder lacks: tokenizer, template, special tokens.
    fn own_gguf(&self) -> Option<&Gguf> {
        if let Ok(Files::Gguf(gguf)) = self.files() { Some(gguf) } else { None }
    }

    /// The identity of the weights, config, tokenizer and template, whatever the sharding. Reads everything once.
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        Fingerprint::of(self)
    }
}

/// `org/model`: two parts, neither of them a place on a disk.
pub fn is_hub_name(name: &str) -> bool {
    let part = |p: &str| !p.is_empty() && !p.starts_with('.') && !p.contains(['\\', ' ', ':']);
    name.split_once('/').is_some_and(|(org, model)| part(org) && part(model) && !model.contains('/'))
}

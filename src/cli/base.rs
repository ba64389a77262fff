//! The base that a command works on: a folder, or a repository of the Hugging Face hub, fetched as far as is needed.

use super::say::Say;
use sealwright::base::Base;
use sealwright::error::{Error, Result};
use sealwright::product::Product;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// What stands before the name of a repository on the hub.
const HUB: &str = "hub:";

/// Where a base is: `DIR`, or `hub:OWNER/NAME` with `@REVISION` after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder.
    Folder(PathBuf),
    /// On the hub.
    Hub {
        /// `owner/name`.
        name: String,
        /// A commit, branch or tag; `main` when left out.
        revision: Option<String>,
    },
}

/// How much of a base is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What its licences are judged by: no weights.
    Evidence,
    /// All that training, packing and running read.
    Whole,
}

/// What every command that may fetch a base can be told.
#[derive(clap::Args)]
pub struct Network {
    /// Use what the hub's cache holds, and no network
    #[arg(long)]
    offline: bool,
}

impl Place {
    /// Where the product's base is.
    pub fn of(product: &Product) -> Self {
        let base = &product.base;
        match (&base.hub, &base.path) {
            (Some(name), _) => Self::Hub { name: name.clone(), revision: base.revision.clone() },
            (None, path) => Self::Folder(product.resolve(path.as_deref().unwrap_or(".".as_ref()))),
        }
    }

    /// Opens it, fetched first where it has to be.
    pub fn open(&self, extent: Extent, network: &Network, say: &Say) -> Result<Base> {
        match self {
            Self::Folder(folder) if extent == Extent::Evidence => Base::open_evidence(folder),
            Self::Folder(folder) => Base::open(folder),
            Self::Hub { name, revision } => fetch(name, revision.as_deref(), extent, network.offline, say),
        }
    }
}

impl FromStr for Place {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.strip_prefix(HUB) {
            None => Self::Folder(text.into()),
            Some(rest) => match rest.split_once('@') {
                Some((name, revision)) => Self::Hub { name: name.into(), revision: Some(revision.into()) },
                None => Self::Hub { name: rest.into(), revision: None },
            },
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Hub { name, revision: None } => write!(f, "{HUB}{name}"),
            Self::Hub { name, revision: Some(revision) } => write!(f, "{HUB}{name}@{revision}"),
        }
    }
}

#[cfg(not(feature = "net"))]
fn fetch(name: &str, _: Option<&str>, _: Extent, _: bool, _: &Say) -> Result<Base> {
    use sealwright::error::Code;
    Err(Error::new(Code::NotBuilt, format!("this program was built without a network: {HUB}{name}"))
        .with_hint("build it with the feature `net`, or name a folder"))
}

#[cfg(feature = "net")]
use hub::fetch;

#[cfg(feature = "net")]
mod hub {
    use super::{Error, Extent, Result, Say};
    use crate::cli::progress::Progress;
    use sealwright::base::{self, Base, Headers};
    use sealwright::license;
    use sealwright::net::hub::{Entry, Hub, Name, Revision, Settings, Snapshot};

    /// A file larger than this is no licence, card or config, unless its name says so.
    const MAX_EVIDENCE_BYTES: u64 = 4 << 20;
    /// Files that are fetched to judge a base by.
    const MAX_EVIDENCE_FILES: usize = 512;
    /// What no licence is read out of, and no base out of anything but safetensors: never fetched.
    const NEVER: [&str; 27] = [
        "safetensors",
        "bin",
        "pt",
        "pth",
        "ckpt",
        "h5",
        "msgpack",
        "onnx",
        "onnx_data",
        "gguf",
        "ggml",
        "ot",
        "tflite",
        "mlmodel",
        "pkl",
        "npz",
        "zip",
        "gz",
        "png",
        "jpg",
        "jpeg",
        "gif",
        "webp",
        "svg",
        "mp4",
        "mp3",
        "wav",
    ];

    /// A base off the hub.
    pub fn fetch(name: &str, revision: Option<&str>, extent: Extent, offline: bool, say: &Say) -> Result<Base> {
        let (name, revision) = (Name::parse(name)?, Revision::parse(revision)?);
        let hub = Hub::new(Settings::of_user(offline)?)?;
        let snapshot = hub.snapshot(&name, &revision)?;
        if !revision.is_commit() {
            say.warning(format!(
                "{name} at {revision} is commit {} today; name the commit for a build that repeats",
                snapshot.commit()
            ));
        }
        let mut progress = Progress::new(say);
        let mut base = match extent {
            Extent::Evidence => evidence(&snapshot, &mut progress)?,
            Extent::Whole => whole(&snapshot, &mut progress)?,
        };
        base.hub = Some(name.to_string());
        Ok(base)
    }

    fn evidence(snapshot: &Snapshot<'_>, progress: &mut Progress<'_>) -> Result<Base> {
        let files: Vec<&Entry> = snapshot.files().iter().filter(|file| is_evidence(file)).collect();
        if files.len() > MAX_EVIDENCE_FILES {
            let message = format!("more than {MAX_EVIDENCE_FILES} small files: {}", files.len());
            return Err(Error::input(&snapshot.folder(), message));
        }
        snapshot.fetch(files, &mut |event| progress.on(event))?;
        let Weights { files, indexed, .. } = weights(snapshot, progress)?;
        let parts = snapshot.headers(files)?;
        let ggufs: Vec<&Entry> = snapshot.files().iter().filter(|file| is_gguf(file)).collect();
        if ggufs.len() > base::MAX_GGUF_FILES {
            let message = format!("more than {} GGUF files: {}", base::MAX_GGUF_FILES, ggufs.len());
            return Err(Error::input(&snapshot.folder(), message));
        }
        let ggufs = snapshot.gguf_heads(ggufs)?;
        let headers = Headers { indexed, ..Headers::of(parts.into_iter().map(Ok))? };
        Base::with_heads(&snapshot.folder(), headers, ggufs)
    }

    fn whole(snapshot: &Snapshot<'_>, progress: &mut Progress<'_>) -> Result<Base> {
        let Weights { files: weights, missing, .. } = weights(snapshot, progress)?;
        if let Some(missing) = missing.filter(|_| !weights.is_empty()) {
            let message = format!("a weight file is missing: {}", missing.escape_debug());
            return Err(Error::input(&snapshot.folder().join(base::INDEX), message));
        }
        if weights.is_empty() {
            return Err(Error::input(&snapshot.folder(), "the repository holds no *.safetensors")
                .with_hint("pickle files are never loaded; take a repository or revision that has safetensors"));
        }
        let others = snapshot.files().iter().filter(|file| is_evidence(file) || is_part(file));
        snapshot.fetch(others.chain(weights), &mut |event| progress.on(event))?;
        Base::open(&snapshot.folder())
    }

    /// The weight files of a repository, by its index where it has one.
    struct Weights<'s> {
        files: Vec<&'s Entry>,
        /// The first that the index names in vain.
        missing: Option<String>,
        /// The tensors that the index names.
        indexed: Vec<String>,
    }

    fn weights<'s>(snapshot: &'s Snapshot<'_>, progress: &mut Progress<'_>) -> Result<Weights<'s>> {
        let index = snapshot.files().iter().find(|file| file.name == base::INDEX);
        let index = index.map(|file| {
            let path = snapshot.folder().join(&file.name);
            snapshot.fetch([file], &mut |event| progress.on(event))?;
            sealwright::data::read_bytes(&path, base::MAX_INDEX_BYTES)
        });
        let names = snapshot.files().iter().map(|file| file.name.as_str());
        let base::WeightFiles { files, missing, tensors } = base::weight_files(names, index.transpose()?.as_deref())
            .map_err(|why| Error::input(&snapshot.folder().join(base::INDEX), why))?;
        let files = snapshot.files().iter().filter(|file| files.contains(&file.name.as_str())).collect();
        Ok(Weights { files, missing, indexed: tensors })
    }

    /// At the top or under `LICENSES/`: what a folder would be judged by.
    fn is_evidence(file: &Entry) -> bool {
        let (folder, name) = file.name.rsplit_once('/').unwrap_or(("", &file.name));
        let name = name.to_lowercase();
        (folder.is_empty() || folder.eq_ignore_ascii_case("licenses"))
            && (license::is_evidence_name(&name)
                || name.ends_with("config.json")
                || (file.size <= MAX_EVIDENCE_BYTES && !is_never(&name)))
    }

    /// At the top: what a folder would be judged by.
    fn is_gguf(file: &Entry) -> bool {
        !file.name.contains('/') && file.name.to_lowercase().ends_with(".gguf")
    }

    /// What else a base is made of: a tokenizer may be large.
    fn is_part(file: &Entry) -> bool {
        !file.name.contains('/') && (file.name.ends_with(".json") || file.name.ends_with(".model"))
    }

    fn is_never(name: &str) -> bool {
        name.rsplit_once('.').is_some_and(|(_, end)| NEVER.contains(&end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_shown() {
        for text in ["base", "../hub", "hub:a/b", "hub:a/b@refs/pr/1"] {
            let place: Place = text.parse().unwrap();
            assert_eq!(matches!(place, Place::Hub { .. }), text.starts_with("hub:"));
            assert_eq!(place.to_string(), text);
        }
    }
}

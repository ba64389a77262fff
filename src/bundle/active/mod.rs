//! Active content: what can run when a file of the derivative is loaded, FORMAT.md section 16. Files are read as bytes,
//! with limits, and never loaded; a name decides only where it is by the name that a file is run.
//!
//! What is not looked for: a flaw of a loader. A chat template (in a GGUF or a tokenizer's config) is data: loaders render
//! it in a sandbox without files or network.

mod archive;
mod config;
mod magic;
mod onnx;
mod pickle;
mod protobuf;
mod source;
mod tensorflow;
mod words;

use super::derivative::SourceFile;
use crate::error::{AtPath, Code, Error, Result};
use serde::{Deserialize, Serialize};
use source::{Stop, Window};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident = $word:literal, $what:literal;)+) => {
        /// A kind of content that can run when it is loaded.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Active { $($(#[doc = $doc])+ $variant,)+ }

        impl Active {
            /// All of them, in the order of their words.
            pub const ALL: &'static [Active] = &[$(Active::$variant,)+];

            /// Its word in product files, manifests and policies.
            pub fn name(self) -> &'static str {
                match self { $(Active::$variant => $word,)+ }
            }

            /// What it is.
            pub fn what(self) -> &'static str {
                match self { $(Active::$variant => $what,)+ }
            }
        }
    };
}

kinds! {
    /// `auto_map`, `_target_`, `!!python/…`.
    ConfigCode = "config-code", "a config that names code to be loaded";
    /// Of ONNX, TensorFlow and PaddlePaddle.
    CustomOp = "custom-op", "an operator of another's library, or one that calls Python or touches files";
    /// A Lambda layer, or a layer of a module that is not Keras'.
    KerasCode = "keras-code", "a Keras layer with code of its own";
    /// ELF, PE, Mach-O and the like.
    Native = "native", "a shared library or a program";
    /// Also inside zip, npy, joblib and compressed files.
    Pickle = "pickle", "a Python pickle that names what is to be called";
    /// Source or bytecode.
    Python = "python", "Python code";
    /// By its `#!`, or a name that a shell runs.
    Script = "script", "a script";
    /// An archive or compression that is not read here, or one beyond the limits.
    Unread = "unread", "packed so that it cannot be looked into";
}

impl Active {
    /// The kind with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == word)
    }
}

impl fmt::Display for Active {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Archives in archives are looked into so deep.
const MAX_DEPTH: u32 = 4;
/// Members of one file, at any depth.
const MAX_LOOKS: u32 = 1 << 17;
/// A byte of a file may be part of so many members.
const MAX_TIMES: u64 = 8;

/// What was found, and where first.
#[derive(Debug, Default)]
pub(super) struct Found {
    places: BTreeMap<Active, String>,
    /// Bytes that were unpacked of the file that is looked at.
    unpacked: u64,
    /// Members of it that were looked at, and bytes of members that still may be: members can overlap.
    looked: u32,
    allowance: u64,
}

impl Found {
    /// Looks at files on disk.
    pub fn in_files(files: &[SourceFile]) -> Result<Self> {
        let mut found = Self::default();
        for SourceFile { name, path } in files {
            let mut file = File::open(path).at(path)?;
            found.look(name, &mut file).at(path)?;
        }
        Ok(found)
    }

    /// Looks at one file, whatever it is called and packed in.
    pub fn look(&mut self, name: &str, source: &mut (impl Read + Seek)) -> io::Result<()> {
        let mut window = Window::whole(source)?;
        (self.unpacked, self.looked) = (0, 0);
        self.allowance = window.length.saturating_mul(MAX_TIMES).saturating_add(archive::MAX_UNPACKED_OF_A_FILE);
        look(self, name, &mut window, 0)
    }

    fn add(&mut self, kind: Active, name: &str, why: &str) {
        self.places.entry(kind).or_insert_with(|| format!("{name}: {why}"));
    }

    /// In the order of the manifest.
    pub fn kinds(&self) -> impl Iterator<Item = Active> {
        self.places.keys().copied()
    }

    /// Refuses what is not among `allowed`.
    pub fn demand(&self, allowed: &BTreeSet<Active>) -> Result<()> {
        let Some((kind, place)) = self.places.iter().find(|(kind, _)| !allowed.contains(kind)) else { return Ok(()) };
        Err(Error::new(Code::ActiveContent, format!("{place} ({kind}: {})", kind.what())).with_hint(format!(
            "remove it, or convert it (weights to safetensors); `active-content = [\"{kind}\"]` in [product] states it \
             in the bundle, and customers must allow it, too"
        )))
    }

    /// Refuses what the manifest does not state.
    pub fn demand_stated(&self, stated: &[Active]) -> Result<()> {
        let Some((kind, place)) = self.places.iter().find(|(kind, _)| !stated.contains(kind)) else { return Ok(()) };
        let message = format!("the payload holds what its manifest does not state: {place} ({kind})");
        Err(Error::new(Code::UndeclaredContent, message).with_hint("don't use the bundle; ask the vendor about it"))
    }
}

/// The kinds of content in a file that can run when it is loaded, ascending; `name` is what it is called.
///
/// # Errors
/// Those of reading it.
pub fn active_content(name: &str, source: &mut (impl Read + Seek)) -> io::Result<Vec<Active>> {
    let mut found = Found::default();
    found.look(name, source)?;
    Ok(found.kinds().collect())
}

/// What a customer has not allowed of what a manifest states.
pub(super) fn demand_allowed(stated: &[Active], allowed: &BTreeSet<Active>) -> Result<()> {
    let refused: Vec<&str> = stated.iter().filter(|k| !allowed.contains(k)).map(|k| k.name()).collect();
    let Some(first) = stated.iter().find(|kind| !allowed.contains(kind)) else { return Ok(()) };
    let message = format!("it holds what can run when it is loaded: {} ({})", refused.join(", "), first.what());
    Err(Error::new(Code::ActiveContent, message)
        .with_hint(format!("`--allow-active {first}`, where you trust the vendor with your machine")))
}

/// One file, or a member of one. Every reader is tried: a file may be several things to several loaders.
fn look(found: &mut Found, name: &str, window: &mut Window<'_>, depth: u32) -> io::Result<()> {
    if depth > 0 {
        found.looked += 1;
        let left = found.allowance.checked_sub(window.length).filter(|_| found.looked <= MAX_LOOKS);
        let Some(left) = left else {
            found.add(Active::Unread, name, "members that overlap, or too many");
            return Ok(());
        };
        found.allowance = left;
    }
    words::name(found, name);
    let head = window.read_at(0, magic::HEAD)?;
    magic::look(found, name, &head, window)?;
    match pickle::look(window) {
        Ok(None) | Err(Stop::Not) => {}
        Ok(Some(why)) => found.add(Active::Pickle, name, &why),
        Err(Stop::Limit) => found.add(Active::Pickle, name, "longer than is read here"),
        Err(Stop::Io(error)) => return Err(error),
    }
    if depth >= MAX_DEPTH && archive::is_one(&head, window)? {
        found.add(Active::Unread, name, "archives in archives, too deep");
    } else {
        archive::look(found, name, &head, window, depth)?;
    }
    config::look(found, name, &head, window)?;
    if !magic::is_plain(&head) {
        words::look(found, name, &head, window)?;
    }
    for framework in [onnx::look, tensorflow::look] {
        match framework(window) {
            Ok(None) | Err(Stop::Not) => {}
            Ok(Some(why)) => found.add(Active::CustomOp, name, &why),
            Err(Stop::Limit) => found.add(Active::Unread, name, "more fields than are read here"),
            Err(Stop::Io(error)) => return Err(error),
        }
    }
    Ok(())
}

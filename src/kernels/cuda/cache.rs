//! Machine code on disk: what was compiled once for a card is not compiled again.
//!
//! A file's name is the digest of all that it was made from: source, options, kind of card, version of the compiler. A
//! folder of them may be carried to a machine without a compiler.

use super::compile::{self, Code, OPTIONS, compile};
use super::source::Unit;
use crate::data;
use crate::digest::Sha256;
use crate::error::{AtPath, Result};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// No kernel of ours is a hundredth of that.
const MAX_BYTES: u64 = 64 << 20;
/// Names the folder; by default it is in the user's cache.
const FOLDER: &str = "SEALWRIGHT_CUDA_CACHE";

/// The machine code of a unit for cards of a kind (`90a`): from disk, or compiled and put there.
///
/// # Errors
/// `NoDevice` where it is not there and there is no compiler.
pub fn kernels_of(unit: Unit, target: &str) -> Result<Vec<u8>> {
    match folder() {
        Some(folder) => kept(&folder, unit, target, || compile(unit, target, Code::Cubin)),
        None => compile(unit, target, Code::Cubin),
    }
}

fn folder() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let of_user = || named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")));
    named(FOLDER).or_else(|| Some(of_user()?.join("sealwright").join("kernels")))
}

fn kept(folder: &Path, unit: Unit, target: &str, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    // without a compiler its version is unknown: any code of this source will do
    let version = compile::nvrtc_version().ok();
    let source = Sha256::of([unit.text().as_str(), &OPTIONS.join(" "), target].join("\0")).to_string();
    let source = source.rsplit(':').next().unwrap_or_default().to_owned();
    let path = match version {
        Some((major, minor)) => Some(folder.join(format!("{source}-{major}.{minor}.cubin"))),
        None => any_version(folder, &source),
    };
    if let Some(whole) = path.as_ref().and_then(|path| data::read_bytes(path, MAX_BYTES).ok()).filter(is_code) {
        return Ok(whole);
    }
    let code = make()?;
    if let Some(path) = path {
        // a cache that cannot be written costs time, not the run
        let _ = data::private_folder(folder)
            .and_then(|()| data::write_atomically(&path, |file| file.write_all(&code).at(&path)));
    }
    Ok(code)
}

/// The newest compiler's code of a source.
fn any_version(folder: &Path, source: &str) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    files.filter(|f| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with(source))).max()
}

#[allow(clippy::ptr_arg)] // a filter's argument
fn is_code(bytes: &Vec<u8>) -> bool {
    bytes.starts_with(b"\x7fELF")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Code, Error};

    #[test]
    fn code_is_made_once_and_a_broken_file_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let unit = Unit::all()[0];
        let made = || Ok(b"\x7fELF code".to_vec());
        let never = || Err(Error::new(Code::BadInput, "made again"));
        assert!(kept(dir.path(), unit, "80", never).is_err());
        assert_eq!(kept(dir.path(), unit, "80", made).unwrap(), b"\x7fELF code");
        let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().path()).collect();
        if compile::nvrtc_version().is_err() {
            // no compiler, so no name to keep it under; but what another machine made is taken
            assert!(files.is_empty());
            let source = Sha256::of([unit.text().as_str(), &OPTIONS.join(" "), "80"].join("\0")).to_string();
            let name = format!("{}-13.0.cubin", source.rsplit(':').next().unwrap());
            std::fs::write(dir.path().join(name), b"\x7fELF carried").unwrap();
            assert_eq!(kept(dir.path(), unit, "80", never).unwrap(), b"\x7fELF carried");
            return;
        }
        assert_eq!(kept(dir.path(), unit, "80", never).unwrap(), b"\x7fELF code");
        assert!(kept(dir.path(), unit, "90a", never).is_err());
        std::fs::write(&files[0], "half").unwrap();
        assert_eq!(kept(dir.path(), unit, "80", made).unwrap(), b"\x7fELF code");
    }
}

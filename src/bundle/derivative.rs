//! The files that go into a payload, whichever trainer or framework made them: read, never run.

use super::layout::{Names, check_name};
use super::model_sig;
use super::walk::{LICENSES, PAPERS};
use crate::digest::{Hasher, Sha256};
use crate::error::{Code, Error, Result};
use std::path::PathBuf;

/// One file of the derivative.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Its name in the payload.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
}

/// A file, as it was read to be sealed.
pub(super) struct Measured {
    pub name: String,
    pub size: u64,
    pub sha256: Sha256,
}

/// The rules for what may be sealed.
pub(super) fn check(files: &[SourceFile]) -> Result<()> {
    let mut names = Names::default();
    PAPERS.into_iter().chain([model_sig::NAME]).for_each(|name| names.add(name).expect("our own names differ"));
    for SourceFile { name, path } in files {
        if name.to_ascii_uppercase().starts_with(LICENSES) {
            return Err(Error::input(path, "LICENSES/ is the bundle's own").with_hint("rename or remove the folder"));
        }
        check_name(name).and_then(|()| names.add(name)).map_err(|e| {
            Error::input(path, &e)
                .with_hint("rename or remove it; the bundle has papers of its own, and rules for names")
        })?;
    }
    if files.is_empty() {
        return Err(Error::new(Code::BadInput, "no file is left to seal"));
    }
    Ok(())
}

/// The derivative's digest, FORMAT.md section 2: over the lines `HEX SIZE NAME`.
pub(super) fn digest(files: &[Measured]) -> Sha256 {
    let mut hasher = Hasher::default();
    files.iter().for_each(|f| hasher.update(format!("{} {} {}\n", f.sha256, f.size, f.name).as_bytes()));
    hasher.finish()
}

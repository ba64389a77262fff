//! What a bundle says of itself, with no key. Nothing of it is proven.

use super::manifest::Manifest;
use super::sign::Claim;
use super::walk::{Walked, at};
use crate::digest::Sha256;
use crate::error::{AtPath, Result};
use serde::Serialize;
use std::path::Path;

/// A bundle's own words.
#[derive(Debug, Serialize)]
pub struct Inspected {
    /// Bytes of the file.
    pub size: u64,
    /// SHA-256 of the manifest: the bundle's identity.
    pub id: Sha256,
    /// The key that says to have signed it.
    pub keyid: Sha256,
    /// The manifest.
    pub manifest: Manifest,
}

/// Reads layout, manifest and the claim of its signature; digests and signature are not checked.
pub fn inspect(path: &Path) -> Result<Inspected> {
    let walked = Walked::read(path)?;
    let size = walked.file.metadata().at(path)?.len();
    let keyid = Claim::parse(&walked.signature, &walked.manifest).map_err(|e| at(path, e))?.keyid;
    let manifest = Manifest::parse(&walked.manifest).map_err(|e| at(path, e))?;
    Ok(Inspected { size, id: Sha256::of(&walked.manifest), keyid, manifest })
}

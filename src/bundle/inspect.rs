//! What a bundle says of itself, with no key. Nothing of it is proven.

use super::admission::Report;
use super::manifest::Manifest;
use super::renewal::Renewal;
use super::renewal_beside;
use super::sign::Claim;
use super::walk::{REPORT, Walked, at, paper};
use crate::digest::Sha256;
use crate::error::{AtPath, Result};
use crate::sign;
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
    /// Verdict and licences, where `report.json` tells them.
    pub report: Option<Report>,
    /// What lies beside it and says to renew it.
    pub renewal: Option<Renewal>,
}

/// Reads layout, manifest and the claim of its signature; digests and signature are not checked.
pub fn inspect(path: &Path) -> Result<Inspected> {
    let mut walked = Walked::read(path)?;
    let size = walked.file.metadata().at(path)?.len();
    let keyid = Claim::parse(&walked.signature, &walked.manifest).map_err(|e| at(path, e))?.keyid;
    let manifest = Manifest::parse(&walked.manifest).map_err(|e| at(path, e))?;
    let report = paper(&mut walked.file, path, &manifest.entries, REPORT);
    let report = report.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let id = Sha256::of(&walked.manifest);
    let renewal = sign::unproven::<Renewal>(&renewal_beside(path)).filter(|renewal| renewal.bundle == id);
    Ok(Inspected { size, id, keyid, manifest, report, renewal })
}

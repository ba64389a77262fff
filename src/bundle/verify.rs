//! Is a bundle whole, and from whom? FORMAT.md section 7. `Verified` is made here only, and owns the open file.

use super::layout;
use super::manifest::{Entry, Manifest};
use super::sign::Claim;
use super::walk::{Placed, Walked, at};
use crate::digest::{Hasher, Sha256};
use crate::error::{AtPath, Code, Error, Result};
use crate::sign::PublicKey;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// Whose bundles are taken.
#[derive(Default)]
pub struct Trust {
    /// Public keys of vendors.
    pub keys: Vec<PublicKey>,
    /// Take bundles that a development key signed, too.
    pub allow_development: bool,
}

impl Trust {
    /// The keys in these files.
    pub fn read(paths: &[PathBuf], allow_development: bool) -> Result<Self> {
        let keys = paths.iter().map(|path| PublicKey::read(path)).collect::<Result<_>>()?;
        Ok(Self { keys, allow_development })
    }
}

/// A whole bundle by a trusted vendor.
pub struct Verified {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) manifest: Manifest,
    pub(super) signer: PublicKey,
    /// Where the payload's data begins in the file.
    pub(super) payload: u64,
    id: Sha256,
}

impl Verified {
    /// What was signed.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The bundle's identity: the digest of its manifest.
    pub fn id(&self) -> Sha256 {
        self.id
    }
}

/// Checks layout, signature and the digest of every entry; tells the entitlement but does not judge it.
pub fn verify(path: &Path, trust: &Trust) -> Result<Verified> {
    let mut walked = Walked::read(path)?;
    verify_walked(&mut walked, trust).map_err(|e| at(path, e)).map(|(manifest, signer)| Verified {
        path: walked.path,
        file: walked.file,
        id: Sha256::of(&walked.manifest),
        payload: walked.entries.last().expect("a bundle has a payload").start,
        manifest,
        signer,
    })
}

fn verify_walked(walked: &mut Walked, trust: &Trust) -> Result<(Manifest, PublicKey)> {
    let claim = Claim::parse(&walked.signature, &walked.manifest)?;
    let signer = trust.keys.iter().find(|key| key.id() == claim.keyid);
    if let Some(key) = signer {
        claim.prove(&walked.manifest, key)?;
    }
    let manifest = Manifest::parse(&walked.manifest)?;
    if manifest.vendor.key != claim.keyid {
        return Err(Error::new(Code::BadSignature, "manifest.sig names another key than the manifest"));
    }
    check_entries(&manifest.entries, &walked.entries)?;
    check_digests(&mut walked.file, &walked.path, &manifest.entries, &walked.entries)?;
    let signer = signer.ok_or_else(|| {
        Error::new(
            Code::UnknownSigner,
            format!("whole, but signed by a key that is not trusted here: {} ({})", claim.keyid, manifest.vendor.name),
        )
        .with_hint("get the vendor's public key by a way that you trust, and give it with `--trust KEY`")
    })?;
    if manifest.development && !trust.allow_development {
        return Err(Error::new(
            Code::DevelopmentKey,
            "signed with a development key, which proves nothing about its vendor",
        )
        .with_hint("ask for a bundle signed with the vendor's key; to try things out, give `--allow-development`"));
    }
    Ok((manifest, signer.clone()))
}

/// The signed names and sizes are those of the tar.
fn check_entries(signed: &[Entry], found: &[Placed]) -> Result<()> {
    let same = |(signed, found): (&Entry, &Placed)| signed.name == found.head.name && signed.size == found.head.size;
    if signed.len() == found.len() && signed.iter().zip(found).all(same) {
        return Ok(());
    }
    Err(Error::new(Code::BadBundle, "the entries are not those that the manifest names"))
}

fn check_digests(file: &mut File, path: &Path, signed: &[Entry], found: &[Placed]) -> Result<()> {
    for (entry, placed) in signed.iter().zip(found) {
        file.seek(SeekFrom::Start(placed.start)).at(path)?;
        let mut hasher = Hasher::default();
        std::io::copy(&mut file.take(placed.head.size), &mut hasher).map_err(|e| layout::read_error(&e))?;
        if hasher.finish() != entry.sha256 {
            return Err(Error::new(Code::Damaged, format!("{}: not the bytes that were signed", entry.name))
                .with_hint("copy or download it again; if it stays so, ask the vendor"));
        }
    }
    Ok(())
}

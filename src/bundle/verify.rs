//! Is a bundle whole, and from whom? FORMAT.md section 7. `Signed` is made here only, and owns the open file.

use super::active::Active;
use super::admission::Admission;
use super::layout;
use super::manifest::{Entry, Manifest};
use super::renewal::Renewal;
use super::sign::Claim;
use super::trust::{Trust, TrustedKey};
use super::walk::{Placed, REPORT, Walked, at, paper};
use crate::digest::{Hasher, Sha256};
use crate::error::{AtPath, Code, Error, Result};
use crate::sign::PublicKey;
use jiff::Timestamp;
use jiff::civil::Date;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// A bundle that a trusted vendor signed, with papers that are whole. Its payload is hashed by [`verify`], or else while it
/// is opened.
pub struct Signed {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) manifest: Manifest,
    pub(super) signer: PublicKey,
    /// Where the payload's data begins in the file.
    pub(super) payload: u64,
    pub(super) id: Sha256,
    pub(super) renewal: Option<Renewal>,
    pub(super) allowed: BTreeSet<Active>,
}

impl Signed {
    /// What was signed.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The bundle's identity: the digest of its manifest.
    pub fn id(&self) -> Sha256 {
        self.id
    }

    /// The last day of its entitlement, a renewal counted in.
    pub fn until(&self) -> Date {
        self.renewal.as_ref().map_or(self.manifest.entitlement.until, |renewal| renewal.until)
    }

    /// Is it let in by a customer's rule?
    ///
    /// # Errors
    /// `not-admitted`, with every breach.
    pub fn admit(&mut self, rule: &Admission, now: Timestamp) -> Result<()> {
        rule.judge(&self.manifest, self.file.metadata().at(&self.path)?.len(), now)?;
        match rule.asks_for_report() {
            true => rule.judge_report(&paper(&mut self.file, &self.path, &self.manifest.entries, REPORT)?),
            false => Ok(()),
        }
    }

    /// The same bundle, of which these kinds of content may run when it is loaded; none, unless this is asked for.
    pub fn allow_active(mut self, kinds: impl IntoIterator<Item = Active>) -> Self {
        self.allowed.extend(kinds);
        self
    }

    /// The same bundle with the later last day of a renewal.
    ///
    /// # Errors
    /// What [`crate::sign::open`] says of the file; `wrong-bundle` for another bundle's; `bad-statement` where it
    /// does not extend this one; `revoked-key` where its key could not sign it then.
    pub fn renew(mut self, path: &Path, trust: &Trust) -> Result<Self> {
        self.renewal = Some(renewal_of(path, self.id, &self.manifest, trust)?);
        Ok(self)
    }

    /// Gives the file another name; it stays the one that was verified.
    pub fn rename(mut self, to: &Path) -> Result<Self> {
        std::fs::rename(&self.path, to).at(to)?;
        self.path = to.to_owned();
        Ok(self)
    }
}

/// Checks layout, signature and the digest of every entry; tells the entitlement but does not judge it.
pub fn verify(path: &Path, trust: &Trust) -> Result<Signed> {
    examine(path, trust, |entries| entries.len())
}

/// What [`verify`] does, but for the payload's digest: for who opens the bundle next, which hashes it on the way.
pub fn signed(path: &Path, trust: &Trust) -> Result<Signed> {
    examine(path, trust, |entries| entries.len() - 1)
}

fn examine(path: &Path, trust: &Trust, hashed: fn(&[Placed]) -> usize) -> Result<Signed> {
    let mut walked = Walked::read(path)?;
    let entries = std::mem::take(&mut walked.entries);
    let payload = entries.last().expect("a bundle has a payload").start;
    let mut proven = || {
        let (manifest, signer) = claimed(&walked.manifest, &walked.signature, trust)?;
        check_entries(&manifest.entries, &entries)?;
        for (entry, placed) in manifest.entries.iter().zip(&entries[..hashed(&entries)]) {
            check_digest(&mut walked.file, &walked.path, entry, placed.start)?;
        }
        let signer = trusted(&manifest, Sha256::of(&walked.manifest), signer, trust)?.clone();
        Ok((manifest, signer))
    };
    let (manifest, signer) = proven().map_err(|e| at(path, e))?;
    let id = Sha256::of(&walked.manifest);
    let (path, file, allowed) = (walked.path, walked.file, BTreeSet::new());
    Ok(Signed { path, file, manifest, signer, payload, id, renewal: None, allowed })
}

/// The manifest, and the key that signed it, where that is one of the trusted.
pub(super) fn claimed<'t>(
    manifest: &[u8],
    signature: &[u8],
    trust: &'t Trust,
) -> Result<(Manifest, Option<&'t TrustedKey>)> {
    let claim = Claim::parse(signature, manifest)?;
    let signer = trust.key(claim.keyid);
    if let Some(key) = signer {
        claim.prove(manifest, &key.public)?;
    }
    let manifest = Manifest::parse(manifest)?;
    if manifest.vendor.key != claim.keyid {
        return Err(Error::new(Code::BadSignature, "manifest.sig names another key than the manifest"));
    }
    Ok((manifest, signer))
}

/// Demands a signer, and that it may have signed this bundle.
pub(super) fn trusted<'t>(
    manifest: &Manifest,
    id: Sha256,
    signer: Option<&'t TrustedKey>,
    trust: &Trust,
) -> Result<&'t PublicKey> {
    let signer = signer.ok_or_else(|| {
        let vendor = &manifest.vendor;
        Error::new(
            Code::UnknownSigner,
            format!("signed by a key that is not trusted here: {} ({})", vendor.key, vendor.name),
        )
        .with_hint("get the vendor's public key by a way that you trust, and give it with `--trust KEY`")
    })?;
    trust.judge(signer, manifest, id)?;
    Ok(&signer.public)
}

/// A renewal of the bundle with this identity, by a key that is trusted for it.
pub(super) fn renewal_of(path: &Path, id: Sha256, manifest: &Manifest, trust: &Trust) -> Result<Renewal> {
    let renewal = trust.open::<Renewal>(path, manifest, |renewal| (&renewal.vendor, renewal.issued))?;
    renewal.judge(id, manifest).map_err(|e| at(path, e))?;
    Ok(renewal)
}

/// The signed names and sizes are those of the tar.
fn check_entries(signed: &[Entry], found: &[Placed]) -> Result<()> {
    let same = |(signed, found): (&Entry, &Placed)| signed.name == found.head.name && signed.size == found.head.size;
    if signed.len() == found.len() && signed.iter().zip(found).all(same) {
        return Ok(());
    }
    Err(Error::new(Code::BadBundle, "the entries are not those that the manifest names"))
}

/// Hashes an entry's data.
pub(super) fn check_digest(file: &mut File, path: &Path, entry: &Entry, start: u64) -> Result<()> {
    file.seek(SeekFrom::Start(start)).at(path)?;
    let mut hasher = Hasher::default();
    hasher.read_all(file.take(entry.size)).map_err(|e| layout::read_error(&e))?;
    if hasher.finish() == entry.sha256 { Ok(()) } else { Err(damaged(entry)) }
}

pub(super) fn damaged(entry: &Entry) -> Error {
    Error::new(Code::Damaged, format!("{}: not the bytes that were signed", entry.name))
        .with_hint("copy or download it again; if it stays so, ask the vendor")
}

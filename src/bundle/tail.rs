//! The end of a bundle, FORMAT.md section 15: manifest, signature and the closing zeros. By itself it says whose the
//! bundle is, for whom, until when and how long; what it describes is proven by [`super::verify`] alone.

use super::layout::{BLOCK, Head, Reader};
use super::limits;
use super::manifest::Manifest;
use super::trust::Trust;
use super::verify;
use super::walk::{MANIFEST, SIGNATURE, Walked, at};
use crate::digest::Sha256;
use crate::error::{AtPath, Code, Error, Result};
use jiff::civil::Date;
use std::path::Path;

/// A bundle's end.
pub struct Tail {
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    signature: Vec<u8>,
    /// Bytes of the whole bundle.
    size: u64,
}

impl Tail {
    /// The end of a bundle on disk, and where it begins. The layout of all of it is checked, no digest is.
    pub fn read(path: &Path) -> Result<(Self, u64)> {
        let walked = Walked::read(path)?;
        let last = walked.entries.last().expect("a bundle has a payload");
        let start = last.start + last.head.size + last.head.padding() as u64;
        let manifest = Manifest::parse(&walked.manifest).map_err(|e| at(path, e))?;
        let size = walked.file.metadata().at(path)?.len();
        let tail = Self { manifest, manifest_bytes: walked.manifest, signature: walked.signature, size };
        if tail.described() != Some(start) {
            return Err(at(path, bad("the entries are not those that the manifest names")));
        }
        Ok((tail, start))
    }

    /// Reads the bytes of an end.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let manifest_bytes = entry(&mut reader, MANIFEST, limits::MAX_MANIFEST_BYTES)?;
        let signature = entry(&mut reader, SIGNATURE, limits::MAX_SIGNATURE_BYTES)?;
        if reader.next_head()?.is_some() || !reader.into_inner().is_empty() {
            return Err(bad("something stands after the signature"));
        }
        let manifest = Manifest::parse(&manifest_bytes)?;
        let mut tail = Self { manifest, manifest_bytes, signature, size: 0 };
        let described = tail.described().and_then(|start| start.checked_add(bytes.len() as u64));
        tail.size = described.ok_or_else(|| bad("its entries are larger than any file"))?;
        Ok(tail)
    }

    /// Is it signed by a vendor whose bundles are taken? As [`super::verify`] judges it.
    pub fn judge(&self, trust: &Trust) -> Result<()> {
        let (manifest, signer) = verify::claimed(&self.manifest_bytes, &self.signature, trust)?;
        verify::trusted(&manifest, self.id(), signer, trust).map(|_| ())
    }

    /// The last day of its entitlement, or that of a renewal.
    pub fn until(&self, renewal: Option<&Path>, trust: &Trust) -> Result<Date> {
        match renewal {
            None => Ok(self.manifest.entitlement.until),
            Some(path) => verify::renewal_of(path, self.id(), &self.manifest, trust).map(|renewal| renewal.until),
        }
    }

    /// Its own words, until it is judged.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The bundle's identity: the digest of its manifest.
    pub fn id(&self) -> Sha256 {
        Sha256::of(&self.manifest_bytes)
    }

    /// Bytes of the whole bundle.
    pub fn bundle_size(&self) -> u64 {
        self.size
    }

    /// `NAME-VERSION-CUSTOMER.sealed`.
    pub fn file_name(&self) -> String {
        format!("{}-{}.sealed", self.manifest.subject(), self.manifest.entitlement.customer)
    }

    /// Bytes before the end, as the manifest describes its entries.
    fn described(&self) -> Option<u64> {
        self.manifest.entries.iter().try_fold(0u64, |sum, entry| {
            let head = Head { name: entry.name.clone(), size: entry.size };
            sum.checked_add(BLOCK as u64)?.checked_add(head.size)?.checked_add(head.padding() as u64)
        })
    }
}

fn entry(reader: &mut Reader<&[u8]>, name: &str, limit: u64) -> Result<Vec<u8>> {
    match reader.next_head()? {
        Some(head) if head.name == name && head.size <= limit => {
            let mut bytes = Vec::new();
            reader.data(&head, &mut bytes)?;
            Ok(bytes)
        }
        _ => Err(bad(format!("no {name} of at most {limit} bytes where the end of a bundle has it"))),
    }
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(Code::BadBundle, message)
}

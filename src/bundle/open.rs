//! From a signed bundle to the derivative, FORMAT.md sections 3 and 7: judged first, decrypted as a stream, and kept
//! apart until the last age chunk, the ciphertext's digest, the papers and `model.sig` agree.

use super::active::{self, Found};
use super::entitlement::{Use, judge_base};
use super::keys::Identities;
use super::layout::{self, Head};
use super::manifest::{Manifest, Payload};
use super::opening::{self, Tar};
use super::seen::{Seen, judge_clock};
use super::verify::{Signed, check_digest, damaged};
use super::walk::{LICENSES, is_paper};
use super::{limits, model_sig};
use crate::base::Fingerprint;
use crate::data;
use crate::digest::{Hashing, Sha256};
use crate::error::{AtPath, Code, Error, Result};
use crate::partial;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Who asks for what.
pub struct Request<'a> {
    /// The customer's keys.
    pub identities: &'a Identities,
    /// The clock.
    pub now: Timestamp,
    /// The base at hand, where there is one to compare.
    pub base: Option<&'a Fingerprint>,
    /// What it will be used for.
    pub wanted: Use,
    /// What was seen before.
    pub seen: &'a Seen,
}

/// A derivative in memory, wiped when it is dropped.
pub struct Opened {
    /// What was signed.
    pub manifest: Manifest,
    /// Every file by name.
    pub files: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

impl Signed {
    /// Judges date, use, base, recipient, active content and serial.
    pub fn judge(&self, request: &Request<'_>) -> Result<()> {
        let entitlement = &self.manifest.entitlement;
        self.judge_clock(request)?;
        entitlement.judge_date(request.now, self.until())?;
        entitlement.judge_use(request.wanted)?;
        if let Some(fingerprint) = request.base {
            judge_base(&self.manifest.bases, fingerprint)?;
        }
        entitlement.judge_recipient(request.identities)?;
        active::demand_allowed(&self.manifest.active, &self.allowed)?;
        request.seen.judge(&self.manifest, self.id, self.renewal.as_ref(), request.now)
    }

    /// A date is judged only by a clock that is not before what it is held against.
    fn judge_clock(&self, request: &Request<'_>) -> Result<()> {
        let renewed = self.renewal.as_ref().map(|renewal| renewal.issued);
        for (issued, what) in [(Some(self.manifest.issued), "the bundle was issued"), (renewed, "it was renewed")] {
            let issued = issued.and_then(|s| i64::try_from(s).ok()).and_then(|s| Timestamp::from_second(s).ok());
            issued.map_or(Ok(()), |issued| judge_clock(request.now, issued, what))?;
        }
        request.seen.judge_clock(request.now)
    }

    fn remember(&self, request: &Request<'_>) -> Result<()> {
        request.seen.remember(&self.manifest, self.id, self.renewal.as_ref(), request.now)
    }

    /// Opens it into memory.
    pub fn open(mut self, request: &Request<'_>) -> Result<Opened> {
        self.judge(request)?;
        if self.manifest.payload.size > limits::MAX_MEMORY_BYTES {
            return Err(too_large(&self.manifest.payload, "more than is opened in memory"));
        }
        let mut place = Place::Memory(BTreeMap::new());
        self.unpack(request.identities, &mut place)?;
        self.remember(request)?;
        match place {
            Place::Memory(files) => Ok(Opened { manifest: self.manifest, files }),
            Place::Folder(_) => unreachable!("made as memory above"),
        }
    }

    /// Opens it into a folder that is not there yet; it appears when everything in it is verified.
    pub fn open_into(mut self, request: &Request<'_>, folder: &Path) -> Result<Manifest> {
        self.judge(request)?;
        if folder.symlink_metadata().is_ok() {
            return Err(Error::new(Code::Usage, format!("something is there already: {}", folder.display()))
                .with_hint("name a folder that doesn't exist yet"));
        }
        let parent = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).at(parent)?;
        demand_space(parent, &self.manifest.payload)?;
        let (temporary, _held) = partial::folder(parent).at(parent)?;
        self.unpack(request.identities, &mut Place::Folder(temporary.path().to_owned()))?;
        self.remember(request)?;
        std::fs::rename(temporary.path(), folder).at(folder)?;
        let _ = temporary.keep(); // it has its final name: nothing is left to remove
        data::sync_folder(parent)?;
        Ok(self.manifest)
    }

    fn unpack(&mut self, identities: &Identities, place: &mut Place) -> Result<()> {
        self.file.seek(SeekFrom::Start(self.payload)).at(&self.path)?;
        let sealed = self.manifest.entries.last().expect("signed: the last entry is the payload");
        let payload = &self.manifest.payload;
        let opened =
            opening::open(&self.file, sealed.size, identities, payload, |tar| read_payload(tar, payload, place));
        let (files, digest) = match opened {
            // most likely not the vendor's fault
            Err(error) if matches!(error.code, Code::BadBundle | Code::Truncated) => {
                return check_digest(&mut self.file, &self.path, sealed, self.payload).and(Err(error));
            }
            opened => opened?,
        };
        if digest != sealed.sha256 {
            return Err(damaged(sealed));
        }
        check_files(&files, &self.manifest)?;
        let signed = place.model_sig(&files)?;
        let digests: BTreeMap<_, _> = files.into_iter().filter(|(name, _)| name != model_sig::NAME).collect();
        model_sig::verify(&signed, &self.manifest.subject(), &digests, &self.signer)?;
        place.found(digests.keys().filter(|name| !is_paper(name)))?.demand_stated(&self.manifest.active)
    }
}

/// Unpacks to the very end of every layer; returns the digests of the files.
fn read_payload(tar: &mut Tar<'_>, payload: &Payload, place: &mut Place) -> Result<BTreeMap<String, Sha256>> {
    let mut tar = layout::Reader::new(tar);
    let (mut files, mut last) = (BTreeMap::new(), (Rank::File, String::new()));
    while let Some(head) = tar.next_head()? {
        let next = (Rank::of(&head.name), head.name.clone());
        if next <= last {
            return Err(bad(format!("{}: an entry of the payload that may not stand here", head.name)));
        }
        last = next;
        if files.len() as u64 == payload.files {
            return Err(bad("the payload has more files than the manifest says"));
        }
        if head.size > payload.size {
            // the signed size bounds what a header may ask for, before any memory is taken
            return Err(Error::new(Code::Truncated, format!("{}: the payload ends before its data does", head.name)));
        }
        let digest = place.receive(&head, &mut tar)?;
        files.insert(head.name, digest);
    }
    if last.0 != Rank::Signature || files.len() as u64 != payload.files {
        return Err(bad("the payload does not end with model.sig, or has fewer files than the manifest says"));
    }
    match tar.into_inner().read(&mut [0]).map_err(|e| layout::read_error(&e))? {
        0 => Ok(files),
        _ => Err(bad("the payload's tar ends before the size that the manifest says")),
    }
}

/// The order of the payload's entries; those of one rank ascend by name.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    File,
    Paper,
    Signature,
}

impl Rank {
    fn of(name: &str) -> Self {
        match name {
            model_sig::NAME => Rank::Signature,
            _ if is_paper(name) => Rank::Paper,
            _ => Rank::File,
        }
    }
}

/// The papers inside are those outside.
fn check_files(files: &BTreeMap<String, Sha256>, manifest: &Manifest) -> Result<()> {
    let outside: BTreeMap<_, _> =
        manifest.entries.iter().filter(|e| is_paper(&e.name)).map(|e| (e.name.as_str(), e.sha256)).collect();
    let is_inside = |name: &str| is_paper(name) || name.starts_with(LICENSES);
    let inside: BTreeMap<_, _> =
        files.iter().filter(|(name, _)| is_inside(name)).map(|(name, digest)| (name.as_str(), *digest)).collect();
    if inside == outside { Ok(()) } else { Err(bad("the papers in the payload are not those outside")) }
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(Code::BadBundle, message)
}

fn too_large(payload: &Payload, why: &str) -> Error {
    Error::new(Code::TooLarge, format!("the opened payload takes {} bytes, {why}", payload.size))
}

fn demand_space(folder: &Path, payload: &Payload) -> Result<()> {
    match data::free_space(folder)? {
        Some(free) if payload.size > free => {
            Err(too_large(payload, &format!("and {} has {free} free", folder.display()))
                .with_hint("free some space, or open it into another place"))
        }
        _ => Ok(()),
    }
}

/// Where the files go.
enum Place {
    Folder(PathBuf),
    Memory(BTreeMap<String, Zeroizing<Vec<u8>>>),
}

impl Place {
    /// Takes one file in; returns its digest.
    fn receive<R: BufRead>(&mut self, head: &Head, tar: &mut layout::Reader<R>) -> Result<Sha256> {
        match self {
            Place::Folder(root) => {
                let path = root.join(&head.name);
                let parent = path.parent().expect("a name below the root");
                std::fs::create_dir_all(parent).at(parent)?;
                let file = File::options().write(true).create_new(true).open(&path).at(&path)?;
                let mut sink = Hashing::new(file);
                tar.data(head, &mut sink)?;
                let (file, digest, _) = sink.finish();
                file.sync_all().at(&path)?;
                Ok(digest)
            }
            Place::Memory(files) => {
                let mut bytes = Zeroizing::new(Vec::new());
                // all at once: a growing Vec would leave copies behind that nobody wipes
                bytes.try_reserve_exact(usize::try_from(head.size).unwrap_or(usize::MAX)).map_err(|_| {
                    Error::new(
                        Code::TooLarge,
                        format!("{} takes {} bytes, more than there is memory", head.name, head.size),
                    )
                })?;
                tar.data(head, &mut *bytes)?;
                let digest = Sha256::of(&*bytes);
                files.insert(head.name.clone(), bytes);
                Ok(digest)
            }
        }
    }

    /// What in these files can run when it is loaded.
    fn found<'n>(&self, names: impl Iterator<Item = &'n String>) -> Result<Found> {
        let mut found = Found::default();
        for name in names {
            match self {
                Place::Folder(root) => {
                    let path = root.join(name);
                    found.look(name, &mut File::open(&path).at(&path)?).at(&path)?;
                }
                Place::Memory(files) => {
                    found.look(name, &mut std::io::Cursor::new(&files[name][..])).at(Path::new(name))?;
                }
            }
        }
        Ok(found)
    }

    /// The bytes of `model.sig`, as they were received.
    fn model_sig(&self, files: &BTreeMap<String, Sha256>) -> Result<Zeroizing<Vec<u8>>> {
        let bytes = match self {
            Place::Folder(root) => {
                Zeroizing::new(data::read_bytes(&root.join(model_sig::NAME), limits::MAX_MODEL_SIG_BYTES)?)
            }
            Place::Memory(files) => files[model_sig::NAME].clone(),
        };
        if bytes.len() as u64 > limits::MAX_MODEL_SIG_BYTES || Sha256::of(&*bytes) != files[model_sig::NAME] {
            return Err(bad("model.sig is too large, or changed while it was read"));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_disk_holds_is_refused_before_a_byte_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let payload = |size| Payload { size, files: 1, header: Sha256::of("") };
        let error = demand_space(dir.path(), &payload(u64::MAX)).unwrap_err();
        assert_eq!(error.code, Code::TooLarge);
        demand_space(dir.path(), &payload(1)).unwrap();
    }
}

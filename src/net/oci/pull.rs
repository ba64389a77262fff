//! A bundle off a registry: first its end, which says whose it is; then, when that is accepted, the rest.

use super::artifact::{self, Artifact, Descriptor};
use super::reference::{Reference, Target};
use super::session::Session;
use crate::bundle::{self, Admission, Signed, Tail, Trust};
use crate::data;
use crate::digest::Sha256;
use crate::error::{AtPath, Code, Error, Result};
use crate::net::Listener;
use crate::net::download::{Digest, Place, Wanted};
use std::fs::{File, TryLockError};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Hex digits of the artifact's digest in the name of a half-fetched bundle.
const DIGEST_DIGITS: usize = 16;

/// An artifact that says to be a bundle; of the bundle only the end is here.
pub struct Offer {
    session: Session,
    reference: Reference,
    digest: Sha256,
    layers: Vec<Descriptor>,
    tail: Tail,
    tail_bytes: Vec<u8>,
}

/// A bundle that was fetched and verified.
pub struct Pulled {
    /// Where it lies.
    pub path: PathBuf,
    /// What `verify` says of it.
    pub verified: Signed,
}

/// Fetches an artifact's manifest and the bundle's end.
pub fn offer(from: &Reference) -> Result<Offer> {
    let mut session = Session::new(from, false)?;
    let wrong = |why: &str| Error::new(Code::BadBundle, format!("{from}: {why}"));
    let url = session.url(&format!("/manifests/{}", from.target))?;
    let answer = session.get(&url, &[("accept", artifact::MANIFEST)])?;
    if answer.status != 200 {
        return Err(session.failure(&from.to_string(), answer));
    }
    let bytes = answer.bytes(artifact::MAX_BYTES)?;
    let digest = Sha256::of(&bytes);
    if matches!(from.target, Target::Digest(wanted) if wanted != digest) {
        return Err(Error::new(Code::WrongDigest, format!("{from}: the registry gives another artifact")));
    }
    let artifact = Artifact::parse(&bytes).map_err(|why| wrong(&why))?;
    let last = artifact.layers.last().expect("a parsed artifact has a tail");
    if last.size > bundle::limits::MAX_TAIL_BYTES {
        return Err(wrong("its last blob is too large for the end of a bundle"));
    }
    let tail_bytes = blob(&mut session, from, last)?;
    let tail = Tail::parse(&tail_bytes)?;
    if artifact.size() != Some(tail.bundle_size()) {
        return Err(wrong("its blobs are not as long as the bundle that its manifest describes"));
    }
    Ok(Offer { session, reference: from.clone(), digest, layers: artifact.layers, tail, tail_bytes })
}

/// A small blob, whole.
fn blob(session: &mut Session, from: &Reference, wanted: &Descriptor) -> Result<Vec<u8>> {
    let digest = digest_of(wanted);
    let url = session.url(&format!("/blobs/sha256:{digest}"))?;
    let answer = session.get(&url, &[("accept-encoding", "identity")])?;
    if answer.status != 200 {
        return Err(session.failure(&from.to_string(), answer));
    }
    let bytes = answer.bytes(wanted.size)?;
    if Sha256::of(&bytes) != digest {
        return Err(Error::new(Code::WrongDigest, format!("{from}: a blob is not what its digest says")));
    }
    Ok(bytes)
}

fn digest_of(layer: &Descriptor) -> Sha256 {
    layer.sha256().expect("a parsed artifact has digests")
}

impl Offer {
    /// The bundle's end: to be judged before the rest comes.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Of the artifact's manifest.
    pub fn digest(&self) -> Sha256 {
        self.digest
    }

    /// Fetches the bundle into a folder, under the name that its manifest gives it, when its signer is trusted. It has a
    /// hidden name until it is whole, verified and on the disk; what an earlier try has left is gone on with.
    ///
    /// # Errors
    /// What [`bundle::verify`] says of it; `not-admitted` where it breaks the customer's rule.
    pub fn fetch(
        mut self,
        folder: &Path,
        trust: &Trust,
        rule: Option<&Admission>,
        listen: &mut Listener<'_>,
    ) -> Result<Pulled> {
        self.tail.judge(trust)?;
        let path = folder.join(self.tail.file_name());
        if path.exists() {
            return self.already(path, trust, rule);
        }
        std::fs::create_dir_all(folder).at(folder)?;
        let digits = &self.digest.to_string()[..DIGEST_DIGITS];
        let partial = folder.join(format!(".{}.{digits}.partial", self.tail.file_name()));
        let mut file = open_alone(&partial)?;
        self.demand_room(folder, &file, &partial)?;
        self.parts(&partial, &mut file, listen)?;
        file.sync_all().at(&partial)?;
        let verified = verify(&partial, trust, rule).inspect_err(|_| {
            // every blob is what the artifact promised, so the artifact is no bundle: there is nothing to go on with
            let _ = std::fs::remove_file(&partial);
        })?;
        let verified = verified.rename(&path)?;
        data::sync_folder(folder)?;
        Ok(Pulled { path, verified })
    }

    fn already(&self, path: PathBuf, trust: &Trust, rule: Option<&Admission>) -> Result<Pulled> {
        match verify(&path, trust, rule) {
            Ok(verified) if verified.id() == self.tail.id() => Ok(Pulled { path, verified }),
            Err(error) if error.code == Code::NotAdmitted => Err(error),
            _ => Err(Error::new(Code::Usage, format!("another file has the bundle's name: {}", path.display()))
                .with_hint("move it away, or name another folder with `--out`")),
        }
    }

    fn demand_room(&self, folder: &Path, file: &File, partial: &Path) -> Result<()> {
        let here = file.metadata().at(partial)?.len();
        let missing = self.tail.bundle_size().saturating_sub(here);
        match data::free_space(folder)? {
            Some(free) if missing > free => Err(Error::new(
                Code::TooLarge,
                format!("{missing} bytes are missing, and {} has {free} free", folder.display()),
            )
            .with_hint("free some space, or name another folder with `--out`")),
            _ => Ok(()),
        }
    }

    /// Every part in its place; the tail is here already.
    fn parts(&mut self, partial: &Path, file: &mut File, listen: &mut Listener<'_>) -> Result<()> {
        let mut start = 0;
        let (_, parts) = self.layers.split_last().expect("a parsed artifact has a tail");
        for (i, part) in parts.iter().enumerate() {
            let name = format!("{} {}/{}", self.tail.file_name(), i + 1, parts.len());
            let url = self.session.url(&format!("/blobs/sha256:{}", digest_of(part)))?;
            let digest = Digest::Sha256(digest_of(part));
            let mut place = Place { path: partial, file, start };
            let secret = self.session.secret().cloned();
            let wanted = Wanted { name: &name, url: &url, secret: secret.as_ref(), size: part.size, digest };
            match wanted.fetch(self.session.client(), &mut place, listen) {
                Err(error) if error.code == Code::AccessDenied => {
                    // a token lasts for minutes only: a new one, and on from where it ended
                    let answer = self.session.get(&url, &[("range", "bytes=0-0")])?;
                    if !matches!(answer.status, 200 | 206) {
                        return Err(self.session.failure(&self.reference.to_string(), answer));
                    }
                    let secret = self.session.secret().cloned();
                    let wanted = Wanted { secret: secret.as_ref(), ..wanted };
                    wanted.fetch(self.session.client(), &mut place, listen)?;
                }
                other => other?,
            }
            start += part.size;
        }
        file.set_len(start).at(partial)?;
        file.seek(SeekFrom::Start(start)).at(partial)?;
        file.write_all(&self.tail_bytes).at(partial)
    }
}

/// Whole, from a trusted vendor, and let in.
fn verify(path: &Path, trust: &Trust, rule: Option<&Admission>) -> Result<Signed> {
    let mut verified = bundle::verify(path, trust)?;
    rule.map_or(Ok(()), |rule| verified.admit(rule, jiff::Timestamp::now()))?;
    Ok(verified)
}

/// Opens a half-fetched bundle for this process alone.
fn open_alone(path: &Path) -> Result<File> {
    let file = File::options().create(true).truncate(false).read(true).write(true).open(path).at(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::new(Code::Locked, format!("another process fetches this bundle: {}", path.display()))
                .with_hint("wait for it to end"))
        }
        Err(TryLockError::Error(e)) => Err(Error::io(path, &e)),
    }
}

//! A bundle to a registry: what is there already is not sent again, and the tag stands when every blob does.

use super::artifact::{self, Artifact, EMPTY_BYTES};
use super::reference::{Reference, Target};
use super::session::Session;
use crate::bundle::Tail;
use crate::digest::{Hasher, Sha256};
use crate::error::{AtPath, Code, Error, Result};
use crate::net::{Event, Listener};
use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::Path;

/// How often a blob is begun again after its connection was lost.
const TRIES: u32 = 4;
/// Bytes of an answer that nobody reads.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// A bundle that a registry has.
#[derive(Debug)]
pub struct Pushed {
    /// Of the artifact's manifest: names it for ever.
    pub digest: Sha256,
    /// Bytes of the bundle.
    pub size: u64,
    /// Bytes that were sent: the rest was there.
    pub sent: u64,
}

/// Sends a bundle to a tag. Its layout is checked, its signature is not: that is the reader's part.
pub fn push(bundle: &Path, to: &Reference, listen: &mut Listener<'_>) -> Result<Pushed> {
    let Target::Tag(tag) = &to.target else {
        return Err(Error::new(Code::Usage, format!("a bundle is pushed to a tag, not to a digest: {to}")));
    };
    let (tail, start) = Tail::read(bundle)?;
    let cuts = artifact::cuts(start, tail.bundle_size());
    let mut sender = Sender { session: Session::new(to, true)?, bundle, file: File::open(bundle).at(bundle)?, sent: 0 };
    let empty = Sha256::of(EMPTY_BYTES);
    if !sender.has(&empty)? {
        sender.send(&empty, EMPTY_BYTES.len() as u64, "config", &mut |_| {}, || Ok(Box::new(EMPTY_BYTES)))?;
    }
    let mut parts = Vec::new();
    for cut in cuts {
        let digest = sender.digest(&cut)?;
        parts.push((cut.end - cut.start, digest));
        if !sender.has(&digest)? {
            sender.part(&cut, &digest, listen)?;
        }
    }
    let artifact = Artifact::of(&tail, &parts).to_bytes();
    let digest = Sha256::of(&artifact);
    sender.tag(tag, &artifact)?;
    Ok(Pushed { digest, size: tail.bundle_size(), sent: sender.sent })
}

struct Sender<'a> {
    session: Session,
    bundle: &'a Path,
    file: File,
    sent: u64,
}

impl Sender<'_> {
    fn digest(&mut self, cut: &Range<u64>) -> Result<Sha256> {
        self.file.seek(SeekFrom::Start(cut.start)).at(self.bundle)?;
        let mut hasher = Hasher::default();
        std::io::copy(&mut (&mut self.file).take(cut.end - cut.start), &mut hasher).at(self.bundle)?;
        if hasher.bytes() != cut.end - cut.start {
            return Err(Error::input(self.bundle, "it became shorter while it was read"));
        }
        Ok(hasher.finish())
    }

    /// Has the registry this blob?
    fn has(&mut self, digest: &Sha256) -> Result<bool> {
        let url = self.session.url(&format!("/blobs/sha256:{digest}"))?;
        let answer = self.session.send("HEAD", &url, &[], || Ok((0, Box::new(std::io::empty()))))?;
        match answer.status {
            200 | 307 => Ok(true),
            404 => Ok(false),
            _ => Err(self.session.failure("a blob", answer)),
        }
    }

    fn part(&mut self, cut: &Range<u64>, digest: &Sha256, listen: &mut Listener<'_>) -> Result<()> {
        let (size, bundle) = (cut.end - cut.start, self.bundle);
        let name = bundle.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let name = format!("{name} from byte {}", cut.start);
        self.send(digest, size, &name, listen, || {
            let mut file = File::open(bundle).at(bundle)?;
            file.seek(SeekFrom::Start(cut.start)).at(bundle)?;
            Ok(Box::new(file.take(size)))
        })
    }

    /// One blob, begun again when its connection is lost.
    fn send<'b>(
        &mut self,
        digest: &Sha256,
        size: u64,
        name: &str,
        listen: &mut Listener<'_>,
        open: impl Fn() -> Result<Box<dyn Read + 'b>>,
    ) -> Result<()> {
        listen(Event::Begin { name, size, have: 0 });
        let listen = RefCell::new(listen);
        let mut tries = 0;
        loop {
            match self.send_once(digest, size, &listen, &open) {
                Err(error) if error.code == Code::Network && tries + 1 < TRIES => {
                    std::thread::sleep(std::time::Duration::from_secs(u64::from(tries)));
                    (*listen.borrow_mut())(Event::Again(0));
                    tries += 1;
                }
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        self.sent += size;
        (*listen.borrow_mut())(Event::End);
        Ok(())
    }

    fn send_once<'b>(
        &mut self,
        digest: &Sha256,
        size: u64,
        listen: &RefCell<&mut Listener<'_>>,
        open: &impl Fn() -> Result<Box<dyn Read + 'b>>,
    ) -> Result<()> {
        let begin = self.session.url("/blobs/uploads/")?;
        let answer = self.session.send("POST", &begin, &[], || Ok((0, Box::new(std::io::empty()))))?;
        let place = match (answer.status, answer.own_header("location")) {
            (202, Some(location)) => begin.join(location)?.with("digest", &format!("sha256:{digest}")),
            _ => return Err(self.session.failure("an upload", answer)),
        };
        let headers = [("content-type", "application/octet-stream")];
        let answer =
            self.session.send("PUT", &place, &headers, || Ok((size, Box::new(Told { inner: open()?, listen }))))?;
        match answer.status {
            201 => answer.bytes(MAX_ANSWER_BYTES).map(|_| ()),
            _ => Err(self.session.failure("a blob", answer)),
        }
    }

    /// The manifest, under the tag: from now on the artifact can be had.
    fn tag(&mut self, tag: &str, artifact: &[u8]) -> Result<()> {
        let url = self.session.url(&format!("/manifests/{tag}"))?;
        let headers = [("content-type", artifact::MANIFEST)];
        let answer = self.session.send("PUT", &url, &headers, || Ok((artifact.len() as u64, Box::new(artifact))))?;
        match answer.status {
            201 => Ok(()),
            _ => Err(self.session.failure("the manifest", answer)),
        }
    }
}

/// Tells how much was read.
struct Told<'l, 'e, 'f, R> {
    inner: R,
    listen: &'l RefCell<&'e mut Listener<'f>>,
}

impl<R: Read> Read for Told<'_, '_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        (*self.listen.borrow_mut())(Event::Bytes(read as u64));
        Ok(read)
    }
}

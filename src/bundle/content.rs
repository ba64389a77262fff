//! What the bundles of a product have in common: the derivative's files, whose tar each payload begins with. They are
//! read, hashed and compressed once, on the way to the first bundle; for further ones the frames are kept, and then only
//! encrypted.
//!
//! The payload's tar is cut every MiB whatever stands there, so the files' pieces are the same in each bundle, but for
//! what is left after the last whole one: the papers follow in the same piece.

use super::active::Found;
use super::derivative::{self, Measured, SourceFile};
use super::frames::Compressor;
use super::layout::Head;
use super::limits::{MAX_FRAME_BYTES, PIECE_BYTES};
use super::ring::{Ring, cores};
use crate::digest::{Hasher, Sha256};
use crate::error::{AtPath, Error, Result};
use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use zeroize::Zeroizing;

/// A derivative's files, for any number of bundles.
pub struct Content {
    /// In the payload's order.
    files: Vec<SourceFile>,
    sizes: Vec<u64>,
    /// Where frames are kept for the bundles after the first.
    scratch: Option<PathBuf>,
    known: Mutex<Known>,
    found: OnceLock<Found>,
}

#[derive(Default)]
struct Known {
    /// Of the files, in order.
    digests: Option<Vec<Sha256>>,
    kept: Option<Arc<Kept>>,
}

impl Content {
    /// Files to seal, as [`super::gather`] finds them; nothing of them is read yet. More bundles than one want a `scratch`
    /// folder with room for what the files are compressed to: a file without a name is kept there, which is gone with this
    /// value or the process. Without one each bundle reads the files anew.
    ///
    /// # Errors
    /// A name or a kind of file that a bundle can't hold (`bad-input`); a file that is not there (`io`).
    pub fn new(files: &[SourceFile], scratch: Option<&Path>) -> Result<Self> {
        derivative::check(files)?;
        let mut files = files.to_vec();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let sizes = files.iter().map(|f| f.path.metadata().at(&f.path).map(|m| m.len())).collect::<Result<_>>()?;
        let scratch = scratch.map(Path::to_owned);
        Ok(Self { files, sizes, scratch, known: Mutex::default(), found: OnceLock::new() })
    }

    /// Names and digests. Reads the files where no bundle was made of them yet.
    pub fn digests(&self) -> Result<Vec<(String, Sha256)>> {
        let mut known = locked(&self.known);
        if known.digests.is_none() {
            known.digests = Some(self.files.iter().map(|f| Sha256::of_file(&f.path)).collect::<Result<_>>()?);
        }
        let digests = known.digests.iter().flatten();
        Ok(self.files.iter().map(|f| f.name.clone()).zip(digests.copied()).collect())
    }

    /// What of them can run when it is loaded.
    pub(super) fn found(&self) -> Result<&Found> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let found = Found::in_files(&self.files)?;
        Ok(self.found.get_or_init(|| found))
    }

    /// How many files there are, and how many bytes of tar they take up.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.files.len() as u64, (0..self.files.len()).map(|n| self.head(n).entry_bytes()).sum())
    }

    /// Hands the pieces of the files' tar to `work`, which takes all of them.
    pub(super) fn pieces<T>(&self, work: impl FnOnce(&mut Pieces<'_>) -> Result<T>) -> Result<T> {
        let kept = locked(&self.known).kept.clone();
        if let Some(kept) = kept {
            return work(&mut Pieces { content: self, origin: Origin::Kept { kept: &kept, next: 0 } });
        }
        let digests = Mutex::default();
        let mut source = Source { content: (&self.files, &self.sizes), digests: &digests, next: 0, reading: None };
        let ring = Ring::new(3, Slot::new);
        let mut keeper = self.scratch.as_deref().map(Kept::new).transpose()?;
        let mut rest = Zeroizing::default();
        let worked = std::thread::scope(|scope| {
            let _stop = ring.stop();
            scope.spawn(|| ring.drive(0, |slot| source.fill(slot)));
            for _ in 0..cores() {
                scope.spawn(|| {
                    let mut compressor = None;
                    ring.drive(1, |slot| slot.press(&mut compressor));
                });
            }
            let (keeper, rest) = (keeper.as_mut(), &mut rest);
            work(&mut Pieces { content: self, origin: Origin::Files { ring: &ring, digests: &digests, keeper, rest } })
        })?;
        if let Some(keeper) = keeper {
            locked(&self.known).kept = Some(Arc::new(Kept { rest, ..keeper }));
        }
        Ok(worked)
    }

    fn head(&self, n: usize) -> Head {
        Head { name: self.files[n].name.clone(), size: self.sizes[n] }
    }

    /// The files with these digests, which must be those that were found before.
    fn measured(&self, digests: &[Sha256]) -> Result<Vec<Measured>> {
        let mut known = locked(&self.known);
        if let Some(before) = &known.digests
            && let Some(n) = (0..digests.len()).find(|n| before[*n] != digests[*n])
        {
            return Err(changed(&self.files[n].path));
        }
        known.digests = Some(digests.to_vec());
        let files = self.files.iter().zip(&self.sizes).zip(digests);
        Ok(files.map(|((f, size), sha256)| Measured { name: f.name.clone(), size: *size, sha256: *sha256 }).collect())
    }
}

fn changed(path: &Path) -> Error {
    Error::input(path, "it changed while it was packed").with_hint("pack again")
}

/// The files' tar: frames of whole pieces, and what is left.
pub(super) struct Pieces<'p> {
    content: &'p Content,
    origin: Origin<'p>,
}

enum Origin<'p> {
    /// They are being read.
    Files {
        ring: &'p Ring<Slot>,
        digests: &'p Mutex<Vec<Sha256>>,
        keeper: Option<&'p mut Kept>,
        rest: &'p mut Zeroizing<Vec<u8>>,
    },
    /// They were, for an earlier bundle.
    Kept { kept: &'p Kept, next: usize },
}

impl Pieces<'_> {
    /// The frame of the next whole piece; `false` when there is none.
    pub fn next_frame(&mut self, frame: &mut Vec<u8>) -> Result<bool> {
        match &mut self.origin {
            Origin::Kept { kept, next } => {
                *next += 1;
                kept.read(*next - 1, frame)
            }
            Origin::Files { ring, keeper, rest, .. } => {
                let mut is_whole = false;
                ring.take(|slot| {
                    is_whole = slot.is_whole();
                    if !is_whole {
                        rest.clone_from(&slot.piece);
                        return Ok(());
                    }
                    std::mem::swap(frame, &mut slot.frame);
                    keeper.as_mut().map_or(Ok(()), |kept| kept.write(frame))
                })?;
                Ok(is_whole)
            }
        }
    }

    /// After the last frame: what is left of the tar, and the files as they were read.
    pub fn end(&self) -> Result<(&[u8], Vec<Measured>)> {
        match &self.origin {
            Origin::Kept { kept, .. } => {
                let digests = locked(&self.content.known).digests.clone();
                Ok((&kept.rest, self.content.measured(&digests.unwrap_or_default())?))
            }
            Origin::Files { digests, rest, .. } => Ok((rest, self.content.measured(&locked(digests))?)),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner) // a thread that panicked has ended the ring
}

/// A piece, and its frame where it is a whole one.
struct Slot {
    piece: Zeroizing<Vec<u8>>,
    frame: Vec<u8>,
}

impl Slot {
    fn new() -> Self {
        let frame = Vec::with_capacity(MAX_FRAME_BYTES);
        Self { piece: Zeroizing::new(Vec::with_capacity(PIECE_BYTES)), frame }
    }

    fn is_whole(&self) -> bool {
        self.piece.len() == PIECE_BYTES
    }

    fn press(&mut self, compressor: &mut Option<Compressor>) -> Result<bool> {
        if self.is_whole() {
            let compressor = match compressor {
                Some(compressor) => compressor,
                None => compressor.insert(Compressor::new()?),
            };
            compressor.compress(&self.piece, &mut self.frame)?;
        }
        Ok(true)
    }
}

/// The files' tar as a stream of pieces; hashes each file as it passes.
struct Source<'c> {
    content: (&'c [SourceFile], &'c [u64]),
    digests: &'c Mutex<Vec<Sha256>>,
    /// The file that comes next, or is being read.
    next: usize,
    reading: Option<Reading>,
}

struct Reading {
    file: File,
    hasher: Hasher,
    /// Bytes of it that are not read yet.
    left: u64,
}

impl Source<'_> {
    fn fill(&mut self, slot: &mut Slot) -> Result<bool> {
        slot.piece.clear();
        while slot.piece.len() < PIECE_BYTES && self.next < self.content.0.len() {
            self.entry(&mut slot.piece)?;
        }
        Ok(!slot.piece.is_empty())
    }

    /// As much of the next entry as there is room for. Headers and padding lie within blocks, which a piece never cuts.
    fn entry(&mut self, piece: &mut Vec<u8>) -> Result<()> {
        let (SourceFile { name, path }, size) = (&self.content.0[self.next], self.content.1[self.next]);
        let head = Head { name: name.clone(), size };
        let Reading { file, hasher, left } = match &mut self.reading {
            Some(reading) => reading,
            none => {
                let reading = Reading { file: File::open(path).at(path)?, hasher: Hasher::default(), left: size };
                piece.extend_from_slice(&head.to_bytes());
                none.insert(reading)
            }
        };
        let (start, count) = (piece.len(), (*left).min((PIECE_BYTES - piece.len()) as u64));
        if file.take(count).read_to_end(piece).at(path)? as u64 != count {
            return Err(changed(path));
        }
        hasher.update(&piece[start..]);
        *left -= count;
        if *left > 0 {
            return Ok(());
        }
        if file.read(&mut [0]).at(path)? != 0 {
            return Err(changed(path));
        }
        piece.resize(piece.len() + head.padding(), 0);
        let done = self.reading.take().expect("it was read to its end");
        locked(self.digests).push(done.hasher.finish());
        self.next += 1;
        Ok(())
    }
}

/// The frames of a derivative's whole pieces, in a file without a name, and the piece that is not whole.
struct Kept {
    store: File,
    scratch: PathBuf,
    /// Where each of them begins, and how long it is.
    frames: Vec<(u64, usize)>,
    size: u64,
    rest: Zeroizing<Vec<u8>>,
}

impl Kept {
    fn new(scratch: &Path) -> Result<Self> {
        let store = tempfile::tempfile_in(scratch).at(scratch)?;
        Ok(Self { store, scratch: scratch.to_owned(), frames: Vec::new(), size: 0, rest: Zeroizing::default() })
    }

    fn write(&mut self, frame: &[u8]) -> Result<()> {
        self.store.write_all(frame).at(&self.scratch)?;
        self.frames.push((self.size, frame.len()));
        self.size += frame.len() as u64;
        Ok(())
    }

    fn read(&self, n: usize, frame: &mut Vec<u8>) -> Result<bool> {
        let Some((start, length)) = self.frames.get(n) else { return Ok(false) };
        frame.resize(*length, 0);
        let mut store = &self.store;
        store.seek(SeekFrom::Start(*start)).and_then(|_| store.read_exact(frame)).at(&self.scratch)?;
        Ok(true)
    }
}

//! What the bundles of a product have in common: the derivative's files, read, hashed and compressed once, and then only
//! encrypted for each customer.
//!
//! The payload's tar is cut every MiB whatever stands there, so a piece is the same in two bundles when the files in it
//! lie at the same places. Papers differ between customers, mostly not in their length: pieces without one are kept as
//! frames, the others as they are, and get their papers and their frame when a bundle is sealed.

use super::active::Found;
use super::derivative::{self, Measured, SourceFile};
use super::frames::Compressor;
use super::layout::{BLOCK, Head};
use super::limits::PIECE_BYTES;
use super::ring::{Ring, cores};
use crate::digest::{Hasher, Sha256};
use crate::error::{AtPath, Error, Result};
use std::cell::{OnceCell, RefCell};
use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use zeroize::Zeroizing;

/// A derivative's files, for any number of bundles.
pub struct Content {
    /// In the payload's order.
    files: Vec<SourceFile>,
    sizes: Vec<u64>,
    /// Where a file without a name is kept while this lives.
    scratch: PathBuf,
    known: RefCell<Known>,
    found: OnceCell<Found>,
}

#[derive(Default)]
struct Known {
    /// Of the files, in order.
    digests: Option<Vec<Sha256>>,
    pressed: Option<Rc<Pressed>>,
}

impl Content {
    /// Files to seal, as [`super::gather`] finds them; nothing of them is read yet. `scratch` is a folder with room for
    /// what they are compressed to: a file without a name is kept there, which is gone with this value or the process.
    ///
    /// # Errors
    /// A name or a kind of file that a bundle can't hold (`bad-input`); a file that is not there (`io`).
    pub fn new(files: &[SourceFile], scratch: &Path) -> Result<Self> {
        derivative::check(files)?;
        let mut files = files.to_vec();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let sizes = files.iter().map(|f| f.path.metadata().at(&f.path).map(|m| m.len())).collect::<Result<_>>()?;
        Ok(Self { files, sizes, scratch: scratch.to_owned(), known: RefCell::default(), found: OnceCell::new() })
    }

    /// Names and digests. Reads the files where no bundle was made of them yet.
    pub fn digests(&self) -> Result<Vec<(String, Sha256)>> {
        if self.known.borrow().digests.is_none() {
            let digests = self.files.iter().map(|f| Sha256::of_file(&f.path)).collect::<Result<_>>()?;
            self.known.borrow_mut().digests = Some(digests);
        }
        Ok(self.measured().into_iter().map(|m| (m.name, m.sha256)).collect())
    }

    /// What of them can run when it is loaded.
    pub(super) fn found(&self) -> Result<&Found> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let found = Found::in_files(&self.files)?;
        Ok(self.found.get_or_init(|| found))
    }

    /// The files, once their digests are known.
    pub(super) fn measured(&self) -> Vec<Measured> {
        let known = self.known.borrow();
        let digests = known.digests.iter().flatten();
        let files = self.files.iter().zip(&self.sizes).zip(digests);
        files.map(|((f, size), sha256)| Measured { name: f.name.clone(), size: *size, sha256: *sha256 }).collect()
    }

    /// The compressed pieces of a tar that holds papers of these names and sizes, too.
    pub(super) fn press(&self, papers: &[Head]) -> Result<Rc<Pressed>> {
        let places = self.places(papers);
        if let Some(pressed) = self.known.borrow().pressed.as_ref().filter(|p| p.places == places) {
            return Ok(Rc::clone(pressed));
        }
        let (pressed, digests) = self.read(places)?;
        let mut known = self.known.borrow_mut();
        if let Some(before) = &known.digests
            && let Some(n) = (0..digests.len()).find(|n| before[*n] != digests[*n])
        {
            return Err(changed(&self.files[n].path));
        }
        known.digests = Some(digests);
        Ok(Rc::clone(known.pressed.insert(Rc::new(pressed))))
    }

    /// Where in the tar each entry begins.
    fn places(&self, papers: &[Head]) -> Places {
        let mut entries: Vec<(&str, u64, Option<usize>)> =
            papers.iter().map(|head| (head.name.as_str(), head.size, None)).collect();
        let files = self.files.iter().zip(&self.sizes).enumerate();
        entries.extend(files.map(|(n, (file, size))| (file.name.as_str(), *size, Some(n))));
        entries.sort();
        let mut places = Places { files: vec![0; self.files.len()], papers: Vec::new(), end: 0 };
        for (name, size, file) in entries {
            match file {
                Some(n) => places.files[n] = places.end,
                None => places.papers.push(places.end..places.end + entry_bytes(name, size)),
            }
            places.end += entry_bytes(name, size);
        }
        places
    }

    /// Reads, hashes and compresses all files.
    fn read(&self, places: Places) -> Result<(Pressed, Vec<Sha256>)> {
        let (files, sizes) = (&self.files[..], &self.sizes[..]);
        let mut source = Source { files, sizes, places: &places, next: 0, reading: None, digests: Vec::new(), at: 0 };
        let mut store = tempfile::tempfile_in(&self.scratch).at(&self.scratch)?;
        let (mut pieces, mut stored) = (Vec::new(), 0);
        let ring = Ring::new(3, Slot::new);
        std::thread::scope(|scope| {
            let _stop = ring.stop();
            scope.spawn(|| ring.drive(0, |slot| source.fill(slot)));
            for _ in 0..cores() {
                scope.spawn(|| {
                    let mut compressor = None;
                    ring.drive(1, |slot| slot.press(&mut compressor));
                });
            }
            while ring.take(|slot| {
                let bytes = slot.result();
                store.write_all(bytes).at(&self.scratch)?;
                pieces.push(Piece { at: stored, length: bytes.len() as u32, is_frame: slot.is_frame });
                stored += bytes.len() as u64;
                Ok(())
            })? {}
            Ok::<_, Error>(())
        })?;
        let digests = source.digests;
        Ok((Pressed { places, pieces, store, scratch: self.scratch.clone() }, digests))
    }
}

fn changed(path: &Path) -> Error {
    Error::input(path, "it changed while it was packed").with_hint("pack again")
}

/// Header, data and zeros.
fn entry_bytes(name: &str, size: u64) -> u64 {
    let head = Head { name: name.to_owned(), size };
    BLOCK as u64 + size + head.padding() as u64
}

/// Where the entries of a payload's tar lie.
#[derive(PartialEq, Eq)]
pub(super) struct Places {
    /// Where each file's header begins.
    files: Vec<u64>,
    /// What each paper takes up.
    pub papers: Vec<Range<u64>>,
    /// Where `model.sig` begins.
    pub end: u64,
}

impl Places {
    /// Is it a whole piece that holds nothing but files?
    fn is_common(&self, piece: &Range<u64>) -> bool {
        let apart = |paper: &Range<u64>| paper.end <= piece.start || piece.end <= paper.start;
        piece.end - piece.start == PIECE_BYTES as u64 && self.papers.iter().all(apart)
    }
}

/// A piece on its way to the store.
struct Slot {
    piece: Zeroizing<Vec<u8>>,
    frame: Vec<u8>,
    is_frame: bool,
}

impl Slot {
    fn new() -> Self {
        Self { piece: Zeroizing::new(Vec::with_capacity(PIECE_BYTES)), frame: Vec::new(), is_frame: false }
    }

    fn press(&mut self, compressor: &mut Option<Compressor>) -> Result<bool> {
        if self.is_frame {
            let compressor = match compressor {
                Some(compressor) => compressor,
                None => compressor.insert(Compressor::new()?),
            };
            compressor.compress(&self.piece, &mut self.frame)?;
        }
        Ok(true)
    }

    fn result(&self) -> &[u8] {
        if self.is_frame { &self.frame } else { &self.piece }
    }
}

/// The tar as a stream of pieces, with zeros where papers belong; hashes each file as it passes.
struct Source<'c> {
    files: &'c [SourceFile],
    sizes: &'c [u64],
    places: &'c Places,
    /// The file that comes next, or is being read.
    next: usize,
    reading: Option<(File, Hasher)>,
    digests: Vec<Sha256>,
    /// How much of the tar was made.
    at: u64,
}

impl Source<'_> {
    fn fill(&mut self, slot: &mut Slot) -> Result<bool> {
        let piece = self.at..self.places.end.min(self.at + PIECE_BYTES as u64);
        if piece.is_empty() {
            return Ok(false);
        }
        slot.is_frame = self.places.is_common(&piece);
        slot.piece.clear();
        while self.at < piece.end {
            let from = self.places.files.get(self.next).copied().unwrap_or(self.places.end);
            if self.at < from {
                self.zeros(slot, from.min(piece.end));
            } else {
                self.file(slot, piece.end)?;
            }
        }
        Ok(true)
    }

    fn zeros(&mut self, slot: &mut Slot, end: u64) {
        let length = slot.piece.len() + (end - self.at) as usize;
        slot.piece.resize(length, 0);
        self.at = end;
    }

    /// As much of the next file's entry as fits before `end`.
    fn file(&mut self, slot: &mut Slot, end: u64) -> Result<()> {
        let SourceFile { name, path } = &self.files[self.next];
        let head = Head { name: name.clone(), size: self.sizes[self.next] };
        let start = self.places.files[self.next];
        let (data, padding) = (start + BLOCK as u64, start + BLOCK as u64 + head.size);
        let whole = padding + head.padding() as u64;
        if self.at < data {
            let from = (self.at - start) as usize;
            let header = &head.to_bytes()[from..BLOCK.min(from + (end - self.at) as usize)];
            slot.piece.extend_from_slice(header);
            self.at += header.len() as u64;
        } else if self.at < padding {
            let length = slot.piece.len();
            let count = (padding.min(end) - self.at) as usize;
            slot.piece.resize(length + count, 0);
            self.data(path, &mut slot.piece[length..])?;
            self.at += count as u64;
        } else if self.at < whole {
            self.zeros(slot, whole.min(end));
        }
        if self.at == whole {
            self.end_of_file(path)?;
        }
        Ok(())
    }

    fn data(&mut self, path: &Path, part: &mut [u8]) -> Result<()> {
        let (file, hasher) = match &mut self.reading {
            Some(reading) => reading,
            none => none.insert((File::open(path).at(path)?, Hasher::default())),
        };
        file.read_exact(part).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => changed(path),
            _ => Error::io(path, &e),
        })?;
        hasher.update(part);
        Ok(())
    }

    fn end_of_file(&mut self, path: &Path) -> Result<()> {
        let (mut file, hasher) = match self.reading.take() {
            Some(reading) => reading,
            None => (File::open(path).at(path)?, Hasher::default()), // an empty one
        };
        if file.read(&mut [0]).at(path)? != 0 {
            return Err(changed(path));
        }
        self.digests.push(hasher.finish());
        self.next += 1;
        Ok(())
    }
}

/// Where a piece lies in the store: its frame, or its bytes without papers.
struct Piece {
    at: u64,
    length: u32,
    is_frame: bool,
}

/// A derivative's pieces, compressed as far as they are the same in each bundle.
pub(super) struct Pressed {
    pub places: Places,
    pieces: Vec<Piece>,
    store: File,
    scratch: PathBuf,
}

impl Pressed {
    /// Reads the `n`th piece into one of both: its frame, or else its bytes with zeros where papers belong, nothing of a
    /// piece after the last. Is it a frame?
    pub fn read(&self, n: usize, frame: &mut Vec<u8>, bytes: &mut Vec<u8>) -> Result<bool> {
        let Some(piece) = self.pieces.get(n) else {
            bytes.clear();
            return Ok(false);
        };
        let into = if piece.is_frame { frame } else { bytes };
        into.resize(piece.length as usize, 0);
        let mut store = &self.store;
        store.seek(SeekFrom::Start(piece.at)).and_then(|_| store.read_exact(into)).at(&self.scratch)?;
        Ok(piece.is_frame)
    }
}

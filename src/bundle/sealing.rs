//! The payload of one bundle, FORMAT.md section 3: what the product's bundles have in common, with this one's papers,
//! encrypted on all cores as age does, and hashed once.

use super::content::Pressed;
use super::frames::Compressor;
use super::keys::Recipient;
use super::layout::BLOCK;
use super::limits::PIECE_BYTES;
use super::ring::{Ring, cores};
use super::stream::{self, CHUNK, GROUP, Group, SEALED_CHUNK, TAG};
use crate::digest::{Hasher, Sha256};
use crate::error::Result;
use zeroize::Zeroizing;

/// The payload's tar, as a stream of frames.
pub struct Frames<'p> {
    pressed: &'p Pressed,
    /// What goes where the pieces have room for it.
    late: Vec<(u64, &'p [u8])>,
    /// Bytes of the tar.
    size: u64,
    /// The piece that comes next.
    next: usize,
    compressor: Compressor,
    piece: Zeroizing<Vec<u8>>,
    frame: Vec<u8>,
    /// How much of the frame was taken.
    taken: usize,
    /// How many chunks were filled.
    chunks: u64,
}

impl<'p> Frames<'p> {
    /// The pieces with these papers, each a header and a text in the order of the tar, and this end: `model.sig` and the
    /// zeros that close it.
    pub fn new(pressed: &'p Pressed, papers: &'p [([u8; BLOCK], &'p [u8])], end: &'p [u8]) -> Result<Self> {
        let places = &pressed.places;
        let mut late = vec![(places.end, end)];
        for (place, (header, text)) in places.papers.iter().zip(papers) {
            late.extend([(place.start, &header[..]), (place.start + BLOCK as u64, *text)]);
        }
        let (compressor, size) = (Compressor::new()?, places.end + end.len() as u64);
        let (piece, frame) = (Zeroizing::new(Vec::with_capacity(PIECE_BYTES)), Vec::new());
        Ok(Self { pressed, late, size, next: 0, compressor, piece, frame, taken: 0, chunks: 0 })
    }

    /// Bytes of the tar.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills a group with the chunks that come next; `false` when there are no more.
    fn fill(&mut self, group: &mut Group) -> Result<bool> {
        group.bytes.clear();
        (group.first, group.is_end) = (self.chunks, false);
        while group.bytes.len() < GROUP * SEALED_CHUNK && !self.is_empty()? {
            let start = group.bytes.len();
            group.bytes.resize(start + SEALED_CHUNK, 0);
            let filled = self.take(&mut group.bytes[start..start + CHUNK])?;
            group.bytes.truncate(start + filled + TAG);
            self.chunks += 1;
        }
        group.is_end = self.is_empty()?;
        Ok(!group.bytes.is_empty())
    }

    fn take(&mut self, chunk: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < chunk.len() && !self.is_empty()? {
            let part = &self.frame[self.taken..];
            let count = part.len().min(chunk.len() - filled);
            chunk[filled..filled + count].copy_from_slice(&part[..count]);
            self.taken += count;
            filled += count;
        }
        Ok(filled)
    }

    /// Is there nothing left? Else there is a frame of which something is.
    fn is_empty(&mut self) -> Result<bool> {
        if self.taken < self.frame.len() {
            return Ok(false);
        }
        let start = (self.next * PIECE_BYTES) as u64;
        if start >= self.size {
            return Ok(true);
        }
        if !self.pressed.read(self.next, &mut self.frame, &mut self.piece)? {
            self.piece.resize(PIECE_BYTES.min((self.size - start) as usize), 0);
            self.late.iter().for_each(|(at, bytes)| lay(&mut self.piece, start, *at, bytes));
            self.compressor.compress(&self.piece, &mut self.frame)?;
        }
        (self.next, self.taken) = (self.next + 1, 0);
        Ok(false)
    }
}

/// Lays what of `bytes`, at `at` in the tar, falls into a piece that begins at `start`.
fn lay(piece: &mut [u8], start: u64, at: u64, bytes: &[u8]) {
    let (from, to) = (at.max(start), (at + bytes.len() as u64).min(start + piece.len() as u64));
    if from < to {
        let part = &bytes[(from - at) as usize..(to - at) as usize];
        piece[(from - start) as usize..(to - start) as usize].copy_from_slice(part);
    }
}

/// Encrypts frames to recipients; what is written is an age file. Returns its digest and size.
pub fn seal(
    mut frames: Frames<'_>,
    recipients: &[Recipient],
    mut write: impl FnMut(&[u8]) -> Result<()>,
) -> Result<(Sha256, u64)> {
    let (head, key) = stream::start(recipients)?;
    let mut hasher = Hasher::default();
    hasher.update(&head);
    write(&head)?;
    let ring = Ring::new(4, Group::new);
    std::thread::scope(|scope| {
        let _stop = ring.stop();
        scope.spawn(|| ring.drive(0, |group| frames.fill(group)));
        for _ in 0..cores() {
            scope.spawn(|| ring.drive(1, |group| key.seal(group).map(|()| true)));
        }
        scope.spawn(|| {
            ring.drive(2, |group| {
                hasher.update(&group.bytes);
                Ok(true)
            })
        });
        while ring.take(|group| write(&group.bytes))? {}
        Ok(())
    })?;
    let size = hasher.bytes();
    Ok((hasher.finish(), size))
}

//! The payload of one bundle, FORMAT.md section 3: the pieces of the derivative, then what is this bundle's own, encrypted
//! on all cores as age does, and hashed once.

use super::content::Pieces;
use super::derivative::Measured;
use super::frames::Compressor;
use super::keys::Recipient;
use super::limits::{MAX_FRAME_BYTES, PIECE_BYTES};
use super::ring::{Ring, cores};
use super::stream::{self, CHUNK, GROUP, Group, SEALED_CHUNK, TAG};
use crate::digest::{Hasher, Sha256};
use crate::error::{Error, Result};
use zeroize::Zeroizing;

/// An age file that was written.
pub struct Sealed {
    /// Its bytes.
    pub size: u64,
    /// Of all of them.
    pub sha256: Sha256,
    /// Of those before its first chunk.
    pub header: Sha256,
}

/// Encrypts the pieces, and after them what `tail` says when all files have been read; `write` gets an age file.
pub fn seal(
    pieces: &mut Pieces<'_>,
    tail: impl FnOnce(&[Measured]) -> Result<Vec<u8>> + Send,
    recipients: &[Recipient],
    mut write: impl FnMut(&[u8]) -> Result<()>,
) -> Result<Sealed> {
    let (head, key) = stream::start(recipients)?;
    let mut hasher = Hasher::default();
    hasher.update(&head);
    write(&head)?;
    let mut frames = Frames::new(pieces, tail)?;
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
        Ok::<_, Error>(())
    })?;
    let size = hasher.bytes();
    Ok(Sealed { size, sha256: hasher.finish(), header: Sha256::of(head) })
}

/// The payload's tar, as a stream of frames.
struct Frames<'p, 'c, T> {
    pieces: &'p mut Pieces<'c>,
    /// Not asked yet.
    tail: Option<T>,
    /// What follows the whole pieces, and how much of it was compressed.
    end: Zeroizing<Vec<u8>>,
    pressed: usize,
    compressor: Compressor,
    frame: Vec<u8>,
    /// How much of the frame was taken.
    taken: usize,
    /// How many chunks were filled.
    chunks: u64,
}

impl<'p, 'c, T: FnOnce(&[Measured]) -> Result<Vec<u8>>> Frames<'p, 'c, T> {
    fn new(pieces: &'p mut Pieces<'c>, tail: T) -> Result<Self> {
        let (compressor, frame) = (Compressor::new()?, Vec::with_capacity(MAX_FRAME_BYTES));
        Ok(Self {
            pieces,
            tail: Some(tail),
            end: Zeroizing::default(),
            pressed: 0,
            compressor,
            frame,
            taken: 0,
            chunks: 0,
        })
    }

    /// Fills a group with the chunks that come next; `false` when there are no more.
    fn fill(&mut self, group: &mut Group) -> Result<bool> {
        group.bytes.clear();
        group.first = self.chunks;
        while group.bytes.len() < GROUP * SEALED_CHUNK && self.has_more()? {
            let end = group.bytes.len() + CHUNK;
            while group.bytes.len() < end && self.has_more()? {
                let part = &self.frame[self.taken..];
                let part = &part[..part.len().min(end - group.bytes.len())];
                group.bytes.extend_from_slice(part);
                self.taken += part.len();
            }
            group.bytes.extend_from_slice(&[0; TAG]);
            self.chunks += 1;
        }
        group.is_end = !self.has_more()?;
        Ok(!group.bytes.is_empty())
    }

    /// Is there something left of the frame, or else another one?
    fn has_more(&mut self) -> Result<bool> {
        if self.taken < self.frame.len() {
            return Ok(true);
        }
        self.taken = 0;
        if self.tail.is_some() && self.pieces.next_frame(&mut self.frame)? {
            return Ok(true);
        }
        if let Some(tail) = self.tail.take() {
            let (rest, files) = self.pieces.end()?;
            let tail = tail(&files)?;
            self.end.reserve_exact(rest.len() + tail.len()); // once: what a growing Vec leaves behind nobody wipes
            self.end.extend_from_slice(rest);
            self.end.extend_from_slice(&tail);
        }
        self.frame.clear();
        let left = &self.end[self.pressed..];
        let piece = &left[..left.len().min(PIECE_BYTES)];
        self.pressed += piece.len();
        if piece.is_empty() {
            return Ok(false);
        }
        self.compressor.compress(piece, &mut self.frame)?;
        Ok(true)
    }
}

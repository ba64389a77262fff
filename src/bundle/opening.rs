//! The payload of a bundle as the bytes of its tar, FORMAT.md section 3: hashed, decrypted and decompressed on all cores,
//! in memory that is flat in the size.

use super::frames::{Cutter, Decompressor};
use super::keys::Identities;
use super::layout::read_error;
use super::limits::{MAX_FRAME_BYTES, PIECE_BYTES};
use super::manifest::Payload;
use super::ring::{Ring, cores};
use super::stream::{self, GROUP, Group, Key, SEALED_CHUNK};
use crate::digest::{Hashing, Sha256};
use crate::error::Result;
use std::io::{self, BufRead, Read};
use zeroize::Zeroizing;

/// Opens `size` bytes of `sealed` and hands the payload's tar to `read`, which meets an error where it stands in the
/// stream. Returns what that returns, and the digest of all that was sealed.
///
/// No byte is decrypted, or parsed by more than age's own header, before the header is known to be the one that was
/// signed: the key in it, which authenticates each chunk, is known to the vendor and to recipients alone.
pub fn open<T>(
    sealed: impl Read + Send,
    size: u64,
    identities: &Identities,
    payload: &Payload,
    read: impl FnOnce(&mut Tar<'_>) -> Result<T>,
) -> Result<(T, Sha256)> {
    let mut sealed = Hashing::new(sealed.take(size));
    let is_signed = |header| {
        if header == payload.header {
            Ok(())
        } else {
            Err(stream::bad("its age header is not the one that was signed"))
        }
    };
    let (key, head) = stream::begin(&mut sealed, identities, is_signed)?;
    let mut source = Source { sealed: &mut sealed, left: size.saturating_sub(head), chunks: 0, is_begun: false };
    let (chunks, pieces) = (Ring::new(3, Group::new), Ring::new(3, Slot::new));
    let read = std::thread::scope(|scope| {
        let (_stop, _stop_too) = (chunks.stop(), pieces.stop());
        scope.spawn(|| chunks.drive(0, |group| source.fill(group)));
        spawn_openers(scope, &chunks, &key);
        let plain = Plain::new(&chunks, |group| &mut group.bytes);
        scope.spawn(|| cut(&pieces, Cutter::new(plain, payload.size)));
        spawn_decompressors(scope, &pieces);
        read(&mut Tar::new(&pieces, |slot| &mut slot.piece))
    })?;
    Ok((read, sealed.finish().1))
}

type Scope<'s, 'e> = std::thread::Scope<'s, 'e>;

fn spawn_openers<'s, 'e>(scope: &'s Scope<'s, 'e>, chunks: &'e Ring<Group>, key: &'e Key) {
    for _ in 0..cores() {
        scope.spawn(|| chunks.drive(1, |group| key.open(group).map(|()| true)));
    }
}

fn spawn_decompressors<'s, 'e>(scope: &'s Scope<'s, 'e>, pieces: &'e Ring<Slot>) {
    for _ in 0..cores() {
        scope.spawn(|| {
            let mut decompressor = None;
            pieces.drive(1, |slot| slot.decompress(&mut decompressor));
        });
    }
}

fn cut(pieces: &Ring<Slot>, mut frames: Cutter<Plain<'_>>) {
    pieces.drive(0, |slot| {
        let content = frames.next_frame(&mut slot.frame)?;
        slot.content = content.unwrap_or_default();
        Ok(content.is_some())
    });
}

/// What is sealed, as groups of chunks.
struct Source<'s, R> {
    sealed: &'s mut Hashing<R>,
    left: u64,
    chunks: u64,
    is_begun: bool,
}

impl<R: Read> Source<'_, R> {
    fn fill(&mut self, group: &mut Group) -> Result<bool> {
        if self.left == 0 && self.is_begun {
            return Ok(false);
        }
        self.is_begun = true; // an age file has at least one chunk: that none is there is for `open` to say
        let count = self.left.min((GROUP * SEALED_CHUNK) as u64) as usize;
        group.bytes.resize(count, 0);
        self.sealed.read_exact(&mut group.bytes).map_err(|e| read_error(&e))?;
        self.left -= count as u64;
        (group.first, group.is_end) = (self.chunks, self.left == 0);
        self.chunks += GROUP as u64;
        Ok(true)
    }
}

/// A frame and its piece.
pub struct Slot {
    frame: Zeroizing<Vec<u8>>,
    content: usize,
    piece: Zeroizing<Vec<u8>>,
}

impl Slot {
    fn new() -> Self {
        let room = |bytes| Zeroizing::new(Vec::with_capacity(bytes));
        Self { frame: room(MAX_FRAME_BYTES), content: 0, piece: room(PIECE_BYTES) }
    }

    fn decompress(&mut self, decompressor: &mut Option<Decompressor>) -> Result<bool> {
        let decompressor = match decompressor {
            Some(decompressor) => decompressor,
            None => decompressor.insert(Decompressor::new()?),
        };
        decompressor.decompress(&self.frame, self.content, &mut self.piece)?;
        Ok(true)
    }
}

/// The last stage of a ring as a stream of its items' bytes; an error stands where the item did.
pub struct Stream<'r, T> {
    ring: &'r Ring<T>,
    bytes_of: fn(&mut T) -> &mut Zeroizing<Vec<u8>>,
    bytes: Zeroizing<Vec<u8>>,
    taken: usize,
}

/// What was encrypted.
type Plain<'r> = Stream<'r, Group>;
/// The payload's tar.
pub type Tar<'r> = Stream<'r, Slot>;

impl<'r, T> Stream<'r, T> {
    fn new(ring: &'r Ring<T>, bytes_of: fn(&mut T) -> &mut Zeroizing<Vec<u8>>) -> Self {
        Self { ring, bytes_of, bytes: Zeroizing::default(), taken: 0 }
    }
}

impl<T> BufRead for Stream<'_, T> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.taken == self.bytes.len() {
            let (bytes, bytes_of) = (&mut self.bytes, self.bytes_of);
            let swap = |item: &mut T| {
                std::mem::swap(bytes, bytes_of(item));
                Ok(())
            };
            if !self.ring.take(swap).map_err(io::Error::other)? {
                bytes.clear();
            }
            self.taken = 0;
        }
        Ok(&self.bytes[self.taken..])
    }

    fn consume(&mut self, count: usize) {
        self.taken += count;
    }
}

impl<T> Read for Stream<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let part = self.fill_buf()?;
        let count = part.len().min(buffer.len());
        buffer[..count].copy_from_slice(&part[..count]);
        self.consume(count);
        Ok(count)
    }
}

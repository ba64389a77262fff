//! The payload's compression, FORMAT.md section 3: independent zstd frames of 1 MiB, whose form leaves nothing free.

use super::layout::read_error;
use super::limits::{MAX_BLOCK_BYTES, MAX_FRAME_BYTES, PIECE_BYTES};
use crate::error::{Code, Error, Result};
use std::io::{self, BufRead};
use zeroize::Zeroizing;
use zstd::zstd_safe::{CParameter, ParamSwitch};

/// For what has matches, as configs, tokenizers and tables do: zstd's own default.
const SEARCH: i32 = 3;
/// For weights, in which nothing is found: so far from a search that only Huffman's coding is left, which gives the same
/// size in half of the time, and opens faster too.
const NO_SEARCH: i32 = -100_000;
/// Bytes of a piece that tell whether something is found, in four parts.
const PROBE_BYTES: usize = 16 << 10;

/// How a frame with this much content begins: magic number, descriptor, content size (RFC 8878, section 3.1.1).
fn frame_head(content: usize) -> Vec<u8> {
    const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let mut head = MAGIC.to_vec();
    match content {
        0..256 => head.extend([0x20, content as u8]),
        256..65_792 => {
            head.push(0x60);
            head.extend(((content - 256) as u16).to_le_bytes());
        }
        _ => {
            head.push(0xa0);
            head.extend((content as u32).to_le_bytes());
        }
    }
    head
}

/// Makes frames. The same piece gives the same frame on every thread.
pub struct Compressor {
    search: zstd::bulk::Compressor<'static>,
    no_search: zstd::bulk::Compressor<'static>,
    sample: Zeroizing<Vec<u8>>,
}

impl Compressor {
    /// One for each thread.
    pub fn new() -> Result<Self> {
        let of = |level| zstd::bulk::Compressor::new(level).map_err(|e| fails(&e));
        let (search, mut no_search) = (of(SEARCH)?, of(NO_SEARCH)?);
        // by itself zstd takes a window below a piece at such levels, and codes no literals
        let window = CParameter::WindowLog(PIECE_BYTES.ilog2());
        for parameter in [window, CParameter::LiteralCompressionMode(ParamSwitch::Enable)] {
            no_search.set_parameter(parameter).map_err(|e| fails(&e))?;
        }
        Ok(Self { search, no_search, sample: Zeroizing::new(Vec::with_capacity(PROBE_BYTES)) })
    }

    /// The frame of a piece.
    pub fn compress(&mut self, piece: &[u8], frame: &mut Vec<u8>) -> Result<()> {
        frame.clear();
        frame.reserve_exact(MAX_FRAME_BYTES);
        let compressor = if self.has_matches(piece, frame)? { &mut self.search } else { &mut self.no_search };
        compressor.compress_to_buffer(piece, frame).map_err(|e| fails(&e))?;
        if frame.starts_with(&frame_head(piece.len())) && frame.len() <= MAX_FRAME_BYTES {
            return Ok(());
        }
        Err(Error::new(Code::Io, "zstd wrote a frame of another form than FORMAT.md's"))
    }

    /// Does a search save more than one byte in fifty of a sample?
    fn has_matches(&mut self, piece: &[u8], frame: &mut Vec<u8>) -> Result<bool> {
        if piece.len() <= MAX_BLOCK_BYTES {
            return Ok(true);
        }
        self.sample.clear();
        let (part, stride) = (PROBE_BYTES / 4, piece.len() / 4);
        (0..4).for_each(|n| self.sample.extend_from_slice(&piece[n * stride..][..part]));
        let coded = self.no_search.compress_to_buffer(&self.sample, frame).map_err(|e| fails(&e))?;
        let found = self.search.compress_to_buffer(&self.sample, frame).map_err(|e| fails(&e))?;
        frame.clear();
        Ok(found * 50 < coded * 49)
    }
}

/// Reads frames.
pub struct Decompressor(zstd::bulk::Decompressor<'static>);

impl Decompressor {
    /// One for each thread.
    pub fn new() -> Result<Self> {
        zstd::bulk::Decompressor::new().map(Self).map_err(|e| fails(&e))
    }

    /// The piece of `content` bytes that a frame holds.
    pub fn decompress(&mut self, frame: &[u8], content: usize, piece: &mut Vec<u8>) -> Result<()> {
        piece.clear();
        piece.reserve_exact(PIECE_BYTES);
        let written = self
            .0
            .decompress_to_buffer(frame, piece)
            .map_err(|e| bad(format!("a zstd frame does not decompress: {e}")))?;
        if written == content {
            return Ok(());
        }
        Err(bad(format!("a zstd frame holds {written} bytes where it must hold {content}")))
    }
}

fn fails(error: &io::Error) -> Error {
    Error::new(Code::Io, format!("zstd: {error}"))
}

/// Cuts a stream into the frames of a payload: so many bytes of content, and then the end.
pub struct Cutter<R> {
    input: R,
    left: u64,
}

impl<R: BufRead> Cutter<R> {
    /// Reads frames from `input` that hold `size` bytes together.
    pub fn new(input: R, size: u64) -> Self {
        Self { input, left: size }
    }

    /// The bytes of the next frame, and how much it must hold; `None` when all of them were read and nothing follows.
    /// Its head and the sizes of its blocks are checked (RFC 8878, section 3.1.1.2), so that its end is known.
    pub fn next_frame(&mut self, frame: &mut Vec<u8>) -> Result<Option<usize>> {
        if self.left == 0 {
            return self.demand_end().map(|()| None);
        }
        let content = self.left.min(PIECE_BYTES as u64) as usize;
        let head = frame_head(content);
        frame.clear();
        self.take(frame, head.len())?;
        if *frame != head {
            return Err(bad("a zstd frame does not begin as FORMAT.md says"));
        }
        while !self.block(frame)? {}
        self.left -= content as u64;
        Ok(Some(content))
    }

    /// One block; was it the frame's last?
    fn block(&mut self, frame: &mut Vec<u8>) -> Result<bool> {
        let start = frame.len();
        self.take(frame, 3)?;
        let header = u32::from_le_bytes([frame[start], frame[start + 1], frame[start + 2], 0]);
        let size = (header >> 3) as usize;
        let stored = match (header >> 1) & 3 {
            1 => 1, // one byte, repeated
            0 | 2 => size,
            _ => return Err(bad("a zstd block has the reserved type")),
        };
        if size > MAX_BLOCK_BYTES {
            return Err(bad(format!("a zstd block is larger than {MAX_BLOCK_BYTES} bytes")));
        }
        self.take(frame, stored)?;
        Ok(header & 1 == 1)
    }

    fn take(&mut self, frame: &mut Vec<u8>, count: usize) -> Result<()> {
        let start = frame.len();
        if start + count > MAX_FRAME_BYTES {
            return Err(bad(format!("a zstd frame is larger than {MAX_FRAME_BYTES} bytes")));
        }
        while frame.len() < start + count {
            let part = self.input.fill_buf().map_err(|e| read_error(&e))?;
            if part.is_empty() {
                return Err(read_error(&io::ErrorKind::UnexpectedEof.into()));
            }
            let part = &part[..part.len().min(start + count - frame.len())];
            frame.extend_from_slice(part);
            let taken = part.len();
            self.input.consume(taken);
        }
        Ok(())
    }

    fn demand_end(&mut self) -> Result<()> {
        match self.input.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(bad("something stands after the last zstd frame")),
            Err(error) => Err(read_error(&error)),
        }
    }
}

/// All that frames hold, for the fuzz targets: `size` bytes, a few MiB at most.
#[doc(hidden)]
pub fn read_frames(bytes: &[u8], size: u64) -> Result<Vec<u8>> {
    let (mut cutter, mut decompressor) = (Cutter::new(bytes, size), Decompressor::new()?);
    let (mut frame, mut piece, mut content) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(holds) = cutter.next_frame(&mut frame)? {
        decompressor.decompress(&frame, holds, &mut piece)?;
        content.extend_from_slice(&piece);
    }
    Ok(content)
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(Code::BadBundle, message)
}

#[cfg(test)]
mod tests {
    use super::read_frames as read;
    use super::*;
    use std::io::Write as _;

    fn write(content: &[u8]) -> Vec<u8> {
        let (mut compressor, mut frame, mut frames) = (Compressor::new().unwrap(), Vec::new(), Vec::new());
        for piece in content.chunks(PIECE_BYTES) {
            compressor.compress(piece, &mut frame).unwrap();
            frames.extend_from_slice(&frame);
        }
        frames
    }

    /// Bytes that don't compress.
    fn noise(count: usize) -> Vec<u8> {
        (0..count)
            .scan(1u32, |state, _| {
                *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                Some((*state >> 24) as u8)
            })
            .collect()
    }

    #[test]
    fn what_is_written_is_read_at_every_size_class() {
        for size in [1, 255, 256, 257, 65_791, 65_792, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES] {
            for content in [vec![7; size], noise(size)] {
                let frames = write(&content);
                assert!(read(&frames, size as u64).unwrap() == content, "{size}");
                assert_eq!(zstd::decode_all(&frames[..]).unwrap(), content, "zstd itself reads it: {size}");
                assert_eq!(read(&frames[..frames.len() - 1], size as u64).unwrap_err().code, Code::Truncated);
                assert!(read(&frames, size as u64 + 1).is_err() && read(&frames, size as u64 - 1).is_err(), "{size}");
                assert_eq!(read(&[&frames[..], &[0]].concat(), size as u64).unwrap_err().code, Code::BadBundle);
            }
        }
    }

    /// Numbers of a bell curve, in bf16.
    fn weights(count: usize) -> Vec<u8> {
        let bytes = noise(count * 8);
        let number = |eight: &[u8]| {
            let sum: f32 = eight.iter().map(|b| f32::from(*b) - 127.5).sum();
            half::bf16::from_f32(sum * 1e-4).to_le_bytes()
        };
        bytes.chunks_exact(8).flat_map(number).take(count).collect()
    }

    #[test]
    fn no_kind_of_content_takes_more_room_than_zstd_alone_makes_of_it() {
        let text = include_str!("../../FORMAT.md").repeat(60);
        for (what, content) in [
            ("text", &text.as_bytes()[..PIECE_BYTES]),
            ("weights", &weights(PIECE_BYTES)),
            ("noise", &noise(PIECE_BYTES)),
        ] {
            let zstd = zstd::bulk::compress(content, SEARCH).unwrap().len();
            let ours = write(content).len();
            assert!(ours <= zstd + zstd / 1000, "{what}: {ours} bytes, and {zstd}");
        }
        assert!(write(&weights(PIECE_BYTES)).len() < PIECE_BYTES * 85 / 100);
    }

    #[test]
    fn other_forms_of_zstd_are_refused() {
        let content = vec![7; 1000];
        let with = |set: fn(&mut zstd::stream::Encoder<'_, Vec<u8>>)| {
            let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
            set(&mut encoder);
            encoder.write_all(&content).unwrap();
            encoder.finish().unwrap()
        };
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0], &write(&content)[..]].concat();
        let two = [write(&content[..500]), write(&content[500..])].concat();
        let mut reserved = write(&content);
        reserved[7] |= 6;
        for (what, frames) in [
            ("a streaming frame without its size", with(|_| ())),
            (
                "a checksum",
                with(|e| {
                    e.include_checksum(true).unwrap();
                    e.set_pledged_src_size(Some(1000)).unwrap()
                }),
            ),
            ("a skippable frame", skippable),
            ("two short frames", two),
            ("a reserved block type", reserved),
        ] {
            assert_eq!(read(&frames, 1000).unwrap_err().code, Code::BadBundle, "{what}");
        }
    }
}

//! The payload's compression, FORMAT.md section 3: independent zstd frames of 1 MiB, whose form leaves nothing free.

use super::layout::read_error;
use super::limits::{MAX_BLOCK_BYTES, MAX_FRAME_BYTES, PIECE_BYTES};
use crate::error::{Code, Error, Result};
use std::io::{self, Read, Write};
use zeroize::Zeroizing;

/// zstd's own default: adapters hardly shrink, and packing is bound by the disk.
const LEVEL: i32 = 3;

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

/// Cuts what is written into frames.
pub struct Writer<W> {
    out: W,
    piece: Zeroizing<Vec<u8>>,
    compressor: zstd::bulk::Compressor<'static>,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    /// Writes frames to `out`.
    pub fn new(out: W) -> io::Result<Self> {
        let piece = Zeroizing::new(Vec::with_capacity(PIECE_BYTES));
        Ok(Self { out, piece, compressor: zstd::bulk::Compressor::new(LEVEL)?, bytes: 0 })
    }

    /// Writes the last frame; returns what was written to and how many bytes of content there were.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        if !self.piece.is_empty() {
            self.frame()?;
        }
        Ok((self.out, self.bytes))
    }

    fn frame(&mut self) -> io::Result<()> {
        let frame = self.compressor.compress(&self.piece)?;
        if !frame.starts_with(&frame_head(self.piece.len())) || frame.len() > MAX_FRAME_BYTES {
            return Err(io::Error::other("zstd wrote a frame of another form than FORMAT.md's"));
        }
        self.piece.clear();
        self.out.write_all(&frame)
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = &bytes[..bytes.len().min(PIECE_BYTES - self.piece.len())];
        self.piece.extend_from_slice(part);
        self.bytes += part.len() as u64;
        if self.piece.len() == PIECE_BYTES {
            self.frame()?;
        }
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // a frame is written when it is full; age and the file are finished by their owners
    }
}

/// Reads exactly `size` bytes of content out of frames, then demands the end.
pub struct Reader<R> {
    input: R,
    left: u64,
    piece: Zeroizing<Vec<u8>>,
    read: usize,
    frame: Zeroizing<Vec<u8>>,
    decompressor: zstd::bulk::Decompressor<'static>,
}

impl<R: Read> Reader<R> {
    /// Reads frames from `input` that hold `size` bytes together.
    pub fn new(input: R, size: u64) -> io::Result<Self> {
        Ok(Self {
            input,
            left: size,
            piece: Zeroizing::new(Vec::with_capacity(PIECE_BYTES)),
            read: 0,
            frame: Zeroizing::new(Vec::with_capacity(MAX_FRAME_BYTES)),
            decompressor: zstd::bulk::Decompressor::new()?,
        })
    }

    /// The next frame into `piece`.
    fn next_piece(&mut self) -> Result<()> {
        let content = self.left.min(PIECE_BYTES as u64) as usize;
        self.read_frame(content)?;
        self.piece.clear();
        self.read = 0;
        let written = self
            .decompressor
            .decompress_to_buffer(&self.frame, &mut *self.piece)
            .map_err(|e| bad(format!("a zstd frame does not decompress: {e}")))?;
        if written != content {
            return Err(bad(format!("a zstd frame holds {written} bytes where it must hold {content}")));
        }
        self.left -= content as u64;
        Ok(())
    }

    /// The bytes of one frame into `frame`, its head and the sizes of its blocks checked (section 3.1.1.2).
    fn read_frame(&mut self, content: usize) -> Result<()> {
        let head = frame_head(content);
        self.frame.clear();
        self.take(head.len())?;
        if *self.frame != head {
            return Err(bad("a zstd frame does not begin as FORMAT.md says"));
        }
        loop {
            let start = self.frame.len();
            self.take(3)?;
            let header = u32::from_le_bytes([self.frame[start], self.frame[start + 1], self.frame[start + 2], 0]);
            let size = (header >> 3) as usize;
            let stored = match (header >> 1) & 3 {
                1 => 1, // one byte, repeated
                0 | 2 => size,
                _ => return Err(bad("a zstd block has the reserved type")),
            };
            if size > MAX_BLOCK_BYTES {
                return Err(bad(format!("a zstd block is larger than {MAX_BLOCK_BYTES} bytes")));
            }
            self.take(stored)?;
            if header & 1 == 1 {
                return Ok(());
            }
        }
    }

    fn take(&mut self, count: usize) -> Result<()> {
        let start = self.frame.len();
        if start + count > MAX_FRAME_BYTES {
            return Err(bad(format!("a zstd frame is larger than {MAX_FRAME_BYTES} bytes")));
        }
        self.frame.resize(start + count, 0);
        self.input.read_exact(&mut self.frame[start..]).map_err(|e| read_error(&e))
    }

    fn demand_end(&mut self) -> Result<()> {
        match self.input.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(bad("something stands after the last zstd frame")),
            Err(error) => Err(read_error(&error)),
        }
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.piece.len() {
            if self.left == 0 {
                self.demand_end().map_err(io::Error::other)?;
                return Ok(0);
            }
            self.next_piece().map_err(io::Error::other)?;
        }
        let part = &self.piece[self.read..];
        let count = part.len().min(buffer.len());
        buffer[..count].copy_from_slice(&part[..count]);
        self.read += count;
        Ok(count)
    }
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(Code::BadBundle, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(content: &[u8]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.write_all(content).unwrap();
        writer.finish().unwrap().0
    }

    fn read(bytes: &[u8], size: u64) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        Reader::new(bytes, size).unwrap().read_to_end(&mut content).map_err(|e| read_error(&e))?;
        Ok(content)
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

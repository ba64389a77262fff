//! The bytes of a head, one after the other: every length is held against the file before anything is made of it.

use super::{
    Array, GGML_TYPES, GgufTensor, MAX_DIMENSIONS, MAX_HEAD_BYTES, MAX_STRING_BYTES, MAX_STRINGS_BYTES, Value,
};
use crate::error::{AtPath, Code, Error, Result};
use std::fs::File;
use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::path::Path;

/// Arrays may be nested this deep.
const MAX_DEPTH: u32 = 4;

pub(super) const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// A file while its head is read.
pub(super) struct Head<'a> {
    pub path: &'a Path,
    /// Where the bytes are.
    pub source: &'a Path,
    /// Of the whole file.
    size: u64,
    /// Bytes at hand, from its start.
    there: u64,
    /// It goes on after what is at hand.
    pub wants_more: bool,
    pub at: u64,
    /// Bytes of strings that were kept.
    strings: u64,
    stream: BufReader<File>,
}

impl<'a> Head<'a> {
    /// The file `path` of `size` bytes, read out of `source` from the byte `at`.
    pub fn open(path: &'a Path, source: &'a Path, size: u64, at: u64) -> Result<Self> {
        let mut file = File::open(source).at(source)?;
        let there = file.metadata().at(source)?.len();
        file.seek(SeekFrom::Start(at)).at(source)?;
        let stream = BufReader::with_capacity(1 << 16, file);
        Ok(Self { path, source, size, there, wants_more: false, at, strings: 0, stream })
    }

    pub fn wrong(&self, message: &str) -> Error {
        Error::input(self.path, format!("GGUF head, byte {}: {message}", self.at))
    }

    /// Moves on, unless that leaves the file or the head's limit.
    fn take(&mut self, bytes: u64) -> Result<()> {
        match self.at.checked_add(bytes) {
            Some(end) if end <= self.size.min(MAX_HEAD_BYTES) => {
                self.at = end;
                self.wants_more |= end > self.there;
                if self.wants_more {
                    return Err(self.wrong("only the beginning of the head is at hand"));
                }
            }
            Some(end) if end <= self.size => return Err(self.wrong(&format!("larger than {MAX_HEAD_BYTES} bytes"))),
            _ => return Err(self.wrong("the file ends inside its head")),
        }
        Ok(())
    }

    pub fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N as u64)?;
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).at(self.path)?;
        Ok(bytes)
    }

    pub fn u32(&mut self) -> Result<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    pub fn version(&mut self) -> Result<u32> {
        let version = self.u32()?;
        let said = match version {
            2 | 3 => return Ok(version),
            v if v.swap_bytes() == 2 || v.swap_bytes() == 3 => "a big-endian file".to_owned(),
            v => format!("version {v}, not 2 or 3"),
        };
        let error = self.wrong(&said);
        Err(Error::new(Code::UnsupportedBase, error.to_string()).with_hint("convert it anew with llama.cpp"))
    }

    pub fn count(&mut self, what: &str, limit: u64) -> Result<u64> {
        match self.u64()? {
            n if n <= limit => Ok(n),
            n => Err(self.wrong(&format!("{n} {what}, at most {limit} are read"))),
        }
    }

    /// A string that is kept: memory grows no faster than the file was read.
    pub fn string(&mut self) -> Result<String> {
        let length = self.u64()?;
        self.take(length)?;
        self.strings += length;
        if length > MAX_STRING_BYTES || self.strings > MAX_STRINGS_BYTES {
            return Err(self.wrong(&format!("a string of {length} bytes is too large")));
        }
        let mut bytes = vec![0; length as usize];
        self.stream.read_exact(&mut bytes).at(self.path)?;
        String::from_utf8(bytes).map_err(|_| self.wrong("a string is not UTF-8"))
    }

    pub fn value(&mut self, kind: u32) -> Result<Value> {
        Ok(match kind {
            0 => Value::Unsigned(u64::from(self.bytes::<1>()?[0])),
            1 => Value::Signed(i64::from(i8::from_le_bytes(self.bytes()?))),
            2 => Value::Unsigned(u64::from(u16::from_le_bytes(self.bytes()?))),
            3 => Value::Signed(i64::from(i16::from_le_bytes(self.bytes()?))),
            4 => Value::Unsigned(u64::from(self.u32()?)),
            5 => Value::Signed(i64::from(i32::from_le_bytes(self.bytes()?))),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.bytes()?))),
            7 => match self.bytes::<1>()?[0] {
                byte @ 0..=1 => Value::Bool(byte == 1),
                byte => return Err(self.wrong(&format!("neither true nor false: {byte}"))),
            },
            STRING => Value::Text(self.string()?),
            ARRAY => Value::Array(self.array(1)?),
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.bytes()?)),
            12 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            kind => return Err(self.wrong(&format!("unknown type of value: {kind}"))),
        })
    }

    /// Steps over an array; nothing of it is kept.
    fn array(&mut self, depth: u32) -> Result<Array> {
        let kind = self.u32()?;
        let len = self.u64()?;
        let start = self.at;
        let width = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            STRING => {
                for _ in 0..len {
                    let length = self.u64()?;
                    self.skip(length)?;
                }
                0
            }
            ARRAY if depth < MAX_DEPTH => {
                for _ in 0..len {
                    self.array(depth + 1)?;
                }
                0
            }
            ARRAY => return Err(self.wrong(&format!("arrays are nested deeper than {MAX_DEPTH}"))),
            kind => return Err(self.wrong(&format!("unknown type of element: {kind}"))),
        };
        let bytes = len.checked_mul(width).ok_or_else(|| self.wrong("the file ends inside its head"))?;
        self.skip(bytes)?;
        Ok(Array { len, kind, start, end: self.at })
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        self.take(bytes)?;
        // at most MAX_HEAD_BYTES, so it fits
        self.stream.seek_relative(bytes as i64).at(self.path)
    }

    pub fn tensors(&mut self, count: u64, alignment: u64) -> Result<Vec<GgufTensor>> {
        let mut tensors = Vec::new();
        for _ in 0..count {
            tensors.push(self.tensor(alignment)?);
        }
        let data = self.at.next_multiple_of(alignment);
        for tensor in &mut tensors {
            let place = tensor.start.checked_add(data).zip(tensor.end.checked_add(data));
            let Some((start, end)) = place.filter(|(_, end)| *end <= self.size) else {
                return Err(self.wrong(&format!("the file ends inside tensor {}", tensor.name)));
            };
            (tensor.start, tensor.end) = (start, end);
        }
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        match tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
            Some(pair) => Err(self.wrong(&format!("tensor {} stands twice", pair[0].name))),
            None => Ok(tensors),
        }
    }

    /// One tensor, its place still from the start of the data.
    fn tensor(&mut self, alignment: u64) -> Result<GgufTensor> {
        let name = self.string()?;
        let dimensions = self.u32()?;
        if dimensions > MAX_DIMENSIONS {
            return Err(self.wrong(&format!("tensor {name} has {dimensions} dimensions, at most {MAX_DIMENSIONS}")));
        }
        let mut shape = (0..dimensions).map(|_| self.u64()).collect::<Result<Vec<_>>>()?;
        let id = self.u32()?;
        let start = self.u64()?;
        let Some(kind) = GGML_TYPES.iter().find(|t| t.id == id) else {
            return Err(self.wrong(&format!("tensor {name} has an unknown type: {id}")));
        };
        // blocks lie along the innermost dimension, the first one here
        let whole = shape.first().is_none_or(|row| row.is_multiple_of(kind.block));
        let elements = shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).filter(|_| whole);
        let end = elements.and_then(|n| (n / kind.block).checked_mul(kind.bytes)).and_then(|n| start.checked_add(n));
        let Some(end) = end.filter(|_| start.is_multiple_of(alignment)) else {
            return Err(
                self.wrong(&format!("tensor {name}: shape {shape:?}, {} and offset {start} don't fit", kind.name))
            );
        };
        shape.reverse();
        Ok(GgufTensor { name, kind, shape, start, end })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Gguf;
    use super::*;

    /// A file as the format has it: pairs and tensors that are bytes already.
    fn file(version: u32, pairs: &[Vec<u8>], tensors: &[Vec<u8>], data: usize) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend((tensors.len() as u64).to_le_bytes());
        bytes.extend((pairs.len() as u64).to_le_bytes());
        bytes.extend(pairs.concat());
        bytes.extend(tensors.concat());
        bytes.resize(bytes.len().next_multiple_of(32) + data, 0);
        bytes
    }

    fn string(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
    }

    fn pair(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
        [&string(key), &kind.to_le_bytes()[..], value].concat()
    }

    fn tensor(name: &str, dimensions: &[u64], kind: u32, offset: u64) -> Vec<u8> {
        let sizes: Vec<u8> = dimensions.iter().flat_map(|d| d.to_le_bytes()).collect();
        [
            &string(name),
            &(dimensions.len() as u32).to_le_bytes()[..],
            &sizes,
            &kind.to_le_bytes(),
            &offset.to_le_bytes(),
        ]
        .concat()
    }

    fn read(bytes: &[u8]) -> Result<Gguf> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.gguf");
        std::fs::write(&path, bytes).unwrap();
        let gguf = Gguf::read(&path)?;
        gguf.texts("words").map(|words| assert!(words.is_none_or(|w| w == ["a", "bc"])))?;
        Ok(gguf)
    }

    fn words() -> Vec<u8> {
        [&STRING.to_le_bytes()[..], &2u64.to_le_bytes(), &string("a"), &string("bc")].concat()
    }

    #[test]
    fn a_head_is_read_in_both_versions() {
        let pairs = [
            pair("general.architecture", STRING, &string("llama")),
            pair("llama.block_count", 4, &2u32.to_le_bytes()),
            pair("scale", 6, &0.5f32.to_le_bytes()),
            pair("shift", 5, &(-3i32).to_le_bytes()),
            pair("yes", 7, &[1]),
            pair("words", ARRAY, &words()),
            pair("nested", ARRAY, &[&ARRAY.to_le_bytes()[..], &1u64.to_le_bytes(), &words()].concat()),
        ];
        let tensors = [tensor("w", &[64, 3], 2, 0), tensor("norm", &[64], 0, 128)];
        for version in [2, 3] {
            let bytes = file(version, &pairs, &tensors, 128 + 256);
            let gguf = read(&bytes).unwrap();
            assert_eq!((gguf.version, gguf.alignment), (version, 32));
            assert_eq!(gguf.text("general.architecture"), Some("llama"));
            assert_eq!(gguf.count("llama.block_count"), Some(2));
            assert_eq!((&gguf.metadata["scale"], &gguf.metadata["yes"]), (&Value::Float(0.5), &Value::Bool(true)));
            assert!(matches!(gguf.metadata["words"], Value::Array(a) if a.len == 2));
            let (w, norm) = (gguf.tensor("w").unwrap(), gguf.tensor("norm").unwrap());
            assert_eq!((&w.shape[..], w.kind.name, w.end - w.start), (&[3, 64][..], "Q4_0", 6 * 18));
            assert_eq!((norm.start - w.start, norm.end - norm.start), (128, 256));
            assert!(w.start.is_multiple_of(32) && gguf.tensor("v").is_none());
        }
    }

    #[test]
    fn a_head_is_read_without_what_comes_after_it() {
        let pairs = [pair("general.architecture", STRING, &string("llama")), pair("words", ARRAY, &words())];
        let bytes = file(3, &pairs, &[tensor("w", &[128, 2], 41, 0), tensor("v", &[64], 40, 64)], 1 << 16);
        let dir = tempfile::tempdir().unwrap();
        let beginning = dir.path().join("beginning");
        let read = |length: usize| {
            std::fs::write(&beginning, &bytes[..length]).unwrap();
            Gguf::read_beginning(Path::new("there/x.gguf"), bytes.len() as u64, &beginning)
        };
        let head = bytes.len() - (1 << 16);
        let whole = (0..=head).find(|length| read(*length).unwrap().is_some()).unwrap();
        assert!(whole > 100 && whole <= head, "{whole} of {head}");
        let gguf = read(whole).unwrap().unwrap();
        assert_eq!((gguf.path.as_path(), gguf.tensor("w").unwrap().kind.bytes), (Path::new("there/x.gguf"), 18));
        assert_eq!(gguf.texts("words").unwrap().unwrap(), ["a", "bc"]);
        // the size that the server named counts, not what is at hand
        assert!(Gguf::read_beginning(Path::new("x.gguf"), head as u64, &beginning).is_err());
    }

    #[test]
    fn lies_are_refused() {
        let huge = (u64::MAX / 2).to_le_bytes();
        let array = |kind: u32, len: u64| [&kind.to_le_bytes()[..], &len.to_le_bytes()].concat();
        let deep: Vec<u8> = (0..5).flat_map(|_| array(ARRAY, 1)).collect();
        for (said, bytes) in [
            ("not a GGUF", b"GGML\x03\0\0\0".to_vec()),
            ("ends inside its head", b"GGUF\x03\0\0\0".to_vec()),
            ("version 1", file(1, &[], &[], 0)),
            ("big-endian", file(3u32.swap_bytes(), &[], &[], 0)),
            ("pairs, at most", [&b"GGUF\x03\0\0\0"[..], &[0; 8], &huge].concat()),
            ("tensors, at most", [&b"GGUF\x03\0\0\0"[..], &huge, &[0; 8]].concat()),
            ("stands twice", file(3, &[pair("a", 7, &[0]), pair("a", 7, &[0])], &[], 0)),
            ("ends inside its head", file(3, &[pair("a", STRING, &huge)], &[], 0)),
            ("ends inside its head", file(3, &[pair("a", ARRAY, &array(STRING, u64::MAX))], &[], 0)),
            ("ends inside its head", file(3, &[pair("a", ARRAY, &array(12, u64::MAX / 4))], &[], 0)),
            ("nested deeper", file(3, &[pair("a", ARRAY, &deep)], &[], 0)),
            ("unknown type of value", file(3, &[pair("a", 13, &[])], &[], 64)),
            ("unknown type of element", file(3, &[pair("a", ARRAY, &array(13, 1))], &[], 64)),
            ("neither true nor false", file(3, &[pair("a", 7, &[2])], &[], 0)),
            ("not UTF-8", file(3, &[pair("a", STRING, &[1, 0, 0, 0, 0, 0, 0, 0, 255])], &[], 0)),
            ("no power of two", file(3, &[pair("general.alignment", 4, &24u32.to_le_bytes())], &[], 0)),
            ("5 dimensions", file(3, &[], &[tensor("w", &[1; 5], 0, 0)], 64)),
            ("unknown type: 4", file(3, &[], &[tensor("w", &[1], 4, 0)], 64)),
            ("don't fit", file(3, &[], &[tensor("w", &[1 << 40, 1 << 40], 0, 0)], 64)),
            ("don't fit", file(3, &[], &[tensor("w", &[8], 2, 0)], 64)),
            ("don't fit", file(3, &[], &[tensor("w", &[8], 0, 8)], 64)),
            ("ends inside tensor w", file(3, &[], &[tensor("w", &[32], 0, 0)], 64)),
            ("stands twice", file(3, &[], &[tensor("w", &[8], 0, 0), tensor("w", &[8], 0, 32)], 64)),
        ] {
            let error = read(&bytes).unwrap_err().to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
    }

    proptest::proptest! {
        /// Whatever stands in the file, and wherever it ends: an answer or an error.
        #[test]
        fn any_bytes_are_answered(cut in 0usize..400, at in 0usize..400, byte: u8) {
            let pairs = [pair("words", ARRAY, &words()), pair("n", 10, &7u64.to_le_bytes())];
            let mut bytes = file(3, &pairs, &[tensor("w", &[64, 3], 2, 0), tensor("norm", &[4], 0, 128)], 160);
            let at = at.min(bytes.len() - 1);
            bytes[at] = byte;
            bytes.truncate(bytes.len().saturating_sub(cut));
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x.gguf");
            std::fs::write(&path, &bytes).unwrap();
            if let Ok(gguf) = Gguf::read(&path) {
                proptest::prop_assert!(gguf.tensors.iter().all(|t| t.end <= bytes.len() as u64));
                let _ = gguf.texts("words");
            }
        }
    }
}

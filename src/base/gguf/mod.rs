//! The head of a GGUF file: its metadata, and where its tensors lie. The bytes themselves stay on disk.
//!
//! The format (ggml, `docs/gguf.md`; versions 2 and 3, little endian): `GGUF`, version, number of tensors, number of
//! pairs, the pairs, the tensors' names, dimensions, types and offsets, padding, data; offsets are from its start.

mod config;
mod head;
#[cfg(feature = "ml")]
pub(super) mod names;
#[cfg(feature = "ml")]
pub(super) mod tokens;

use crate::error::{AtPath, Error, Result};
use head::{Head, STRING};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A head may not be larger than this: it holds the whole vocabulary.
pub const MAX_HEAD_BYTES: u64 = 256 << 20;
/// Pairs of metadata that are read.
pub const MAX_PAIRS: u64 = 1 << 16;
/// Tensors that are read.
pub const MAX_TENSORS: u64 = 1 << 16;
/// The format's own limit on dimensions.
pub const MAX_DIMENSIONS: u32 = 4;
/// A string that stands for itself, a chat template for one, may not be larger than this.
pub const MAX_STRING_BYTES: u64 = 4 << 20;
/// All of them together, and the names of the tensors.
pub const MAX_STRINGS_BYTES: u64 = 32 << 20;
/// An array of more numbers than this is not read: no vocabulary is larger.
const MAX_NUMBERS: u64 = 1 << 24;
/// A tensor that says how positions turn may not be larger than this.
const MAX_VECTOR_BYTES: u64 = 1 << 20;
/// What data starts at a multiple of, where the file does not say.
const ALIGNMENT: u64 = 32;
/// A larger alignment is a lie.
const MAX_ALIGNMENT: u64 = 1 << 20;

/// How ggml stores numbers: `block` of them in `bytes` bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct GgmlType {
    /// Its number in the file.
    pub id: u32,
    /// As ggml calls it.
    pub name: &'static str,
    /// Elements that are stored together.
    pub block: u64,
    /// Bytes that they take.
    pub bytes: u64,
}

macro_rules! types {
    ($($id:literal $name:literal $block:literal $bytes:literal;)+) => {
        /// ggml's types (`ggml.h`, `ggml-common.h`).
        pub static GGML_TYPES: &[GgmlType] =
            &[$(GgmlType { id: $id, name: $name, block: $block, bytes: $bytes },)+];
    };
}

types! {
    0 "F32" 1 4; 1 "F16" 1 2; 2 "Q4_0" 32 18; 3 "Q4_1" 32 20; 6 "Q5_0" 32 22; 7 "Q5_1" 32 24; 8 "Q8_0" 32 34;
    9 "Q8_1" 32 36; 10 "Q2_K" 256 84; 11 "Q3_K" 256 110; 12 "Q4_K" 256 144; 13 "Q5_K" 256 176; 14 "Q6_K" 256 210;
    15 "Q8_K" 256 292; 16 "IQ2_XXS" 256 66; 17 "IQ2_XS" 256 74; 18 "IQ3_XXS" 256 98; 19 "IQ1_S" 256 50;
    20 "IQ4_NL" 32 18; 21 "IQ3_S" 256 110; 22 "IQ2_S" 256 82; 23 "IQ4_XS" 256 136; 24 "I8" 1 1; 25 "I16" 1 2;
    26 "I32" 1 4; 27 "I64" 1 8; 28 "F64" 1 8; 29 "IQ1_M" 256 56; 30 "BF16" 1 2; 34 "TQ1_0" 256 54; 35 "TQ2_0" 256 66;
    39 "MXFP4" 32 17; 40 "NVFP4" 64 36; 41 "Q1_0" 128 18; 42 "Q2_0" 64 18;
}

/// The head of one file.
#[derive(Debug, Clone)]
pub struct Gguf {
    /// The file.
    pub path: PathBuf,
    /// Where its head lies, which may be all that is at hand.
    head: PathBuf,
    /// Of the format: 2 or 3.
    pub version: u32,
    /// Every tensor's data starts at a multiple of this.
    pub alignment: u64,
    /// The pairs.
    pub metadata: BTreeMap<String, Value>,
    /// Every tensor, sorted by name.
    pub tensors: Vec<GgufTensor>,
    /// Where each pair's value lies in the file, its type before it.
    spans: BTreeMap<String, Range<u64>>,
}

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of 8 to 64 bits.
    Unsigned(u64),
    /// Of 8 to 64 bits.
    Signed(i64),
    /// Of 32 or 64 bits.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A string.
    Text(String),
    /// Where an array lies: a vocabulary is large, and few ask for it.
    Array(Array),
}

/// Where an array of the metadata lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Array {
    /// Number of elements.
    pub len: u64,
    kind: u32,
    start: u64,
    end: u64,
}

/// Where one tensor lies.
#[derive(Debug, Clone)]
pub struct GgufTensor {
    /// As llama.cpp names it: `blk.0.attn_norm.weight`.
    pub name: String,
    /// How its numbers are stored.
    pub kind: &'static GgmlType,
    /// Outermost first, as in safetensors: the file has it the other way round.
    pub shape: Vec<u64>,
    /// First byte in the file.
    pub start: u64,
    /// One past its last byte.
    pub end: u64,
}

impl Value {
    /// A string.
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// A whole number that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Unsigned(n) => Some(*n),
            Self::Signed(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }

    /// Any number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Unsigned(n) => Some(*n as f64),
            Self::Signed(n) => Some(*n as f64),
            Self::Float(n) => Some(*n),
            _ => None,
        }
    }
}

impl Gguf {
    /// Reads the head; anything that does not fit the file is refused.
    pub fn read(path: &Path) -> Result<Self> {
        let size = path.metadata().at(path)?.len();
        Self::read_head(&mut Head::open(path, path, size, 0)?)
    }

    /// The head of a file of this size, of which only the beginning is at hand; `None` where the head goes on after that.
    pub fn read_beginning(path: &Path, size: u64, beginning: &Path) -> Result<Option<Self>> {
        let mut head = Head::open(path, beginning, size, 0)?;
        match Self::read_head(&mut head) {
            Err(_) if head.wants_more => Ok(None),
            read => read.map(Some),
        }
    }

    fn read_head(head: &mut Head<'_>) -> Result<Self> {
        if head.bytes::<4>()? != *b"GGUF" {
            return Err(head.wrong("not a GGUF file"));
        }
        let version = head.version()?;
        let tensors = head.count("tensors", MAX_TENSORS)?;
        let pairs = head.count("pairs", MAX_PAIRS)?;
        let (mut metadata, mut spans) = (BTreeMap::new(), BTreeMap::new());
        for _ in 0..pairs {
            let key = head.string()?;
            let start = head.at;
            let kind = head.u32()?;
            let value = head.value(kind)?;
            spans.insert(key.clone(), start..head.at);
            if metadata.insert(key.clone(), value).is_some() {
                return Err(head.wrong(&format!("a key stands twice: {key}")));
            }
        }
        let alignment = metadata.get("general.alignment").map_or(Some(ALIGNMENT), Value::as_u64);
        let alignment = alignment
            .filter(|a| a.is_power_of_two() && *a <= MAX_ALIGNMENT)
            .ok_or_else(|| head.wrong("general.alignment is no power of two up to 2^20"))?;
        let tensors = head.tensors(tensors, alignment)?;
        let (path, head) = (head.path.to_owned(), head.source.to_owned());
        Ok(Self { path, head, version, alignment, metadata, tensors, spans })
    }

    /// A string of the metadata.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.metadata.get(key)?.as_text()
    }

    /// A whole number of the metadata.
    pub fn count(&self, key: &str) -> Option<u64> {
        self.metadata.get(key)?.as_u64()
    }

    /// True or false, where the metadata says so.
    pub fn flag(&self, key: &str) -> Option<bool> {
        if let Value::Bool(flag) = self.metadata.get(key)? { Some(*flag) } else { None }
    }

    /// One tensor by name.
    pub fn tensor(&self, name: &str) -> Option<&GgufTensor> {
        self.tensors.binary_search_by(|t| t.name.as_str().cmp(name)).ok().map(|i| &self.tensors[i])
    }

    /// The strings of an array; `None` where there is no such array.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<String>>> {
        let Some(Value::Array(array)) = self.metadata.get(key) else { return Ok(None) };
        if array.kind != STRING {
            return Ok(None);
        }
        let mut head = self.head_at(array.start)?;
        (0..array.len).map(|_| head.string()).collect::<Result<_>>().map(Some)
    }

    /// The numbers of an array; `None` where there is no such array.
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>> {
        let Some(Value::Array(array)) = self.metadata.get(key) else { return Ok(None) };
        if array.len > MAX_NUMBERS {
            return Err(Error::input(&self.path, format!("{key}: more than {MAX_NUMBERS} numbers")));
        }
        let mut head = self.head_at(array.start)?;
        let numbers = (0..array.len).map(|_| Ok(head.value(array.kind)?.as_f64()));
        numbers.collect::<Result<Option<Vec<f64>>>>()
    }

    /// The numbers of a small tensor of F32; `None` where there is none, or its numbers are not at hand.
    fn vector(&self, name: &str) -> Result<Option<Vec<f32>>> {
        let there = self.head.metadata().at(&self.head)?.len();
        let fits = |t: &&GgufTensor| t.kind.name == "F32" && t.end - t.start <= MAX_VECTOR_BYTES && t.end <= there;
        let Some(tensor) = self.tensor(name).filter(fits) else { return Ok(None) };
        let bytes = self.bytes(tensor.start..tensor.end)?;
        Ok(Some(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()))
    }

    /// The value of a pair as it lies in the file, its type (4 bytes) before it.
    pub fn raw(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.spans.get(key).map(|span| self.bytes(span.clone())).transpose()
    }

    /// Bytes of the file that its head was held against.
    fn bytes(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut file = File::open(&self.head).at(&self.head)?;
        file.seek(SeekFrom::Start(range.start)).at(&self.head)?;
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.read_exact(&mut bytes).at(&self.path)?;
        Ok(bytes)
    }

    fn head_at(&self, start: u64) -> Result<Head<'_>> {
        let size = self.head.metadata().at(&self.head)?.len();
        Head::open(&self.path, &self.head, size, start)
    }
}

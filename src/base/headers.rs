//! Safetensors headers: what tensors a folder holds and where their bytes lie. The bytes themselves stay on disk.
//!
//! The format: 8 bytes little-endian length, that many bytes of JSON, then the data; offsets are from its start.

use crate::error::{AtPath, Error, Result};
pub use safetensors::Dtype;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A safetensors header may not be larger than this (the format's own limit).
pub const MAX_HEADER_BYTES: u64 = 100_000_000;
/// A folder may not hold more weight files than this.
pub const MAX_FILES: usize = 4096;

/// Where one tensor lies.
#[derive(Debug, Clone)]
pub struct TensorHeader {
    /// As the checkpoint names it.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Outermost first.
    pub shape: Vec<usize>,
    /// Index into [`Headers::files`].
    pub file: usize,
    /// First byte in the file.
    pub start: u64,
    /// One past its last byte.
    pub end: u64,
}

/// The headers of all `*.safetensors` of a folder.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    /// The weight files, sorted by name.
    pub files: Vec<PathBuf>,
    /// Every tensor, sorted by name; a name stands once.
    pub tensors: Vec<TensorHeader>,
    /// `__metadata__` of all files, in their order.
    pub metadata: Vec<Metadata>,
}

/// One pair of a file's `__metadata__`.
#[derive(Debug, Clone)]
pub struct Metadata {
    /// Index into [`Headers::files`].
    pub file: usize,
    /// Its name.
    pub key: String,
    /// What it says.
    pub value: String,
}

#[derive(Deserialize)]
struct RawTensor {
    dtype: Dtype,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

impl Headers {
    /// Reads the headers of a folder's `*.safetensors`; none is fine.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).at(folder)? {
            let path = entry.at(folder)?.path();
            if path.extension().is_some_and(|e| e == "safetensors") {
                files.push(path);
            }
        }
        files.sort();
        if files.len() > MAX_FILES {
            return Err(Error::input(folder, format!("more than {MAX_FILES} weight files: {}", files.len())));
        }
        let mut headers = Self { files, ..Self::default() };
        for file in 0..headers.files.len() {
            headers.read_file(file)?;
        }
        headers.tensors.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = headers.tensors.windows(2).find(|p| p[0].name == p[1].name) {
            return Err(Error::input(
                &headers.files[pair[1].file],
                format!("tensor {} stands in two files", pair[0].name),
            ));
        }
        Ok(headers)
    }

    /// One tensor by name.
    pub fn get(&self, name: &str) -> Option<&TensorHeader> {
        self.tensors.binary_search_by(|t| t.name.as_str().cmp(name)).ok().map(|i| &self.tensors[i])
    }

    fn read_file(&mut self, file: usize) -> Result<()> {
        let path = self.files[file].clone();
        let size = path.metadata().at(&path)?.len();
        let mut stream = File::open(&path).at(&path)?;
        let mut length = [0; 8];
        stream.read_exact(&mut length).map_err(|_| Error::input(&path, "shorter than a safetensors header"))?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER_BYTES || length > size.saturating_sub(8) {
            return Err(Error::input(&path, format!("header length {length} does not fit the file")));
        }
        let mut json = vec![0; length as usize];
        stream.read_exact(&mut json).at(&path)?;
        let entries: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&json).map_err(|e| Error::input(&path, format!("safetensors header: {e}")))?;
        for (name, value) in entries {
            if name == "__metadata__" {
                let metadata: BTreeMap<String, String> =
                    serde_json::from_value(value).map_err(|e| Error::input(&path, format!("__metadata__: {e}")))?;
                self.metadata.extend(metadata.into_iter().map(|(key, value)| Metadata { file, key, value }));
                continue;
            }
            let raw: RawTensor =
                serde_json::from_value(value).map_err(|e| Error::input(&path, format!("tensor {name}: {e}")))?;
            self.tensors.push(raw.checked(name, file, 8 + length, size, &path)?);
        }
        Ok(())
    }
}

impl RawTensor {
    fn checked(self, name: String, file: usize, data: u64, size: u64, path: &Path) -> Result<TensorHeader> {
        let (start, end) = self.data_offsets;
        let elements = self.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let bits = elements.and_then(|n| n.checked_mul(self.dtype.bitsize()));
        let fits = start <= end && end.checked_add(data).is_some_and(|e| e <= size);
        if !fits || bits.is_none_or(|b| b as u64 != (end - start).saturating_mul(8)) {
            return Err(Error::input(
                path,
                format!("tensor {name}: shape {:?} and bytes {start}..{end} don't fit", self.shape),
            ));
        }
        Ok(TensorHeader { name, dtype: self.dtype, shape: self.shape, file, start: data + start, end: data + end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str, data: &[u8]) -> Result<Headers> {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        std::fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
        Headers::read(dir.path())
    }

    #[test]
    fn a_header_is_read_without_the_data() {
        let headers = read(
            r#"{"__metadata__":{"format":"pt"},"w":{"dtype":"BF16","shape":[2,1],"data_offsets":[0,4]}}"#,
            &[0; 4],
        )
        .unwrap();
        let tensor = headers.get("w").unwrap();
        assert_eq!((tensor.dtype, tensor.end - tensor.start), (Dtype::BF16, 4));
        assert_eq!((headers.metadata[0].key.as_str(), headers.metadata[0].value.as_str()), ("format", "pt"));
    }

    #[test]
    fn lies_are_refused() {
        for header in [
            r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
            r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
            r#"{"w":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}}"#,
            r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#,
            r#"{"w":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}"#,
            "{",
        ] {
            assert!(read(header, &[0; 4]).is_err(), "{header}");
        }
    }
}

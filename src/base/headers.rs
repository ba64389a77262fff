//! Safetensors headers: what tensors a folder holds and where their bytes lie. The bytes themselves stay on disk.
//!
//! The format: 8 bytes little-endian length, that many bytes of JSON, then the data; offsets are from its start.

use crate::data;
use crate::error::{AtPath, Error, Result};
pub use safetensors::Dtype;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A safetensors header may not be larger than this (the format's own limit).
pub const MAX_HEADER_BYTES: u64 = 100_000_000;
/// A folder may not hold more weight files than this.
pub const MAX_FILES: usize = 4096;

/// Says which tensor stands in which file.
pub const INDEX: &str = "model.safetensors.index.json";
/// An index may not be larger than this.
pub const MAX_INDEX_BYTES: u64 = 64 << 20;

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

/// The header of one weight file, wherever it was read.
pub struct Part {
    /// The file.
    pub path: PathBuf,
    /// Its bytes, all of them; what a tensor's place is held against.
    pub size: u64,
    /// Its header's JSON.
    pub json: Vec<u8>,
}

/// The headers of a folder's weight files.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    /// The weight files, sorted by name.
    pub files: Vec<PathBuf>,
    /// Every tensor, sorted by name; a name stands once.
    pub tensors: Vec<TensorHeader>,
    /// `__metadata__` of all files, in their order.
    pub metadata: Vec<Metadata>,
    /// The tensors that the index names, whether their files are there or not; none where there is no index.
    pub indexed: Vec<String>,
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
struct Index {
    weight_map: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RawTensor {
    dtype: Dtype,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

impl Headers {
    /// Reads the headers of a folder's weight files; none is fine, some of them or a file that was cut off is not.
    pub fn read(folder: &Path) -> Result<Self> {
        Self::read_files(folder, Part::read, |missing| match missing {
            Some(missing) => Err(format!("a weight file is missing: {}", missing.escape_debug())),
            None => Ok(()),
        })
    }

    /// The headers of what is there: weight files may be missing, or end anywhere after their header.
    pub fn read_what_is_there(folder: &Path) -> Result<Self> {
        Self::read_files(folder, Part::read_head, |_| Ok(()))
    }

    fn read_files(
        folder: &Path,
        read: fn(&Path) -> Result<Part>,
        whole: impl Fn(Option<&str>) -> Result<(), String>,
    ) -> Result<Self> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder).at(folder)? {
            let entry = entry.at(folder)?;
            names.extend(entry.file_name().to_str().map(String::from));
        }
        let index = folder.join(INDEX);
        let index = if index.is_file() { Some(data::read_bytes(&index, MAX_INDEX_BYTES)?) } else { None };
        let found = weight_files(names.iter().map(String::as_str), index.as_deref());
        let wrong = |why| Error::input(&folder.join(INDEX), why);
        let WeightFiles { files, missing, tensors } = found.map_err(wrong)?;
        // a folder of an index alone has no weights, and that is fine
        whole(missing.as_deref().filter(|_| !files.is_empty())).map_err(wrong)?;
        let headers = Self::of(files.into_iter().map(|name| read(&folder.join(name))))?;
        Ok(Self { indexed: tensors, ..headers })
    }

    /// Puts the headers of weight files together.
    pub fn of(parts: impl IntoIterator<Item = Result<Part>>) -> Result<Self> {
        let mut headers = Self::default();
        for part in parts {
            headers.add(part?)?;
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

    fn add(&mut self, part: Part) -> Result<()> {
        let Part { path, size, json } = part;
        let (file, data) = (self.files.len(), 8 + json.len() as u64);
        if file == MAX_FILES {
            return Err(Error::input(&path, format!("more than {MAX_FILES} weight files")));
        }
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
            self.tensors.push(raw.checked(name, file, data, size, &path)?);
        }
        self.files.push(path);
        Ok(())
    }
}

/// The files of a folder that hold its weights.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct WeightFiles<'n> {
    /// Those that are there, sorted.
    pub files: Vec<&'n str>,
    /// The first that the index names and that is not there.
    pub missing: Option<String>,
    /// The tensors that the index names.
    pub tensors: Vec<String>,
}

/// Which of a folder's files hold its weights: `model.safetensors`; or else those that the index names; or else every
/// `*.safetensors`. As transformers chooses.
pub fn weight_files<'n>(names: impl Iterator<Item = &'n str>, index: Option<&[u8]>) -> Result<WeightFiles<'n>, String> {
    let mut names: Vec<&str> = names.filter(|name| name.ends_with(".safetensors") && !name.contains('/')).collect();
    names.sort_unstable();
    if let Some(whole) = names.iter().find(|name| **name == "model.safetensors") {
        return Ok(WeightFiles { files: vec![whole], ..WeightFiles::default() });
    }
    let Some(index) = index else { return Ok(WeightFiles { files: names, ..WeightFiles::default() }) };
    let Index { weight_map } = serde_json::from_slice(index).map_err(|e| e.to_string())?;
    let (tensors, meant): (Vec<String>, BTreeSet<String>) = weight_map.into_iter().unzip();
    let missing = meant.iter().find(|name| names.binary_search(&name.as_str()).is_err()).cloned();
    names.retain(|name| meant.contains(*name));
    Ok(WeightFiles { files: names, missing, tensors })
}

impl Part {
    /// Reads the header of a file.
    pub fn read(path: &Path) -> Result<Self> {
        let size = path.metadata().at(path)?.len();
        let mut stream = File::open(path).at(path)?;
        let mut length = [0; 8];
        stream.read_exact(&mut length).map_err(|_| Error::input(path, "shorter than a safetensors header"))?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER_BYTES || length > size.saturating_sub(8) {
            return Err(Error::input(path, format!("header length {length} does not fit the file")));
        }
        let mut json = vec![0; length as usize];
        stream.read_exact(&mut json).at(path)?;
        Ok(Self { path: path.to_owned(), size, json })
    }

    /// The same of a file that may have been cut off after its header: its tensors may lie where it has ended.
    pub fn read_head(path: &Path) -> Result<Self> {
        Ok(Self { size: u64::MAX, ..Self::read(path)? })
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

/// The numbers of a tensor of floating-point type, little-endian, as f32; `None` for any other type.
pub fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    Some(match dtype {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect(),
        _ => return None,
    })
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
    fn the_weights_are_those_that_transformers_loads() {
        let files = |names: &[&'static str], index: Option<&str>| {
            weight_files(names.iter().copied(), index.map(str::as_bytes)).map(|f| (f.files.join(" "), f.missing))
        };
        let index = Some(r#"{"metadata":{},"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}"#);
        let all = ["model-2.safetensors", "model-1.safetensors", "consolidated.safetensors", "README.md"];
        let whole = |names: &str| (names.to_owned(), None);
        assert_eq!(files(&all, index).unwrap(), whole("model-1.safetensors model-2.safetensors"));
        assert_eq!(files(&all[2..], None).unwrap(), whole("consolidated.safetensors"));
        assert_eq!(files(&["x.safetensors", "model.safetensors"], index).unwrap(), whole("model.safetensors"));
        assert_eq!(files(&["original/a.safetensors"], None).unwrap(), whole(""));
        let missing = |names: &str, missing: &str| (names.to_owned(), Some(missing.to_owned()));
        assert_eq!(files(&["README.md"], index).unwrap(), missing("", "model-1.safetensors"));
        assert_eq!(files(&all[1..], index).unwrap(), missing("model-1.safetensors", "model-2.safetensors"));
        assert!(files(&all, Some("[")).is_err());
    }

    #[test]
    fn what_is_there_is_read_and_called_whole_only_when_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        put(INDEX, br#"{"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}"#);
        assert_eq!(Headers::read(dir.path()).unwrap().tensors.len(), 0);
        let json = br#"{"a":{"dtype":"F32","shape":[8,4],"data_offsets":[0,128]}}"#;
        put("model-1.safetensors", &[&(json.len() as u64).to_le_bytes()[..], json, &[0; 128]].concat());
        let error = Headers::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("a weight file is missing: model-2.safetensors"), "{error}");
        assert_eq!(Headers::read_what_is_there(dir.path()).unwrap().tensors[0].shape, [8, 4]);
        // cut off after its header
        put(INDEX, br#"{"weight_map":{"a":"model-1.safetensors"}}"#);
        put("model-1.safetensors", &[&(json.len() as u64).to_le_bytes()[..], json].concat());
        assert!(Headers::read(dir.path()).is_err());
        assert_eq!(Headers::read_what_is_there(dir.path()).unwrap().get("a").unwrap().shape, [8, 4]);
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

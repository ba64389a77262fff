//! The weights of a network's norms: small vectors that tuning hardly moves. Only they are read, never the matrices.

use super::{Base, Dtype, floats};
use crate::error::{AtPath, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// No more norms of one base are read.
pub const MAX_NORMS: usize = 1024;
/// Nor any that is wider.
pub const MAX_WIDTH: usize = 1 << 16;

/// The weights of one norm.
#[derive(Debug, Clone)]
pub struct Norm {
    /// The file that it lies in.
    pub file: PathBuf,
    /// The tensor's name.
    pub name: String,
    /// The number of its block; `None` for one outside them, the last one above all.
    pub block: Option<usize>,
    /// As the checkpoint has them.
    pub values: Vec<f32>,
}

/// Where a norm lies.
struct Place<'a> {
    path: &'a Path,
    name: &'a str,
    width: u64,
    start: u64,
    dtype: Dtype,
}

impl Base {
    /// The norms over the whole width of the network, in the order of their names; none where no weights are at hand.
    pub fn norms(&self) -> Result<Vec<Norm>> {
        let mut places: Vec<Place<'_>> =
            self.places().filter(|p| is_norm(p.name) && p.width <= MAX_WIDTH as u64).collect();
        // norms over heads are narrower, and fewer of any width
        let mut widths: BTreeMap<u64, usize> = BTreeMap::new();
        places.iter().for_each(|p| *widths.entry(p.width).or_default() += 1);
        let config = self.config.value().get("hidden_size").and_then(serde_json::Value::as_u64);
        let most = widths.iter().max_by_key(|(width, count)| (**count, **width)).map(|(width, _)| *width);
        let width = config.filter(|width| widths.contains_key(width)).or(most);
        places.retain(|p| Some(p.width) == width);
        places.truncate(MAX_NORMS);
        // of weights that stayed on the hub, or were cut off, only the headers are here
        let length = |path: &Path| path.metadata().ok().filter(std::fs::Metadata::is_file).map(|m| m.len());
        places.retain(|p| length(p.path).is_some_and(|length| p.end().is_some_and(|end| end <= length)));
        let mut files: BTreeMap<&Path, File> = BTreeMap::new();
        places.iter().map(|place| place.read(&mut files)).collect()
    }

    fn places(&self) -> impl Iterator<Item = Place<'_>> {
        let safetensors = self.headers.tensors.iter().filter_map(|t| {
            let ([width], Dtype::F32 | Dtype::F16 | Dtype::BF16) = (&t.shape[..], t.dtype) else { return None };
            let path = self.headers.files[t.file].as_path();
            Some(Place { path, name: &t.name, width: *width as u64, start: t.start, dtype: t.dtype })
        });
        let gguf = self.gguf.iter().flat_map(|gguf| gguf.tensors.iter().map(move |t| (gguf.path.as_path(), t)));
        let gguf = gguf.filter_map(|(path, t)| {
            let dtype = match t.kind.name {
                "F32" => Dtype::F32,
                "F16" => Dtype::F16,
                "BF16" => Dtype::BF16,
                _ => return None,
            };
            let [width] = t.shape[..] else { return None };
            Some(Place { path, name: &t.name, width, start: t.start, dtype })
        });
        safetensors.chain(gguf)
    }
}

/// `model.layers.0.input_layernorm.weight`, `h.0.ln_1.weight`, `blk.0.attn_norm.weight`; no norm over heads.
fn is_norm(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".weight") else { return false };
    let last = stem.rsplit('.').next().unwrap_or(stem).to_lowercase();
    (last.contains("norm") || last.starts_with("ln_")) && !["q_norm", "k_norm"].iter().any(|head| last.ends_with(head))
}

impl<'a> Place<'a> {
    /// One past its last byte; none where no file reaches that far.
    fn end(&self) -> Option<u64> {
        self.start.checked_add(self.width.checked_mul(self.dtype.bitsize() as u64 / 8)?)
    }

    fn read(&self, files: &mut BTreeMap<&'a Path, File>) -> Result<Norm> {
        let file = match files.entry(self.path) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => new.insert(File::open(self.path).at(self.path)?),
        };
        let size = self.dtype.bitsize() / 8;
        // at most MAX_WIDTH, and the header was held against the file's size
        let mut bytes = vec![0; self.width as usize * size];
        file.seek(SeekFrom::Start(self.start)).at(self.path)?;
        file.read_exact(&mut bytes).at(self.path)?;
        let values = floats(self.dtype, &bytes).expect("`places` leaves out what has no floating-point type");
        let block = self.name.split('.').find_map(|part| part.parse().ok());
        Ok(Norm { file: self.path.to_owned(), name: self.name.to_owned(), block, values })
    }
}

#[cfg(test)]
mod tests {
    use super::is_norm;

    #[test]
    fn norms_are_known_by_their_names() {
        for name in [
            "model.layers.3.input_layernorm.weight",
            "model.norm.weight",
            "transformer.h.0.ln_1.weight",
            "transformer.ln_f.weight",
            "blk.0.ffn_norm.weight",
            "output_norm.weight",
        ] {
            assert!(is_norm(name), "{name}");
        }
        for name in
            ["model.layers.0.self_attn.q_norm.weight", "blk.0.attn_k_norm.weight", "lm_head.weight", "norm.bias"]
        {
            assert!(!is_norm(name), "{name}");
        }
    }
}

//! The weights, mapped once, never copied whole: their tensors by the names of the family's data, whichever format the
//! files are of.

use super::family::Family;
use super::gguf::{GgmlType, Gguf, GgufTensor, names};
use super::{Base, Dtype, Files, TensorHeader};
use crate::data;
use crate::error::{AtPath, Code, Error, Result};
use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// How the numbers of a tensor lie in its file, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// 32 bits.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of 32 bits.
    Bf16,
    /// Blocks of llama.cpp along a row.
    Blocks(&'static GgmlType),
    /// A type that is not read.
    Other(Dtype),
}

/// One tensor of a base.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// As the family's data name it; one that they don't know goes by the name in its file.
    pub name: String,
    /// How its numbers lie.
    pub encoding: Encoding,
    /// Outermost first.
    pub shape: Vec<usize>,
    /// Index into [`Tensors::files`].
    pub file: usize,
    /// Its bytes in the file.
    pub bytes: Range<usize>,
    /// Its rows are those of a head in another order: 2i and 2i + 1 are i and i + D/2.
    pub turned: bool,
}

/// The tensors of a base: where they lie, and nothing of what they hold.
#[derive(Debug, Clone)]
pub struct Tensors {
    /// The weight files.
    pub files: Vec<PathBuf>,
    /// Every tensor, sorted by name.
    pub list: Vec<Tensor>,
    /// llama.cpp's files hold every matrix `[out, in]`, and gains as they multiply.
    pub is_gguf: bool,
}

/// The mapped weight files of a base.
pub struct Weights {
    /// What lies where.
    pub tensors: Tensors,
    maps: Vec<Arc<Mmap>>,
}

impl Encoding {
    fn of(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::Bf16,
            other => Self::Other(other),
        }
    }

    fn of_ggml(kind: &'static GgmlType) -> Self {
        match kind.name {
            "F32" => Self::F32,
            "F16" => Self::F16,
            "BF16" => Self::Bf16,
            _ => Self::Blocks(kind),
        }
    }

    /// Bytes of a row of so many numbers.
    pub fn row(self, cols: usize) -> usize {
        match self {
            Self::F32 => 4 * cols,
            Self::F16 | Self::Bf16 => 2 * cols,
            Self::Blocks(kind) => cols / kind.block as usize * kind.bytes as usize,
            Self::Other(dtype) => cols * dtype.bitsize() / 8,
        }
    }
}

impl Tensors {
    /// Reads what the base's headers say; those of a GGUF by the names of its family.
    ///
    /// # Errors
    /// `UnsupportedBase` for a family whose GGUF files are not read.
    pub fn of(base: &Base) -> Result<Self> {
        let (files, mut list, is_gguf) = match base.files()? {
            Files::Safetensors(headers) => {
                (headers.files.clone(), headers.tensors.iter().map(Tensor::of).collect::<Vec<_>>(), false)
            }
            Files::Gguf(gguf) => (vec![gguf.path.clone()], of_gguf(base, gguf)?, true),
        };
        list.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { files, list, is_gguf })
    }

    /// One tensor by name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.list.binary_search_by(|t| t.name.as_str().cmp(name)).ok().map(|i| &self.list[i])
    }
}

impl Tensor {
    fn of(header: &TensorHeader) -> Self {
        Self {
            name: header.name.clone(),
            encoding: Encoding::of(header.dtype),
            shape: header.shape.clone(),
            file: header.file,
            bytes: header.start as usize..header.end as usize,
            turned: false,
        }
    }
}

fn of_gguf(base: &Base, gguf: &Gguf) -> Result<Vec<Tensor>> {
    let family = Family::of(&base.config)?;
    let architecture = gguf.text("general.architecture").unwrap_or_default();
    let Some(how) = family.gguf.as_ref().filter(|how| how.architectures.iter().any(|a| a == architecture)) else {
        let message = format!(
            "{}: GGUF files of `{architecture}` are not read as the {} family",
            gguf.path.display(),
            family.name
        );
        return Err(Error::new(Code::UnsupportedBase, message).with_hint(
            "config.json and GGUF may belong to different models; else use the model's Hugging Face folder",
        ));
    };
    let tensor = |t: &GgufTensor| Tensor {
        name: names::in_checkpoint(&family, &t.name).unwrap_or_else(|| t.name.clone()),
        encoding: Encoding::of_ggml(t.kind),
        shape: t.shape.iter().map(|d| *d as usize).collect(),
        file: 0,
        bytes: t.start as usize..t.end as usize,
        turned: how.turned && names::is_query_or_key(&t.name),
    };
    Ok(gguf.tensors.iter().filter(|t| !names::is_metadata(&t.name)).map(tensor).collect())
}

impl Weights {
    /// Maps every weight file.
    pub fn map(base: &Base) -> Result<Self> {
        let tensors = Tensors::of(base)?;
        let map = |path: &PathBuf| {
            let file = File::open(path).at(path)?;
            // SAFETY: the map is read only. A file that another process shrinks meanwhile ends this process by
            // SIGBUS, one that it changes changes the numbers; both are the operator's own doing to their own base.
            #[allow(unsafe_code)]
            unsafe { Mmap::map(&file) }.map(Arc::new).at(path)
        };
        let maps = tensors.files.iter().map(map).collect::<Result<_>>()?;
        Ok(Self { tensors, maps })
    }

    /// All of one file's bytes, its header among them.
    pub fn file(&self, file: usize) -> &[u8] {
        &self.maps[file]
    }

    /// Lets go of the memory that a tensor's bytes take once they were read: they come from the file again if need be.
    ///
    /// What was copied or quantised would else be held twice, and counted so against a container's limit.
    pub fn release(&self, tensor: &Tensor) {
        #[cfg(unix)]
        {
            let (map, bytes) = (&self.maps[tensor.file], &tensor.bytes);
            // SAFETY: the map is of a file and never written, so dropped pages are read from the file anew.
            #[allow(unsafe_code)]
            let dropped = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, bytes.start, bytes.len()) };
            // a kernel that cannot keeps them, which is no harm
            let _ = dropped;
        }
    }

    /// One tensor, and the map that holds its bytes.
    pub fn get(&self, name: &str) -> Result<(&Tensor, Arc<Mmap>)> {
        let tensor = self.tensors.get(name).ok_or_else(|| {
            let error = Error::input(&self.tensors.files[0], format!("the weights have no tensor {name}"));
            match data::nearest(name, self.tensors.list.iter().map(|t| t.name.as_str())) {
                Some(near) => error.with_hint(format!("the nearest name is {near}")),
                None => error,
            }
        })?;
        let map = &self.maps[tensor.file];
        match map.get(tensor.bytes.clone()) {
            Some(_) => Ok((tensor, map.clone())),
            None => Err(Error::input(&self.tensors.files[tensor.file], format!("ends inside tensor {name}"))),
        }
    }
}

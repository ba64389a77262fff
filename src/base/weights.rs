//! The weights, mapped once, never copied whole.

use super::{Base, TensorHeader};
use crate::error::{AtPath, Error, Result};
use memmap2::Mmap;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

/// The mapped weight files of a base.
pub struct Weights<'a> {
    base: &'a Base,
    maps: Vec<Arc<Mmap>>,
}

impl<'a> Weights<'a> {
    /// Maps every weight file.
    pub fn map(base: &'a Base) -> Result<Self> {
        if base.headers.tensors.is_empty() {
            return Err(base.no_weights());
        }
        let maps = base
            .headers
            .files
            .iter()
            .map(|path| {
                let file = File::open(path).at(path)?;
                // SAFETY: the map is read only. A file that another process shrinks meanwhile ends this process by
                // SIGBUS, one that it changes changes the numbers; both are the operator's own doing to their own base.
                #[allow(unsafe_code)]
                unsafe { Mmap::map(&file) }.map(Arc::new).at(path)
            })
            .collect::<Result<_>>()?;
        Ok(Self { base, maps })
    }

    /// All of one file's bytes, its header among them.
    pub fn file(&self, file: usize) -> &[u8] {
        &self.maps[file]
    }

    /// One tensor's header, and where its bytes lie in which map.
    pub fn get(&self, name: &str) -> Result<(&'a TensorHeader, Arc<Mmap>, Range<usize>)> {
        let header = self.base.headers.get(name).ok_or_else(|| {
            let error = Error::input(&self.base.folder, format!("the weights have no tensor {name}"));
            match crate::data::nearest(name, self.base.headers.tensors.iter().map(|t| t.name.as_str())) {
                Some(near) => error.with_hint(format!("the nearest name is {near}")),
                None => error,
            }
        })?;
        let (map, range) = (&self.maps[header.file], header.start as usize..header.end as usize);
        match map.get(range.clone()) {
            Some(_) => Ok((header, map.clone(), range)),
            None => Err(Error::input(&self.base.headers.files[header.file], format!("ends inside tensor {name}"))),
        }
    }
}

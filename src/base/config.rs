//! `config.json`, in the spelling of transformers 4 and of 5; a GGUF's metadata in the same words.

use super::gguf::Gguf;
use crate::data;
use crate::error::{AtPath, Code, Error, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// A model folder's config; values are looked up by name, errors name the file.
#[derive(Debug, Clone)]
pub struct Config {
    path: PathBuf,
    value: Value,
    is_there: bool,
    is_of_gguf: bool,
}

/// A config may not be larger than this.
const MAX_BYTES: u64 = 4 << 20;

impl Config {
    /// Reads `config.json`. A folder without one can still be checked; whoever needs a key of it gets an error.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        if !path.is_file() {
            return Ok(Self { path, value: Value::Object(Map::new()), is_there: false, is_of_gguf: false });
        }
        let bytes = data::read_bytes(&path, MAX_BYTES)?;
        let value = serde_json::from_slice(&bytes).map_err(std::io::Error::from).at(&path)?;
        Ok(Self { path, value, is_there: true, is_of_gguf: false })
    }

    /// What a GGUF's metadata say, as `config.json` would.
    pub fn of_gguf(gguf: &Gguf) -> Result<Self> {
        Ok(Self { path: gguf.path.clone(), value: Value::Object(gguf.config()?), is_there: true, is_of_gguf: true })
    }

    /// Was there a `config.json`, or a GGUF in its place?
    pub fn is_there(&self) -> bool {
        self.is_there
    }

    /// Is it a GGUF that speaks, whose `model_type` is an architecture of llama.cpp?
    pub fn is_of_gguf(&self) -> bool {
        self.is_of_gguf
    }

    /// The same with what stands under other names also under the usual ones, and values for keys that it lacks.
    pub fn with<'a>(
        &self,
        names: impl IntoIterator<Item = (&'a String, &'a String)>,
        defaults: impl IntoIterator<Item = (&'a String, &'a Value)>,
    ) -> Self {
        let mut config = self.clone();
        if let Value::Object(map) = &mut config.value {
            for (usual, name) in names {
                if let Some(value) = self.value.get(name).filter(|v| !v.is_null()) {
                    map.insert(usual.clone(), value.clone());
                }
            }
            for (key, value) in defaults {
                map.entry(key).or_insert_with(|| value.clone());
            }
        }
        config
    }

    /// `config.json`, whether it is there or not, or the GGUF.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole of it.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// `model_type`.
    pub fn model_type(&self) -> Option<&str> {
        self.value.get("model_type")?.as_str()
    }

    /// The first of `architectures`.
    pub fn architecture(&self) -> Option<&str> {
        self.value.get("architectures")?.get(0)?.as_str()
    }

    /// A value that must be there.
    pub fn need(&self, key: &str) -> Result<&Value> {
        self.value.get(key).filter(|v| !v.is_null()).ok_or_else(|| self.missing(key))
    }

    /// A count that must be there, from 1 to 2^31.
    pub fn need_count(&self, key: &str) -> Result<usize> {
        self.count(key)?.ok_or_else(|| self.missing(key))
    }

    fn missing(&self, key: &str) -> Error {
        if self.is_there {
            return self.wrong(key, "missing");
        }
        let folder = self.path.parent().unwrap_or(&self.path);
        Error::input(folder, "no config.json in this folder").with_hint("a base is a folder in the Hugging Face layout")
    }

    /// A count, from 1 to 2^31; `None` where it is absent or null.
    pub fn count(&self, key: &str) -> Result<Option<usize>> {
        match self.value.get(key).filter(|v| !v.is_null()) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(n @ 1..=0x8000_0000) => Ok(Some(n as usize)),
                _ => Err(self.wrong(key, &format!("not a count from 1 to 2^31: {value}"))),
            },
        }
    }

    /// A finite number; `None` where it is absent or null.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.value.get(key).filter(|v| !v.is_null()) {
            None => Ok(None),
            Some(value) => value
                .as_f64()
                .filter(|n| n.is_finite())
                .map(Some)
                .ok_or_else(|| self.wrong(key, &format!("not a number: {value}"))),
        }
    }

    /// A switch; `false` where it is absent or null.
    pub fn switch(&self, key: &str) -> Result<bool> {
        match self.value.get(key).filter(|v| !v.is_null()) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(key, &format!("not true or false: {value}"))),
        }
    }

    /// RoPE's parameters: `rope_parameters` (transformers 5), or `rope_theta` and `rope_scaling` (4) as one object.
    ///
    /// Where layers with a window have their own (Gemma 3), those of the others.
    pub fn rope(&self) -> Map<String, Value> {
        let parameters = self.object("rope_parameters");
        let of_full = parameters.and_then(|map| map.get("full_attention")?.as_object());
        let mut map = of_full.or(parameters).or(self.object("rope_scaling")).cloned().unwrap_or_default();
        if let Some(kind) = map.remove("type") {
            map.entry("rope_type").or_insert(kind);
        }
        for key in ["rope_theta", "partial_rotary_factor", "original_max_position_embeddings"] {
            if let Some(value) = self.value.get(key).filter(|v| !v.is_null()) {
                map.entry(key).or_insert_with(|| value.clone());
            }
        }
        map
    }

    /// RoPE's parameters in layers with a window, where those have their own.
    pub fn rope_of_windows(&self) -> Option<Map<String, Value>> {
        let nested = self.object("rope_parameters").and_then(|map| map.get("sliding_attention")?.as_object());
        nested.cloned().or_else(|| {
            let theta = self.value.get("rope_local_base_freq").filter(|v| !v.is_null())?;
            Some(Map::from_iter([("rope_theta".to_owned(), theta.clone())]))
        })
    }

    fn object(&self, key: &str) -> Option<&Map<String, Value>> {
        self.value.get(key)?.as_object()
    }

    /// Every token that ends a turn: `eos_token_id` here and in `generation_config.json`.
    pub fn end_tokens(&self) -> Vec<u32> {
        let generation = self.path.with_file_name("generation_config.json");
        let generation =
            data::read_bytes(&generation, MAX_BYTES).ok().and_then(|b| serde_json::from_slice::<Value>(&b).ok());
        let mut ids: Vec<u32> = [Some(&self.value), generation.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(|v| v.get("eos_token_id"))
            .flat_map(|v| v.as_array().map_or_else(|| vec![v.clone()], Clone::clone))
            .filter_map(|v| v.as_u64().and_then(|n| u32::try_from(n).ok()))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// An error that names a feature which the engine does not have.
    pub fn unsupported(&self, key: &str, value: &str) -> Error {
        let message = self.wrong(key, &format!("the engine does not have this: {value}")).to_string();
        Error::new(Code::UnsupportedBase, message).with_hint("another base, or a release of sealwright that has it")
    }

    /// An error that names the file and the key.
    pub fn wrong(&self, key: &str, message: &str) -> Error {
        Error::input(&self.path, format!("`{key}`: {message}"))
    }
}

//! A run's state on disk: one file, written whole or not at all, from which it goes on as if it had never stopped.
//!
//! A safetensors file: `values`, `first`, `second` (f32, flat), `losses` and `held-out` (f64, a number a step; NaN
//! where it was not measured), and the counters as JSON in the metadata.

use super::plan::Identity;
use crate::adapter::{HeldOut, StepLoss};
use crate::data;
use crate::error::{AtPath, Code, Error, Result};
use jiff::Timestamp;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::io::Write as _;
use std::path::Path;

/// The checkpoint's file.
pub const FILE_NAME: &str = "checkpoint.safetensors";
/// A checkpoint may not be larger than this, since it is read whole.
const MAX_BYTES: u64 = 48 << 30;
const METADATA: &str = "sealwright";

/// All that changes during a run.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// The adapter, flat.
    pub values: Vec<f32>,
    /// AdamW's first moment.
    pub first: Vec<f32>,
    /// AdamW's second moment.
    pub second: Vec<f32>,
    /// Losses so far.
    pub losses: Vec<StepLoss>,
    /// Numbers.
    pub counters: Counters,
}

/// The numbers of a state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Counters {
    /// Optimiser steps done.
    pub step: u64,
    /// Rows taken: the data cursor. Everything drawn follows from it and the seed.
    pub rows: u64,
    /// Tokens that went through the network.
    pub tokens: u64,
    /// Of these, the tokens that bore loss.
    pub loss_tokens: u64,
    /// Seconds at work, all sessions together.
    pub wall_seconds: f64,
    /// Seconds of processor time, all sessions together.
    pub cpu_seconds: f64,
    /// When the first session began.
    pub started: Timestamp,
    /// What was measured before the first step.
    pub before: Option<HeldOut>,
    /// Where its sessions trained, each device once for as long as none came between.
    #[serde(default)]
    pub devices: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Metadata {
    identity: Map<String, Value>,
    counters: Counters,
}

/// A running state, to be saved: nothing of it is copied, since it may be as large as a fifth of the run's memory.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)] // as in `State`
pub struct Running<'a> {
    pub values: &'a [f32],
    pub first: &'a [f32],
    pub second: &'a [f32],
    pub losses: &'a [StepLoss],
    pub counters: &'a Counters,
}

impl Running<'_> {
    /// Writes the checkpoint of a run.
    pub fn save(&self, folder: &Path, identity: &Identity) -> Result<()> {
        let losses: Vec<f64> = self.losses.iter().map(|l| l.loss).collect();
        let held_out: Vec<f64> = self.losses.iter().map(|l| l.held_out.unwrap_or(f64::NAN)).collect();
        let metadata = Metadata { identity: identity.parts().clone(), counters: self.counters.clone() };
        let text = serde_json::to_string(&metadata).expect("our own values serialise");
        let tensors: [(&str, Dtype, &[u8]); 5] = [
            ("losses", Dtype::F64, bytemuck::cast_slice(&losses)),
            ("held-out", Dtype::F64, bytemuck::cast_slice(&held_out)),
            ("values", Dtype::F32, bytemuck::cast_slice(self.values)),
            ("first", Dtype::F32, bytemuck::cast_slice(self.first)),
            ("second", Dtype::F32, bytemuck::cast_slice(self.second)),
        ];
        let header = header(&tensors, text);
        let path = folder.join(FILE_NAME);
        data::write_atomically(&path, |file| {
            let mut write = |bytes: &[u8]| file.write_all(bytes).at(&path);
            write(&(header.len() as u64).to_le_bytes())?;
            write(&header)?;
            tensors.iter().try_for_each(|(.., bytes)| write(bytes))
        })
    }
}

/// The header of a safetensors file with these flat tensors, one after the other, padded as the format wants it.
fn header(tensors: &[(&str, Dtype, &[u8])], metadata: String) -> Vec<u8> {
    let mut map = Map::new();
    map.insert("__metadata__".into(), json!({METADATA: metadata}));
    let mut at = 0;
    for (name, dtype, bytes) in tensors {
        let end = at + bytes.len();
        let length = bytes.len() * 8 / dtype.bitsize();
        map.insert((*name).into(), json!({"dtype": dtype, "shape": [length], "data_offsets": [at, end]}));
        at = end;
    }
    let mut header = Value::Object(map).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    header
}

impl State {
    /// Reads the checkpoint of a run; `None` where there is none. One of another plan is refused, and said to be so.
    pub fn load(folder: &Path, identity: &Identity) -> Result<Option<Self>> {
        let path = folder.join(FILE_NAME);
        if !path.is_file() {
            return Ok(None);
        }
        let bytes = data::read_bytes(&path, MAX_BYTES)?;
        let (metadata, mut state) = parse(&bytes).map_err(|e| {
            Error::input(&path, format!("not a whole checkpoint: {e}")).with_hint("`--fresh` begins the training anew")
        })?;
        let differs = identity.differs_in(&metadata.identity);
        if !differs.is_empty() {
            let what = differs.join(", ");
            return Err(Error::new(
                Code::Usage,
                format!("{}: of another training; what differs: {what}", path.display()),
            )
            .with_hint("put it back as it was to go on, or begin anew with `--fresh`"));
        }
        state.counters = metadata.counters;
        Ok(Some(state))
    }

    /// Removes the checkpoint of a run that is done.
    pub fn remove(folder: &Path) -> Result<()> {
        let path = folder.join(FILE_NAME);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&path, &e)),
            _ => Ok(()),
        }
    }
}

fn parse(bytes: &[u8]) -> Result<(Metadata, State), String> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
    let text = header.metadata().as_ref().and_then(|m| m.get(METADATA)).ok_or("no state in its metadata")?;
    let metadata: Metadata = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let tensors = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let raw = |name: &str, dtype: Dtype| {
        let tensor = tensors.tensor(name).map_err(|e| e.to_string())?;
        if tensor.dtype() == dtype { Ok(tensor.data()) } else { Err(format!("{name} is not {dtype}")) }
    };
    let singles = |name| Ok::<_, String>(raw(name, Dtype::F32)?.chunks_exact(4).map(f32_of).collect::<Vec<_>>());
    let doubles = |name| Ok::<_, String>(raw(name, Dtype::F64)?.chunks_exact(8).map(f64_of).collect::<Vec<_>>());
    let (values, first, second) = (singles("values")?, singles("first")?, singles("second")?);
    let (losses, held_out) = (doubles("losses")?, doubles("held-out")?);
    let step = metadata.counters.step as usize;
    if first.len() != values.len() || second.len() != values.len() || losses.len() != step || held_out.len() != step {
        return Err("its parts don't fit each other".into());
    }
    let losses = losses
        .into_iter()
        .zip(held_out)
        .zip(1..)
        .map(|((loss, held_out), step)| StepLoss { step, loss, held_out: Some(held_out).filter(|h| !h.is_nan()) })
        .collect();
    let counters = metadata.counters.clone();
    Ok((metadata, State { values, first, second, losses, counters }))
}

fn f32_of(bytes: &[u8]) -> f32 {
    f32::from_le_bytes(bytes.try_into().expect("pieces of four bytes"))
}

fn f64_of(bytes: &[u8]) -> f64 {
    f64::from_le_bytes(bytes.try_into().expect("pieces of eight bytes"))
}

//! The run record: where one adapter comes from. No private contents; a customer gets the redacted form.

use crate::base::Fingerprint;
use crate::data;
use crate::digest::Sha256;
use crate::error::{AtPath, Error, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::path::Path;

/// The run record's file, beside the adapter's.
pub const RECORD_FILE: &str = "run.json";
/// A run record may not be larger than this.
const MAX_RECORD_BYTES: u64 = 256 << 20;

/// The provenance of one training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RunRecord {
    /// The version of this program.
    pub program: String,
    /// Of everything that changes the result.
    pub plan: Sha256,
    /// What was adapted.
    pub base: Fingerprint,
    /// SHA-256 of `adapter_model.safetensors`, by which a folder is known to be whole.
    pub adapter: Sha256,
    /// What was learnt from.
    pub data: Vec<DataFile>,
    /// Everything that is drawn was drawn from this.
    pub seed: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Tokens that went through the network, over all epochs.
    pub tokens: u64,
    /// Of these, the tokens that bore loss.
    pub loss_tokens: u64,
    /// Samples learnt from.
    pub samples: u64,
    /// Samples held out to watch the loss on.
    pub held_out_samples: u64,
    /// Samples that stood twice; they are learnt from as often as they stand.
    pub duplicates: u64,
    /// Samples that were longer than a sequence.
    pub truncated: u64,
    /// The mean loss of each step's tokens.
    pub losses: Vec<StepLoss>,
    /// Loss and answers on what was held out, for the base alone; absent where nothing was.
    pub before: Option<HeldOut>,
    /// The same, with the adapter.
    pub after: Option<HeldOut>,
    /// `cpu`, or a card: `cuda:0, NVIDIA H200, bf16`; several where the run went on elsewhere, and how many ranks.
    pub device: String,
    /// What of the processor the engine uses.
    pub machine: Vec<String>,
    /// Threads at work; they don't change the result.
    pub threads: usize,
    /// Seconds, all sessions of an interrupted run together.
    pub wall_seconds: f64,
    /// Seconds of processor time, all sessions and threads together.
    pub cpu_seconds: f64,
    /// The most memory the process held, in bytes; 0 where the system doesn't tell.
    pub peak_memory: u64,
    /// When the run began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
}

/// One data file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DataFile {
    /// As the product file names it.
    pub name: String,
    /// Of its bytes; in the redacted form SHA-256 of salt and digest.
    pub digest: Sha256,
    /// Samples in it.
    pub samples: u64,
}

/// The loss of one optimiser step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StepLoss {
    /// Counted from 1.
    pub step: u64,
    /// Mean over the step's loss tokens, in nats.
    pub loss: f64,
    /// The same over the held-out samples, where it was measured at this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<f64>,
}

/// What was measured on held-out samples and questions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HeldOut {
    /// Mean over the held-out samples' loss tokens, in nats.
    pub loss: Option<f64>,
    /// Questions asked.
    pub questions: u64,
    /// Of these, answered as wanted.
    pub matched: u64,
}

impl RunRecord {
    /// Writes `run.json` into a folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(RECORD_FILE);
        let text = serde_json::to_string_pretty(self).expect("our own values serialise") + "\n";
        data::write_atomically(&path, |file| file.write_all(text.as_bytes()).at(&path))
    }

    /// Reads the `run.json` of a folder; `None` where there is none.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(RECORD_FILE);
        if !path.is_file() {
            return Ok(None);
        }
        Self::from_bytes(&data::read_bytes(&path, MAX_RECORD_BYTES)?).map(Some).map_err(|e| Error::input(&path, e))
    }

    /// Reads a record from memory.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|e| format!("not a run record: {e}"))
    }

    /// The form for customers: files have no names, and their digests are salted, so that nobody can test a guess
    /// at the private data; whoever holds the salt can still prove what was learnt from.
    pub fn redacted(&self, salt: &[u8; 32]) -> Self {
        let hide = |(i, file): (usize, &DataFile)| DataFile {
            name: format!("data-{}", i + 1),
            digest: Sha256::of([salt, &file.digest.0[..]].concat()),
            samples: file.samples,
        };
        Self { data: self.data.iter().enumerate().map(hide).collect(), ..self.clone() }
    }
}

//! What is to be learnt, and how: a plain struct, and one digest over everything in it that changes the result.

use crate::adapter::{MAX_RANK, TENSOR_FILE};
use crate::base::{Base, Fingerprint};
use crate::digest::Sha256;
use crate::error::{Code, Error, Result};
use crate::kernels::Compute;
use crate::model::Quantize;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// Rows go through the network together until they have about this many tokens; fewer would starve the multiply.
const TOKENS_AT_ONCE: usize = 512;

/// No plan above these is meant; below them no size overflows.
const MAX_BATCH: usize = 1 << 16;
const MAX_SEQUENCE: usize = 1 << 20;

/// One training, as it was declared.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What is learnt from.
    pub data: Vec<Source>,
    /// Questions asked before and after; their answers are also what the held-out loss is taken on.
    pub questions: Option<Questions>,
    /// The base by its public name, for the adapter's config. Never a path.
    pub base_name: String,
    /// What the base's projections become while they are learnt on.
    pub quantize: Option<Quantize>,
    /// In what numbers the base's matrices are multiplied.
    pub compute: Compute,
    /// R
    pub rank: usize,
    /// The update is scaled by alpha / R.
    pub alpha: f32,
    /// Last words of the adapted projections' names; `["all-linear"]` is all of them.
    pub targets: Vec<String>,
    /// How long.
    pub length: Length,
    /// Rows an optimiser step.
    pub batch: usize,
    /// Rows at a time; by default as many as make about 512 tokens.
    pub micro_batch: Option<usize>,
    /// Tokens a row holds at most.
    pub sequence: usize,
    /// The peak, after warm-up.
    pub learning_rate: f64,
    /// Steps of linear warm-up; 3 % of the run by default.
    pub warmup: Option<u64>,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f64,
    /// The global gradient norm is clipped to this.
    pub clip: f64,
    /// Everything that is drawn is drawn from this.
    pub seed: u64,
    /// The share of samples held out where there are no questions.
    pub validation: f64,
    /// Optimiser steps between checkpoints; changes nothing about the result.
    pub checkpoint_every: u64,
    /// An adapter folder to go on from.
    pub init: Option<PathBuf>,
    /// Bytes that the process may take; what the machine has when not said. Changes nothing about the result.
    pub memory: Option<u64>,
    /// Where the checkpoint and the adapter go; changes nothing about the result.
    pub folder: PathBuf,
}

/// One file of samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it lies.
    pub path: PathBuf,
    /// As the product file names it.
    pub name: String,
    /// How a line is laid out.
    pub format: Format,
}

/// How a line is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `{"messages": [{"role", "content"}, …]}`
    Messages,
    /// `{"prompt", "completion"}`
    PromptCompletion,
    /// `{"text"}`
    Text,
}

/// A file of held-out questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Questions {
    /// Where it lies.
    pub path: PathBuf,
    /// How an answer is judged.
    pub matching: Matching,
}

/// How an answer is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Matching {
    /// Every keyword stands in it, whatever the case.
    Keyword,
    /// It is the wanted answer, but for white space at the ends.
    Exact,
}

/// How long a training is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Length {
    /// Passes over the data.
    Epochs(f64),
    /// Optimiser steps.
    Steps(u64),
}

impl Plan {
    /// Rows that go through the network together. It depends on the plan alone, never on the memory at hand: adding
    /// gradients in another order would change their last bits.
    pub fn micro_batch(&self) -> usize {
        self.micro_batch.unwrap_or(TOKENS_AT_ONCE / self.sequence).clamp(1, self.batch)
    }

    /// The share of samples held out: none where there are questions.
    pub fn held_out_share(&self) -> f64 {
        if self.questions.is_some() { 0.0 } else { self.validation }
    }

    /// Refuses sizes that cannot be meant.
    pub(super) fn check(&self) -> Result<()> {
        for (name, value, most) in
            [("rank", self.rank, MAX_RANK), ("batch", self.batch, MAX_BATCH), ("sequence", self.sequence, MAX_SEQUENCE)]
        {
            if !(1..=most).contains(&value) {
                return Err(Error::new(Code::Usage, format!("train.{name} is not from 1 to {most}: {value}"))
                    .with_hint("leave it out for the default"));
            }
        }
        Ok(())
    }

    /// Everything that changes the result, by name: files by their digests, the program by its version.
    pub fn identity(&self, base: &Base) -> Result<Identity> {
        self.check()?;
        let fingerprint = base.fingerprint()?;
        let data = self
            .data
            .iter()
            .map(|s| Ok(json!({"digest": Sha256::of_file(&s.path)?, "format": s.format})))
            .collect::<Result<Vec<_>>>()?;
        let questions = match &self.questions {
            Some(q) => json!({"digest": Sha256::of_file(&q.path)?, "match": q.matching}),
            None => Value::Null,
        };
        let init = self.init.as_ref().map(|folder| Sha256::of_file(&folder.join(TENSOR_FILE))).transpose()?;
        let identity = json!({
            "program": env!("CARGO_PKG_VERSION"),
            "base": fingerprint.id(),
            "base-name": self.base_name,
            "quantize": self.quantize,
            "compute": self.compute,
            "data": data,
            "questions": questions,
            "rank": self.rank,
            "alpha": self.alpha,
            "targets": self.targets,
            "length": self.length,
            "batch": self.batch,
            "micro-batch": self.micro_batch(),
            "sequence": self.sequence,
            "learning-rate": self.learning_rate,
            "warmup": self.warmup,
            "weight-decay": self.weight_decay,
            "clip": self.clip,
            // as text: canonical JSON has no whole numbers above 2^53
            "seed": self.seed.to_string(),
            "validation": self.held_out_share(),
            "init": init,
        });
        match identity {
            Value::Object(parts) => Ok(Identity { base: fingerprint, parts }),
            _ => unreachable!("an object was written above"),
        }
    }
}

/// What makes one training the same as another.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    base: Fingerprint,
    parts: Map<String, Value>,
}

impl Identity {
    /// One digest over all parts.
    pub fn digest(&self) -> Sha256 {
        Sha256::of_json(&self.parts)
    }

    /// What is adapted.
    pub fn base(&self) -> &Fingerprint {
        &self.base
    }

    /// As JSON, to be kept with a checkpoint.
    pub fn parts(&self) -> &Map<String, Value> {
        &self.parts
    }

    /// The names of the parts that differ.
    pub fn differs_in(&self, other: &Map<String, Value>) -> Vec<&str> {
        self.parts
            .iter()
            .filter(|(name, value)| other.get(*name) != Some(value))
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

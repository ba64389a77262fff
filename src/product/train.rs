//! `[train]`, `[derivative]` and `[eval]`: how the derivative is made, or where it is, and by what it is judged.

use super::refuse;
use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// `[train]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Train {
    /// LoRA rank.
    pub rank: usize,
    /// LoRA alpha; the update is scaled by `alpha / rank`.
    pub alpha: f32,
    /// `"all-linear"`, or names of projections.
    pub targets: Targets,
    /// Passes over the data; or else `steps`.
    pub epochs: Option<f64>,
    /// Optimiser steps; or else `epochs`.
    pub steps: Option<u64>,
    /// Sequences an optimiser step.
    pub batch: usize,
    /// Sequences at a time; `batch` is reached by accumulation. The planner chooses when left out.
    pub micro_batch: Option<usize>,
    /// Tokens a sequence.
    pub sequence: usize,
    /// The peak, after warm-up.
    pub learning_rate: f64,
    /// Steps of linear warm-up; 3 % of the run when left out.
    pub warmup: Option<u64>,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f64,
    /// The global gradient norm is clipped to this.
    pub clip: f64,
    /// Everything that is drawn is drawn from this.
    pub seed: u64,
    /// The share of samples held out to watch the loss on, where no `[eval]` file has messages.
    pub validation: f64,
    /// Optimiser steps between checkpoints.
    pub checkpoint_every: u64,
    /// What the process may take, `"6 GiB"` or `"512 MiB"`; what the machine has when left out.
    pub memory: Option<String>,
    /// In what numbers the base's matrices are multiplied.
    pub compute: Compute,
    /// `auto`, `cpu` or `cuda:N`.
    pub device: String,
    /// An adapter folder to go on from.
    pub init: Option<PathBuf>,
    /// It is the vendor's own work.
    pub init_own: bool,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: 32.0,
            targets: Targets::Named("all-linear".into()),
            epochs: None,
            steps: None,
            batch: 4,
            micro_batch: None,
            sequence: 512,
            learning_rate: 2e-4,
            warmup: None,
            weight_decay: 0.0,
            clip: 1.0,
            seed: 17,
            validation: 0.05,
            checkpoint_every: 50,
            memory: None,
            compute: Compute::F32,
            device: "auto".into(),
            init: None,
            init_own: false,
        }
    }
}

impl Train {
    /// The card that `device` names: 1 of `cuda:1`.
    pub fn card(&self) -> Option<usize> {
        let number = self.device.strip_prefix("cuda:")?;
        number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse().ok()).flatten()
    }

    /// `memory` in bytes.
    pub fn memory(&self) -> Option<u64> {
        let (number, unit) = self.memory.as_deref()?.split_once(' ')?;
        let shift = match unit {
            "MiB" => 20,
            "GiB" => 30,
            _ => return None,
        };
        let number: f64 = number.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0 && *n < 1e6)?;
        Some((number * f64::from(1u32 << shift)) as u64)
    }

    pub(super) fn check(&self, path: &Path) -> Result<()> {
        if self.epochs.is_some() && self.steps.is_some() {
            return Err(refuse(path, "train.epochs and train.steps are both set", "keep one of them"));
        }
        let positive = [
            ("rank", self.rank as f64),
            ("alpha", f64::from(self.alpha)),
            ("batch", self.batch as f64),
            ("sequence", self.sequence as f64),
            ("learning-rate", self.learning_rate),
            ("clip", self.clip),
            ("checkpoint-every", self.checkpoint_every as f64),
            ("epochs", self.epochs.unwrap_or(1.0)),
            ("steps", self.steps.unwrap_or(1) as f64),
            ("micro-batch", self.micro_batch.unwrap_or(1) as f64),
        ];
        if let Some((key, value)) = positive.into_iter().find(|(_, v)| !(v.is_finite() && *v > 0.0)) {
            return Err(refuse(path, format!("train.{key} must be above 0: {value}"), "leave it out for the default"));
        }
        if !(0.0..0.5).contains(&self.validation) {
            return Err(refuse(
                path,
                format!("train.validation must be from 0 to below 0.5: {}", self.validation),
                "0.05 holds out one sample in twenty",
            ));
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return Err(refuse(
                path,
                format!("train.weight-decay must not be negative: {}", self.weight_decay),
                "leave it out for the default",
            ));
        }
        if let Some(memory) = self.memory.as_ref().filter(|_| self.memory().is_none()) {
            return Err(refuse(
                path,
                format!("train.memory is no size: {memory}"),
                "for example \"6 GiB\" or \"512 MiB\"",
            ));
        }
        if !matches!(self.device.as_str(), "auto" | "cpu") && self.card().is_none() {
            return Err(refuse(path, format!("train.device is unknown: {}", self.device), "auto, cpu or cuda:0"));
        }
        Ok(())
    }
}

/// In what numbers a frozen matrix is multiplied, on the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compute {
    /// As they are.
    F32,
    /// Rounded to bf16, with sums in f32.
    Bf16,
}

/// Which projections get an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Targets {
    /// `"all-linear"`.
    Named(String),
    /// `["q_proj", "v_proj"]`.
    List(Vec<String>),
}

/// `[derivative]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Derivative {
    /// A folder, or one file.
    pub path: PathBuf,
    /// The files and folders in it that travel; all but what trainers leave behind when left out.
    pub files: Option<Vec<PathBuf>>,
    /// It is the vendor's own work.
    #[serde(default)]
    pub own: bool,
}

/// `[eval]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Eval {
    /// `{"messages": […]}` a line, the last message is the wanted answer; `"keywords"` beside it, or the whole answer is one.
    pub path: PathBuf,
    /// How an answer is judged.
    #[serde(default, rename = "match")]
    pub matching: Match,
}

/// How an answer is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Match {
    /// Every keyword stands in it, whatever the case.
    #[default]
    Keyword,
    /// It is the wanted answer, but for white space at the ends.
    Exact,
}

//! What a run says while it goes, and what it made: plain values, which the program shows and tests read.

#[cfg(feature = "cuda")]
use super::device::CardForecast;
use super::material::Counts;
use super::memory::Forecast;
use crate::adapter::RunRecord;
use std::path::PathBuf;

/// What a run has to say while it goes.
#[derive(Debug, Clone)]
pub enum Event {
    /// The data were read.
    Data(Counts),
    /// The memory that the run will take, and what there is.
    Memory(Forecast),
    /// The memory that the run will take on a card.
    #[cfg(feature = "cuda")]
    CardMemory(CardForecast),
    /// The first step of this session comes next.
    Begin {
        /// Steps that an earlier session did.
        done: u64,
        /// Steps of the whole run.
        steps: u64,
    },
    /// A step was done.
    Step(Step),
    /// The held-out loss was taken after this many steps.
    HeldOut {
        /// Steps done.
        step: u64,
        /// Mean over the held-out loss tokens.
        loss: f64,
    },
    /// A question was answered.
    Asked {
        /// Questions answered in this round.
        done: u64,
        /// Questions of this round.
        questions: u64,
        /// Of those answered, as wanted.
        matched: u64,
    },
    /// The state is on disk.
    Saved {
        /// Steps done.
        step: u64,
    },
}

/// One optimiser step.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Counted from 1.
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// Mean over the step's loss tokens, in nats.
    pub loss: f64,
    /// Tokens of the step.
    pub tokens: u64,
    /// Of these, tokens that bore loss.
    pub loss_tokens: u64,
    /// Its wall time.
    pub seconds: f64,
    /// Learning rate.
    pub rate: f64,
    /// Norm of the gradient before clipping.
    pub norm: f64,
}

/// What a run made.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The PEFT folder, with `run.json` and `loss.svg`.
    pub folder: PathBuf,
    /// Its provenance.
    pub record: RunRecord,
}

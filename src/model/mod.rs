//! The network: one transformer whose differences come from `adapters/*.toml`; forward and backward side by side.
//!
//! Letters, here and in every file of this room: T tokens of a batch (all documents end to end), C hidden width,
//! H query heads, K key/value heads, D head width, F feed-forward width, V vocabulary, R LoRA rank, L layers.

use crate::base::Base;
use crate::error::{Code, Error, Result};
use std::ops::Range;

/// Tokens of one or more documents, end to end without padding; attention stays inside each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// [T] input ids.
    pub tokens: Vec<u32>,
    /// [T] the id that each position has to predict; meaningless where `loss` is false.
    pub targets: Vec<u32>,
    /// [T] whether the position bears loss.
    pub loss: Vec<bool>,
    /// Where documents begin, and T at the end: `[0, …, T]`. Positions restart at each.
    pub bounds: Vec<usize>,
}

/// The trainable matrices, flat: A is [R, in], B is [out, R]; the update is `alpha / R · B · A · x`.
#[derive(Debug, Clone)]
pub struct Lora {
    /// R
    pub rank: usize,
    /// The update's scale times R.
    pub alpha: f32,
    /// Where each module's matrices lie, in the order of the network.
    pub modules: Vec<LoraModule>,
    /// All matrices.
    pub values: Vec<f32>,
}

/// One adapted projection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoraModule {
    /// As the checkpoint names it, without `.weight`: `model.layers.0.self_attn.q_proj`.
    pub name: String,
    /// in
    pub inputs: usize,
    /// out
    pub outputs: usize,
    /// A in [`Lora::values`].
    pub a: Range<usize>,
    /// B in [`Lora::values`].
    pub b: Range<usize>,
}

/// The network with its frozen weights.
pub struct Model {}

impl Model {
    /// Reads the weights of a base as f32, packed for the multiply.
    pub fn load(_base: &Base) -> Result<Self> {
        Err(Error::new(Code::NotBuilt, "the engine"))
    }
}

//! The network: one transformer whose differences come from `adapters/*.toml`; forward and backward side by side.
//!
//! Letters, here and in every file of this room: T tokens of a batch (all documents end to end), C hidden width,
//! H query heads, K key/value heads, D head width, F feed-forward width, V vocabulary, R LoRA rank, L layers.
//!
//! The base is frozen: its weights get no gradient and no second copy. There is no autograd: each block has a
//! forward that keeps a named set of activations and a backward that uses them (`block`).

mod block;
#[cfg(feature = "cuda")]
mod card;
mod divergence;
mod experts;
pub mod generate;
mod linear;
mod lora;
mod memory;
mod positions;
mod quantize;
mod reader;
mod shape;
mod step;
mod weights;

#[cfg(feature = "cuda")]
pub use card::{CardKeep, CardMemory, CardModel, CardStep, CardTraining, CardWeights};
pub use divergence::{Divergence, divergence};
pub use memory::Memory;
pub use positions::{Kind, Turn};
pub use quantize::{Quantize, weight_bytes};
pub use shape::{HasBias, Multipliers, Norms, Routing, Shape};
pub use step::{Keep, Workspace};

use crate::base::Base;
use crate::base::family::Family;
use crate::error::{Code, Error, Result};
use crate::kernels::Compute;
use std::ops::Range;

/// Tokens of one or more documents, end to end without padding; attention stays inside each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// `[T]` input ids.
    pub tokens: Vec<u32>,
    /// `[T]` the id that each position has to predict; meaningless where `loss` is false.
    pub targets: Vec<u32>,
    /// `[T]` whether the position bears loss.
    pub loss: Vec<bool>,
    /// Where documents begin, and T at the end: `[0, …, T]`. Positions restart at each.
    pub bounds: Vec<usize>,
}

/// The trainable matrices, flat: A is `[R, in]`, B is `[out, R]`; the update is `alpha / R · B · A · x`.
#[derive(Debug, Clone)]
pub struct Lora {
    /// R
    pub rank: usize,
    /// The update's scale times R.
    pub alpha: f32,
    /// The base keeps its matrices `[in, out]`; these are the same all the same.
    pub in_out: bool,
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
pub struct Model {
    shape: Shape,
    weights: weights::Network,
}

impl Model {
    /// Maps the weights of a base, or holds those of its projections quantised.
    ///
    /// # Errors
    /// `UnsupportedBase` for a family or a feature that the engine does not have, by its key in `config.json`.
    pub fn load(base: &Base, quantize: Option<Quantize>) -> Result<Self> {
        let family = Family::of(&base.config)?;
        let shape = Shape::of(&base.config, &family)?;
        let weights = weights::Network::read(base, &family, &shape, quantize)?;
        Ok(Self { shape, weights })
    }

    /// From now on frozen matrices are multiplied in these numbers; in f32 until this is said.
    pub fn multiply_in(&mut self, compute: Compute) {
        self.weights.multiply_in(compute);
    }

    /// Its sizes.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Whether the network can take a batch: lengths that agree, ids below V.
    ///
    /// # Errors
    /// `BadInput` with what is wrong; the other methods panic on such a batch.
    pub fn accepts(&self, batch: &Batch) -> Result<()> {
        let tokens = batch.tokens.len();
        let rising = batch.bounds.windows(2).all(|w| w[0] < w[1]);
        let whole = batch.bounds.first() == Some(&0) && batch.bounds.last() == Some(&tokens);
        if batch.targets.len() != tokens || batch.loss.len() != tokens || !rising || !whole {
            return Err(Error::new(
                Code::BadInput,
                format!("a batch of {tokens} tokens whose parts don't fit together"),
            ));
        }
        self.reaches(batch.bounds.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0))?;
        let targets = batch.targets.iter().zip(&batch.loss).filter_map(|(id, loss)| loss.then_some(id));
        match batch.tokens.iter().chain(targets).find(|id| **id as usize >= self.shape.vocab) {
            Some(id) => Err(Error::new(
                Code::BadInput,
                format!("token id outside the base's vocabulary of {}: {id}", self.shape.vocab),
            )
            .with_hint("tokenizer and weights of the base don't belong together")),
            None => Ok(()),
        }
    }

    /// Whether a document of so many tokens can be read.
    fn reaches(&self, tokens: usize) -> Result<()> {
        match self.shape.longest {
            Some(longest) if tokens > longest => Err(Error::new(
                Code::UnsupportedBase,
                format!("a text of {tokens} tokens; the engine reads this base up to {longest}"),
            )
            .with_hint(match self.shape.learned_positions {
                true => "the base has embeddings for so many positions, and no more",
                false => "the base turns longer texts by other frequencies, which the engine does not have",
            })),
            _ => Ok(()),
        }
    }
}

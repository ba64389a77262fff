//! What a training step will hold, before it starts: a closed formula of the sizes, for the planner.

use super::experts::ExpertBuffers;
use super::shape::Norms;
use super::{Keep, Shape};
use crate::base::family::Residual;
use crate::kernels::{AttentionGrad, CrossEntropy, PANEL_BYTES};

/// Bytes that a training holds at its peak, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// The frozen weights in the format of their files, and the panel that is f32 while it is multiplied.
    pub weights: usize,
    /// The adapter's values, gradient and the optimiser's two means.
    pub adapter: usize,
    /// What the forward keeps for the backward.
    pub kept: usize,
    /// Buffers that all blocks share, and the head's.
    pub shared: usize,
}

impl Memory {
    /// All of it.
    pub fn total(self) -> usize {
        self.weights + self.adapter + self.kept + self.shared
    }
}

const F32: usize = 4;

/// Projections that share an input, at most: queries, keys and values.
const SHARING: usize = 3;

impl Shape {
    /// For steps of `tokens` tokens and an adapter of `values` numbers and `rank` on every projection, over a base of
    /// `weights` bytes.
    ///
    /// Left out: the program itself, and the multiply's packing (some MiB a thread).
    pub fn memory(&self, weights: usize, tokens: usize, rank: usize, values: usize, keep: Keep) -> Memory {
        let per_block = self.kept_per_token(rank) * tokens * F32;
        let inputs = tokens * self.hidden * (self.layers + 1) * F32;
        // no norm stands before the first block, which then shares its place with none that has one
        let first = keep.whole(self.layers) + 1 >= self.layers;
        let lacking = if self.residual == Residual::OfNorm && first { tokens * F32 } else { 0 };
        Memory {
            weights: weights + PANEL_BYTES.min(self.largest_matrix() * F32),
            adapter: 4 * values * F32,
            kept: keep.held(self.layers) * per_block + inputs - lacking,
            shared: self.shared_per_token(rank) * tokens * F32
                + AttentionGrad::bytes(tokens, self.heads)
                + CrossEntropy::bytes(tokens, self.vocab),
        }
    }

    /// Numbers of the largest matrix that is multiplied at once.
    fn largest_matrix(&self) -> usize {
        let feed_forward = self.activation.columns(self.ffn);
        self.hidden * self.vocab.max(feed_forward).max(self.heads.stride())
    }

    fn norm_count(&self) -> usize {
        let Norms { before_attention, after_attention, before_ffn, after_ffn } = self.norms;
        [before_attention, after_attention, before_ffn, after_ffn].map(usize::from).iter().sum()
    }

    /// An rstd for each norm, qkv, out, lse, h, gu and x · Aᵀ of each projection; what comes before a norm of queries
    /// and keys, or of what a half gives. Experts keep nothing of their own.
    fn kept_per_token(&self, rank: usize) -> usize {
        let out = self.heads.query * self.heads.dim;
        let heads: usize = self.head_norm_groups().iter().flatten().map(|(n, width)| n * (width + 1)).sum();
        let after = usize::from(self.norms.after_attention) + usize::from(self.norms.after_ffn);
        let gate_up = if self.routing.is_some() { 0 } else { self.activation.columns(self.ffn) };
        let plain = self.heads.stride() + out + self.heads.query + self.hidden + gate_up;
        plain + self.norm_count() + after * self.hidden + heads + self.projections * rank
    }

    /// n, act, their gradients, those of gu, out, qkv, x · Aᵀ and the residual stream; of a half before its norm, of
    /// the input that two halves share; four rows of the head.
    fn shared_per_token(&self, rank: usize) -> usize {
        let out = self.heads.query * self.heads.dim;
        let after = usize::from(self.norms.after_attention || self.norms.after_ffn);
        let wide = 3 + after + usize::from(self.residual == Residual::Parallel) + 4;
        let feed_forward = match self.routing {
            None => 2 * self.ffn + self.activation.columns(self.ffn),
            Some(routing) => ExpertBuffers::per_row(routing, self.hidden, self.ffn) + self.hidden,
        };
        wide * self.hidden + feed_forward + out + self.heads.stride() + SHARING * rank + 4
    }
}

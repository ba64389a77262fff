//! One transformer block: the forward, the activations it keeps, and the backward that uses them.
//!
//! n₁ = norm(x), qkv = turn(n₁·Wqkv), out = attention(qkv), h = x + out·Wo, n₂ = norm(h), gu = n₂·Wgu,
//! y = h + swiglu(gu)·Wd. Cheap row-by-row results (n₁, n₂, swiglu) are made again instead of kept.

use super::Shape;
use super::linear::Adapted;
use super::weights::Layer;
use crate::kernels::{
    AttentionGrad, Rope, attention, attention_backward, rms_norm, rms_norm_backward, rms_norm_with, rope,
    rope_backward, swiglu, swiglu_backward,
};

/// What the backward of one block needs besides its input.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// `[T]` 1 / rms of x
    pub rstd1: Vec<f32>,
    /// `[T, (H + 2K)·D]` after the turn
    pub qkv: Vec<f32>,
    /// `[T, H·D]`
    pub out: Vec<f32>,
    /// `[T, H]`
    pub lse: Vec<f32>,
    /// `[T, C]`
    pub h: Vec<f32>,
    /// `[T]` 1 / rms of h
    pub rstd2: Vec<f32>,
    /// `[T, 2F]`
    pub gu: Vec<f32>,
    /// [T, places · R] x · Aᵀ of each of the four linear layers
    pub thin: [Vec<f32>; 4],
}

/// Buffers that all blocks share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// `[T, C]` n₁ or n₂
    pub n: Vec<f32>,
    /// `[T, F]` swiglu(gu)
    pub act: Vec<f32>,
    /// `[T, C]` gradient of n₁ or n₂
    dn: Vec<f32>,
    /// `[T, F]` gradient of act
    dact: Vec<f32>,
    /// `[T, 2F]`
    dgu: Vec<f32>,
    /// `[T, H·D]`
    dout: Vec<f32>,
    /// `[T, (H + 2K)·D]`
    dqkv: Vec<f32>,
    /// `[T, R]`
    dthin: Vec<f32>,
    attention: AttentionGrad,
}

/// A block with its adapter, and where its tokens stand.
pub(super) struct Block<'a> {
    pub layer: &'a Layer,
    pub shape: &'a Shape,
    pub lora: [Adapted<'a>; 4],
    pub rope: &'a Rope,
    /// `[T]` positions inside documents
    pub positions: &'a [usize],
    pub bounds: &'a [usize],
}

impl Block<'_> {
    /// y `[T, C]` from x `[T, C]`.
    pub fn forward(&self, x: &[f32], kept: &mut Kept, shared: &mut Shared, y: &mut [f32]) {
        self.project(x, kept, shared);
        self.attend(kept);
        self.gate(x, kept, shared);
        self.finish(kept, shared, y);
    }

    /// Everything that `forward` keeps, without y.
    pub fn forward_again(&self, x: &[f32], kept: &mut Kept, shared: &mut Shared) {
        self.project(x, kept, shared);
        self.attend(kept);
        self.gate(x, kept, shared);
        self.layer.down.thin(&shared.act, self.positions.len(), self.lora[3], &mut kept.thin[3]);
    }

    /// n₁ and qkv.
    pub fn project(&self, x: &[f32], kept: &mut Kept, shared: &mut Shared) {
        let (tokens, shape) = (self.positions.len(), self.shape);
        shared.n.resize(tokens * shape.hidden, 0.0);
        kept.rstd1.resize(tokens, 0.0);
        kept.qkv.resize(tokens * shape.heads.stride(), 0.0);
        rms_norm(x, &self.layer.attention_norm, shape.eps, &mut shared.n, &mut kept.rstd1);
        self.layer.qkv.forward(&shared.n, self.lora[0], &mut kept.thin[0], &mut kept.qkv, false);
        rope(&mut kept.qkv, shape.heads.stride(), shape.heads.query + shape.heads.kv, self.positions, self.rope);
    }

    fn attend(&self, kept: &mut Kept) {
        let (tokens, heads) = (self.positions.len(), self.shape.heads);
        kept.out.resize(tokens * heads.query * heads.dim, 0.0);
        kept.lse.resize(tokens * heads.query, 0.0);
        attention(&kept.qkv, heads, self.bounds, &mut kept.out, &mut kept.lse);
    }

    /// h, gu and swiglu(gu).
    pub fn gate(&self, x: &[f32], kept: &mut Kept, shared: &mut Shared) {
        let (tokens, shape) = (self.positions.len(), self.shape);
        kept.h.clear();
        kept.h.extend_from_slice(x);
        self.layer.o.forward(&kept.out, self.lora[1], &mut kept.thin[1], &mut kept.h, true);
        kept.rstd2.resize(tokens, 0.0);
        kept.gu.resize(tokens * 2 * shape.ffn, 0.0);
        shared.act.resize(tokens * shape.ffn, 0.0);
        rms_norm(&kept.h, &self.layer.ffn_norm, shape.eps, &mut shared.n, &mut kept.rstd2);
        self.layer.gate_up.forward(&shared.n, self.lora[2], &mut kept.thin[2], &mut kept.gu, false);
        swiglu(&kept.gu, shape.ffn, &mut shared.act);
    }

    /// y = h + act·Wd
    pub fn finish(&self, kept: &mut Kept, shared: &Shared, y: &mut [f32]) {
        y.copy_from_slice(&kept.h);
        self.layer.down.forward(&shared.act, self.lora[3], &mut kept.thin[3], y, true);
    }

    /// Turns `d` `[T, C]` from the gradient of y into that of x, and adds those of A and B to `grad`.
    ///
    /// Where `stop`, nothing below needs the gradient of x, and `d` is left undefined.
    pub fn backward(&self, x: &[f32], kept: &Kept, shared: &mut Shared, d: &mut [f32], grad: &mut [f32], stop: bool) {
        self.feed_forward_backward(kept, shared, d, grad);
        self.attention_backward(x, kept, shared, d, grad, stop);
    }

    /// `d` from the gradient of y to that of h.
    fn feed_forward_backward(&self, kept: &Kept, shared: &mut Shared, d: &mut [f32], grad: &mut [f32]) {
        let (tokens, ffn, layer) = (self.positions.len(), self.shape.ffn, self.layer);
        let Shared { n, act, dn, dact, dgu, dthin, .. } = shared;
        act.resize(tokens * ffn, 0.0);
        dact.resize(tokens * ffn, 0.0);
        dgu.resize(tokens * 2 * ffn, 0.0);
        dn.resize(d.len(), 0.0);
        n.resize(d.len(), 0.0);
        swiglu(&kept.gu, ffn, act);
        layer.down.backward(act, &kept.thin[3], d, self.lora[3], dthin, grad, Some(dact));
        swiglu_backward(&kept.gu, ffn, dact, dgu);
        rms_norm_with(&kept.h, &layer.ffn_norm, &kept.rstd2, n);
        layer.gate_up.backward(n, &kept.thin[2], dgu, self.lora[2], dthin, grad, Some(dn));
        rms_norm_backward(&kept.h, &layer.ffn_norm, &kept.rstd2, dn, d);
    }

    /// `d` from the gradient of h to that of x.
    fn attention_backward(
        &self,
        x: &[f32],
        kept: &Kept,
        shared: &mut Shared,
        d: &mut [f32],
        grad: &mut [f32],
        stop: bool,
    ) {
        let (heads, layer) = (self.shape.heads, self.layer);
        let Shared { n, dn, dout, dqkv, dthin, attention, .. } = shared;
        dout.resize(kept.out.len(), 0.0);
        dqkv.resize(kept.qkv.len(), 0.0);
        layer.o.backward(&kept.out, &kept.thin[1], d, self.lora[1], dthin, grad, Some(dout));
        attention_backward(&kept.qkv, heads, self.bounds, &kept.out, &kept.lse, dout, attention, dqkv);
        rope_backward(dqkv, heads.stride(), heads.query + heads.kv, self.positions, self.rope);
        rms_norm_with(x, &layer.attention_norm, &kept.rstd1, n);
        let wanted = (!stop).then_some(&mut dn[..]);
        layer.qkv.backward(n, &kept.thin[0], dqkv, self.lora[0], dthin, grad, wanted);
        if !stop {
            rms_norm_backward(x, &layer.attention_norm, &kept.rstd1, dn, d);
        }
    }
}

#[cfg(test)]
impl Kept {
    /// Numbers held.
    pub fn numbers(&self) -> usize {
        let Self { rstd1, qkv, out, lse, h, rstd2, gu, thin } = self;
        [rstd1, qkv, out, lse, h, rstd2, gu].into_iter().chain(thin).map(Vec::len).sum()
    }
}

#[cfg(test)]
impl Shared {
    /// Numbers held, the attention's apart.
    pub fn numbers(&self) -> usize {
        let Self { n, act, dn, dact, dgu, dout, dqkv, dthin, attention: _ } = self;
        [n, act, dn, dact, dgu, dout, dqkv, dthin].map(Vec::len).iter().sum()
    }
}

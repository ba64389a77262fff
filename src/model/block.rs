//! One transformer block: the forward, the activations it keeps, and the backward that uses them.
//!
//! n₁ = norm(x), qkv = turn(norm(n₁·Wqkv)), out = attention(qkv), h = x + norm(out·Wo), n₂ = norm(h),
//! gu = n₂·Wgu, y = h + norm(act(gu)·Wd); each norm only where the family has it. Where both halves are parallel, n₂
//! is a norm of x; where they add to what their norm gave, n₁ and n₂ stand for x and h in the sums. Experts take the
//! place of gu and act. Cheap row-by-row results (n₁, n₂, act(gu)) are made again instead of kept.

use super::Shape;
use super::experts::ExpertBuffers;
use super::linear::{Adapted, Linear};
use super::reader::Norm;
use super::weights::{FeedForward, Layer};
use crate::base::family::{QueryKeyNorm, Residual};
use crate::kernels::{
    AttentionGrad, Centre, HeadNorm, Isa, Rope, Scores, add_rows, attention, attention_backward, head_norm,
    head_norm_backward, norm, norm_backward, norm_with, rope, rope_backward,
};
use rayon::prelude::*;

/// What the backward of one block needs besides its input.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// `[T]` of x
    rstd1: Vec<f32>,
    /// `[T, (H + 2K)·D]` after the turn
    pub qkv: Vec<f32>,
    /// Queries and keys before their norm.
    heads: Before,
    /// `[T, H·D]`
    pub out: Vec<f32>,
    /// `[T, H]`
    lse: Vec<f32>,
    /// What attention gives, before its norm.
    attention: Before,
    /// `[T, C]`
    h: Vec<f32>,
    /// `[T]` of h
    rstd2: Vec<f32>,
    /// `[T, 2F]`, or `[T, F]` without a gate
    gu: Vec<f32>,
    /// What feed-forward gives, before its norm.
    ffn: Before,
    /// [T, places · R] x · Aᵀ of each of the four linear layers
    thin: [Vec<f32>; 4],
}

/// What a norm saw; empty where the family lacks it.
#[derive(Debug, Default)]
struct Before {
    raw: Vec<f32>,
    rstd: Vec<f32>,
}

/// Buffers that all blocks share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// `[T, C]` n₁, n₂, or what a half gives after its norm
    n: Vec<f32>,
    /// `[T, F]` act(gu)
    act: Vec<f32>,
    /// `[T, C]` gradient of n
    dn: Vec<f32>,
    /// `[T, F]` gradient of act
    dact: Vec<f32>,
    /// `[T, 2F]`
    dgu: Vec<f32>,
    /// `[T, H·D]`
    dout: Vec<f32>,
    /// `[T, (H + 2K)·D]`
    dqkv: Vec<f32>,
    /// `[T, places · R]` of one linear layer
    dthin: Vec<f32>,
    /// `[T, C]` gradient of what a half gives, before its norm
    dhalf: Vec<f32>,
    /// `[T, C]` gradient of x by way of the feed-forward, where the halves are parallel
    aside: Vec<f32>,
    attention: AttentionGrad,
    experts: ExpertBuffers,
}

/// A block with its adapter, and where its tokens stand.
pub(super) struct Block<'a> {
    pub layer: &'a Layer,
    pub shape: &'a Shape,
    pub scores: Scores<'a>,
    pub lora: [Adapted<'a>; 4],
    pub rope: Option<&'a Rope>,
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
        self.finish(x, kept, shared, y);
    }

    /// Everything that `forward` keeps, without y.
    pub fn forward_again(&self, x: &[f32], kept: &mut Kept, shared: &mut Shared) {
        self.project(x, kept, shared);
        self.attend(kept);
        self.gate(x, kept, shared);
        match (&self.layer.ffn, &self.layer.after_ffn) {
            (FeedForward::Experts(_), _) => {}
            (FeedForward::Dense { down, .. }, None) => {
                down.thin(&shared.act, self.positions.len(), self.lora[3], &mut kept.thin[3]);
            }
            (FeedForward::Dense { down, .. }, Some(after)) => {
                let half = Half { linear: down, lora: self.lora[3] };
                self.normed_half(half, &shared.act, after, &mut kept.thin[3], &mut kept.ffn, &mut shared.n);
            }
        }
    }

    /// n₁ and qkv.
    pub fn project(&self, x: &[f32], kept: &mut Kept, shared: &mut Shared) {
        let (tokens, shape) = (self.positions.len(), self.shape);
        let stride = shape.heads.stride();
        kept.qkv.resize(tokens * stride, 0.0);
        let n = self.normed(&self.layer.attention_norm, x, &mut kept.rstd1, &mut shared.n);
        self.layer.qkv.forward(n, self.lora[0], &mut kept.thin[0], &mut kept.qkv, false);
        if let Some(norms) = self.head_norms() {
            let Before { raw, rstd } = &mut kept.heads;
            raw.resize(tokens * norms.map(|n| n.groups * n.width).iter().sum::<usize>(), 0.0);
            rstd.resize(tokens * norms.map(|n| n.groups).iter().sum::<usize>(), 0.0);
            head_norm(&mut kept.qkv, stride, norms, shape.eps, raw, rstd);
        }
        if let Some(table) = self.rope {
            rope(&mut kept.qkv, stride, shape.heads.query + shape.heads.kv, self.positions, table);
        }
    }

    fn attend(&self, kept: &mut Kept) {
        let (tokens, heads) = (self.positions.len(), self.shape.heads);
        kept.out.resize(tokens * heads.query * heads.dim, 0.0);
        kept.lse.resize(tokens * heads.query, 0.0);
        attention(&kept.qkv, heads, self.scores, self.bounds, &mut kept.out, &mut kept.lse);
    }

    /// h and n₂; gu and act(gu) where there are no experts.
    pub fn gate(&self, x: &[f32], kept: &mut Kept, shared: &mut Shared) {
        let (tokens, shape, layer) = (self.positions.len(), self.shape, self.layer);
        let Kept { out, attention, h, rstd1, rstd2, gu, thin, .. } = kept;
        h.clear();
        h.extend_from_slice(match shape.residual {
            Residual::OfNorm => self.normed_again(&layer.attention_norm, x, rstd1, &mut shared.n),
            Residual::Sequential | Residual::Parallel => x,
        });
        let half = Half { linear: &layer.o, lora: self.lora[1] };
        self.add_half(half, out, &layer.after_attention, &mut thin[1], attention, &mut shared.n, h);
        let (gain, from) = self.second_norm(x, h);
        let n = self.normed(gain, from, rstd2, &mut shared.n);
        if let FeedForward::Dense { gate_up, .. } = &layer.ffn {
            gu.resize(tokens * gate_up.outputs, 0.0);
            shared.act.resize(tokens * shape.ffn, 0.0);
            gate_up.forward(n, self.lora[2], &mut thin[2], gu, false);
            shape.activation.forward(gu, shape.ffn, &mut shared.act);
        }
    }

    /// y = h + norm(act·Wd), or what the experts make of n₂ in its place.
    pub fn finish(&self, x: &[f32], kept: &mut Kept, shared: &mut Shared, y: &mut [f32]) {
        let Shared { act, n, experts, .. } = shared;
        let (gain, from) = self.second_norm(x, &kept.h);
        y.copy_from_slice(match self.shape.residual {
            Residual::OfNorm => self.normed_again(gain, from, &kept.rstd2, n),
            Residual::Sequential | Residual::Parallel => &kept.h,
        });
        match &self.layer.ffn {
            FeedForward::Experts(layer) => layer.forward(self.normed_again(gain, from, &kept.rstd2, n), experts, y),
            FeedForward::Dense { down, .. } => {
                let half = Half { linear: down, lora: self.lora[3] };
                self.add_half(half, act, &self.layer.after_ffn, &mut kept.thin[3], &mut kept.ffn, n, y);
            }
        }
    }

    /// norm(x) in `n`, or x itself where there is no such norm.
    fn normed<'n>(&self, by: &Option<Norm>, x: &'n [f32], rstd: &mut Vec<f32>, n: &'n mut Vec<f32>) -> &'n [f32] {
        let Some(by) = by else { return x };
        n.resize(x.len(), 0.0);
        rstd.resize(self.positions.len(), 0.0);
        self.norm(by, x, n, rstd);
        n
    }

    fn norm(&self, by: &Norm, x: &[f32], n: &mut [f32], rstd: &mut [f32]) {
        norm(self.shape.centre, x, &by.gain, self.shape.eps, n, rstd);
        by.bias.iter().for_each(|bias| add_rows(n, bias));
    }

    /// The same from the rstd that was kept.
    fn normed_again<'n>(&self, by: &Option<Norm>, x: &'n [f32], rstd: &[f32], n: &'n mut Vec<f32>) -> &'n [f32] {
        let Some(by) = by else { return x };
        n.resize(x.len(), 0.0);
        norm_with(self.shape.centre, x, &by.gain, rstd, n);
        by.bias.iter().for_each(|bias| add_rows(n, bias));
        n
    }

    /// Adds to `dx` the gradient of x, out of that of norm(x) in `dn`.
    fn norm_backward(&self, by: &Option<Norm>, x: &[f32], rstd: &[f32], dn: &mut [f32], dx: &mut [f32]) {
        match by {
            Some(by) => norm_backward(self.shape.centre, x, &by.gain, rstd, dn, dx),
            None => add(dn, dx),
        }
    }

    /// The norm before the feed-forward, and what it is of.
    fn second_norm<'n>(&'n self, x: &'n [f32], h: &'n [f32]) -> (&'n Option<Norm>, &'n [f32]) {
        match (self.shape.residual, &self.layer.ffn_norm) {
            (Residual::Parallel, None) => (&self.layer.attention_norm, x),
            (Residual::Parallel, own) => (own, x),
            (Residual::Sequential | Residual::OfNorm, own) => (own, h),
        }
    }

    fn head_norms(&self) -> Option<[HeadNorm<'_>; 2]> {
        let (gains, groups) = self.layer.heads_norm.as_ref().zip(self.shape.head_norm_groups())?;
        let centre = match self.shape.heads_norm {
            QueryKeyNorm::LayerHeads => Centre::Mean,
            QueryKeyNorm::None | QueryKeyNorm::Heads | QueryKeyNorm::Width => Centre::Zero,
        };
        let norm = |n: usize| HeadNorm { centre, gain: &gains[n], groups: groups[n].0, width: groups[n].1 };
        Some([norm(0), norm(1)])
    }

    /// Adds what a half gives, after its norm if it has one, to `y`.
    #[allow(clippy::too_many_arguments)] // all of the operation's data
    fn add_half(
        &self,
        half: Half<'_>,
        x: &[f32],
        after: &Option<Norm>,
        thin: &mut Vec<f32>,
        before: &mut Before,
        n: &mut Vec<f32>,
        y: &mut [f32],
    ) {
        match after {
            None => half.linear.forward(x, half.lora, thin, y, true),
            Some(after) => {
                self.normed_half(half, x, after, thin, before, n);
                add(n, y);
            }
        }
    }

    /// What a half gives after its norm, in `n`.
    fn normed_half(
        &self,
        half: Half<'_>,
        x: &[f32],
        after: &Norm,
        thin: &mut Vec<f32>,
        before: &mut Before,
        n: &mut Vec<f32>,
    ) {
        let size = self.positions.len() * self.shape.hidden;
        before.raw.resize(size, 0.0);
        before.rstd.resize(self.positions.len(), 0.0);
        n.resize(size, 0.0);
        half.linear.forward(x, half.lora, thin, &mut before.raw, false);
        self.norm(after, &before.raw, n, &mut before.rstd);
    }

    /// The gradient of what a half gives before its norm, out of that after it: the same where there is no norm.
    fn half_backward<'n>(
        &self,
        after: &Option<Norm>,
        before: &Before,
        d: &'n [f32],
        dn: &mut [f32],
        dhalf: &'n mut Vec<f32>,
    ) -> &'n [f32] {
        let Some(after) = after else { return d };
        dhalf.clear();
        dhalf.resize(d.len(), 0.0);
        dn.copy_from_slice(d);
        norm_backward(self.shape.centre, &before.raw, &after.gain, &before.rstd, dn, dhalf);
        dhalf
    }

    /// Turns `d` `[T, C]` from the gradient of y into that of x, and adds those of A and B to `grad`.
    ///
    /// Where `stop`, nothing below needs the gradient of x, and `d` is left undefined.
    pub fn backward(&self, x: &[f32], kept: &Kept, shared: &mut Shared, d: &mut [f32], grad: &mut [f32], stop: bool) {
        self.feed_forward_backward(x, kept, shared, d, grad);
        self.attention_backward(x, kept, shared, d, grad, stop);
        if self.shape.residual == Residual::Parallel {
            add(&shared.aside, d);
        }
    }

    /// `d` from the gradient of y to that of h; where the halves are parallel, what x gets goes `aside`.
    fn feed_forward_backward(&self, x: &[f32], kept: &Kept, shared: &mut Shared, d: &mut [f32], grad: &mut [f32]) {
        shared.dn.resize(d.len(), 0.0);
        let (gain, from) = self.second_norm(x, &kept.h);
        match &self.layer.ffn {
            FeedForward::Dense { gate_up, down } => self.dense_backward([gate_up, down], x, kept, shared, d, grad),
            FeedForward::Experts(layer) => {
                let n = self.normed_again(gain, from, &kept.rstd2, &mut shared.n);
                layer.backward(n, d, &mut shared.experts, &mut shared.dn);
            }
        }
        let Shared { dn, aside, .. } = shared;
        match self.shape.residual {
            Residual::Sequential => {}
            Residual::OfNorm => move_to(d, dn),
            Residual::Parallel => {
                aside.clear();
                aside.resize(d.len(), 0.0);
                return self.norm_backward(gain, from, &kept.rstd2, dn, aside);
            }
        }
        self.norm_backward(gain, from, &kept.rstd2, dn, d);
    }

    /// `shared.dn`, the gradient of n₂, from `d`, that of y.
    fn dense_backward(
        &self,
        [gate_up, down]: [&Linear; 2],
        x: &[f32],
        kept: &Kept,
        shared: &mut Shared,
        d: &[f32],
        grad: &mut [f32],
    ) {
        let (tokens, shape) = (self.positions.len(), self.shape);
        let Shared { n, act, dn, dact, dgu, dthin, dhalf, .. } = shared;
        act.resize(tokens * shape.ffn, 0.0);
        dact.resize(tokens * shape.ffn, 0.0);
        dgu.resize(tokens * gate_up.outputs, 0.0);
        shape.activation.forward(&kept.gu, shape.ffn, act);
        let dy = self.half_backward(&self.layer.after_ffn, &kept.ffn, d, dn, dhalf);
        down.backward(act, &kept.thin[3], dy, self.lora[3], dthin, grad, Some(dact));
        shape.activation.backward(&kept.gu, shape.ffn, dact, dgu);
        let (gain, from) = self.second_norm(x, &kept.h);
        let n = self.normed_again(gain, from, &kept.rstd2, n);
        gate_up.backward(n, &kept.thin[2], dgu, self.lora[2], dthin, grad, Some(dn));
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
        let Shared { n, dn, dout, dqkv, dthin, dhalf, attention, .. } = shared;
        dout.resize(kept.out.len(), 0.0);
        dqkv.resize(kept.qkv.len(), 0.0);
        let dy = self.half_backward(&layer.after_attention, &kept.attention, d, dn, dhalf);
        layer.o.backward(&kept.out, &kept.thin[1], dy, self.lora[1], dthin, grad, Some(dout));
        attention_backward(&kept.qkv, heads, self.scores, self.bounds, &kept.out, &kept.lse, dout, attention, dqkv);
        if let Some(table) = self.rope {
            rope_backward(dqkv, heads.stride(), heads.query + heads.kv, self.positions, table);
        }
        if let Some(norms) = self.head_norms() {
            head_norm_backward(dqkv, heads.stride(), norms, &kept.heads.raw, &kept.heads.rstd);
        }
        let n = self.normed_again(&layer.attention_norm, x, &kept.rstd1, n);
        let wanted = (!stop).then_some(&mut dn[..]);
        layer.qkv.backward(n, &kept.thin[0], dqkv, self.lora[0], dthin, grad, wanted);
        if !stop {
            if self.shape.residual == Residual::OfNorm {
                move_to(d, dn);
            }
            self.norm_backward(&layer.attention_norm, x, &kept.rstd1, dn, d);
        }
    }
}

/// The linear layer that ends attention or feed-forward, with its adapter.
#[derive(Clone, Copy)]
struct Half<'a> {
    linear: &'a Linear,
    lora: Adapted<'a>,
}

/// What stood in `from` goes on to `to`.
fn move_to(from: &mut [f32], to: &mut [f32]) {
    add(from, to);
    from.fill(0.0);
}

fn add(x: &[f32], y: &mut [f32]) {
    const PART: usize = 1 << 12;
    let isa = Isa::here();
    let part = |(y, x): (&mut [f32], &[f32])| {
        isa.run(
            #[inline(always)]
            || y.iter_mut().zip(x).for_each(|(y, x)| *y += x),
        )
    };
    y.par_chunks_mut(PART).zip(x.par_chunks(PART)).for_each(part);
}

#[cfg(test)]
impl Kept {
    /// Numbers held.
    pub fn numbers(&self) -> usize {
        let Self { rstd1, qkv, heads, out, lse, attention, h, rstd2, gu, ffn, thin } = self;
        let before = [heads, attention, ffn].into_iter().flat_map(|before| [&before.raw, &before.rstd]);
        [rstd1, qkv, out, lse, h, rstd2, gu].into_iter().chain(thin).chain(before).map(Vec::len).sum()
    }
}

#[cfg(test)]
impl Shared {
    /// Numbers held, the attention's apart.
    pub fn numbers(&self) -> usize {
        let Self { n, act, dn, dact, dgu, dout, dqkv, dthin, dhalf, aside, attention: _, experts } = self;
        experts.numbers() + [n, act, dn, dact, dgu, dout, dqkv, dthin, dhalf, aside].map(Vec::len).iter().sum::<usize>()
    }
}

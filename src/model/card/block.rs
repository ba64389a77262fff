//! One transformer block on a card, forward and backward: the same operations in the same order as the CPU's `block`.

use super::CardKeep;
use super::pass::Pass;
use super::room::{Before, Kept};
use super::weights::Norm;
use crate::base::family::{QueryKeyNorm, Residual};
use crate::error::Result;
use crate::kernels::Centre;
use crate::kernels::cuda::{self, Buffer, CardScores, Element, Rows};

const QKV: usize = 0;
const O: usize = 1;
const GATE_UP: usize = 2;
const DOWN: usize = 3;

impl Pass<'_> {
    /// y `[T, C]` from x `[T, C]`.
    pub fn forward(&self, layer: usize, x: &Buffer, kept: &Kept<Buffer>, y: &Buffer) -> Result<()> {
        self.project(layer, x, kept)?;
        self.attend(layer, kept)?;
        self.add_attention(layer, x, kept)?;
        self.gate(layer, x, kept)?;
        self.finish(layer, x, kept, y)
    }

    /// Everything that `forward` keeps, without y.
    fn forward_again(&self, layer: usize, x: &Buffer, kept: &Kept<Buffer>) -> Result<()> {
        self.project(layer, x, kept)?;
        self.attend(layer, kept)?;
        self.add_attention(layer, x, kept)?;
        self.gate(layer, x, kept)?;
        let act = &self.room.shared.act;
        match &self.network.layers[layer].after_ffn {
            None => self.thin((layer, DOWN), act.part(self.element, 0), kept),
            Some(after) => {
                self.linear((layer, DOWN), act, kept, &kept.ffn.raw, None)?;
                self.norm(after, &kept.ffn.raw, &kept.ffn.rstd, &self.room.shared.n)
            }
        }
    }

    /// n₁ and qkv.
    fn project(&self, layer: usize, x: &Buffer, kept: &Kept<Buffer>) -> Result<()> {
        let of = &self.network.layers[layer];
        let n = self.normed(of.attention_norm.as_ref(), x, &kept.rstd1)?;
        self.linear((layer, QKV), n, kept, &kept.qkv, None)?;
        for (norm, rows, before) in self.head_norms(layer, &kept.qkv, kept) {
            let raw = Some(before.raw.part(self.element, 0));
            self.card.norm(norm, rows, None, self.shape.eps, self.tokens, rows, &before.rstd, raw, false)?;
        }
        self.turn(layer, &kept.qkv, false)
    }

    /// Turns queries and keys of `qkv` by their positions, or back.
    fn turn(&self, layer: usize, qkv: &Buffer, back: bool) -> Result<()> {
        let Some(turn) = self.shape.kinds[layer].turn else { return Ok(()) };
        let (heads, pairs) = (self.shape.heads, self.shape.pairs);
        let (rows, shape) = (self.rows(qkv, heads.stride()), (pairs.dim, pairs.rotated / 2, pairs.neighbours));
        let table = &self.room.shared.ropes[turn];
        self.card.rope(rows, self.tokens, heads.query + heads.kv, shape, &self.room.ids.positions, table, back)
    }

    /// The norms of queries and of keys: what they are, their columns of `qkv`, and what they keep.
    fn head_norms<'k>(
        &'k self,
        layer: usize,
        qkv: &'k Buffer,
        kept: &'k Kept<Buffer>,
    ) -> impl Iterator<Item = (cuda::Norm<'k>, Rows<'k>, &'k Before<Buffer>)> {
        let centre = match self.shape.heads_norm {
            QueryKeyNorm::LayerHeads => Centre::Mean,
            QueryKeyNorm::None | QueryKeyNorm::Heads | QueryKeyNorm::Width => Centre::Zero,
        };
        let heads = self.shape.heads;
        let gains = self.network.layers[layer].heads_norm.as_ref().zip(self.shape.head_norm_groups());
        gains.into_iter().flat_map(move |(gains, of)| {
            [0, 1].map(|n| {
                let ((gain, numbers), (groups, width)) = (&gains[n], of[n]);
                let norm = cuda::Norm { centre, gain, gains: numbers / width, groups, width };
                let part = qkv.part(self.element, n * heads.query * heads.dim);
                (norm, Rows { part, stride: heads.stride() }, &kept.heads[n])
            })
        })
    }

    fn scores(&self, layer: usize) -> CardScores<'_> {
        CardScores::of(self.shape.scores(layer, None), self.network.layers[layer].sinks.as_ref())
    }

    fn attend(&self, layer: usize, kept: &Kept<Buffer>) -> Result<()> {
        let [qkv, out] = [&kept.qkv, &kept.out].map(|b| b.part(self.element, 0));
        self.card.attention(qkv, self.shape.heads, self.scores(layer), self.tiles, out, &kept.lse)
    }

    /// h
    fn add_attention(&self, layer: usize, x: &Buffer, kept: &Kept<Buffer>) -> Result<()> {
        let of = &self.network.layers[layer];
        let base = match self.shape.residual {
            Residual::OfNorm => self.normed(of.attention_norm.as_ref(), x, &kept.rstd1)?,
            Residual::Sequential | Residual::Parallel => x,
        };
        self.add_half((layer, O), &kept.out, of.after_attention.as_ref(), &kept.attention, kept, base, &kept.h)
    }

    /// n₂, gu and act(gu).
    fn gate(&self, layer: usize, x: &Buffer, kept: &Kept<Buffer>) -> Result<()> {
        let (by, from) = self.second_norm(layer, x, kept);
        let n = self.normed(by, from, &kept.rstd2)?;
        self.linear((layer, GATE_UP), n, kept, &kept.gu, None)?;
        self.curve(kept)
    }

    fn curve(&self, kept: &Kept<Buffer>) -> Result<()> {
        let [gu, act] = [&kept.gu, &self.room.shared.act].map(|b| b.part(self.element, 0));
        self.card.activation(self.shape.activation, gu, self.tokens, self.shape.ffn, act)
    }

    /// y = h + norm(act·Wd)
    fn finish(&self, layer: usize, x: &Buffer, kept: &Kept<Buffer>, y: &Buffer) -> Result<()> {
        let base = match self.shape.residual {
            Residual::OfNorm => {
                let (by, from) = self.second_norm(layer, x, kept);
                self.normed(by, from, &kept.rstd2)?
            }
            Residual::Sequential | Residual::Parallel => &kept.h,
        };
        let after = self.network.layers[layer].after_ffn.as_ref();
        self.add_half((layer, DOWN), &self.room.shared.act, after, &kept.ffn, kept, base, y)
    }

    /// y = base + what a half gives, after its norm if it has one.
    #[allow(clippy::too_many_arguments)] // all of the operation's data
    fn add_half(
        &self,
        which: (usize, usize),
        x: &Buffer,
        after: Option<&Norm>,
        before: &Before<Buffer>,
        kept: &Kept<Buffer>,
        base: &Buffer,
        y: &Buffer,
    ) -> Result<()> {
        let Some(after) = after else { return self.linear(which, x, kept, y, Some(base)) };
        self.linear(which, x, kept, &before.raw, None)?;
        self.norm(after, &before.raw, &before.rstd, y)?;
        self.add(base, y)
    }

    /// The norm before the feed-forward, and what it is of.
    fn second_norm<'n>(
        &'n self,
        layer: usize,
        x: &'n Buffer,
        kept: &'n Kept<Buffer>,
    ) -> (Option<&'n Norm>, &'n Buffer) {
        let of = &self.network.layers[layer];
        match (self.shape.residual, of.ffn_norm.as_ref()) {
            (Residual::Parallel, None) => (of.attention_norm.as_ref(), x),
            (Residual::Parallel, own) => (own, x),
            (Residual::Sequential | Residual::OfNorm, own) => (own, &kept.h),
        }
    }

    /// norm(x) in the shared buffer, or x itself where there is no such norm.
    fn normed<'n>(&'n self, by: Option<&Norm>, x: &'n Buffer, rstd: &Buffer) -> Result<&'n Buffer> {
        let Some(by) = by else { return Ok(x) };
        let n = &self.room.shared.n;
        self.norm(by, x, rstd, n)?;
        Ok(n)
    }

    /// Turns `d` `[T, C]` from the gradient of y into that of x, and adds those of A and B.
    ///
    /// Where `stop`, nothing below needs the gradient of x, and `d` is left undefined.
    pub fn backward(&self, layer: usize, x: &Buffer, kept: &Kept<Buffer>, stop: bool) -> Result<()> {
        if self.keep == CardKeep::Inputs {
            self.forward_again(layer, x, kept)?;
        }
        self.feed_forward_backward(layer, x, kept)?;
        self.attention_backward(layer, x, kept, stop)?;
        match self.shape.residual {
            Residual::Parallel if !stop => self.add(&self.room.shared.aside, &self.room.shared.d),
            _ => Ok(()),
        }
    }

    /// `d` from the gradient of y to that of h; where the halves are parallel, what x gets goes aside.
    fn feed_forward_backward(&self, layer: usize, x: &Buffer, kept: &Kept<Buffer>) -> Result<()> {
        let shared = &self.room.shared;
        match self.keep {
            CardKeep::Rows => self.curve(kept)?,
            CardKeep::Narrow => self.gate(layer, x, kept)?,
            CardKeep::Inputs => {}
        }
        let dy = self.half_backward(self.network.layers[layer].after_ffn.as_ref(), &kept.ffn)?;
        self.linear_backward((layer, DOWN), &shared.act, kept, dy, Some(&shared.dact))?;
        let [gu, dact, dgu] = [&kept.gu, &shared.dact, &shared.dgu].map(|b| b.part(self.element, 0));
        self.card.activation_backward(self.shape.activation, gu, dact, self.tokens, self.shape.ffn, dgu)?;
        let (by, from) = self.second_norm(layer, x, kept);
        let n = self.normed(by, from, &kept.rstd2)?;
        self.linear_backward((layer, GATE_UP), n, kept, &shared.dgu, Some(&shared.dn))?;
        match self.shape.residual {
            Residual::Sequential => self.norm_backward(by, from, &kept.rstd2, &shared.d, true),
            Residual::OfNorm => {
                self.add(&shared.d, &shared.dn)?;
                self.norm_backward(by, from, &kept.rstd2, &shared.d, false)
            }
            Residual::Parallel => self.norm_backward(by, from, &kept.rstd2, &shared.aside, false),
        }
    }

    /// `d` from the gradient of h to that of x.
    fn attention_backward(&self, layer: usize, x: &Buffer, kept: &Kept<Buffer>, stop: bool) -> Result<()> {
        let (shared, of, heads) = (&self.room.shared, &self.network.layers[layer], self.shape.heads);
        let dy = self.half_backward(of.after_attention.as_ref(), &kept.attention)?;
        self.linear_backward((layer, O), &kept.out, kept, dy, Some(&shared.dout))?;
        let part = |b| Buffer::part(b, self.element, 0);
        let (qkv, out, dout, dqkv) = (part(&kept.qkv), part(&kept.out), part(&shared.dout), part(&shared.dqkv));
        let (scores, lse, delta) = (self.scores(layer), &kept.lse, &shared.delta);
        self.card.attention_backward(qkv, heads, scores, self.tiles, out, lse, dout, delta, dqkv)?;
        self.turn(layer, &shared.dqkv, true)?;
        for (norm, rows, before) in self.head_norms(layer, &shared.dqkv, kept) {
            let raw = self.rows(&before.raw, norm.groups * norm.width);
            self.card.norm_backward(norm, raw, &before.rstd, self.tokens, rows, rows, false)?;
        }
        let n = self.normed(of.attention_norm.as_ref(), x, &kept.rstd1)?;
        self.linear_backward((layer, QKV), n, kept, &shared.dqkv, (!stop).then_some(&shared.dn))?;
        if stop {
            return Ok(());
        }
        let onto = self.shape.residual != Residual::OfNorm;
        if !onto {
            self.add(&shared.d, &shared.dn)?;
        }
        self.norm_backward(of.attention_norm.as_ref(), x, &kept.rstd1, &shared.d, onto)
    }

    /// The gradient of what a half gives before its norm, out of that after it: the same where there is no norm.
    fn half_backward(&self, after: Option<&Norm>, before: &Before<Buffer>) -> Result<&Buffer> {
        let shared = &self.room.shared;
        let Some(after) = after else { return Ok(&shared.d) };
        let width = self.shape.hidden;
        let [raw, d, half] = [&before.raw, &shared.d, &shared.half].map(|b| self.rows(b, width));
        self.card.norm_backward(self.whole_rows(after), raw, &before.rstd, self.tokens, d, half, false)?;
        Ok(&shared.half)
    }

    /// The gradient of x, out of that of norm(x) in the shared `dn`, to `dx`; added to what is there where `add`.
    fn norm_backward(&self, by: Option<&Norm>, x: &Buffer, rstd: &Buffer, dx: &Buffer, add: bool) -> Result<()> {
        let dn = &self.room.shared.dn;
        match by {
            None if add => self.add(dn, dx),
            None => self.card.copy(dn, dx),
            Some(by) => {
                let [x, dn, dx] = [x, dn, dx].map(|b| self.rows(b, self.shape.hidden));
                self.card.norm_backward(self.whole_rows(by), x, rstd, self.tokens, dn, dx, add)
            }
        }
    }

    /// y `[T, C]` = norm(x)
    pub fn norm(&self, by: &Norm, x: &Buffer, rstd: &Buffer, y: &Buffer) -> Result<()> {
        let [x, y] = [x, y].map(|b| self.rows(b, self.shape.hidden));
        let (bias, eps) = (by.bias.as_ref(), self.shape.eps);
        self.card.norm(self.whole_rows(by), x, bias, eps, self.tokens, y, rstd, None, false)
    }

    pub fn whole_rows<'n>(&self, by: &'n Norm) -> cuda::Norm<'n> {
        cuda::Norm { centre: self.shape.centre, gain: &by.gain, gains: 1, groups: 1, width: self.shape.hidden }
    }

    /// y `[T, C]` += x
    fn add(&self, x: &Buffer, y: &Buffer) -> Result<()> {
        let n = self.tokens * self.shape.hidden;
        self.card.add(x.part(self.element, 0), n, y.part(self.element, 0))
    }

    /// Rows of `width` numbers, end to end.
    pub fn rows<'b>(&self, buffer: &'b Buffer, width: usize) -> Rows<'b> {
        Rows { part: buffer.part(self.element, 0), stride: width }
    }

    /// Numbers of f32.
    pub fn singles(buffer: &Buffer, from: usize) -> cuda::Part<'_> {
        buffer.part(Element::F32, from)
    }
}

//! Causal attention inside documents, with grouped-query heads; forward and backward without a T × T buffer.
//!
//! Queries go in strips; a strip's scores against the keys it can see are all that is ever held. The forward keeps
//! the logarithm of each softmax's sum, so that the backward makes a strip's probabilities again (Dao et al. 2022).

use super::lanes::{dot, map_sum, max};
use super::tanh::{capped, capped_slope};
use super::{Isa, Mat, MatMut, Threads, exp, matmul};
use rayon::prelude::*;
use std::ops::Range;

/// Queries that are worked on at once.
const STRIP: usize = 32;

/// The heads of a row `[q heads | k heads | v heads]`; query head h attends to k/v head h · kv / query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// H, a multiple of `kv`.
    pub query: usize,
    /// K
    pub kv: usize,
    /// D
    pub dim: usize,
}

impl Heads {
    /// Elements of a row: (H + 2K) · D.
    pub fn stride(self) -> usize {
        (self.query + 2 * self.kv) * self.dim
    }

    /// Where the columns of a matrix go that has, for each k/v head, its query heads, itself and its values.
    pub fn by_head(self) -> Vec<Range<usize>> {
        let (dim, group) = (self.dim, self.query / self.kv);
        let head = |column: usize, heads: usize| column * dim..(column + heads) * dim;
        let of_kv = |kv| [head(kv * group, group), head(self.query + kv, 1), head(self.query + self.kv + kv, 1)];
        (0..self.kv).flat_map(of_kv).collect()
    }

    fn kv_of(self, head: usize) -> usize {
        head / (self.query / self.kv)
    }

    fn q<'a>(self, qkv: &'a [f32], rows: Range<usize>, head: usize) -> Mat<'a> {
        self.view(qkv, rows, head)
    }

    fn k<'a>(self, qkv: &'a [f32], rows: Range<usize>, head: usize) -> Mat<'a> {
        self.view(qkv, rows, self.query + self.kv_of(head))
    }

    fn v<'a>(self, qkv: &'a [f32], rows: Range<usize>, head: usize) -> Mat<'a> {
        self.view(qkv, rows, self.query + self.kv + self.kv_of(head))
    }

    fn view<'a>(self, qkv: &'a [f32], rows: Range<usize>, column: usize) -> Mat<'a> {
        Mat::strided(&qkv[rows.start * self.stride() + column * self.dim..], rows.len(), self.dim, self.stride())
    }
}

/// How scores come about: `cap · tanh(scale · q·k / cap)` with a cap, `scale · q·k` without; −∞ outside the window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores<'a> {
    /// What q·k is multiplied by.
    pub scale: f32,
    /// No score is beyond ± this (Gemma 2).
    pub cap: Option<f32>,
    /// A position sees this many, itself the last of them; `None` sees its whole document.
    pub window: Option<usize>,
    /// `[H]` scores of a position without a value that every query also sees (Xiao et al. 2023, as gpt-oss has them).
    pub sinks: Option<&'a [f32]>,
}

impl Scores<'_> {
    /// 1 / √D, uncapped, over the whole document (Vaswani et al. 2017).
    pub fn plain(dim: usize) -> Self {
        Self { scale: 1.0 / (dim as f32).sqrt(), cap: None, window: None, sinks: None }
    }

    /// The first position, from `begin` on, that position `at` sees.
    fn first_seen(self, begin: usize, at: usize) -> usize {
        self.window.map_or(begin, |window| begin.max((at + 1).saturating_sub(window)))
    }
}

/// out `[T, H·D]` and lse `[T, H]` from qkv `[T, (H + 2K)·D]`, document by document (`bounds` = `[0, …, T]`).
pub fn attention(qkv: &[f32], heads: Heads, scores: Scores<'_>, bounds: &[usize], out: &mut [f32], lse: &mut [f32]) {
    let width = heads.query * heads.dim;
    let (mut out, mut lse, mut strips) = (out, lse, Vec::new());
    for (begin, end) in documents(bounds) {
        for start in (begin..end).step_by(STRIP) {
            let stop = (start + STRIP).min(end);
            let (o, l);
            (o, out) = out.split_at_mut((stop - start) * width);
            (l, lse) = lse.split_at_mut((stop - start) * heads.query);
            strips.push((begin, start..stop, o, l));
        }
    }
    strips.into_par_iter().for_each_init(Vec::new, |buffer, (begin, rows, out, lse)| {
        let keys = scores.first_seen(begin, rows.start)..rows.end;
        for head in 0..heads.query {
            let view = View {
                q: heads.q(qkv, rows.clone(), head),
                k: heads.k(qkv, keys.clone(), head),
                v: heads.v(qkv, keys.clone(), head),
                rows: rows.len(),
                keys: keys.len(),
                scores,
            };
            view.forward(heads, head, buffer, out, lse);
        }
    });
}

/// The same for new rows `qkv` `[N, (H + 2K)·D]` that follow a cache: `keys` and `values` `[P + N, K·D]` already hold
/// theirs. Gives out `[N, H·D]`.
pub fn attention_cached(qkv: &[f32], heads: Heads, scores: Scores<'_>, keys: &[f32], values: &[f32], out: &mut [f32]) {
    let (width, rows, stored) = (heads.query * heads.dim, qkv.len() / heads.stride(), heads.kv * heads.dim);
    let past = keys.len() / stored - rows;
    out.par_chunks_mut(width * STRIP).enumerate().for_each_init(Vec::new, |buffer, (n, out)| {
        let rows = n * STRIP..n * STRIP + out.len() / width;
        let first = scores.first_seen(0, past + rows.start);
        let seen = past + rows.end - first;
        let mut lse = vec![0.0; rows.len() * heads.query];
        for head in 0..heads.query {
            let of = first * stored + heads.kv_of(head) * heads.dim;
            let view = View {
                q: heads.q(qkv, rows.clone(), head),
                k: Mat::strided(&keys[of..], seen, heads.dim, stored),
                v: Mat::strided(&values[of..], seen, heads.dim, stored),
                rows: rows.len(),
                keys: seen,
                scores,
            };
            view.forward(heads, head, buffer, out, &mut lse);
        }
    });
}

fn documents(bounds: &[usize]) -> impl Iterator<Item = (usize, usize)> + '_ {
    bounds.windows(2).map(|w| (w[0], w[1]))
}

/// One head of a strip of queries, the last of which sees the last key.
struct View<'a> {
    q: Mat<'a>,
    k: Mat<'a>,
    v: Mat<'a>,
    rows: usize,
    keys: usize,
    scores: Scores<'a>,
}

impl View<'_> {
    /// Keys that row `i` sees.
    fn seen(&self, i: usize) -> Range<usize> {
        let at = self.keys - self.rows + i;
        self.scores.first_seen(0, at)..at + 1
    }

    fn scores(&self, scores: &mut Vec<f32>) {
        scores.resize(self.rows * self.keys, 0.0);
        let out = MatMut::new(scores, self.rows, self.keys);
        matmul(out, false, self.scores.scale, self.q, self.k.t(), Threads::One);
        if let Some(cap) = self.scores.cap {
            Isa::here().run(
                #[inline(always)]
                || {
                    scores.iter_mut().for_each(
                        #[inline(always)]
                        |x| *x = capped(*x, cap),
                    )
                },
            );
        }
    }

    /// From the gradient of a score back to that of q·k.
    #[inline(always)]
    fn slope(&self, score: f32) -> f32 {
        match self.scores.cap {
            Some(cap) => self.scores.scale * capped_slope(score, cap),
            None => self.scores.scale,
        }
    }

    fn forward(&self, heads: Heads, head: usize, scores: &mut Vec<f32>, out: &mut [f32], lse: &mut [f32]) {
        let width = heads.query * heads.dim;
        self.scores(scores);
        let sink = self.scores.sinks.map(|sinks| sinks[head]);
        Isa::here().run(
            #[inline(always)]
            || {
                for (i, row) in scores.chunks_mut(self.keys).enumerate() {
                    let at = self.seen(i);
                    row[..at.start].fill(0.0);
                    let (seen, hidden) = row[at.start..].split_at_mut(at.len());
                    let top = max(seen);
                    let top = sink.map_or(top, |sink| top.max(sink));
                    let sum = map_sum(
                        seen,
                        #[inline(always)]
                        |x| exp(x - top),
                    ) + sink.map_or(0.0, |sink| exp(sink - top));
                    seen.iter_mut().for_each(|x| *x /= sum);
                    hidden.fill(0.0);
                    lse[i * heads.query + head] = top + sum.ln();
                }
            },
        );
        let probabilities = Mat::new(scores, self.rows, self.keys);
        let out = MatMut::strided(&mut out[head * heads.dim..], self.rows, heads.dim, width);
        matmul(out, false, 1.0, probabilities, self.v, Threads::One);
    }
}

/// Buffers of the backward, kept between calls: gradients of q, k and v for every query head, `[H, T, D]` each.
#[derive(Debug, Default)]
pub struct AttentionGrad {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

impl AttentionGrad {
    /// Bytes held for T tokens.
    pub fn bytes(tokens: usize, heads: Heads) -> usize {
        3 * 4 * tokens * heads.query * heads.dim
    }
}

/// dqkv `[T, (H + 2K)·D]` from dout `[T, H·D]` and what the forward saw and gave.
#[allow(clippy::too_many_arguments)] // all of the operation's data
pub fn attention_backward(
    qkv: &[f32],
    heads: Heads,
    scores: Scores<'_>,
    bounds: &[usize],
    out: &[f32],
    lse: &[f32],
    dout: &[f32],
    scratch: &mut AttentionGrad,
    dqkv: &mut [f32],
) {
    let tokens = lse.len() / heads.query;
    for buffer in [&mut scratch.q, &mut scratch.k, &mut scratch.v] {
        buffer.resize(tokens * heads.query * heads.dim, 0.0);
    }
    let saved = Saved { qkv, heads, scores, out, lse, dout };
    tasks(scratch, heads, bounds, tokens).into_par_iter().for_each_init(Default::default, |buffers, task| {
        saved.backward(task, buffers);
    });
    gather(scratch, heads, tokens, dqkv);
}

/// The gradients of one head and document.
struct Task<'a> {
    head: usize,
    begin: usize,
    q: &'a mut [f32],
    k: &'a mut [f32],
    v: &'a mut [f32],
}

fn tasks<'a>(scratch: &'a mut AttentionGrad, heads: Heads, bounds: &[usize], tokens: usize) -> Vec<Task<'a>> {
    let mut tasks = Vec::with_capacity(heads.query * bounds.len());
    let AttentionGrad { q, k, v } = scratch;
    let size = (tokens * heads.dim).max(1);
    let by_head = q.chunks_mut(size).zip(k.chunks_mut(size)).zip(v.chunks_mut(size)).enumerate();
    for (head, ((mut q, mut k), mut v)) in by_head {
        for (begin, end) in documents(bounds) {
            let size = (end - begin) * heads.dim;
            let (dq, dk, dv);
            (dq, q) = q.split_at_mut(size);
            (dk, k) = k.split_at_mut(size);
            (dv, v) = v.split_at_mut(size);
            tasks.push(Task { head, begin, q: dq, k: dk, v: dv });
        }
    }
    tasks
}

/// What the forward saw and gave, and the gradient of what it gave.
struct Saved<'a> {
    qkv: &'a [f32],
    heads: Heads,
    scores: Scores<'a>,
    out: &'a [f32],
    lse: &'a [f32],
    dout: &'a [f32],
}

impl Saved<'_> {
    fn backward(&self, task: Task<'_>, (p, dp): &mut (Vec<f32>, Vec<f32>)) {
        let (heads, dim, head) = (self.heads, self.heads.dim, task.head);
        let (width, length) = (heads.query * dim, task.q.len() / dim);
        task.k.fill(0.0);
        task.v.fill(0.0);
        for first in (0..length).step_by(STRIP) {
            let rows = task.begin + first..task.begin + (first + STRIP).min(length);
            let keys = self.scores.first_seen(task.begin, rows.start)..rows.end;
            let (n, seen) = (rows.len(), keys.len());
            let known = (keys.start - task.begin) * dim..(keys.end - task.begin) * dim;
            let view = View {
                q: heads.q(self.qkv, rows.clone(), head),
                k: heads.k(self.qkv, keys.clone(), head),
                v: heads.v(self.qkv, keys, head),
                rows: n,
                keys: seen,
                scores: self.scores,
            };
            let dout = Mat::strided(&self.dout[rows.start * width + head * dim..], n, dim, width);
            view.scores(p);
            dp.resize(n * seen, 0.0);
            matmul(MatMut::new(dp, n, seen), false, 1.0, dout, view.v.t(), Threads::One);
            Isa::here().run(
                #[inline(always)]
                || self.probabilities_and_scores(&view, rows.start, head, p, dp),
            );
            let (p, ds) = (Mat::new(p, n, seen), Mat::new(dp, n, seen));
            let rows = |g, n| MatMut::new(g, n, dim);
            matmul(rows(&mut task.v[known.clone()], seen), true, 1.0, p.t(), dout, Threads::One);
            matmul(rows(&mut task.k[known], seen), true, 1.0, ds.t(), view.q, Threads::One);
            matmul(rows(&mut task.q[first * dim..][..n * dim], n), false, 1.0, ds, view.k, Threads::One);
        }
    }

    /// Turns scores into probabilities, and their gradient into the scores' gradient: p · (dp − Σ dout·out) · slope.
    #[inline(always)]
    fn probabilities_and_scores(&self, view: &View<'_>, start: usize, head: usize, p: &mut [f32], dp: &mut [f32]) {
        let (heads, dim) = (self.heads, self.heads.dim);
        let at = |row: usize| (row * heads.query + head) * dim;
        for (i, (p, dp)) in p.chunks_mut(view.keys).zip(dp.chunks_mut(view.keys)).enumerate() {
            let (row, seen) = (start + i, view.seen(i));
            let lse = self.lse[row * heads.query + head];
            let pull = dot(&self.dout[at(row)..][..dim], &self.out[at(row)..][..dim]);
            for (p, dp) in p[seen.clone()].iter_mut().zip(&mut dp[seen.clone()]) {
                let slope = view.slope(*p);
                *p = exp(*p - lse);
                *dp = *p * (*dp - pull) * slope;
            }
            for row in [p, dp] {
                row[..seen.start].fill(0.0);
                row[seen.end..].fill(0.0);
            }
        }
    }
}

/// Head by head → row by row; the query heads of a group add up in their k/v head, first to last.
fn gather(scratch: &AttentionGrad, heads: Heads, tokens: usize, dqkv: &mut [f32]) {
    let (dim, group) = (heads.dim, heads.query / heads.kv);
    let at = |head: usize, row: usize| (head * tokens + row) * dim..(head * tokens + row + 1) * dim;
    let isa = Isa::here();
    dqkv.par_chunks_mut(heads.stride()).enumerate().for_each(|(row, out)| {
        let (q, kv) = out.split_at_mut(heads.query * dim);
        let (k, v) = kv.split_at_mut(heads.kv * dim);
        for (head, q) in q.chunks_mut(dim).enumerate() {
            q.copy_from_slice(&scratch.q[at(head, row)]);
        }
        for (out, from) in [(k, &scratch.k), (v, &scratch.v)] {
            for (kv, out) in out.chunks_mut(dim).enumerate() {
                out.copy_from_slice(&from[at(kv * group, row)]);
                for head in kv * group + 1..(kv + 1) * group {
                    let from = &from[at(head, row)];
                    isa.run(
                        #[inline(always)]
                        || out.iter_mut().zip(from).for_each(|(x, y)| *x += y),
                    );
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::isa::on_each;
    use super::super::reference::{self, check_gradient, close_all, numbers, weigh, wide};
    use super::*;

    const SHAPES: [(Heads, &[usize]); 4] = [
        (Heads { query: 1, kv: 1, dim: 1 }, &[0, 1]),
        (Heads { query: 4, kv: 2, dim: 6 }, &[0, 3, 4, 40]),
        (Heads { query: 3, kv: 1, dim: 5 }, &[0, 33]),
        (Heads { query: 2, kv: 2, dim: 8 }, &[0, 32, 97]),
    ];

    /// Every shape with plain scores, with a window, with a cap, with both, and with sinks.
    fn cases() -> impl Iterator<Item = (Heads, &'static [usize], Scores<'static>)> {
        SHAPES.into_iter().flat_map(|(heads, bounds)| {
            let plain = Scores::plain(heads.dim);
            let windows = [1, 5, 40].map(|n| Scores { window: Some(n), ..plain });
            let capped = Scores { scale: 0.7, cap: Some(1.5), ..plain };
            let sunk = Scores { sinks: Some(&[0.5, -1.0, 3.0, 0.0]), window: Some(9), ..plain };
            let all = [plain, capped, Scores { window: Some(7), ..capped }, sunk];
            all.into_iter().chain(windows).map(move |scores| (heads, bounds, scores))
        })
    }

    fn forward(qkv: &[f32], heads: Heads, scores: Scores<'_>, bounds: &[usize]) -> (Vec<f32>, Vec<f32>) {
        let tokens = bounds[bounds.len() - 1];
        let (mut out, mut lse) = (vec![0.0; tokens * heads.query * heads.dim], vec![0.0; tokens * heads.query]);
        attention(qkv, heads, scores, bounds, &mut out, &mut lse);
        (out, lse)
    }

    #[test]
    fn forward_equals_the_truth() {
        on_each(|_| {
            for (heads, bounds, scores) in cases() {
                let qkv = numbers(bounds[bounds.len() - 1] * heads.stride(), 1);
                let truth = reference::attention(&wide(&qkv), heads, scores, bounds);
                close_all(&forward(&qkv, heads, scores, bounds).0, &truth, 1e-5);
            }
        });
    }

    #[test]
    fn backward_equals_finite_differences() {
        on_each(|_| {
            for (heads, bounds, scores) in cases() {
                let tokens = bounds[bounds.len() - 1];
                let (qkv, seed) = (numbers(tokens * heads.stride(), 2), numbers(tokens * heads.query * heads.dim, 3));
                let (out, lse) = forward(&qkv, heads, scores, bounds);
                let mut dqkv = vec![f32::NAN; qkv.len()];
                let mut scratch = AttentionGrad::default();
                attention_backward(&qkv, heads, scores, bounds, &out, &lse, &seed, &mut scratch, &mut dqkv);
                check_gradient(&qkv, &dqkv, 2e-5, |x| weigh(&reference::attention(x, heads, scores, bounds), &seed));
            }
        });
    }

    #[test]
    fn a_cache_gives_what_the_whole_gives() {
        on_each(|_| {
            let (heads, tokens, past) = (Heads { query: 4, kv: 2, dim: 6 }, 50, 11);
            let qkv = numbers(tokens * heads.stride(), 4);
            let (q, kv) = (heads.query * heads.dim, heads.kv * heads.dim);
            let column = |from: usize| -> Vec<f32> {
                qkv.chunks(heads.stride()).flat_map(|row| row[from..from + kv].to_vec()).collect()
            };
            let sinks = [0.5, -1.0, 3.0, 0.0];
            for (window, sinks) in [(None, None), (Some(4), Some(&sinks[..])), (Some(30), None)] {
                let scores = Scores { window, sinks, ..Scores::plain(heads.dim) };
                let (out, _) = forward(&qkv, heads, scores, &[0, tokens]);
                let mut late = vec![0.0; (tokens - past) * q];
                attention_cached(&qkv[past * heads.stride()..], heads, scores, &column(q), &column(q + kv), &mut late);
                close_all(&late, &wide(&out[past * q..]), 1e-6);
            }
        });
    }
}

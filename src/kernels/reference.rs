//! The plain truth of every operation: f64, one loop a sum, nothing clever; and how tests compare with it.

use super::{Activation, AdamW, Among, Curve, Heads, Pairs, Scores};

/// `n` numbers in [-1, 1), the same for a seed (splitmix64).
pub fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// The same numbers in f64.
pub fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().copied().map(f64::from).collect()
}

/// Within `tolerance`, relative where the truth is above 1.
#[track_caller]
pub fn close(got: f32, truth: f64, tolerance: f64) {
    let error = (f64::from(got) - truth).abs();
    assert!(error <= tolerance * truth.abs().max(1.0), "{got} is not {truth}");
}

/// Each within `tolerance`.
#[track_caller]
pub fn close_all(got: &[f32], truth: &[f64], tolerance: f64) {
    assert_eq!(got.len(), truth.len());
    got.iter().zip(truth).for_each(|(x, y)| close(*x, *y, tolerance));
}

/// Σ y · weights: makes one number of an output, so that its gradient is the weights.
pub fn weigh(y: &[f64], weights: &[f32]) -> f64 {
    y.iter().zip(weights).map(|(y, w)| y * f64::from(*w)).sum()
}

/// Holds `dx` against central differences of `f` at `x`: all of a small x, every so many elements of a large one.
#[track_caller]
pub fn check_gradient(x: &[f32], dx: &[f32], tolerance: f64, f: impl Fn(&[f64]) -> f64) {
    const H: f64 = 1e-5;
    let mut at = wide(x);
    for i in (0..x.len()).step_by(x.len().div_ceil(200).max(1)) {
        let middle = at[i];
        at[i] = middle + H;
        let up = f(&at);
        at[i] = middle - H;
        let down = f(&at);
        at[i] = middle;
        close(dx[i], (up - down) / (2.0 * H), tolerance);
    }
}

/// a [m, k] · b [n, k]ᵀ
pub fn matmul_t(a: &[f32], b: &[f32], m: usize, n: usize, k: usize) -> Vec<f64> {
    let element = |i: usize, j: usize| (0..k).map(|l| f64::from(a[i * k + l]) * f64::from(b[j * k + l])).sum();
    (0..m * n).map(|at| element(at / n, at % n)).collect()
}

pub fn layer_norm(x: &[f64], gain: &[f32], eps: f64) -> Vec<f64> {
    let row = |row: &[f64]| {
        let mean = row.iter().sum::<f64>() / row.len() as f64;
        row.iter().map(|x| x - mean).collect::<Vec<_>>()
    };
    rms_norm(&x.chunks(gain.len()).flat_map(row).collect::<Vec<_>>(), gain, eps)
}

pub fn rms_norm(x: &[f64], gain: &[f32], eps: f64) -> Vec<f64> {
    let row = |row: &[f64]| {
        let mean = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
        row.iter().zip(gain).map(|(x, g)| x / (mean + eps).sqrt() * f64::from(*g)).collect::<Vec<_>>()
    };
    x.chunks(gain.len()).flat_map(row).collect()
}

/// The complementary error function for z ≥ 0: its series near 0, its continued fraction far out.
fn erfc(z: f64) -> f64 {
    if z < 2.5 {
        let (mut term, mut sum) = (z, z);
        for n in 1..80 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return 1.0 - 2.0 / std::f64::consts::PI.sqrt() * sum;
    }
    let fraction = (1..200).rev().fold(0.0, |f, k| f64::from(k) / 2.0 / (z + f));
    (-z * z).exp() / std::f64::consts::PI.sqrt() / (z + fraction)
}

pub fn curve(curve: Curve, x: f64) -> f64 {
    match curve {
        Curve::Silu => x / (1.0 + (-x).exp()),
        Curve::Gelu => {
            let tail = erfc(x.abs() / 2f64.sqrt()) / 2.0;
            x * if x < 0.0 { tail } else { 1.0 - tail }
        }
        Curve::GeluTanh => 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh()),
    }
}

pub fn activation(activation: Activation, x: &[f64], width: usize) -> Vec<f64> {
    let row = |row: &[f64]| -> Vec<f64> {
        let both = |f: &dyn Fn(f64, f64) -> f64| (0..width).map(|i| f(row[i], row[width + i])).collect();
        match activation {
            Activation::Gated(c) => both(&|g, u| curve(c, g) * u),
            Activation::Plain(c) => row.iter().map(|u| curve(c, *u)).collect(),
            Activation::Clamped { limit, slope } => both(&|g, u| {
                let (limit, slope) = (f64::from(limit), f64::from(slope));
                let g = g.min(limit);
                (1.0 + u.clamp(-limit, limit)) * g / (1.0 + (-slope * g).exp())
            }),
        }
    };
    x.chunks(activation.columns(width)).flat_map(row).collect()
}

/// The first `rotated` dimensions of each head turn; `pairs` says which go together.
pub fn rope(x: &[f64], stride: usize, heads: usize, pairs: Pairs, positions: &[usize], theta: f64) -> Vec<f64> {
    let (dim, half) = (pairs.dim, pairs.rotated / 2);
    let mut y = x.to_vec();
    for (row, position) in positions.iter().enumerate() {
        for head in 0..heads {
            for i in 0..half {
                let angle = *position as f64 * theta.powf(-(i as f64) / half as f64);
                let (left, right) = if pairs.neighbours { (2 * i, 2 * i + 1) } else { (i, i + half) };
                let (a, b) = (row * stride + head * dim + left, row * stride + head * dim + right);
                y[a] = x[a] * angle.cos() - x[b] * angle.sin();
                y[b] = x[b] * angle.cos() + x[a] * angle.sin();
            }
        }
    }
    y
}

pub fn attention(qkv: &[f64], heads: Heads, scores: Scores<'_>, bounds: &[usize]) -> Vec<f64> {
    let (dim, stride) = (heads.dim, heads.stride());
    let tokens = bounds[bounds.len() - 1];
    let mut out = vec![0.0; tokens * heads.query * dim];
    for document in bounds.windows(2) {
        for t in document[0]..document[1] {
            for head in 0..heads.query {
                let kv = head / (heads.query / heads.kv);
                let at = |row: usize, column: usize| &qkv[row * stride + column * dim..][..dim];
                let score = |s: usize| {
                    let pairs = at(t, head).iter().zip(at(s, heads.query + kv));
                    let z = pairs.map(|(a, b)| a * b).sum::<f64>() * f64::from(scores.scale);
                    scores.cap.map_or(z, |cap| f64::from(cap) * (z / f64::from(cap)).tanh()).exp()
                };
                let first = scores.window.map_or(document[0], |n| document[0].max((t + 1).saturating_sub(n)));
                let sink = scores.sinks.map_or(0.0, |sinks| f64::from(sinks[head]).exp());
                let sum: f64 = sink + (first..=t).map(score).sum::<f64>();
                for s in first..=t {
                    let p = score(s) / sum;
                    for (i, v) in at(s, heads.query + heads.kv + kv).iter().enumerate() {
                        out[(t * heads.query + head) * dim + i] += p * v;
                    }
                }
            }
        }
    }
    out
}

pub fn route(logits: &[f64], experts: usize, picks: usize, among: Among) -> (Vec<usize>, Vec<f64>) {
    let (mut ids, mut weights) = (Vec::new(), Vec::new());
    for row in logits.chunks(experts) {
        let mut order: Vec<usize> = (0..experts).collect();
        order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        let counted = if among == Among::All { experts } else { picks };
        let sum: f64 = order[..counted].iter().map(|e| row[*e].exp()).sum();
        weights.extend(order[..picks].iter().map(|e| row[*e].exp() / sum));
        ids.extend(&order[..picks]);
    }
    (ids, weights)
}

pub fn cross_entropy(x: &[f64], head: &[f32], vocab: usize, cap: Option<f32>, targets: &[u32]) -> f64 {
    let width = head.len() / vocab;
    let row_loss = |(x, target): (&[f64], &u32)| {
        let plain = |v: usize| (0..width).map(|i| x[i] * f64::from(head[v * width + i])).sum::<f64>();
        let logit = |v: usize| cap.map_or(plain(v), |cap| f64::from(cap) * (plain(v) / f64::from(cap)).tanh());
        (0..vocab).map(|v| logit(v).exp()).sum::<f64>().ln() - logit(*target as usize)
    };
    x.chunks(width).zip(targets).map(row_loss).sum()
}

pub fn adamw(a: &AdamW, step: u64, w: &mut [f64], g: &[f32], scale: f64, m: &mut [f64], v: &mut [f64]) {
    for i in 0..w.len() {
        let g = f64::from(g[i]) * scale;
        m[i] = a.beta1 * m[i] + (1.0 - a.beta1) * g;
        v[i] = a.beta2 * v[i] + (1.0 - a.beta2) * g * g;
        let (mean, square) = (m[i] / (1.0 - a.beta1.powf(step as f64)), v[i] / (1.0 - a.beta2.powf(step as f64)));
        w[i] -= a.rate * (a.decay * w[i] + mean / (square.sqrt() + a.eps));
    }
}

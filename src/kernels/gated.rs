//! Gated activations (Shazeer 2020): a = act(g) · u, over rows that hold [g | u]; forward and backward.

use super::{ROWS, exp, tanh};
use rayon::prelude::*;

/// What the gate goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// g / (1 + e^-g): SwiGLU.
    Silu,
    /// g / 2 · (1 + tanh(√(2/π) · (g + 0.044715 g³))): GeGLU in the approximation of Hendrycks and Gimpel 2016.
    GeluTanh,
}

/// a `[T, F]` from gu `[T, 2F]`.
pub fn gated(gate: Gate, gu: &[f32], width: usize, a: &mut [f32]) {
    match gate {
        Gate::Silu => forward(gu, width, a, |g| g * sigmoid(g)),
        Gate::GeluTanh => forward(gu, width, a, |g| 0.5 * g * (1.0 + tanh(inner(g)))),
    }
}

/// dgu `[T, 2F]` from gu `[T, 2F]` and da `[T, F]`.
pub fn gated_backward(gate: Gate, gu: &[f32], width: usize, da: &[f32], dgu: &mut [f32]) {
    match gate {
        Gate::Silu => backward(gu, width, da, dgu, silu_and_slope),
        Gate::GeluTanh => backward(gu, width, da, dgu, gelu_and_slope),
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn silu_and_slope(g: f32) -> (f32, f32) {
    let s = sigmoid(g);
    let silu = g * s;
    (silu, s + silu * (1.0 - s))
}

/// √(2/π)
const ROOT: f32 = 0.797_884_6;
const CUBE: f32 = 0.044_715;

#[inline(always)]
fn inner(g: f32) -> f32 {
    ROOT * (g + CUBE * g * g * g)
}

#[inline(always)]
fn gelu_and_slope(g: f32) -> (f32, f32) {
    let t = tanh(inner(g));
    let slope = ROOT * (1.0 + 3.0 * CUBE * g * g);
    (0.5 * g * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * g * (1.0 - t * t) * slope)
}

#[inline(always)]
fn forward(gu: &[f32], width: usize, a: &mut [f32], act: impl Fn(f32) -> f32 + Sync) {
    a.par_chunks_mut(width * ROWS).zip(gu.par_chunks(2 * width * ROWS)).for_each(|(a, gu)| {
        for (a, gu) in a.chunks_mut(width).zip(gu.chunks(2 * width)) {
            let (g, u) = gu.split_at(width);
            for ((a, g), u) in a.iter_mut().zip(g).zip(u) {
                *a = act(*g) * u;
            }
        }
    });
}

#[inline(always)]
fn backward(gu: &[f32], width: usize, da: &[f32], dgu: &mut [f32], act: impl Fn(f32) -> (f32, f32) + Sync) {
    let parts = (gu.par_chunks(2 * width * ROWS), da.par_chunks(width * ROWS));
    dgu.par_chunks_mut(2 * width * ROWS).zip(parts).for_each(|(dgu, (gu, da))| {
        for ((dgu, gu), da) in dgu.chunks_mut(2 * width).zip(gu.chunks(2 * width)).zip(da.chunks(width)) {
            let ((dg, du), (g, u)) = (dgu.split_at_mut(width), gu.split_at(width));
            for i in 0..width {
                let (value, slope) = act(g[i]);
                du[i] = da[i] * value;
                dg[i] = da[i] * u[i] * slope;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::reference::{self, check_gradient, close_all, numbers, wide};
    use super::*;

    #[test]
    fn equals_the_truth_and_finite_differences() {
        for gate in [Gate::Silu, Gate::GeluTanh] {
            for (rows, width) in [(1, 1), (5, 7), (37, 20)] {
                let (mut gu, seed) = (numbers(rows * 2 * width, 1), numbers(rows * width, 2));
                gu.iter_mut().for_each(|x| *x *= 3.0);
                let (mut a, mut dgu) = (vec![0.0; rows * width], vec![0.0; rows * 2 * width]);
                gated(gate, &gu, width, &mut a);
                close_all(&a, &reference::gated(gate, &wide(&gu), width), 1e-5);
                gated_backward(gate, &gu, width, &seed, &mut dgu);
                check_gradient(&gu, &dgu, 2e-5, |gu| reference::weigh(&reference::gated(gate, gu, width), &seed));
            }
        }
    }
}

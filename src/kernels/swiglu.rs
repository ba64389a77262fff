//! SwiGLU (Shazeer 2020): a = silu(g) · u with silu(g) = g / (1 + e^-g), over rows that hold [g | u].

use super::{ROWS, exp};
use rayon::prelude::*;

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// a `[T, F]` from gu `[T, 2F]`.
pub fn swiglu(gu: &[f32], width: usize, a: &mut [f32]) {
    a.par_chunks_mut(width * ROWS).zip(gu.par_chunks(2 * width * ROWS)).for_each(|(a, gu)| {
        for (a, gu) in a.chunks_mut(width).zip(gu.chunks(2 * width)) {
            let (g, u) = gu.split_at(width);
            for ((a, g), u) in a.iter_mut().zip(g).zip(u) {
                *a = g * sigmoid(*g) * u;
            }
        }
    });
}

/// dgu `[T, 2F]` from gu `[T, 2F]` and da `[T, F]`.
pub fn swiglu_backward(gu: &[f32], width: usize, da: &[f32], dgu: &mut [f32]) {
    let parts = (gu.par_chunks(2 * width * ROWS), da.par_chunks(width * ROWS));
    dgu.par_chunks_mut(2 * width * ROWS).zip(parts).for_each(|(dgu, (gu, da))| {
        for ((dgu, gu), da) in dgu.chunks_mut(2 * width).zip(gu.chunks(2 * width)).zip(da.chunks(width)) {
            let ((dg, du), (g, u)) = (dgu.split_at_mut(width), gu.split_at(width));
            for i in 0..width {
                let s = sigmoid(g[i]);
                let silu = g[i] * s;
                du[i] = da[i] * silu;
                dg[i] = da[i] * u[i] * (s + silu * (1.0 - s));
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
        for (rows, width) in [(1, 1), (5, 7), (37, 20)] {
            let (gu, seed) = (numbers(rows * 2 * width, 1), numbers(rows * width, 2));
            let (mut a, mut dgu) = (vec![0.0; rows * width], vec![0.0; rows * 2 * width]);
            swiglu(&gu, width, &mut a);
            close_all(&a, &reference::swiglu(&wide(&gu), width), 1e-5);
            swiglu_backward(&gu, width, &seed, &mut dgu);
            check_gradient(&gu, &dgu, 2e-5, |gu| reference::weigh(&reference::swiglu(gu, width), &seed));
        }
    }
}

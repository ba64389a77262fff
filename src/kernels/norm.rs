//! RMSNorm (Zhang and Sennrich 2019): y = x · rstd · gain with rstd = 1 / sqrt(mean(x²) + eps), row by row.
//!
//! The gain is frozen, so the backward gives the gradient of x alone.

use super::ROWS;
use super::lanes::{dot, sum2};
use rayon::prelude::*;

/// y `[T, C]` and rstd `[T]` from x `[T, C]` and gain `[C]`.
pub fn rms_norm(x: &[f32], gain: &[f32], eps: f32, y: &mut [f32], rstd: &mut [f32]) {
    let width = gain.len();
    let parts = (x.par_chunks(width * ROWS), rstd.par_chunks_mut(ROWS));
    y.par_chunks_mut(width * ROWS).zip(parts).for_each(|(y, (x, rstd))| {
        for ((y, x), r) in y.chunks_mut(width).zip(x.chunks(width)).zip(rstd) {
            *r = 1.0 / (dot(x, x) / width as f32 + eps).sqrt();
            row(x, gain, *r, y);
        }
    });
}

/// y again, from the rstd that was kept.
pub fn rms_norm_with(x: &[f32], gain: &[f32], rstd: &[f32], y: &mut [f32]) {
    let width = gain.len();
    let parts = (x.par_chunks(width * ROWS), rstd.par_chunks(ROWS));
    y.par_chunks_mut(width * ROWS).zip(parts).for_each(|(y, (x, rstd))| {
        for ((y, x), r) in y.chunks_mut(width).zip(x.chunks(width)).zip(rstd) {
            row(x, gain, *r, y);
        }
    });
}

fn row(x: &[f32], gain: &[f32], rstd: f32, y: &mut [f32]) {
    for ((y, x), g) in y.iter_mut().zip(x).zip(gain) {
        *y = x * rstd * g;
    }
}

/// Adds the gradient of x to `dx` [T, C]: rstd · (dy·gain − x · rstd² · mean(dy·gain·x)).
pub fn rms_norm_backward(x: &[f32], gain: &[f32], rstd: &[f32], dy: &mut [f32], dx: &mut [f32]) {
    let width = gain.len();
    let parts = (x.par_chunks(width * ROWS), rstd.par_chunks(ROWS), dy.par_chunks_mut(width * ROWS));
    dx.par_chunks_mut(width * ROWS).zip(parts.into_par_iter()).for_each(|(dx, (x, rstd, dy))| {
        let rows = dx.chunks_mut(width).zip(x.chunks(width)).zip(dy.chunks_mut(width)).zip(rstd);
        for (((dx, x), dy), r) in rows {
            dy.iter_mut().zip(gain).for_each(|(d, g)| *d *= g);
            let mean = sum2(dy, x, |d, x| d * x) / width as f32;
            let pull = mean * r * r;
            for ((dx, x), d) in dx.iter_mut().zip(x).zip(&*dy) {
                *dx += r * (d - x * pull);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::reference::{self, check_gradient, close_all, numbers};
    use super::*;

    #[test]
    fn forward_equals_the_truth_and_candle() {
        for (rows, width) in [(1, 1), (3, 7), (33, 65), (40, 576)] {
            let (x, gain) = (numbers(rows * width, 1), numbers(width, 2));
            let (mut y, mut rstd, mut again) = (vec![0.0; rows * width], vec![0.0; rows], vec![0.0; rows * width]);
            rms_norm(&x, &gain, 1e-5, &mut y, &mut rstd);
            rms_norm_with(&x, &gain, &rstd, &mut again);
            assert_eq!(y, again);
            close_all(&y, &reference::rms_norm(&reference::wide(&x), &gain, 1e-5), 1e-5);
            let tensor = |v: &[f32], shape: &[usize]| {
                candle_core::Tensor::from_slice(v, shape, &candle_core::Device::Cpu).unwrap()
            };
            let theirs = candle_nn::ops::rms_norm(&tensor(&x, &[rows, width]), &tensor(&gain, &[width]), 1e-5).unwrap();
            let theirs = theirs.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            close_all(&y, &reference::wide(&theirs), 1e-5);
        }
    }

    #[test]
    fn backward_equals_finite_differences_and_adds() {
        let (rows, width) = (3, 19);
        let (x, gain, seed) = (numbers(rows * width, 3), numbers(width, 4), numbers(rows * width, 5));
        let (mut y, mut rstd) = (vec![0.0; rows * width], vec![0.0; rows]);
        rms_norm(&x, &gain, 1e-5, &mut y, &mut rstd);
        let mut dx = vec![1.0; rows * width];
        rms_norm_backward(&x, &gain, &rstd, &mut seed.clone(), &mut dx);
        dx.iter_mut().for_each(|d| *d -= 1.0);
        check_gradient(&x, &dx, 2e-5, |x| reference::weigh(&reference::rms_norm(x, &gain, 1e-5), &seed));
    }
}

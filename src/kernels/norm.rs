//! Normalisation row by row: y = (x − c) · rstd · gain with rstd = 1 / sqrt(mean((x − c)²) + eps).
//!
//! c is 0 in RMSNorm (Zhang and Sennrich 2019) and the row's mean in LayerNorm (Ba et al. 2016). The gain is frozen,
//! so the backward gives the gradient of x alone.

use super::lanes::{dot, sum2};
use super::{Isa, ROWS};
use rayon::prelude::*;

/// What a row is measured from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Centre {
    /// Zero: RMSNorm.
    Zero,
    /// Its mean: LayerNorm.
    Mean,
}

impl Centre {
    #[inline(always)]
    fn of(self, x: &[f32]) -> f32 {
        match self {
            Self::Zero => 0.0,
            Self::Mean => sum2(x, x, |x, _| x) / x.len() as f32,
        }
    }

    #[inline(always)]
    fn rstd(self, x: &[f32], eps: f32) -> f32 {
        let square = match self {
            Self::Zero => dot(x, x),
            Self::Mean => {
                let c = self.of(x);
                sum2(x, x, |x, _| (x - c) * (x - c))
            }
        };
        1.0 / (square / x.len() as f32 + eps).sqrt()
    }

    #[inline(always)]
    fn row(self, x: &[f32], gain: &[f32], rstd: f32, y: &mut [f32]) {
        let c = self.of(x);
        for ((y, x), g) in y.iter_mut().zip(x).zip(gain) {
            *y = (x - c) * rstd * g;
        }
    }
}

/// y `[T, C]` and rstd `[T]` from x `[T, C]` and gain `[C]`.
pub fn norm(centre: Centre, x: &[f32], gain: &[f32], eps: f32, y: &mut [f32], rstd: &mut [f32]) {
    let (width, isa) = (gain.len(), Isa::here());
    let parts = (x.par_chunks(width * ROWS), rstd.par_chunks_mut(ROWS));
    y.par_chunks_mut(width * ROWS).zip(parts).for_each(|(y, (x, rstd))| {
        isa.run(
            #[inline(always)]
            || {
                for ((y, x), r) in y.chunks_mut(width).zip(x.chunks(width)).zip(rstd) {
                    *r = centre.rstd(x, eps);
                    centre.row(x, gain, *r, y);
                }
            },
        );
    });
}

/// y again, from the rstd that was kept.
pub fn norm_with(centre: Centre, x: &[f32], gain: &[f32], rstd: &[f32], y: &mut [f32]) {
    let (width, isa) = (gain.len(), Isa::here());
    let parts = (x.par_chunks(width * ROWS), rstd.par_chunks(ROWS));
    y.par_chunks_mut(width * ROWS).zip(parts).for_each(|(y, (x, rstd))| {
        isa.run(
            #[inline(always)]
            || {
                for ((y, x), r) in y.chunks_mut(width).zip(x.chunks(width)).zip(rstd) {
                    centre.row(x, gain, *r, y);
                }
            },
        );
    });
}

/// Adds the gradient of x to `dx` [T, C]: rstd · (d − mean(d) − (x − c) · rstd² · mean(d·(x − c))) with d = dy·gain,
/// the first mean only where rows are measured from theirs. `dy` is left as d.
pub fn norm_backward(centre: Centre, x: &[f32], gain: &[f32], rstd: &[f32], dy: &mut [f32], dx: &mut [f32]) {
    let (width, isa) = (gain.len(), Isa::here());
    let parts = (x.par_chunks(width * ROWS), rstd.par_chunks(ROWS), dy.par_chunks_mut(width * ROWS));
    dx.par_chunks_mut(width * ROWS).zip(parts.into_par_iter()).for_each(|(dx, (x, rstd, dy))| {
        let rows = dx.chunks_mut(width).zip(x.chunks(width)).zip(dy.chunks_mut(width)).zip(rstd);
        isa.run(
            #[inline(always)]
            || {
                for (((dx, x), dy), r) in rows {
                    dy.iter_mut().zip(gain).for_each(|(d, g)| *d *= g);
                    let (c, mean) = (centre.of(x), centre.of(dy));
                    let pull = sum2(dy, x, |d, x| d * (x - c)) / width as f32 * r * r;
                    for ((dx, x), d) in dx.iter_mut().zip(x).zip(&*dy) {
                        *dx += r * (d - mean - (x - c) * pull);
                    }
                }
            },
        );
    });
}

/// The norm of neighbouring groups of columns: heads, or a whole width as the only group.
#[derive(Debug, Clone, Copy)]
pub struct HeadNorm<'a> {
    /// What a group is measured from.
    pub centre: Centre,
    /// `[width]` for every group, or `[groups, width]`.
    pub gain: &'a [f32],
    /// So many groups.
    pub groups: usize,
    /// Of so many numbers.
    pub width: usize,
}

impl<'a> HeadNorm<'a> {
    /// Centre and gain of each group of both, from the first column on.
    fn each(norms: [Self; 2]) -> impl Iterator<Item = (Centre, &'a [f32])> {
        norms.into_iter().flat_map(|n| n.gain.chunks(n.width).cycle().take(n.groups).map(move |gain| (n.centre, gain)))
    }

    fn groups(norms: [Self; 2]) -> usize {
        norms[0].groups + norms[1].groups
    }

    fn width(norms: [Self; 2]) -> usize {
        norms.map(|n| n.groups * n.width).iter().sum()
    }
}

/// Normalises the first columns of every row (of `stride` elements) in place: the groups of both norms side by side.
///
/// `raw` [T, their width] keeps what stood there, `rstd` [T, groups] each group's.
pub fn head_norm(
    rows: &mut [f32],
    stride: usize,
    norms: [HeadNorm<'_>; 2],
    eps: f32,
    raw: &mut [f32],
    rstd: &mut [f32],
) {
    let (width, groups, isa) = (HeadNorm::width(norms), HeadNorm::groups(norms), Isa::here());
    let kept = raw.par_chunks_mut(width).zip(rstd.par_chunks_mut(groups));
    rows.par_chunks_mut(stride).zip(kept).for_each(|(row, (raw, rstd))| {
        raw.copy_from_slice(&row[..width]);
        isa.run(
            #[inline(always)]
            || {
                let mut at = 0;
                for ((centre, gain), r) in HeadNorm::each(norms).zip(rstd) {
                    let group = at..at + gain.len();
                    *r = centre.rstd(&raw[group.clone()], eps);
                    centre.row(&raw[group.clone()], gain, *r, &mut row[group]);
                    at += gain.len();
                }
            },
        );
    });
}

/// The gradients of what stood in the rows, in place of those of what stands there now.
pub fn head_norm_backward(d: &mut [f32], stride: usize, norms: [HeadNorm<'_>; 2], raw: &[f32], rstd: &[f32]) {
    let (width, groups, isa) = (HeadNorm::width(norms), HeadNorm::groups(norms), Isa::here());
    let kept = raw.par_chunks(width).zip(rstd.par_chunks(groups));
    d.par_chunks_mut(stride).zip(kept).for_each(|(d, (raw, rstd))| {
        isa.run(
            #[inline(always)]
            || {
                let mut at = 0;
                for ((centre, gain), r) in HeadNorm::each(norms).zip(rstd) {
                    let (d, x) = (&mut d[at..at + gain.len()], &raw[at..at + gain.len()]);
                    d.iter_mut().zip(gain).for_each(|(d, g)| *d *= g);
                    let (c, mean) = (centre.of(x), centre.of(d));
                    let pull = sum2(d, x, |d, x| d * (x - c)) / gain.len() as f32 * r * r;
                    d.iter_mut().zip(x).for_each(|(d, x)| *d = r * (*d - mean - (x - c) * pull));
                    at += gain.len();
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::super::isa::on_each;
    use super::super::reference::{self, check_gradient, close_all, numbers, weigh, wide};
    use super::*;

    fn truth(centre: Centre, x: &[f64], gain: &[f32]) -> Vec<f64> {
        match centre {
            Centre::Zero => reference::rms_norm(x, gain, 1e-5),
            Centre::Mean => reference::layer_norm(x, gain, 1e-5),
        }
    }

    #[test]
    fn forward_equals_the_truth_and_candle() {
        on_each(|_| {
            for (rows, width) in [(1, 1), (3, 7), (33, 65), (40, 576)] {
                let (x, gain) = (numbers(rows * width, 1), numbers(width, 2));
                let (mut y, mut rstd, mut again) = (vec![0.0; rows * width], vec![0.0; rows], vec![0.0; rows * width]);
                for centre in [Centre::Mean, Centre::Zero] {
                    norm(centre, &x, &gain, 1e-5, &mut y, &mut rstd);
                    norm_with(centre, &x, &gain, &rstd, &mut again);
                    assert_eq!(y, again);
                    close_all(&y, &truth(centre, &wide(&x), &gain), 1e-5);
                }
                let tensor = |v: &[f32], shape: &[usize]| {
                    candle_core::Tensor::from_slice(v, shape, &candle_core::Device::Cpu).unwrap()
                };
                let theirs =
                    candle_nn::ops::rms_norm(&tensor(&x, &[rows, width]), &tensor(&gain, &[width]), 1e-5).unwrap();
                let theirs = theirs.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                close_all(&y, &wide(&theirs), 1e-5);
            }
        });
    }

    #[test]
    fn backward_equals_finite_differences_and_adds() {
        on_each(|_| {
            let (rows, width) = (3, 19);
            let (x, gain, seed) = (numbers(rows * width, 3), numbers(width, 4), numbers(rows * width, 5));
            for centre in [Centre::Zero, Centre::Mean] {
                let (mut y, mut rstd) = (vec![0.0; rows * width], vec![0.0; rows]);
                norm(centre, &x, &gain, 1e-5, &mut y, &mut rstd);
                let mut dx = vec![1.0; rows * width];
                norm_backward(centre, &x, &gain, &rstd, &mut seed.clone(), &mut dx);
                dx.iter_mut().for_each(|d| *d -= 1.0);
                check_gradient(&x, &dx, 2e-5, |x| weigh(&truth(centre, x, &gain), &seed));
            }
        });
    }

    #[test]
    fn heads_equal_the_truth_and_finite_differences() {
        on_each(|_| {
            for (width, first, second) in [(5, 3, 2), (12, 1, 1)] {
                heads_equal_the_truth(Centre::Zero, width, [first, second], [1, 1]);
                heads_equal_the_truth(Centre::Mean, width, [first, second], [first, second]);
            }
        });
    }

    /// `gains`: 1 for all groups of a kind, or as many as there are.
    fn heads_equal_the_truth(centre: Centre, width: usize, groups: [usize; 2], gains: [usize; 2]) {
        let (rows, columns) = (4, width * (groups[0] + groups[1]));
        let stride = columns + 3;
        let (q, k) = (numbers(width * gains[0], 1), numbers(width * gains[1], 2));
        let norm = |gain, groups| HeadNorm { centre, gain, groups, width };
        let norms = [norm(&q, groups[0]), norm(&k, groups[1])];
        let of_row = |row: &[f64]| -> Vec<f64> {
            let gains = HeadNorm::each(norms).map(|(_, gain)| gain);
            let groups = row.chunks(width).zip(gains).flat_map(|(x, gain)| truth(centre, x, gain));
            groups.chain(row[columns..].iter().copied()).collect()
        };
        let truth = |x: &[f64]| x.chunks(stride).flat_map(of_row).collect::<Vec<_>>();
        let (x, seed) = (numbers(rows * stride, 3), numbers(rows * stride, 4));
        let (mut raw, mut rstd) = (vec![0.0; rows * columns], vec![0.0; rows * (groups[0] + groups[1])]);
        let (mut y, mut d) = (x.clone(), seed.clone());
        head_norm(&mut y, stride, norms, 1e-5, &mut raw, &mut rstd);
        close_all(&y, &truth(&wide(&x)), 1e-5);
        head_norm_backward(&mut d, stride, norms, &raw, &rstd);
        check_gradient(&x, &d, 5e-5, |x| weigh(&truth(x), &seed));
    }
}

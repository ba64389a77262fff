//! The head and the cross entropy in one: logits exist for a few rows at a time, and their gradient in their place.

use super::lanes::{map_sum, max};
use super::tanh::{capped, capped_slope};
use super::{Frozen, Isa, exp};
use rayon::prelude::*;

/// Rows whose logits are held at once.
const ROWS: usize = 128;

/// Buffers kept between calls.
#[derive(Debug, Default)]
pub struct CrossEntropy {
    logits: Vec<f32>,
    losses: Vec<f64>,
}

impl CrossEntropy {
    /// Bytes held for N rows and a vocabulary of V.
    pub fn bytes(rows: usize, vocab: usize) -> usize {
        4 * vocab * rows.min(ROWS)
    }
}

/// Logits z `[N, V]` that go no further than ± `cap`: cap · tanh(z / cap).
pub fn cap_logits(logits: &mut [f32], cap: Option<f32>) {
    if let Some(cap) = cap {
        let isa = Isa::here();
        logits.par_chunks_mut(1 << 12).for_each(|part| {
            isa.run(
                #[inline(always)]
                || {
                    part.iter_mut().for_each(
                        #[inline(always)]
                        |z| *z = capped(*z, cap),
                    )
                },
            )
        });
    }
}

/// Σ −ln `softmax(x · headᵀ)[target]` over the rows of x `[N, C]` and head `[V, C]`; `dx` `[N, C]` gets its gradient.
///
/// With a `cap`, the softmax is that of [`cap_logits`].
///
/// # Panics
/// When a target is not below V or a buffer is too short.
pub fn linear_cross_entropy(
    x: &[f32],
    head: &Frozen,
    cap: Option<f32>,
    targets: &[u32],
    dx: Option<&mut [f32]>,
    scratch: &mut CrossEntropy,
) -> f64 {
    let (vocab, width) = (head.rows(), head.cols());
    let mut dx = dx.map(|dx| dx.chunks_mut(width * ROWS));
    let (mut total, isa) = (0.0, Isa::here());
    for (x, targets) in x.chunks(width * ROWS).zip(targets.chunks(ROWS)) {
        let rows = targets.len();
        scratch.logits.resize(vocab * ROWS.min(rows.max(scratch.logits.len() / vocab)), 0.0);
        scratch.losses.resize(ROWS, 0.0);
        let logits = &mut scratch.logits[..rows * vocab];
        head.forward(x, 1.0, false, logits);
        let by_row = targets.par_iter().zip(&mut scratch.losses[..rows]);
        logits.par_chunks_mut(vocab).zip(by_row).for_each_init(Vec::new, |slopes, (row, (target, loss))| {
            *loss = isa.run(
                #[inline(always)]
                || row_loss(row, cap, *target as usize, dx.is_some(), slopes),
            );
        });
        total += scratch.losses[..rows].iter().sum::<f64>();
        if let Some(dx) = dx.as_mut().and_then(Iterator::next) {
            head.backward(logits, 1.0, dx);
        }
    }
    total
}

/// The loss of one row of logits, which become softmax − onehot where `gradient` is wanted.
#[inline(always)]
fn row_loss(row: &mut [f32], cap: Option<f32>, target: usize, gradient: bool, slopes: &mut Vec<f32>) -> f64 {
    if let Some(cap) = cap {
        row.iter_mut().for_each(
            #[inline(always)]
            |z| *z = capped(*z, cap),
        );
        slopes.clear();
        slopes.extend(row.iter().map(|z| capped_slope(*z, cap)));
    }
    let top = max(row);
    let wanted = row[target];
    let sum = map_sum(
        row,
        #[inline(always)]
        |x| exp(x - top),
    );
    if gradient {
        let share = 1.0 / sum;
        row.iter_mut().for_each(|x| *x *= share);
        row[target] -= 1.0;
        if cap.is_some() {
            row.iter_mut().zip(slopes).for_each(|(x, slope)| *x *= *slope);
        }
    }
    f64::from(sum).ln() + f64::from(top) - f64::from(wanted)
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::isa::on_each;
    use super::super::reference::{self, check_gradient, close, numbers};
    use super::*;

    #[test]
    fn equals_the_truth_and_finite_differences() {
        on_each(|_| {
            for cap in [None, Some(0.8)] {
                for (rows, width, vocab) in [(1, 1, 2), (3, 7, 31), (ROWS + 5, 4, 19)] {
                    let (x, head) = (numbers(rows * width, 1), numbers(vocab * width, 2));
                    let targets: Vec<u32> = (0..rows).map(|i| (i * 7 % vocab) as u32).collect();
                    let truth = |x: &[f64]| reference::cross_entropy(x, &head, vocab, cap, &targets);
                    let (mut dx, mut scratch) = (vec![0.0; rows * width], CrossEntropy::default());
                    let frozen = Frozen::new(vocab, width, Format::Own(head.clone())).unwrap();
                    let loss = linear_cross_entropy(&x, &frozen, cap, &targets, Some(&mut dx), &mut scratch);
                    close(loss as f32, truth(&reference::wide(&x)), 1e-5);
                    assert_eq!(loss, linear_cross_entropy(&x, &frozen, cap, &targets, None, &mut scratch));
                    check_gradient(&x, &dx, 2e-5, truth);
                }
            }
        });
    }

    #[test]
    fn far_apart_logits_stay_finite() {
        let (mut scratch, mut dx) = (CrossEntropy::default(), [0.0]);
        let head = Frozen::new(2, 1, Format::Own(vec![3000.0, -3000.0])).unwrap();
        let loss = linear_cross_entropy(&[1.0], &head, None, &[1], Some(&mut dx), &mut scratch);
        assert_eq!((loss, dx[0]), (6000.0, 6000.0));
    }
}

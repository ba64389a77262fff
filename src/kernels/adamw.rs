//! AdamW (Loshchilov and Hutter 2019) over one flat buffer, in one pass.

use super::Isa;
use rayon::prelude::*;

/// What stays the same over a run, and the learning rate of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Learning rate of this step.
    pub rate: f64,
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Added to the root of the second mean.
    pub eps: f64,
    /// Decoupled weight decay, times the learning rate.
    pub decay: f64,
}

/// Elements that one task takes.
const PART: usize = 1 << 14;

impl AdamW {
    /// Step number `step` (from 1): `values`, `first` and `second` from the gradient times `scale`.
    ///
    /// # Panics
    /// When the four buffers differ in length or `step` is 0.
    pub fn step(&self, step: u64, values: &mut [f32], grad: &[f32], scale: f32, first: &mut [f32], second: &mut [f32]) {
        let n = values.len();
        assert!(step > 0 && grad.len() == n && first.len() == n && second.len() == n, "AdamW's buffers differ");
        let correct1 = 1.0 - self.beta1.powf(step as f64);
        let correct2 = (1.0 - self.beta2.powf(step as f64)).sqrt();
        let (b1, b2) = (self.beta1 as f32, self.beta2 as f32);
        let (keep1, keep2) = ((1.0 - self.beta1) as f32, (1.0 - self.beta2) as f32);
        let (rate, shrink) = ((self.rate / correct1) as f32, (1.0 - self.rate * self.decay) as f32);
        let (root, eps) = (correct2 as f32, self.eps as f32);
        let isa = Isa::here();
        let parts = (grad.par_chunks(PART), first.par_chunks_mut(PART), second.par_chunks_mut(PART));
        values.par_chunks_mut(PART).zip(parts.into_par_iter()).for_each(|(values, (grad, first, second))| {
            isa.run(
                #[inline(always)]
                || {
                    for (((w, g), m), v) in values.iter_mut().zip(grad).zip(first).zip(second) {
                        let g = g * scale;
                        *m = b1 * *m + keep1 * g;
                        *v = b2 * *v + keep2 * g * g;
                        *w = *w * shrink - rate * *m / (v.sqrt() / root + eps);
                    }
                },
            );
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::isa::on_each;
    use super::super::reference::{self, close_all, numbers, wide};
    use super::*;

    #[test]
    fn ten_steps_equal_the_truth() {
        on_each(|_| {
            let adam = AdamW { rate: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, decay: 0.1 };
            let n = 2 * PART + 5;
            let (mut w, mut m, mut v) = (numbers(n, 1), vec![0.0; n], vec![0.0; n]);
            let (mut tw, mut tm, mut tv) = (wide(&w), vec![0.0; n], vec![0.0; n]);
            for step in 1..=10 {
                let g = numbers(n, 10 + step);
                adam.step(step, &mut w, &g, 0.5, &mut m, &mut v);
                reference::adamw(&adam, step, &mut tw, &g, 0.5, &mut tm, &mut tv);
            }
            close_all(&w, &tw, 1e-5);
            close_all(&v, &tv, 1e-5);
        });
    }
}

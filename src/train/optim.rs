//! The optimiser's state over the flat adapter, and the norm that its gradient is clipped by.

use crate::kernels::AdamW;
use rayon::prelude::*;

/// Values that a thread sums at once. The sum is made of these pieces' sums in their order, so the number of threads
/// changes no bit.
const PIECE: usize = 1 << 14;

/// AdamW's moments, flat like the values, and its constants: PyTorch's defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimiser {
    /// Running mean of the gradient.
    pub first: Vec<f32>,
    /// Running mean of its square.
    pub second: Vec<f32>,
    decay: f64,
}

impl Optimiser {
    /// Zero moments for this many values.
    pub fn new(values: usize, decay: f64) -> Self {
        Self { first: vec![0.0; values], second: vec![0.0; values], decay }
    }

    /// One update of `values` by `gradient · scale`; `step` counts from 1.
    pub fn step(&mut self, step: u64, rate: f64, values: &mut [f32], gradient: &[f32], scale: f32) {
        self.adam(rate).step(step, values, gradient, scale, &mut self.first, &mut self.second);
    }

    /// The constants of a step.
    pub fn adam(&self, rate: f64) -> AdamW {
        AdamW { rate, beta1: 0.9, beta2: 0.999, eps: 1e-8, decay: self.decay }
    }
}

/// What a summed gradient of such a norm is multiplied by so that it is the mean over `loss_tokens`, no longer than
/// `clip`; and the norm of that mean before it is clipped.
pub fn mean_and_clip(norm: f64, loss_tokens: u64, clip: f64) -> (f32, f64) {
    let norm = norm / loss_tokens as f64;
    // as PyTorch's clip_grad_norm_ has it
    let shrink = (clip / (norm + 1e-6)).min(1.0);
    ((shrink / loss_tokens as f64) as f32, norm)
}

/// The length of a gradient.
pub fn norm(gradient: &[f32]) -> f64 {
    let square = |piece: &[f32]| piece.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>();
    let squares: Vec<f64> = gradient.par_chunks(PIECE).map(square).collect();
    squares.iter().sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_gradient_is_clipped_and_a_short_one_is_not() {
        let mut gradient = vec![0.0; 100_000];
        (gradient[3], gradient[99_999]) = (30.0, -40.0);
        let (scale, mean) = mean_and_clip(norm(&gradient), 10, 1.0);
        assert_eq!(mean, 5.0);
        assert!((f64::from(scale) * 50.0 - 1.0).abs() < 1e-5);
        assert_eq!(mean_and_clip(norm(&gradient), 10, 6.0), (0.1, 5.0));
    }
}

//! Rotary positions (Su et al. 2021) in the half-split layout: dimension i turns with i + D/2.

use super::ROWS;
use rayon::prelude::*;

/// How the frequencies differ from θ^(-2i/D).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// Every frequency divided by the factor (`linear`).
    Linear(f64),
    /// Llama 3.1: long waves divided by the factor, short ones kept, a blend between.
    Llama3 {
        /// How much longer the long waves get.
        factor: f64,
        /// Waves longer than `original / low` are long.
        low: f64,
        /// Waves shorter than `original / high` are short.
        high: f64,
        /// Positions that the base was first trained on.
        original: f64,
    },
}

/// Cosines and sines of every position and frequency.
#[derive(Debug, Clone)]
pub struct Rope {
    frequencies: Vec<f32>,
    /// [positions, D/2] pairs (cos, sin)
    table: Vec<[f32; 2]>,
}

impl Rope {
    /// For heads of width `dim` (even); no position yet.
    pub fn new(dim: usize, theta: f64, scaling: Scaling) -> Self {
        let frequency = |i| scaled(theta.powf(-2.0 * i as f64 / dim as f64), scaling) as f32;
        Self { frequencies: (0..dim / 2).map(frequency).collect(), table: Vec::new() }
    }

    /// Makes the table reach at least `positions`.
    pub fn reach(&mut self, positions: usize) {
        let half = self.frequencies.len();
        let known = self.table.len() / half.max(1);
        for position in known..positions {
            // the angle in f32, as the reference implementations have it
            self.table.extend(self.frequencies.iter().map(|f| {
                let (sin, cos) = f64::from(position as f32 * f).sin_cos();
                [cos as f32, sin as f32]
            }));
        }
    }

    fn at(&self, position: usize) -> &[[f32; 2]] {
        let half = self.frequencies.len();
        &self.table[position * half..][..half]
    }
}

fn scaled(frequency: f64, scaling: Scaling) -> f64 {
    match scaling {
        Scaling::None => frequency,
        Scaling::Linear(factor) => frequency / factor,
        Scaling::Llama3 { factor, low, high, original } => {
            let turns = original * frequency / (2.0 * std::f64::consts::PI);
            let blend = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            frequency * (blend + (1.0 - blend) / factor)
        }
    }
}

/// Turns the first `heads` heads of every row (of `stride` elements) by its position.
///
/// # Panics
/// When a position lies beyond the table.
pub fn rope(rows: &mut [f32], stride: usize, heads: usize, positions: &[usize], rope: &Rope) {
    turn(rows, stride, heads, positions, rope, 1.0);
}

/// The gradient's way back: the opposite turn.
pub fn rope_backward(rows: &mut [f32], stride: usize, heads: usize, positions: &[usize], rope: &Rope) {
    turn(rows, stride, heads, positions, rope, -1.0);
}

fn turn(rows: &mut [f32], stride: usize, heads: usize, positions: &[usize], rope: &Rope, sign: f32) {
    let half = rope.frequencies.len();
    rows.par_chunks_mut(stride * ROWS).zip(positions.par_chunks(ROWS)).for_each(|(rows, positions)| {
        for (row, position) in rows.chunks_mut(stride).zip(positions) {
            let angles = rope.at(*position);
            for head in row[..heads * 2 * half].chunks_exact_mut(2 * half) {
                let (left, right) = head.split_at_mut(half);
                for ((x, y), [cos, sin]) in left.iter_mut().zip(right).zip(angles) {
                    let (a, b) = (*x, *y);
                    *x = a * cos - sign * b * sin;
                    *y = b * cos + sign * a * sin;
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::reference::{self, check_gradient, close_all, numbers, weigh, wide};
    use super::*;

    #[test]
    fn equals_the_truth_and_finite_differences() {
        let (heads, dim, stride) = (3, 10, 41);
        let positions = [0usize, 1, 2, 0, 1, 17];
        let (x, mut seed) = (numbers(positions.len() * stride, 1), numbers(positions.len() * stride, 2));
        let mut table = Rope::new(dim, 10_000.0, Scaling::None);
        table.reach(18);
        let truth = |x: &[f64]| reference::rope(x, stride, heads, dim, &positions, 10_000.0);
        let mut y = x.clone();
        rope(&mut y, stride, heads, &positions, &table);
        close_all(&y, &truth(&wide(&x)), 1e-5);
        let weights = seed.clone();
        rope_backward(&mut seed, stride, heads, &positions, &table);
        check_gradient(&x, &seed, 2e-5, |x| weigh(&truth(x), &weights));
    }

    #[test]
    fn llama3_keeps_short_waves_and_stretches_long_ones() {
        let scaling = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192.0 };
        assert_eq!(scaled(1.0, scaling), 1.0);
        assert_eq!(scaled(1e-5, scaling), 1e-5 / 8.0);
        let middle = 2.0 * std::f64::consts::PI * 2.5 / 8192.0;
        assert!((scaled(middle, scaling) / middle - (0.5 + 0.5 / 8.0)).abs() < 1e-12);
    }
}

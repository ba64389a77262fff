//! Rotary positions (Su et al. 2021): pairs of a head's dimensions turn by an angle that grows with the position.

use super::{Isa, ROWS};
use rayon::prelude::*;
use std::f64::consts::PI;

/// Which dimensions of a head turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pairs {
    /// D
    pub dim: usize,
    /// The first R dimensions turn (even), the others stay.
    pub rotated: usize,
    /// Dimension 2i turns with 2i + 1; otherwise i with i + R/2.
    pub neighbours: bool,
}

/// How the frequencies differ from θ^(-2i/R).
#[derive(Debug, Clone, PartialEq)]
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
    /// YaRN (Peng et al. 2023): dimensions that turn often are kept, those that hardly turn divided, a ramp between.
    Yarn {
        /// How much longer the long waves get.
        factor: f64,
        /// Positions that the base was first trained on.
        original: f64,
        /// Dimensions that turn more often than this over those positions are kept.
        fast: f64,
        /// Dimensions that turn less often are divided.
        slow: f64,
        /// The ramp's ends are whole dimensions.
        whole: bool,
        /// What cosine and sine are multiplied by.
        attention: f64,
    },
    /// A divisor for each frequency (LongRoPE, Ding et al. 2024).
    Each {
        /// R/2 divisors.
        divisors: Vec<f64>,
        /// What cosine and sine are multiplied by.
        attention: f64,
    },
}

/// Cosines and sines of every position and frequency.
#[derive(Debug, Clone)]
pub struct Rope {
    pairs: Pairs,
    frequencies: Vec<f32>,
    attention: f64,
    /// [positions, R/2] pairs (cos, sin)
    table: Vec<[f32; 2]>,
}

impl Rope {
    /// Of no position yet.
    pub fn new(pairs: Pairs, theta: f64, scaling: &Scaling) -> Self {
        let frequency = |i| scaling.scaled(i, pairs.rotated, theta) as f32;
        let frequencies = (0..pairs.rotated / 2).map(frequency).collect();
        Self { pairs, frequencies, attention: scaling.attention(), table: Vec::new() }
    }

    /// Makes the table reach at least `positions`.
    pub fn reach(&mut self, positions: usize) {
        let half = self.frequencies.len();
        let known = self.table.len() / half.max(1);
        for position in known..positions {
            // the angle in f32, as the reference implementations have it
            self.table.extend(self.frequencies.iter().map(|f| {
                let (sin, cos) = f64::from(position as f32 * f).sin_cos();
                [(self.attention * cos) as f32, (self.attention * sin) as f32]
            }));
        }
    }

    /// `[positions, R/2]` pairs of cosine and sine.
    pub fn table(&self) -> &[[f32; 2]] {
        &self.table
    }

    fn at(&self, position: usize) -> &[[f32; 2]] {
        let half = self.frequencies.len();
        &self.table[position * half..][..half]
    }
}

impl Scaling {
    /// The frequency of pair `i` of R/2.
    fn scaled(&self, i: usize, rotated: usize, theta: f64) -> f64 {
        let frequency = theta.powf(-2.0 * i as f64 / rotated as f64);
        match self {
            Self::None => frequency,
            Self::Linear(factor) => frequency / factor,
            Self::Llama3 { factor, low, high, original } => {
                let turns = original * frequency / (2.0 * PI);
                let blend = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                frequency * (blend + (1.0 - blend) / factor)
            }
            Self::Yarn { factor, original, fast, slow, whole, .. } => {
                // the pair that turns so often over the original positions
                let pair = |turns: f64| rotated as f64 * (original / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln());
                let (low, high) = match whole {
                    true => (pair(*fast).floor(), pair(*slow).ceil()),
                    false => (pair(*fast), pair(*slow)),
                };
                let (low, high) = (low.max(0.0), high.min(rotated as f64 - 1.0));
                let ramp = ((i as f64 - low) / if high == low { 1e-3 } else { high - low }).clamp(0.0, 1.0);
                frequency * (1.0 - ramp) + frequency / factor * ramp
            }
            Self::Each { divisors, .. } => frequency / divisors[i],
        }
    }

    fn attention(&self) -> f64 {
        match self {
            Self::Yarn { attention, .. } | Self::Each { attention, .. } => *attention,
            _ => 1.0,
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
    let (Pairs { dim, rotated, neighbours }, isa) = (rope.pairs, Isa::here());
    rows.par_chunks_mut(stride * ROWS).zip(positions.par_chunks(ROWS)).for_each(|(rows, positions)| {
        isa.run(
            #[inline(always)]
            || {
                for (row, position) in rows.chunks_mut(stride).zip(positions) {
                    let angles = rope.at(*position);
                    for head in row[..heads * dim].chunks_exact_mut(dim) {
                        match neighbours {
                            true => turn_neighbours(&mut head[..rotated], angles, sign),
                            false => turn_halves(&mut head[..rotated], angles, sign),
                        }
                    }
                }
            },
        );
    });
}

#[inline(always)]
fn turn_halves(head: &mut [f32], angles: &[[f32; 2]], sign: f32) {
    let (left, right) = head.split_at_mut(angles.len());
    for ((x, y), angle) in left.iter_mut().zip(right).zip(angles) {
        (*x, *y) = turned(*x, *y, angle, sign);
    }
}

#[inline(always)]
fn turn_neighbours(head: &mut [f32], angles: &[[f32; 2]], sign: f32) {
    for ([x, y], angle) in head.as_chunks_mut().0.iter_mut().zip(angles) {
        (*x, *y) = turned(*x, *y, angle, sign);
    }
}

#[inline(always)]
fn turned(a: f32, b: f32, [cos, sin]: &[f32; 2], sign: f32) -> (f32, f32) {
    (a * cos - sign * b * sin, b * cos + sign * a * sin)
}

#[cfg(test)]
mod tests {
    use super::super::isa::on_each;
    use super::super::reference::{self, check_gradient, close_all, numbers, weigh, wide};
    use super::*;

    #[test]
    fn equals_the_truth_and_finite_differences() {
        on_each(|_| {
            let (heads, dim, stride) = (3, 10, 41);
            let positions = [0usize, 1, 2, 0, 1, 17];
            let (x, weights) = (numbers(positions.len() * stride, 1), numbers(positions.len() * stride, 2));
            for (rotated, neighbours) in [(10, false), (10, true), (4, false), (6, true)] {
                let pairs = Pairs { dim, rotated, neighbours };
                let mut table = Rope::new(pairs, 10_000.0, &Scaling::None);
                table.reach(18);
                let truth = |x: &[f64]| reference::rope(x, stride, heads, pairs, &positions, 10_000.0);
                let (mut y, mut seed) = (x.clone(), weights.clone());
                rope(&mut y, stride, heads, &positions, &table);
                close_all(&y, &truth(&wide(&x)), 1e-5);
                rope_backward(&mut seed, stride, heads, &positions, &table);
                check_gradient(&x, &seed, 2e-5, |x| weigh(&truth(x), &weights));
            }
        });
    }

    #[test]
    fn llama3_keeps_short_waves_and_stretches_long_ones() {
        // with R = 2, the frequency of pair 1 is 1 / theta
        let at = |frequency: f64, original| {
            Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original }.scaled(1, 2, 1.0 / frequency)
        };
        assert_eq!(at(1.0, 8192.0), 1.0);
        assert!((at(1e-5, 8192.0) / (1e-5 / 8.0) - 1.0).abs() < 1e-12);
        let middle = 2.0 * PI * 2.5 / 8192.0;
        assert!((at(middle, 8192.0) / middle - (0.5 + 0.5 / 8.0)).abs() < 1e-12);
    }

    #[test]
    fn yarn_keeps_the_fast_divides_the_slow_and_multiplies_both() {
        let (factor, original) = (4.0, 32.0);
        let yarn = Scaling::Yarn { factor, original, fast: 32.0, slow: 1.0, whole: true, attention: 1.5 };
        let plain = |i| Scaling::None.scaled(i, 16, 10_000.0);
        // pair 0 turns 5 times over 32 positions, pair 1 less than twice: the ramp goes from 0 to 2
        assert_eq!(yarn.scaled(0, 16, 10_000.0), plain(0));
        assert!((yarn.scaled(1, 16, 10_000.0) / plain(1) - 0.625).abs() < 1e-12);
        assert_eq!(yarn.scaled(2, 16, 10_000.0), plain(2) / 4.0);
        let mut table = Rope::new(Pairs { dim: 16, rotated: 16, neighbours: false }, 10_000.0, &yarn);
        table.reach(1);
        assert_eq!(table.at(0)[7], [1.5, 0.0]);
    }
}

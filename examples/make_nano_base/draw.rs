//! Everything that is drawn at random, from one seed: the same on every machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::ops::Range;

/// A stream of draws.
pub struct Draw(ChaCha8Rng);

impl Draw {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n as u64) as usize
    }

    /// One of them.
    pub fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }

    /// `n` different numbers of a range, in no order.
    pub fn some_of(&mut self, range: Range<usize>, n: usize) -> Vec<usize> {
        let mut all: Vec<usize> = range.collect();
        self.shuffle(&mut all);
        all.truncate(n);
        all
    }

    /// Puts them in another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// A normal number, mean 0 and deviation 1 (Box and Muller 1958).
    pub fn normal(&mut self) -> f32 {
        let unit = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let (radius, angle) = (unit(self.0.next_u64()), unit(self.0.next_u64()));
        ((-2.0 * radius.ln()).sqrt() * (2.0 * std::f64::consts::PI * angle).cos()) as f32
    }
}

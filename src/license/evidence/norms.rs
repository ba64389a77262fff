//! Fingerprints of norms' weights: they say whose child a base is when its layers, heads or vocabulary were changed.
//!
//! A vector's deviation from its own mean, scaled to length 1, is projected on 64 directions of signs that hashing gives
//! (Achlioptas 2003), and each number kept in 8 bits: the cosine of two fingerprints is that of the deviations, give or
//! take 0.12. Tuning turns a norm's deviation hardly at all, another training elsewhere.

use crate::base::Norm;
use crate::digest::Sha256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Directions that a vector is projected on: the bits of one hash.
const DIRECTIONS: usize = 64;
/// From this cosine on two vectors count as alike. Measured (`benches/results/2026-11-24-norms.txt`): after tuning of all
/// weights 0.90 and more, between trainings of one shape at most 0.26.
const ALIKE_FROM: f64 = 0.8;
/// So many vectors of a model must be alike.
const ALIKE_VECTORS: usize = 2;
/// A vector whose values deviate less from their mean, beside its size, was not trained.
const MIN_DEVIATION: f64 = 1e-4;

/// The fingerprint of one norm's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct NormPrint([i8; DIRECTIONS]);

/// The fingerprints of a model's norms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Norms {
    /// Length of the vectors.
    pub width: usize,
    /// One a vector.
    pub prints: Vec<NormPrint>,
}

impl NormPrint {
    /// Of a vector; `None` where its values are all alike, as before training.
    pub fn of(values: &[f32]) -> Option<Self> {
        let count = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let deviations: Vec<f64> = values.iter().map(|v| f64::from(*v) - mean).collect();
        let length = deviations.iter().map(|d| d * d).sum::<f64>().sqrt();
        // also false where a value is not a number
        let is_trained =
            length.is_finite() && length / count.sqrt() > MIN_DEVIATION * mean.abs().max(f64::MIN_POSITIVE);
        if !is_trained {
            return None;
        }
        let mut sums = [0.0; DIRECTIONS];
        for (at, deviation) in deviations.iter().enumerate() {
            let signs = hash(at as u64);
            for (direction, sum) in sums.iter_mut().enumerate() {
                *sum += if signs >> direction & 1 == 1 { *deviation } else { -deviation };
            }
        }
        let largest = sums.iter().fold(0.0, |m: f64, s| m.max(s.abs()));
        Some(Self(sums.map(|sum| (sum / largest * 127.0).round() as i8)))
    }

    /// From -1 to 1.
    pub fn cosine(&self, other: &Self) -> f64 {
        let dot = |a: &Self, b: &Self| a.0.iter().zip(&b.0).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        dot(self, other) / (dot(self, self) * dot(other, other)).sqrt().max(1.0)
    }
}

/// SplitMix64 (Steele et al. 2014): a fixed hash, so that a fingerprint is the same everywhere.
fn hash(at: u64) -> u64 {
    let mut z = at.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Norms {
    /// Of every norm that was trained; `None` where there is none.
    pub fn of(norms: &[Norm]) -> Option<Self> {
        let width = norms.first()?.values.len();
        let prints: Vec<NormPrint> = norms.iter().filter_map(|norm| NormPrint::of(&norm.values)).collect();
        (!prints.is_empty()).then_some(Self { width, prints })
    }

    /// What the lineage keeps of a model: the norms outside the blocks, of the first block and of the middle one.
    pub fn kept(norms: &[Norm]) -> Option<Self> {
        let blocks = norms.iter().filter_map(|n| n.block).max().map_or(0, |last| last + 1);
        let is_kept = |n: &&Norm| n.block.is_none_or(|block| block == 0 || block == blocks / 2);
        Self::of(&norms.iter().filter(is_kept).cloned().collect::<Vec<_>>())
    }

    /// How many of the vectors that are kept of `parent` stand here, too: `None` where too few do.
    pub fn resembles(&self, parent: &Self) -> Option<usize> {
        let alike = |kept: &&NormPrint| self.prints.iter().any(|print| print.cosine(kept) >= ALIKE_FROM);
        let count = parent.prints.iter().filter(alike).count();
        (self.width == parent.width && count >= ALIKE_VECTORS.min(parent.prints.len())).then_some(count)
    }

    /// Over width and fingerprints.
    pub fn digest(&self) -> Sha256 {
        Sha256::of_json(self)
    }
}

impl From<NormPrint> for String {
    fn from(print: NormPrint) -> String {
        STANDARD.encode(print.0.map(|n| n as u8))
    }
}

impl TryFrom<String> for NormPrint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bytes = STANDARD.decode(&text).ok().and_then(|bytes| <[u8; DIRECTIONS]>::try_from(bytes).ok());
        let bytes = bytes.ok_or_else(|| format!("not {DIRECTIONS} bytes in base64: {text}"))?;
        Ok(Self(bytes.map(|byte| byte as i8)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers without a pattern, the same on every run.
    fn noise(seed: u64, count: usize) -> Vec<f32> {
        (0..count as u64).map(|i| (hash(seed << 32 | i) >> 40) as f32 / (1 << 24) as f32 - 0.5).collect()
    }

    fn vector(seed: u64) -> Vec<f32> {
        noise(seed, 576).iter().map(|n| 1.0 + 0.3 * n).collect()
    }

    #[test]
    fn a_fingerprint_keeps_angles() {
        let one = vector(1);
        let print = NormPrint::of(&one).unwrap();
        let close = |values: Vec<f32>| NormPrint::of(&values).unwrap().cosine(&print);
        // another size and another mean (gains of 1 + weight) are the same direction
        assert!(close(one.iter().map(|v| v * 7.0 - 1.0).collect()) > 0.999);
        let moved = |by: f32| one.iter().zip(noise(2, 576)).map(|(v, n)| v + by * n).collect::<Vec<_>>();
        assert!(close(moved(0.03)) > 0.98);
        for seed in 3..200 {
            assert!(close(vector(seed)) < 0.6, "{seed}");
        }
        let text = String::from(print);
        assert_eq!((NormPrint::try_from(text.clone()), text.len()), (Ok(print), 88));
        assert!(NormPrint::try_from("AAAA".to_owned()).is_err());
    }

    #[test]
    fn what_was_not_trained_has_none() {
        assert_eq!(NormPrint::of(&[1.0; 96]), None);
        assert_eq!(NormPrint::of(&[0.0; 96]), None);
        assert_eq!(NormPrint::of(&[1.0, f32::NAN, 2.0]), None);
        assert_eq!(NormPrint::of(&[]), None);
    }
}

//! How far two networks are apart: the Kullback-Leibler divergence of their next tokens.

use serde::{Deserialize, Serialize};

/// Over the positions of some texts, in nats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Divergence {
    /// Of the worst position.
    pub largest: f64,
    /// Over all.
    pub mean: f64,
    /// Positions compared.
    pub positions: usize,
    /// Those at which both put the same token first.
    pub same_first: usize,
}

/// KL(p ‖ q) of the softmaxes of two sets of logits `[T, V]`.
///
/// # Panics
/// When they differ in length.
pub fn divergence(p: &[f32], q: &[f32], vocab: usize) -> Divergence {
    assert_eq!(p.len(), q.len(), "logits of different texts");
    let mut all = Divergence { largest: 0.0, mean: 0.0, positions: 0, same_first: 0 };
    for (p, q) in p.chunks(vocab).zip(q.chunks(vocab)) {
        let kl = of_rows(p, q);
        all.largest = all.largest.max(kl);
        all.mean += kl;
        all.positions += 1;
        all.same_first += usize::from(first(p) == first(q));
    }
    all.mean /= all.positions.max(1) as f64;
    all
}

fn of_rows(p: &[f32], q: &[f32]) -> f64 {
    let (p_all, q_all) = (log_sum(p), log_sum(q));
    let term = |(p, q): (&f32, &f32)| {
        let (p, q) = (f64::from(*p) - p_all, f64::from(*q) - q_all);
        p.exp() * (p - q)
    };
    // below zero only by rounding
    p.iter().zip(q).map(term).sum::<f64>().max(0.0)
}

/// ln Σ exp(x)
fn log_sum(x: &[f32]) -> f64 {
    let top = f64::from(x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    top + x.iter().map(|x| (f64::from(*x) - top).exp()).sum::<f64>().ln()
}

fn first(x: &[f32]) -> Option<usize> {
    (0..x.len()).max_by(|a, b| x[*a].total_cmp(&x[*b]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_networks_are_not_apart_and_a_known_pair_is() {
        let p = [0.0, 1.0, 5.0, 5.0];
        let same = divergence(&p, &[3.0, 4.0, 0.0, 0.0], 2);
        assert!(same.largest < 1e-12 && same.positions == 2 && same.same_first == 2);
        // p = (1/2, 1/2), q = (1/4, 3/4): KL = ½ ln 2 + ½ ln ⅔
        let known = divergence(&[0.0, 0.0], &[0.0, 3f32.ln()], 2);
        assert!((known.largest - 0.5 * (4.0f64 / 3.0).ln()).abs() < 1e-7, "{known:?}");
    }
}

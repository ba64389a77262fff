//! Routing (Shazeer et al. 2017): which experts a row goes to, and how much each of them counts; forward and backward.

use super::exp;

/// What a row's weights are a softmax of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    /// The logits of the picked experts: the weights add up to 1.
    Picked,
    /// Those of all experts.
    All,
}

/// The `picks` experts of each row with the largest logits `[T, E]`, the largest first, equals in their order:
/// `ids` and `weights` `[T, picks]`.
pub fn route(logits: &[f32], experts: usize, picks: usize, among: Among, ids: &mut [usize], weights: &mut [f32]) {
    let rows = ids.chunks_mut(picks).zip(weights.chunks_mut(picks));
    for (row, (ids, weights)) in logits.chunks(experts).zip(rows) {
        for (n, weight) in weights.iter_mut().enumerate() {
            let left = (0..experts).filter(|e| !ids[..n].contains(e));
            ids[n] = left.fold(None, |best, e| best.filter(|b| row[*b] >= row[e]).or(Some(e))).unwrap_or(0);
            *weight = exp(row[ids[n]] - row[ids[0]]);
        }
        let sum: f32 = match among {
            Among::Picked => weights.iter().sum(),
            Among::All => row.iter().map(|x| exp(x - row[ids[0]])).sum(),
        };
        weights.iter_mut().for_each(|w| *w /= sum);
    }
}

/// dlogits `[T, E]` from the logits, what [`route`] made of them, and the gradient of the weights `[T, picks]`.
pub fn route_backward(
    logits: &[f32],
    experts: usize,
    among: Among,
    ids: &[usize],
    weights: &[f32],
    dweights: &[f32],
    dlogits: &mut [f32],
) {
    let picks = ids.len() / (logits.len() / experts).max(1);
    let rows = ids.chunks(picks).zip(weights.chunks(picks)).zip(dweights.chunks(picks));
    for ((row, dlogits), ((ids, weights), dweights)) in
        logits.chunks(experts).zip(dlogits.chunks_mut(experts)).zip(rows)
    {
        let pull: f32 = weights.iter().zip(dweights).map(|(w, d)| w * d).sum();
        // the weight of the first pick is e^0 over the sum of all
        let share = |e: usize| weights[0] * exp(row[e] - row[ids[0]]);
        match among {
            Among::Picked => dlogits.fill(0.0),
            Among::All => dlogits.iter_mut().enumerate().for_each(|(e, d)| *d = -share(e) * pull),
        }
        for ((id, w), d) in ids.iter().zip(weights).zip(dweights) {
            dlogits[*id] = w * (d - pull);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference::{self, check_gradient, close_all, numbers, weigh, wide};
    use super::*;

    #[test]
    fn equals_the_truth_and_finite_differences() {
        for (rows, experts, picks) in [(1, 1, 1), (7, 4, 2), (5, 9, 4)] {
            for among in [Among::Picked, Among::All] {
                let (mut logits, seed) = (numbers(rows * experts, 1), numbers(rows * picks, 2));
                logits.iter_mut().for_each(|x| *x *= 4.0);
                let (mut ids, mut weights) = (vec![0; rows * picks], vec![0.0; rows * picks]);
                route(&logits, experts, picks, among, &mut ids, &mut weights);
                let truth = |logits: &[f64]| reference::route(logits, experts, picks, among);
                let (of_ids, of_weights) = truth(&wide(&logits));
                assert_eq!(ids, of_ids);
                close_all(&weights, &of_weights, 1e-6);
                let mut d = vec![f32::NAN; rows * experts];
                route_backward(&logits, experts, among, &ids, &weights, &seed, &mut d);
                check_gradient(&logits, &d, 2e-5, |x| weigh(&truth(x).1, &seed));
            }
        }
    }

    #[test]
    fn equals_go_to_the_first() {
        let (mut ids, mut weights) = (vec![0; 2], vec![0.0; 2]);
        route(&[1.0, 2.0, 2.0, 2.0], 4, 2, Among::Picked, &mut ids, &mut weights);
        assert_eq!((ids, weights), (vec![1, 2], vec![0.5, 0.5]));
    }
}

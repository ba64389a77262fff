//! Everything that is drawn comes from here: ChaCha8, one stream a purpose, so that one more draw for one purpose
//! moves nothing of another, and the same seed gives the same numbers on every machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

/// What numbers are drawn for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// The first values of the A matrices.
    Init,
    /// Which samples are held out.
    Split,
    /// Which documents share a row.
    Pack,
    /// In which order an epoch, counted from 0, takes the rows.
    Order(u64),
}

/// The stream of one purpose.
pub(super) fn stream(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(match purpose {
        Purpose::Init => 0,
        Purpose::Split => 1,
        Purpose::Pack => 2,
        Purpose::Order(epoch) => 3 + epoch,
    });
    rng
}

/// A fair order (Fisher and Yates, as Durstenfeld wrote it).
pub(super) fn shuffle<T>(rng: &mut ChaCha8Rng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        // the product's upper half is below last + 1; its bias is below 2^-32 for any list that fits memory
        let pick = (u128::from(rng.next_u64()) * (last as u128 + 1)) >> 64;
        items.swap(last, pick as usize);
    }
}

/// Evenly from [0, 1), in steps of 2^-24.
pub(super) fn unit(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |purpose| {
            let mut items: Vec<u32> = (0..50).collect();
            shuffle(&mut stream(17, purpose), &mut items);
            items
        };
        assert_eq!(draw(Purpose::Order(1)), draw(Purpose::Order(1)));
        assert_ne!(draw(Purpose::Order(1)), draw(Purpose::Order(2)));
        let mut sorted = draw(Purpose::Split);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn the_unit_is_filled_evenly() {
        let mut rng = stream(1, Purpose::Init);
        let drawn: Vec<f32> = (0..10_000).map(|_| unit(&mut rng)).collect();
        assert!(drawn.iter().all(|v| (0.0..1.0).contains(v)));
        let mean = drawn.iter().sum::<f32>() / drawn.len() as f32;
        let (low, high) = drawn.iter().fold((1.0f32, 0.0f32), |(l, h), v| (l.min(*v), h.max(*v)));
        assert!((mean - 0.5).abs() < 0.02 && low < 0.01 && high > 0.99, "{mean} {low} {high}");
    }
}

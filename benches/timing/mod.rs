//! What the benches measure by: the machine's peak, the best of several runs; and weights to multiply.

use sealwright::kernels::{Bytes, Format, Frozen, Isa};
use std::sync::Arc;
use std::time::Instant;

/// GFLOP/s of products and sums in registers, on all threads: nothing that multiplies f32 can be faster.
pub fn peak() -> f64 {
    const ROUNDS: usize = 2_000_000;
    let threads = rayon::current_num_threads();
    let isa = Isa::here();
    let seconds = best(5, || {
        rayon::broadcast(|_| {
            std::hint::black_box(isa.run(
                #[inline(always)]
                || products(ROUNDS),
            ))
        });
    });
    2e-9 * (threads * ROUNDS * SUMS * LANES) as f64 / seconds
}

/// As many sums at once as hide how long one takes.
const SUMS: usize = 12;
/// A vector of AVX2; wider ones are made of two.
const LANES: usize = 8;

#[inline(always)]
fn products(rounds: usize) -> f32 {
    let (mut sums, x) = ([[1.0f32; LANES]; SUMS], std::hint::black_box([0.999f32; LANES]));
    for _ in 0..rounds {
        for sums in &mut sums {
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = sum.mul_add(x, x);
            }
        }
    }
    std::hint::black_box(sums).as_flattened().iter().sum()
}

/// Seconds of the fastest of so many calls.
pub fn best(calls: usize, mut f: impl FnMut()) -> f64 {
    let seconds = (0..calls).map(|_| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    });
    seconds.fold(f64::INFINITY, f64::min)
}

/// Small weights in bf16, as most checkpoints have them.
pub fn weights(outputs: usize, inputs: usize) -> Frozen {
    let bytes: Vec<u8> = (0..inputs * outputs).flat_map(|i| (0x3c00 + (i % 509) as u16).to_le_bytes()).collect();
    let length = bytes.len();
    let bytes = Bytes::new(Arc::new(bytes), 0..length).expect("all of them");
    Frozen::new(outputs, inputs, Format::Bf16(bytes)).expect("two bytes a number")
}

//! The multiply's share of the machine's peak, at the shapes of a training step of SmolLM2-135M and some others.
//!
//! `cargo bench --bench kernels`, on a machine with nothing else to do: peak and product are measured one after the other.

mod timing;

use sealwright::kernels::Isa;
use std::io::Write as _;

/// Tokens, inputs and outputs of a frozen linear layer.
const SHAPES: [(usize, usize, usize); 8] = [
    (512, 576, 960),
    (512, 576, 576),
    (512, 576, 3072),
    (512, 1536, 576),
    (2048, 576, 3072),
    (2048, 1536, 576),
    (128, 576, 49152),
    (1024, 2048, 5632),
];

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}, {} threads", Isa::here().name(), rayon::current_num_threads())?;
    for (tokens, inputs, outputs) in SHAPES {
        let weight = timing::weights(outputs, inputs);
        let (mut x, mut y) = (vec![0.5; tokens * inputs], vec![0.25; tokens * outputs]);
        let gflop = 2e-9 * (tokens * inputs * outputs) as f64;
        let peak = timing::peak();
        let forward = gflop / timing::best(10, || weight.forward(&x, 1.0, false, &mut y));
        let backward = gflop / timing::best(10, || weight.backward(&y, 1.0, &mut x));
        writeln!(
            out,
            "{tokens} x {inputs} -> {outputs}, bf16 weights: forward {forward:.0} GFLOP/s, {:.0} % of {peak:.0}; \
             input gradient {backward:.0}, {:.0} %",
            100.0 * forward / peak,
            100.0 * backward / peak
        )?;
    }
    Ok(())
}

//! What a training holds at its peak (`VmHWM` of a process of its own) beside what the planner said of it before.
//!
//! `cargo bench --bench memory [-- NAME…]`: a NAME picks the rows whose name it begins; without one, all. Random weights
//! in the shapes of SmolLM2-135M and of a Llama of 1.1 billion; `benches/memory_peer.sh` measures PEFT on the same shapes.

#[path = "../tests/it/train/shaped.rs"]
mod shaped;
#[path = "../tests/it/train/tiny.rs"]
#[allow(dead_code)]
mod tiny;

use shaped::{Held, Sizes, product};
use std::io::Write as _;
use std::path::Path;

const SMOLLM2: Sizes = Sizes { layers: 30, hidden: 576, heads: 9, kv_heads: 3, ffn: 1536, vocab: 49152, tied: true };
const LLAMA_1B: Sizes =
    Sizes { layers: 22, hidden: 2048, heads: 32, kv_heads: 4, ffn: 5632, vocab: 32000, tied: false };

/// A row: its name, the shape, bytes a number, what is added to `[base]`, rows at a time, tokens of a row, and the share
/// of its activations that there is room for.
type Row = (&'static str, Sizes, usize, &'static str, usize, usize, Option<f64>);

const NF4: &str = "quantize = \"nf4\"";
const INT8: &str = "quantize = \"int8\"";

const ROWS: [Row; 11] = [
    ("smollm2 f32, 1 x 512", SMOLLM2, 4, "", 1, 512, None),
    ("smollm2 f32, 4 x 512", SMOLLM2, 4, "", 4, 512, None),
    ("smollm2 bf16, 1 x 512", SMOLLM2, 2, "", 1, 512, None),
    ("smollm2 bf16, 4 x 512", SMOLLM2, 2, "", 4, 512, None),
    ("smollm2 bf16, 4 x 512, half kept", SMOLLM2, 2, "", 4, 512, Some(0.5)),
    ("smollm2 bf16, 4 x 512, inputs kept", SMOLLM2, 2, "", 4, 512, Some(0.28)),
    ("smollm2 int8, 1 x 512", SMOLLM2, 2, INT8, 1, 512, None),
    ("smollm2 nf4, 1 x 512", SMOLLM2, 2, NF4, 1, 512, None),
    ("smollm2 nf4, 4 x 512", SMOLLM2, 2, NF4, 4, 512, None),
    ("llama-1.1b bf16, 1 x 1024", LLAMA_1B, 2, "", 1, 1024, None),
    ("llama-1.1b nf4, 1 x 1024", LLAMA_1B, 2, NF4, 1, 1024, None),
];

fn main() -> std::io::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let mut out = std::io::stdout().lock();
    let program = Path::new(env!("CARGO_BIN_EXE_sealwright"));
    writeln!(out, "{:36} {:>8} {:>8} {:>6} {:>7}", "", "planned", "peak", "off", "blocks")?;
    for (name, sizes, bytes, of_base, rows, tokens, share) in ROWS {
        if !wanted.is_empty() && !wanted.iter().any(|w| name.starts_with(w.as_str())) {
            continue;
        }
        let dir = tempfile::tempdir()?;
        let base = dir.path().join("base");
        sizes.write(&base, &tiny::tokenizer(), bytes);
        let train = format!("rank = 16\nalpha = 32\nbatch = {rows}\nmicro-batch = {rows}\nsequence = {tokens}");
        let folder = dir.path().join("product");
        let bytes_of_row = tokens - 8; // a token each: with its marks a text fills a row, and needs no second one
        product(&folder, &base, rows, bytes_of_row, of_base, &train);
        let mut held = Held::of(program, &folder);
        if let Some(share) = share {
            let spare = (held.said("activations") as f64 * (1.0 - share)) as u64;
            let train = format!("{train}\nmemory = \"{} MiB\"", (held.said("planned") - spare) >> 20);
            product(&folder, &base, rows, bytes_of_row, of_base, &train);
            held = Held::of(program, &folder);
        }
        writeln!(
            out,
            "{name:36} {:>4} MiB {:>4} MiB {:>+5.1}% {:>4}/{}",
            held.said("planned") >> 20,
            held.peak >> 20,
            (held.ratio() - 1.0) * 100.0,
            held.said("blocks-kept"),
            held.said("blocks"),
        )?;
        out.flush()?;
    }
    Ok(())
}

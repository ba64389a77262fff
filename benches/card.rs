//! What a card does at the shapes of Llama-3.1-8B with 8192 tokens: start-up, cublasLt in bf16 as the engine calls it, and
//! each kernel of ours. Raw figures, one line each, for `benches/results/`.
//!
//! `cargo bench --bench card [-- --plan]`: `--plan` needs no card and prints what the planner says of a step's memory.

use sealwright::base::{Config, family::Family};
use sealwright::kernels::cuda::{Buffer, Card, CardScores, Element, Norm, Probe, Rows, Tiles, Transpose};
use sealwright::kernels::{Activation, Centre, Curve, Heads, Scores};
use sealwright::model::{CardStep, CardWeights, Shape};
use std::io::{StdoutLock, Write as _};
use std::time::Instant;

type Answer<T = ()> = Result<T, Box<dyn std::error::Error>>;

const TOKENS: usize = 8192;
const SEQUENCE: usize = 4096;
const HIDDEN: usize = 4096;
const FFN: usize = 14336;
const VOCAB: usize = 128_256;
const HEADS: Heads = Heads { query: 32, kv: 8, dim: 128 };
/// Rows whose logits are held at once.
const LOGITS: usize = 512;
/// Calls that are timed together.
const CALLS: usize = 20;

fn main() -> Answer {
    let mut out = std::io::stdout().lock();
    plan(&mut out)?;
    if std::env::args().any(|a| a == "--plan") {
        return Ok(());
    }
    write!(out, "{}", Probe::machine())?;
    let begun = Instant::now();
    let card = Card::open(0)?;
    let (free, all) = card.memory()?;
    writeln!(out, "{}: {} of {} MiB free; opened in {:.2} s", card.name(), free >> 20, all >> 20, seconds(begun))?;
    multiplies(&card, &mut out)?;
    attention(&card, &mut out)?;
    rows(&card, &mut out)
}

fn seconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64()
}

/// What a step of the goals will hold, by the planner.
fn plan(out: &mut StdoutLock<'_>) -> Answer {
    let dir = tempfile::tempdir()?;
    let config = serde_json::json!({
        "model_type": "llama", "hidden_size": HIDDEN, "num_hidden_layers": 32, "num_attention_heads": HEADS.query,
        "num_key_value_heads": HEADS.kv, "intermediate_size": FFN, "vocab_size": VOCAB, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 131_072, "rope_theta": 500_000.0, "tie_word_embeddings": false, "hidden_act": "silu"
    });
    std::fs::write(dir.path().join("config.json"), config.to_string())?;
    let config = Config::read(dir.path())?;
    let shape = Shape::of(&config, &Family::of(&config)?)?;
    for (weights, gib) in
        [(CardWeights::Bf16, 80), (CardWeights::Fp8, 80), (CardWeights::Bf16, 40), (CardWeights::Nf4, 12)]
    {
        let bytes = shape.weights_on_card(weights);
        let step = CardStep { weights: bytes, element: Element::Bf16, tokens: TOKENS, rank: 16, values: 41_943_040 };
        match shape.card_plan(step, (gib << 30) * 9 / 10) {
            Some((keep, memory)) => writeln!(
                out,
                "plan for {weights:?} weights, 2 rows of {SEQUENCE}, {gib} GiB: {keep:?} kept, {:.1} GB on the card, {memory:?}",
                memory.total() as f64 / 1e9
            )?,
            None => writeln!(out, "plan for {weights:?} weights, 2 rows of {SEQUENCE}, {gib} GiB: does not fit")?,
        }
    }
    Ok(())
}

/// Seconds of one call: the first apart, then the mean of many.
fn timed(card: &Card, mut call: impl FnMut() -> sealwright::error::Result<()>) -> Answer<(f64, f64)> {
    let begun = Instant::now();
    call()?;
    card.wait()?;
    let first = seconds(begun);
    let begun = Instant::now();
    for _ in 0..CALLS {
        call()?;
    }
    card.wait()?;
    Ok((first, seconds(begun) / CALLS as f64))
}

fn room(card: &Card, numbers: usize, size: usize) -> Answer<Buffer> {
    let buffer = card.alloc(numbers * size)?;
    card.clear(&buffer)?;
    Ok(buffer)
}

fn wide(buffer: &Buffer, stride: usize) -> Rows<'_> {
    Rows { part: buffer.part(Element::Bf16, 0), stride }
}

/// y = x · Wᵀ and dx = dy · W of each projection, and the head; y is added to, as LoRA wants it.
fn multiplies(card: &Card, out: &mut StdoutLock<'_>) -> Answer {
    let shapes = [
        ("qkv", TOKENS, HEADS.stride(), HIDDEN),
        ("o", TOKENS, HIDDEN, HIDDEN),
        ("gate, up", TOKENS, 2 * FFN, HIDDEN),
        ("down", TOKENS, HIDDEN, FFN),
        ("head", LOGITS, VOCAB, HIDDEN),
    ];
    for (name, tokens, outputs, inputs) in shapes {
        let [x, w, y] = [tokens * inputs, outputs * inputs, tokens * outputs].map(|n| room(card, n, 2));
        let (x, w, y) = (x?, w?, y?);
        let (x, w, y) = (wide(&x, inputs), wide(&w, inputs), wide(&y, outputs));
        let forward =
            || card.matmul(y, Some(y), 1.0, (x, Transpose::No), (w, Transpose::Yes), [tokens, outputs, inputs]);
        let backward = || card.matmul(x, None, 1.0, (y, Transpose::No), (w, Transpose::No), [tokens, inputs, outputs]);
        let work = 2e-12 * (tokens * outputs * inputs) as f64;
        for (way, (first, mean)) in [("y = y + x Wt", timed(card, forward)?), ("dx = dy W", timed(card, backward)?)] {
            writeln!(out, "multiply {name} {way}: {:.0} TFLOP/s; the first call {:.1} ms", work / mean, 1e3 * first)?;
        }
    }
    Ok(())
}

fn attention(card: &Card, out: &mut StdoutLock<'_>) -> Answer {
    for (what, bounds) in [
        ("2 documents of 4096", vec![0, SEQUENCE, TOKENS]),
        ("16 documents of 512", (0..=16).map(|n| n * 512).collect()),
    ] {
        let tiles = Tiles::new(card, &bounds)?;
        let width = HEADS.query * HEADS.dim;
        let [qkv, dqkv] = [0; 2].map(|_| room(card, TOKENS * HEADS.stride(), 2));
        let [o, d] = [0; 2].map(|_| room(card, TOKENS * width, 2));
        let [lse, delta] = [0; 2].map(|_| room(card, TOKENS * HEADS.query, 4));
        let (qkv, dqkv, o, d, lse, delta) = (qkv?, dqkv?, o?, d?, lse?, delta?);
        let part = |b| Buffer::part(b, Element::Bf16, 0);
        let scores = CardScores::of(Scores::plain(HEADS.dim), None);
        let forward = || card.attention(part(&qkv), HEADS, scores, &tiles, part(&o), &lse);
        let backward = || {
            let (of_o, of_d) = (part(&o), part(&d));
            card.attention_backward(part(&qkv), HEADS, scores, &tiles, of_o, &lse, of_d, &delta, part(&dqkv))
        };
        // causal: half of T² · D, two multiplies forward and five backward
        let pairs: usize = bounds.windows(2).map(|d| (d[1] - d[0]).pow(2) / 2).sum();
        let work = 4e-12 * (pairs * HEADS.query * HEADS.dim) as f64;
        for (way, share, (first, mean)) in
            [("forward", 1.0, timed(card, forward)?), ("backward", 2.5, timed(card, backward)?)]
        {
            writeln!(out, "attention {way}, {what}: {:.0} TFLOP/s; the first call {first:.2} s", share * work / mean)?;
        }
    }
    Ok(())
}

/// Kernels that memory bounds: bytes read and written.
fn rows(card: &Card, out: &mut StdoutLock<'_>) -> Answer {
    let [x, y] = [0; 2].map(|_| room(card, TOKENS * HIDDEN, 2));
    let [gu, dgu] = [0; 2].map(|_| room(card, TOKENS * 2 * FFN, 2));
    let [act, dact] = [0; 2].map(|_| room(card, TOKENS * FFN, 2));
    let (x, y, gu, dgu, act, dact) = (x?, y?, gu?, dgu?, act?, dact?);
    let (gain, rstd) = (room(card, HIDDEN, 4)?, room(card, TOKENS, 4)?);
    let norm = Norm { centre: Centre::Zero, gain: &gain, gains: 1, groups: 1, width: HIDDEN };
    let part = |b| Buffer::part(b, Element::Bf16, 0);
    let (of_x, of_y, silu) = (wide(&x, HIDDEN), wide(&y, HIDDEN), Activation::Gated(Curve::Silu));
    let logits = room(card, LOGITS * VOCAB, 4)?;
    let (targets, losses, dlogits) = (room(card, LOGITS, 4)?, room(card, LOGITS, 4)?, room(card, LOGITS * VOCAB, 2)?);
    let mut line = |name: &str, bytes: usize, (first, mean): (f64, f64)| {
        writeln!(out, "{name}: {:.0} GB/s; the first call {first:.2} s", 1e-9 * bytes as f64 / mean)
    };
    let n = TOKENS * HIDDEN * 2;
    line("norm", 2 * n, timed(card, || card.norm(norm, of_x, None, 1e-5, TOKENS, of_y, &rstd, None, false))?)?;
    line("norm backward", 4 * n, timed(card, || card.norm_backward(norm, of_x, &rstd, TOKENS, of_y, of_x, true))?)?;
    let n = TOKENS * FFN * 2;
    line("activation", 3 * n, timed(card, || card.activation(silu, part(&gu), TOKENS, FFN, part(&act)))?)?;
    let backward = || card.activation_backward(silu, part(&gu), part(&dact), TOKENS, FFN, part(&dgu));
    line("activation backward", 5 * n, timed(card, backward)?)?;
    let of_d = Some(part(&dlogits));
    let losses = || {
        let of = losses.part(Element::F32, 0);
        card.cross_entropy(&logits, &targets, None, LOGITS, VOCAB, of, Element::Bf16, of_d)
    };
    line("cross entropy", LOGITS * VOCAB * 6, timed(card, losses)?)?;
    Ok(())
}

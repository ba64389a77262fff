//! Tokens a second of a training step in the shape of SmolLM2-135M, its share of the machine's peak, and what each
//! operation takes of it.
//!
//! `cargo bench --bench step [-- BASE]`: BASE is a model folder; without one, random weights of that shape are made.
//! Run it on a machine with nothing else to do, and beside the peer (`benches/results/` has past runs).

mod timing;

use sealwright::base::Base;
use sealwright::kernels::{
    Activation, AdamW, AttentionGrad, Centre, CrossEntropy, Curve, Heads, Isa, Pairs, Rope, Scaling, Scores, attention,
    attention_backward, linear_cross_entropy, norm, norm_backward, rope,
};
use sealwright::model::{Batch, Keep, Lora, Model};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;
use timing::best;

const TOKENS: usize = 512;
const STEPS: usize = 6;
const LAYERS: usize = 30;
const HIDDEN: usize = 576;
const FFN: usize = 1536;
const VOCAB: usize = 49152;
const HEADS: Heads = Heads { query: 9, kv: 3, dim: 64 };
const RANK: usize = 16;

type Answer<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Answer {
    let mut out = std::io::stdout().lock();
    let made = tempfile::tempdir()?;
    let folder = match std::env::args().skip(1).find(|a| !a.starts_with("--")) {
        Some(folder) => PathBuf::from(folder),
        None => random_base(made.path())?,
    };
    let peak = timing::peak();
    writeln!(out, "{}, {} threads, peak {peak:.0} GFLOP/s", Isa::here().name(), rayon::current_num_threads())?;
    let start = Instant::now();
    let model = Model::load(&Base::open(&folder)?, None)?;
    let mut training = Training::new(&model)?;
    let begins = start.elapsed().as_secs_f64();
    training.step(&model, &mut model.workspace(Keep::All));
    writeln!(out, "the first step begins {begins:.2} s after the start and ends {:.2}", start.elapsed().as_secs_f64())?;
    let mut all = f64::NAN;
    for keep in [Keep::All, Keep::Inputs] {
        let (fastest, mean, cpu) = steps(&model, &mut training, keep);
        let share = 100.0 * gflop() / fastest / peak;
        writeln!(
            out,
            "step of {TOKENS} tokens, {keep:?} kept: {:.0} tokens/s, best {:.0} ({share:.0} % of the peak); {cpu:.1} ms \
             of CPU a token",
            TOKENS as f64 / mean,
            TOKENS as f64 / fastest
        )?;
        all = all.min(fastest);
    }
    let mut rest = all;
    for (name, seconds) in operations(training.lora.values.len()) {
        writeln!(out, "  {name}: {:.1} %", 100.0 * seconds / all)?;
        rest -= seconds;
    }
    writeln!(out, "  the adapter's thin products, embeddings, copies (the rest): {:.1} %", 100.0 * rest / all)?;
    Ok(())
}

/// Of the products of a step that keeps all: frozen ones forward and back, the adapter's forward and twice back.
fn gflop() -> f64 {
    let sides = HEADS.stride() + 8 * HIDDEN + 3 * FFN;
    let frozen = LAYERS * (HIDDEN * (HEADS.stride() + HIDDEN) + 3 * HIDDEN * FFN) + HIDDEN * VOCAB;
    1e-9 * TOKENS as f64 * (4 * frozen + 6 * LAYERS * RANK * sides) as f64
}

/// What a step needs, again and again.
struct Training {
    lora: Lora,
    batch: Batch,
    grad: Vec<f32>,
}

impl Training {
    fn new(model: &Model) -> Answer<Self> {
        let targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"].map(String::from);
        let mut lora = model.lora(RANK, 32.0, &targets)?;
        lora.values.iter_mut().enumerate().for_each(|(i, x)| *x = 1e-3 * ((i % 17) as f32 - 8.0));
        let tokens: Vec<u32> = (0..TOKENS as u32).map(|i| 7 + 31 * i % 1000).collect();
        let mut targets = tokens.clone();
        targets.rotate_left(1);
        let batch = Batch { tokens, targets, loss: vec![true; TOKENS], bounds: vec![0, TOKENS] };
        Ok(Self { grad: vec![0.0; lora.values.len()], lora, batch })
    }

    fn step(&mut self, model: &Model, work: &mut sealwright::model::Workspace) {
        model.train_step(&self.lora, &self.batch, &mut self.grad, work);
    }
}

/// Seconds of the best step and of all but the first, and milliseconds of CPU a token of those.
fn steps(model: &Model, training: &mut Training, keep: Keep) -> (f64, f64, f64) {
    let mut work = model.workspace(keep);
    training.step(model, &mut work);
    let (cpu, start) = (cpu_ms(), Instant::now());
    let fastest = best(STEPS - 1, || training.step(model, &mut work));
    let steps = (STEPS - 1) as f64;
    (fastest, start.elapsed().as_secs_f64() / steps, (cpu_ms() - cpu) / steps / TOKENS as f64)
}

/// Seconds that each operation takes of a step, measured by itself, the best of several.
fn operations(adapter: usize) -> Vec<(&'static str, f64)> {
    let layers = LAYERS as f64;
    let numbers = |n: usize| (0..n).map(|i| (i % 97) as f32 * 0.02 - 1.0).collect::<Vec<f32>>();
    let multiply = |tokens: usize, inputs: usize, outputs: usize| {
        let frozen = timing::weights(outputs, inputs);
        let (mut x, mut y) = (numbers(tokens * inputs), numbers(tokens * outputs));
        best(5, || frozen.forward(&x, 1.0, false, &mut y)) + best(5, || frozen.backward(&y, 1.0, &mut x))
    };
    let blocks = [(HIDDEN, HEADS.stride()), (HIDDEN, HIDDEN), (HIDDEN, 2 * FFN), (FFN, HIDDEN)];
    let multiplies = layers * blocks.map(|(inputs, outputs)| multiply(TOKENS, inputs, outputs)).iter().sum::<f64>();
    // the head's logits are made for so many rows at a time
    const ROWS: usize = 128;
    let head = (TOKENS / ROWS) as f64 * multiply(ROWS, HIDDEN, VOCAB);

    let frozen = timing::weights(VOCAB, HIDDEN);
    let (x, mut dx, mut scratch) = (numbers(TOKENS * HIDDEN), numbers(TOKENS * HIDDEN), CrossEntropy::default());
    let targets = vec![5; TOKENS];
    let with_loss = best(3, || {
        linear_cross_entropy(&x, &frozen, None, &targets, Some(&mut dx), &mut scratch);
    });

    let (qkv, mut dqkv) = (numbers(TOKENS * HEADS.stride()), numbers(TOKENS * HEADS.stride()));
    let (mut o, mut lse, bounds) = (numbers(TOKENS * HIDDEN), numbers(TOKENS * HEADS.query), [0, TOKENS]);
    let (scores, mut buffers) = (Scores::plain(HEADS.dim), AttentionGrad::default());
    let attend = best(5, || attention(&qkv, HEADS, scores, &bounds, &mut o, &mut lse));
    let attend_back =
        best(5, || attention_backward(&qkv, HEADS, scores, &bounds, &o, &lse, &x, &mut buffers, &mut dqkv));

    let (gain, mut rstd, mut dy) = (numbers(HIDDEN), numbers(TOKENS), numbers(TOKENS * HIDDEN));
    let norm_once = best(5, || norm(Centre::Zero, &x, &gain, 1e-5, &mut dx, &mut rstd));
    let norm_back = best(5, || norm_backward(Centre::Zero, &x, &gain, &rstd, &mut dy, &mut dx));

    let mut turns = Rope::new(Pairs { dim: HEADS.dim, rotated: HEADS.dim, neighbours: false }, 1e5, &Scaling::None);
    turns.reach(TOKENS);
    let positions: Vec<usize> = (0..TOKENS).collect();
    let turn = best(5, || rope(&mut dqkv, HEADS.stride(), HEADS.query + HEADS.kv, &positions, &turns));

    let (gu, mut act, mut dgu) = (numbers(TOKENS * 2 * FFN), numbers(TOKENS * FFN), numbers(TOKENS * 2 * FFN));
    let silu = Activation::Gated(Curve::Silu);
    let gate = best(5, || silu.forward(&gu, FFN, &mut act));
    let gate_back = best(5, || silu.backward(&gu, FFN, &act, &mut dgu));

    let adam = AdamW { rate: 1e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, decay: 0.0 };
    let (mut values, grad) = (numbers(adapter), numbers(adapter));
    let (mut first, mut second) = (vec![0.0; adapter], vec![0.0; adapter]);
    let update = best(3, || adam.step(1, &mut values, &grad, 1.0, &mut first, &mut second));
    vec![
        ("multiply, blocks", multiplies),
        ("multiply, head", head),
        ("attention", layers * (attend + attend_back)),
        ("cross entropy", with_loss - head),
        ("activation", layers * (2.0 * gate + gate_back)),
        ("norms", layers * 2.0 * (2.0 * norm_once + norm_back)),
        ("rotary turns", layers * 2.0 * turn),
        ("AdamW, which comes after the step", update),
    ]
}

/// A folder with random weights in the shape of SmolLM2-135M.
fn random_base(folder: &Path) -> Answer<PathBuf> {
    let (layers, hidden, kv, ffn, vocab) = (LAYERS, HIDDEN, HEADS.kv * HEADS.dim, FFN, VOCAB);
    let config = format!(
        r#"{{"model_type":"llama","architectures":["LlamaForCausalLM"],"hidden_size":{hidden},"num_hidden_layers":{layers},
        "num_attention_heads":9,"num_key_value_heads":3,"intermediate_size":{ffn},"vocab_size":{vocab},
        "rms_norm_eps":1e-5,"rope_theta":100000,"tie_word_embeddings":true}}"#
    );
    std::fs::write(folder.join("config.json"), config)?;
    let mut shapes = vec![("model.embed_tokens".to_owned(), vec![vocab, hidden]), ("model.norm".into(), vec![hidden])];
    for n in 0..layers {
        let mut add = |name: &str, shape: &[usize]| shapes.push((format!("model.layers.{n}.{name}"), shape.to_vec()));
        for name in ["input_layernorm", "post_attention_layernorm"] {
            add(name, &[hidden]);
        }
        for (projection, out) in [("q", hidden), ("k", kv), ("v", kv), ("o", hidden)] {
            add(&format!("self_attn.{projection}_proj"), &[out, hidden]);
        }
        for projection in ["gate", "up"] {
            add(&format!("mlp.{projection}_proj"), &[ffn, hidden]);
        }
        add("mlp.down_proj", &[hidden, ffn]);
    }
    write_weights(&folder.join("model.safetensors"), &shapes)?;
    Ok(folder.to_owned())
}

fn write_weights(path: &Path, shapes: &[(String, Vec<usize>)]) -> Answer {
    let mut state = 1u32;
    let mut number = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        half::bf16::from_f32((state >> 8) as f32 / (1 << 24) as f32 * 0.1 - 0.05).to_le_bytes()
    };
    let data: Vec<Vec<u8>> =
        shapes.iter().map(|(_, s)| (0..s.iter().product::<usize>()).flat_map(|_| number()).collect()).collect();
    let view = |shape: &[usize], data| {
        safetensors::tensor::TensorView::new(safetensors::tensor::Dtype::BF16, shape.to_vec(), data)
    };
    let views =
        shapes.iter().zip(&data).map(|((name, shape), data)| Ok((format!("{name}.weight"), view(shape, data)?)));
    let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    Ok(safetensors::serialize_to_file(views, None, path)?)
}

/// Milliseconds of CPU that this process has used (Linux; elsewhere not a number): what a busy machine distorts least.
fn cpu_ms() -> f64 {
    const MS_PER_TICK: f64 = 10.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = |field: usize| after_name.split_whitespace().nth(field).and_then(|t| t.parse::<f64>().ok());
    ticks(11).zip(ticks(12)).map_or(f64::NAN, |(user, system)| (user + system) * MS_PER_TICK)
}

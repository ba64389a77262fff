//! Tokens a second of a training step in the shape of SmolLM2-135M, and GFLOP a second of the multiply under it.
//!
//! `cargo bench --bench step [-- BASE]`: BASE is a model folder; without one, random weights of that shape are made.
//! Run it on a machine with nothing else to do, and beside the peer (`benches/results/` has past runs).

use sealwright::base::Base;
use sealwright::kernels::{Mat, MatMut, Threads, matmul};
use sealwright::model::{Batch, Keep, Model};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

const TOKENS: usize = 512;
const STEPS: usize = 6;

type Answer<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Answer {
    let mut out = std::io::stdout().lock();
    for (m, n, k) in [(512, 960, 576), (512, 3072, 576), (512, 576, 1536), (128, 49152, 576), (1024, 1024, 1024)] {
        writeln!(out, "multiply {m} x {n} x {k}: {:.0} GFLOP/s", multiply(m, n, k))?;
    }
    let made = tempfile::tempdir()?;
    let folder = match std::env::args().skip(1).find(|a| !a.starts_with("--")) {
        Some(folder) => PathBuf::from(folder),
        None => random_base(made.path())?,
    };
    let model = Model::load(&Base::open(&folder)?, None)?;
    for keep in [Keep::All, Keep::Inputs] {
        let (best, mean, cpu) = steps(&model, keep)?;
        writeln!(
            out,
            "step of {TOKENS} tokens, {keep:?} kept: {mean:.0} tokens/s, best {best:.0}; {cpu:.1} ms of CPU a token"
        )?;
    }
    Ok(())
}

/// GFLOP/s of y = x · Wᵀ, the best of several.
fn multiply(m: usize, n: usize, k: usize) -> f64 {
    let (x, w, mut y) = (vec![0.5; m * k], vec![0.25; n * k], vec![0.0; m * n]);
    let seconds = (0..10).map(|_| {
        let start = Instant::now();
        matmul(MatMut::new(&mut y, m, n), false, 1.0, Mat::new(&x, m, k), Mat::new(&w, n, k).t(), Threads::All);
        start.elapsed().as_secs_f64()
    });
    2e-9 * (m * n * k) as f64 / seconds.fold(f64::INFINITY, f64::min)
}

/// Milliseconds of CPU that this process has used (Linux; elsewhere not a number): what a busy machine distorts least.
fn cpu_ms() -> f64 {
    const MS_PER_TICK: f64 = 10.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = |field: usize| after_name.split_whitespace().nth(field).and_then(|t| t.parse::<f64>().ok());
    ticks(11).zip(ticks(12)).map_or(f64::NAN, |(user, system)| (user + system) * MS_PER_TICK)
}

/// Tokens a second of the best step and of all but the first, and milliseconds of CPU a token of those.
fn steps(model: &Model, keep: Keep) -> Answer<(f64, f64, f64)> {
    let targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"].map(String::from);
    let mut lora = model.lora(16, 32.0, &targets)?;
    lora.values.iter_mut().enumerate().for_each(|(i, x)| *x = 1e-3 * ((i % 17) as f32 - 8.0));
    let tokens: Vec<u32> = (0..TOKENS as u32).map(|i| 7 + 31 * i % 1000).collect();
    let mut targets = tokens.clone();
    targets.rotate_left(1);
    let batch = Batch { tokens, targets, loss: vec![true; TOKENS], bounds: vec![0, TOKENS] };
    let (mut grad, mut work) = (vec![0.0; lora.values.len()], model.workspace(keep));
    let (mut seconds, mut cpu) = (Vec::new(), 0.0);
    for step in 0..STEPS {
        if step == 1 {
            cpu = cpu_ms();
        }
        let start = Instant::now();
        model.train_step(&lora, &batch, &mut grad, &mut work);
        seconds.push(start.elapsed().as_secs_f64());
    }
    let cpu = (cpu_ms() - cpu) / ((STEPS - 1) * TOKENS) as f64;
    let best = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let mean = seconds[1..].iter().sum::<f64>() / (STEPS - 1) as f64;
    Ok((TOKENS as f64 / best, TOKENS as f64 / mean, cpu))
}

/// A folder with random weights in the shape of SmolLM2-135M.
fn random_base(folder: &Path) -> Answer<PathBuf> {
    let (layers, hidden, kv, ffn, vocab) = (30, 576, 192, 1536, 49152);
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

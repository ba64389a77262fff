//! A training step on a card, on random weights in published shapes: tokens a second, the seconds from the program's start
//! to the end of the first step, and the memory that was planned beside what the card says is taken.
//!
//! `cargo bench --bench card_step [-- CASE…]` takes a card; `-- --plan` needs none and prints what each case would hold.
//! Each case is a process of its own in `gpu.sh`, so that the start is a start.

use sealwright::base::{Base, Config, family::Family};
use sealwright::kernels::cuda::{Card, Element};
use sealwright::model::{Batch, CardModel, CardStep, CardWeights, Model, Quantize, Shape};
use std::io::{BufWriter, StdoutLock, Write as _};
use std::path::Path;
use std::time::Instant;

type Answer<T = ()> = Result<T, Box<dyn std::error::Error>>;

const RANK: usize = 16;
/// Steps that are timed, after the first.
const STEPS: usize = 8;
/// Random numbers that are written again and again: a prime, so that no two rows are alike.
const NOISE: usize = 1_048_573;
/// The share of the free memory that may be planned with, as the trainer has it.
const USABLE: f64 = 0.97;
const PROJECTIONS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// A network, and how it is trained.
struct Case {
    name: &'static str,
    layers: usize,
    hidden: usize,
    /// H, K and D
    heads: [usize; 3],
    ffn: usize,
    vocab: usize,
    tied: bool,
    quantize: Option<Quantize>,
    rows: usize,
    sequence: usize,
}

const EIGHT_BILLION: Case = Case {
    name: "8b",
    layers: 32,
    hidden: 4096,
    heads: [32, 8, 128],
    ffn: 14336,
    vocab: 128_256,
    tied: false,
    quantize: None,
    rows: 2,
    sequence: 4096,
};

const CASES: [Case; 3] = [
    EIGHT_BILLION,
    Case { name: "8b-nf4", quantize: Some(Quantize::Nf4), rows: 1, ..EIGHT_BILLION },
    Case {
        name: "135m",
        layers: 30,
        hidden: 576,
        heads: [9, 3, 64],
        ffn: 1536,
        vocab: 49152,
        tied: true,
        quantize: None,
        rows: 4,
        sequence: 2048,
    },
];

fn main() -> Answer {
    let begun = Instant::now();
    let mut out = std::io::stdout().lock();
    let named: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let only_plan = named.iter().any(|name| name == "--plan");
    for case in CASES.iter().filter(|case| only_plan || named.is_empty() || named.iter().any(|name| name == case.name))
    {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("config.json"), case.config())?;
        match only_plan {
            true => case.plan(dir.path(), &mut out)?,
            false => case.run(dir.path(), begun, &mut out)?,
        }
    }
    Ok(())
}

impl Case {
    fn config(&self) -> String {
        let [query, kv, dim] = self.heads;
        serde_json::json!({
            "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": self.hidden,
            "num_hidden_layers": self.layers, "num_attention_heads": query, "num_key_value_heads": kv, "head_dim": dim,
            "intermediate_size": self.ffn, "vocab_size": self.vocab, "rms_norm_eps": 1e-5,
            "max_position_embeddings": 131_072, "rope_theta": 500_000.0, "tie_word_embeddings": self.tied,
            "hidden_act": "silu"
        })
        .to_string()
    }

    /// Outputs and inputs of a block's projections.
    fn projections(&self) -> [(&'static str, usize, usize); 7] {
        let [query, kv, dim] = self.heads;
        let (q, kv, hidden, ffn) = (query * dim, kv * dim, self.hidden, self.ffn);
        let sizes = [(q, hidden), (kv, hidden), (kv, hidden), (hidden, q), (ffn, hidden), (ffn, hidden), (hidden, ffn)];
        std::array::from_fn(|n| (PROJECTIONS[n], sizes[n].0, sizes[n].1))
    }

    fn values(&self) -> usize {
        RANK * self.layers * self.projections().iter().map(|(_, outputs, inputs)| outputs + inputs).sum::<usize>()
    }

    fn plan(&self, folder: &Path, out: &mut StdoutLock<'_>) -> Answer {
        let config = Config::read(folder)?;
        let shape = Shape::of(&config, &Family::of(&config)?)?;
        let kept = if self.quantize.is_some() { CardWeights::Nf4 } else { CardWeights::Bf16 };
        let step = CardStep {
            weights: shape.weights_on_card(kept),
            element: Element::Bf16,
            tokens: self.rows * self.sequence,
            rank: RANK,
            values: self.values(),
        };
        for gib in [12usize, 24, 40, 80] {
            match shape.card_plan(step, ((gib << 30) as f64 * USABLE) as usize) {
                Some((keep, memory)) => writeln!(
                    out,
                    "{}: {} rows of {} on {gib} GiB: {keep:?} kept, {:.1} GB",
                    self.name,
                    self.rows,
                    self.sequence,
                    memory.total() as f64 / 1e9
                )?,
                None => writeln!(out, "{}: {} rows of {} do not fit {gib} GiB", self.name, self.rows, self.sequence)?,
            }
        }
        Ok(())
    }

    fn run(&self, folder: &Path, begun: Instant, out: &mut StdoutLock<'_>) -> Answer {
        let writing = Instant::now();
        self.write_weights(&folder.join("model.safetensors"))?;
        let written = writing.elapsed();
        let base = Base::open(folder)?;
        let model = Model::load(&base, self.quantize)?;
        let card = Card::open(0)?;
        let (free, _) = card.memory()?;
        let targets = PROJECTIONS.map(String::from);
        let mut lora = model.lora(RANK, 32.0, &targets)?;
        lora.values.iter_mut().enumerate().for_each(|(i, x)| *x = 1e-3 * ((i % 17) as f32 - 8.0));
        let step = CardStep {
            weights: model.bytes_on_card(Element::Bf16),
            element: Element::Bf16,
            tokens: self.rows * self.sequence,
            rank: RANK,
            values: lora.values.len(),
        };
        let planned = model.shape().card_plan(step, (free as f64 * USABLE) as usize);
        let (keep, memory) = planned.ok_or("does not fit this card")?;
        let on_card = CardModel::load(&model, "llama", &card, Element::Bf16)?;
        let mut training = on_card.training(&lora, step.tokens, keep)?;
        let batch = self.batch();
        let adam = sealwright::kernels::AdamW { rate: 1e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, decay: 0.0 };
        let mut one = |number: u64| -> Answer<f64> {
            training.clear_gradient()?;
            let loss = training.train_step(&batch)?;
            training.gradient_norm()?;
            training.update(&adam, number, 1.0 / step.tokens as f32)?;
            card.wait()?;
            Ok(loss / step.tokens as f64)
        };
        let first = one(1)?;
        // the weights were made, not loaded: their seconds are not the start's
        let start = (begun.elapsed() - written).as_secs_f64();
        let taken = free - card.memory()?.0;
        let timed = Instant::now();
        let losses = (2..2 + STEPS as u64).map(&mut one).collect::<Answer<Vec<f64>>>()?;
        let mean = timed.elapsed().as_secs_f64() / STEPS as f64;
        writeln!(
            out,
            "{}: {} tokens a step, {keep:?} kept: {:.0} tokens/s; first step after {start:.1} s; {:.2} GB planned, {:.2} GB \
             taken of {:.1} free; losses {first:.4}, {losses:.4?}",
            self.name,
            step.tokens,
            step.tokens as f64 / mean,
            memory.total() as f64 / 1e9,
            taken as f64 / 1e9,
            free as f64 / 1e9,
        )?;
        Ok(())
    }

    /// Rows of one document each; every position bears loss.
    fn batch(&self) -> Batch {
        let tokens = self.rows * self.sequence;
        let ids: Vec<u32> = (0..tokens).map(|i| (7 + 31 * i % 1000) as u32).collect();
        let mut targets = ids.clone();
        targets.rotate_left(1);
        let bounds = (0..=self.rows).map(|row| row * self.sequence).collect();
        Batch { tokens: ids, targets, loss: vec![true; tokens], bounds }
    }

    /// A safetensors file of bf16 noise.
    fn write_weights(&self, path: &Path) -> Answer {
        let mut tensors = vec![("model.embed_tokens".to_owned(), vec![self.vocab, self.hidden])];
        if !self.tied {
            tensors.push(("lm_head".into(), vec![self.vocab, self.hidden]));
        }
        tensors.push(("model.norm".into(), vec![self.hidden]));
        for n in 0..self.layers {
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                tensors.push((format!("model.layers.{n}.{norm}"), vec![self.hidden]));
            }
            for (name, outputs, inputs) in self.projections() {
                let half = if name.starts_with(['g', 'u', 'd']) { "mlp" } else { "self_attn" };
                tensors.push((format!("model.layers.{n}.{half}.{name}"), vec![outputs, inputs]));
            }
        }
        let (mut header, mut end) = (serde_json::Map::new(), 0usize);
        for (name, shape) in &tensors {
            let begin = end;
            end += 2 * shape.iter().product::<usize>();
            let tensor = serde_json::json!({"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]});
            header.insert(format!("{name}.weight"), tensor);
        }
        let header = serde_json::Value::Object(header).to_string();
        let mut file = BufWriter::new(std::fs::File::create(path)?);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        let noise = noise();
        let mut left = end;
        while left > 0 {
            let now = left.min(noise.len());
            file.write_all(&noise[..now])?;
            left -= now;
        }
        Ok(file.flush()?)
    }
}

/// Numbers in ±0.05.
fn noise() -> Vec<u8> {
    let mut state = 1u32;
    let number = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        half::bf16::from_f32((state >> 8) as f32 / (1 << 24) as f32 * 0.1 - 0.05).to_le_bytes()
    };
    (0..NOISE).flat_map(number).collect()
}

//! A small Llama in candle, with training. Only operations that candle can differentiate; not the program's engine.

use super::draw::Draw;
use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::rotary_emb::rope_slow;
use candle_nn::{AdamW, Optimizer, ParamsAdamW, loss, ops};
use std::time::Instant;

/// C: width of the stream.
pub const HIDDEN: usize = 96;
/// Width inside the feed-forward block.
pub const INTERMEDIATE: usize = 256;
/// Blocks.
pub const LAYERS: usize = 3;
/// H: query heads.
pub const HEADS: usize = 4;
/// Key and value heads; each serves `HEADS / KV_HEADS` query heads.
pub const KV_HEADS: usize = 2;
/// D: width of one head.
pub const HEAD: usize = HIDDEN / HEADS;
/// The longest sequence.
pub const POSITIONS: usize = 128;
/// RoPE's base frequency.
pub const ROPE_THETA: f32 = 10_000.0;
/// Added under the root of RMSNorm.
pub const EPS: f64 = 1e-5;

/// A sequence of token ids, and where its answer begins: only the answer bears loss.
pub struct Sample {
    pub ids: Vec<u32>,
    pub answer: usize,
}

/// The network's weights by their names in the Hugging Face layout.
pub struct Network {
    pub weights: Vec<(String, Var)>,
    cos: Tensor,
    sin: Tensor,
}

impl Network {
    /// New weights: normal numbers scaled by the root of the fan-in, norms of one.
    pub fn new(vocabulary: usize, draw: &mut Draw) -> Result<Self> {
        let mut weights = vec![];
        let mut add = |name: String, shape: &[usize], scale: f32| -> Result<()> {
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| draw.normal() * scale).collect();
            weights.push((name, Var::from_vec(values, shape, &Device::Cpu)?));
            Ok(())
        };
        let fan_in = |n: usize| 1.0 / (n as f32).sqrt();
        add("model.embed_tokens.weight".into(), &[vocabulary, HIDDEN], fan_in(HIDDEN))?;
        for layer in 0..LAYERS {
            let name = |part: &str| format!("model.layers.{layer}.{part}_proj.weight");
            let kv = KV_HEADS * HEAD;
            let small = fan_in(HIDDEN) / (2.0 * LAYERS as f32).sqrt();
            add(name("self_attn.q"), &[HIDDEN, HIDDEN], fan_in(HIDDEN))?;
            add(name("self_attn.k"), &[kv, HIDDEN], fan_in(HIDDEN))?;
            add(name("self_attn.v"), &[kv, HIDDEN], fan_in(HIDDEN))?;
            add(name("self_attn.o"), &[HIDDEN, HIDDEN], small)?;
            add(name("mlp.gate"), &[INTERMEDIATE, HIDDEN], fan_in(HIDDEN))?;
            add(name("mlp.up"), &[INTERMEDIATE, HIDDEN], fan_in(HIDDEN))?;
            add(name("mlp.down"), &[HIDDEN, INTERMEDIATE], small)?;
        }
        let norms = (0..LAYERS)
            .flat_map(|l| ["input", "post_attention"].map(|n| format!("model.layers.{l}.{n}_layernorm.weight")))
            .chain(["model.norm.weight".to_owned()]);
        for name in norms {
            weights.push((name, Var::ones(HIDDEN, DType::F32, &Device::Cpu)?));
        }
        let angles: Vec<f32> = (0..POSITIONS)
            .flat_map(|t| (0..HEAD / 2).map(move |i| t as f32 / ROPE_THETA.powf(2.0 * i as f32 / HEAD as f32)))
            .collect();
        let angles = Tensor::from_vec(angles, (POSITIONS, HEAD / 2), &Device::Cpu)?;
        Ok(Self { weights, cos: angles.cos()?, sin: angles.sin()? })
    }

    fn weight(&self, name: &str) -> &Tensor {
        let found = self.weights.iter().find(|(n, _)| n == name);
        found.map(|(_, var)| var.as_tensor()).expect("every name is one that `new` made")
    }

    /// ids: [B, T] → [B·T, C], after the last norm.
    fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let (b, t) = ids.dims2()?;
        let embedding = self.weight("model.embed_tokens.weight");
        let mut x = embedding.index_select(&ids.flatten_all()?, 0)?;
        let mask = causal(t)?;
        for layer in 0..LAYERS {
            let weight = |part: &str| self.weight(&format!("model.layers.{layer}.{part}.weight"));
            let normed = norm(&x, weight("input_layernorm"))?;
            let heads = |part: &str, n: usize| linear(&normed, weight(part))?.reshape((b, t, n, HEAD))?.transpose(1, 2);
            let turned = |part: &str, n: usize| rope_slow(&heads(part, n)?.contiguous()?, &self.cos, &self.sin);
            let shared = |x: Tensor| -> Result<Tensor> {
                let groups = HEADS / KV_HEADS;
                let wide = x.unsqueeze(2)?.broadcast_as((b, KV_HEADS, groups, t, HEAD))?;
                wide.contiguous()?.reshape((b, HEADS, t, HEAD))
            };
            let q = turned("self_attn.q_proj", HEADS)?.contiguous()?;
            let k = shared(turned("self_attn.k_proj", KV_HEADS)?)?;
            let v = shared(heads("self_attn.v_proj", KV_HEADS)?)?;
            let scores = (q.matmul(&k.t()?.contiguous()?)? / (HEAD as f64).sqrt())?.broadcast_add(&mask)?;
            let mixed = ops::softmax(&scores, D::Minus1)?.matmul(&v)?;
            let mixed = mixed.transpose(1, 2)?.contiguous()?.reshape((b * t, HIDDEN))?;
            x = (x + linear(&mixed, weight("self_attn.o_proj"))?)?;
            let normed = norm(&x, weight("post_attention_layernorm"))?;
            let gated = linear(&normed, weight("mlp.gate_proj"))?.silu()?;
            let gated = (gated * linear(&normed, weight("mlp.up_proj"))?)?;
            x = (x + linear(&gated, weight("mlp.down_proj"))?)?;
        }
        norm(&x, self.weight("model.norm.weight"))
    }

    /// The mean loss of the answers' tokens.
    fn loss(&self, samples: &[Sample]) -> Result<Tensor> {
        let t = samples.iter().map(|s| s.ids.len()).max().unwrap_or(0);
        let (mut ids, mut rows, mut wanted) = (vec![], vec![], vec![]);
        for (b, sample) in samples.iter().enumerate() {
            ids.extend((0..t).map(|i| sample.ids.get(i).copied().unwrap_or(0)));
            for i in sample.answer..sample.ids.len() {
                rows.push((b * t + i - 1) as u32);
                wanted.push(sample.ids[i]);
            }
        }
        let hidden = self.forward(&Tensor::from_vec(ids, (samples.len(), t), &Device::Cpu)?)?;
        let hidden = hidden.index_select(&Tensor::new(rows, &Device::Cpu)?, 0)?;
        let logits = linear(&hidden, self.weight("model.embed_tokens.weight"))?;
        loss::cross_entropy(&logits, &Tensor::new(wanted, &Device::Cpu)?)
    }
}

/// Trains on fresh batches, with warm-up and a cosine to zero; returns the mean loss of the last steps.
pub fn train(network: &Network, steps: usize, peak: f64, mut batch: impl FnMut() -> Vec<Sample>) -> Result<f32> {
    let vars = network.weights.iter().map(|(_, var)| var.clone()).collect();
    let settings = ParamsAdamW { lr: 0.0, beta2: 0.98, weight_decay: 0.01, ..Default::default() };
    let mut optimizer = AdamW::new(vars, settings)?;
    let (start, mut mean) = (Instant::now(), 0f32);
    for step in 0..steps {
        let warm = (step + 1) as f64 / (steps as f64 * 0.05).max(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / steps as f64).cos());
        optimizer.set_learning_rate(peak * warm.min(1.0) * cosine);
        let loss = network.loss(&batch())?;
        optimizer.backward_step(&loss)?;
        let loss = loss.to_scalar::<f32>()?;
        mean = if step == 0 { loss } else { 0.95 * mean + 0.05 * loss };
        if (step + 1) % 25 == 0 {
            let gone = start.elapsed().as_secs_f64();
            let left = gone / (step + 1) as f64 * (steps - step - 1) as f64;
            eprintln!("step {}/{steps}  loss {mean:.3}  {gone:.0} s gone, {left:.0} s left", step + 1);
        }
    }
    Ok(mean)
}

/// x: [N, C_in] · weight: [C_out, C_in] → [N, C_out]
fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.matmul(&weight.t()?)
}

fn norm(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(mean_square + EPS)?.sqrt()?)?.broadcast_mul(weight)
}

/// [T, T]: 0 where attention may look, minus infinity after it.
fn causal(t: usize) -> Result<Tensor> {
    let mask: Vec<f32> =
        (0..t).flat_map(|i| (0..t).map(move |j| if j > i { f32::NEG_INFINITY } else { 0.0 })).collect();
    Tensor::from_vec(mask, (t, t), &Device::Cpu)
}

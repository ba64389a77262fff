//! Generation: one token after another over a cache of keys and values, greedy or sampled.

use super::block::{Block, Kept, Shared};
use super::linear::LayerPlaces;
use super::{Lora, Model};
use crate::error::{Code, Error, Result};
use crate::kernels::{Rope, attention_cached};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

/// How the next token is picked from its logits.
pub enum Sampler {
    /// The likeliest, the first among equals.
    Greedy,
    /// Drawn from the likeliest tokens that together have the probability `top_p` (Holtzman et al. 2020).
    Nucleus {
        /// Logits are divided by it; above 0.
        temperature: f32,
        /// From 0 (the likeliest alone) to 1 (all).
        top_p: f32,
        /// Where the draws come from.
        random: Box<ChaCha8Rng>,
    },
}

impl Sampler {
    /// Greedy at temperature 0, otherwise nucleus sampling whose draws follow `seed`.
    pub fn new(temperature: f32, top_p: f32, seed: u64) -> Self {
        match temperature > 0.0 {
            true => Self::Nucleus { temperature, top_p, random: Box::new(ChaCha8Rng::seed_from_u64(seed)) },
            false => Self::Greedy,
        }
    }

    fn pick(&mut self, logits: &[f32]) -> u32 {
        match self {
            Self::Greedy => likeliest(logits),
            Self::Nucleus { temperature, top_p, random } => {
                let draw = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
                nucleus(logits, *temperature, *top_p, draw)
            }
        }
    }
}

fn likeliest(logits: &[f32]) -> u32 {
    let best = (1..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best });
    best as u32
}

/// The token at `draw` in [0, 1) of the nucleus's probability.
fn nucleus(logits: &[f32], temperature: f32, top_p: f32, draw: f64) -> u32 {
    let top = f64::from(logits[likeliest(logits) as usize]);
    let weight = |x: f32| ((f64::from(x) - top) / f64::from(temperature)).exp();
    let mut order: Vec<(u32, f64)> = logits.iter().enumerate().map(|(i, x)| (i as u32, weight(*x))).collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let total: f64 = order.iter().map(|(_, w)| w).sum();
    let mut mass = 0.0;
    let inside = order.iter().position(|(_, w)| {
        mass += w;
        mass >= f64::from(top_p) * total
    });
    let nucleus = &order[..inside.map_or(order.len(), |i| i + 1)];
    let mut left = draw * nucleus.iter().map(|(_, w)| w).sum::<f64>();
    let picked = nucleus.iter().find(|(_, w)| {
        left -= w;
        left < 0.0
    });
    picked.unwrap_or(&nucleus[nucleus.len() - 1]).0
}

/// Goes on from `prompt` until a token of `stop` (which is not returned), `max_new` tokens, or `on_token` says false.
///
/// # Errors
/// `BadInput` where the prompt is empty, has ids that the base lacks, or the adapter is not one of this base.
pub fn generate(
    model: &Model,
    lora: Option<&Lora>,
    prompt: &[u32],
    sampler: &mut Sampler,
    max_new: usize,
    stop: &[u32],
    on_token: &mut dyn FnMut(u32) -> bool,
) -> Result<Vec<u32>> {
    if prompt.is_empty() || prompt.iter().any(|id| *id as usize >= model.shape.vocab) {
        return Err(Error::new(Code::BadInput, "a prompt that is empty or has token ids that the base lacks"));
    }
    lora.map_or(Ok(()), |lora| model.accepts_lora(lora))?;
    model.reaches(prompt.len() + max_new)?;
    let mut cache = Cache::new(model, lora);
    let mut made = Vec::new();
    let mut next = prompt.to_vec();
    while made.len() < max_new {
        let token = sampler.pick(&cache.extend(&next));
        if stop.contains(&token) {
            break;
        }
        made.push(token);
        if !on_token(token) {
            break;
        }
        next = vec![token];
    }
    Ok(made)
}

/// The keys and values of everything said so far, and the buffers of a step.
struct Cache<'a> {
    model: &'a Model,
    lora: Option<&'a Lora>,
    places: Vec<LayerPlaces>,
    ropes: Vec<Rope>,
    /// A block each: keys and values, `[P, K·D]`.
    stored: Vec<(Vec<f32>, Vec<f32>)>,
    past: usize,
    kept: Kept,
    shared: Shared,
    x: Vec<f32>,
    y: Vec<f32>,
}

impl<'a> Cache<'a> {
    fn new(model: &'a Model, lora: Option<&'a Lora>) -> Self {
        Self {
            model,
            lora,
            places: lora.map_or_else(Vec::new, |lora| model.places(lora)),
            ropes: model.shape.ropes(),
            stored: vec![Default::default(); model.shape.layers],
            past: 0,
            kept: Kept::default(),
            shared: Shared::default(),
            x: Vec::new(),
            y: Vec::new(),
        }
    }

    /// Takes tokens in and gives the logits `[V]` of what follows the last.
    fn extend(&mut self, tokens: &[u32]) -> Vec<f32> {
        let (shape, total) = (&self.model.shape, self.past + tokens.len());
        let positions: Vec<usize> = (self.past..total).collect();
        self.ropes.iter_mut().for_each(|rope| rope.reach(total));
        self.model.embed(tokens, &positions, &mut self.x);
        self.y.resize(self.x.len(), 0.0);
        for (n, stored) in self.stored.iter_mut().enumerate() {
            let adapter = self.lora.map(|lora| (lora, &self.places[..]));
            let block = self.model.block(n, adapter, &self.ropes, &positions, &[]);
            block.project(&self.x, &mut self.kept, &mut self.shared);
            attend(&block, &mut self.kept, stored);
            block.gate(&self.x, &mut self.kept, &mut self.shared);
            block.finish(&self.x, &mut self.kept, &mut self.shared, &mut self.y);
            std::mem::swap(&mut self.x, &mut self.y);
        }
        self.past = total;
        self.model.logits_of(&self.x[self.x.len() - shape.hidden..])
    }
}

/// Adds the new rows' keys and values to the stored ones, and attends to all.
fn attend(block: &Block<'_>, kept: &mut Kept, (keys, values): &mut (Vec<f32>, Vec<f32>)) {
    let heads = block.shape.heads;
    let (q, kv) = (heads.query * heads.dim, heads.kv * heads.dim);
    for row in kept.qkv.chunks(heads.stride()) {
        keys.extend_from_slice(&row[q..q + kv]);
        values.extend_from_slice(&row[q + kv..]);
    }
    kept.out.resize(block.positions.len() * q, 0.0);
    attention_cached(&kept.qkv, heads, block.scores, keys, values, &mut kept.out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nucleus_is_the_smallest_set_of_that_mass() {
        let logits = [0.0, 2.0, 1.0, -9.0];
        assert_eq!(nucleus(&logits, 1.0, 0.0, 0.999), 1);
        assert_eq!(nucleus(&logits, 1.0, 0.9, 0.7), 1);
        assert_eq!(nucleus(&logits, 1.0, 0.9, 0.8), 2);
        assert_eq!(nucleus(&logits, 1.0, 1.0, 0.999_999_9), 3);
        assert_eq!(nucleus(&logits, 0.01, 1.0, 0.999), 1);
    }

    #[test]
    fn a_seed_repeats_its_draws() {
        let draws = |seed| {
            let mut sampler = Sampler::new(1.0, 1.0, seed);
            (0..20).map(|_| sampler.pick(&[0.0; 50])).collect::<Vec<_>>()
        };
        assert_eq!(draws(3), draws(3));
        assert_ne!(draws(3), draws(4));
    }
}

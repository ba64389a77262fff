//! What a GGUF's metadata says of the network, in the words of `config.json`.
//!
//! llama.cpp's files leave out what its code knows of an architecture; what they do say is taken from them alone.

use super::{Gguf, Value as Said};
use crate::error::Result;
use serde_json::{Map, Value, json};

/// Keys after the architecture's name, and what transformers calls them.
const KEYS: [(&str, &str); 21] = [
    ("embedding_length", "hidden_size"),
    ("block_count", "num_hidden_layers"),
    ("context_length", "max_position_embeddings"),
    ("feed_forward_length", "intermediate_size"),
    ("vocab_size", "vocab_size"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.key_length", "head_dim"),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    ("attention.layer_norm_epsilon", "layer_norm_eps"),
    ("attention.sliding_window", "sliding_window"),
    ("attention.scale", "attention_multiplier"),
    ("attention.clamp_kqv", "clip_qkv"),
    ("attn_logit_softcapping", "attn_logit_softcapping"),
    ("final_logit_softcapping", "final_logit_softcapping"),
    ("embedding_scale", "embedding_multiplier"),
    ("residual_scale", "residual_multiplier"),
    ("logit_scale", "logit_scale"),
    ("expert_count", "num_local_experts"),
    ("expert_used_count", "num_experts_per_tok"),
    ("rope.freq_base", "rope_theta"),
];

/// The same of RoPE's scaling.
const ROPE_KEYS: [(&str, &str); 6] = [
    ("type", "rope_type"),
    ("factor", "factor"),
    ("original_context_length", "original_max_position_embeddings"),
    ("attn_factor", "attention_factor"),
    ("yarn_beta_fast", "beta_fast"),
    ("yarn_beta_slow", "beta_slow"),
];

/// Tensors that say by what each frequency is divided: of Llama 3.1, and of LongRoPE up to its first training's length.
const DIVISORS: [&str; 2] = ["rope_freqs.weight", "rope_factors_short.weight"];

/// Architectures whose scores are scaled by what a head has of the network's width in the model of so many blocks, and
/// by the width of a head in all others: llama.cpp's code says so, and no file.
const SCALED_BY_SHARE: [(&str, u64); 2] = [("gemma2", 46), ("gemma3", 62)];

/// The architecture whose logits are divided by `logit_scale`: others multiply them.
const DIVIDES_LOGITS: &str = "granite";

impl Gguf {
    /// What `config.json` would say, as far as the file says it; nothing where it names no architecture.
    pub(in crate::base) fn config(&self) -> Result<Map<String, Value>> {
        let mut map = Map::new();
        let Some(family) = self.text("general.architecture") else { return Ok(map) };
        map.insert("model_type".into(), family.into());
        for (key, of_config) in KEYS {
            map.extend(self.said(&format!("{family}.{key}"))?.map(|value| (of_config.to_owned(), value)));
        }
        if family == DIVIDES_LOGITS {
            let scale = map.remove("logit_scale");
            map.extend(scale.map(|scale| ("logits_scaling".to_owned(), scale)));
        }
        self.of_tensors(&mut map);
        self.of_heads(family, &mut map);
        let rope = self.rope_scaling(family)?;
        if !rope.is_empty() {
            map.insert("rope_scaling".into(), rope.into());
        }
        let token = |role: &str| self.count(&format!("tokenizer.ggml.{role}_token_id"));
        map.extend(token("bos").map(|id| ("bos_token_id".to_owned(), id.into())));
        let ends: Vec<u64> = ["eos", "eot"].into_iter().filter_map(token).collect();
        if !ends.is_empty() {
            map.insert("eos_token_id".into(), ends.into());
        }
        Ok(map)
    }

    /// A value as JSON; a list where there is one for each layer, which no key of `config.json` has.
    fn said(&self, key: &str) -> Result<Option<Value>> {
        Ok(match self.metadata.get(key) {
            None => None,
            Some(Said::Unsigned(n)) => Some((*n).into()),
            Some(Said::Signed(n)) => Some((*n).into()),
            Some(Said::Float(n)) => Some(json!(n)),
            Some(Said::Bool(yes)) => Some((*yes).into()),
            Some(Said::Text(text)) => Some(text.as_str().into()),
            Some(Said::Array(_)) => self.numbers(key)?.map(|numbers| json!(numbers)),
        })
    }

    /// What the tensors tell: the vocabulary with its padding, ties and biases.
    fn of_tensors(&self, map: &mut Map<String, Value>) {
        if let Some(Said::Array(tokens)) = self.metadata.get("tokenizer.ggml.tokens") {
            map.entry("vocab_size").or_insert(tokens.len.into());
        }
        let Some(embedding) = self.tensor("token_embd.weight") else { return };
        if let [vocab, _] = embedding.shape[..] {
            map.insert("vocab_size".into(), vocab.into());
        }
        let has = |name: &str| self.tensor(name).is_some();
        map.insert("tie_word_embeddings".into(), (!has("output.weight")).into());
        map.insert("attention_bias".into(), (has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias")).into());
        map.insert("mlp_bias".into(), has("blk.0.ffn_up.bias").into());
    }

    /// What of a head turns, and by what scores are scaled, where that is another number than the head's width.
    fn of_heads(&self, family: &str, map: &mut Map<String, Value>) {
        let count = |key: &str| self.count(&format!("{family}.{key}"));
        let share = count("embedding_length").zip(count("attention.head_count")).and_then(|(c, h)| c.checked_div(h));
        let Some(dim) = count("attention.key_length").or(share) else { return };
        if let Some(turned) = count("rope.dimension_count").filter(|turned| *turned != dim && dim > 0) {
            map.insert("partial_rotary_factor".into(), json!(turned as f64 / dim as f64));
        }
        if let Some((_, blocks)) = SCALED_BY_SHARE.iter().find(|(name, _)| *name == family) {
            let scalar = share.filter(|_| count("block_count") == Some(*blocks)).unwrap_or(dim);
            map.insert("query_pre_attn_scalar".into(), scalar.into());
        }
    }

    fn rope_scaling(&self, family: &str) -> Result<Map<String, Value>> {
        let mut rope = Map::new();
        for (key, of_config) in ROPE_KEYS {
            let value = self.said(&format!("{family}.rope.scaling.{key}"))?;
            rope.extend(value.map(|value| (of_config.to_owned(), value)));
        }
        for name in DIVISORS {
            if let Some(divisors) = self.vector(name)? {
                rope.insert("rope_type".into(), "longrope".into());
                rope.insert("short_factor".into(), json!(divisors));
                rope.entry("attention_factor").or_insert(json!(1.0));
            }
        }
        let number = |key: &str| rope.get(key).and_then(Value::as_f64);
        match rope.get("rope_type").and_then(Value::as_str) {
            None | Some("none") => return Ok(Map::new()),
            Some("yarn") => {
                // llama.cpp multiplies what YaRN gives by it, transformers takes it in place of that
                let grown = number("attention_factor").zip(number("factor"));
                let grown = grown.map(|(by, factor)| by * (1.0 + 0.1 * factor.max(1.0).ln()));
                rope.extend(grown.map(|grown| ("attention_factor".to_owned(), json!(grown))));
            }
            _ => {}
        }
        Ok(rope)
    }
}

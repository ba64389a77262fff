//! The sizes of a network, out of `config.json`; what the engine cannot do is refused here, by key and value.

use crate::base::Config;
use crate::error::{Code, Error, Result};
use crate::kernels::{Heads, Rope, Scaling};
use serde_json::{Map, Value};

/// Sizes and constants of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// L
    pub layers: usize,
    /// C
    pub hidden: usize,
    /// H, K and D
    pub heads: Heads,
    /// F
    pub ffn: usize,
    /// V
    pub vocab: usize,
    /// Positions that the base was trained on.
    pub positions: usize,
    /// Added to the mean square in each norm.
    pub eps: f32,
    /// Base of the rotary frequencies.
    pub theta: f64,
    /// How they are scaled.
    pub scaling: Scaling,
    /// The head is the embedding.
    pub tied: bool,
    /// q, k, v and o have biases.
    pub attention_bias: bool,
    /// gate, up and down have biases.
    pub mlp_bias: bool,
}

/// No network has more blocks than this.
const MAX_LAYERS: usize = 1 << 12;
/// No width of a block is larger than this; products of sizes then fit 64 bits.
const MAX_WIDTH: usize = 1 << 20;
/// No vocabulary is larger than this.
const MAX_VOCAB: usize = 1 << 24;

impl Shape {
    /// Reads and checks a config of the Llama kind.
    pub fn of(config: &Config) -> Result<Self> {
        refuse_unknown_features(config)?;
        let hidden = up_to(config, "hidden_size", MAX_WIDTH)?;
        let rope = config.rope();
        Ok(Self {
            layers: up_to(config, "num_hidden_layers", MAX_LAYERS)?,
            hidden,
            heads: heads(config, hidden)?,
            ffn: up_to(config, "intermediate_size", MAX_WIDTH)?,
            vocab: up_to(config, "vocab_size", MAX_VOCAB)?,
            positions: config.count("max_position_embeddings")?.unwrap_or(2048),
            eps: config.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
            theta: rope_number(config, &rope, "rope_theta")?.unwrap_or(10_000.0),
            scaling: scaling(config, &rope)?,
            tied: config.switch("tie_word_embeddings")?,
            attention_bias: config.switch("attention_bias")?,
            mlp_bias: config.switch("mlp_bias")?,
        })
    }

    /// Its rotary table, of no position yet.
    pub(super) fn rope(&self) -> Rope {
        Rope::new(self.heads.dim, self.theta, self.scaling)
    }
}

fn up_to(config: &Config, key: &str, limit: usize) -> Result<usize> {
    match config.need_count(key)? {
        count if count <= limit => Ok(count),
        count => Err(config.wrong(key, &format!("more than {limit}: {count}"))),
    }
}

fn heads(config: &Config, hidden: usize) -> Result<Heads> {
    let query = up_to(config, "num_attention_heads", MAX_WIDTH)?;
    let kv = config.count("num_key_value_heads")?.unwrap_or(query);
    if query % kv != 0 {
        return Err(config.wrong("num_key_value_heads", &format!("{kv} does not divide {query} query heads")));
    }
    let dim = match config.count("head_dim")? {
        Some(dim) => dim,
        None if hidden.is_multiple_of(query) => hidden / query,
        None => return Err(config.wrong("num_attention_heads", &format!("{query} does not divide {hidden}"))),
    };
    if dim > MAX_WIDTH / query {
        return Err(config.wrong("head_dim", &format!("{query} heads of {dim} are wider than {MAX_WIDTH}")));
    }
    if dim % 2 != 0 {
        return Err(config.wrong("head_dim", &format!("odd, so rotary pairs don't fill it: {dim}")));
    }
    Ok(Heads { query, kv, dim })
}

fn scaling(config: &Config, rope: &Map<String, Value>) -> Result<Scaling> {
    let need = |key| {
        rope_number(config, rope, key)?.ok_or_else(|| config.wrong("rope_scaling", &format!("`{key}` is missing")))
    };
    match rope.get("rope_type").and_then(Value::as_str).unwrap_or("default") {
        "default" => Ok(Scaling::None),
        "linear" => Ok(Scaling::Linear(need("factor")?)),
        "llama3" => {
            let (low, high) = (need("low_freq_factor")?, need("high_freq_factor")?);
            if high <= low {
                return Err(config.wrong("rope_scaling", &format!("high_freq_factor {high} is not above {low}")));
            }
            Ok(Scaling::Llama3 {
                factor: need("factor")?,
                low,
                high,
                original: need("original_max_position_embeddings")?,
            })
        }
        other => Err(unsupported(config, "rope_type", other)),
    }
}

/// A positive number of RoPE's parameters.
fn rope_number(config: &Config, rope: &Map<String, Value>, key: &str) -> Result<Option<f64>> {
    match rope.get(key).filter(|v| !v.is_null()) {
        None => Ok(None),
        Some(value) => match value.as_f64().filter(|n| n.is_finite() && *n > 0.0) {
            Some(n) => Ok(Some(n)),
            None => Err(config.wrong(key, &format!("not a positive number: {value}"))),
        },
    }
}

/// What would change the numbers if it were passed over.
fn refuse_unknown_features(config: &Config) -> Result<()> {
    let given = |key: &str| config.value().get(key).filter(|v| !v.is_null());
    let activation = given("hidden_act").and_then(Value::as_str).unwrap_or("silu");
    if activation != "silu" {
        return Err(unsupported(config, "hidden_act", activation));
    }
    if let Some(window) = given("sliding_window").filter(|_| given("use_sliding_window") != Some(&Value::Bool(false))) {
        return Err(unsupported(config, "sliding_window", &window.to_string()));
    }
    for key in ["partial_rotary_factor", "embedding_multiplier", "residual_multiplier", "logits_scaling"] {
        let value = given(key).cloned().or_else(|| config.rope().get(key).cloned());
        if let Some(value) = value.filter(|v| v.as_f64() != Some(1.0)) {
            return Err(unsupported(config, key, &value.to_string()));
        }
    }
    for key in ["quantization_config", "layer_types", "no_rope_layers", "num_local_experts"] {
        if let Some(value) = given(key).filter(|v| !all_full_attention(v)) {
            return Err(unsupported(config, key, &shortened(&value.to_string())));
        }
    }
    Ok(())
}

fn all_full_attention(value: &Value) -> bool {
    value.as_array().is_some_and(|kinds| kinds.iter().all(|k| k == "full_attention"))
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

fn unsupported(config: &Config, key: &str, value: &str) -> Error {
    let message = config.wrong(key, &format!("the engine does not have this: {value}")).to_string();
    Error::new(Code::UnsupportedBase, message).with_hint("another base, or a release of sealwright that has it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shape(change: Value) -> Result<Shape> {
        let mut value = json!({
            "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "intermediate_size": 128, "vocab_size": 256, "rms_norm_eps": 1e-6, "rope_theta": 10000.0
        });
        value.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), value.to_string()).unwrap();
        Shape::of(&Config::read(dir.path())?)
    }

    #[test]
    fn both_spellings_of_rope_give_the_same() {
        let scaling = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64});
        let mut parameters = scaling.clone();
        parameters["rope_theta"] = json!(500000.0);
        let new = shape(json!({"rope_parameters": parameters, "rope_theta": null})).unwrap();
        let old = shape(json!({"rope_scaling": scaling, "rope_theta": 500000.0})).unwrap();
        assert_eq!(new, old);
        assert_eq!(old.scaling, Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 64.0 });
    }

    #[test]
    fn what_the_engine_lacks_is_refused_by_key_and_value() {
        for (change, key, value) in [
            (json!({"rope_scaling": {"type": "yarn", "factor": 4.0}}), "rope_type", "yarn"),
            (json!({"sliding_window": 4096}), "sliding_window", "4096"),
            (json!({"hidden_act": "gelu"}), "hidden_act", "gelu"),
            (json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor", "0.5"),
            (json!({"quantization_config": {"bits": 4}}), "quantization_config", "bits"),
        ] {
            let error = shape(change).unwrap_err();
            assert_eq!(error.code, Code::UnsupportedBase);
            assert!(error.to_string().contains(key) && error.to_string().contains(value), "{error}");
        }
        assert!(shape(json!({"sliding_window": 4096, "use_sliding_window": false})).is_ok());
        for (key, value) in [("hidden_size", 1 << 21), ("num_hidden_layers", 5000), ("head_dim", 1 << 30)] {
            assert_eq!(shape(json!({key: value})).unwrap_err().code, Code::BadInput);
        }
        assert_eq!(shape(json!({"head_dim": 7})).unwrap_err().code, Code::BadInput);
        assert_eq!(shape(json!({"num_key_value_heads": 3})).unwrap_err().code, Code::BadInput);
    }
}

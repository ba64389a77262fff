//! What a config says about positions: how queries and keys turn, and what each layer sees.

use crate::base::Config;
use crate::base::family::{Rotary, Switches, Turning};
use crate::error::Result;
use crate::kernels::{Pairs, Scaling};
use serde_json::{Map, Value};

/// One way of turning queries and keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Base of the rotary frequencies.
    pub theta: f64,
    /// How they are scaled.
    pub scaling: Scaling,
}

/// How a layer differs from others of its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Positions that one sees; `None` is the whole document.
    pub window: Option<usize>,
    /// Which of the network's turns; `None` where nothing turns.
    pub turn: Option<usize>,
}

/// The word of `layer_types` for a layer that sees the whole document.
pub(super) const FULL: &str = "full_attention";
const SLIDING: &str = "sliding_attention";

/// How much of a head turns, and in which pairs.
pub(super) fn pairs(config: &Config, dim: usize, neighbours: bool) -> Result<Pairs> {
    let key = "partial_rotary_factor";
    let factor = number(config, &config.rope(), key)?.unwrap_or(1.0);
    if factor > 1.0 {
        return Err(config.wrong(key, &format!("more than the whole head: {factor}")));
    }
    let rotated = (dim as f64 * factor) as usize;
    if !rotated.is_multiple_of(2) || rotated == 0 {
        return Err(config.wrong("head_dim", &format!("{rotated} of {dim} dimensions turn: they don't make pairs")));
    }
    Ok(Pairs { dim, rotated, neighbours })
}

/// The ways of turning: that of most layers, then that of layers with a window where they have their own.
pub(super) fn turns(config: &Config, pairs: Pairs) -> Result<Vec<Turn>> {
    let ratio = rope_ratio(config)?;
    let turn = |rope: Map<String, Value>| {
        let theta = number(config, &rope, "rope_theta")?.unwrap_or(10_000.0) * ratio;
        Ok(Turn { theta, scaling: scaling(config, &rope, pairs)? })
    };
    std::iter::once(config.rope()).chain(config.rope_of_windows()).map(turn).collect()
}

/// What ChatGLM 3 and GLM-4 multiply the frequencies' base by (`modeling_chatglm.py` of chatglm3-6b-32k, glm-4-9b).
///
/// # Errors
/// `UnsupportedBase` for a base that may be a ChatGLM 2, whose ratio divides positions.
fn rope_ratio(config: &Config) -> Result<f64> {
    const KEY: &str = "rope_ratio";
    /// GLM-4's.
    const VOCABULARY: u64 = 151_552;
    let Some(ratio) = config.number(KEY)?.filter(|ratio| *ratio != 1.0) else { return Ok(1.0) };
    let text = |key: &str| config.value().get(key).and_then(Value::as_str).unwrap_or_default().to_lowercase();
    let vocabulary = config.value().get("padded_vocab_size").and_then(Value::as_u64);
    if ratio <= 0.0 || !(text("_name_or_path").contains("chatglm3") || vocabulary == Some(VOCABULARY)) {
        return Err(config.unsupported(KEY, &ratio.to_string()));
    }
    Ok(ratio)
}

/// What each layer sees and how it turns.
pub(super) fn kinds(config: &Config, layers: usize, switches: &Switches) -> Result<Vec<Kind>> {
    let own = config.rope_of_windows().is_some();
    let still = still(config, layers)?;
    let kind = |(window, still): (Option<usize>, bool)| {
        let turn = if own && window.is_some() { 1 } else { 0 };
        let still = still || (switches.turning == Turning::Windows && window.is_none());
        Kind { window, turn: (!still && switches.rotary != Rotary::None).then_some(turn) }
    };
    Ok(windows(config, layers)?.into_iter().zip(still).map(kind).collect())
}

/// Layer by layer: by `layer_types`, or all but every n-th (`sliding_window_pattern`), or all from one on.
fn windows(config: &Config, layers: usize) -> Result<Vec<Option<usize>>> {
    let unused = config.value().get("use_sliding_window") == Some(&Value::Bool(false));
    let window = if unused { None } else { config.count("sliding_window")? };
    if let Some(kinds) = list(config, "layer_types", layers)? {
        let window = |kind: &Value| match kind.as_str() {
            Some(FULL) => Ok(None),
            Some(SLIDING) => Ok(window),
            _ => Err(config.unsupported("layer_types", &kind.to_string())),
        };
        return kinds.iter().map(window).collect();
    }
    let full_every = config.count("sliding_window_pattern")?;
    let first = config.number("max_window_layers")?.unwrap_or(0.0) as usize;
    let slides = |n: usize| full_every.map_or(n >= first, |every| !(n + 1).is_multiple_of(every));
    Ok((0..layers).map(|n| window.filter(|_| slides(n))).collect())
}

/// Layers in which nothing turns (NoPE, SmolLM 3): by `no_rope_layers`, whose 0 means such a layer, or every n-th.
fn still(config: &Config, layers: usize) -> Result<Vec<bool>> {
    if let Some(turns) = list(config, "no_rope_layers", layers)? {
        return Ok(turns.iter().map(|t| t.as_u64() == Some(0)).collect());
    }
    let every = config.count("no_rope_layer_interval")?;
    Ok((1..=layers).map(|n| every.is_some_and(|every| n % every == 0)).collect())
}

/// A list with an entry for each layer.
fn list<'a>(config: &'a Config, key: &str, layers: usize) -> Result<Option<&'a Vec<Value>>> {
    match config.value().get(key).filter(|v| !v.is_null()) {
        None => Ok(None),
        Some(Value::Array(list)) if list.len() == layers => Ok(Some(list)),
        Some(_) => Err(config.wrong(key, &format!("not a list with an entry for each of {layers} layers"))),
    }
}

fn scaling(config: &Config, rope: &Map<String, Value>, pairs: Pairs) -> Result<Scaling> {
    let need =
        |key| number(config, rope, key)?.ok_or_else(|| config.wrong("rope_scaling", &format!("`{key}` is missing")));
    match kind(rope) {
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
        "yarn" => yarn(config, rope),
        "longrope" | "su" => longrope(config, rope, pairs),
        other => Err(config.unsupported("rope_type", other)),
    }
}

fn kind(rope: &Map<String, Value>) -> &str {
    rope.get("rope_type").and_then(Value::as_str).unwrap_or("default")
}

fn yarn(config: &Config, rope: &Map<String, Value>) -> Result<Scaling> {
    let of = |key| number(config, rope, key);
    let (factor, original) = stretch(config, rope)?;
    let grown = |by: f64| if factor <= 1.0 { 1.0 } else { 0.1 * by * factor.ln() + 1.0 };
    let attention = match (of("attention_factor")?, of("mscale")?, of("mscale_all_dim")?) {
        (Some(attention), ..) => attention,
        (None, Some(one), Some(all)) => grown(one) / grown(all),
        _ => grown(1.0),
    };
    Ok(Scaling::Yarn {
        factor,
        original,
        fast: of("beta_fast")?.unwrap_or(32.0),
        slow: of("beta_slow")?.unwrap_or(1.0),
        whole: rope.get("truncate") != Some(&Value::Bool(false)),
        attention,
    })
}

/// The divisors for documents that are no longer than what the base was first trained on; see [`longest`].
fn longrope(config: &Config, rope: &Map<String, Value>, pairs: Pairs) -> Result<Scaling> {
    let key = "short_factor";
    let list =
        rope.get(key).and_then(Value::as_array).ok_or_else(|| config.wrong("rope_scaling", "no short_factor"))?;
    let divisors: Vec<f64> = list.iter().filter_map(Value::as_f64).filter(|d| d.is_finite() && *d > 0.0).collect();
    if divisors.len() != list.len() || divisors.len() != pairs.rotated / 2 {
        return Err(config.wrong(key, &format!("not {} positive numbers", pairs.rotated / 2)));
    }
    let (factor, original) = stretch(config, rope)?;
    let grown = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
    Ok(Scaling::Each { divisors, attention: number(config, rope, "attention_factor")?.unwrap_or(grown) })
}

/// How much further positions reach than those of the first training, and how many those were.
fn stretch(config: &Config, rope: &Map<String, Value>) -> Result<(f64, f64)> {
    let original = number(config, rope, "original_max_position_embeddings")?;
    let positions = config.count("max_position_embeddings")?.map(|n| n as f64);
    let original = original.or(positions).ok_or_else(|| config.wrong("max_position_embeddings", "missing"))?;
    let factor = number(config, rope, "factor")?.or(positions.map(|n| n / original)).unwrap_or(1.0);
    Ok((factor, original))
}

/// LongRoPE has other divisors for longer documents, and the engine one table for all: it stays with the short ones.
pub(super) fn longest(config: &Config) -> Result<Option<usize>> {
    let rope = config.rope();
    Ok(match kind(&rope) {
        "longrope" | "su" => Some(stretch(config, &rope)?.1 as usize),
        _ => None,
    })
}

/// A positive number of RoPE's parameters.
fn number(config: &Config, rope: &Map<String, Value>, key: &str) -> Result<Option<f64>> {
    match rope.get(key).filter(|v| !v.is_null()) {
        None => Ok(None),
        Some(value) => match value.as_f64().filter(|n| n.is_finite() && *n > 0.0) {
            Some(n) => Ok(Some(n)),
            None => Err(config.wrong(key, &format!("not a positive number: {value}"))),
        },
    }
}

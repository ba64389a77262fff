//! Base families: how one kind of base is built and named, out of `adapters/*.toml`. Data, no arithmetic.

use super::Config;
use crate::data::{self, ADAPTERS, Folder};
use crate::error::{Code, Error, Result};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// One kind of base.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Family {
    /// As messages name it.
    pub name: String,
    /// Values of `model_type` that mean it.
    pub model_types: Vec<String>,
    /// Values of `architectures` that the engine's causal language model covers.
    pub architectures: Vec<String>,
    /// Keys of `config.json` that mean something in this family alone or in few; any other family refuses them.
    #[serde(default)]
    pub reads: Vec<String>,
    /// What this family calls a key of `config.json` that others call as Llama does: `hidden_size = "n_embd"`.
    #[serde(default)]
    pub keys: BTreeMap<String, String>,
    /// What `config.json` means where it does not have a key.
    #[serde(default)]
    pub defaults: BTreeMap<String, Value>,
    /// The only value that the engine has for a key, where one is given.
    #[serde(default)]
    pub requires: BTreeMap<String, Value>,
    /// Words of `hidden_act` that mean another one in this family.
    #[serde(default)]
    pub activations: BTreeMap<String, String>,
    /// How the network differs.
    #[serde(default)]
    pub switches: Switches,
    /// Which projections have biases.
    #[serde(default)]
    pub biases: Biases,
    /// What the checkpoint calls its tensors.
    pub weights: Weights,
    /// What it calls its linear projections.
    pub projections: Projections,
    /// What it calls its experts, where feed-forward is routed.
    pub experts: Option<Experts>,
    /// How llama.cpp's files have it; a family that does not say is not read from them.
    pub gguf: Option<InGguf>,
    /// What its code, and no file of a base, says of its SentencePiece tokenizer.
    #[serde(default)]
    pub tokenizer: Spoken,
}

/// How llama.cpp's files have a family; the names of the tensors are the same in all (`base/gguf/names.rs`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct InGguf {
    /// Values of `general.architecture` that mean it; where several families have one, the first of them by name does.
    pub architectures: Vec<String>,
    /// The rows of q and k, and their biases, are reordered in each head: 2i and 2i + 1 are what i and i + D/2 are here.
    #[serde(default)]
    pub turned: bool,
}

/// What a family's code says of its SentencePiece tokenizer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Spoken {
    /// Tokens whose ids follow those of the model, in their order.
    pub special: Vec<String>,
    /// What begins a text that no template frames; the base's `bos_token` where nothing is said.
    pub prefix: Vec<String>,
}

/// How a network differs from Llama's: a closed list, each word with its golden test. What is not said is as there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Switches {
    /// The normalisation before attention, feed-forward and head.
    pub norm: Norm,
    /// What its weights mean.
    pub gain: Gain,
    /// The normalisation of queries and keys before they turn.
    pub query_key_norm: QueryKeyNorm,
    /// The feed-forward block.
    pub feed_forward: FeedForward,
    /// How the matrices of the projections lie.
    pub matrices: Matrices,
    /// How queries, keys and values lie where they share one matrix.
    pub shared_qkv: SharedQkv,
    /// What attention and feed-forward start from.
    pub residual: Residual,
    /// Which dimensions the rotary embedding pairs.
    pub rotary: Rotary,
    /// In which layers it turns.
    pub turning: Turning,
    /// What an embedding is multiplied by.
    pub embedding: Embedding,
}

/// The normalisation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Norm {
    /// x / rms(x) · gain (Zhang and Sennrich 2019).
    #[default]
    Rms,
    /// (x − mean(x)) / deviation(x) · gain (Ba et al. 2016).
    Layer,
}

/// What a norm's weights mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gain {
    /// They are the gain.
    #[default]
    Weight,
    /// The gain is 1 more (Gemma).
    OnePlusWeight,
}

/// The normalisation of queries and keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueryKeyNorm {
    /// None.
    #[default]
    None,
    /// RMSNorm of each head, with one gain for all heads of a kind (Qwen 3).
    Heads,
    /// RMSNorm of all query heads as one row, and of all key heads (OLMo 2).
    Width,
    /// LayerNorm of each head, a gain for each, where `use_qk_norm` says so (Command R+).
    LayerHeads,
}

/// The feed-forward block; `hidden_act` says what act is, silu where nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeedForward {
    /// down(act(gate(x)) · up(x)) (Shazeer 2020).
    #[default]
    Gated,
    /// down(act(up(x))), four times as wide as the block where `intermediate_size` is not said.
    Plain,
    /// The few experts, each a gated block, that a router picks for a token (Shazeer et al. 2017).
    Experts,
    /// The same with down((1 + clamp(up(x))) · g · σ(1.702 g)) for g = min(gate(x), limit) (gpt-oss).
    ClampedExperts,
}

/// How the matrix of a projection lies in the checkpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Matrices {
    /// `[out, in]`
    #[default]
    OutIn,
    /// `[in, out]` (GPT 1 and 2)
    InOut,
}

/// How queries, keys and values lie where they share one matrix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SharedQkv {
    /// All queries, all keys, all values.
    #[default]
    InTurn,
    /// For each key head: its queries, itself, its values (GPT-NeoX).
    ByHead,
}

/// What attention and feed-forward start from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Residual {
    /// Feed-forward from what attention gave.
    #[default]
    Sequential,
    /// Both from the input of the block: of one norm (Cohere), or each of its own (GPT-NeoX). Where the family reads
    /// `use_parallel_residual`, that may say no.
    Parallel,
    /// As `sequential`, but each half adds to what its norm gave, not to what went into it (GPT 1).
    OfNorm,
}

/// Which dimensions the rotary embedding pairs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rotary {
    /// i with i + R/2.
    #[default]
    Halves,
    /// 2i with 2i + 1.
    Neighbours,
    /// None.
    None,
}

/// In which layers the rotary embedding turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Turning {
    /// In all that `no_rope_layers` does not except.
    #[default]
    All,
    /// In those with a window (Command R7B).
    Windows,
}

/// What an embedding is multiplied by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Embedding {
    /// `embedding_multiplier`, which is 1 where the family does not read it.
    #[default]
    Plain,
    /// √C (Gemma).
    TimesRootWidth,
}

/// Which projections have biases; not said is never.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct Biases {
    pub qkv: Bias,
    pub o: Bias,
    pub gate_up: Bias,
    pub down: Bias,
    pub norms: Bias,
}

/// Whether a projection has a bias.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Bias {
    /// In every base of the family, or in none.
    Fixed(bool),
    /// A switch in `config.json` says.
    Key(String),
}

impl Default for Bias {
    fn default() -> Self {
        Self::Fixed(false)
    }
}

/// Tensor names; `{layer}` stands for the number of the layer, `{before}` for that of the one before it: what it names
/// is not there in the first. A norm, a table of positions or sinks without a name are what the family lacks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct Weights {
    pub embedding: String,
    pub positions: Option<String>,
    /// `{last}` stands for the number of the last layer.
    pub final_norm: String,
    pub head: String,
    pub attention_norm: Option<String>,
    pub query_norm: Option<String>,
    pub key_norm: Option<String>,
    pub sinks: Option<String>,
    pub after_attention_norm: Option<String>,
    pub feed_forward_norm: Option<String>,
    pub after_feed_forward_norm: Option<String>,
    /// What checkpoints may leave out at the beginning of every name.
    #[serde(default)]
    pub prefix: String,
    /// Ends of names that mean nothing: tables of what is computed.
    #[serde(default)]
    pub ignored: Vec<String>,
}

/// Names of the linear projections, without `.weight`. One name where several are meant is one matrix for all.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct Projections {
    pub qkv: Vec<String>,
    pub o: String,
    #[serde(default)]
    pub gate_up: Vec<String>,
    pub down: Option<String>,
}

/// Names of the experts' tensors; `{expert}` stands for the number of the expert. Where a name lacks it, the tensor
/// holds all experts, `[experts, in, out]`, with gate and up by turns and a `…_bias` beside it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct Experts {
    /// Without `.weight`.
    pub router: String,
    pub router_bias: bool,
    pub gate_up: Vec<String>,
    pub down: String,
}

impl Projections {
    /// All of them, in the order of the network.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.qkv.iter().chain([&self.o]).chain(&self.gate_up).chain(&self.down).map(String::as_str)
    }

    /// What `train.targets` may name: the last part of each name, once.
    pub fn targets(&self) -> Vec<&str> {
        let mut targets: Vec<&str> = Vec::new();
        for name in self.all().map(|name| name.rsplit('.').next().unwrap_or(name)) {
            if !targets.contains(&name) {
                targets.push(name);
            }
        }
        targets
    }
}

/// A name of the data, for one layer; `{before}` must not stand in it for the first.
pub fn at_layer(name: &str, layer: usize) -> String {
    name.replace("{layer}", &layer.to_string()).replace("{before}", &layer.saturating_sub(1).to_string())
}

impl Family {
    /// Every family of the data.
    pub fn all() -> Result<Vec<Self>> {
        let folder = Folder::embedded(&ADAPTERS);
        folder.under("").map(|(name, text)| data::parse(&Path::new("adapters").join(name), text)).collect()
    }

    /// The family that a config names; an unknown one is refused, with the nearest.
    pub fn of(config: &Config) -> Result<Self> {
        let families = Self::all()?;
        let wanted = config.need("model_type")?.as_str().ok_or_else(|| config.wrong("model_type", "not a word"))?;
        if config.is_of_gguf() {
            return Self::of_architecture(config, families, wanted);
        }
        let Some(family) = families.iter().find(|f| f.model_types.iter().any(|t| t == wanted)) else {
            let error = config.wrong("model_type", &format!("a family that the engine does not know: {wanted}"));
            let known = families.iter().flat_map(|f| f.model_types.iter().map(String::as_str));
            let hint = match data::nearest(wanted, known.clone()) {
                Some(near) => format!("the nearest known one is {near}"),
                None => format!("known: {}", known.collect::<Vec<_>>().join(", ")),
            };
            let hint = format!(
                "{hint}. One that is built like a known one is a file adapters/{}.toml after it: CONTRIBUTING.md, How to \
                 add a base family",
                wanted.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_")
            );
            return Err(Error::new(Code::UnsupportedBase, error.to_string()).with_hint(hint));
        };
        match config.architecture() {
            Some(name) if !family.architectures.iter().any(|a| a == name) => Err(Error::new(
                Code::UnsupportedBase,
                config.wrong("architectures", &format!("not one of the {} family: {name}", family.name)).to_string(),
            )
            .with_hint(format!("known: {}", family.architectures.join(", ")))),
            _ => Ok(family.clone()),
        }
    }

    /// The family that a GGUF's architecture means.
    fn of_architecture(config: &Config, families: Vec<Self>, wanted: &str) -> Result<Self> {
        let read = |f: &Self| f.gguf.as_ref().map(|how| how.architectures.clone()).unwrap_or_default();
        let mut known: Vec<String> = families.iter().flat_map(read).collect();
        known.sort();
        known.dedup();
        families.into_iter().find(|f| read(f).iter().any(|a| a == wanted)).ok_or_else(|| {
            let message = format!("{}: GGUF files of `{wanted}` are not read", config.path().display());
            Error::new(Code::UnsupportedBase, message)
                .with_hint(format!("use the model's Hugging Face folder; read are {}", known.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Config {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), json).unwrap();
        Config::read(dir.path()).unwrap()
    }

    #[test]
    fn a_config_finds_its_family() {
        let family = Family::of(&config(r#"{"model_type":"llama","architectures":["LlamaForCausalLM"]}"#)).unwrap();
        assert_eq!(family.projections.targets()[0], "q_proj");
        assert_eq!(at_layer(&family.projections.o, 7), "model.layers.7.self_attn.o_proj");
    }

    #[test]
    fn an_unknown_family_is_refused_by_name() {
        let error = Family::of(&config(r#"{"model_type":"lama"}"#)).unwrap_err();
        assert_eq!(error.code, Code::UnsupportedBase);
        assert!(error.to_string().contains("lama"));
        assert!(error.hint().unwrap().contains("known one is llama. ") && error.hint().unwrap().contains("/lama.toml"));
        let error = Family::of(&config(r#"{"model_type":"llama","architectures":["LlamaForTokens"]}"#)).unwrap_err();
        assert!(error.to_string().contains("LlamaForTokens"));
    }
}

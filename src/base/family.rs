//! Base families: how one kind of base is built and named, out of `adapters/*.toml`. Data, no arithmetic.

use super::Config;
use crate::data::{self, ADAPTERS, Folder};
use crate::error::{Code, Error, Result};
use serde::Deserialize;
use std::path::Path;

/// One kind of base.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Family {
    /// As messages name it.
    pub name: String,
    /// Values of `model_type` that mean it.
    pub model_types: Vec<String>,
    /// Values of `architectures` that the engine's causal language model covers.
    pub architectures: Vec<String>,
    /// How the network differs.
    pub switches: Switches,
    /// What the checkpoint calls its tensors.
    pub weights: Weights,
    /// What it calls its linear projections.
    pub projections: Projections,
}

/// How a network differs from others: a closed list, each word with its golden test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Switches {
    /// The normalisation before attention, feed-forward and head.
    pub norm: Norm,
    /// The feed-forward block.
    pub feed_forward: FeedForward,
    /// Which dimensions the rotary embedding pairs.
    pub rotary: Rotary,
}

/// The normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Norm {
    /// x / rms(x) · weight (Zhang and Sennrich 2019).
    Rms,
}

/// The feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeedForward {
    /// down(silu(gate(x)) · up(x)) (Shazeer 2020, SwiGLU).
    GatedSilu,
}

/// Which dimensions the rotary embedding pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rotary {
    /// i with i + D/2.
    Halves,
}

/// Tensor names; `{layer}` stands for the number of the layer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct Weights {
    pub embedding: String,
    pub final_norm: String,
    pub head: String,
    pub attention_norm: String,
    pub feed_forward_norm: String,
}

/// Names of the linear projections, without `.weight`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct Projections {
    pub q: String,
    pub k: String,
    pub v: String,
    pub o: String,
    pub gate: String,
    pub up: String,
    pub down: String,
}

impl Projections {
    /// All of them, in the order of the network.
    pub fn all(&self) -> [&str; 7] {
        [&self.q, &self.k, &self.v, &self.o, &self.gate, &self.up, &self.down].map(String::as_str)
    }

    /// What `train.targets` may name: the last part of each name.
    pub fn targets(&self) -> [&str; 7] {
        self.all().map(|name| name.rsplit('.').next().unwrap_or(name))
    }
}

/// A name of the data, for one layer.
pub fn at_layer(name: &str, layer: usize) -> String {
    name.replace("{layer}", &layer.to_string())
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
        let Some(family) = families.iter().find(|f| f.model_types.iter().any(|t| t == wanted)) else {
            let error = config.wrong("model_type", &format!("a family that the engine does not know: {wanted}"));
            let known = families.iter().flat_map(|f| f.model_types.iter().map(String::as_str));
            let hint = match data::nearest(wanted, known.clone()) {
                Some(near) => format!("the nearest known one is {near}"),
                None => format!("known: {}", known.collect::<Vec<_>>().join(", ")),
            };
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
        assert_eq!(at_layer(&family.projections.down, 7), "model.layers.7.mlp.down_proj");
    }

    #[test]
    fn an_unknown_family_is_refused_by_name() {
        let error = Family::of(&config(r#"{"model_type":"lama"}"#)).unwrap_err();
        assert_eq!(error.code, Code::UnsupportedBase);
        assert!(error.to_string().contains("lama") && error.hint().unwrap().contains("llama"));
        let error = Family::of(&config(r#"{"model_type":"llama","architectures":["LlamaForTokens"]}"#)).unwrap_err();
        assert!(error.to_string().contains("LlamaForTokens"));
    }
}

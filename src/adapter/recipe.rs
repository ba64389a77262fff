//! How an adapter adapts: the meaning of `adapter_config.json`, as PEFT writes and reads it.
//!
//! What the engine cannot do is refused by the name of the key, and so is every key that this file doesn't know,
//! unless its value says "not in use": an adapter that is half understood would answer wrongly, and silently.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// An adapter config may not be larger than this.
pub const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// No rank above this is meant.
pub const MAX_RANK: usize = 1 << 16;

/// Which projections are adapted, and by how much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// The base by its public name; PEFT loads it from there when none is given. Never a path of this machine.
    pub base_model: String,
    /// R
    pub rank: usize,
    /// The update is scaled by `alpha / R`, or by `alpha / √R` with `rslora`.
    pub alpha: f32,
    /// Rank-stabilised scaling (arXiv:2312.03732).
    pub rslora: bool,
    /// The base keeps its matrices `[in, out]`; the adapter's are the same all the same.
    pub in_out: bool,
    /// Last words of the adapted modules' names, sorted: `q_proj`.
    pub targets: Vec<String>,
}

/// Keys that change nothing about what a finished adapter computes.
const FREE: [&str; 20] = [
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "ephemeral_gpu_offload",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "r",
    "revision",
    "runtime_config",
    "target_modules",
    "use_rslora",
];

/// Initialisations that leave the base as it is; the others (PiSSA, OLoRA, LoftQ, …) take their share out of it.
const HARMLESS_INITS: [&str; 3] = ["gaussian", "orthogonal", "eva"];

impl Recipe {
    /// The last words of these modules' names, each once, sorted.
    pub fn targets_of<'m>(modules: impl IntoIterator<Item = &'m str>) -> Vec<String> {
        let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
        modules.into_iter().map(last).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What, divided by R, scales the update: `alpha`, or `alpha · √R` with rslora.
    pub fn plain_alpha(&self) -> f32 {
        if self.rslora { self.alpha * (self.rank as f32).sqrt() } else { self.alpha }
    }

    /// The text of `adapter_config.json`: sorted keys, two spaces, as PEFT writes it.
    pub fn to_config(&self) -> String {
        let mut targets = self.targets.clone();
        targets.sort();
        let whole = self.alpha.fract() == 0.0 && self.alpha.abs() < 1e9;
        let alpha = if whole { json!(self.alpha as i64) } else { json!(self.alpha) };
        let config = json!({
            "alpha_pattern": {},
            "auto_mapping": null,
            "base_model_name_or_path": self.base_model,
            "bias": "none",
            "fan_in_fan_out": self.in_out,
            "inference_mode": true,
            "init_lora_weights": true,
            "layers_pattern": null,
            "layers_to_transform": null,
            "lora_alpha": alpha,
            "lora_dropout": 0.0,
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": self.rank,
            "rank_pattern": {},
            "revision": null,
            "target_modules": targets,
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": self.rslora,
        });
        serde_json::to_string_pretty(&config).expect("our own values serialise") + "\n"
    }

    /// Reads an `adapter_config.json`; `path` is for messages.
    ///
    /// `targets` are the names that the file lists; a pattern instead of names leaves them empty, since the
    /// tensors say what is adapted.
    pub fn from_config(path: &Path, bytes: &[u8]) -> Result<Self> {
        let config: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|e| Error::input(path, format!("not a JSON object: {e}")))?;
        refuse_what_is_not_understood(path, &config)?;
        let alpha = config.get("lora_alpha").and_then(Value::as_f64).map(|a| a as f32).filter(|a| a.is_finite());
        let mut targets = target_names(path, config.get("target_modules"))?;
        targets.sort();
        targets.dedup();
        Ok(Self {
            base_model: config.get("base_model_name_or_path").and_then(Value::as_str).unwrap_or_default().to_owned(),
            rank: rank(path, config.get("r"))?,
            alpha: alpha.ok_or_else(|| Error::input(path, "`lora_alpha` is not a finite number"))?,
            rslora: config.get("use_rslora") == Some(&Value::Bool(true)),
            in_out: config.get("fan_in_fan_out") == Some(&Value::Bool(true)),
            targets,
        })
    }
}

fn rank(path: &Path, value: Option<&Value>) -> Result<usize> {
    let rank = value.and_then(Value::as_u64).and_then(|r| usize::try_from(r).ok());
    rank.filter(|r| (1..=MAX_RANK).contains(r))
        .ok_or_else(|| Error::input(path, format!("`r` is not a rank from 1 to {MAX_RANK}")))
}

fn target_names(path: &Path, value: Option<&Value>) -> Result<Vec<String>> {
    let wrong = || Error::input(path, "`target_modules` is neither a pattern nor a list of names");
    match value {
        None | Some(Value::Null | Value::String(_)) => Ok(Vec::new()),
        Some(Value::Array(names)) => names.iter().map(|n| n.as_str().map(String::from).ok_or_else(wrong)).collect(),
        Some(_) => Err(wrong()),
    }
}

fn refuse_what_is_not_understood(path: &Path, config: &Map<String, Value>) -> Result<()> {
    for (key, value) in config {
        let understood = match key.as_str() {
            "peft_type" => value == "LORA",
            "task_type" => value == "CAUSAL_LM" || value.is_null(),
            "bias" => value == "none",
            "fan_in_fan_out" => value.is_boolean(),
            "init_lora_weights" => value.is_boolean() || value.as_str().is_some_and(|s| HARMLESS_INITS.contains(&s)),
            free if FREE.contains(&free) => true,
            _ => is_unused(value),
        };
        if !understood {
            return Err(Error::input(path, format!("`{key}` is set to what this program cannot apply: {value}"))
                .with_hint("train it as plain LoRA, or merge it into its base with the tool that made it"));
        }
    }
    match config.get("peft_type") {
        Some(_) => Ok(()),
        None => Err(Error::input(path, "`peft_type` is missing").with_hint("a PEFT adapter folder is wanted")),
    }
}

fn is_unused(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        Recipe {
            base_model: "example/base".into(),
            rank: 16,
            alpha: 32.0,
            rslora: false,
            in_out: false,
            targets: vec!["q_proj".into(), "down_proj".into()],
        }
    }

    #[test]
    fn a_config_comes_back_with_sorted_targets() {
        let text = recipe().to_config();
        assert!(text.contains("\"lora_alpha\": 32,"), "PEFT's own type is a whole number");
        let back = Recipe::from_config(Path::new("c"), text.as_bytes()).unwrap();
        assert_eq!(back, Recipe { targets: vec!["down_proj".into(), "q_proj".into()], ..recipe() });
    }

    #[test]
    fn rank_stabilised_scaling_is_honoured() {
        let rslora = Recipe { rslora: true, ..recipe() };
        assert_eq!(rslora.plain_alpha() / 16.0, 32.0 / 4.0);
        assert!(Recipe::from_config(Path::new("c"), rslora.to_config().as_bytes()).unwrap().rslora);
        let in_out = Recipe { in_out: true, ..recipe() };
        assert!(Recipe::from_config(Path::new("c"), in_out.to_config().as_bytes()).unwrap().in_out);
    }

    #[test]
    fn what_cannot_be_applied_is_refused_by_name() {
        for (key, value) in [
            ("use_dora", json!(true)),
            ("bias", json!("all")),
            ("modules_to_save", json!(["lm_head"])),
            ("rank_pattern", json!({"q_proj": 4})),
            ("alpha_pattern", json!({"q_proj": 4})),
            ("init_lora_weights", json!("pissa")),
            ("trainable_token_indices", json!([1, 2])),
            ("peft_type", json!("IA3")),
            ("task_type", json!("SEQ_CLS")),
            ("a_key_of_next_year", json!("on")),
            ("r", json!(0)),
            ("lora_alpha", json!("x")),
        ] {
            let mut config: Map<String, Value> = serde_json::from_str(&recipe().to_config()).unwrap();
            config.insert(key.into(), value);
            let text = serde_json::to_vec(&config).unwrap();
            let error = Recipe::from_config(Path::new("c"), &text).unwrap_err();
            assert!(error.to_string().contains(&format!("`{key}`")), "{key}: {error}");
        }
    }

    #[test]
    fn a_pattern_instead_of_names_is_read() {
        let mut config: Map<String, Value> = serde_json::from_str(&recipe().to_config()).unwrap();
        config.insert("target_modules".into(), json!("all-linear"));
        let back = Recipe::from_config(Path::new("c"), &serde_json::to_vec(&config).unwrap()).unwrap();
        assert!(back.targets.is_empty());
    }
}

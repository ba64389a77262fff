//! What llama.cpp calls a network's tensors (`gguf-py/gguf/constants.py`): one name a role, the same in every family.

use crate::base::family::{self, Family};

/// Names of what stands outside the blocks.
const EMBEDDING: &str = "token_embd";
const POSITIONS: &str = "position_embd";
const HEAD: &str = "output";
const FINAL_NORM: &str = "output_norm";

/// Tensors that say what [`super::config`] reads out of them.
const READ_ELSEWHERE: [&str; 3] = ["rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight"];

/// Is it read with the metadata, and no part of the network?
pub fn is_metadata(name: &str) -> bool {
    READ_ELSEWHERE.contains(&name)
}

/// Is it a matrix or bias of queries or keys, whose rows some files hold in another order?
pub fn is_query_or_key(name: &str) -> bool {
    let role = in_block(name).map(|(_, role)| stem(role).0);
    matches!(role, Some("attn_q" | "attn_k"))
}

/// The name of the family's data for a tensor of a GGUF, its layer filled in; `None` where the family has no such role.
pub fn in_checkpoint(family: &Family, name: &str) -> Option<String> {
    let (role, end) = stem(name);
    let weights = &family.weights;
    let whole = match role {
        EMBEDDING => Some(weights.embedding.as_str()),
        POSITIONS => weights.positions.as_deref(),
        HEAD => Some(weights.head.as_str()),
        FINAL_NORM => Some(weights.final_norm.as_str()),
        _ => None,
    };
    if let Some(name) = whole {
        return Some(format!("{}{end}", stem(name).0));
    }
    let (layer, role) = in_block(role)?;
    let name = of_block(family, role)?;
    Some(format!("{}{end}", stem(&family::at_layer(name, layer)).0))
}

/// The data's name for a role in a block; projections that share a matrix go by the name of the shared one.
fn of_block<'f>(family: &'f Family, role: &str) -> Option<&'f str> {
    let (w, p) = (&family.weights, &family.projections);
    let one_of = |names: &'f [String], at: usize, of: usize| names.get(at).filter(|_| names.len() == of);
    let name = match role {
        "attn_norm" => w.attention_norm.as_ref(),
        "attn_q_norm" => w.query_norm.as_ref(),
        "attn_k_norm" => w.key_norm.as_ref(),
        "attn_sinks" => w.sinks.as_ref(),
        "post_attention_norm" => w.after_attention_norm.as_ref(),
        "ffn_norm" => w.feed_forward_norm.as_ref(),
        "post_ffw_norm" => w.after_feed_forward_norm.as_ref(),
        "attn_qkv" => one_of(&p.qkv, 0, 1),
        "attn_q" => one_of(&p.qkv, 0, 3),
        "attn_k" => one_of(&p.qkv, 1, 3),
        "attn_v" => one_of(&p.qkv, 2, 3),
        "attn_output" => Some(&p.o),
        "ffn_gate" => one_of(&p.gate_up, 0, 2),
        "ffn_up" => one_of(&p.gate_up, 1, 2).or(one_of(&p.gate_up, 0, 1)),
        "ffn_down" => p.down.as_ref(),
        _ => None,
    };
    name.map(String::as_str)
}

/// `blk.7.attn_q` → 7 and `attn_q`
fn in_block(name: &str) -> Option<(usize, &str)> {
    let (layer, role) = name.strip_prefix("blk.")?.split_once('.')?;
    Some((layer.parse().ok()?, role))
}

/// A name without its end, and the end.
fn stem(name: &str) -> (&str, &str) {
    let end = [".weight", ".bias"].into_iter().find(|end| name.ends_with(end)).unwrap_or_default();
    (&name[..name.len() - end.len()], end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(name: &str) -> Family {
        Family::all().unwrap().into_iter().find(|f| f.name == name).unwrap()
    }

    #[test]
    fn a_role_has_the_name_of_the_family() {
        for (of, name, wanted) in [
            ("llama", "token_embd.weight", Some("model.embed_tokens.weight")),
            ("llama", "blk.11.attn_k.weight", Some("model.layers.11.self_attn.k_proj.weight")),
            ("llama", "blk.0.attn_q.bias", Some("model.layers.0.self_attn.q_proj.bias")),
            ("llama", "blk.0.attn_qkv.weight", None),
            ("phi3", "blk.2.attn_qkv.weight", Some("model.layers.2.self_attn.qkv_proj.weight")),
            ("phi3", "blk.2.ffn_up.weight", Some("model.layers.2.mlp.gate_up_proj.weight")),
            ("gemma2", "blk.0.ffn_norm.weight", Some("model.layers.0.pre_feedforward_layernorm.weight")),
            ("qwen3", "blk.3.attn_q_norm.weight", Some("model.layers.3.self_attn.q_norm.weight")),
            ("llama", "blk.x.attn_q.weight", None),
            ("llama", "output_norm.weight", Some("model.norm.weight")),
        ] {
            assert_eq!(in_checkpoint(&family(of), name).as_deref(), wanted, "{of} {name}");
        }
        assert!(is_query_or_key("blk.1.attn_k.bias") && !is_query_or_key("blk.1.attn_k_norm.weight"));
    }
}

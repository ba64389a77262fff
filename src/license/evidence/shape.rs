//! A network's public dimensions: fine-tuning keeps them, so they say whose child a model may be when its card is silent.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A vocabulary may have grown by this many tokens (chat marks, padding) and still be the same one.
const GROWN: u64 = 1024;

/// Dimensions; one that is not known is not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Shape {
    /// Width of the hidden state.
    pub hidden: u64,
    /// Blocks.
    pub layers: u64,
    /// Attention heads.
    pub heads: Option<u64>,
    /// Key and value heads.
    pub kv_heads: Option<u64>,
    /// Width inside the feed-forward network.
    pub ffn: Option<u64>,
    /// Rows of the embedding.
    pub vocabulary: u64,
}

impl Shape {
    /// Out of a `config.json`, in the words of any family; `None` where it leaves out what must be compared.
    pub fn of(config: &Value) -> Option<Self> {
        let config = text_part(config);
        let count = |keys: &[&str]| keys.iter().find_map(|key| config.get(*key)?.as_u64());
        Some(Self {
            hidden: count(&["hidden_size", "n_embd", "d_model"])?,
            layers: count(&["num_hidden_layers", "n_layer", "n_layers", "num_layers"])?,
            heads: count(&["num_attention_heads", "n_head", "n_heads"]),
            kv_heads: count(&["num_key_value_heads", "num_kv_heads", "multi_query_group_num"]),
            ffn: count(&["intermediate_size", "ffn_hidden_size", "ffn_dim", "n_inner"]),
            vocabulary: count(&["padded_vocab_size", "vocab_size"])?,
        })
    }

    /// May a model of the shape `self` be a child of one of the shape `parent`?
    pub fn resembles(&self, parent: &Self) -> bool {
        let agree = |one: Option<u64>, other: Option<u64>| one.zip(other).is_none_or(|(one, other)| one == other);
        (self.hidden, self.layers) == (parent.hidden, parent.layers)
            && agree(self.heads, parent.heads)
            && agree(self.kv_heads, parent.kv_heads)
            && agree(self.ffn, parent.ffn)
            && (parent.vocabulary..=parent.vocabulary + GROWN).contains(&self.vocabulary)
    }
}

/// The part of a config that is of the text's network, where it has parts.
pub(in crate::license) fn text_part(config: &Value) -> &Value {
    let text = config.get("text_config").filter(|inner| config.get("hidden_size").is_none() && inner.is_object());
    text.unwrap_or(config)
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} wide, {} layers", self.hidden, self.layers)?;
        self.heads.iter().try_for_each(|n| write!(f, ", {n} heads"))?;
        self.kv_heads.iter().try_for_each(|n| write!(f, ", {n} of keys and values"))?;
        self.ffn.iter().try_for_each(|n| write!(f, ", {n} wide inside"))?;
        write!(f, ", {} tokens", self.vocabulary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_shape_is_read_in_any_familys_words() {
        let llama = Shape { hidden: 8, layers: 2, heads: Some(4), kv_heads: Some(2), ffn: Some(24), vocabulary: 100 };
        let plain = json!({"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "intermediate_size": 24, "vocab_size": 100});
        assert_eq!(Shape::of(&plain), Some(llama));
        assert_eq!(Shape::of(&json!({"text_config": plain})), Some(llama));
        let older = Shape::of(&json!({"n_embd": 8, "n_layer": 2, "n_head": 4, "vocab_size": 120})).unwrap();
        assert!(older.resembles(&llama) && !llama.resembles(&older));
        assert_eq!(Shape::of(&json!({"hidden_size": "8"})), None);
        for other in
            [Shape { heads: Some(2), ..llama }, Shape { ffn: Some(32), ..llama }, Shape { vocabulary: 99, ..llama }]
        {
            assert!(!other.resembles(&llama), "{other:?}");
        }
    }
}

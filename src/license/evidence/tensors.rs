//! What the tensors' shapes say of the network, and where they contradict the config that lies beside them.

use crate::base::{Base, Dtype, Gguf, Headers};
use crate::license::evidence::shape::{Shape, text_part};
use serde_json::Value;
use std::path::Path;

/// Ends of the names of an embedding, as families and llama.cpp call it.
const EMBEDDINGS: [&str; 6] = [
    "embed_tokens.weight",
    "wte.weight",
    "word_embeddings.weight",
    "embed_in.weight",
    "tok_embeddings.weight",
    "token_embd.weight",
];
/// Ends of the names of the feed-forward network's first matrix.
const FEED_FORWARDS: [&str; 6] = [
    "mlp.gate_proj.weight",
    "mlp.up_proj.weight",
    "mlp.c_fc.weight",
    "mlp.fc1.weight",
    "feed_forward.w1.weight",
    "ffn_up.weight",
];
/// Ends of the names of what makes queries, and keys.
const QUERIES: [&str; 4] = ["self_attn.q_proj.weight", "attention.wq.weight", "attn.q_proj.weight", "attn_q.weight"];
const KEYS: [&str; 4] = ["self_attn.k_proj.weight", "attention.wk.weight", "attn.k_proj.weight", "attn_k.weight"];
/// What stands before a block's number.
const BLOCKS: [&str; 4] = ["layers", "h", "blocks", "blk"];
/// Keys of a config whose heads or blocks are counted otherwise: encoders with decoders, attention of several kinds.
const OTHERWISE: [&str; 5] =
    ["decoder_layers", "num_decoder_layers", "linear_attn_config", "global_head_dim", "block_configs"];

/// The tensors of one GGUF, or of all safetensors files.
pub(in crate::license) struct Tensors<'b> {
    /// The file, the first of several.
    pub file: &'b Path,
    /// Matrices whose elements are one number each: rows, columns.
    matrices: Vec<(&'b str, [u64; 2])>,
    names: Vec<&'b str>,
    /// Are all tensors known, if only by name?
    is_whole: bool,
}

impl<'b> Tensors<'b> {
    /// Of every set of weights that the base has.
    pub fn of(base: &'b Base) -> Vec<Self> {
        Self::of_headers(&base.headers).into_iter().chain(base.gguf.iter().map(Self::of_gguf)).collect()
    }

    fn of_headers(headers: &'b Headers) -> Option<Self> {
        let file = headers.files.first()?;
        // numbers of fewer than 8 bits lie packed in elements of other types
        let plain = |dtype| {
            use Dtype::{BF16, F8_E4M3, F8_E5M2, F16, F32, F64};
            matches!(dtype, BF16 | F8_E4M3 | F8_E5M2 | F16 | F32 | F64)
        };
        let matrix = |t: &'b crate::base::TensorHeader| match t.shape[..] {
            [rows, columns] if plain(t.dtype) => Some((t.name.as_str(), [rows as u64, columns as u64])),
            _ => None,
        };
        let names = headers.tensors.iter().map(|t| t.name.as_str()).chain(headers.indexed.iter().map(String::as_str));
        Some(Self {
            file,
            matrices: headers.tensors.iter().filter_map(matrix).collect(),
            names: names.collect(),
            is_whole: headers.files.len() == 1 || !headers.indexed.is_empty(),
        })
    }

    fn of_gguf(gguf: &'b Gguf) -> Self {
        let matrix = |t: &'b crate::base::gguf::GgufTensor| match t.shape[..] {
            [rows, columns] => Some((t.name.as_str(), [rows, columns])),
            _ => None,
        };
        Self {
            file: &gguf.path,
            matrices: gguf.tensors.iter().filter_map(matrix).collect(),
            names: gguf.tensors.iter().map(|t| t.name.as_str()).collect(),
            is_whole: gguf.count("split.count").is_none_or(|parts| parts <= 1),
        }
    }

    /// The first matrix of such a name; the shortest, for parts of a network repeat the names of the whole.
    fn matrix(&self, ends: &[&str]) -> Option<(&'b str, [u64; 2])> {
        let named = self.matrices.iter().filter(|(name, _)| ends.iter().any(|end| name.ends_with(end)));
        named.min_by_key(|(name, _)| name.len()).copied()
    }

    /// How many blocks there are, by the numbers in the names that begin as the embedding's does, and the last one's name.
    fn blocks(&self, embedding: &str) -> Option<(u64, &'b str)> {
        let end = EMBEDDINGS.iter().filter(|end| embedding.ends_with(**end)).max_by_key(|end| end.len())?;
        let prefix = &embedding[..embedding.len() - end.len()];
        let number = |name: &&'b str| {
            let (word, rest) = name.strip_prefix(prefix)?.split_once('.')?;
            let number = rest.split('.').next()?.parse::<u32>().ok().filter(|_| BLOCKS.contains(&word))?;
            Some((u64::from(number) + 1, *name))
        };
        self.names.iter().filter_map(number).max_by_key(|(count, _)| *count)
    }

    /// The dimensions that they show, for a folder without a config, or with one that they contradict: the embedding says
    /// width and vocabulary, the names say how many blocks there are. How the width is split into heads stands in no
    /// tensor alone.
    pub fn shape(&self) -> Option<Shape> {
        let (embedding, [vocabulary, hidden]) = self.matrix(&EMBEDDINGS)?;
        let any = |name: &&str| name.split('.').find_map(|part| part.parse::<u32>().ok());
        let any = || self.names.iter().filter_map(any).max().map(|last| u64::from(last) + 1);
        let layers = self.blocks(embedding).map(|(count, _)| count).or_else(any)?;
        let ffn = self.matrix(&FEED_FORWARDS).and_then(|(_, sides)| match sides {
            [wide, width] | [width, wide] if width == hidden => Some(wide),
            _ => None, // packed into other numbers
        });
        Some(Shape { hidden, layers, heads: None, kv_heads: None, ffn, vocabulary })
    }

    /// What of the config they contradict: a sentence each, and the tensor. Only what no family reads otherwise.
    pub fn against(&self, config: &Value) -> Vec<(String, &'b str)> {
        let Some(said) = Shape::of(config) else { return Vec::new() };
        let config = text_part(config);
        let count = |key: &str| config.get(key).and_then(Value::as_u64);
        let mut found = Vec::new();
        if let Some((name, [rows, columns])) = self.matrix(&EMBEDDINGS) {
            // some families embed into another width than the blocks have
            let width = count("word_embed_proj_dim").or(count("embedding_size")).unwrap_or(said.hidden);
            found.extend((columns != width).then(|| (format!("{columns} wide, {width} in the config"), name)));
            let vocabulary = said.vocabulary;
            found.extend((rows != vocabulary).then(|| (format!("{rows} tokens, {vocabulary} in the config"), name)));
            found.extend(self.blocks_against(name, &said, config));
        }
        found.extend(self.heads_against(&said, config));
        found
    }

    fn blocks_against(&self, embedding: &str, said: &Shape, config: &Value) -> Option<(String, &'b str)> {
        let (blocks, name) = self.blocks(embedding)?;
        // blocks that guess further tokens ahead are numbered on
        let more = config.get("num_nextn_predict_layers").and_then(Value::as_u64).unwrap_or(0);
        let fits = blocks <= said.layers.saturating_add(more) && (blocks >= said.layers || !self.is_whole);
        let fits = fits || is_otherwise(config);
        (!fits).then(|| (format!("{blocks} layers, {} in the config", said.layers), name))
    }

    /// Rows of queries to rows of keys must be as heads to heads of keys; twice as many where half of them are a gate.
    fn heads_against(&self, said: &Shape, config: &Value) -> Option<(String, &'b str)> {
        let (heads, kv_heads) = (said.heads?, said.kv_heads?);
        let ((name, [queries, _]), (_, [keys, _])) = (self.matrix(&QUERIES)?, self.matrix(&KEYS)?);
        let wanted = u128::from(keys) * u128::from(heads);
        let is = u128::from(queries) * u128::from(kv_heads);
        let whole = heads > 0 && kv_heads > 0 && queries % heads == 0 && keys % kv_heads == 0;
        let fits = whole && (is == wanted || is == 2 * wanted) || is_otherwise(config);
        let says = || {
            format!("{queries} rows of queries and {keys} of keys, {heads} heads and {kv_heads} of keys in the config")
        };
        (!fits).then(|| (says(), name))
    }
}

/// Are its heads or blocks counted otherwise?
fn is_otherwise(config: &Value) -> bool {
    let said = |key: &str| config.get(key).is_some_and(|value| !value.is_null());
    let kinds = config.get("layer_types").and_then(Value::as_array);
    let linear = kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == "linear_attention"));
    linear || config.get("is_encoder_decoder") == Some(&Value::Bool(true)) || OTHERWISE.iter().any(|key| said(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Part;
    use serde_json::json;

    fn against(config: &Value, tensors: &[(&str, &str, [u64; 2])]) -> Vec<String> {
        let mut header = serde_json::Map::new();
        let mut at = 0;
        for (name, dtype, shape) in tensors {
            let start = at;
            at += shape[0] * shape[1] * if *dtype == "U8" { 1 } else { 2 };
            header.insert((*name).into(), json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, at] }));
        }
        let part = Part { path: "model.safetensors".into(), size: u64::MAX, json: json!(header).to_string().into() };
        let headers = Headers::of([Ok(part)]).unwrap();
        let tensors = Tensors::of_headers(&headers).unwrap();
        tensors.against(config).into_iter().map(|(says, name)| format!("{name}: {says}")).collect()
    }

    fn config() -> Value {
        json!({"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "vocab_size": 100})
    }

    const WHOLE: [(&str, &str, [u64; 2]); 4] = [
        ("model.embed_tokens.weight", "BF16", [100, 8]),
        ("model.layers.0.self_attn.q_proj.weight", "BF16", [16, 8]),
        ("model.layers.0.self_attn.k_proj.weight", "BF16", [8, 8]),
        ("model.layers.1.self_attn.k_proj.weight", "BF16", [8, 8]),
    ];

    #[test]
    fn what_contradicts_the_config_is_named_with_its_tensor() {
        assert_eq!(against(&config(), &WHOLE), [""; 0]);
        let with = |at: usize, tensor| {
            let mut tensors = WHOLE;
            tensors[at] = tensor;
            against(&config(), &tensors)
        };
        assert_eq!(
            with(0, ("model.embed_tokens.weight", "BF16", [104, 16])),
            [
                "model.embed_tokens.weight: 16 wide, 8 in the config",
                "model.embed_tokens.weight: 104 tokens, 100 in the config"
            ]
        );
        let deeper = with(3, ("model.layers.7.self_attn.k_proj.weight", "BF16", [8, 8]));
        assert_eq!(deeper, ["model.layers.7.self_attn.k_proj.weight: 8 layers, 2 in the config"]);
        let heads = with(1, ("model.layers.0.self_attn.q_proj.weight", "BF16", [8, 8]));
        assert!(heads.len() == 1 && heads[0].contains("8 rows of queries and 8 of keys, 4 heads"), "{heads:?}");
        let shallow = against(&config(), &WHOLE[..3]);
        assert_eq!(shallow, ["model.layers.0.self_attn.q_proj.weight: 1 layers, 2 in the config"]);
    }

    #[test]
    fn what_families_read_otherwise_contradicts_nothing() {
        let changed = |key: &str, value: Value| {
            let mut config = config();
            config[key] = value;
            config
        };
        // packed numbers, an output gate, blocks that guess ahead, an embedding of its own width, a tower beside the text
        let packed = [("model.embed_tokens.weight", "U8", [100, 4]), WHOLE[1], WHOLE[2], WHOLE[3]];
        assert_eq!(against(&config(), &packed), [""; 0]);
        let gated = [WHOLE[0], ("model.layers.0.self_attn.q_proj.weight", "BF16", [32, 8]), WHOLE[2], WHOLE[3]];
        assert_eq!(against(&config(), &gated), [""; 0]);
        let ahead = [&WHOLE[..], &[("model.layers.2.self_attn.k_proj.weight", "BF16", [8, 8])]].concat();
        assert_eq!(against(&changed("num_nextn_predict_layers", json!(1)), &ahead), [""; 0]);
        assert_eq!(against(&config(), &ahead).len(), 1);
        let narrow = [("model.embed_tokens.weight", "BF16", [100, 4]), WHOLE[1], WHOLE[2], WHOLE[3]];
        assert_eq!(against(&changed("word_embed_proj_dim", json!(4)), &narrow), [""; 0]);
        let tower = [&WHOLE[..], &[("model.vision_tower.layers.26.weight", "BF16", [3, 3])]].concat();
        assert_eq!(against(&json!({ "text_config": config() }), &tower), [""; 0]);
    }
}

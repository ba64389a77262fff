//! The sizes of a network, out of `config.json`; what the engine cannot do is refused here, by key and value.

use super::positions::{self, Kind, Turn};
use crate::base::Config;
use crate::base::family::{self, Bias, Embedding, Family, FeedForward, Matrices, Norm, QueryKeyNorm, Residual};
use crate::error::{Error, Result};
use crate::kernels::{Activation, Among, Centre, Curve, Heads, Pairs, Rope, Scores};
use serde_json::Value;

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
    /// They have embeddings of their own.
    pub learned_positions: bool,
    /// No document may be longer; `None` where nothing but memory says so.
    pub longest: Option<usize>,
    /// How the checkpoint's matrices lie.
    pub matrices: Matrices,
    /// How norms measure a row.
    pub centre: Centre,
    /// Added to the mean square in each norm.
    pub eps: f32,
    /// The normalisation of queries and keys.
    pub heads_norm: QueryKeyNorm,
    /// What stands between the feed-forward's matrices.
    pub activation: Activation,
    /// How rows go to experts; `None` where there are none.
    pub routing: Option<Routing>,
    /// What attention and feed-forward start from, and add to.
    pub residual: Residual,
    /// How the norms stand around attention and feed-forward.
    pub norms: Norms,
    /// Projections that may be adapted, in a block.
    pub projections: usize,
    /// Which dimensions turn together.
    pub pairs: Pairs,
    /// The ways in which they turn.
    pub turns: Vec<Turn>,
    /// Scores but for the window.
    pub scores: Scores<'static>,
    /// What each layer sees, and how it turns.
    pub kinds: Vec<Kind>,
    /// Constant factors.
    pub multipliers: Multipliers,
    /// No logit is beyond ± this.
    pub logit_cap: Option<f32>,
    /// The head is the embedding.
    pub tied: bool,
    /// Which projections have biases.
    pub biases: HasBias,
}

/// How rows go to experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routing {
    /// E
    pub experts: usize,
    /// Experts that a row goes to.
    pub picks: usize,
    /// What their weights are shares of.
    pub among: Among,
}

/// A block's norms of `[C]`: before each half, and of what each gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Norms {
    pub before_attention: bool,
    pub after_attention: bool,
    pub before_ffn: bool,
    pub after_ffn: bool,
}

/// Constant factors, 1 in most families.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Multipliers {
    /// Of embeddings on their way in.
    pub embedding: f32,
    /// Of what attention and feed-forward add to the residual stream.
    pub residual: f32,
    /// Of logits.
    pub logits: f32,
}

/// Which projections have biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct HasBias {
    pub qkv: bool,
    pub o: bool,
    pub gate_up: bool,
    pub down: bool,
    pub norms: bool,
}

/// No network has more blocks than this.
const MAX_LAYERS: usize = 1 << 12;
/// No block has more experts than this.
const MAX_EXPERTS: usize = 1 << 14;
/// No width of a block is larger than this; products of sizes then fit 64 bits.
const MAX_WIDTH: usize = 1 << 20;
/// No vocabulary is larger than this.
const MAX_VOCAB: usize = 1 << 24;

impl Shape {
    /// Reads and checks a config of one family.
    pub fn of(config: &Config, family: &Family) -> Result<Self> {
        let config = &config.with(&family.keys, &family.defaults);
        refuse_unknown_features(config, family)?;
        let hidden = up_to(config, "hidden_size", MAX_WIDTH)?;
        let layers = up_to(config, "num_hidden_layers", MAX_LAYERS)?;
        let heads = heads(config, hidden)?;
        let (centre, eps) = match family.switches.norm {
            Norm::Rms => (Centre::Zero, "rms_norm_eps"),
            Norm::Layer => (Centre::Mean, "layer_norm_eps"),
        };
        let routing = routing(config, family)?;
        let positions = config.count("max_position_embeddings")?.unwrap_or(2048);
        let learned_positions = family.weights.positions.is_some();
        let rotary = Rotary::of(config, family, heads.dim)?;
        let residual = residual(config, family)?;
        Ok(Self {
            layers,
            hidden,
            heads,
            ffn: feed_forward_width(config, family, hidden, routing)?,
            vocab: up_to(config, "vocab_size", MAX_VOCAB)?,
            positions,
            learned_positions,
            longest: if learned_positions { Some(positions) } else { positions::longest(config)? },
            matrices: family.switches.matrices,
            centre,
            eps: config.number(eps)?.unwrap_or(1e-6) as f32,
            heads_norm: heads_norm(config, family)?,
            activation: activation(config, family)?,
            routing,
            residual,
            norms: Norms::of(family, residual),
            projections: family.projections.all().count(),
            turns: rotary.turns,
            pairs: rotary.pairs,
            scores: scores(config, heads.dim)?,
            kinds: positions::kinds(config, layers, &family.switches)?,
            multipliers: multipliers(config, family, hidden)?,
            logit_cap: positive(config, "final_logit_softcapping")?,
            tied: config.switch("tie_word_embeddings")?,
            biases: HasBias::of(config, family)?,
        })
    }

    /// A rotary table for each turn, of no position yet.
    pub(super) fn ropes(&self) -> Vec<Rope> {
        self.turns.iter().map(|turn| Rope::new(self.pairs, turn.theta, &turn.scaling)).collect()
    }

    /// The scores of one layer.
    pub(super) fn scores<'a>(&self, layer: usize, sinks: Option<&'a [f32]>) -> Scores<'a> {
        Scores { window: self.kinds[layer].window, sinks, ..self.scores }
    }

    /// Groups and their width that are normalised among queries, and among keys.
    pub(super) fn head_norm_groups(&self) -> Option<[(usize, usize); 2]> {
        let Heads { query, kv, dim } = self.heads;
        match self.heads_norm {
            QueryKeyNorm::None => None,
            QueryKeyNorm::Heads | QueryKeyNorm::LayerHeads => Some([(query, dim), (kv, dim)]),
            QueryKeyNorm::Width => Some([(1, query * dim), (1, kv * dim)]),
        }
    }
}

impl Norms {
    fn of(family: &Family, residual: Residual) -> Self {
        let names = &family.weights;
        let shared = residual == Residual::Parallel && names.attention_norm.is_some();
        Self {
            before_attention: names.attention_norm.is_some(),
            after_attention: names.after_attention_norm.is_some(),
            before_ffn: shared || names.feed_forward_norm.is_some(),
            after_ffn: names.after_feed_forward_norm.is_some(),
        }
    }
}

impl HasBias {
    fn of(config: &Config, family: &Family) -> Result<Self> {
        let has = |bias: &Bias| match bias {
            Bias::Fixed(has) => Ok(*has),
            Bias::Key(key) => config.switch(key),
        };
        let biases = &family.biases;
        Ok(Self {
            qkv: has(&biases.qkv)?,
            o: has(&biases.o)?,
            gate_up: has(&biases.gate_up)?,
            down: has(&biases.down)?,
            norms: has(&biases.norms)?,
        })
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
    Ok(Heads { query, kv, dim })
}

/// What `hidden_act` says; a word that the engine lacks is refused.
fn activation(config: &Config, family: &Family) -> Result<Activation> {
    const KEY: &str = "hidden_act";
    let said = config.value().get(KEY).and_then(Value::as_str).unwrap_or("silu");
    let curve = match family.activations.get(said).map_or(said, String::as_str) {
        "silu" | "swish" => Curve::Silu,
        "gelu" => Curve::Gelu,
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Curve::GeluTanh,
        _ => return Err(config.unsupported(KEY, said)),
    };
    Ok(match family.switches.feed_forward {
        FeedForward::Gated | FeedForward::Experts => Activation::Gated(curve),
        FeedForward::Plain => Activation::Plain(curve),
        FeedForward::ClampedExperts => Activation::Clamped {
            limit: positive(config, "swiglu_limit")?.unwrap_or(7.0),
            slope: positive(config, "swiglu_alpha")?.unwrap_or(1.702),
        },
    })
}

fn routing(config: &Config, family: &Family) -> Result<Option<Routing>> {
    if family.experts.is_none() {
        return Ok(None);
    }
    let experts = up_to(config, "num_experts", MAX_EXPERTS)?;
    let picks = config.need_count("num_experts_per_tok")?;
    if picks > experts {
        return Err(config.wrong("num_experts_per_tok", &format!("more than there are: {picks} of {experts}")));
    }
    let among = if config.switch("norm_topk_prob")? { Among::Picked } else { Among::All };
    Ok(Some(Routing { experts, picks, among }))
}

/// F, of each expert where there are experts.
fn feed_forward_width(config: &Config, family: &Family, hidden: usize, routing: Option<Routing>) -> Result<usize> {
    let key = "intermediate_size";
    match (config.count("moe_intermediate_size")?.filter(|_| routing.is_some()), config.count(key)?) {
        (Some(_), _) => up_to(config, "moe_intermediate_size", MAX_WIDTH),
        (None, None) if family.switches.feed_forward == FeedForward::Plain => Ok(4 * hidden),
        _ => up_to(config, key, MAX_WIDTH),
    }
}

fn residual(config: &Config, family: &Family) -> Result<Residual> {
    const KEY: &str = "use_parallel_residual";
    let sequential = config.value().get(KEY).is_some_and(|v| !v.is_null()) && !config.switch(KEY)?;
    Ok(if sequential { Residual::Sequential } else { family.switches.residual })
}

fn heads_norm(config: &Config, family: &Family) -> Result<QueryKeyNorm> {
    match family.switches.query_key_norm {
        QueryKeyNorm::LayerHeads if !config.switch("use_qk_norm")? => Ok(QueryKeyNorm::None),
        word => Ok(word),
    }
}

/// How queries and keys turn; of no turns where the family has none.
struct Rotary {
    pairs: Pairs,
    turns: Vec<Turn>,
}

impl Rotary {
    fn of(config: &Config, family: &Family, dim: usize) -> Result<Self> {
        let neighbours = match family.switches.rotary {
            family::Rotary::None => {
                return Ok(Self { pairs: Pairs { dim, rotated: 0, neighbours: false }, turns: Vec::new() });
            }
            word => word == family::Rotary::Neighbours,
        };
        let pairs = positions::pairs(config, dim, neighbours)?;
        Ok(Self { turns: positions::turns(config, pairs)?, pairs })
    }
}

fn scores(config: &Config, dim: usize) -> Result<Scores<'static>> {
    let plain = Scores::plain(dim);
    let of_scalar = positive(config, "query_pre_attn_scalar")?.map(|scalar| 1.0 / scalar.sqrt());
    let scale = positive(config, "attention_multiplier")?.or(of_scalar).unwrap_or(plain.scale);
    Ok(Scores { scale, cap: positive(config, "attn_logit_softcapping")?, ..plain })
}

fn multipliers(config: &Config, family: &Family, hidden: usize) -> Result<Multipliers> {
    let of = |key| Ok::<_, Error>(positive(config, key)?.unwrap_or(1.0));
    Ok(Multipliers {
        embedding: match family.switches.embedding {
            Embedding::Plain => of("embedding_multiplier")?,
            Embedding::TimesRootWidth => (hidden as f32).sqrt(),
        },
        residual: of("residual_multiplier")?,
        logits: of("logit_scale")? / of("logits_scaling")?,
    })
}

fn positive(config: &Config, key: &str) -> Result<Option<f32>> {
    match config.number(key)?.map(|n| n as f32) {
        Some(n) if n.is_nan() || n <= 0.0 || n.is_infinite() => {
            Err(config.wrong(key, &format!("not a positive number: {n}")))
        }
        other => Ok(other),
    }
}

/// Keys that change the numbers; a family either reads one, or refuses all but what changes nothing.
const FEATURES: [&str; 23] = [
    "attention_multiplier",
    "attn_logit_softcapping",
    "clip_qkv",
    "embedding_multiplier",
    "final_logit_softcapping",
    "layer_types",
    "logit_scale",
    "logits_scaling",
    "n_shared_experts",
    "no_rope_layers",
    "num_experts",
    "num_local_experts",
    "partial_rotary_factor",
    "pre_seq_len",
    "quantization_config",
    "query_pre_attn_scalar",
    "residual_multiplier",
    "rope_ratio",
    "rope_local_base_freq",
    "sliding_window",
    "use_bidirectional_attention",
    "use_parallel_residual",
    "use_qk_norm",
];

/// What would change the numbers if it were passed over.
fn refuse_unknown_features(config: &Config, family: &Family) -> Result<()> {
    let rope = config.rope();
    for key in FEATURES.into_iter().filter(|key| !family.reads.iter().any(|read| read == key)) {
        let given = config.value().get(key).or_else(|| rope.get(key));
        if let Some(value) = given.filter(|value| !changes_nothing(config, key, value)) {
            return Err(config.unsupported(key, &shortened(&value.to_string())));
        }
    }
    for (key, wanted) in &family.requires {
        if let Some(value) = config.value().get(key).filter(|value| !value.is_null() && *value != wanted) {
            return Err(config.unsupported(key, &shortened(&value.to_string())));
        }
    }
    Ok(())
}

fn changes_nothing(config: &Config, key: &str, value: &Value) -> bool {
    let all = |same: &dyn Fn(&Value) -> bool| value.as_array().is_some_and(|values| values.iter().all(same));
    value.is_null()
        || match key {
            "layer_types" => all(&|kind| kind == positions::FULL),
            "no_rope_layers" => all(&|turns| turns.as_u64() == Some(1)),
            "sliding_window" => config.value().get("use_sliding_window") == Some(&Value::Bool(false)),
            "use_bidirectional_attention" | "use_parallel_residual" | "use_qk_norm" => value.as_bool() == Some(false),
            "embedding_multiplier" | "logit_scale" | "logits_scaling" | "rope_ratio" => value.as_f64() == Some(1.0),
            "partial_rotary_factor" | "residual_multiplier" => value.as_f64() == Some(1.0),
            _ => false,
        }
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use crate::kernels::Scaling;
    use serde_json::json;

    /// The shape that a family makes of a small config with some changes.
    fn shape(model_type: &str, change: Value) -> Result<Shape> {
        let mut value = json!({
            "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
            "intermediate_size": 128, "vocab_size": 256, "rms_norm_eps": 1e-6, "model_type": model_type
        });
        value.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), value.to_string()).unwrap();
        let config = Config::read(dir.path())?;
        Shape::of(&config, &Family::of(&config)?)
    }

    #[test]
    fn what_a_family_lacks_is_refused_by_key_and_value() {
        for (change, key, value) in [
            (json!({"rope_scaling": {"type": "dynamic", "factor": 4.0}}), "rope_type", "dynamic"),
            (json!({"sliding_window": 4096}), "sliding_window", "4096"),
            (json!({"hidden_act": "relu2"}), "hidden_act", "relu2"),
            (json!({"use_parallel_residual": true}), "use_parallel_residual", "true"),
            (json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor", "0.5"),
            (json!({"rope_parameters": {"partial_rotary_factor": 0.5}}), "partial_rotary_factor", "0.5"),
            (json!({"quantization_config": {"bits": 4}}), "quantization_config", "bits"),
            (json!({"final_logit_softcapping": 30.0}), "final_logit_softcapping", "30"),
        ] {
            let error = shape("llama", change).unwrap_err();
            assert_eq!(error.code, Code::UnsupportedBase);
            assert!(error.to_string().contains(key) && error.to_string().contains(value), "{error}");
        }
        assert!(shape("llama", json!({"sliding_window": 4096, "use_sliding_window": false})).is_ok());
        for (key, value) in [("hidden_size", 1 << 21), ("num_hidden_layers", 5000), ("head_dim", 1 << 30)] {
            assert_eq!(shape("llama", json!({key: value})).unwrap_err().code, Code::BadInput);
        }
        assert_eq!(shape("llama", json!({"head_dim": 7})).unwrap_err().code, Code::BadInput);
        assert_eq!(shape("llama", json!({"num_key_value_heads": 3})).unwrap_err().code, Code::BadInput);
    }

    #[test]
    fn a_value_that_a_family_does_not_have_is_refused() {
        for (family, change, key) in [
            ("gpt2", json!({"scale_attn_by_inverse_layer_idx": true}), "scale_attn_by_inverse_layer_idx"),
            (
                "qwen3_moe",
                json!({"mlp_only_layers": [1], "num_experts": 4, "num_experts_per_tok": 2}),
                "mlp_only_layers",
            ),
            ("chatglm", json!({"rmsnorm": false}), "rmsnorm"),
            ("chatglm", json!({"rope_ratio": 50}), "rope_ratio"),
            ("chatglm", json!({"pre_seq_len": 128}), "pre_seq_len"),
            ("llama", json!({"num_local_experts": 8}), "num_local_experts"),
        ] {
            let error = shape(family, change).unwrap_err();
            assert_eq!(error.code, Code::UnsupportedBase);
            assert!(error.to_string().contains(key), "{error}");
        }
        let routed = |experts, picks| json!({"num_local_experts": experts, "num_experts_per_tok": picks});
        assert!(shape("mixtral", routed(4, 4)).is_ok());
        assert_eq!(shape("mixtral", routed(4, 5)).unwrap_err().code, Code::BadInput);
    }

    #[test]
    fn a_ratio_multiplies_the_base_where_the_name_tells_which_chatglm_it_is() {
        for (change, theta) in [
            (json!({"rope_ratio": 50, "_name_or_path": "THUDM/chatglm3-6b-32k"}), Some(500_000.0)),
            (json!({"rope_ratio": 500, "padded_vocab_size": 151_552}), Some(5_000_000.0)),
            (json!({"rope_ratio": 1}), Some(10_000.0)),
            (json!({"rope_ratio": 50, "_name_or_path": "THUDM/chatglm2-6b-32k"}), None),
        ] {
            let found = shape("chatglm", change).map(|shape| shape.turns[0].theta);
            assert_eq!(found.ok(), theta);
        }
    }

    #[test]
    fn other_names_for_keys_mean_the_same() {
        let named = json!({"n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": 32, "vocab_size": 256});
        let shape = shape("gpt2", named).unwrap();
        assert_eq!((shape.ffn, shape.longest, shape.eps), (128, Some(32), 1e-5), "intermediate_size is said here");
        assert!(shape.turns.is_empty() && shape.kinds.iter().all(|kind| kind.turn.is_none()));
    }

    #[test]
    fn both_spellings_of_rope_give_the_same() {
        let scaling = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64});
        let mut parameters = scaling.clone();
        parameters["rope_theta"] = json!(500000.0);
        let new = shape("llama", json!({"rope_parameters": parameters, "rope_theta": null})).unwrap();
        let old = shape("llama", json!({"rope_scaling": scaling, "rope_theta": 500000.0})).unwrap();
        assert_eq!(new, old);
        let wanted = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 64.0 };
        assert_eq!(old.turns, [Turn { theta: 500000.0, scaling: wanted }]);
    }

    fn windows(model_type: &str, change: Value) -> Vec<Option<usize>> {
        shape(model_type, change).unwrap().kinds.iter().map(|kind| kind.window).collect()
    }

    #[test]
    fn windows_stand_where_the_config_and_the_family_say() {
        let (none, four) = (None, Some(4));
        assert_eq!(windows("mistral", json!({"sliding_window": 4})), [four; 4]);
        assert_eq!(windows("mistral", json!({"sliding_window": null})), [none; 4]);
        assert_eq!(windows("qwen2", json!({"sliding_window": 4})), [none; 4]);
        let used = json!({"sliding_window": 4, "use_sliding_window": true, "max_window_layers": 3});
        assert_eq!(windows("qwen2", used), [none, none, none, four]);
        let types = json!(["full_attention", "sliding_attention", "full_attention", "full_attention"]);
        let used = json!({"sliding_window": 4, "use_sliding_window": true, "layer_types": types});
        assert_eq!(windows("qwen3", used), [none, four, none, none]);
        let error = shape("qwen3", json!({"layer_types": ["chunked", "chunked", "chunked", "chunked"]})).unwrap_err();
        assert!(error.to_string().contains("chunked"));
        assert!(shape("qwen3", json!({"layer_types": ["full_attention"]})).is_err());
    }

    #[test]
    fn layers_without_turns_are_listed_or_counted() {
        let turns = |change| shape("smollm3", change).unwrap().kinds.iter().map(|k| k.turn).collect::<Vec<_>>();
        assert_eq!(turns(json!({})), [Some(0), Some(0), Some(0), None]);
        assert_eq!(turns(json!({"no_rope_layers": [1, 0, 1, 1]})), [Some(0), None, Some(0), Some(0)]);
    }
}

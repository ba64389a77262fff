//! GGUF files as bases: written here out of safetensors folders as llama.cpp lays them out, they must say the same.

use crate::commands::{sealwright, stderr};
use crate::engine::{Tensors, adapter_of, folder, gradient, inputs, near};
use crate::train::tiny;
use candle_core::quantized::{GgmlDType, QTensor};
use sealwright::adapter::{self, RunRecord};
use sealwright::base::tokenizer::Tokenizer;
use sealwright::base::{Base, Config, chat::ChatTemplate};
use sealwright::error::{Code, Result};
use sealwright::kernels::{Bytes, Format, Frozen, blocks};
use sealwright::model::{Keep, Model, Quantize};
use sealwright::train::{self, Material};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A file as the format has it: pairs, then tensors by name, outermost dimension first.
#[derive(Default)]
struct Writer {
    pairs: Vec<Vec<u8>>,
    tensors: Vec<(String, Vec<usize>, u32, Vec<u8>)>,
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

impl Writer {
    fn pair(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.pairs.push([&string(key), &kind.to_le_bytes()[..], value].concat());
    }

    fn text(&mut self, key: &str, text: &str) {
        self.pair(key, 8, &string(text));
    }

    fn number(&mut self, key: &str, number: u64) {
        self.pair(key, 4, &(number as u32).to_le_bytes());
    }

    fn float(&mut self, key: &str, number: f64) {
        self.pair(key, 6, &(number as f32).to_le_bytes());
    }

    fn array(&mut self, key: &str, kind: u32, values: &[Vec<u8>]) {
        let head = [&kind.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
        self.pair(key, 9, &[head, values.concat()].concat());
    }

    fn write(&self, path: &Path) {
        let mut bytes = [&b"GGUF"[..], &3u32.to_le_bytes()].concat();
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.pairs.len() as u64).to_le_bytes());
        bytes.extend(self.pairs.concat());
        let mut data: Vec<u8> = Vec::new();
        for (name, shape, kind, values) in &self.tensors {
            bytes.extend(string(name));
            bytes.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|d| bytes.extend((*d as u64).to_le_bytes()));
            bytes.extend(kind.to_le_bytes());
            bytes.extend((data.len() as u64).to_le_bytes());
            data.extend(values);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        std::fs::write(path, [bytes, data].concat()).unwrap();
    }
}

/// What llama.cpp calls the tensors of a block.
const IN_BLOCK: [(&str, &str); 21] = [
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("mlp.c_fc", "ffn_up"),
    ("mlp.c_proj", "ffn_down"),
    ("input_layernorm", "attn_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    // Gemma 2 and 3, OLMo 2: a norm of what attention gives
    ("post_attention_layernorm+", "post_attention_norm"),
    ("embed_tokens", "token_embd"),
    ("norm", "output_norm"),
    ("lm_head", "output"),
];

fn name_of(architecture: &str, name: &str) -> String {
    let (stem, end) = name.rsplit_once('.').unwrap();
    let stem = stem.trim_start_matches("model.");
    let (block, role) = match stem.strip_prefix("layers.").and_then(|rest| rest.split_once('.')) {
        Some((layer, role)) => (format!("blk.{layer}."), role),
        None => (String::new(), stem),
    };
    let after = matches!(architecture, "gemma2" | "gemma3" | "olmo2") && role == "post_attention_layernorm";
    let role = if after { "post_attention_layernorm+" } else { role };
    let (_, name) = IN_BLOCK.iter().find(|(of, _)| *of == role).unwrap();
    format!("{block}{name}.{end}")
}

/// What llama.cpp's converter does to a tensor: the rows of a head's halves by turns, gains that are 1 more.
fn laid(architecture: &str, name: &str, values: Vec<f32>, rows: usize, dim: usize) -> Vec<f32> {
    let cols = values.len() / rows;
    if architecture.starts_with("gemma") && name.contains("norm") {
        return values.into_iter().map(|g| g + 1.0).collect();
    }
    if !matches!(architecture, "llama" | "granite" | "smollm3")
        || !(name.contains(".attn_q.") || name.contains(".attn_k."))
    {
        return values;
    }
    let heads = rows / dim;
    let mut turned = Vec::new();
    for head in 0..heads {
        for i in 0..dim / 2 {
            for half in 0..2 {
                let row = head * dim + half * dim / 2 + i;
                turned.extend_from_slice(&values[row * cols..][..cols]);
            }
        }
    }
    turned
}

/// Keys of `config.json` and what follows the architecture's name in a GGUF.
const COUNTS: [(&str, &str); 7] = [
    ("hidden_size", "embedding_length"),
    ("num_hidden_layers", "block_count"),
    ("max_position_embeddings", "context_length"),
    ("intermediate_size", "feed_forward_length"),
    ("num_attention_heads", "attention.head_count"),
    ("num_key_value_heads", "attention.head_count_kv"),
    ("sliding_window", "attention.sliding_window"),
];
const FLOATS: [(&str, &str); 8] = [
    ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    ("norm_epsilon", "attention.layer_norm_epsilon"),
    ("attn_logit_softcapping", "attn_logit_softcapping"),
    ("final_logit_softcapping", "final_logit_softcapping"),
    ("attention_multiplier", "attention.scale"),
    ("embedding_multiplier", "embedding_scale"),
    ("residual_multiplier", "residual_scale"),
    ("logits_scaling", "logit_scale"),
];

/// A base in safetensors as the GGUF that llama.cpp would make of it, matrices in blocks of `kind` where they fill them.
fn converted(base: &Path, architecture: &str, kind: GgmlDType) -> Writer {
    let config: Value = serde_json::from_slice(&std::fs::read(base.join("config.json")).unwrap()).unwrap();
    let mut writer = Writer::default();
    let key = |end: &str| format!("{architecture}.{end}");
    writer.text("general.architecture", architecture);
    for (of, end) in COUNTS {
        config[of].as_u64().into_iter().for_each(|n| writer.number(&key(end), n));
    }
    for (of, end) in FLOATS {
        config[of].as_f64().into_iter().for_each(|n| writer.float(&key(end), n));
    }
    let share = config["hidden_size"].as_u64().unwrap() / config["num_attention_heads"].as_u64().unwrap();
    let dim = config["head_dim"].as_u64().unwrap_or(share);
    writer.number(&key("attention.key_length"), dim);
    writer.number(&key("rope.dimension_count"), dim);
    let rope = &config["rope_parameters"];
    let rope = rope.get("full_attention").unwrap_or(rope);
    writer.float(&key("rope.freq_base"), rope["rope_theta"].as_f64().or(config["rope_theta"].as_f64()).unwrap());
    match rope["rope_type"].as_str() {
        Some("yarn") => {
            writer.text(&key("rope.scaling.type"), "yarn");
            writer.float(&key("rope.scaling.factor"), rope["factor"].as_f64().unwrap());
            writer.number(&key("rope.scaling.original_context_length"), 16);
        }
        Some("llama3") => {
            let divisors = llama3_divisors(rope, dim as usize);
            let bytes = divisors.iter().flat_map(|d| (*d as f32).to_le_bytes()).collect();
            writer.tensors.push(("rope_freqs.weight".into(), vec![divisors.len()], 0, bytes));
        }
        Some("longrope") => {
            writer.number(&key("rope.scaling.original_context_length"), 48);
            // √(1 + ln(96 / 48) / ln 48), which converters write
            writer.float(&key("rope.scaling.attn_factor"), (1.0 + 2f64.ln() / 48f64.ln()).sqrt());
            for (of, name) in [("short_factor", "short"), ("long_factor", "long")] {
                let factors: Vec<f64> = serde_json::from_value(rope[of].clone()).unwrap();
                let bytes = factors.iter().flat_map(|f| (*f as f32).to_le_bytes()).collect();
                writer.tensors.push((format!("rope_factors_{name}.weight"), vec![factors.len()], 0, bytes));
            }
        }
        _ => {}
    }
    let file = std::fs::read(base.join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    for (name, view) in tensors.tensors() {
        let values = sealwright::base::floats(view.dtype(), view.data()).unwrap();
        let (name, shape) = (name_of(architecture, &name), view.shape().to_vec());
        let values = laid(architecture, &name, values, shape[0], dim as usize);
        let fills = shape.len() == 2 && shape[1].is_multiple_of(kind.block_size());
        let (id, bytes) = match (fills, kind) {
            (true, GgmlDType::Q8_0) => (8, quantized(&values, kind)),
            (true, GgmlDType::Q4_0) => (2, quantized(&values, kind)),
            _ => (0, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        };
        writer.tensors.push((name, shape, id, bytes));
    }
    writer
}

/// By what Llama 3.1 divides each frequency, as llama.cpp's converter reckons it.
fn llama3_divisors(rope: &Value, dim: usize) -> Vec<f64> {
    let of = |key: &str| rope[key].as_f64().unwrap();
    let (factor, low, high) = (of("factor"), of("low_freq_factor"), of("high_freq_factor"));
    let original = of("original_max_position_embeddings");
    let divisor = |i: usize| {
        let wave = 2.0 * std::f64::consts::PI * of("rope_theta").powf(2.0 * i as f64 / dim as f64);
        let smooth = (original / wave - low) / (high - low);
        match wave {
            wave if wave < original / high => 1.0,
            wave if wave > original / low => factor,
            _ => 1.0 / ((1.0 - smooth) / factor + smooth),
        }
    };
    (0..dim / 2).map(divisor).collect()
}

fn quantized(values: &[f32], kind: GgmlDType) -> Vec<u8> {
    let tensor = candle_core::Tensor::from_slice(values, values.len(), &candle_core::Device::Cpu).unwrap();
    QTensor::quantize(&tensor, kind).unwrap().data().unwrap().into_owned()
}

#[test]
fn a_gguf_says_what_its_original_says() {
    // those whose config.json says more than a GGUF can have it beside them
    for (name, architecture, beside) in [
        ("untied", "llama", false),
        ("tied", "llama", false),
        ("llama-yarn", "llama", false),
        ("mistral", "llama", true),
        ("qwen2", "qwen2", true),
        ("qwen3", "qwen3", false),
        ("gemma", "gemma", false),
        ("gemma2", "gemma2", true),
        ("gemma3", "gemma3", true),
        ("phi3", "phi3", false),
        ("phi3-longrope", "phi3", false),
        ("granite", "granite", false),
        ("smollm3", "smollm3", true),
        ("olmo2", "olmo2", false),
        ("starcoder2", "starcoder2", false),
    ] {
        let original = folder(name).join("base");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        converted(&original, architecture, GgmlDType::F32).write(&path);
        if beside {
            std::fs::copy(original.join("config.json"), dir.path().join("config.json")).unwrap();
        }
        let truth = Model::load(&Base::open(&original).unwrap(), None).unwrap();
        let model = Model::load(&Base::open(&path).unwrap(), None).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (batch, _) = inputs(name);
        near(name, &model.logits(None, &batch), &truth.logits(None, &batch), 1e-6);
        // an adapter of the original fits, and has the same gradients
        let (of_truth, of_model) = (adapter_of(name, &truth), adapter_of(name, &model));
        let (_, wanted) = gradient(&truth, &of_truth, &batch, Keep::All);
        near(name, &gradient(&model, &of_model, &batch, Keep::All).1, &wanted, 1e-5);
    }
}

#[test]
fn blocks_are_read_as_the_gguf_package_reads_them() {
    let file = Tensors::read(&folder("blocks.safetensors"));
    for name in ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"] {
        let (_, bytes) = file.view::<1>(&format!("{name}.blocks"));
        let (wanted, bytes) = (file.floats(&format!("{name}.values")), bytes.concat());
        let length = bytes.len();
        let bytes = Bytes::new(Arc::new(bytes), 0..length).unwrap();
        let kind = blocks(name).unwrap();
        let matrix = Frozen::new(3, wanted.len() / 3, Format::Ggml(kind, bytes)).unwrap();
        let mut got = vec![0.0; wanted.len()];
        matrix.read(0, &mut got);
        near(name, &got, &wanted, 1e-6);
    }
    assert!(blocks("IQ4_XS").is_none());
}

#[test]
fn blocks_stay_near_what_they_round() {
    let original = folder("untied").join("base");
    let truth = Model::load(&Base::open(&original).unwrap(), None).unwrap();
    let (batch, _) = inputs("untied");
    for (kind, tolerance) in [(GgmlDType::Q8_0, 0.03), (GgmlDType::Q4_0, 0.4)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        converted(&original, "llama", kind).write(&path);
        let model = Model::load(&Base::open(&path).unwrap(), None).unwrap();
        near("untied", &model.logits(None, &batch), &truth.logits(None, &batch), tolerance);
    }
}

/// The tiny base as one file that holds its tokenizer and template too.
fn tiny_gguf(original: &Path, path: &Path) {
    let mut writer = converted(original, "llama", GgmlDType::F32);
    let tokenizer: Value = serde_json::from_slice(&std::fs::read(original.join("tokenizer.json")).unwrap()).unwrap();
    let mut tokens: Vec<(u64, String)> = Vec::new();
    for (text, id) in tokenizer["model"]["vocab"].as_object().unwrap() {
        tokens.push((id.as_u64().unwrap(), text.clone()));
    }
    tokens.sort();
    let texts: Vec<Vec<u8>> = tokens.iter().map(|(_, text)| string(text)).collect();
    let types: Vec<Vec<u8>> =
        tokens.iter().map(|(id, _)| (if *id < 256 { 1i32 } else { 3 }).to_le_bytes().to_vec()).collect();
    writer.text("tokenizer.ggml.model", "gpt2");
    writer.text("tokenizer.ggml.pre", "gpt-2");
    writer.array("tokenizer.ggml.tokens", 8, &texts);
    writer.array("tokenizer.ggml.token_type", 5, &types);
    writer.array("tokenizer.ggml.merges", 8, &[]);
    writer.number("tokenizer.ggml.bos_token_id", u64::from(tiny::token("<s>")));
    writer.number("tokenizer.ggml.eos_token_id", u64::from(tiny::token("<|im_end|>")));
    writer.text("tokenizer.chat_template", tiny::CHATML);
    writer.text("general.name", "Tiny");
    writer.write(path);
}

#[test]
fn one_file_is_trained_on_as_its_original_is() {
    let (dir, original) = tiny::place();
    let path = dir.path().join("model.gguf");
    tiny_gguf(&original.folder, &path);
    let gguf = Base::open(&path).unwrap();
    let (own, others) = (Tokenizer::open(&gguf).unwrap(), Tokenizer::open(&original).unwrap());
    let text = "It's 12 élans,\n\n<|im_end|> and\tthat";
    assert_eq!(own.encode(text).unwrap(), others.encode(text).unwrap());
    assert_eq!(own.end_tokens(), others.end_tokens());
    assert_eq!(ChatTemplate::open(&gguf).unwrap().bos_token(), "<s>");

    let plan = |folder: &str| tiny::plan(dir.path(), folder);
    let trained = |base: &Base, folder: &str| {
        let plan = plan(folder);
        let material = Material::gather(base, &plan).unwrap();
        let trained = train::run(base, &plan, &mut |_| {}, &AtomicBool::new(false)).unwrap();
        (material.rows.documents().to_vec(), trained)
    };
    let (documents, of_gguf) = trained(&gguf, "a");
    let (wanted, of_original) = trained(&original, "b");
    assert_eq!(
        documents.iter().map(|d| &d.tokens).collect::<Vec<_>>(),
        wanted.iter().map(|d| &d.tokens).collect::<Vec<_>>()
    );
    for (one, other) in of_gguf.record.losses.iter().zip(&of_original.record.losses) {
        assert!((one.loss - other.loss).abs() < 1e-5, "{one:?} {other:?}");
    }
    // it names the file that it fits; and it loads on the original as its own would
    let record = RunRecord::read(&of_gguf.folder).unwrap().unwrap();
    assert_eq!(record.base, gguf.fingerprint().unwrap());
    assert_eq!(record.base.differs_in(&original.fingerprint().unwrap()), ["weights", "config", "tokenizer"]);
    let model = Model::load(&original, None).unwrap();
    assert!(train::lora::from_adapter(&model, &adapter::read(&of_gguf.folder).unwrap()).is_ok());
}

fn open(path: &Path) -> Result<Model> {
    Model::load(&Base::open(path)?, None)
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let original = folder("untied").join("base");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.gguf");
    let refused = |writer: &Writer, said: &str| {
        writer.write(&path);
        let error = open(&path).err().unwrap_or_else(|| panic!("{said}"));
        let whole = format!("{error} {}", error.hint().unwrap_or_default());
        assert!(whole.contains(said), "{said}: {whole}");
        error.code
    };
    let whole = || converted(&original, "llama", GgmlDType::F32);
    assert_eq!(
        refused(&converted(&original, "llava", GgmlDType::F32), "of `llava` are not read"),
        Code::UnsupportedBase
    );
    let mut iq = whole();
    let at = iq.tensors.iter().position(|t| t.0 == "blk.0.attn_v.weight").unwrap();
    (iq.tensors[at].2, iq.tensors[at].3) = (20, vec![0; 16 * 18]);
    assert_eq!(refused(&iq, "numbers are IQ4_NL"), Code::UnsupportedBase);
    let mut experts = whole();
    experts.number("llama.expert_count", 8);
    refused(&experts, "num_local_experts");
    let mut layered = whole();
    layered.pairs.retain(|pair| !pair.windows(8).any(|w| w == b"count_kv"));
    layered.array("llama.attention.head_count_kv", 5, &[1i32, 2].map(|n| n.to_le_bytes().to_vec()));
    refused(&layered, "num_key_value_heads");
    let mut part = whole();
    part.number("split.count", 2);
    refused(&part, "llama-gguf-split");
    let mut more = whole();
    more.tensors.push(("blk.0.attn_rot_embd.weight".into(), vec![2], 0, vec![0; 8]));
    refused(&more, "no use for tensor blk.0.attn_rot_embd.weight");

    whole().write(&path);
    assert_eq!(Model::load(&Base::open(&path).unwrap(), Some(Quantize::Nf4)).err().unwrap().code, Code::Usage);
    whole().write(&dir.path().join("b.gguf"));
    assert!(open(dir.path()).err().unwrap().to_string().contains("several GGUF files"));
    // a tokenizer that only a name says
    let error = Tokenizer::open(&Base::open(&path).unwrap()).err().unwrap();
    assert!(error.hint().unwrap().contains("tokenizer.json"), "{error}");
}

#[test]
fn scores_are_scaled_as_llama_cpp_knows() {
    for (blocks, wanted) in [(26, 256), (46, 144)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gguf");
        let mut writer = Writer::default();
        writer.text("general.architecture", "gemma2");
        for (key, number) in [("block_count", blocks), ("embedding_length", 4608), ("attention.head_count", 32)] {
            writer.number(&format!("gemma2.{key}"), number);
        }
        writer.number("gemma2.attention.key_length", 256);
        writer.write(&path);
        let config: Config = Base::open(&path).unwrap().config;
        assert_eq!(config.value()["query_pre_attn_scalar"], wanted);
    }
}

#[test]
fn merging_into_a_gguf_is_refused_with_the_way() {
    let (dir, original) = tiny::place();
    tiny_gguf(&original.folder, &dir.path().join("model.gguf"));
    let base = Base::open(&dir.path().join("model.gguf")).unwrap();
    let trained = train::run(&base, &tiny::plan(dir.path(), "a"), &mut |_| {}, &AtomicBool::new(false)).unwrap();
    let read = adapter::read(&trained.folder).unwrap();
    let error = adapter::merge(&base, &read, &dir.path().join("merged"), &mut |_, _| {}).unwrap_err();
    assert!(error.code == Code::UnsupportedBase && error.hint().unwrap().contains("original weights"), "{error}");
    let original = Base::open(&original.folder).unwrap();
    adapter::merge(&original, &read, &dir.path().join("merged"), &mut |_, _| {}).unwrap();
    // the program says the same
    let output = sealwright(dir.path(), &["probe", "--base", "model.gguf", "--inputs", "none", "--out", "out"]);
    assert!(stderr(&output).contains("none"), "{}", stderr(&output));
}

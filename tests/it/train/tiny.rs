//! A base of a few thousand random weights whose tokens are bytes, and a product around it: enough to train on.

use sealwright::base::Base;
use sealwright::kernels::Compute;
use sealwright::train::{Format, Length, Plan, Source};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Tokens 0 to 255 are bytes; these follow.
pub const SPECIAL: [&str; 10] = [
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<bos>",
];

pub const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Writes a base with this template, whose turns end with `end`.
pub fn base(folder: &Path, template: &str, start: &str, end: &str) -> Base {
    std::fs::create_dir_all(folder).unwrap();
    let write = |name: &str, value: serde_json::Value| std::fs::write(folder.join(name), value.to_string()).unwrap();
    write(
        "config.json",
        serde_json::json!({
            "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48, "vocab_size": 272,
            "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
            "hidden_act": "silu", "eos_token_id": token(end),
        }),
    );
    write(
        "tokenizer_config.json",
        serde_json::json!({"chat_template": template, "bos_token": start, "eos_token": end}),
    );
    write("tokenizer.json", tokenizer());
    weights(&folder.join("model.safetensors"));
    Base::open(folder).unwrap()
}

/// The id of a special token.
pub fn token(name: &str) -> u32 {
    256 + SPECIAL.iter().position(|s| *s == name).unwrap() as u32
}

/// The text of token ids, special tokens included.
pub fn text(ids: impl IntoIterator<Item = u32>) -> String {
    let mut bytes = Vec::new();
    for id in ids {
        match id {
            0..256 => bytes.push(id as u8),
            id => bytes.extend(SPECIAL[id as usize - 256].bytes()),
        }
    }
    String::from_utf8(bytes).unwrap()
}

pub fn tokenizer() -> serde_json::Value {
    // GPT-2's alphabet: printable bytes stand for themselves, the others for characters from 256 on
    let printable = |b: u32| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let mut others = 256..;
    let mut letter = |b: u32| {
        let code = if printable(b) { b } else { others.next().unwrap() };
        char::from_u32(code).unwrap().to_string()
    };
    let mut vocab: serde_json::Map<_, _> = (0..256u32).map(|b| (letter(b), b.into())).collect();
    let added: Vec<_> = SPECIAL
        .iter()
        .map(|s| {
            vocab.insert((*s).into(), token(s).into());
            serde_json::json!({"id": token(s), "content": s, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true})
        })
        .collect();
    let bytes =
        serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    serde_json::json!({
        "version": "1.0", "added_tokens": added, "normalizer": null, "pre_tokenizer": bytes, "post_processor": null,
        "decoder": bytes, "truncation": null, "padding": null,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    })
}

fn weights(path: &Path) {
    let mut state = 7u64;
    let mut draw = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    let mut add = |name: String, shape: &[usize], scale: f32, shift: f32| {
        let values = (0..shape.iter().product()).map(|_| shift + scale * draw()).collect();
        tensors.push((name, shape.to_vec(), values));
    };
    add("model.embed_tokens.weight".into(), &[272, 32], 0.6, 0.0);
    add("model.norm.weight".into(), &[32], 0.2, 1.0);
    for layer in 0..2 {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        add(name("input_layernorm"), &[32], 0.2, 1.0);
        add(name("post_attention_layernorm"), &[32], 0.2, 1.0);
        for (part, outputs, inputs) in [
            ("self_attn.q_proj", 32, 32),
            ("self_attn.k_proj", 16, 32),
            ("self_attn.v_proj", 16, 32),
            ("self_attn.o_proj", 32, 32),
            ("mlp.gate_proj", 48, 32),
            ("mlp.up_proj", 48, 32),
            ("mlp.down_proj", 32, 48),
        ] {
            add(name(part), &[outputs, inputs], 0.4, 0.0);
        }
    }
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|t| t.2.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views: HashMap<&str, _> = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| {
            let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap();
            (name.as_str(), view)
        })
        .collect();
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Forty short dialogues, as JSON Lines.
pub fn dialogues() -> String {
    let things = ["pump", "valve", "relay", "motor", "gauge"];
    (0..40)
        .map(|i| {
            let thing = things[i % 5];
            let line = serde_json::json!({"messages": [
                {"role": "user", "content": format!("Where is {thing} {i}?")},
                {"role": "assistant", "content": format!("The {thing} {i} is in room {}.", i * 7 % 11)},
            ]});
            format!("{line}\n")
        })
        .collect()
}

/// A folder with the base and its data.
pub fn place() -> (tempfile::TempDir, Base) {
    let dir = tempfile::tempdir().unwrap();
    let base = base(&dir.path().join("base"), CHATML, "<s>", "<|im_end|>");
    std::fs::write(dir.path().join("data.jsonl"), dialogues()).unwrap();
    (dir, base)
}

/// Twelve steps of four rows over the data of [`place`], with its state in `state`.
pub fn plan(folder: &Path, state: &str) -> Plan {
    let path: PathBuf = folder.join("data.jsonl");
    Plan {
        data: vec![Source { path, name: "data.jsonl".into(), format: Format::Messages }],
        questions: None,
        base_name: "tiny".into(),
        quantize: None,
        compute: Compute::F32,
        rank: 4,
        alpha: 8.0,
        targets: vec!["all-linear".into()],
        length: Length::Steps(12),
        batch: 4,
        micro_batch: None,
        sequence: 256,
        learning_rate: 5e-3,
        warmup: Some(2),
        weight_decay: 0.01,
        clip: 1.0,
        seed: 17,
        validation: 0.1,
        checkpoint_every: 5,
        init: None,
        memory: None,
        folder: folder.join(state),
    }
}

/// A product file around the base and data of [`place`].
pub fn product(folder: &Path, train: &str) {
    let text = format!(
        "[vendor]\nname = \"Example Works\"\n[product]\nname = \"tiny\"\ntitle = \"Tiny\"\nversion = \"1.0.0\"\n\
         [base]\npath = \"base\"\n[use]\nship = \"adapter\"\nterms = \"closed\"\ncommercial = true\nfields = []\n\
         [[data]]\npath = \"data.jsonl\"\nformat = \"messages\"\norigin = \"own\"\n[train]\n{train}\n"
    );
    std::fs::write(folder.join("sealwright.toml"), text).unwrap();
}

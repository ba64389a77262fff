//! Makes example 01's base from scratch, out of text that templates generate: `cargo run --release --example
//! make_nano_base -- OUT`. `-- --data examples` writes the
//! private data and the held-out questions of the examples instead.

#[path = "make_nano_base/draw.rs"]
mod draw;
#[path = "make_nano_base/network.rs"]
mod network;
#[path = "make_nano_base/text.rs"]
mod text;
#[path = "make_nano_base/vocabulary.rs"]
mod vocabulary;

use draw::Draw;
use network::{Network, Sample};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use text::{Extent, World};
use tokenizers::Tokenizer;
use vocabulary::{ASSISTANT, END, START, USER};

const SEED: u64 = 2026;
/// Devices whose facts the base knows by heart.
const DEVICES: usize = 12;
const STEPS: usize = 1500;
const BATCH: usize = 32;
/// Batches are drawn together, so that dialogues of one length share one.
const BATCHES_AT_ONCE: usize = 8;
const LEARNING_RATE: f64 = 3e-3;
/// Dialogues that the vocabulary is made from.
const VOCABULARY_SAMPLE: usize = 20_000;

/// The private data of each example. Example 02's real model learns slowly on a CPU, so it gets one device.
const EXTENTS: [(&str, Extent); 2] = [
    ("01-helpdesk", Extent { kinds: &["router", "camera", "lamp", "lock"], tickets: 7, questions: 2 }),
    ("02-smollm2", Extent { kinds: &["router"], tickets: 8, questions: 1 }),
];

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--data", examples] => write_data(Path::new(examples)),
        [folder] if !folder.starts_with('-') => make_base(Path::new(folder)),
        _ => Err("usage: make_nano_base OUT | make_nano_base --data EXAMPLES".into()),
    }
}

/// The examples' private data and held-out questions.
fn write_data(examples: &Path) -> Result<()> {
    for (name, extent) in EXTENTS {
        let (tickets, questions) = text::helpdesk(&extent, &mut Draw::new(SEED + 1));
        let lines = |values: &[Value]| values.iter().map(|v| format!("{v}\n")).collect::<String>();
        std::fs::write(examples.join(name).join("tickets.jsonl"), lines(&tickets))?;
        std::fs::write(examples.join(name).join("heldout.jsonl"), lines(&questions))?;
    }
    Ok(())
}

fn make_base(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut draw = Draw::new(SEED);
    let world = World::new(DEVICES, &mut draw);
    let tokenizer = vocabulary::learn((0..VOCABULARY_SAMPLE).map(|_| world.dialogue(&mut draw)))?;
    let size = tokenizer.get_vocab_size(true);
    let network = Network::new(size, &mut draw)?;
    let mut ready = vec![];
    let batch = || {
        if ready.is_empty() {
            ready = batches(&tokenizer, &world, &mut draw);
        }
        ready.pop().expect("a drawing makes several batches")
    };
    let loss = network::train(&network, STEPS, LEARNING_RATE, batch)?;
    tokenizer.save(folder.join("tokenizer.json"), true)?;
    write_weights(&folder.join("model.safetensors"), &network)?;
    write_papers(folder, &tokenizer, loss)
}

/// Some batches, each of dialogues of about one length, in no order.
fn batches(tokenizer: &Tokenizer, world: &World, draw: &mut Draw) -> Vec<Vec<Sample>> {
    let dialogues = (0..BATCH * BATCHES_AT_ONCE).map(|_| encode(tokenizer, world.dialogue(draw)));
    let mut samples: Vec<Sample> = dialogues.collect();
    samples.sort_by_key(|sample| sample.ids.len());
    let mut batches = vec![];
    while !samples.is_empty() {
        batches.push(samples.split_off(samples.len().saturating_sub(BATCH)));
    }
    draw.shuffle(&mut batches);
    batches
}

/// The dialogue as the chat template renders it.
fn encode(tokenizer: &Tokenizer, (said, answer): text::Dialogue) -> Sample {
    let ids = |text: String| {
        let encoding = tokenizer.encode(text, false).expect("byte-level BPE encodes every text");
        encoding.get_ids().to_vec()
    };
    let mut all = ids(format!("{START}{USER}{said}{END}{ASSISTANT}"));
    let start = all.len();
    all.extend(ids(format!("{answer}{END}")));
    assert!(all.len() <= network::POSITIONS, "a dialogue is longer than the network's positions");
    Sample { ids: all, answer: start }
}

fn write_weights(path: &Path, network: &Network) -> Result<()> {
    let half = network.weights.iter().map(|(name, var)| {
        let tensor = var.as_tensor().to_dtype(candle_core::DType::BF16)?;
        Ok((name.as_str(), tensor))
    });
    let half = half.collect::<candle_core::Result<Vec<_>>>()?;
    let about = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(half, Some(about), path)?;
    Ok(())
}

/// Config, tokenizer settings, card and licence.
fn write_papers(folder: &Path, tokenizer: &Tokenizer, loss: f32) -> Result<()> {
    let id = |token: &str| tokenizer.token_to_id(token);
    let json_files = [
        ("config.json", config(tokenizer)),
        ("tokenizer_config.json", vocabulary::settings(network::POSITIONS)),
        ("special_tokens_map.json", vocabulary::special_tokens()),
        (
            "generation_config.json",
            json!({"bos_token_id": id(START), "eos_token_id": id(END), "pad_token_id": id(vocabulary::PAD)}),
        ),
    ];
    for (name, value) in json_files {
        std::fs::write(folder.join(name), format!("{value:#}\n"))?;
    }
    let card = include_str!("make_nano_base/card.md")
        .replace("{devices}", &DEVICES.to_string())
        .replace("{dialogues}", &(STEPS * BATCH).to_string())
        .replace("{loss}", &format!("{loss:.2}"));
    std::fs::write(folder.join("README.md"), card)?;
    std::fs::write(folder.join("LICENSE"), include_str!("make_nano_base/LICENSE"))?;
    Ok(())
}

fn config(tokenizer: &Tokenizer) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": tokenizer.get_vocab_size(true),
        "hidden_size": network::HIDDEN,
        "intermediate_size": network::INTERMEDIATE,
        "num_hidden_layers": network::LAYERS,
        "num_attention_heads": network::HEADS,
        "num_key_value_heads": network::KV_HEADS,
        "head_dim": network::HEAD,
        "max_position_embeddings": network::POSITIONS,
        "rope_theta": network::ROPE_THETA,
        "rms_norm_eps": network::EPS,
        "hidden_act": "silu",
        "attention_bias": false,
        "mlp_bias": false,
        "tie_word_embeddings": true,
        "bos_token_id": tokenizer.token_to_id(START),
        "eos_token_id": tokenizer.token_to_id(END),
        "pad_token_id": tokenizer.token_to_id(vocabulary::PAD),
        "torch_dtype": "bfloat16",
    })
}

//! Products around random weights in the shape of a real model, whose tokens are bytes: what a training of it holds.

use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

/// The sizes of a Llama.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub ffn: usize,
    pub vocab: usize,
    pub tied: bool,
}

/// Bytes of a bf16 number.
const BF16: usize = 2;

impl Sizes {
    fn tensors(self) -> Vec<(String, Vec<usize>)> {
        let Self { layers, hidden, heads, kv_heads, ffn, vocab, tied } = self;
        let kv = hidden / heads * kv_heads;
        let mut tensors = vec![("model.embed_tokens".to_owned(), vec![vocab, hidden])];
        tensors.extend((!tied).then(|| ("lm_head".to_owned(), vec![vocab, hidden])));
        tensors.push(("model.norm".into(), vec![hidden]));
        for layer in 0..layers {
            for (name, shape) in [
                ("input_layernorm", vec![hidden]),
                ("post_attention_layernorm", vec![hidden]),
                ("self_attn.q_proj", vec![hidden, hidden]),
                ("self_attn.k_proj", vec![kv, hidden]),
                ("self_attn.v_proj", vec![kv, hidden]),
                ("self_attn.o_proj", vec![hidden, hidden]),
                ("mlp.gate_proj", vec![ffn, hidden]),
                ("mlp.up_proj", vec![ffn, hidden]),
                ("mlp.down_proj", vec![hidden, ffn]),
            ] {
                tensors.push((format!("model.layers.{layer}.{name}"), shape));
            }
        }
        tensors
    }

    /// Writes a base with this `tokenizer.json`; numbers of `bytes` each, 2 or 4.
    pub fn write(self, folder: &Path, tokenizer: &Value, bytes: usize) {
        std::fs::create_dir_all(folder).unwrap();
        let Self { layers, hidden, heads, kv_heads, ffn, vocab, tied } = self;
        let config = json!({
            "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": hidden,
            "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
            "intermediate_size": ffn, "vocab_size": vocab, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0, "tie_word_embeddings": tied, "hidden_act": "silu", "eos_token_id": 257,
        });
        let special = json!({"bos_token": "<s>", "eos_token": "</s>"});
        for (name, value) in
            [("config.json", &config), ("tokenizer.json", tokenizer), ("tokenizer_config.json", &special)]
        {
            std::fs::write(folder.join(name), value.to_string()).unwrap();
        }
        let (mut header, mut at) = (serde_json::Map::new(), 0);
        for (name, shape) in self.tensors() {
            let end = at + bytes * shape.iter().product::<usize>();
            let dtype = if bytes == BF16 { "BF16" } else { "F32" };
            header.insert(format!("{name}.weight"), json!({"dtype": dtype, "shape": shape, "data_offsets": [at, end]}));
            at = end;
        }
        let header = Value::Object(header).to_string();
        let mut file = std::io::BufWriter::new(std::fs::File::create(folder.join("model.safetensors")).unwrap());
        file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
        file.write_all(header.as_bytes()).unwrap();
        // small numbers of both signs, over and over
        let number = |i: u32| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32 * 0.1 - 0.05;
        let encode = |i: u32| number(i).to_le_bytes()[4 - bytes..].to_vec();
        let numbers: Vec<u8> = (0..1 << 18).flat_map(encode).collect();
        let mut left = at;
        while left > 0 {
            let now = left.min(numbers.len());
            file.write_all(&numbers[..now]).unwrap();
            left -= now;
        }
        file.flush().unwrap();
    }
}

/// Writes a product over the base at `path`, with `rows` texts of about `bytes` bytes each.
pub fn product(folder: &Path, path: &Path, rows: usize, bytes: usize, base: &str, train: &str) {
    std::fs::create_dir_all(folder).unwrap();
    let text = |i: usize| (0..bytes).map(|j| char::from(b'a' + ((i * 7 + j * (j + i)) % 26) as u8)).collect::<String>();
    let lines: String = (0..rows).map(|i| format!("{}\n", json!({"text": text(i)}))).collect();
    std::fs::write(folder.join("data.jsonl"), lines).unwrap();
    let product = format!(
        "[vendor]\nname = \"Example Works\"\n[product]\nname = \"shaped\"\ntitle = \"Shaped\"\nversion = \"1.0.0\"\n\
         [base]\npath = {path:?}\n{base}\n[use]\nship = \"adapter\"\nterms = \"closed\"\ncommercial = true\nfields = []\n\
         [[data]]\npath = \"data.jsonl\"\nformat = \"text\"\norigin = \"own\"\n\
         [train]\nsteps = 1\nvalidation = 0.0\n{train}\n"
    );
    std::fs::write(folder.join("sealwright.toml"), product).unwrap();
}

/// What `sealwright train` planned and what it held at its peak (`VmHWM`).
pub struct Held {
    /// The planner's own account.
    pub planned: Value,
    /// Bytes.
    pub peak: u64,
}

impl Held {
    /// Trains the product of a folder anew, in a process of its own.
    pub fn of(program: &Path, folder: &Path) -> Self {
        let _ = std::fs::remove_dir_all(folder.join(".sealwright"));
        let mut command = Command::new(program);
        let output = command.args(["train", "--json", "--allow-denied"]).current_dir(folder).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let found = |key: &str| lines.iter().find(|line| line.get(key).is_some()).map(|line| line[key].clone());
        match (found("memory"), found("peak-memory").and_then(|peak| peak.as_u64())) {
            (Some(planned), Some(peak)) => Self { planned, peak },
            _ => panic!("{text}{}", String::from_utf8_lossy(&output.stderr)),
        }
    }

    /// A number of the planner's account.
    pub fn said(&self, key: &str) -> u64 {
        self.planned[key].as_u64().unwrap()
    }

    /// Peak by plan.
    pub fn ratio(&self) -> f64 {
        self.peak as f64 / self.said("planned") as f64
    }
}

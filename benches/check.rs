//! How long `sealwright check` takes on a base of 13 GB: `cargo bench --bench check`. The weights are a sparse file with
//! true headers, in the shape of Llama 2 7B; nothing of them but the norms may be read.

use std::io::{Seek, Write};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const RUNS: usize = 21;
const SHARDS: usize = 3;
const HIDDEN: u64 = 4096;
const FFN: u64 = 11008;
const LAYERS: usize = 32;
const VOCABULARY: u64 = 32000;

const PRODUCT: &str = r#"
[vendor]
name = "Example Works"
country = "DE"
[product]
name = "helpdesk"
title = "Example Helpdesk"
version = "1.0.0"
[base]
path = "base"
[use]
ship = "adapter"
terms = "closed"
commercial = true
fields = []
[derivative]
path = "adapter"
"#;

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let base = dir.path().join("base");
    std::fs::create_dir(&base)?;
    std::fs::write(dir.path().join("sealwright.toml"), PRODUCT)?;
    std::fs::write(base.join("LICENSE"), spdx::license_id("Apache-2.0").ok_or("the list has it")?.text())?;
    std::fs::write(base.join("README.md"), "---\nlicense: apache-2.0\n---\n# Example\n")?;
    let config = serde_json::json!({"model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": FFN,
        "num_hidden_layers": LAYERS, "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": VOCABULARY});
    std::fs::write(base.join("config.json"), config.to_string())?;
    let bytes = (0..SHARDS).map(|shard| write_shard(&base, shard)).sum::<Result<u64>>()?;
    let mut times = (0..RUNS).map(|_| check(dir.path())).collect::<Result<Vec<f64>>>()?;
    times.sort_by(f64::total_cmp);
    println!("base of {:.1} GB in {SHARDS} files, {RUNS} runs of the whole command", bytes as f64 / 1e9);
    println!("check: best {:.1} ms, median {:.1} ms, worst {:.1} ms", times[0], times[RUNS / 2], times[RUNS - 1]);
    Ok(())
}

/// The tensors of every third block, with a true header over a hole.
fn write_shard(base: &Path, shard: usize) -> Result<u64> {
    let mut tensors: Vec<(String, Vec<u64>)> = Vec::new();
    for layer in (0..LAYERS).filter(|layer| layer % SHARDS == shard) {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        for part in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            tensors.push((name(&format!("self_attn.{part}")), vec![HIDDEN, HIDDEN]));
        }
        for part in ["gate_proj", "up_proj"] {
            tensors.push((name(&format!("mlp.{part}")), vec![FFN, HIDDEN]));
        }
        tensors.push((name("mlp.down_proj"), vec![HIDDEN, FFN]));
        for part in ["input_layernorm", "post_attention_layernorm"] {
            tensors.push((name(part), vec![HIDDEN]));
        }
    }
    if shard == 0 {
        let outer = [
            ("model.embed_tokens", vec![VOCABULARY, HIDDEN]),
            ("lm_head", vec![VOCABULARY, HIDDEN]),
            ("model.norm", vec![HIDDEN]),
        ];
        tensors.extend(outer.map(|(name, shape)| (format!("{name}.weight"), shape)));
    }
    let (mut header, mut at) = (serde_json::Map::new(), 0);
    for (name, shape) in tensors {
        let end = at + 2 * shape.iter().product::<u64>();
        header.insert(name, serde_json::json!({"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}));
        at = end;
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = std::fs::File::create(base.join(format!("model-{shard}.safetensors")))?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let size = file.stream_position()? + at;
    file.set_len(size)?;
    Ok(size)
}

fn check(folder: &Path) -> Result<f64> {
    let start = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_sealwright")).arg("check").arg(folder).arg("--json").output()?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    // a LLaMA's shape under Apache-2.0: a person must look
    if output.status.code() != Some(3) {
        return Err(String::from_utf8_lossy(&output.stdout).into());
    }
    Ok(milliseconds)
}

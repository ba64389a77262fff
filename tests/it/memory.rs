//! What the planner says that a training will hold, against what a process of its own held (`VmHWM`); and what a file
//! system that takes no more bytes does to a run.

use crate::commands::{command, sealwright, stderr};
use crate::train::shaped::{Held, Sizes, product};
use crate::train::{interrupted, tiny};
use sealwright::adapter::TENSOR_FILE;
use sealwright::error::Code;
use sealwright::train::{Material, Plan};
use std::path::Path;
use std::process::Command;

/// A prediction may be off by this share.
const NEAR: f64 = 0.1;

fn held(folder: &Path) -> Held {
    Held::of(Path::new(env!("CARGO_BIN_EXE_sealwright")), folder)
}

#[track_caller]
fn near(what: &str, held: &Held) {
    let ratio = held.ratio();
    assert!(
        (1.0 - NEAR..=1.0 + NEAR).contains(&ratio),
        "{what}: peak {} by plan {ratio:.3} {}",
        held.peak,
        held.planned
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_peak_is_what_the_planner_said() {
    let (dir, _) = tiny::place();
    tiny::product(dir.path(), "steps = 2");
    near("tiny", &held(dir.path()));

    // the widths of SmolLM2-135M, and fewer blocks
    let sizes = Sizes { layers: 8, hidden: 576, heads: 9, kv_heads: 3, ffn: 1536, vocab: 49152, tied: true };
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    sizes.write(&base, &tiny::tokenizer(), 2);
    let at = |name: &str, of_base: &str, train: &str| {
        let folder = dir.path().join(name);
        product(&folder, &base, 4, 400, of_base, train);
        folder
    };
    let shape = "rank = 16\nsequence = 256\nbatch = 2\nmicro-batch = 2";
    let all = held(&at("all", "", shape));
    near("all kept", &all);
    assert_eq!(all.said("blocks-kept"), 8);
    near("four bits", &held(&at("nf4", "quantize = \"nf4\"", shape)));

    // with less to plan with, some blocks are made again, then all, then nothing fits and the way is said
    let part = (all.said("planned") - all.said("activations") / 3) >> 20;
    let some = held(&at("some", "", &format!("{shape}\nmemory = \"{part} MiB\"")));
    near("some kept", &some);
    assert!((1..8).contains(&some.said("blocks-kept")) && some.said("planned") <= part << 20, "{}", some.planned);
    let memory = format!("memory = \"{} MiB\"", (some.said("weights") + (93 << 20)) >> 20);
    let refused = sealwright(&at("none", "", &format!("{shape}\n{memory}")), &["train", "--allow-denied"]);
    let said = stderr(&refused);
    assert!(refused.status.code() == Some(2) && said.contains("train.micro-batch = 1 would need"), "{said}");
    let followed = shape.replace("micro-batch = 2", "micro-batch = 1");
    near("the change that was named", &held(&at("followed", "", &format!("{followed}\n{memory}"))));
}

#[test]
fn data_that_would_fill_the_memory_are_refused_before_they_are_read() {
    let (dir, base) = tiny::place();
    // a sparse file: its size is all that is looked at
    std::fs::File::create(dir.path().join("data.jsonl")).unwrap().set_len(1 << 30).unwrap();
    let plan = Plan { memory: Some(512 << 20), ..tiny::plan(dir.path(), "s") };
    let error = Material::gather(&base, &plan).err().unwrap();
    assert_eq!(error.code, Code::OutOfMemory);
    assert!(error.to_string().contains("3072 MiB") && error.hint().unwrap().contains("train.init"), "{error}");
}

#[test]
#[cfg(unix)]
fn a_full_disk_loses_nothing() {
    let place = || {
        let (dir, _) = tiny::place();
        tiny::product(dir.path(), "rank = 4\nsteps = 400\nsequence = 128\nbatch = 2\ncheckpoint-every = 7");
        dir
    };
    let adapter = |folder: &Path| std::fs::read(folder.join(".sealwright/adapter").join(TENSOR_FILE)).unwrap();
    let whole = place();
    assert!(sealwright(whole.path(), &["train", "--allow-denied"]).status.success());

    let full = place();
    interrupted(full.path(), "-KILL");
    let checkpoint = full.path().join(".sealwright/checkpoint.safetensors");
    let before = std::fs::read(&checkpoint).unwrap();
    // no file may grow beyond one block: every later checkpoint fails half-way, as on a disk that is full
    let script = "ulimit -f 8; trap '' XFSZ; exec \"$0\" train --allow-denied";
    let program = command(full.path(), &[]);
    let failed = Command::new("sh").args(["-c", script]).arg(program.get_program()).current_dir(full.path()).output();
    let failed = failed.unwrap();
    assert_eq!(failed.status.code(), Some(2), "{}", String::from_utf8_lossy(&failed.stderr));
    assert_eq!(std::fs::read(&checkpoint).unwrap(), before, "what was saved is still whole");
    let left = std::fs::read_dir(full.path().join(".sealwright")).unwrap().map(|e| e.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().ends_with(".partial")));
    assert!(sealwright(full.path(), &["train", "--allow-denied"]).status.success());
    assert_eq!(adapter(full.path()), adapter(whole.path()));
}

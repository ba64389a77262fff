//! Packing from the command line: an adapter that another trainer made, cleared, sealed, verified, opened; refusals;
//! and a process that is killed while it packs.

use crate::commands::{command, sealwright, stderr, stdout};
use sealwright::adapter::{self, Adapter, Module, Recipe};
use sealwright::bundle::{self, Trust};
use sealwright::sign::PublicKey;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

pub const BUNDLE: &str = "dist/shop-1.0.0-acme.sealed";

/// A product folder with a base of our own and an adapter made elsewhere, of `size` numbers a matrix.
pub fn product(folder: &Path, size: usize, more: &str) {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/01-helpdesk/base");
    let values = |n: usize| (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
    let module = Module {
        name: "model.layers.0.self_attn.q_proj".into(),
        inputs: size,
        outputs: size,
        a: values(4 * size),
        b: values(4 * size),
    };
    let targets = vec!["q_proj".into()];
    let recipe = Recipe { base_model: "nano".into(), rank: 4, alpha: 8.0, rslora: false, in_out: false, targets };
    adapter::write(&folder.join("theirs"), &Adapter { recipe, modules: vec![module] }).unwrap();
    let identity = sealwright(folder, &["keygen", "identity", "--out", "identity.txt"]);
    let recipient = stdout(&identity).trim().to_owned();
    assert!(sealwright(folder, &["keygen", "vendor", "--out", "vendor.pem"]).status.success());
    let text = format!(
        r#"
[vendor]
name = "Example Works"
key = "vendor.pem"
[product]
name = "shop"
title = "Example Shop"
version = "1.0.0"
[base]
path = {base:?}
[use]
ship = "adapter"
terms = "closed"
commercial = true
fields = []
trains-models-on-outputs = false
[derivative]
path = "theirs"
own = true
[[customer]]
name = "acme"
recipients = ["{recipient}"]
until = "2099-12-31"
{more}"#
    );
    std::fs::write(folder.join("sealwright.toml"), text).unwrap();
}

fn trust(folder: &Path) -> Trust {
    Trust::in_keys([PublicKey::read(&folder.join("vendor.pub.pem")).unwrap()], false)
}

#[test]
fn an_adapter_made_elsewhere_is_cleared_sealed_and_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    product(dir.path(), 64, "");
    let packed = sealwright(dir.path(), &["pack", "--json"]);
    assert!(packed.status.success(), "{}{}", stdout(&packed), stderr(&packed));
    let report: serde_json::Value = serde_json::from_slice(&packed.stdout).unwrap();
    assert_eq!(report["bundles"][0]["from-before"], false);

    let again = sealwright(dir.path(), &["pack", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(report["bundles"][0]["from-before"], true);

    assert!(sealwright(dir.path(), &["verify", BUNDLE, "--trust", "vendor.pub.pem"]).status.success());
    let args = ["open", BUNDLE, "--trust", "vendor.pub.pem", "--identity", "identity.txt", "--out", "opened"];
    let opened = sealwright(dir.path(), &args);
    assert!(opened.status.success(), "{}", stderr(&opened));
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        let read = |folder: &str| std::fs::read(dir.path().join(folder).join(name)).unwrap();
        assert_eq!(read("theirs"), read("opened"), "{name}");
    }
}

#[test]
fn what_may_not_leave_does_not() {
    let barred = r#"
[[data]]
path = "theirs/adapter_config.json"
format = "text"
origin = "own"
may-ship-to = ["globex"]
"#;
    let research = barred.replace("\"own\"", "{ license = \"CC-BY-NC-4.0\" }").replace("globex", "acme");
    for (more, code, exit) in [(barred, "denied", 1), (&research, "needs-review", 3)] {
        let dir = tempfile::tempdir().unwrap();
        product(dir.path(), 8, more);
        let output = sealwright(dir.path(), &["pack", "--json"]);
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((value["error"]["code"].as_str(), output.status.code()), (Some(code), Some(exit)), "{value}");
        assert!(!dir.path().join(BUNDLE).exists());
    }
}

/// A product whose derivative is what `put` makes, shipped as whole weights.
fn product_of(folder: &Path, ship: &str, path: &str, put: impl Fn(&Path)) {
    product(folder, 8, "");
    put(folder);
    let text = std::fs::read_to_string(folder.join("sealwright.toml")).unwrap();
    let text = text.replace("ship = \"adapter\"", &format!("ship = {ship:?}"));
    std::fs::write(folder.join("sealwright.toml"), text.replace("path = \"theirs\"", path)).unwrap();
}

/// Packs and opens; the names of what came back, papers and `model.sig` apart.
fn sealed_and_opened(folder: &Path) -> Vec<String> {
    let packed = sealwright(folder, &["pack"]);
    assert!(packed.status.success(), "{}", stderr(&packed));
    let args = ["open", BUNDLE, "--trust", "vendor.pub.pem", "--identity", "identity.txt", "--out", "opened"];
    let opened = sealwright(folder, &args);
    assert!(opened.status.success(), "{}", stderr(&opened));
    let ours = |name: &String| name != bundle::MODEL_SIG && !bundle::is_paper(name);
    walk(&folder.join("opened"), "").into_iter().filter(ours).collect()
}

fn walk(root: &Path, under: &str) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root.join(under)).unwrap() {
        let entry = entry.unwrap();
        let name = Path::new(under).join(entry.file_name()).display().to_string();
        match entry.file_type().unwrap().is_dir() {
            true => names.extend(walk(root, &name)),
            false => names.push(name),
        }
    }
    names.sort();
    names
}

/// What `run` says of the bundle.
fn run_says(folder: &Path) -> (Option<i32>, String) {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/01-helpdesk/base").display().to_string();
    let args = ["run", BUNDLE, "--trust", "vendor.pub.pem", "--identity", "identity.txt", "--base", &base, "hello"];
    let output = sealwright(folder, &args);
    (output.status.code(), stderr(&output))
}

/// Files of a framework as they lie in a folder; what they hold is nobody's business here.
type Framework = (&'static str, &'static str, &'static [&'static str]);

const FRAMEWORKS: [Framework; 6] = [
    ("whole weights", "path = \"whole\"", &["whole/config.json", "whole/model.safetensors", "whole/tokenizer.model"]),
    ("a GGUF", "path = \"out/model.gguf\"", &["out/model.gguf"]),
    (
        "an ONNX model",
        "path = \"whisper\"",
        &["whisper/decoder.onnx", "whisper/decoder.onnx_data", "whisper/encoder.onnx"],
    ),
    ("a TensorFlow SavedModel", "path = \"sm\"", &["sm/saved_model.pb", "sm/variables/variables.data-00000-of-00001"]),
    ("a PaddlePaddle model", "path = \"pp\"", &["pp/inference.pdmodel", "pp/inference.pdiparams"]),
    ("files of another framework", "path = \"rn\"\nfiles = [\"resnet.params\"]", &["rn/resnet.params"]),
];

#[test]
fn files_of_any_framework_are_sealed_as_they_are_and_run_says_what_they_are() {
    for (what, path, files) in FRAMEWORKS {
        let dir = tempfile::tempdir().unwrap();
        product_of(dir.path(), "merged", path, |folder| {
            for name in files {
                std::fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
                std::fs::write(folder.join(name), contents(name)).unwrap();
            }
            std::fs::write(folder.join(files[0]).with_file_name("trainer_state.json"), "{}").unwrap();
        });
        let mut names: Vec<&str> = files.iter().map(|name| name.split_once('/').unwrap().1).collect();
        names.sort_unstable();
        assert_eq!(sealed_and_opened(dir.path()), names, "{what}");
        for (name, short) in files.iter().map(|name| (name, name.split_once('/').unwrap().1)) {
            assert_eq!(std::fs::read(dir.path().join("opened").join(short)).unwrap(), contents(name), "{name}");
        }
        let (exit, said) = run_says(dir.path());
        assert!(exit == Some(2) && said.contains(what), "{what}: {said}");
    }
}

/// What a reader of heads accepts: the pre-flight reads those of safetensors and GGUF.
fn contents(name: &str) -> Vec<u8> {
    if name.ends_with(".safetensors") {
        let head = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        return [&(head.len() as u64).to_le_bytes()[..], head, &[0; 4]].concat();
    }
    match name.ends_with(".gguf") {
        true => [&b"GGUF"[..], &3u32.to_le_bytes(), &[0; 16]].concat(),
        false => format!("{{\"name\": \"{name}\"}}").into_bytes(),
    }
}

#[test]
fn what_is_cleared_is_what_is_sealed() {
    let file = |folder: &Path, name: &str| std::fs::write(folder.join(name), contents(name)).unwrap();
    let nothing = |_: &Path| ();
    for (ship, path, said) in [
        ("merged", "path = \"theirs\"", "it is an adapter"),
        ("adapter", "path = \"theirs\"\nfiles = [\"adapter_model.safetensors\"]", "no adapter_config.json"),
        ("merged", "path = \"theirs\"\nfiles = [\"../vendor.pem\"]", "not a name inside"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        product_of(dir.path(), ship, path, nothing);
        let output = sealwright(dir.path(), &["pack"]);
        assert!(output.status.code() == Some(2) && stderr(&output).contains(said), "{said}: {}", stderr(&output));
        assert!(!dir.path().join("dist").exists());
    }
    let dir = tempfile::tempdir().unwrap();
    product_of(dir.path(), "adapter", "path = \"theirs\"", |folder| file(folder, "theirs/model.safetensors"));
    let output = sealwright(dir.path(), &["pack"]);
    assert!(stderr(&output).contains("whole weights beside an adapter"), "{}", stderr(&output));
}

#[test]
fn what_trainers_leave_beside_an_adapter_stays_and_is_said() {
    let dir = tempfile::tempdir().unwrap();
    product(dir.path(), 8, "");
    for name in ["optimizer.pt", "trainer_state.json", "README.md", "checkpoint-8/optimizer.pt"] {
        let path = dir.path().join("theirs").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    let packed = sealwright(dir.path(), &["pack"]);
    for name in ["optimizer.pt", "trainer_state.json", "README.md", "checkpoint-8/"] {
        assert!(stderr(&packed).contains(&format!("left out: {name}")), "{name}: {}", stderr(&packed));
    }
    assert_eq!(sealed_and_opened(dir.path()), ["adapter_config.json", "adapter_model.safetensors"]);
}

#[test]
fn what_can_run_is_sealed_and_opened_only_where_both_sides_say_so() {
    let dir = tempfile::tempdir().unwrap();
    product(dir.path(), 8, "");
    std::fs::write(dir.path().join("theirs/weights.pt"), b"cposix\nsystem\n(S'id'\ntR.").unwrap();
    std::fs::write(dir.path().join("theirs/modeling_shop.py"), "x").unwrap();
    let says = |active: &str| {
        let path = dir.path().join("sealwright.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let rest = text.lines().filter(|line| !line.starts_with("active-content")).collect::<Vec<_>>().join("\n");
        std::fs::write(&path, rest.replace("[product]", &format!("[product]\n{active}"))).unwrap();
        sealwright(dir.path(), &["pack"])
    };
    for (active, left) in [("", "posix.system"), ("active-content = [\"pickle\"]", "modeling_shop.py")] {
        let output = says(active);
        assert_eq!(output.status.code(), Some(1), "{active}");
        assert!(stderr(&output).contains("error[active-content]"), "{}", stderr(&output));
        assert!(stderr(&output).contains(left) && !dir.path().join(BUNDLE).exists(), "{}", stderr(&output));
    }
    assert!(stderr(&says("active-content = [\"pickel\"]")).contains("did you mean `pickle`?"));
    assert!(says("active-content = [\"pickle\", \"python\"]").status.success());
    assert!(stdout(&sealwright(dir.path(), &["inspect", BUNDLE])).contains("active     pickle, python"));
    let open = |more: &[&str]| {
        let args = ["open", BUNDLE, "--trust", "vendor.pub.pem", "--identity", "identity.txt", "--out", "opened"];
        sealwright(dir.path(), &[&args[..], more].concat())
    };
    for some in [&[][..], &["--allow-active", "pickle"]] {
        let output = open(some);
        assert!(output.status.code() == Some(1) && !dir.path().join("opened").exists(), "{}", stderr(&output));
    }
    assert_eq!(open(&["--allow-active", "anything"]).status.code(), Some(2));
    assert!(open(&["--allow-active", "pickle", "--allow-active", "python"]).status.success());
    assert!(dir.path().join("opened/modeling_shop.py").exists());
    assert_eq!(says("").status.code(), Some(1), "a bundle from before does not let it pass");
}

#[test]
fn a_killed_pack_leaves_no_half_bundle() {
    let dir = tempfile::tempdir().unwrap();
    product(dir.path(), 200_000, "");
    let bundle = dir.path().join(BUNDLE);
    let mut whole = 0;
    for wait in 0..12 {
        let mut child = command(dir.path(), &["pack"]).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait * 12));
        child.kill().unwrap();
        child.wait().unwrap();
        if bundle.exists() {
            bundle::verify(&bundle, &trust(dir.path())).unwrap();
            std::fs::remove_file(&bundle).unwrap();
            whole += 1;
        }
    }
    assert!(sealwright(dir.path(), &["pack"]).status.success(), "after {whole} whole ones");
    bundle::verify(&bundle, &trust(dir.path())).unwrap();
    assert_eq!(final_names(&dir.path().join("dist")), [PathBuf::from("shop-1.0.0-acme.sealed")]);
}

#[test]
fn a_hundred_packs_of_one_product_leave_one_whole_bundle_and_its_ledger() {
    let dir = tempfile::tempdir().unwrap();
    product(dir.path(), 64, "");
    let start = || command(dir.path(), &["pack", "--json"]).spawn().unwrap();
    let outputs: Vec<_> =
        (0..100).map(|_| start()).collect::<Vec<_>>().into_iter().map(|c| c.wait_with_output().unwrap()).collect();
    let mut made = 0;
    for output in outputs {
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        match output.status.code() {
            Some(0) => made += usize::from(said["bundles"][0]["from-before"] == false),
            Some(2) => assert_eq!(said["error"]["code"], "locked"),
            code => panic!("{code:?}: {said}"),
        }
    }
    assert_eq!(made, 1, "whoever comes later finds nothing changed");
    bundle::verify(&dir.path().join(BUNDLE), &trust(dir.path())).unwrap();
    for folder in ["dist", ".sealwright"] {
        let names = std::fs::read_dir(dir.path().join(folder)).unwrap().map(|e| e.unwrap().file_name());
        assert_eq!(names.filter(|n| n.to_string_lossy().ends_with(".partial")).count(), 0, "{folder}");
    }
}

/// Everything but temporary names.
fn final_names(folder: &Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(folder).unwrap().map(|e| PathBuf::from(e.unwrap().file_name()));
    names.filter(|n| n.extension().is_none_or(|e| e != "partial")).collect()
}

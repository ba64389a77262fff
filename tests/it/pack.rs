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

#[test]
fn pickles_and_code_are_not_sealed() {
    for name in ["optimizer.pt", "modeling_shop.py"] {
        let dir = tempfile::tempdir().unwrap();
        product(dir.path(), 8, "");
        std::fs::write(dir.path().join("theirs").join(name), "x").unwrap();
        let output = sealwright(dir.path(), &["pack"]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(stderr(&output).contains(name) && !dir.path().join("dist").exists(), "{}", stderr(&output));
    }
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

/// Everything but temporary names.
fn final_names(folder: &Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(folder).unwrap().map(|e| PathBuf::from(e.unwrap().file_name()));
    names.filter(|n| n.extension().is_none_or(|e| e != "partial")).collect()
}

//! The bundle commands as a customer runs them, on the committed bundles of tests/vectors.

use crate::commands::{command, sealwright};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

pub fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn key(name: &str) -> String {
    vectors().join("keys").join(name).display().to_string()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stdout)))
}

#[derive(Deserialize)]
struct Index {
    vector: Vec<Vector>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    file: String,
    trust: String,
    identity: Option<String>,
    passphrase: Option<String>,
    renewal: Option<String>,
    expect: String,
}

#[test]
fn every_vector_gives_its_code() {
    let text = std::fs::read_to_string(vectors().join("index.toml")).unwrap();
    let index: Index = toml::from_str(&text).unwrap();
    assert!(index.vector.len() >= 20);
    for Vector { file, trust, identity, passphrase, renewal, expect } in index.vector {
        let dir = tempfile::tempdir().unwrap();
        let (bundle, trust) = (vectors().join(&file).display().to_string(), key(&trust));
        let (identity, renewal) = (identity.map(|i| key(&i)), renewal.map(|r| vectors().join(r).display().to_string()));
        let mut args = vec!["--json", "verify", &bundle, "--trust", &trust];
        if identity.is_some() || passphrase.is_some() {
            (args[1], _) = ("open", args.extend(["--out", "out"]));
        }
        args.extend(identity.iter().flat_map(|path| ["--identity", path]));
        args.extend(renewal.iter().flat_map(|path| ["--renewal", path]));
        let is_opened = args[1] == "open";
        let mut program = command(dir.path(), &args);
        passphrase.map(|text| program.env("SEALWRIGHT_PASSPHRASE", text));
        let output = program.output().unwrap();
        let report = json(&output);
        let code = report["error"]["code"].as_str().unwrap_or("ok");
        assert_eq!(code, expect, "{file}: {report}");
        let exit = sealwright::Code::ALL.iter().find(|c| c.name() == expect).map_or(0, |c| i32::from(c.exit()));
        assert_eq!(output.status.code(), Some(exit), "{file}");
        assert_eq!(dir.path().join("out").exists(), is_opened && expect == "ok", "{file}");
    }
}

#[test]
fn verify_and_inspect_say_the_same_without_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = vectors().join("good.sealed").display().to_string();
    let inspected = json(&sealwright(dir.path(), &["--json", "inspect", &bundle]));
    let verified = json(&sealwright(dir.path(), &["--json", "verify", &bundle, "--trust", &key("vendor.pub.pem")]));
    assert_eq!(inspected["manifest"], verified["manifest"]);
    assert_eq!(inspected["id"], verified["id"]);
    let text = String::from_utf8(sealwright(dir.path(), &["inspect", &bundle]).stdout).unwrap();
    assert!(text.contains("customer   acme") && text.contains("payload.tar.zst.age"), "{text}");
    let allowed = [
        "verify",
        &bundle.replace("good", "development"),
        "--trust",
        &key("development.pub.pem"),
        "--allow-development",
    ];
    assert!(sealwright(dir.path(), &allowed).status.success());
}

#[test]
fn an_opened_folder_is_whole_and_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let (bundle, trust, identity) =
        (vectors().join("good.sealed").display().to_string(), key("vendor.pub.pem"), key("identity.txt"));
    let args = ["open", &bundle, "--trust", &trust, "--identity", &identity, "--out", "out"];
    assert!(sealwright(dir.path(), &args).status.success());
    for name in ["adapter_config.json", "adapter_model.safetensors", "NOTICE", "LICENSES/Apache-2.0.txt", "model.sig"] {
        assert!(dir.path().join("out").join(name).is_file(), "{name}");
    }
    assert_eq!(sealwright(dir.path(), &args).status.code(), Some(2), "a folder that is there is left alone");
    let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["out", "state"], "nothing temporary is left");
}

#[test]
fn keygen_writes_secrets_for_their_owner_only_and_never_twice() {
    let dir = tempfile::tempdir().unwrap();
    let made = json(&sealwright(dir.path(), &["--json", "keygen", "vendor", "--out", "vendor.pem"]));
    assert_eq!(made["development"], false);
    assert_eq!(sealwright(dir.path(), &["keygen", "vendor", "--out", "vendor.pem"]).status.code(), Some(2));
    let output = sealwright(dir.path(), &["keygen", "identity", "--out", "identity.txt"]);
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("age1"));
    assert_eq!(sealwright(dir.path(), &["keygen", "identity", "--out", "identity.txt"]).status.code(), Some(2));
    #[cfg(unix)]
    for name in ["vendor.pem", "identity.txt"] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&dir.path().join(name).metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn killed_at_any_moment_it_leaves_no_partial_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (bundle, trust, identity) =
        (vectors().join("good.sealed").display().to_string(), key("vendor.pub.pem"), key("identity.txt"));
    let mut finished = 0;
    for delay in 0..40 {
        let out = dir.path().join(format!("out{delay}"));
        let to = out.display().to_string();
        let args = ["open", &bundle, "--trust", &trust, "--identity", &identity, "--out", &to];
        let mut child = command(dir.path(), &args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_micros(500 * delay));
        let _ = child.kill();
        child.wait().unwrap();
        if out.exists() {
            finished += 1;
            let files = ["adapter_config.json", "adapter_model.safetensors", "sub/run.json", "model.sig"];
            assert!(files.iter().all(|name| out.join(name).is_file()), "{delay}");
        }
    }
    assert!(finished < 40, "none was killed in time");
}

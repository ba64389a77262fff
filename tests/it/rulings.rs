//! Rulings that must be signed: which count, and what is said of those that don't.

use crate::commands::{sealwright, stderr, stdout};
use crate::license::copy_policies;
use crate::pack::product;
use sealwright::data::POLICIES;
use sealwright::error::Code;
use sealwright::license::*;
use sealwright::sign::{SigningKey, pae};
use serde_json::Value;
use std::path::Path;

/// Data whose licence nobody knows: one finding that a person answers.
const DATA: &str = r#"
[[data]]
path = "theirs/adapter_config.json"
format = "text"
origin = { license = "nobody-knows" }
"#;

/// A product with one open finding, an officer's key, and policies that name it for `compliance`.
fn shop(folder: &Path) {
    product(folder, 8, DATA);
    assert!(sealwright(folder, &["keygen", "vendor", "--out", "officer.pem"]).status.success());
    let pem = std::fs::read_to_string(folder.join("officer.pub.pem")).unwrap();
    copy_policies(&POLICIES, &folder.join("policies"), &|_, text| text.to_owned());
    let text = format!("# who may rule\n[[ruling-key]]\nby = \"compliance\"\npem = \"\"\"\n{pem}\"\"\"\n");
    std::fs::write(folder.join("policies/org/shop.toml"), text).unwrap();
}

fn rule<'a>(by: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = ["rule", ".", "data-license-unknown", "--by", by, "--reason", "read", "--policies", "policies"];
    [&args[..], more].concat()
}

fn checked(folder: &Path) -> Value {
    let output = sealwright(folder, &["check", "--policies", "policies", "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)))
}

#[test]
fn only_signed_rulings_count_where_the_policy_names_keys() {
    let dir = tempfile::tempdir().unwrap();
    shop(dir.path());
    let unsigned = sealwright(dir.path(), &rule("compliance", &[]));
    assert!(stderr(&unsigned).contains("it counts only when it is signed, with `--key`: org/shop.toml:2"));
    let report = checked(dir.path());
    assert_eq!(report["verdict"], "needs-review");
    let state = report["rulings"][0]["state"].as_str().unwrap();
    assert_eq!(state, "not counted: it is not signed, and org/shop.toml:2 asks for that");

    let signed = sealwright(dir.path(), &rule("compliance", &["--key", "officer.pem"]));
    assert!(signed.status.success(), "{}", stderr(&signed));
    let report = checked(dir.path());
    assert_eq!(
        (&report["verdict"], &report["rulings"][0]["state"]),
        (&"allow-with-obligations".into(), &"applied".into())
    );
    let lifted = report["findings"].as_array().unwrap().iter().find(|f| f["code"] == "data-license-unknown").unwrap();
    let key = sealwright::sign::PublicKey::read(&dir.path().join("officer.pub.pem")).unwrap().id();
    assert_eq!(lifted["ruled"]["key"], key.to_string());
    let text = stdout(&sealwright(dir.path(), &["check", "--policies", "policies"]));
    assert!(
        text.split_whitespace().collect::<Vec<_>>().join(" ").contains(&format!("signed with key {key}")),
        "{text}"
    );

    // whatever is changed in it, it no longer counts
    let path = dir.path().join(RULINGS);
    let written = std::fs::read_to_string(&path).unwrap();
    for (from, to) in [("reason = \"read\"", "reason = \"read twice\""), ("by = \"compliance\"", "by = \"sales\"")] {
        assert!(written.contains(from));
        std::fs::write(&path, written.replace(from, to)).unwrap();
        let report = checked(dir.path());
        assert_eq!(report["verdict"], "needs-review");
        assert!(report["rulings"][0]["state"].as_str().unwrap().starts_with("not counted: "), "{report}");
    }
}

#[cfg(unix)]
#[test]
fn a_key_elsewhere_signs_rulings_as_it_signs_bundles() {
    let dir = tempfile::tempdir().unwrap();
    shop(dir.path());
    let folder = dir.path().join("keys");
    std::fs::create_dir(&folder).unwrap();
    for name in ["officer.pem", "officer.pub.pem"] {
        std::fs::rename(dir.path().join(name), folder.join(name)).unwrap();
    }
    let key =
        "command = [\"openssl\", \"dgst\", \"-sha256\", \"-sign\", \"officer.pem\"]\npublic = \"officer.pub.pem\"\n";
    std::fs::write(folder.join("officer.toml"), key).unwrap();
    if std::process::Command::new("openssl").arg("version").output().is_err() {
        return crate::corpus::aloud("skipped: openssl is not at hand, which signs in this test");
    }
    let signed = sealwright(dir.path(), &rule("compliance", &["--key", "keys/officer.toml"]));
    assert!(signed.status.success(), "{}", stderr(&signed));
    let question =
        "the question that this answers: Was the licence of theirs/adapter_config.json read, and does it allow";
    assert!(stderr(&signed).contains(question), "{}", stderr(&signed));
    assert_eq!(checked(dir.path())["rulings"][0]["state"], "applied");
    std::fs::write(folder.join("officer.toml"), "comand = []\n").unwrap();
    let wrong = sealwright(dir.path(), &rule("compliance", &["--key", "keys/officer.toml"]));
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("officer.toml") && stderr(&wrong).contains("command = ["), "{}", stderr(&wrong));
}

#[test]
fn another_key_or_another_role_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    shop(dir.path());
    for (by, key) in [("compliance", "vendor.pem"), ("sales", "officer.pem")] {
        let output = sealwright(dir.path(), &rule(by, &["--key", key]));
        assert_eq!(output.status.code(), Some(2), "{by} {key}");
        assert!(stderr(&output).contains(&format!("the policy does not take rulings of {by} by this key")));
        assert!(stderr(&output).contains("compliance (org/shop.toml:2)"));
    }
    assert!(!dir.path().join(RULINGS).exists());
    std::fs::write(dir.path().join("policies/org/shop.toml"), "\n[[ruling-key]]\nby = \"x\"\npem = \"none\"\n")
        .unwrap();
    let output = sealwright(dir.path(), &["check", "--policies", "policies"]);
    assert!(stderr(&output).contains("org/shop.toml:2: not a P-256 public key"), "{}", stderr(&output));
}

#[test]
fn a_file_of_rulings_is_made_where_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    product(dir.path(), 8, DATA);
    let args =
        ["rule", ".", "data-license-unknown", "--by", "counsel", "--reason", "read", "--ruling", "law/answers.toml"];
    let output = sealwright(dir.path(), &args);
    assert!(output.status.success(), "{}", stderr(&output));
    let with = sealwright(dir.path(), &["check", "--ruling", "law/answers.toml"]);
    assert_eq!(with.status.code(), Some(0), "{}", stdout(&with));
    assert_eq!(sealwright(dir.path(), &["check"]).status.code(), Some(3));
    // where one is only read, it must be there
    assert_eq!(sealwright(dir.path(), &["check", "--ruling", "no.toml"]).status.code(), Some(2));
}

#[test]
fn a_signature_of_another_kind_is_none() {
    let key = SigningKey::generate(false);
    let digest = sealwright::digest::Sha256::of("x");
    let mut ruling = Ruling {
        code: FindingCode::NoLicense,
        license: None,
        subject: "base".into(),
        term: "text".into(),
        customer: None,
        places: Default::default(),
        by: "compliance".into(),
        on: "2026-06-01".parse().unwrap(),
        until: None,
        reason: "read".into(),
        text: digest,
        facts: digest,
        policy: digest,
        declared: digest,
        signature: None,
    };
    let payload = serde_json_canonicalizer::to_vec(&ruling).unwrap();
    ruling.sign(&key).unwrap();
    let own = ruling.signature.clone().unwrap();
    let decode = |text: &str| base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap();
    let verifies = |kind: &str| key.public().verifies(&pae(kind, &payload), &decode(&own.sig), true);
    assert!(verifies("application/vnd.sealwright.ruling+json"));
    assert!(!verifies("application/vnd.sealwright.manifest+json"));
    assert_eq!(own.key, key.public().id());
    let unreadable = SigningKey::read(Path::new("none.pem"), &|_| unreachable!()).err().unwrap();
    assert_eq!(unreadable.code, Code::Io);
}

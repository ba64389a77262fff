//! Keys, recipients and statements from the command line: what signs, who opens, and what a vendor can take back.

use crate::commands::{command, sealwright, stderr, stdout};
use crate::pack::{BUNDLE, product};
use std::path::Path;
use std::process::Output;

/// Runs the program in `folder` with variables set.
fn with(folder: &Path, variables: &[(&str, &str)], args: &[&str]) -> Output {
    command(folder, args).envs(variables.iter().copied()).output().unwrap()
}

/// Changes a line of the product file.
fn edit(folder: &Path, from: &str, to: &str) {
    let path = folder.join("sealwright.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from}: {text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

fn recipients(folder: &Path, list: &str) {
    let text = std::fs::read_to_string(folder.join("sealwright.toml")).unwrap();
    let line = text.lines().find(|line| line.starts_with("recipients")).unwrap();
    edit(folder, line, &format!("recipients = {list}"));
}

fn is_ok(output: &Output) {
    assert!(output.status.success(), "{}{}", stdout(output), stderr(output));
}

/// The code that a command with `--json` ends with.
pub fn code(output: &Output) -> String {
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    value["error"]["code"].as_str().unwrap_or("ok").to_owned()
}

const OPEN: [&str; 7] = ["open", BUNDLE, "--trust", "vendor.pub.pem", "--out", "opened", "--json"];

fn open(folder: &Path, variables: &[(&str, &str)], more: &[&str]) -> String {
    let output = with(folder, variables, &[&OPEN[..], more].concat());
    if output.status.success() {
        std::fs::remove_dir_all(folder.join("opened")).unwrap();
    }
    code(&output)
}

#[test]
fn a_key_under_a_passphrase_signs_only_for_who_knows_it() {
    let dir = tempfile::tempdir().unwrap();
    product(dir.path(), 8, "");
    let secret = ("SEALWRIGHT_KEY_PASSPHRASE", "five words of my own");
    is_ok(&with(dir.path(), &[secret], &["keygen", "vendor", "--out", "locked.pem"]));
    assert!(std::fs::read_to_string(dir.path().join("locked.pem")).unwrap().contains("BEGIN ENCRYPTED PRIVATE KEY"));
    edit(dir.path(), "key = \"vendor.pem\"", "key = \"locked.pem\"");
    assert_eq!(code(&sealwright(dir.path(), &["pack", "--json"])), "usage");
    assert_eq!(code(&with(dir.path(), &[("SEALWRIGHT_KEY_PASSPHRASE", "x")], &["pack", "--json"])), "bad-input");
    assert_eq!(code(&with(dir.path(), &[("SEALWRIGHT_KEY_PASSPHRASE", "")], &["pack", "--json"])), "usage");
    assert!(!dir.path().join("dist").exists());
    is_ok(&with(dir.path(), &[secret], &["pack"]));
    is_ok(&sealwright(dir.path(), &["verify", BUNDLE, "--trust", "locked.pub.pem"]));
}

#[cfg(unix)]
#[test]
fn a_passphrase_comes_from_a_file_descriptor() {
    let dir = tempfile::tempdir().unwrap();
    product(dir.path(), 8, "");
    std::fs::copy(crate::bundle::vectors().join("keys/vendor-scrypt.pem"), dir.path().join("vendor.pem")).unwrap();
    std::fs::write(dir.path().join("secret"), "throw-away\n").unwrap();
    let packed = std::process::Command::new("sh")
        .args(["-c", "exec \"$0\" pack 3<secret", env!("CARGO_BIN_EXE_sealwright")])
        .current_dir(dir.path())
        .env("SEALWRIGHT_KEY_PASSPHRASE_FD", "3")
        .output();
    is_ok(&packed.unwrap());
    let public = crate::bundle::vectors().join("keys/vendor.pub.pem").display().to_string();
    is_ok(&sealwright(dir.path(), &["verify", BUNDLE, "--trust", &public]));
}

#[test]
fn a_command_that_cannot_sign_packs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    product(dir.path(), 8, "");
    let key = "key = \"vendor.pem\"";
    edit(dir.path(), key, "key = { command = [\"true\"], public = \"vendor.pub.pem\" }");
    assert_eq!(code(&sealwright(dir.path(), &["pack", "--json"])), "signer-failed");
    assert!(!dir.path().join(BUNDLE).exists());
    edit(dir.path(), "public = ", "pub = ");
    let output = sealwright(dir.path(), &["pack"]);
    assert!(stderr(&output).contains("a key is the path of a PEM file, or"), "{}", stderr(&output));
}

#[test]
fn a_passphrase_opens_its_bundle_and_another_does_not() {
    let dir = tempfile::tempdir().unwrap();
    product(dir.path(), 8, "");
    recipients(dir.path(), "[\"passphrase\"]");
    assert_eq!(code(&sealwright(dir.path(), &["pack", "--json"])), "usage");
    is_ok(&with(dir.path(), &[("SEALWRIGHT_PASSPHRASE", "five words")], &["pack"]));
    assert_eq!(open(dir.path(), &[], &[]), "usage");
    assert_eq!(open(dir.path(), &[("SEALWRIGHT_PASSPHRASE", "four words")], &[]), "wrong-customer");
    assert_eq!(open(dir.path(), &[], &["--identity", "identity.txt"]), "wrong-customer");
    assert_eq!(open(dir.path(), &[("SEALWRIGHT_PASSPHRASE", "five words")], &[]), "ok");
}

/// Keeps the file key in its stanza: what it shows is the talk between the two programs, not encryption.
#[cfg(unix)]
const PLUGIN: &str = r#"#!/bin/sh
key=
body() { text=; while read -r line; do text=$text$line; [ ${#line} -lt 64 ] && break; done; }
while read -r arrow word rest; do
  body
  case "$word" in
    wrap-file-key) key=$text ;;
    recipient-stanza) case "$rest" in "0 test"*) key=$text ;; esac ;;
    done) break ;;
  esac
done
answer() { printf -- '-> %s\n%s\n' "$1" "$key"; read -r arrow word; body; }
case "$1" in
  *recipient-v1) answer 'recipient-stanza 0 test' ;;
  *identity-v1) [ -n "$key" ] && answer 'file-key 0' ;;
esac
printf -- '-> done\n\n'
"#;

#[cfg(unix)]
#[test]
fn an_age_plugin_seals_and_opens() {
    let dir = tempfile::tempdir().unwrap();
    product(dir.path(), 8, "");
    let plugin = dir.path().join("age-plugin-test");
    std::fs::write(&plugin, PLUGIN).unwrap();
    std::fs::set_permissions(&plugin, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::write(dir.path().join("token.txt"), "AGE-PLUGIN-TEST-1W3HKKETWTLY4FT\n").unwrap();
    let own = stdout(&sealwright(dir.path(), &["keygen", "identity", "--out", "own.txt"]));
    recipients(dir.path(), &format!("[\"age1test1wdhk6etzdaj8j58wj93\", \"{}\"]", own.trim()));
    assert_eq!(code(&sealwright(dir.path(), &["pack", "--json"])), "bad-input", "it is not on PATH");
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    is_ok(&with(dir.path(), &[("PATH", &path)], &["pack"]));
    assert_eq!(open(dir.path(), &[("PATH", &path)], &["--identity", "token.txt"]), "ok");
    assert_eq!(open(dir.path(), &[], &["--identity", "own.txt"]), "ok", "the other recipient");
    assert_eq!(open(dir.path(), &[], &["--identity", "identity.txt"]), "wrong-customer");
    recipients(dir.path(), &format!("[\"{}\"]", own.trim()));
    is_ok(&sealwright(dir.path(), &["pack"]));
    assert_eq!(open(dir.path(), &[("PATH", &path)], &["--identity", "token.txt"]), "wrong-customer");
}

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

/// 2020-01-01, as SOURCE_DATE_EPOCH.
const THEN: (&str, &str) = ("SOURCE_DATE_EPOCH", "1577836800");

#[test]
fn a_renewal_extends_the_bundle_that_it_lies_beside() {
    let dir = tempfile::tempdir().unwrap();
    product(dir.path(), 8, "machines = 4\nseats = 25");
    edit(dir.path(), "until = \"2099-12-31\"", "until = \"2020-12-31\"");
    is_ok(&with(dir.path(), &[THEN], &["pack"]));
    let identity = ["--identity", "identity.txt"];
    assert_eq!(open(dir.path(), &[], &identity), "expired");
    let inspected = stdout(&sealwright(dir.path(), &["inspect", BUNDLE]));
    assert!(inspected.contains("declared   4 machines, 25 seats (terms; no program enforces them)"), "{inspected}");

    let renew = |until: &str| sealwright(dir.path(), &["renew", BUNDLE, "--until", until, "--json"]);
    assert_eq!(code(&renew("2020-12-31")), "usage", "it can only extend");
    is_ok(&renew("2099-12-31"));
    let beside = dir.path().join("dist/shop-1.0.0-acme.renewal");
    assert_eq!(open(dir.path(), &[], &identity), "ok");
    let verified = stdout(&sealwright(dir.path(), &["verify", BUNDLE, "--trust", "vendor.pub.pem"]));
    assert!(verified.contains("renewed    through 2099-12-31"), "{verified}");

    // a newer bundle of the same name: the older renewal is of no use, and said so
    let kept = dir.path().join("kept.renewal");
    std::fs::copy(&beside, &kept).unwrap();
    edit(dir.path(), "seats = 25", "seats = 26");
    is_ok(&with(dir.path(), &[("SOURCE_DATE_EPOCH", "1577836801")], &["pack"]));
    let output = sealwright(dir.path(), &["verify", BUNDLE, "--trust", "vendor.pub.pem"]);
    assert!(output.status.success() && stderr(&output).contains("not used"), "{}", stderr(&output));
    assert_eq!(open(dir.path(), &[], &identity), "expired");
    assert_eq!(open(dir.path(), &[], &["--identity", "identity.txt", "--renewal", "kept.renewal"]), "wrong-bundle");
    let elsewhere = sealwright(dir.path(), &["renew", "dist/none.sealed", "--until", "2099-12-31", "--json"]);
    assert_eq!(code(&elsewhere), "io");
}

fn ledger(folder: &Path, more: &[&str]) -> Vec<serde_json::Value> {
    let output = sealwright(folder, &[&["ledger", "--json"], more].concat());
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    value["bundles"].as_array().unwrap_or_else(|| panic!("{value}")).clone()
}

#[test]
fn the_ledger_knows_who_has_what_and_recalls_it() {
    let dir = tempfile::tempdir().unwrap();
    let today = jiff::tz::TimeZone::UTC.to_datetime(jiff::Timestamp::now()).date();
    let soon = today.saturating_add(jiff::Span::new().days(20));
    let other = format!("[[customer]]\nname = \"globex\"\nrecipients = [\"IDENTITY\"]\nuntil = \"{soon}\"");
    product(dir.path(), 8, &other);
    let identity = std::fs::read_to_string(dir.path().join("identity.txt")).unwrap();
    edit(dir.path(), "IDENTITY", identity.lines().next().unwrap().trim_start_matches("# public key: "));
    is_ok(&sealwright(dir.path(), &["pack", "--customer", "acme"]));
    is_ok(&sealwright(dir.path(), &["pack"]));
    is_ok(&sealwright(dir.path(), &["pack"]));
    let held = ledger(dir.path(), &[]);
    let customers: Vec<_> = held.iter().map(|h| h["customer"].as_str().unwrap()).collect();
    assert_eq!(customers, ["acme", "globex"], "each once");
    assert_eq!(ledger(dir.path(), &["--expiring", "30d"])[0]["customer"], "globex");
    assert!(ledger(dir.path(), &["--expiring", "10d"]).is_empty());

    std::fs::write(
        dir.path().join("trust.toml"),
        "revocations = [\"vendor.revocations\"]\n[[key]]\npublic = \"vendor.pub.pem\"\nvendor = \"Example Works\"\n",
    )
    .unwrap();
    let verify = |bundle: &str| code(&sealwright(dir.path(), &["verify", bundle, "--trust", "trust.toml", "--json"]));
    assert_eq!(verify(BUNDLE), "io", "the list that the trust file names is missing");
    let recall = |more: &[&str]| is_ok(&sealwright(dir.path(), &[&["ledger", "recall"], more].concat()));
    recall(&[]);
    assert_eq!(verify(BUNDLE), "ok", "nothing is taken back yet");
    std::fs::copy(dir.path().join("vendor.revocations"), dir.path().join("first")).unwrap();
    recall(&["acme"]);
    assert_eq!(verify(BUNDLE), "revoked-bundle");
    assert_eq!(verify(&BUNDLE.replace("acme", "globex")), "ok");
    assert_eq!(ledger(dir.path(), &[])[0]["recalled"], true);
    let renewed = sealwright(dir.path(), &["renew", BUNDLE, "--until", "2199-12-31", "--json"]);
    assert_eq!(code(&renewed), "usage", "what is recalled is not renewed");
    let shown = stdout(&sealwright(dir.path(), &["ledger"]));
    assert!(shown.lines().next().unwrap().ends_with("recalled"), "{shown}");
    assert_eq!(sealwright(dir.path(), &["ledger", "recall", "nobody"]).status.code(), Some(2));

    let newest = std::fs::read(dir.path().join("vendor.revocations")).unwrap();
    std::fs::rename(dir.path().join("first"), dir.path().join("vendor.revocations")).unwrap();
    assert_eq!(verify(BUNDLE), "older-statement", "the list from before the recall is put back");

    // the key is changed: the list goes on under the new one, and the old one keeps its past
    std::fs::write(dir.path().join("vendor.revocations"), newest).unwrap();
    is_ok(&sealwright(dir.path(), &["keygen", "vendor", "--out", "second.pem"]));
    edit(dir.path(), "key = \"vendor.pem\"", "key = \"second.pem\"");
    assert_eq!(code(&sealwright(dir.path(), &["ledger", "recall", "--json"])), "unknown-signer");
    recall(&["--retired", "vendor.pub.pem"]);
    let both = "[[key]]\npublic = \"second.pub.pem\"\nvendor = \"Example Works\"\n";
    let trust = std::fs::read_to_string(dir.path().join("trust.toml")).unwrap() + both;
    std::fs::write(dir.path().join("trust.toml"), trust).unwrap();
    assert_eq!(verify(BUNDLE), "revoked-bundle");
    assert_eq!(verify(&BUNDLE.replace("acme", "globex")), "ok");
    recall(&["--compromised", "vendor.pub.pem"]);
    assert_eq!(verify(&BUNDLE.replace("acme", "globex")), "revoked-key");
}

#[test]
fn a_stale_list_goes_to_a_person() {
    let dir = tempfile::tempdir().unwrap();
    product(dir.path(), 8, "");
    is_ok(&with(dir.path(), &[THEN], &["pack"]));
    is_ok(&with(dir.path(), &[THEN], &["ledger", "recall"]));
    let text =
        "revocations = [\"vendor.revocations\"]\n[[key]]\npublic = \"vendor.pub.pem\"\nvendor = \"Example Works\"\n";
    std::fs::write(dir.path().join("trust.toml"), text).unwrap();
    let output = sealwright(dir.path(), &["verify", BUNDLE, "--trust", "trust.toml", "--json"]);
    assert_eq!((code(&output).as_str(), output.status.code()), ("stale-revocations", Some(3)));
    is_ok(&sealwright(dir.path(), &["ledger", "recall", "--next", "2099-12-31"]));
    is_ok(&sealwright(dir.path(), &["verify", BUNDLE, "--trust", "trust.toml"]));
}

#[test]
fn a_customer_more_is_sealed_from_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    product(dir.path(), 8, "");
    is_ok(&sealwright(dir.path(), &["pack"]));
    let first = std::fs::read(dir.path().join(BUNDLE)).unwrap();
    let own = stdout(&sealwright(dir.path(), &["keygen", "identity", "--out", "globex.txt"]));
    let path = dir.path().join("sealwright.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let more = format!("[[customer]]\nname = \"globex\"\nrecipients = [{:?}]\nuntil = \"2099-12-31\"\n", own.trim());
    std::fs::write(&path, text + &more).unwrap();
    is_ok(&sealwright(dir.path(), &["pack", "--customer", "globex"]));
    assert!(std::fs::read(dir.path().join(BUNDLE)).unwrap() == first, "the other one is not touched");
    let bundle = BUNDLE.replace("acme", "globex");
    let open = |identity: &str| {
        let out = format!("out-{identity}");
        let args = ["open", &bundle, "--trust", "vendor.pub.pem", "--identity", identity, "--out", &out, "--json"];
        code(&sealwright(dir.path(), &args))
    };
    assert_eq!(open("identity.txt"), "wrong-customer");
    assert_eq!(open("globex.txt"), "ok");
}

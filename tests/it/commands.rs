//! The command line itself: exit codes, JSON errors, words on stderr and data on stdout.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The program in a folder that is its state folder, too.
pub fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealwright"));
    command.args(args).current_dir(folder).env("NO_COLOR", "1").env("SEALWRIGHT_STATE", folder.join("state"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program in `folder`.
pub fn sealwright(folder: &Path, args: &[&str]) -> Output {
    command(folder, args).output().unwrap()
}

/// What it printed on stdout.
pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What it printed on stderr.
pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn what_is_not_built_says_so_and_exits_2() {
    let dir = tempfile::tempdir().unwrap();
    let output = sealwright(dir.path(), &["serve", "--any", "thing"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("`sealwright serve` is not built yet"));
    assert!(output.stdout.is_empty());
}

#[test]
fn init_begins_a_product_and_never_overwrites_one() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["init", "shop", "--name", "shop", "--title", "Example \"Shop\"", "--base", "../base"];
    assert!(sealwright(dir.path(), &args).status.success());
    let product = sealwright::product::Product::read(&dir.path().join("shop")).unwrap();
    assert_eq!(product.product.title, "Example \"Shop\"");
    assert_eq!(sealwright(dir.path(), &args).status.code(), Some(2));
    assert_eq!(sealwright(dir.path(), &["init", "x", "--name", "No Good"]).status.code(), Some(2));
    assert!(!dir.path().join("x/sealwright.toml").exists());
}

#[test]
fn an_error_is_json_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let output = sealwright(dir.path(), &["check", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stderr.is_empty());
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["error"]["code"], "usage");
    assert!(value["error"]["message"].as_str().unwrap().contains("no product file"));
    assert!(value["error"]["hint"].is_string());
}

#[test]
fn nonsense_on_the_command_line_is_usage() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["fly"][..], &["check", "--no-such-flag"], &["verify"]] {
        let output = sealwright(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_code_has_a_page_and_a_wrong_one_has_a_neighbour() {
    let dir = tempfile::tempdir().unwrap();
    let page = sealwright(dir.path(), &["explain", "wrong-customer"]);
    assert!(page.status.success() && stdout(&page).starts_with("wrong-customer\n"));
    let wrong = sealwright(dir.path(), &["explain", "wrong-custmer"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("did you mean `wrong-customer`?"));
}

#[test]
fn completions_come_from_the_same_definitions() {
    let dir = tempfile::tempdir().unwrap();
    let bash = sealwright(dir.path(), &["completions", "bash"]);
    assert!(stdout(&bash).contains("inspect") && stdout(&bash).contains("--allow-development"));
    assert!(sealwright(dir.path(), &["completions", "--man", "man"]).status.success());
    assert!(dir.path().join("man/sealwright-verify.1").is_file());
}

//! The README's walk, typed as it stands there, on a copy of the example: the vendor builds, the customer runs.

use crate::commands::{sealwright, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::Output;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Copies what git would: no state, no bundles.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (name, path) = (entry.file_name(), entry.path());
        if path.is_dir() && name != ".sealwright" && name != "dist" {
            copy(&path, &to.join(&name));
        } else if path.is_file() {
            std::fs::copy(&path, to.join(&name)).unwrap();
        }
    }
}

/// The commands of the README's `sh` blocks, in order, as words; a line that ends in `\` goes on.
fn readme_commands() -> Vec<Vec<String>> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = readme.split("```sh\n").skip(1).map(|b| b.split("```").next().unwrap());
    let lines: String = blocks.collect::<Vec<_>>().concat().replace("\\\n", " ");
    lines.lines().map(words).filter(|w| !w.is_empty()).collect()
}

/// Words as a shell splits them: blanks, double quotes, `#` comments.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '#' if !quoted && word.is_none() => break,
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn type_in(folder: &Path, args: &[&str]) -> Output {
    let output = sealwright(folder, args);
    assert!(output.status.success(), "sealwright {}\n{}{}", args.join(" "), stdout(&output), stderr(&output));
    output
}

#[test]
fn the_readme_can_be_typed() {
    let dir = tempfile::tempdir().unwrap();
    copy(&root().join("examples/01-helpdesk"), &dir.path().join("examples/01-helpdesk"));
    let mut folder = dir.path().to_owned();
    let (mut seen, mut answer) = (Vec::new(), String::new());
    for words in readme_commands() {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match &words[..] {
            ["cd", place] => folder = folder.join(place),
            ["cargo", "test", ..] => {}
            ["cargo", "run", "--release", "--", args @ ..] | ["sealwright", args @ ..] => {
                seen.push(args[0].to_owned());
                answer = stdout(&type_in(&folder, args));
            }
            other => panic!("the README has a command that no test types: {other:?}"),
        }
    }
    assert_eq!(seen, ["build", "check", "build", "inspect", "verify", "run"]);
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(!answer.trim().is_empty() && readme.contains(answer.trim()), "the README shows another answer: {answer}");
    what_build_shows(&dir.path().join("examples/01-helpdesk"));
}

/// The example's point, out of the report of a build that has nothing left to do.
fn what_build_shows(folder: &Path) {
    let output = type_in(folder, &["build", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["training"]["from-before"].as_bool().unwrap());
    assert!(report["bundles"].as_array().unwrap().iter().all(|b| b["from-before"].as_bool().unwrap()));
    let share = |when: &str| {
        let held_out = &report["training"][when];
        held_out["matched"].as_f64().unwrap() / held_out["questions"].as_f64().unwrap()
    };
    assert!(share("before") <= 0.1, "before: {}", share("before"));
    assert!(share("after") >= 0.8, "after: {}", share("after"));
}

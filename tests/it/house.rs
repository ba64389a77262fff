//! The house keeps its own rules: who may import whom, who may print, where `unsafe` may stand, what documents promise.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Room → rooms that it may import. Every room may import error, digest and data.
const IMPORTS: [(&str, &[&str]); 9] = [
    ("sign", &[]),
    ("license", &["base", "sign"]),
    ("base", &[]),
    ("kernels", &[]),
    ("model", &["base", "kernels"]),
    ("adapter", &["base"]),
    ("train", &["base", "model", "adapter", "kernels"]),
    ("bundle", &["license", "adapter", "base", "sign"]),
    ("net", &["base", "bundle"]),
];

/// Inside the law: each folder may import itself and those before it.
const LAW: [&str; 5] = ["text", "evidence", "facts", "rules", "report"];

/// Parts of `base` that need a tokenizer, a template engine or the weights themselves.
const NOT_HEADERS: [&str; 4] = ["base::weights", "base::tokenizer", "base::chat", "base::family"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_under(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_under(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The program's own text of a file: without its unit tests.
fn source(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned()
}

/// The rooms that `crate::…` names in a text, nested `use crate::{a, b::c}` included.
fn imported(text: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => rooms.extend(top_level(list)),
            None => rooms.push(rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap().to_owned()),
        }
    }
    rooms
}

fn top_level(list: &str) -> Vec<String> {
    let (mut depth, mut names, mut name) = (1, Vec::new(), String::new());
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(std::mem::take(&mut name)),
            c if depth == 1 => name.push(c),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names.push(name);
    names.iter().map(|n| n.trim().split("::").next().unwrap().to_owned()).filter(|n| !n.is_empty()).collect()
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    for (room, allowed) in IMPORTS {
        for path in files_under(&root().join("src").join(room), "rs") {
            for name in imported(&source(&path)) {
                let is_room = IMPORTS.iter().any(|(r, _)| *r == name) || name == "product" || name == "cli";
                assert!(
                    !is_room || name == room || allowed.contains(&name.as_str()),
                    "{}: {room} imports {name}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn in_the_law_no_folder_imports_a_later_one() {
    for (i, folder) in LAW.iter().enumerate() {
        let files = files_under(&root().join("src/license").join(folder), "rs");
        assert!(!files.is_empty(), "{folder}");
        for path in files {
            let text = source(&path);
            for later in &LAW[i + 1..] {
                let import = format!("crate::license::{later}::");
                assert!(!text.contains(&import), "{}: {folder} imports {later}", path.display());
            }
        }
    }
}

#[test]
fn the_law_and_the_artifact_know_no_tensors() {
    for room in ["license", "bundle"] {
        for path in files_under(&root().join("src").join(room), "rs") {
            let text = source(&path);
            for word in NOT_HEADERS.iter().chain(&["candle", "memmap2", "gemm::"]) {
                assert!(!text.contains(word), "{}: {word}", path.display());
            }
        }
    }
}

#[test]
fn only_one_room_knows_the_network() {
    let ranks = root().join("src/train/ranks/loopback.rs");
    for path in files_under(&root().join("src"), "rs").into_iter().filter(|path| *path != ranks) {
        let text = source(&path);
        for word in ["ureq", "TcpStream", "UdpSocket", "std::net"] {
            let inside = path.starts_with(root().join("src/net"));
            assert!(inside || !text.contains(word), "{}: {word}", path.display());
        }
    }
    // ranks meet on this machine: each address in their file is its own
    let text = source(&ranks);
    for word in ["TcpStream::connect(", "TcpListener::bind("] {
        for (at, _) in text.match_indices(word) {
            let to = &text[at + word.len()..];
            assert!(to.starts_with("(Ipv4Addr::LOCALHOST, "), "{word}{}", &to[..40]);
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for path in files_under(&root().join("src"), "rs").into_iter().chain(files_under(&root().join("tests/it"), "rs")) {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{}: the first line is no `//!`", path.display());
    }
}

#[test]
fn only_one_file_prints() {
    let words = ["println!", "eprintln!", "print!(", "eprint!(", "dbg!", "io::stdout", "io::stderr"];
    for path in files_under(&root().join("src"), "rs") {
        let text = source(&path);
        let found = words.iter().find(|w| text.contains(*w));
        assert!(found.is_none() || path.ends_with("cli/say.rs"), "{}: {}", path.display(), found.unwrap());
    }
}

#[test]
fn unsafe_stands_in_the_kernels_and_where_weights_are_mapped_each_with_its_reason() {
    let mut outside = Vec::new();
    for path in files_under(&root().join("src"), "rs") {
        let text = source(&path);
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap();
            if !code.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|w| w == "unsafe") {
                continue;
            }
            let above = lines[at.saturating_sub(8)..=at].join("\n");
            assert!(above.contains("SAFETY") || above.contains("# Safety"), "{}:{}: no reason", path.display(), at + 1);
            if !path.starts_with(root().join("src/kernels")) {
                outside.push(path.clone());
            }
        }
    }
    outside.dedup();
    assert_eq!(outside, [root().join("src/base/weights.rs")]);
}

#[test]
fn the_product_file_is_documented_key_by_key() {
    let text = std::fs::read_to_string(root().join("docs/product-file.md")).unwrap();
    let mut documented: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut table = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            table = name.trim_matches(['`', '[', ']']).to_owned();
        } else if let Some(key) = line.strip_prefix("| `").and_then(|l| l.split('`').next()) {
            documented.entry(table.clone()).or_default().push(key.to_owned());
        }
    }
    assert_eq!(documented.len(), 10, "{:?}", documented.keys());
    for (table, keys) in documented {
        assert_eq!(keys, known_keys(&table), "docs/product-file.md, [{table}]");
    }
}

/// What the reader says that it would have expected.
fn known_keys(table: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let head =
        if matches!(table, "grant" | "data" | "customer") { format!("[[{table}]]") } else { format!("[{table}]") };
    std::fs::write(dir.path().join("sealwright.toml"), format!("{head}\nzzz = 1\n")).unwrap();
    let message = sealwright::product::Product::read(dir.path()).unwrap_err().to_string();
    message.split('`').skip(1).step_by(2).skip(1).map(String::from).collect()
}

#[test]
fn nothing_of_a_machine_or_a_registry_is_in_the_house() {
    let listed = std::process::Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let Ok(listed) = listed else { return };
    let forbidden = [
        concat!("/wo", "rk/"),
        concat!("/ho", "me/"),
        concat!("cra", "tes.io"),
        concat!("py", "pi.org"),
        concat!("python", "hosted"),
    ];
    for name in String::from_utf8(listed.stdout).unwrap().split('\0').filter(|n| !n.is_empty() && *n != "Cargo.lock") {
        let Ok(text) = std::fs::read_to_string(root().join(name)) else { continue };
        for word in forbidden {
            assert!(!text.contains(word), "{name}: {word}");
        }
    }
}

//! What must hold of any bytes that a reader is given: no panic, no more out than in allows, and what was read and
//! written again reads the same. The fuzz targets and `tests/it/fuzzing.rs` share these bodies.

use sealwright::base::{Card, Headers};
use sealwright::license::{
    Clause, Identity, Policies, Record, Role, Sketch, differences, identify, read_rulings, tokens, write_rulings,
};
use sealwright::product::Product;
use std::path::Path;
use std::sync::LazyLock;

static POLICIES: LazyLock<Policies> = LazyLock::new(|| Policies::load(None).expect("the program's own policies"));

/// A stream has at most as many tokens as the text has bytes, and a marker (`<!zero-width>`) stands for one byte or more.
const TOKENS_A_BYTE: usize = 3;

/// A model card: front matter and prose are parts of the text.
pub fn card(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(card) = Card::parse(text) else { return };
    assert!(card.prose.len() <= text.len() && text.ends_with(&card.prose));
    assert!(serde_json::to_string(&card.front).expect("plain values").len() <= 8 * text.len() + 64);
    // JSON is YAML: what was read is written and reads the same
    if !card.front.is_empty() {
        let front = serde_json::to_string(&card.front).expect("plain values");
        let again = Card::parse(&format!("---\n{front}\n---\n")).expect("our own writing");
        assert_eq!(again.front, card.front);
    }
}

/// A licence text: its tokens are tokens, and what is similar can be compared.
pub fn text(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let stream = tokens(&text);
    assert!(stream.len() <= TOKENS_A_BYTE * text.len());
    assert!(stream.iter().all(|t| !t.is_empty() && !t.contains(char::is_whitespace) && !t.contains('\0')));
    match identify(&text, &POLICIES) {
        Identity::Known(known) => assert!(known.iter().all(|(id, _)| POLICIES.record(id).is_some())),
        Identity::Similar(id, role, score) => {
            assert!((0.0..=1.0).contains(&score));
            differences(&text, &id, role, &POLICIES);
        }
        Identity::Unknown => drop(differences(&text, "MIT", Role::Licence, &POLICIES)),
    }
}

/// A licence record, and the two compact forms in it.
pub fn record(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let name = Path::new("licenses/any.toml");
    if let Err(error) = sealwright::data::parse::<Record>(name, text) {
        assert!(error.to_string().starts_with("licenses/any.toml"), "{error}");
    }
    for line in text.lines().take(64) {
        let line = line.trim_matches(['"', '[', ']', ' ', ',']);
        if let Ok(sketch) = Sketch::try_from(line.to_owned()) {
            assert_eq!(String::from(sketch.clone()), line.to_lowercase());
            assert_eq!(Sketch::try_from(String::from(sketch.clone())), Ok(sketch));
        }
        if let Ok(clause) = Clause::try_from(line.to_owned()) {
            assert_eq!(Clause::try_from(String::from(clause.clone())), Ok(clause));
        }
    }
}

/// A product file, in its folder.
pub fn product(data: &[u8]) {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join(sealwright::product::FILE_NAME), data).expect("a file");
    if let Err(error) = Product::read(dir.path()) {
        assert!(error.to_string().contains(sealwright::product::FILE_NAME), "{error}");
    }
}

/// A file of rulings: read, written, read again.
pub fn rulings(data: &[u8]) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("rulings.toml");
    std::fs::write(&path, data).expect("a file");
    let Ok(rulings) = read_rulings(&path) else { return };
    write_rulings(&path, rulings.clone()).expect("what was read");
    assert_eq!(read_rulings(&path).expect("our own writing"), rulings);
}

/// A safetensors file: every tensor lies inside it.
pub fn headers(data: &[u8]) {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("model.safetensors"), data).expect("a file");
    let Ok(headers) = Headers::read(dir.path()) else { return };
    for tensor in &headers.tensors {
        assert!(tensor.start <= tensor.end && tensor.end <= data.len() as u64, "{}", tensor.name);
    }
}

//! What must hold of any bytes that a reader is given: no panic, no more out than in allows, and what was read and
//! written again reads the same. The fuzz targets and `tests/it/fuzzing.rs` share these bodies.

use sealwright::base::{Card, Gguf, Headers};
use sealwright::bundle::{self, Active, Manifest, Renewal, Revocations, Seen, Tail, Trust, active_content};
use sealwright::data::POLICIES as SHIPPED;
use sealwright::digest::Sha256;
use sealwright::license::{
    Clause, FindingCode, Identity, Policies, Record, Role, Sketch, differences, identify, read_rulings, tokens,
    write_rulings,
};
use sealwright::product::Product;
use sealwright::sign::{Envelope, SigningKey, Statement};
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
        Identity::Known(known) | Identity::Several(known, _) => {
            assert!(known.iter().all(|(id, _)| POLICIES.record(id).is_some()))
        }
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

/// One file of a policies folder besides the records; the first byte says which, the others are as shipped.
pub fn policy(data: &[u8]) {
    const FILES: [&str; 5] = ["org/other.toml", "org/default.toml", "lineage.toml", "datasets.toml", "signs.toml"];
    let Some((which, data)) = data.split_first() else { return };
    let name = FILES[usize::from(*which) % FILES.len()];
    let dir = tempfile::tempdir().expect("a folder");
    let put = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder above")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
    };
    let shipped = |name: &str| SHIPPED.get_file(name).expect("a file of the program").contents();
    // one record, and neither spans nor models of others: a load takes little
    for name in ["vocabulary.toml", "org/default.toml", "licenses/mit.toml"] {
        put(name, shipped(name));
    }
    for (name, text) in [
        ("open-spans.toml", "open = []\n"),
        ("lineage.toml", "model = []\n"),
        ("datasets.toml", "data-set = []\n"),
        ("signs.toml", "phrase = []\ntokenizer = []\n[negation]\nunless = []\n"),
    ] {
        put(name, text.as_bytes());
    }
    put(name, data);
    match Policies::load(Some(dir.path())) {
        Ok(policies) => {
            assert!(policies.record("MIT").is_some());
            let today = "2026-06-01".parse().expect("a day");
            assert!(FindingCode::ALL.iter().all(|code| policies.decision(*code, today).severity >= code.floor()));
            policies.unused(today);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A GGUF's head: every tensor lies inside the file.
pub fn gguf(data: &[u8]) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.gguf");
    std::fs::write(&path, data).expect("a file");
    let Ok(gguf) = Gguf::read(&path) else { return };
    assert!(gguf.tensors.iter().all(|t| t.start <= t.end && t.end <= data.len() as u64));
    for key in gguf.metadata.keys() {
        let _ = gguf.texts(key);
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

/// Any file that may hold what can run: packed into a tar it is found to hold the same.
pub fn active(data: &[u8]) {
    let kinds = |bytes: &[u8]| active_content("a.json", &mut std::io::Cursor::new(bytes)).expect("memory can be read");
    let packed = kinds(&[&header("a.json", data.len())[..], data, &vec![0; 1024 + 512 - data.len() % 512]].concat());
    let all = kinds(data).iter().all(|kind| packed.contains(kind));
    assert!(all || packed.contains(&Active::Unread));
}

/// A tar's header, as old as they come.
fn header(name: &str, size: usize) -> Vec<u8> {
    let mut header = name.as_bytes().to_vec();
    header.resize(100, 0);
    header.extend(format!("0000644\0{0:07o}\0{0:07o}\0{size:011o}\0{0:011o}\0        0", 0).bytes());
    header.resize(512, 0);
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// A bundle's file: what its headers say lies in it, and its manifest has one form.
pub fn bundle(data: &[u8]) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.sealed");
    std::fs::write(&path, data).expect("a file");
    let Ok(inspected) = bundle::inspect(&path) else { return };
    assert_eq!(inspected.id, Sha256::of(inspected.manifest.to_bytes()));
    if let Ok((tail, start)) = Tail::read(&path) {
        assert_eq!(tail.bundle_size(), data.len() as u64);
        assert_eq!(Tail::parse(&data[start as usize..]).expect("the end of a whole file").id(), inspected.id);
    }
}

/// A bundle's end: manifest, signature, zeros.
pub fn tail(data: &[u8]) {
    let Ok(tail) = Tail::parse(data) else { return };
    assert_eq!(tail.id(), Sha256::of(tail.manifest().to_bytes()));
    assert!(tail.bundle_size() >= data.len() as u64);
}

/// A manifest, its entitlement in it: parsed and written again, it is the same bytes.
pub fn manifest(data: &[u8]) {
    if let Ok(manifest) = Manifest::parse(data) {
        assert_eq!(manifest.to_bytes(), data);
    }
}

/// The key that signs what `renewal` and `revocations` are given, so that their parsers see it.
pub static SIGNER: LazyLock<SigningKey> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("vendor.pem");
    std::fs::write(&path, include_str!("../tests/vectors/keys/vendor.pem")).expect("a file");
    SigningKey::read(&path, &|_| unreachable!("no passphrase")).expect("a key of the vectors")
});

/// A renewal's payload, rightly signed: parsed and written again, it is the same bytes.
pub fn renewal(data: &[u8]) {
    signed::<Renewal>(data);
}

/// A revocation list's payload, likewise.
pub fn revocations(data: &[u8]) {
    signed::<Revocations>(data);
}

fn signed<T: Statement>(data: &[u8]) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.statement");
    let envelope = Envelope::sign(T::TYPE, data, SIGNER.public().id().to_string(), &SIGNER).expect("a key at hand");
    std::fs::write(&path, serde_json_canonicalizer::to_vec(&envelope).expect("an envelope")).expect("a file");
    if let Ok((statement, _)) = sealwright::sign::open::<T>(&path, [&SIGNER.public()]) {
        assert_eq!(serde_json_canonicalizer::to_vec(&statement).expect("a statement"), data);
    }
}

/// A trust file beside a key that it may name.
pub fn trust(data: &[u8]) {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("vendor.pub.pem"), SIGNER.public().to_pem()).expect("a file");
    let path = dir.path().join("trust.toml");
    std::fs::write(&path, data).expect("a file");
    let now = "2026-06-01T12:00:00Z".parse().expect("a moment");
    if let Err(error) = Trust::read(&[path], false, now, &Seen::at(dir.path().join("state"))) {
        assert!(!error.to_string().is_empty());
    }
}

/// Frames of a payload; the first three bytes say how much they must hold, and no more comes out.
pub fn frames(data: &[u8]) {
    let Some((size, data)) = data.split_first_chunk::<3>() else { return };
    let size = u32::from_le_bytes([size[0], size[1], size[2], 0]);
    if let Ok(content) = bundle::read_frames(data, size.into()) {
        assert_eq!(content.len(), size as usize);
    }
}

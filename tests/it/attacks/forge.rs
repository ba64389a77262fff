//! A second writer of FORMAT.md that shares no code with src/bundle, and can be told to lie.

use base64::Engine as _;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _, LineEnding};
use sealwright::Code;
use sealwright::bundle::{Active, Identities, Nobody, Request, Seen, Trust, Use, verify};
use sealwright::digest::Sha256;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub type Files = Vec<(String, Vec<u8>)>;

/// When the attacks are read.
pub const NOW: &str = "2026-06-01T00:00:00Z";

/// A bundle in parts. Each `on_…` may change what the layers above it then sign.
pub struct Forge {
    pub papers: Files,
    /// The payload's entries without `model.sig`.
    pub inner: Files,
    pub inner_tar: fn(&mut Vec<u8>),
    pub compress: fn(&[u8]) -> Vec<u8>,
    pub on_cipher: fn(&mut Vec<u8>),
    pub on_manifest: fn(&mut Value),
    pub on_manifest_text: fn(&mut String),
    pub on_entries: fn(&mut Files),
    pub on_model_sig: fn(&mut Value),
    /// What signs `model.sig`, and what signs the manifest.
    pub inner_key: p256::ecdsa::SigningKey,
    pub key: p256::ecdsa::SigningKey,
    pub manifest_type: &'static str,
    pub high_s: bool,
    pub keyid: Option<Sha256>,
    pub after: fn(&mut Vec<u8>),
    /// Who opens it, and what the customer lets run.
    pub identities: fn() -> Identities,
    pub allowed: &'static [Active],
}

pub fn key_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/keys").join(name)
}

/// The customer's.
pub fn identities() -> Identities {
    Identities::read(&key_path("identity.txt"), std::sync::Arc::new(Nobody)).unwrap()
}

pub fn key(name: &str) -> p256::ecdsa::SigningKey {
    let text = std::fs::read_to_string(key_path(name)).unwrap();
    p256::ecdsa::SigningKey::from_pkcs8_pem(&text[text.find("-----BEGIN").unwrap()..]).unwrap()
}

pub fn file(name: &str, data: &[u8]) -> (String, Vec<u8>) {
    (name.into(), data.to_vec())
}

impl Forge {
    /// One that nobody has anything against.
    pub fn honest() -> Self {
        let papers = vec![
            file("LICENSES/MIT.txt", b"text"),
            file("MODEL_CARD.md", b"card"),
            file("NOTICE", b"notice"),
            file("bom.cdx.json", b"{}"),
            file("report.json", b"{}"),
        ];
        let mut inner = vec![file("adapter_config.json", b"{}"), file("adapter_model.safetensors", &[7; 3000])];
        inner.extend(papers.clone());
        Self {
            papers,
            inner,
            inner_tar: |_| (),
            compress: frames,
            on_cipher: |_| (),
            on_manifest: |_| (),
            on_manifest_text: |_| (),
            on_entries: |_| (),
            on_model_sig: |_| (),
            inner_key: key("vendor.pem"),
            key: key("vendor.pem"),
            manifest_type: "application/vnd.sealwright.manifest+json",
            high_s: false,
            keyid: None,
            after: |_| (),
            identities,
            allowed: &[],
        }
    }

    pub fn write(&self) -> Vec<u8> {
        let mut inner = self.inner.clone();
        inner.push(("model.sig".into(), self.model_sig().to_string().into_bytes()));
        let mut payload = tar(&inner);
        (self.inner_tar)(&mut payload);
        let mut cipher = encrypt(&(self.compress)(&payload));
        (self.on_cipher)(&mut cipher);
        let mut entries = self.papers.clone();
        entries.push(("payload.tar.zst.age".into(), cipher));
        let payload = json!({"size": payload.len(), "files": inner.len(), "header": Sha256::of(head(&entries[5].1))});
        let mut manifest = self.manifest(&entries, payload);
        (self.on_manifest)(&mut manifest);
        let mut text = String::from_utf8(serde_json_canonicalizer::to_vec(&manifest).unwrap()).unwrap();
        (self.on_manifest_text)(&mut text);
        let envelope = envelope(self.manifest_type, text.as_bytes(), &self.key, self.keyid, self.high_s);
        entries.push(("manifest.json".into(), text.into_bytes()));
        entries.push(("manifest.sig".into(), serde_json_canonicalizer::to_vec(&envelope).unwrap()));
        (self.on_entries)(&mut entries);
        let mut bundle = tar(&entries);
        (self.after)(&mut bundle);
        bundle
    }

    fn manifest(&self, entries: &Files, payload: Value) -> Value {
        let identity = identities().recipients().next().unwrap().to_string();
        let salt = Sha256::of("salt");
        let entries: Vec<_> = entries
            .iter()
            .map(|(name, data)| json!({"name": name, "size": data.len(), "sha256": Sha256::of(data)}))
            .collect();
        let of = |part: &str| Sha256::of(part);
        json!({
            "format": "sealwright/1", "development": false,
            "vendor": {"name": "Example Works", "key": key_id(&self.key)},
            "product": {"name": "helpdesk", "title": "Example Helpdesk", "version": "1.0.0"},
            "issued": 1_767_225_600, "serial": 1_767_225_600,
            "bases": [{"name": "base", "fingerprint": {
                "weights": of("w"), "config": of("c"), "tokenizer": of("t"), "template": of("j"),
            }}],
            "policy": of("policy"),
            "entitlement": {
                "customer": "acme", "until": "2099-12-31", "uses": ["open"], "salt": salt,
                "recipients": [Sha256::of([&salt.0[..], identity.as_bytes()].concat())],
            },
            "payload": payload,
            "entries": entries,
        })
    }

    /// Puts another file of the derivative into the payload, where it belongs.
    pub fn add(&mut self, name: &str, bytes: &[u8]) {
        let is_file = |name: &str| !self.papers.iter().any(|(paper, _)| paper == name);
        let at = self.inner.partition_point(|(other, _)| is_file(other) && other.as_str() < name);
        self.inner.insert(at, file(name, bytes));
    }

    fn model_sig(&self) -> Value {
        let mut inner: Vec<_> = self.inner.iter().collect();
        inner.sort();
        let digests: Vec<_> = inner.into_iter().map(|(name, data)| (name, Sha256::of(data))).collect();
        let root = Sha256::of(digests.iter().flat_map(|(_, d)| d.0).collect::<Vec<_>>());
        let resources: Vec<_> = digests
            .iter()
            .map(|(name, digest)| json!({"algorithm": "sha256", "digest": digest, "name": name}))
            .collect();
        let mut statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "predicateType": "https://model_signing/signature/v1.0",
            "subject": [{"digest": {"sha256": root}, "name": "helpdesk-1.0.0"}],
            "predicate": {"resources": resources, "serialization": {
                "allow_symlinks": false, "hash_type": "sha256", "method": "files",
                "ignore_paths": [".git", ".gitattributes", ".github", ".gitignore", "model.sig"],
            }},
        });
        (self.on_model_sig)(&mut statement);
        let (kind, payload) = ("application/vnd.in-toto+json", statement.to_string());
        let pem = self.inner_key.verifying_key().to_public_key_pem(LineEnding::LF).unwrap();
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": Sha256::of(pem)}, "tlogEntries": []},
            "dsseEnvelope": {"payload": b64(payload.as_bytes()), "payloadType": kind, "signatures": [
                {"keyid": "", "sig": b64(&sign(&self.inner_key, kind, payload.as_bytes(), true))},
            ]},
        })
    }

    /// The code that reading it ends with: at `verify`, or else at `open` into a folder and into memory.
    pub fn code(&self, what: &str) -> Result<(), Code> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.sealed");
        let bundle = self.write();
        std::fs::write(&path, &bundle).unwrap();
        let code = self.read(dir.path(), &path);
        let run = json!({"trust": key_path("vendor.pub.pem"), "identity": key_path("identity.txt"), "at": NOW,
            "passphrase": (self.identities)().recipients().any(|r| r.to_string() == "passphrase")});
        // another reader need not look at what it unpacks
        if code != Err(Code::UndeclaredContent) && self.allowed.is_empty() {
            publish(what, code, json!([run]), &[("b.sealed", bundle)]);
        }
        code
    }

    fn read(&self, dir: &Path, path: &Path) -> Result<(), Code> {
        let public = sealwright::sign::PublicKey::read(&key_path("vendor.pub.pem")).unwrap();
        let trust = Trust::in_keys([public], false);
        let identities = (self.identities)();
        let seen = Seen::at(dir.join("state"));
        let now = NOW.parse().unwrap();
        let request = Request { identities: &identities, now, base: None, wanted: Use::Open, seen: &seen };
        let read = || verify(path, &trust).map(|v| v.allow_active(self.allowed.iter().copied()));
        let verified = read().map_err(|e| e.code)?;
        let memory = verified.open(&request).map(|_| ()).map_err(|e| e.code);
        let folder = read().unwrap().open_into(&request, &dir.join("out"));
        assert_eq!(folder.is_ok(), dir.join("out").exists());
        let mut left = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        assert!(!left.any(|name| name.contains("partial")), "something temporary is left");
        assert_eq!(memory, folder.map(|_| ()).map_err(|e| e.code), "memory and folder agree");
        memory
    }
}

fn b64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

pub fn key_id(key: &p256::ecdsa::SigningKey) -> Sha256 {
    Sha256::of(key.verifying_key().to_public_key_der().unwrap())
}

/// A DSSE envelope; `keyid` where it names another key than the one that signs.
pub fn envelope(
    kind: &str,
    payload: &[u8],
    key: &p256::ecdsa::SigningKey,
    keyid: Option<Sha256>,
    high_s: bool,
) -> Value {
    let keyid = keyid.unwrap_or_else(|| key_id(key));
    let sig = sign(key, kind, payload, high_s);
    json!({"payload": b64(payload), "payloadType": kind, "signatures": [{"keyid": keyid, "sig": b64(&sig)}]})
}

fn sign(key: &p256::ecdsa::SigningKey, kind: &str, payload: &[u8], high: bool) -> Vec<u8> {
    let pae = [format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).as_bytes(), payload].concat();
    let signature: p256::ecdsa::Signature = key.sign(&pae);
    let low = signature.normalize_s().unwrap_or(signature);
    let (r, s) = low.split_scalars();
    let high_s = p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
    if high { high_s } else { low }.to_der().as_bytes().to_vec()
}

/// A header by the table of FORMAT.md, section 1.
pub fn header(name: &str, size: usize) -> Vec<u8> {
    let mut h = name.as_bytes().to_vec();
    h.resize(100, 0);
    h.extend(b"0000644\x000000000\x000000000\0");
    h.extend(format!("{size:011o}\x0000000000000\x00        0").bytes());
    h.resize(257, 0);
    h.extend(b"ustar\x0000");
    h.resize(329, 0);
    h.extend(b"0000000\x000000000\0");
    h.resize(512, 0);
    let sum: u32 = h.iter().map(|b| u32::from(*b)).sum();
    h[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
    h
}

fn tar(files: &Files) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, data) in files {
        bytes.extend(header(name, data.len()));
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

pub fn frames(tar: &[u8]) -> Vec<u8> {
    tar.chunks(1 << 20).flat_map(|piece| zstd::bulk::compress(piece, 1).unwrap()).collect()
}

/// What stands before an age file's first chunk: lines up to that of the MAC, and 16 bytes; all of what is no age file.
fn head(cipher: &[u8]) -> &[u8] {
    let line = cipher.windows(5).position(|w| w == b"\n--- ").map_or(cipher.len(), |at| at + 1);
    let end = cipher[line..].iter().position(|b| *b == b'\n').map_or(cipher.len(), |at| line + at + 1);
    &cipher[..cipher.len().min(end + 16)]
}

fn encrypt(bytes: &[u8]) -> Vec<u8> {
    let recipient: age::x25519::Recipient = identities().recipients().next().unwrap().to_string().parse().unwrap();
    age::encrypt(&recipient, bytes).unwrap()
}

/// What another reader is to be tried with: `files`, and one run or several in that order, the last of which must end
/// with `expect`. Kept where `SEALWRIGHT_ATTACKS` names a folder; `tests/interop/reader.sh` reads it.
pub fn publish(what: &str, expect: Result<(), Code>, runs: Value, files: &[(&str, Vec<u8>)]) {
    let Some(root) = std::env::var_os("SEALWRIGHT_ATTACKS") else { return };
    let folder = Path::new(&root).join(Sha256::of([what.as_bytes(), &files[0].1].concat()).to_string());
    for (name, bytes) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let expect = expect.map_or_else(Code::name, |()| "ok");
    std::fs::write(folder.join("case.json"), json!({"what": what, "expect": expect, "runs": runs}).to_string())
        .unwrap();
}

//! Attacks as a generator: a second writer of FORMAT.md that shares no code with src/bundle, and can be told to lie.
//!
//! What it writes is signed by the trusted key wherever the attack is one that a signer could make, so that each rule
//! is met alone. Each attack must end with its own code, at `verify` or at `open`.

use base64::Engine as _;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _, LineEnding};
use sealwright::Code;
use sealwright::base::Fingerprint;
use sealwright::bundle::{Identities, Request, Seen, Trust, Use, verify};
use sealwright::digest::Sha256;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};

type Files = Vec<(String, Vec<u8>)>;

/// A bundle in parts. Each `on_…` may change what the layers above it then sign.
struct Forge {
    papers: Files,
    /// The payload's entries without `model.sig`.
    inner: Files,
    inner_tar: fn(&mut Vec<u8>),
    compress: fn(&[u8]) -> Vec<u8>,
    on_cipher: fn(&mut Vec<u8>),
    on_manifest: fn(&mut Value),
    on_manifest_text: fn(&mut String),
    on_entries: fn(&mut Files),
    on_model_sig: fn(&mut Value),
    /// What signs `model.sig`, and what signs the manifest.
    inner_key: p256::ecdsa::SigningKey,
    key: p256::ecdsa::SigningKey,
    manifest_type: &'static str,
    high_s: bool,
    keyid: Option<Sha256>,
    after: fn(&mut Vec<u8>),
}

fn key_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/keys").join(name)
}

fn key(name: &str) -> p256::ecdsa::SigningKey {
    let text = std::fs::read_to_string(key_path(name)).unwrap();
    p256::ecdsa::SigningKey::from_pkcs8_pem(&text[text.find("-----BEGIN").unwrap()..]).unwrap()
}

fn file(name: &str, data: &[u8]) -> (String, Vec<u8>) {
    (name.into(), data.to_vec())
}

impl Forge {
    /// One that nobody has anything against.
    fn honest() -> Self {
        let papers = vec![
            file("LICENSES/MIT.txt", b"text"),
            file("MODEL_CARD.md", b"card"),
            file("NOTICE", b"notice"),
            file("bom.cdx.json", b"{}"),
            file("report.json", b"{}"),
        ];
        let mut inner = papers.clone();
        inner.push(file("adapter_config.json", b"{}"));
        inner.push(file("adapter_model.safetensors", &[7; 3000]));
        inner.sort();
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
        }
    }

    fn write(&self) -> Vec<u8> {
        let mut inner = self.inner.clone();
        inner.push(("model.sig".into(), self.model_sig().to_string().into_bytes()));
        let mut payload = tar(&inner);
        (self.inner_tar)(&mut payload);
        let mut cipher = encrypt(&(self.compress)(&payload));
        (self.on_cipher)(&mut cipher);
        let mut entries = self.papers.clone();
        entries.push(("payload.tar.zst.age".into(), cipher));
        let mut manifest = self.manifest(&entries, payload.len(), inner.len());
        (self.on_manifest)(&mut manifest);
        let mut text = String::from_utf8(serde_json_canonicalizer::to_vec(&manifest).unwrap()).unwrap();
        (self.on_manifest_text)(&mut text);
        let envelope = json!({
            "payload": b64(text.as_bytes()),
            "payloadType": self.manifest_type,
            "signatures": [{"keyid": self.keyid.unwrap_or_else(|| key_id(&self.key)), "sig": b64(&sign(&self.key, self.manifest_type, text.as_bytes(), self.high_s))}],
        });
        entries.push(("manifest.json".into(), text.into_bytes()));
        entries.push(("manifest.sig".into(), serde_json_canonicalizer::to_vec(&envelope).unwrap()));
        (self.on_entries)(&mut entries);
        let mut bundle = tar(&entries);
        (self.after)(&mut bundle);
        bundle
    }

    fn manifest(&self, entries: &Files, size: usize, files: usize) -> Value {
        let identity = Identities::read(&key_path("identity.txt")).unwrap().recipients().remove(0).to_string();
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
            "bases": [{"name": "base", "fingerprint": {"weights": of("w"), "config": of("c"), "tokenizer": of("t"), "template": of("j")}}],
            "policy": of("policy"),
            "entitlement": {
                "customer": "acme", "until": "2099-12-31", "uses": ["open"], "salt": salt,
                "recipients": [Sha256::of([&salt.0[..], identity.as_bytes()].concat())],
            },
            "payload": {"size": size, "files": files},
            "entries": entries,
        })
    }

    fn model_sig(&self) -> Value {
        let digests: Vec<_> = self.inner.iter().map(|(name, data)| (name, Sha256::of(data))).collect();
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
    fn code(&self) -> Result<(), Code> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.sealed");
        std::fs::write(&path, self.write()).unwrap();
        let public = sealwright::bundle::PublicKey::read(&key_path("vendor.pub.pem")).unwrap();
        let trust = Trust { keys: vec![public], allow_development: false };
        let identities = Identities::read(&key_path("identity.txt")).unwrap();
        let seen = Seen::at(dir.path().join("state"));
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        let request = Request { identities: &identities, now, base: None, wanted: Use::Open, seen: &seen };
        let verified = verify(&path, &trust).map_err(|e| e.code)?;
        let memory = verified.open(&request).map(|_| ()).map_err(|e| e.code);
        let folder = verify(&path, &trust).unwrap().open_into(&request, &dir.path().join("out"));
        assert_eq!(folder.is_ok(), dir.path().join("out").exists());
        let mut left = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        assert!(!left.any(|name| name.contains("partial")), "something temporary is left");
        assert_eq!(memory, folder.map(|_| ()).map_err(|e| e.code), "memory and folder agree");
        memory
    }
}

fn b64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn key_id(key: &p256::ecdsa::SigningKey) -> Sha256 {
    Sha256::of(key.verifying_key().to_public_key_der().unwrap())
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
fn header(name: &str, size: usize) -> Vec<u8> {
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

fn frames(tar: &[u8]) -> Vec<u8> {
    tar.chunks(1 << 20).flat_map(|piece| zstd::bulk::compress(piece, 1).unwrap()).collect()
}

fn encrypt(bytes: &[u8]) -> Vec<u8> {
    let recipient: age::x25519::Recipient =
        Identities::read(&key_path("identity.txt")).unwrap().recipients()[0].to_string().parse().unwrap();
    age::encrypt(&recipient, bytes).unwrap()
}

/// A frame by hand, its header saying a size that need not be true.
fn frame_saying(size: u32, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    frame.extend(size.to_le_bytes());
    frame.extend(((content.len() as u32) << 3 | 1).to_le_bytes()[..3].iter()); // one raw block
    frame.extend(content);
    frame
}

#[test]
fn the_second_writer_is_read() {
    assert_eq!(Forge::honest().code(), Ok(()));
}

/// Runs each attack and compares its code.
fn expect(attacks: &[(&str, Code, fn(&mut Forge))]) {
    for (what, code, change) in attacks {
        let mut forge = Forge::honest();
        change(&mut forge);
        assert_eq!(forge.code(), Err(*code), "{what}");
    }
}

#[test]
fn names_in_the_payload() {
    let names =
        ["../../escape.json", "/etc/escape", "a/../../b", "a\\..\\b", ".ssh/config", "NUL.json", "x.", "a//b", "é"];
    for name in names {
        let mut forge = Forge::honest();
        forge.inner.push(file(name, b"x"));
        forge.inner.sort();
        assert_eq!(forge.code(), Err(Code::BadBundle), "{name}");
    }
    expect(&[
        ("twice", Code::BadBundle, |f| f.inner.insert(0, file("LICENSES/MIT.txt", b"text"))),
        ("case collision", Code::BadBundle, |f| f.inner.push(file("adapter_model.SAFETENSORS", b""))),
        ("a file that is a folder", Code::BadBundle, |f| f.inner.push(file("adapter_model.safetensors/x", b""))),
        ("out of order", Code::BadBundle, |f| f.inner.reverse()),
        ("a paper that differs", Code::BadBundle, |f| f.inner[2].1 = b"other notice".to_vec()),
        ("a paper that is missing", Code::BadBundle, |f| drop(f.inner.remove(2))),
        ("a licence more", Code::BadBundle, |f| f.inner.insert(1, file("LICENSES/X.txt", b""))),
        ("two model.sig", Code::BadBundle, |f| f.inner.push(file("model.sig", b"{}"))),
    ]);
}

#[test]
fn headers_of_the_payload() {
    // the first header's fields; the checksum is made right again where it must not give the lie away
    fn relabel(tar: &mut [u8], at: usize, bytes: &[u8]) {
        tar[at..at + bytes.len()].copy_from_slice(bytes);
        tar[148..156].copy_from_slice(b"        ");
        let sum: u32 = tar[..512].iter().map(|b| u32::from(*b)).sum();
        tar[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
    }
    expect(&[
        ("a symbolic link", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 156, b"2")),
        ("a hard link", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 156, b"1")),
        ("a folder", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 156, b"5")),
        ("a device", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 156, b"3")),
        ("a pax header", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 156, b"x")),
        ("a GNU long name", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 156, b"L")),
        ("executable", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 100, b"0000755")),
        ("another time", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 136, b"00000000001")),
        ("a prefix", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 345, b"..")),
        ("a size with spaces", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 124, b"          4")),
        ("a size in base 256", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 124, b"\x80\0\0\0\0\0\0\0\0\0\0\x04")),
        ("a size beyond the end", Code::Truncated, |f| f.inner_tar = |t| relabel(t, 124, b"77777777777")),
        ("a negative size", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 124, &[0xff; 12])),
        ("a checksum that lies", Code::BadBundle, |f| f.inner_tar = |t| t[148] ^= 1),
        ("a dirty padding", Code::BadBundle, |f| f.inner_tar = |t| t[512 + 4] = 1),
        ("a dirty trailer", Code::BadBundle, |f| f.inner_tar = |t| *t.last_mut().unwrap() = 1),
        ("trailing zeros", Code::BadBundle, |f| f.inner_tar = |t| t.extend([0; 512])),
        ("half a trailer", Code::Truncated, |f| f.inner_tar = |t| t.truncate(t.len() - 512)),
    ]);
}

#[test]
fn compression_and_encryption() {
    expect(&[
        ("a bomb: more than was signed", Code::BadBundle, |f| {
            f.compress = |t| frames(&[t, &vec![0; 64 << 20][..]].concat())
        }),
        ("a frame that says more", Code::BadBundle, |f| f.compress = |t| frame_saying(u32::MAX, t)),
        ("a frame that holds less than it says", Code::BadBundle, |f| {
            f.compress = |t| {
                let mut frame = frames(t)[..7].to_vec(); // magic number, descriptor, two bytes of size
                frame.extend([1, 0, 0]); // a last raw block of nothing
                frame
            }
        }),
        ("blocks of nothing without end", Code::BadBundle, |f| {
            f.compress = |t| {
                let mut frame = frames(t)[..7].to_vec();
                frame.resize(4 << 20, 0);
                frame
            }
        }),
        ("a skippable frame before", Code::BadBundle, |f| {
            f.compress = |t| [b"\x50\x2a\x4d\x18\0\0\0\0", &frames(t)[..]].concat()
        }),
        ("a skippable frame after", Code::BadBundle, |f| {
            f.compress = |t| [&frames(t)[..], b"\x50\x2a\x4d\x18\0\0\0\0"].concat()
        }),
        ("an empty frame after", Code::BadBundle, |f| {
            f.compress = |t| [frames(t), zstd::bulk::compress(b"", 1).unwrap()].concat()
        }),
        ("smaller pieces", Code::BadBundle, |f| {
            f.compress = |t| t.chunks(512).flat_map(|p| zstd::bulk::compress(p, 1).unwrap()).collect()
        }),
        ("a checksum", Code::BadBundle, |f| {
            f.compress = |t| {
                let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
                encoder.include_checksum(true).unwrap();
                encoder.set_pledged_src_size(Some(t.len() as u64)).unwrap();
                encoder.write_all(t).unwrap();
                encoder.finish().unwrap()
            }
        }),
        ("a dictionary's id", Code::BadBundle, |f| {
            f.compress = |t| {
                let mut frame = frames(t);
                frame[4] |= 1;
                frame
            }
        }),
        ("no compression", Code::BadBundle, |f| f.compress = <[u8]>::to_vec),
        ("nothing at all", Code::Truncated, |f| f.compress = |_| Vec::new()),
        ("a byte after the last age chunk", Code::BadBundle, |f| f.on_cipher = |c| c.push(0)),
        ("the last age chunk is missing", Code::BadBundle, |f| f.on_cipher = |c| c.truncate(c.len() - 1)),
        ("not age", Code::BadBundle, |f| f.on_cipher = |c| c[0] ^= 1),
        ("another customer's payload", Code::WrongCustomer, |f| {
            f.on_cipher = |c| {
                let other = age::x25519::Identity::generate().to_public();
                *c = age::encrypt(&other, b"x").unwrap();
            }
        }),
    ]);
}

#[test]
fn the_manifest() {
    expect(&[
        ("an unknown key", Code::BadBundle, |f| f.on_manifest = |m| m["extra"] = json!(1)),
        ("a missing key", Code::BadBundle, |f| f.on_manifest = |m| drop(m.as_object_mut().unwrap().remove("policy"))),
        ("a key twice", Code::BadBundle, |f| {
            f.on_manifest_text = |t| *t = t.replacen('{', "{\"development\":false,", 1)
        }),
        ("a space", Code::BadBundle, |f| f.on_manifest_text = |t| t.push(' ')),
        ("a float", Code::BadBundle, |f| {
            f.on_manifest_text = |t| *t = t.replace("\"serial\":1767225600", "\"serial\":1767225600.0")
        }),
        ("deep nesting", Code::BadBundle, |f| f.on_manifest_text = |t| *t = "[".repeat(1 << 19)),
        ("not JSON", Code::BadBundle, |f| f.on_manifest_text = String::clear),
        ("a newer version", Code::UnsupportedVersion, |f| f.on_manifest = |m| m["format"] = json!("sealwright/2")),
        ("another format", Code::BadBundle, |f| f.on_manifest = |m| m["format"] = json!("sealed")),
        ("a product that is a path", Code::BadBundle, |f| f.on_manifest = |m| m["product"]["name"] = json!("../x")),
        ("a payload beyond the limit", Code::TooLarge, |f| {
            f.on_manifest = |m| m["payload"]["size"] = json!(1u64 << 50)
        }),
        ("a payload that is larger than it is", Code::BadBundle, |f| {
            f.on_manifest = |m| m["payload"]["size"] = json!(m["payload"]["size"].as_u64().unwrap() + 512)
        }),
        ("fewer files than there are", Code::BadBundle, |f| f.on_manifest = |m| m["payload"]["files"] = json!(7)),
        ("more files than there are", Code::BadBundle, |f| f.on_manifest = |m| m["payload"]["files"] = json!(9)),
        ("another digest", Code::Damaged, |f| f.on_manifest = |m| m["entries"][0]["sha256"] = json!(Sha256::of("x"))),
        ("another size", Code::BadBundle, |f| f.on_manifest = |m| m["entries"][0]["size"] = json!(5)),
        ("no entries", Code::BadBundle, |f| f.on_manifest = |m| m["entries"] = json!([])),
        ("no recipients", Code::BadBundle, |f| f.on_manifest = |m| m["entitlement"]["recipients"] = json!([])),
        ("somebody else's recipient", Code::WrongCustomer, |f| {
            f.on_manifest = |m| m["entitlement"]["recipients"] = json!([Sha256::of("x")])
        }),
    ]);
}

#[test]
fn the_signatures() {
    expect(&[
        ("another key", Code::BadSignature, |f| {
            f.keyid = Some(key_id(&f.key));
            f.key = key("development.pem");
        }),
        ("a key that nobody trusts", Code::UnknownSigner, |f| f.key = key("development.pem")),
        ("a trusted name in a stranger's bundle", Code::BadSignature, |f| {
            f.key = key("development.pem");
            f.on_manifest = |m| m["vendor"]["key"] = json!(key_id(&key("vendor.pem")));
        }),
        ("another type", Code::BadSignature, |f| f.manifest_type = "application/vnd.in-toto+json"),
        ("high s", Code::BadSignature, |f| f.high_s = true),
        ("a development key that is trusted", Code::DevelopmentKey, |f| {
            f.on_manifest = |m| m["development"] = json!(true)
        }),
        ("model.sig by another key", Code::InnerSignerDiffers, |f| f.inner_key = key("development.pem")),
        ("model.sig that leaves more out", Code::InnerSignerDiffers, |f| {
            f.on_model_sig = |s| {
                s["predicate"]["serialization"]["ignore_paths"] =
                    json!([".git", "adapter_model.safetensors", "model.sig"]);
            }
        }),
        ("model.sig of another product", Code::InnerSignerDiffers, |f| {
            f.on_model_sig = |s| s["subject"][0]["name"] = json!("other-1.0.0")
        }),
        ("model.sig over other files", Code::InnerSignerDiffers, |f| {
            f.on_model_sig = |s| s["predicate"]["resources"][0]["digest"] = json!(Sha256::of("x"))
        }),
        ("a manifest swapped after signing", Code::BadSignature, |f| {
            f.on_entries = |e| {
                let at = e.len() - 2;
                e[at].1 = String::from_utf8(e[at].1.clone()).unwrap().replace("2099-12-31", "2199-12-31").into_bytes();
            }
        }),
    ]);
}

#[test]
fn the_outer_tar() {
    expect(&[
        ("an entry more", Code::BadBundle, |f| f.on_entries = |e| e.insert(0, file("LICENSES/A.txt", b""))),
        ("an entry less", Code::BadBundle, |f| f.on_entries = |e| drop(e.remove(0))),
        ("reordered", Code::BadBundle, |f| f.on_entries = |e| e.swap(1, 2)),
        ("an unknown entry", Code::BadBundle, |f| f.on_entries = |e| e.insert(0, file("A.sh", b""))),
        ("a paper twice", Code::BadBundle, |f| f.on_entries = |e| e.insert(3, file("NOTICE", b"notice"))),
        ("manifest before payload", Code::BadBundle, |f| f.on_entries = |e| e.swap(5, 6)),
        ("no signature", Code::Truncated, |f| f.on_entries = |e| drop(e.pop())),
        ("an entry after the signature", Code::BadBundle, |f| f.on_entries = |e| e.push(file("x", b""))),
        ("a paper's bytes", Code::Damaged, |f| f.on_entries = |e| e[2].1[0] ^= 1),
        ("another payload", Code::Damaged, |f| f.on_entries = |e| e[5].1[300] ^= 1),
        ("a manifest without end", Code::BadBundle, |f| f.on_entries = |e| e[6].1.resize(2 << 20, b' ')),
        ("bytes after the end", Code::BadBundle, |f| f.after = |b| b.push(0)),
        ("blocked as tar does it", Code::BadBundle, |f| f.after = |b| b.resize(b.len().next_multiple_of(10_240), 0)),
        ("an unfinished file", Code::Truncated, |f| {
            f.after = |b| {
                let payload = b.windows(7).position(|w| w == b"payload").unwrap();
                b.truncate(payload);
                b.resize(payload + 4096, 0);
            }
        }),
        ("empty", Code::Truncated, |f| f.after = Vec::clear),
        ("a size beyond the end", Code::Truncated, |f| {
            f.after = |b| b.splice(..512, header("LICENSES/MIT.txt", 1 << 20)).for_each(drop)
        }),
        ("a paper beyond its limit", Code::BadBundle, |f| {
            f.after = |b| b.splice(..512, header("LICENSES/MIT.txt", 1 << 32)).for_each(drop)
        }),
    ]);
}

#[test]
fn a_base_is_told_by_its_component() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.sealed");
    std::fs::write(&path, Forge::honest().write()).unwrap();
    let public = sealwright::bundle::PublicKey::read(&key_path("vendor.pub.pem")).unwrap();
    let identities = Identities::read(&key_path("identity.txt")).unwrap();
    let of = |part: &str| Sha256::of(part);
    let at_hand = Fingerprint { weights: of("w"), config: of("c"), tokenizer: of("another"), template: of("j") };
    let request = Request {
        identities: &identities,
        now: "2026-06-01T00:00:00Z".parse().unwrap(),
        base: Some(&at_hand),
        wanted: Use::Open,
        seen: &Seen::at(dir.path().join("state")),
    };
    let error =
        verify(&path, &Trust { keys: vec![public], allow_development: false }).unwrap().judge(&request).unwrap_err();
    assert_eq!((error.code, error.to_string().contains("tokenizer")), (Code::WrongBase, true), "{error}");
}

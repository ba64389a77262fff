//! What can run when it is loaded: manifests that lie about it, and the ways to hide it. Each bundle is signed by the
//! trusted key, so that only the look at what was unpacked can tell.

use super::forge::Forge;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use sealwright::Code;
use sealwright::bundle::Active;
use sealwright::digest::Sha256;
use serde_json::json;
use std::io::Write as _;

/// `os.system("id")` in protocol 0, and as protocol 4 writes it.
const OLD: &[u8] = b"cposix\nsystem\n(S'id'\ntR.";
const NEW: &[u8] = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A zip of stored members; `before` stands before it, and `flags` in each of its headers.
fn zip(members: &[(&str, &[u8])], before: &[u8], flags: u16) -> Vec<u8> {
    let (mut bytes, mut directory) = (before.to_vec(), Vec::new());
    for (name, data) in members {
        let at = (bytes.len() - before.len()) as u32;
        let (length, size) = ((name.len() as u16).to_le_bytes(), (data.len() as u32).to_le_bytes());
        // the checksum is wrong, which some loaders don't mind
        let common = [&[20, 0][..], &flags.to_le_bytes(), &[0; 10], &size, &size, &length, &[0, 0]].concat();
        bytes.extend([b"PK\x03\x04", &common[..], name.as_bytes(), data].concat());
        directory.extend([b"PK\x01\x02\x14\0", &common[..], &[0; 10], &at.to_le_bytes(), name.as_bytes()].concat());
    }
    let (count, at) = ((members.len() as u16).to_le_bytes(), (bytes.len() - before.len()) as u32);
    let size = (directory.len() as u32).to_le_bytes();
    bytes.extend(directory);
    bytes.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count, &size, &at.to_le_bytes(), &[0, 0]].concat());
    bytes
}

fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    [b"\x93NUMPY\x01\0", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// A tar of one member.
fn tar(name: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = super::header(name, data.len());
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);
    bytes
}

/// A field of Protocol Buffers that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 128);
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

fn onnx(domain: &str, op: &str) -> Vec<u8> {
    let node = [field(4, op.as_bytes()), field(7, domain.as_bytes())].concat();
    [&[8, 10][..], &field(7, &field(1, &node))].concat()
}

fn saved_model(op: &str) -> Vec<u8> {
    let node = [field(1, b"n"), field(2, op.as_bytes())].concat();
    [&[8, 1][..], &field(2, &field(2, &field(1, &node)))].concat()
}

/// What it is, under a name that says nothing, and what it is found to be.
fn hidden() -> Vec<(&'static str, &'static str, Vec<u8>, Active)> {
    let pe = [&b"MZ"[..], &[0; 58], &64u32.to_le_bytes(), b"PE\0\0"].concat();
    let twice = zip(&[("a.json", &zip(&[("b.json", NEW)], b"", 0))], b"", 0);
    let lambda = br#"{"config": {"layers": [{"class_name": "Lambda", "config": {}}]}}"#;
    let module = br#"{"module": "subprocess", "class_name": "run", "config": {}}"#;
    let late = [br#"{"x": NaN, "y": 1e999, "z": "#, &b"["[..], &[b'['; 4000], &[b']'; 4001]].concat();
    let late = [&late[..], br#", "auto\u005fmap": {"AutoModel": "m.M"}}"#].concat();
    let noise: Vec<u8> = (0..3000u32).flat_map(|i| Sha256::of(i.to_le_bytes()).0).collect();
    let half = gzip(&[NEW, &noise].concat())[..5000].to_vec();
    let objects = npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", NEW);
    vec![
        ("an old pickle as text", "vocab.txt", OLD.to_vec(), Active::Pickle),
        ("a pickle as JSON", "a.json", NEW.to_vec(), Active::Pickle),
        ("a pickle that breaks after its call", "a.json", [&NEW[..NEW.len() - 1], b"\xff"].concat(), Active::Pickle),
        ("a second pickle", "a.json", [b"\x80\x02K\x01.", NEW].concat(), Active::Pickle),
        ("an instance", "a.json", b"(S'id'\nios\nsystem\n.".to_vec(), Active::Pickle),
        ("an object", "a.json", b"(cos\nsystem\nS'id'\no.".to_vec(), Active::Pickle),
        (
            "a pickle whose frame lies",
            "a.json",
            [b"\x80\x04\x95\xff\0\0\0\0\0\0\0", &NEW[2..]].concat(),
            Active::Pickle,
        ),
        ("a torch file", "m.safetensors.json", zip(&[("archive/data.pkl", NEW)], b"", 0), Active::Pickle),
        ("a torch file that says it is encrypted", "a.json", zip(&[("data.pkl", NEW)], b"", 1), Active::Pickle),
        ("a zip that is encrypted", "a.json", zip(&[("data.pkl", &noise)], b"", 1), Active::Unread),
        ("a zip after a picture", "a.svg", zip(&[("data.pkl", OLD)], b"<svg></svg>", 0), Active::Pickle),
        ("a zip in a zip", "a.json", twice, Active::Pickle),
        ("a zip without a directory", "a.json", zip(&[("x", b"1")], b"", 0)[..30].to_vec(), Active::Unread),
        ("a compressed pickle", "a.json", gzip(NEW), Active::Pickle),
        ("joblib's", "a.json", zlib(OLD), Active::Pickle),
        ("half a compressed pickle", "a.json", half, Active::Pickle),
        ("a pickle in zstd", "a.json", zstd::bulk::compress(NEW, 1).unwrap(), Active::Pickle),
        ("bzip2", "a.json", b"BZh91AY&SY000000".to_vec(), Active::Unread),
        ("a bomb", "a.json", gzip(&vec![0; 65 << 20]), Active::Unread),
        ("a pickle in a tar", "a.json", tar("data.pkl", NEW), Active::Pickle),
        ("a module in a tar", "a.json", tar("code.py", b"x = 1"), Active::Python),
        ("objects", "a.json", objects.clone(), Active::Pickle),
        ("objects in an npz", "a.json", zip(&[("x.npy", &objects)], b"", 0), Active::Pickle),
        ("an ELF", "tokenizer.model", b"\x7fELF\x02".to_vec(), Active::Native),
        ("a DLL", "tokenizer.model", pe, Active::Native),
        ("a Mach-O", "tokenizer.model", b"\xcf\xfa\xed\xfe\x07".to_vec(), Active::Native),
        ("a module", "modeling_x.py", b"import os".to_vec(), Active::Python),
        ("a script", "merges.txt", b"#!/bin/sh\nid\n".to_vec(), Active::Script),
        ("a script by its name", "install.bat", b"dir".to_vec(), Active::Script),
        ("code named behind what strict readers refuse", "config.json", late, Active::ConfigCode),
        ("a target", "a.yaml", b"model:\n  _target_: os.system\n".to_vec(), Active::ConfigCode),
        ("a YAML object", "a.yaml", b"x: !!python/object/apply:os.system ['id']\n".to_vec(), Active::ConfigCode),
        ("a Lambda layer", "config.json", lambda.to_vec(), Active::KerasCode),
        ("a layer of another module", "config.json", module.to_vec(), Active::KerasCode),
        ("an ONNX operator of another's", "m.json", onnx("example.ops", "Run"), Active::CustomOp),
        ("ONNX Runtime's Python", "m.onnx", onnx("com.microsoft", "PythonOp"), Active::CustomOp),
        ("TensorFlow's Python", "saved_model.pb", saved_model("PyFunc"), Active::CustomOp),
        ("a TensorFlow operator of another's", "saved_model.pb", saved_model("Example>Run"), Active::CustomOp),
        ("a file that is written", "m.json", saved_model("WriteFile"), Active::CustomOp),
    ]
}

#[test]
fn what_the_manifest_does_not_state_is_found() {
    for (what, name, bytes, kind) in hidden() {
        let mut forge = Forge::honest();
        forge.add(name, &bytes);
        assert_eq!(forge.code(what), Err(Code::UndeclaredContent), "{what}");
        // what is allowed and not stated is a lie all the same
        forge.allowed = Active::ALL;
        assert_eq!(forge.code(what), Err(Code::UndeclaredContent), "{what}, allowed");
        // stated and allowed it opens: it was found to be this, and nothing else
        let (word, index) = (kind.name(), Active::ALL.iter().position(|k| *k == kind).unwrap());
        forge.on_manifest = STATES[index];
        assert_eq!(STATED[index], word);
        assert_eq!(forge.code(what), Ok(()), "{what} is {word}");
        forge.allowed = &[];
        assert_eq!(forge.code(what), Err(Code::ActiveContent), "{what}, stated");
    }
}

const STATED: [&str; 8] = ["config-code", "custom-op", "keras-code", "native", "pickle", "python", "script", "unread"];
const STATES: [fn(&mut serde_json::Value); 8] = [
    |m| m["active"] = json!([STATED[0]]),
    |m| m["active"] = json!([STATED[1]]),
    |m| m["active"] = json!([STATED[2]]),
    |m| m["active"] = json!([STATED[3]]),
    |m| m["active"] = json!([STATED[4]]),
    |m| m["active"] = json!([STATED[5]]),
    |m| m["active"] = json!([STATED[6]]),
    |m| m["active"] = json!([STATED[7]]),
];

#[test]
fn what_is_plain_data_is_silent() {
    let numbers: Vec<u8> = (0..4096u32).flat_map(|i| ((i as f32) * 0.37).sin().to_le_bytes()).collect();
    let head = br#"{"w":{"dtype":"F32","shape":[4096],"data_offsets":[0,16384]}}"#;
    let safetensors = [&(head.len() as u64).to_le_bytes()[..], head, &numbers].concat();
    let words = "the\ncat\ndog\nelephant\nRun\nimport os\n".repeat(50);
    for (name, bytes) in [
        ("model.safetensors", safetensors),
        ("model.gguf", [b"GGUF\x03\0\0\0", &numbers[..]].concat()),
        ("config.json", br#"{"model_type": "llama", "auto_map": null, "module": "x", "type": "BPE"}"#.to_vec()),
        ("adapter_config.json", br#"{"auto_mapping": null, "custom_pipelines": {}, "r": 8}"#.to_vec()),
        (
            "modules.json",
            br#"[{"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"}]"#.to_vec(),
        ),
        ("keras.json", br#"{"module": "keras.layers", "class_name": "Dense", "config": {}}"#.to_vec()),
        ("vocab.txt", words.as_bytes()[4..].to_vec()),
        ("merges.txt", b"#version: 0.2\nI n\n. .\n".to_vec()),
        ("chat_template.jinja", b"{% for m in messages %}{{ m.content }}{% endfor %}".to_vec()),
        ("weights.params", numbers.clone()),
        ("plain.pkl", b"\x80\x04}\x94\x8c\x01a\x94K\x01s.".to_vec()),
        ("numbers.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4096,), }", &numbers)),
        ("numbers.npz", zip(&[("w.npy", &npy("{'descr': '<f4', 'shape': (4096,), }", &numbers))], b"", 0)),
        ("samples.gz", gzip(words.as_bytes())),
        ("model.onnx", onnx("", "MatMul")),
        ("quantised.onnx", onnx("com.microsoft", "MatMulNBits")),
        ("saved_model.pb", saved_model("StatefulPartitionedCall")),
    ] {
        let mut forge = Forge::honest();
        forge.inner.retain(|(n, _)| n != name);
        forge.add(name, &bytes);
        assert_eq!(forge.code(name), Ok(()), "{name}");
    }
}

#[test]
fn what_the_manifest_says_of_it_has_one_form() {
    super::expect(&[
        ("no kind", Code::BadBundle, |f| f.on_manifest = |m| m["active"] = json!([])),
        ("an unknown kind", Code::BadBundle, |f| f.on_manifest = |m| m["active"] = json!(["fireworks"])),
        ("a kind twice", Code::BadBundle, |f| f.on_manifest = |m| m["active"] = json!(["pickle", "pickle"])),
        ("out of order", Code::BadBundle, |f| f.on_manifest = |m| m["active"] = json!(["pickle", "native"])),
        ("nothing", Code::BadBundle, |f| f.on_manifest = |m| m["active"] = json!(null)),
        ("stated, and not there", Code::ActiveContent, |f| f.on_manifest = |m| m["active"] = json!(["pickle"])),
    ]);
}

//! A SentencePiece model against the sentencepiece package (`tests/golden/sentencepiece`).

use sealwright::base::{Base, tokenizer::Tokenizer};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sentencepiece")
}

/// A base with that model, of this `model_type`.
fn base(model_type: &str) -> (tempfile::TempDir, Base) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(golden().join("tokenizer.model"), dir.path().join("tokenizer.model")).unwrap();
    std::fs::write(dir.path().join("config.json"), format!(r#"{{"model_type":"{model_type}","eos_token_id":2}}"#))
        .unwrap();
    let base = Base::open(dir.path()).unwrap();
    (dir, base)
}

fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(golden().join("expected.json")).unwrap()).unwrap()
}

#[test]
fn a_sentencepiece_model_gives_the_ids_of_its_package() {
    let (_dir, base) = base("llama");
    let tokenizer = Tokenizer::open(&base).unwrap();
    let expected = expected();
    assert_eq!(tokenizer.len() as u64, expected["pieces"].as_u64().unwrap());
    for case in expected["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        assert_eq!(tokenizer.encode(text).unwrap(), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids).unwrap(), case["decoded"].as_str().unwrap(), "{text:?}");
        let framed = tokenizer.encode_framed(text).unwrap();
        assert_eq!((framed[0], &framed[1..]), (1, &ids[..]), "a text begins with <s>");
    }
    assert_eq!(tokenizer.end_tokens(), [2]);
}

#[test]
fn a_familys_own_tokens_follow_those_of_the_model() {
    let (_dir, base) = base("chatglm");
    let tokenizer = Tokenizer::open(&base).unwrap();
    let pieces = expected()["pieces"].as_u64().unwrap() as u32;
    let tokens = ["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop", "<|system|>", "<|user|>"];
    let ids: Vec<u32> = tokens.iter().map(|t| tokenizer.token_id(t).unwrap()).collect();
    assert_eq!(ids, (pieces..pieces + 7).collect::<Vec<_>>());
    assert_eq!(tokenizer.encode_framed("x").unwrap()[..2], [pieces + 1, pieces + 3]);
    assert_eq!(tokenizer.encode("<|user|>").unwrap(), [pieces + 6]);
}

#[test]
fn what_is_no_model_is_refused() {
    let (dir, base) = base("llama");
    let whole = std::fs::read(golden().join("tokenizer.model")).unwrap();
    for bytes in [&whole[..whole.len() - 3], &[0xff; 40], b""] {
        std::fs::write(dir.path().join("tokenizer.model"), bytes).unwrap();
        let error = Tokenizer::open(&base).err().unwrap();
        assert!(error.to_string().contains("not a SentencePiece model"), "{error}");
    }
    std::fs::remove_file(dir.path().join("tokenizer.model")).unwrap();
    let error = Tokenizer::open(&base).err().unwrap();
    assert!(error.hint().unwrap().contains("save_pretrained"), "{error}");
}

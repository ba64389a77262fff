//! A GGUF's tokenizer as what a `tokenizer.json` would say: SentencePiece's pieces with their scores, or merges over
//! bytes, whose way of cutting a text into words the file only names (`tokenizer.ggml.pre`).

use super::Gguf;
use crate::base::sentencepiece::{Frame, Model, Piece, added_token};
use crate::error::{Code, Error, Result};
use serde_json::{Map, Value, json};

/// Types of tokens, as SentencePiece numbers them.
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;
const UNUSED: u64 = 5;
const BYTE: u64 = 6;

/// How a text is cut into words before bytes are merged.
struct Words {
    /// What `tokenizer.ggml.pre` calls it.
    names: &'static [&'static str],
    /// What is a word; `None` is GPT-2's own.
    pattern: Option<&'static str>,
    /// Each digit is a word.
    digits: bool,
    /// The text becomes NFC first.
    nfc: bool,
    /// A word that is a token is one, whatever the merges say.
    whole_words: bool,
    /// A text begins with the bos token unless the file says no.
    bos: bool,
}

const PLAIN: Words = Words { names: &[], pattern: None, digits: false, nfc: false, whole_words: false, bos: false };

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The ways that are read, as the models' own `tokenizer.json` have them.
const WORDS: [Words; 7] = [
    Words { names: &["gpt-2", "phi-2"], ..PLAIN },
    Words { names: &["smollm", "starcoder", "refact"], digits: true, ..PLAIN },
    Words { names: &["llama-bpe", "llama3", "llama-v3"], pattern: Some(LLAMA3), whole_words: true, bos: true, ..PLAIN },
    Words { names: &["dbrx", "smaug-bpe"], pattern: Some(LLAMA3), ..PLAIN },
    Words { names: &["qwen2", "deepseek-r1-qwen"], pattern: Some(QWEN2), nfc: true, ..PLAIN },
    Words { names: &["tekken"], pattern: Some(TEKKEN), whole_words: true, bos: true, ..PLAIN },
    Words { names: &["gpt-4o"], pattern: Some(GPT4O), ..PLAIN },
];

/// The bytes of a `tokenizer.json`.
pub fn to_json(gguf: &Gguf) -> Result<Vec<u8>> {
    let json = match gguf.text("tokenizer.ggml.model") {
        Some("llama") => pieces(gguf)?,
        Some("gpt2") => merges(gguf)?,
        Some(other) => return Err(unread(gguf, "tokenizer.ggml.model", other)),
        None => return Err(unread(gguf, "tokenizer.ggml.model", "missing")),
    };
    serde_json::to_vec(&json).map_err(|e| Error::input(&gguf.path, e))
}

/// A special token by its role: `bos_token`, `eos_token`.
pub fn special(gguf: &Gguf, role: &str) -> Result<Option<String>> {
    let Some(id) = gguf.count(&format!("tokenizer.ggml.{role}_id")) else { return Ok(None) };
    Ok(gguf.texts("tokenizer.ggml.tokens")?.unwrap_or_default().into_iter().nth(id as usize))
}

fn unread(gguf: &Gguf, key: &str, value: &str) -> Error {
    let message = format!("{}: `{key}`: a tokenizer that is not read: {value}", gguf.path.display());
    Error::new(Code::UnsupportedBase, message)
        .with_hint("put the model's own tokenizer.json and tokenizer_config.json beside the file")
}

/// The tokens and their types.
fn tokens(gguf: &Gguf) -> Result<(Vec<String>, Vec<u64>)> {
    let tokens = gguf.texts("tokenizer.ggml.tokens")?.filter(|tokens| !tokens.is_empty());
    let tokens = tokens.ok_or_else(|| unread(gguf, "tokenizer.ggml.tokens", "missing"))?;
    let types = gguf.numbers("tokenizer.ggml.token_type")?.unwrap_or_else(|| vec![1.0; tokens.len()]);
    if types.len() != tokens.len() {
        return Err(Error::input(&gguf.path, format!("{} tokens have {} types", tokens.len(), types.len())));
    }
    Ok((tokens, types.into_iter().map(|kind| kind as u64).collect()))
}

/// What the file puts around a text that no template frames.
fn frame(gguf: &Gguf, bos: bool) -> Result<Frame> {
    let adds = |role: &str, default: bool| gguf.flag(&format!("tokenizer.ggml.add_{role}_token")).unwrap_or(default);
    let token = |role: &str, wanted: bool| match wanted {
        true => Ok::<_, Error>(special(gguf, &format!("{role}_token"))?.into_iter().collect()),
        false => Ok(Vec::new()),
    };
    Ok(Frame { before: token("bos", adds("bos", bos))?, after: token("eos", adds("eos", false))? })
}

fn pieces(gguf: &Gguf) -> Result<Value> {
    let (tokens, types) = tokens(gguf)?;
    let scores = gguf.numbers("tokenizer.ggml.scores")?.filter(|scores| scores.len() == tokens.len());
    let scores = scores.ok_or_else(|| unread(gguf, "tokenizer.ggml.scores", "not one for each token"))?;
    let byte_fallback = types.contains(&BYTE);
    let pieces = tokens.into_iter().zip(scores).zip(types);
    let model = Model {
        pieces: pieces.map(|((text, score), kind)| Piece { text, score: score as f32, kind }).collect(),
        byte_fallback,
        charsmap: Vec::new(),
        dummy_prefix: gguf.flag("tokenizer.ggml.add_space_prefix").unwrap_or(true),
        one_space: gguf.flag("tokenizer.ggml.remove_extra_whitespaces").unwrap_or(false),
    };
    Ok(model.to_json(&[], &frame(gguf, true)?))
}

fn merges(gguf: &Gguf) -> Result<Value> {
    const KEY: &str = "tokenizer.ggml.pre";
    let name = gguf.text(KEY).unwrap_or("default");
    let words = WORDS.iter().find(|w| w.names.contains(&name)).ok_or_else(|| unread(gguf, KEY, name))?;
    let (tokens, types) = tokens(gguf)?;
    let merges = gguf.texts("tokenizer.ggml.merges")?;
    let merges = merges.ok_or_else(|| unread(gguf, "tokenizer.ggml.merges", "missing"))?;
    let of_kinds = tokens.iter().zip(types).enumerate();
    let added: Vec<Value> = of_kinds
        .clone()
        .filter(|(_, (_, kind))| matches!(*kind, CONTROL | USER_DEFINED))
        .map(|(id, (text, kind))| added_token(id, text, kind == CONTROL))
        .collect();
    // names of ids that only pad the matrix are no words
    let vocab: Map<String, Value> =
        of_kinds.filter(|(_, (_, kind))| *kind != UNUSED).map(|(id, (text, _))| (text.clone(), id.into())).collect();
    Ok(json!({
        "version": "1.0",
        "post_processor": frame(gguf, words.bos)?.to_json(&added),
        "added_tokens": added,
        "normalizer": words.nfc.then(|| json!({"type": "NFC"})),
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": words.pretokenizers()},
        "decoder": bytes(true),
        "model": {"type": "BPE", "ignore_merges": words.whole_words, "vocab": vocab, "merges": merges},
    }))
}

/// Bytes as letters; `words` also cuts as GPT-2 does.
fn bytes(words: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": words})
}

impl Words {
    fn pretokenizers(&self) -> Vec<Value> {
        let split = self.pattern.map(
            |pattern| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false}),
        );
        let digits = self.digits.then(|| json!({"type": "Digits", "individual_digits": true}));
        digits.into_iter().chain(split).chain([bytes(self.pattern.is_none())]).collect()
    }
}

//! A SentencePiece model (`tokenizer.model`, Kudo and Richardson 2018) as what a `tokenizer.json` would say.
//!
//! Read is what language models use it for: byte-pair encoding. The file is a protocol buffer: `sentencepiece_model.proto`
//! has the numbers of the fields.

use super::family::Spoken;
use crate::error::{Code, Error, Result};
use base64::Engine as _;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::Path;

/// What stands for a space.
const SPACE: &str = "\u{2581}";

/// A piece's `type`; that of control tokens lies between.
const UNKNOWN: u64 = 2;
const USER_DEFINED: u64 = 4;
/// `trainer_spec.model_type`
const BPE: u64 = 2;

struct Piece {
    text: String,
    score: f32,
    kind: u64,
}

/// What is read of a model.
struct Model {
    pieces: Vec<Piece>,
    model_type: u64,
    byte_fallback: bool,
    charsmap: Vec<u8>,
    dummy_prefix: bool,
    one_space: bool,
}

/// The bytes of a `tokenizer.json`: the model's pieces, then the family's own tokens, which take the ids after them.
///
/// `bos` begins a text where the family does not say what does.
pub(super) fn to_json(path: &Path, bytes: &[u8], own: &Spoken, bos: Option<&str>) -> Result<Vec<u8>> {
    let wrong = |what: &str| Error::input(path, format!("not a SentencePiece model: {what}"));
    let model = Model::read(bytes).ok_or_else(|| wrong("its fields cannot be read"))?;
    if model.pieces.is_empty() {
        return Err(wrong("no pieces"));
    }
    if model.model_type != BPE {
        return Err(Error::new(Code::UnsupportedBase, format!("{}: no byte-pair encoding", path.display())).with_hint(
            "convert it: pip install transformers sentencepiece protobuf && python -c \"from transformers import \
             AutoTokenizer as T; T.from_pretrained('DIR').save_pretrained('DIR')\"",
        ));
    }
    let ids: HashMap<&str, usize> = model.pieces.iter().enumerate().map(|(id, p)| (p.text.as_str(), id)).collect();
    let added = model.added_tokens(own);
    let id_of = |token: &str| added.iter().find(|t| t["content"] == token).and_then(|t| t["id"].as_u64());
    let begins: Vec<&str> = match own.prefix.is_empty() {
        true => bos.into_iter().collect(),
        false => own.prefix.iter().map(String::as_str).collect(),
    };
    let begins: Vec<(&str, u64)> = begins.into_iter().filter_map(|t| Some((t, id_of(t)?))).collect();
    let vocab: Map<String, Value> = ids.iter().map(|(text, id)| ((*text).to_owned(), json!(id))).collect();
    let unknown = model.pieces.iter().find(|p| p.kind == UNKNOWN).map(|p| &p.text);
    let json = json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": model.normalizers()},
        "post_processor": frame(&begins),
        "decoder": {"type": "Sequence", "decoders": model.decoders()},
        "model": {"type": "BPE", "unk_token": unknown, "fuse_unk": true, "byte_fallback": model.byte_fallback,
            "vocab": vocab, "merges": model.merges(&ids)},
    });
    serde_json::to_vec(&json).map_err(|e| Error::input(path, e))
}

impl Model {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut model = Self {
            pieces: Vec::new(),
            model_type: 1,
            byte_fallback: false,
            charsmap: Vec::new(),
            dummy_prefix: true,
            one_space: true,
        };
        for (field, value) in fields(bytes)? {
            match (field, value) {
                (1, Field::Bytes(piece)) => model.pieces.push(Piece::read(piece)?),
                (2, Field::Bytes(trainer)) => {
                    for (field, value) in fields(trainer)? {
                        match (field, value) {
                            (3, Field::Number(kind)) => model.model_type = kind,
                            (35, Field::Number(on)) => model.byte_fallback = on != 0,
                            _ => {}
                        }
                    }
                }
                (3, Field::Bytes(normalizer)) => {
                    for (field, value) in fields(normalizer)? {
                        match (field, value) {
                            (2, Field::Bytes(map)) => model.charsmap = map.to_vec(),
                            (3, Field::Number(on)) => model.dummy_prefix = on != 0,
                            (4, Field::Number(on)) => model.one_space = on != 0,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Some(model)
    }

    /// Tokens that are found in a text as they are written.
    fn added_tokens(&self, own: &Spoken) -> Vec<Value> {
        let token = |id: usize, content: &str, special: bool| {
            json!({"id": id, "content": content, "special": special, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false})
        };
        let of_pieces = self.pieces.iter().enumerate().filter(|(_, p)| (UNKNOWN..=USER_DEFINED).contains(&p.kind));
        let of_pieces = of_pieces.map(|(id, p)| token(id, &p.text, p.kind != USER_DEFINED));
        let own = own.special.iter().enumerate().map(|(n, text)| token(self.pieces.len() + n, text, true));
        of_pieces.chain(own).collect()
    }

    /// Two pieces that make one, the best first: the piece of the higher score.
    fn merges<'a>(&'a self, ids: &HashMap<&str, usize>) -> Vec<[&'a str; 2]> {
        let mut merges = Vec::new();
        for piece in &self.pieces {
            let splits = piece.text.char_indices().skip(1).map(|(at, _)| piece.text.split_at(at));
            let known = splits.filter_map(|(l, r)| Some((*ids.get(l)?, *ids.get(r)?, l, r)));
            merges.extend(known.map(|(left, right, l, r)| (piece.score, left, right, [l, r])));
        }
        merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        merges.into_iter().map(|(.., pair)| pair).collect()
    }

    fn normalizers(&self) -> Vec<Value> {
        let map = base64::engine::general_purpose::STANDARD.encode(&self.charsmap);
        let spaces = json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "});
        [
            (!self.charsmap.is_empty(), json!({"type": "Precompiled", "precompiled_charsmap": map})),
            (self.one_space, json!({"type": "Strip", "strip_left": true, "strip_right": true})),
            (self.one_space, spaces),
            (self.dummy_prefix, json!({"type": "Prepend", "prepend": SPACE})),
            (true, json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE})),
        ]
        .into_iter()
        .filter_map(|(wanted, normalizer)| wanted.then_some(normalizer))
        .collect()
    }

    fn decoders(&self) -> Vec<Value> {
        let start = usize::from(self.dummy_prefix);
        vec![
            json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
            json!({"type": "Strip", "content": " ", "start": start, "stop": 0}),
        ]
    }
}

/// What begins a text that no template frames.
fn frame(begins: &[(&str, u64)]) -> Value {
    let special = |t: &str| json!({"SpecialToken": {"id": t, "type_id": 0}});
    let sequence = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let before = || begins.iter().map(|(t, _)| special(t));
    let tokens: Map<String, Value> =
        begins.iter().map(|(t, id)| ((*t).to_owned(), json!({"id": t, "ids": [id], "tokens": [t]}))).collect();
    json!({"type": "TemplateProcessing", "single": before().chain([sequence("A")]).collect::<Vec<_>>(),
        "pair": before().chain([sequence("A"), sequence("B")]).collect::<Vec<_>>(), "special_tokens": tokens})
}

impl Piece {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut piece = Self { text: String::new(), score: 0.0, kind: 1 };
        for (field, value) in fields(bytes)? {
            match (field, value) {
                (1, Field::Bytes(text)) => piece.text = std::str::from_utf8(text).ok()?.to_owned(),
                (2, Field::Float(score)) => piece.score = score,
                (3, Field::Number(kind)) => piece.kind = kind,
                _ => {}
            }
        }
        Some(piece)
    }
}

/// A field of a protocol buffer's message.
enum Field<'a> {
    Number(u64),
    Float(f32),
    Bytes(&'a [u8]),
    Other,
}

/// The fields of a message by their numbers; `None` where the bytes are none.
fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = number(&mut bytes)?;
        let value = match key & 7 {
            0 => Field::Number(number(&mut bytes)?),
            1 => bytes.split_off(..8).map(|_| Field::Other)?,
            2 => {
                let length = usize::try_from(number(&mut bytes)?).ok()?;
                Field::Bytes(bytes.split_off(..length)?)
            }
            5 => Field::Float(f32::from_le_bytes(bytes.split_off(..4)?.try_into().ok()?)),
            _ => return None,
        };
        fields.push((key >> 3, value));
    }
    Some(fields)
}

/// A number in base 128, the low digits first.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for digit in 0..10 {
        let byte = *bytes.split_off_first()?;
        number |= u64::from(byte & 0x7f) << (7 * digit);
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

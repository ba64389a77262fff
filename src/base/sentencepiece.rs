//! A SentencePiece model (`tokenizer.model`, Kudo and Richardson 2018) as what a `tokenizer.json` would say.
//!
//! Read is what language models use it for: byte-pair encoding. The file is a protocol buffer: `sentencepiece_model.proto`
//! has the numbers of the fields. A GGUF has the same pieces in its metadata.

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

/// A piece of text that is one token.
pub(super) struct Piece {
    pub text: String,
    /// The piece of the higher score is made first.
    pub score: f32,
    /// Normal, unknown, control, user-defined, unused or byte: 1 to 6.
    pub kind: u64,
}

/// What is read of a model.
pub(super) struct Model {
    /// In the order of their ids.
    pub pieces: Vec<Piece>,
    pub byte_fallback: bool,
    /// The normaliser's own table; empty where there is none.
    pub charsmap: Vec<u8>,
    /// A space before every text.
    pub dummy_prefix: bool,
    /// Spaces are one at a time, and none at the ends.
    pub one_space: bool,
}

/// Tokens that stand around a text that no template frames.
#[derive(Default)]
pub(super) struct Frame {
    pub before: Vec<String>,
    pub after: Vec<String>,
}

/// The bytes of a `tokenizer.json`: the model's pieces, then the family's own tokens, which take the ids after them.
///
/// `bos` begins a text where the family does not say what does.
pub(super) fn to_json(path: &Path, bytes: &[u8], own: &Spoken, bos: Option<&str>) -> Result<Vec<u8>> {
    let wrong = |what: &str| Error::input(path, format!("not a SentencePiece model: {what}"));
    let (model, model_type) = Model::read(bytes).ok_or_else(|| wrong("its fields cannot be read"))?;
    if model.pieces.is_empty() {
        return Err(wrong("no pieces"));
    }
    if model_type != BPE {
        return Err(Error::new(Code::UnsupportedBase, format!("{}: no byte-pair encoding", path.display())).with_hint(
            "convert it: pip install transformers sentencepiece protobuf && python -c \"from transformers import \
             AutoTokenizer as T; T.from_pretrained('DIR').save_pretrained('DIR')\"",
        ));
    }
    let before = match own.prefix.is_empty() {
        true => bos.into_iter().map(String::from).collect(),
        false => own.prefix.clone(),
    };
    let json = model.to_json(&own.special, &Frame { before, after: Vec::new() });
    serde_json::to_vec(&json).map_err(|e| Error::input(path, e))
}

impl Model {
    /// What a `tokenizer.json` would say; `special` tokens take the ids after the pieces.
    pub fn to_json(&self, special: &[String], frame: &Frame) -> Value {
        let ids: HashMap<&str, usize> = self.pieces.iter().enumerate().map(|(id, p)| (p.text.as_str(), id)).collect();
        let added = self.added_tokens(special);
        let vocab: Map<String, Value> = ids.iter().map(|(text, id)| ((*text).to_owned(), json!(id))).collect();
        let unknown = self.pieces.iter().find(|p| p.kind == UNKNOWN).map(|p| &p.text);
        json!({
            "version": "1.0",
            "post_processor": frame.to_json(&added),
            "added_tokens": added,
            "normalizer": {"type": "Sequence", "normalizers": self.normalizers()},
            "decoder": {"type": "Sequence", "decoders": self.decoders()},
            "model": {"type": "BPE", "unk_token": unknown, "fuse_unk": true, "byte_fallback": self.byte_fallback,
                "vocab": vocab, "merges": self.merges(&ids)},
        })
    }

    /// The model of a file, and what kind of one it is.
    fn read(bytes: &[u8]) -> Option<(Self, u64)> {
        let mut model_type = 1;
        let mut model = Self {
            pieces: Vec::new(),
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
                            (3, Field::Number(kind)) => model_type = kind,
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
        Some((model, model_type))
    }

    fn added_tokens(&self, special: &[String]) -> Vec<Value> {
        let of_pieces = self.pieces.iter().enumerate().filter(|(_, p)| (UNKNOWN..=USER_DEFINED).contains(&p.kind));
        let of_pieces = of_pieces.map(|(id, p)| added_token(id, &p.text, p.kind != USER_DEFINED));
        let own = special.iter().enumerate().map(|(n, text)| added_token(self.pieces.len() + n, text, true));
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

/// A token that is found in a text as it is written.
pub(super) fn added_token(id: usize, content: &str, special: bool) -> Value {
    json!({"id": id, "content": content, "special": special, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false})
}

impl Frame {
    /// As a `post_processor`; what is no added token is left out.
    pub fn to_json(&self, added: &[Value]) -> Value {
        let id_of = |token: &str| added.iter().find(|t| t["content"] == token).and_then(|t| t["id"].as_u64());
        let sequence = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
        let known = |tokens: &'_ [String]| -> Vec<Value> {
            let known = tokens.iter().filter(|t| id_of(t).is_some());
            known.map(|t| json!({"SpecialToken": {"id": t, "type_id": 0}})).collect()
        };
        let around = |inner: Vec<Value>| [known(&self.before), inner, known(&self.after)].concat();
        let tokens: Map<String, Value> = self
            .before
            .iter()
            .chain(&self.after)
            .filter_map(|t| Some((t.clone(), json!({"id": t, "ids": [id_of(t)?], "tokens": [t]}))))
            .collect();
        json!({"type": "TemplateProcessing", "single": around(vec![sequence("A")]),
            "pair": around(vec![sequence("A"), sequence("B")]), "special_tokens": tokens})
    }
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

//! The base's own tokenizer: `tokenizer.json`, or else a SentencePiece model (`tokenizer.model`), or else a GGUF's.

use super::family::Family;
use super::fingerprint::{MAX_TOKENIZER_BYTES, tokenizer_file};
use super::gguf::tokens;
use super::{Base, sentencepiece};
use crate::data;
use crate::error::{Error, Result};
use std::path::PathBuf;

/// Text to token ids and back.
pub struct Tokenizer {
    path: PathBuf,
    inner: tokenizers::Tokenizer,
    end_tokens: Vec<u32>,
}

impl Tokenizer {
    /// Reads it, and from the configs which tokens end a turn.
    pub fn open(base: &Base) -> Result<Self> {
        let (path, bytes) = Self::read(base)?;
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| Error::input(&path, e))?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| Error::input(&path, e))?;
        let mut tokenizer = Self { path, inner, end_tokens: base.config.end_tokens() };
        let named = special_token(base, "eos_token")?.and_then(|t| tokenizer.token_id(&t));
        tokenizer.end_tokens.extend(named.filter(|id| !tokenizer.end_tokens.contains(id)));
        Ok(tokenizer)
    }

    /// The file, and a `tokenizer.json` of it.
    fn read(base: &Base) -> Result<(PathBuf, Vec<u8>)> {
        let path = tokenizer_file(&base.folder);
        if let Some(gguf) = base.own_gguf().filter(|_| !path.is_file()) {
            return Ok((gguf.path.clone(), tokens::to_json(gguf)?));
        }
        if !path.is_file() {
            return Err(Error::input(&base.folder, "neither tokenizer.json nor tokenizer.model in this folder")
                .with_hint(
                    "take the tokenizer's files from where the weights are from; one of another kind is converted by: \
                 pip install transformers && python -c \"from transformers import AutoTokenizer as T; \
                 T.from_pretrained('DIR').save_pretrained('DIR')\"",
                ));
        }
        let bytes = data::read_bytes(&path, MAX_TOKENIZER_BYTES)?;
        if path.extension().is_some_and(|end| end == "json") {
            return Ok((path, bytes));
        }
        let own = Family::of(&base.config).map(|family| family.tokenizer).unwrap_or_default();
        let bos = special_token(base, "bos_token")?;
        let json = sentencepiece::to_json(&path, &bytes, &own, Some(bos.as_deref().unwrap_or("<s>")))?;
        Ok((path, json))
    }

    /// Token ids; special tokens written in the text are recognised, none is added.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|e| Error::input(&self.path, e))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Token ids of a text that no template frames: the tokenizer itself adds what it begins and ends a text with.
    pub fn encode_framed(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, true).map_err(|e| Error::input(&self.path, e))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Text without special tokens.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, true).map_err(|e| Error::input(&self.path, e))
    }

    /// The id of a token.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The tokens that end a turn, as the base's files name them.
    pub fn end_tokens(&self) -> &[u32] {
        &self.end_tokens
    }

    /// How many tokens there are, added ones included.
    pub fn len(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Never: a tokenizer without tokens is not opened.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A special token by its role (`bos_token`, `eos_token`) in `tokenizer_config.json`, or else in a GGUF.
pub(super) fn special_token(base: &Base, role: &str) -> Result<Option<String>> {
    let path = base.folder.join("tokenizer_config.json");
    if !path.is_file() {
        return base.own_gguf().map_or(Ok(None), |gguf| tokens::special(gguf, role));
    }
    let bytes = data::read_bytes(&path, 16 << 20)?;
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| Error::input(&path, e))?;
    let token = value.get(role).map(|t| t.get("content").unwrap_or(t));
    Ok(token.and_then(|t| t.as_str()).map(String::from))
}

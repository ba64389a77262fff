//! From samples to tokens: the base's own chat template renders, and a mask says which tokens bear loss.
//!
//! The mask is found by rendering prefixes of the dialogue and comparing, which works with every template that adds
//! turns at the end; one that doesn't is refused, as is one whose answers end with no token that ends generation:
//! a model trained on those would never stop.

use super::data::{Content, Place, Sample};
use crate::base::Base;
use crate::base::chat::{ChatTemplate, Message};
use crate::base::tokenizer::Tokenizer;
use crate::error::{Code, Error, Result};

/// A sample as token ids. It ends with its last token that bears loss: what follows could teach nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Where it comes from.
    pub place: Place,
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Whether a token is to be predicted from those before it; as long as `tokens`, false for the first.
    pub loss: Vec<bool>,
    /// Whether it may be cut in pieces rather than at its end: running text.
    pub running: bool,
}

/// Renders and tokenises as the base was taught to read.
pub struct Renderer {
    /// The base's.
    pub tokenizer: Tokenizer,
    chat: Option<ChatTemplate>,
}

impl Renderer {
    /// Opens a base's tokenizer and, for dialogues, its chat template.
    pub fn open(base: &Base, dialogues: bool) -> Result<Self> {
        let tokenizer = Tokenizer::open(base)?;
        let chat = dialogues.then(|| ChatTemplate::open(base)).transpose()?;
        if tokenizer.end_tokens().is_empty() {
            return Err(Error::input(&base.folder, "neither config names a token that ends a text")
                .with_hint("set `eos_token_id` in config.json or generation_config.json"));
        }
        Ok(Self { tokenizer, chat })
    }

    /// The tokens after which the base is to answer. Training sees the very same ones before an answer.
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let text = self.chat()?.render(messages, true)?;
        self.tokenizer.encode(&text)
    }

    /// A sample as tokens with its loss mask.
    pub fn document(&self, sample: &Sample) -> Result<Document> {
        let place = &sample.place;
        let (tokens, loss) = match &sample.content {
            Content::Messages(messages) => self.dialogue(place, messages)?,
            Content::PromptCompletion(prompt, completion) => {
                let prompt_tokens = self.open_ended(prompt)?;
                let tokens = self.closed(&format!("{prompt}{completion}"))?;
                let from = common_prefix(&prompt_tokens, &tokens);
                let loss = (0..tokens.len()).map(|i| i >= from.max(1)).collect();
                (tokens, loss)
            }
            Content::Text(text) => {
                let tokens = self.closed(text)?;
                let loss = (0..tokens.len()).map(|i| i > 0).collect();
                (tokens, loss)
            }
        };
        let running = matches!(sample.content, Content::Text(_));
        Ok(Document { place: place.clone(), tokens, loss, running }.without_idle_end())
    }

    fn chat(&self) -> Result<&ChatTemplate> {
        self.chat.as_ref().ok_or_else(|| Error::new(Code::Usage, "the renderer was opened without a chat template"))
    }

    fn is_end(&self, token: u32) -> bool {
        self.tokenizer.end_tokens().contains(&token)
    }

    /// A text with what the tokenizer begins it with, but not what it may end it with.
    fn open_ended(&self, text: &str) -> Result<Vec<u32>> {
        let mut tokens = self.tokenizer.encode_framed(text)?;
        if tokens.len() > 1 && tokens.last().is_some_and(|t| self.is_end(*t)) {
            tokens.pop();
        }
        Ok(tokens)
    }

    /// A text with its end token, once.
    fn closed(&self, text: &str) -> Result<Vec<u32>> {
        let mut tokens = self.open_ended(text)?;
        tokens.extend(self.tokenizer.end_tokens().first());
        Ok(tokens)
    }

    fn dialogue(&self, place: &Place, messages: &[Message]) -> Result<(Vec<u32>, Vec<bool>)> {
        let chat = self.chat()?;
        let render = |messages: &[Message], prompt| chat.render(messages, prompt).map_err(|e| at(place, e));
        let whole = render(messages, false)?;
        let tokens = self.tokenizer.encode(&whole)?;
        self.refuse_doubled_start(place, &tokens)?;
        let mut loss = vec![false; tokens.len()];
        for (turn, _) in messages.iter().enumerate().filter(|(_, m)| m.role == "assistant") {
            let (before, through) = (render(&messages[..turn], true)?, render(&messages[..=turn], false)?);
            if !whole.starts_with(&through) || !through.starts_with(&before) {
                return Err(not_a_prefix(place, turn));
            }
            let begin = common_prefix(&self.tokenizer.encode(&before)?, &tokens);
            let end = common_prefix(&self.tokenizer.encode(&through)?, &tokens);
            let stop = (begin..end).rev().find(|i| self.is_end(tokens[*i])).ok_or_else(|| never_stops(place, turn))?;
            loss[begin.max(1)..=stop].fill(true);
        }
        Ok((tokens, loss))
    }

    fn refuse_doubled_start(&self, place: &Place, tokens: &[u32]) -> Result<()> {
        let bos = self.chat()?.bos_token();
        match (tokens, self.tokenizer.token_id(bos)) {
            ([first, second, ..], Some(bos)) if *first == bos && *second == bos => Err(place
                .wrong("the chat template begins with its start token twice")
                .with_hint("remove one from the base's chat template")),
            _ => Ok(()),
        }
    }
}

impl Document {
    fn without_idle_end(mut self) -> Self {
        let end = self.loss.iter().rposition(|l| *l).map_or(0, |last| last + 1);
        self.tokens.truncate(end);
        self.loss.truncate(end);
        self
    }

    /// Its tokens that bear loss.
    pub fn loss_tokens(&self) -> usize {
        self.loss.iter().filter(|l| **l).count()
    }

    /// In at most `sequence` tokens a piece: running text is cut in pieces, the first token of each being the last
    /// of the one before, so that every token is learnt once; anything else loses its end.
    pub fn fitted(self, sequence: usize) -> Vec<Self> {
        if self.tokens.len() <= sequence {
            return vec![self];
        }
        let piece = |from: usize| {
            let to = (from + sequence).min(self.tokens.len());
            let mut loss = self.loss[from..to].to_vec();
            loss[0] = false;
            Self { place: self.place.clone(), tokens: self.tokens[from..to].to_vec(), loss, running: self.running }
                .without_idle_end()
        };
        match self.running && sequence > 1 {
            true => (0..self.tokens.len() - 1).step_by(sequence - 1).map(piece).collect(),
            false => vec![piece(0)],
        }
    }
}

fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn at(place: &Place, error: Error) -> Error {
    let named = Error::new(error.code, format!("{place}: {error}"));
    match error.hint() {
        Some(hint) => named.with_hint(hint),
        None => named,
    }
}

fn not_a_prefix(place: &Place, turn: usize) -> Error {
    place
        .wrong(format!(
            "messages[{turn}]: the chat template renders the dialogue up to here differently from the whole dialogue, \
             so the answer cannot be told from the rest"
        ))
        .with_hint("make one sample of each turn, or give the base a template that only adds at the end")
}

fn never_stops(place: &Place, turn: usize) -> Error {
    place
        .wrong(format!(
            "messages[{turn}]: the chat template ends the answer with no token that ends generation, so the model \
             would never learn to stop"
        ))
        .with_hint("add the template's end mark to `eos_token_id` in the base's generation_config.json")
}

//! The model card: `README.md`, its front matter as values. YAML aliases are refused, depth and size are bounded.

use crate::data;
use crate::digest::Sha256;
use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::path::Path;
use yaml_rust2::parser::{Event, EventReceiver, Parser};
use yaml_rust2::scanner::TScalarStyle;

/// A card may not be larger than this.
pub const MAX_BYTES: u64 = 4 << 20;
/// Front matter may not be larger than this.
pub const MAX_FRONT_MATTER: usize = 256 << 10;
/// Nor nested deeper than this.
pub const MAX_DEPTH: usize = 16;

/// A model card.
#[derive(Debug, Clone)]
pub struct Card {
    /// The front matter; scalars are strings, as they were written.
    pub front: Map<String, Value>,
    /// What follows it.
    pub prose: String,
    /// The line of `README.md` that the prose begins in, from 1.
    pub prose_line: usize,
    /// Of the whole file.
    pub digest: Sha256,
}

impl Card {
    /// Reads `README.md`, if there is one.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join("README.md");
        if !path.is_file() {
            return Ok(None);
        }
        let text = data::read_text(&path, MAX_BYTES)?;
        Self::parse(&text).map(Some).map_err(|message| Error::input(&path, message))
    }

    /// A value of the front matter that is one word or a list of words.
    pub fn words(&self, key: &str) -> Vec<&str> {
        match self.front.get(key) {
            Some(Value::String(word)) => vec![word],
            Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// Splits front matter from prose. What a card says in broken YAML is an error, never nothing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let digest = Sha256::of(text);
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let Some(rest) = text.strip_prefix("---\n").or_else(|| text.strip_prefix("---\r\n")) else {
            return Ok(Self { front: Map::new(), prose: text.to_owned(), prose_line: 1, digest });
        };
        let end = front_matter_end(rest).ok_or("front matter has no closing `---`")?;
        let (front, prose) = rest.split_at(end);
        if front.len() > MAX_FRONT_MATTER {
            return Err(format!("front matter is larger than {MAX_FRONT_MATTER} bytes"));
        }
        let prose = prose.split_once('\n').map_or("", |(_, p)| p).to_owned();
        // the two lines of the fences, too
        let prose_line = front.matches('\n').count() + 3;
        let front = match yaml(front)? {
            Value::Object(front) => front,
            Value::Null => Map::new(),
            _ => return Err("front matter is not a mapping".into()),
        };
        Ok(Self { front, prose, prose_line, digest })
    }
}

fn front_matter_end(rest: &str) -> Option<usize> {
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return Some(at);
        }
        at += line.len();
    }
    None
}

/// YAML as a value, scalars as they were written.
fn yaml(text: &str) -> Result<Value, String> {
    let mut builder = Builder { stack: vec![Frame::Top(Value::Null)], error: None };
    Parser::new_from_str(text).load(&mut builder, false).map_err(|e| format!("front matter: {e}"))?;
    match (builder.error, builder.stack.pop()) {
        (Some(error), _) => Err(error),
        (None, Some(Frame::Top(value))) => Ok(value),
        _ => Err("front matter is not whole".into()),
    }
}

enum Frame {
    Top(Value),
    List(Vec<Value>),
    Map(Map<String, Value>, Option<String>),
}

struct Builder {
    stack: Vec<Frame>,
    error: Option<String>,
}

impl Builder {
    fn put(&mut self, value: Value) {
        match self.stack.last_mut() {
            Some(Frame::Top(top)) => *top = value,
            Some(Frame::List(list)) => list.push(value),
            Some(Frame::Map(map, key)) => match (key.take(), value) {
                (None, Value::String(name)) => *key = Some(name),
                (None, _) => self.error = Some("front matter: a key is not a word".into()),
                (Some(name), value) => {
                    if map.insert(name.clone(), value).is_some() {
                        self.error = Some(format!("front matter: key stands twice: {name}"));
                    }
                }
            },
            None => self.error = Some("front matter is not whole".into()),
        }
    }

    fn push(&mut self, frame: Frame) {
        if self.stack.len() > MAX_DEPTH {
            self.error = Some(format!("front matter is nested deeper than {MAX_DEPTH}"));
        }
        self.stack.push(frame);
    }
}

impl EventReceiver for Builder {
    fn on_event(&mut self, event: Event) {
        if self.error.is_some() {
            return;
        }
        match event {
            Event::Scalar(text, style, ..) => {
                let null = style == TScalarStyle::Plain && matches!(text.as_str(), "" | "~" | "null");
                let in_key = matches!(self.stack.last(), Some(Frame::Map(_, None)));
                self.put(if null && !in_key { Value::Null } else { Value::String(text) });
            }
            Event::SequenceStart(..) => self.push(Frame::List(Vec::new())),
            Event::MappingStart(..) => self.push(Frame::Map(Map::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => match self.stack.pop() {
                Some(Frame::List(list)) => self.put(Value::Array(list)),
                Some(Frame::Map(map, _)) => self.put(Value::Object(map)),
                _ => self.error = Some("front matter is not whole".into()),
            },
            Event::Alias(_) => self.error = Some("front matter: YAML aliases are not read".into()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_matter_becomes_values() {
        let card =
            Card::parse("---\nlicense: llama2\nbase_model:\n- a/b\n- c/d\nextra: {x: [1, 2]}\n---\n# Title\n").unwrap();
        assert_eq!(card.words("license"), ["llama2"]);
        assert_eq!(card.words("base_model"), ["a/b", "c/d"]);
        assert_eq!((card.prose.as_str(), card.prose_line), ("# Title\n", 8));
    }

    #[test]
    fn hostile_yaml_is_refused() {
        let deep = format!("---\na: {}{}\n---\n", "[".repeat(40), "]".repeat(40));
        for text in ["---\na: &x [1]\nb: *x\n---\n", "---\na: 1\na: 2\n---\n", "---\na: 1\n", "---\n- a\n---\n", &deep]
        {
            assert!(Card::parse(text).is_err(), "{text}");
        }
        assert!(Card::parse("no front matter").unwrap().front.is_empty());
    }
}

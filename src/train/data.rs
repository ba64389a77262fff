//! Training data as samples: JSON Lines, read as a stream with bounded lines. An error names file, line and what is
//! wrong, never the content: the data are private.

use super::plan::{Format, Source};
use crate::base::chat::Message;
use crate::digest::{Hashing, Sha256};
use crate::error::{AtPath, Code, Error, Result};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::sync::Arc;

/// A line may not be larger than this.
pub const MAX_LINE_BYTES: u64 = 16 << 20;

/// Where a sample stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// As the product file names it.
    pub file: Arc<str>,
    /// Counted from 1.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Place {
    /// An error about this place.
    pub fn wrong(&self, message: impl fmt::Display) -> Error {
        Error::new(Code::BadInput, format!("{self}: {message}"))
    }
}

/// One thing to learn from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Where it stands.
    pub place: Place,
    /// What it says.
    pub content: Content,
}

/// What a sample says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Content {
    /// A dialogue; the assistant's turns bear loss. The last turn is the assistant's.
    Messages(Vec<Message>),
    /// The completion bears loss.
    PromptCompletion(String, String),
    /// Everything bears loss.
    Text(String),
}

impl Content {
    /// By which duplicates are known.
    pub fn digest(&self) -> Sha256 {
        Sha256::of_json(self)
    }
}

/// The samples of one file, and the digest of its bytes.
pub fn read(source: &Source) -> Result<(Vec<Sample>, Sha256)> {
    let mut samples = Vec::new();
    let digest = each_line(&source.path, &source.name, |place, line| {
        let content = match source.format {
            Format::Messages => Content::Messages(messages(&place, &line)?),
            Format::PromptCompletion => {
                Content::PromptCompletion(text(&place, &line, "prompt")?, filled(&place, &line, "completion")?)
            }
            Format::Text => Content::Text(filled(&place, &line, "text")?),
        };
        samples.push(Sample { place, content });
        Ok(())
    })?;
    if samples.is_empty() {
        return Err(Error::input(&source.path, "no sample in this file"));
    }
    Ok((samples, digest))
}

/// Every line of a JSON Lines file as an object; empty lines are skipped. Returns the digest of the file's bytes.
pub(super) fn each_line(
    path: &Path,
    name: &str,
    mut take: impl FnMut(Place, Map<String, Value>) -> Result<()>,
) -> Result<Sha256> {
    let mut stream = BufReader::new(Hashing::new(File::open(path).at(path)?));
    let mut place = Place { file: name.into(), line: 0 };
    let mut line = Vec::new();
    loop {
        line.clear();
        if stream.by_ref().take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut line).at(path)? == 0 {
            return Ok(stream.into_inner().finish().1);
        }
        place.line += 1;
        if line.len() as u64 > MAX_LINE_BYTES {
            return Err(place
                .wrong(format!("a line is longer than {MAX_LINE_BYTES} bytes"))
                .with_hint("JSON Lines wants one object a line"));
        }
        let bytes = if place.line == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(object)) => take(place.clone(), object)?,
            Ok(_) => return Err(place.wrong("not a JSON object").with_hint("JSON Lines wants one object a line")),
            // serde's own message would quote the line
            Err(e) => return Err(place.wrong(format!("not valid JSON at column {}", e.column()))),
        }
    }
}

/// The `messages` of a line: known roles and plain text only; the assistant has the last word.
pub(super) fn messages(place: &Place, line: &Map<String, Value>) -> Result<Vec<Message>> {
    if let Some(key) = ["tools", "functions"].into_iter().find(|k| line.get(*k).is_some_and(|v| !v.is_null())) {
        return Err(place.wrong(format!("`{key}` is not supported")).with_hint("leave out samples that call tools"));
    }
    let Some(Value::Array(list)) = line.get("messages") else {
        return Err(missing(place, line, "messages", "a list"));
    };
    let messages = list.iter().enumerate().map(|(i, m)| message(place, i, m)).collect::<Result<Vec<_>>>()?;
    match messages.last() {
        Some(last) if last.role == "assistant" => Ok(messages),
        Some(_) => Err(place
            .wrong("the last message is not the assistant's, so nothing follows to learn from it")
            .with_hint("cut the dialogue after the assistant's last message")),
        None => Err(place.wrong("`messages` is empty")),
    }
}

fn message(place: &Place, index: usize, value: &Value) -> Result<Message> {
    let at = format!("messages[{index}]");
    let Value::Object(fields) = value else {
        return Err(place.wrong(format!("{at} is not an object")));
    };
    if let Some((key, _)) = fields.iter().find(|(k, v)| !matches!(k.as_str(), "role" | "content") && !v.is_null()) {
        return Err(place
            .wrong(format!("{at}: `{key}` is not supported; a message is a role and a content"))
            .with_hint("leave the key out, or leave out samples that need it"));
    }
    let word = |key: &str| match fields.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(place.wrong(format!("{at}: `{key}` is missing or not text"))),
    };
    let message = Message { role: word("role")?, content: word("content")? };
    if message.role == "assistant" && index == 0 {
        return Err(place.wrong("the assistant speaks first").with_hint("begin with a user's or a system message"));
    }
    if message.role == "assistant" && message.content.trim().is_empty() {
        return Err(place.wrong(format!("{at}: the assistant says nothing")));
    }
    Ok(message)
}

fn text(place: &Place, line: &Map<String, Value>, key: &str) -> Result<String> {
    match line.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(missing(place, line, key, "text")),
    }
}

fn filled(place: &Place, line: &Map<String, Value>, key: &str) -> Result<String> {
    let text = text(place, line, key)?;
    if text.trim().is_empty() { Err(place.wrong(format!("`{key}` is empty"))) } else { Ok(text) }
}

fn missing(place: &Place, line: &Map<String, Value>, key: &str, kind: &str) -> Error {
    let error = place.wrong(format!("`{key}` is missing or not {kind}"));
    let layouts = [("messages", "messages"), ("completion", "prompt-completion"), ("text", "text")];
    match layouts.into_iter().find(|(mark, _)| *mark != key && line.contains_key(*mark)) {
        Some((_, format)) => error.with_hint(format!("this line looks like format = \"{format}\"")),
        None => error,
    }
}

/// What is learnt from, and what is only watched: no sample of one is in the other, nor a duplicate of one.
#[derive(Debug, Default)]
pub struct Split {
    /// Learnt from; duplicates stay, as often as they stand.
    pub learnt: Vec<Sample>,
    /// Held out, each once.
    pub held_out: Vec<Sample>,
    /// Samples that stood before.
    pub duplicates: u64,
}

/// Holds out a share of the different samples, drawn from the seed; at least one where `share` is above 0 and two
/// differ.
pub fn split(samples: Vec<Sample>, share: f64, seed: u64) -> Split {
    use super::draw::{Purpose, shuffle, stream};
    let digests: Vec<Sha256> = samples.iter().map(|s| s.content.digest()).collect();
    let mut seen = HashSet::new();
    let mut different: Vec<Sha256> = digests.iter().filter(|d| seen.insert(**d)).copied().collect();
    let mut split = Split { duplicates: (samples.len() - different.len()) as u64, ..Split::default() };
    shuffle(&mut stream(seed, Purpose::Split), &mut different);
    let wanted = (share * different.len() as f64).ceil() as usize;
    different.truncate(wanted.min(different.len().saturating_sub(1)));
    let mut held_out: HashSet<Sha256> = different.iter().copied().collect();
    let taken = held_out.clone();
    for (sample, digest) in samples.into_iter().zip(digests) {
        if !taken.contains(&digest) {
            split.learnt.push(sample);
        } else if held_out.remove(&digest) {
            split.held_out.push(sample);
        }
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(format: Format, text: &str) -> Result<Vec<Sample>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        std::fs::write(&path, text).unwrap();
        read(&Source { path, name: "d.jsonl".into(), format }).map(|(samples, _)| samples)
    }

    #[test]
    fn the_three_layouts() {
        let dialogue = r#"{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],"id":1}"#;
        let read = read_text(Format::Messages, &format!("\u{feff}{dialogue}\n\n{dialogue}")).unwrap();
        assert_eq!((read.len(), read[1].place.to_string().as_str()), (2, "d.jsonl:3"));
        let pair = read_text(Format::PromptCompletion, r#"{"prompt":"","completion":"c"}"#).unwrap();
        assert_eq!(pair[0].content, Content::PromptCompletion(String::new(), "c".into()));
        assert_eq!(read_text(Format::Text, r#"{"text":"t"}"#).unwrap()[0].content, Content::Text("t".into()));
    }

    #[test]
    fn an_error_names_the_line_and_keeps_the_secret() {
        for (line, said) in [
            (r#"{"messages":[{"role":"user","content":"SECRET"}]}"#, "not the assistant's"),
            (r#"{"messages":"SECRET"}"#, "`messages` is missing or not a list"),
            (r#"{"messages":[{"role":"user","content":["SECRET"]}]}"#, "messages[0]: `content`"),
            (
                r#"{"messages":[{"role":"user","content":"q","tool_calls":["SECRET"]}]}"#,
                "`tool_calls` is not supported",
            ),
            (r#"{"messages":[{"role":"assistant","content":"SECRET"}]}"#, "speaks first"),
            (r#"{"messages":[{"role":"user","content":"SECRET"},{"role":"assistant","content":" "}]}"#, "says nothing"),
            (r#"{"text":"SECRET"}"#, "`messages` is missing"),
            (r#"["SECRET"]"#, "not a JSON object"),
            (r#"{"SECRET": SECRET}"#, "not valid JSON at column"),
        ] {
            let error = read_text(Format::Messages, &format!("\n{line}\n")).unwrap_err();
            let whole = format!("{error} {:?}", error.hint());
            assert!(whole.starts_with("d.jsonl:2: ") && whole.contains(said), "{said}: {whole}");
            assert!(!whole.contains("SECRET"), "{whole}");
        }
        let error = read_text(Format::Messages, r#"{"text":"t"}"#).unwrap_err();
        assert_eq!(error.hint(), Some("this line looks like format = \"text\""));
        assert!(read_text(Format::Text, "\n \n").is_err());
    }

    #[test]
    fn a_split_shares_nothing_not_even_duplicates() {
        let sample = |i: u64| Sample {
            place: Place { file: "d".into(), line: i },
            content: Content::Text(format!("t{}", i % 20)),
        };
        let split = split((0..60).map(sample).collect(), 0.25, 17);
        assert_eq!((split.held_out.len(), split.learnt.len(), split.duplicates), (5, 45, 40));
        assert!(split.held_out.iter().all(|h| split.learnt.iter().all(|l| l.content != h.content)));
        let one = super::split(vec![sample(1)], 0.4, 17);
        assert_eq!((one.learnt.len(), one.held_out.len()), (1, 0), "something must remain to learn from");
    }
}

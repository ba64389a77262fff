//! `sealwright explain`: a page on a finding or an error.

use super::Answer;
use super::say::Say;
use sealwright::data::nearest;
use sealwright::error::{Code, Error, Result};

/// The pages, one section a code.
const PAGES: &str = include_str!("../../docs/codes.md");

#[derive(clap::Args)]
pub struct Args {
    /// A code, as reports and errors print it; without one, all of them are listed
    code: Option<String>,
}

pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    let Some(code) = &args.code else {
        pages().for_each(|(name, text)| say.data(&format!("{name:28}{}\n", first_line(text))));
        return Ok(Answer::Yes);
    };
    match pages().find(|(name, _)| name == code) {
        Some((name, text)) if say.is_json() => say.json(&serde_json::json!({"code": name, "page": text})),
        Some((name, text)) => say.data(&format!("{name}\n\n{text}\n")),
        None => {
            let error = Error::new(Code::Usage, format!("no such code: {code}"));
            return Err(match nearest(code, pages().map(|(name, _)| name)) {
                Some(word) => error.with_hint(format!("did you mean `{word}`?")),
                None => error.with_hint("`sealwright explain` lists them all"),
            });
        }
    }
    Ok(Answer::Yes)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("")
}

/// Sections that begin `### code`.
fn pages() -> impl Iterator<Item = (&'static str, &'static str)> {
    PAGES.split("\n### ").skip(1).filter_map(|section| {
        let (name, text) = section.split_once('\n')?;
        let text = text.split("\n## ").next().unwrap_or(text);
        Some((name.trim(), text.trim()))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_error_code_has_a_page() {
        let pages: Vec<_> = super::pages().map(|(name, _)| name).collect();
        for code in sealwright::error::Code::ALL {
            assert!(pages.contains(&code.name()), "docs/codes.md lacks {}", code.name());
        }
    }
}

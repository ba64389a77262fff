//! `sealwright explain`: a page on a finding or an error; for a finding, the clauses of every licence that can lead to it.

use super::Answer;
use super::report::common;
use super::say::Say;
use sealwright::data::nearest;
use sealwright::error::{Code, Error, Result};
use sealwright::license::{self, Clauses, FindingCode, Policies, Said};
use std::path::PathBuf;

/// The pages, one section a code.
const PAGES: &str = include_str!("../../docs/codes.md");

/// A longer value is left out of the list.
const MAX_VALUE: usize = 60;

#[derive(clap::Args)]
pub struct Args {
    /// A code, as reports and errors print it; without one, all of them are listed
    code: Option<String>,
    /// Another folder of facts and decisions than the program's own
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
}

pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    let Some(code) = &args.code else {
        pages().for_each(|(name, text)| say.data(&format!("{name:28}{}\n", first_line(text))));
        return Ok(Answer::Yes);
    };
    let Some(text) = page(code) else {
        let error = Error::new(Code::Usage, format!("no such code: {code}"));
        return Err(match nearest(code, pages().map(|(name, _)| name)) {
            Some(word) => error.with_hint(format!("did you mean `{word}`?")),
            None => error.with_hint("`sealwright explain` lists them all"),
        });
    };
    let finding = code.parse::<FindingCode>().ok();
    let clauses = match finding {
        Some(code) => license::clauses_behind(code, &Policies::load(args.policies.as_deref())?),
        None => Vec::new(),
    };
    let question = finding.map(|code| asked(code.question()));
    if say.is_json() {
        say.json(&serde_json::json!({"code": code, "page": text, "question": question, "clauses": clauses}));
    } else {
        let question =
            question.map_or(String::new(), |q| format!("\nWhat a person is asked, where one must look:\n  {q}\n"));
        say.data(&format!("{code}\n\n{text}\n{question}{}", listed(&clauses)));
    }
    Ok(Answer::Yes)
}

/// A question of no finding yet.
fn asked(question: &str) -> String {
    question.replace("{license}", "the licence").replace("{subject}", "the file or model").replace("{what}", "…")
}

/// What a licence says, and under it from what that was read.
fn listed(clauses: &[Clauses]) -> String {
    if clauses.is_empty() {
        return String::new();
    }
    let line = |c: &Clauses| {
        let says = c.says.iter().map(said).collect::<Vec<_>>().join("; ");
        format!("  {}: {says}\n    {}\n", c.license, common::reading(&c.reading))
    };
    "\nLicences on record that can lead to it:\n".to_owned() + &clauses.iter().map(line).collect::<String>()
}

/// A word with its clause; of what is longer, the clause alone.
fn said(said: &Said) -> String {
    let clause = if said.clause == "silent" { "no clause".to_owned() } else { format!("clause {}", said.clause) };
    if said.value.len() > MAX_VALUE { clause } else { format!("{} ({clause})", said.value) }
}

/// The page on a code.
pub fn page(code: &str) -> Option<&'static str> {
    pages().find(|(name, _)| *name == code).map(|(_, text)| text)
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

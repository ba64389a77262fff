//! Open spans: what a licence itself leaves to be filled in or left out (holder, year, appendix). They are cut from
//! the token stream before hashing, for that licence only, and only if what stands in them could not state a term.

use crate::digest::Sha256;
use crate::license::text::stream::digest;
use serde::Deserialize;

/// `open-spans.toml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::license) struct SpansFile {
    pub open: Vec<OpenSpan>,
}

/// One open span and the licences that have it. Words are tokens, separated by single spaces.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::license) enum OpenSpan {
    /// From the start up to `before`: one of `titles`, then copyright notices.
    Head { ids: Vec<String>, before: String, titles: Vec<String> },
    /// Between `after` and `before`, which stay.
    Hole { ids: Vec<String>, after: String, before: String, what: What, max: Option<usize> },
    /// From `from` to the end, if its digest is known.
    Tail { ids: Vec<String>, from: String, sha256: Vec<Sha256> },
    /// Copyright notices inside that tail, or what else `what` says, cut before its digest is taken.
    TailHole {
        ids: Vec<String>,
        after: String,
        before: String,
        #[serde(default)]
        what: What,
    },
}

impl OpenSpan {
    /// The licences that have it.
    pub fn ids(&self) -> &[String] {
        match self {
            Self::Head { ids, .. } | Self::Hole { ids, .. } | Self::Tail { ids, .. } | Self::TailHole { ids, .. } => {
                ids
            }
        }
    }
}

/// What may stand in a hole.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::license) enum What {
    #[default]
    Copyright,
    Name,
    Number,
    /// A program's name and what it does, then copyright notices.
    Program,
}

/// A name in a hole may not be longer than this, where the span says nothing else.
const MAX_NAME: usize = 12;
/// Nor may a program's name with what it does.
const MAX_PROGRAM: usize = 24;
/// Nor may a copyright notice name its holder in more words than this.
const MAX_HOLDER: usize = 14;
/// A tail is sought among so many words.
const MAX_TAIL: usize = 600;
/// Nor may there be more notices in one span than this.
const MAX_NOTICES: usize = 12;

/// Words that could state a term: no open span may hold one.
#[rustfmt::skip]
const TERMS: &[&str] = &[
    "agree", "agreement", "allowed", "can", "cannot", "commercial", "condition", "conditions", "derivative",
    "distribute", "distribution", "except", "fee", "forbid", "forbidden", "grant", "granted", "licence", "license",
    "licensed", "may", "modify", "must", "never", "no", "noncommercial", "not", "only", "permission", "permit",
    "permitted", "prohibited", "provide", "provided", "redistribute", "require", "required", "research", "restrict",
    "restricted", "restriction", "revenue", "royalty", "sale", "sell", "shall", "subject", "sublicense", "terms",
    "unless", "use", "used", "users", "uses", "using", "will", "without", "you", "your",
];

/// The stream without the open spans of the licence `id`. Tails are cut first.
pub(in crate::license) fn cut<'t>(tokens: &[&'t str], id: &str, spans: &[OpenSpan]) -> Vec<&'t str> {
    let mut tokens = cut_tail(tokens, id, spans);
    for span in of_license(id, spans) {
        match span {
            OpenSpan::Head { before, titles, .. } => cut_head(&mut tokens, before, titles),
            OpenSpan::Hole { after, before, what, max, .. } => {
                cut_hole(&mut tokens, after, before, |body| what.fits(body, max.unwrap_or(MAX_NAME)));
            }
            OpenSpan::Tail { .. } | OpenSpan::TailHole { .. } => {}
        }
    }
    tokens
}

fn of_license<'s>(id: &str, spans: &'s [OpenSpan]) -> impl Iterator<Item = &'s OpenSpan> {
    spans.iter().filter(move |s| s.ids().iter().any(|i| i == id))
}

/// The stream without the tails of the licence `id`.
fn cut_tail<'t>(tokens: &[&'t str], id: &str, spans: &[OpenSpan]) -> Vec<&'t str> {
    let mut tokens = tokens.to_vec();
    for span in of_license(id, spans) {
        let OpenSpan::Tail { from, sha256, .. } = span else { continue };
        let Some(start) = find(&tokens, from, 0) else { continue };
        let mut tail = tokens[start..].to_vec();
        for hole in of_license(id, spans) {
            if let OpenSpan::TailHole { after, before, what, .. } = hole {
                cut_hole(&mut tail, after, before, |body| what.fits(body, MAX_PROGRAM));
            }
        }
        if sha256.contains(&digest(&tail)) {
            tokens.truncate(start);
        }
    }
    tokens
}

fn cut_head(tokens: &mut Vec<&str>, before: &str, titles: &[String]) {
    if let Some(end) = find(tokens, before, 0).filter(|end| is_head(&tokens[..*end], titles)) {
        tokens.drain(..end);
    }
}

/// A title, or none, and copyright notices.
fn is_head(tokens: &[&str], titles: &[String]) -> bool {
    let title = titles.iter().map(|t| words(t)).filter(|t| tokens.starts_with(t)).map(|t| t.len()).max();
    are_notices(&tokens[title.unwrap_or(0)..])
}

/// What is left of the tokens between a whole text of one of the licences `before` and one of `after`: without a tail of
/// the one and a head of the other.
pub(in crate::license) fn left_between<'a, 't>(
    tokens: &'a [&'t str],
    before: &[&str],
    after: &[&str],
    spans: &[OpenSpan],
) -> &'a [&'t str] {
    let is_tail = |end: &usize| before.iter().any(|id| cut_tail(&tokens[..*end], id, spans).is_empty());
    let tail = (1..=tokens.len().min(MAX_TAIL)).rev().filter(|_| begins_a_tail(tokens, before, spans)).find(is_tail);
    let rest = &tokens[tail.unwrap_or(0)..];
    let heads: Vec<&[String]> = after.iter().flat_map(|id| of_license(id, spans)).filter_map(titles).collect();
    let head = (0..rest.len()).find(|start| heads.iter().any(|titles| is_head(&rest[*start..], titles)));
    &rest[..head.unwrap_or(rest.len())]
}

fn begins_a_tail(tokens: &[&str], ids: &[&str], spans: &[OpenSpan]) -> bool {
    let begins = |s: &OpenSpan| matches!(s, OpenSpan::Tail { from, .. } if tokens.starts_with(&words(from)));
    ids.iter().flat_map(|id| of_license(id, spans)).any(begins)
}

fn titles(span: &OpenSpan) -> Option<&[String]> {
    if let OpenSpan::Head { titles, .. } = span { Some(titles) } else { None }
}

fn cut_hole(tokens: &mut Vec<&str>, after: &str, before: &str, fits: impl Fn(&[&str]) -> bool) {
    let Some(start) = find(tokens, after, 0).map(|at| at + words(after).len()) else { return };
    let Some(end) = find(tokens, before, start) else { return };
    if fits(&tokens[start..end]) {
        tokens.drain(start..end);
    }
}

impl What {
    fn fits(self, body: &[&str], max: usize) -> bool {
        match self {
            What::Copyright => are_notices(body),
            What::Name => (1..=max).contains(&body.len()) && !body.iter().any(|w| could_state_a_term(w)),
            What::Program => {
                let (name, notices) = body.split_at(body.iter().position(|w| *w == "copyright").unwrap_or(body.len()));
                name.len() <= max && !name.iter().any(|w| could_state_a_term(w)) && are_notices(notices)
            }
            What::Number => match body {
                [] => true,
                [one] => matches!(one.as_bytes(), [b'1'..=b'9' | b'a'..=b'd'] | b"i" | b"ii" | b"iii" | b"iv"),
                _ => false,
            },
        }
    }
}

/// Copyright, years or their placeholders, up to 14 words, perhaps "all rights reserved"; any number up to 12 of them.
fn are_notices(mut tokens: &[&str]) -> bool {
    const RESERVED: [&str; 3] = ["all", "rights", "reserved"];
    let mut notices = 0;
    while let Some(first) = tokens.first() {
        if tokens.starts_with(&RESERVED) {
            tokens = &tokens[RESERVED.len()..];
            continue;
        }
        if *first == "software" && tokens.get(1).is_some() {
            tokens = &tokens[1..];
        }
        if tokens[0] != "copyright" {
            return false;
        }
        notices += 1;
        tokens = &tokens[1..];
        let end = (0..tokens.len()).find(|&i| tokens[i] == "copyright" || tokens[i..].starts_with(&RESERVED));
        let (holder, rest) = tokens.split_at(end.unwrap_or(tokens.len()));
        let is_long = holder.iter().filter(|w| !is_year(w)).count() > MAX_HOLDER;
        if is_long || holder.iter().any(|w| could_state_a_term(w)) {
            return false;
        }
        tokens = rest;
    }
    notices <= MAX_NOTICES
}

fn could_state_a_term(word: &str) -> bool {
    word.starts_with("<!") || TERMS.binary_search(&word).is_ok()
}

fn is_year(word: &str) -> bool {
    matches!(word, "yyyy" | "year" | "present" | "now")
        || (word.chars().count() == 4
            && (word.starts_with("19") || word.starts_with("20"))
            && word.chars().all(|c| c.is_numeric()))
}

fn words(text: &str) -> Vec<&str> {
    text.split(' ').filter(|w| !w.is_empty()).collect()
}

fn find(tokens: &[&str], sought: &str, from: usize) -> Option<usize> {
    let sought = words(sought);
    if sought.is_empty() {
        return Some(from);
    }
    tokens.get(from..)?.windows(sought.len()).position(|w| w == sought).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_hold_no_term() {
        let notices = |text: &str| are_notices(&words(text));
        assert!(notices("copyright 2024 example works all rights reserved"));
        assert!(notices(""));
        assert!(!notices("copyright 2024 example works for research only"));
        assert!(!notices("copyright <!html> example"));
        assert!(!notices("example works"));
        assert!(TERMS.is_sorted());
    }
}

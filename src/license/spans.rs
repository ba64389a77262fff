//! Open spans: what a licence itself leaves to be filled in or left out (holder, year, appendix). They are cut from
//! the token stream before hashing, for that licence only, and only if what stands in them could not state a term.

use super::text::digest;
use crate::digest::Sha256;
use serde::Deserialize;

/// `open-spans.toml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpansFile {
    pub open: Vec<OpenSpan>,
}

/// One open span and the licences that have it. Words are tokens, separated by single spaces.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum OpenSpan {
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
pub(super) enum What {
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
pub(super) fn cut<'t>(tokens: &[&'t str], id: &str, spans: &[OpenSpan]) -> Vec<&'t str> {
    let own = |tail: bool| {
        spans.iter().filter(move |s| s.ids().iter().any(|i| i == id) && matches!(s, OpenSpan::Tail { .. }) == tail)
    };
    let mut tokens = tokens.to_vec();
    for span in own(true).chain(own(false)) {
        match span {
            OpenSpan::Head { before, titles, .. } => cut_head(&mut tokens, before, titles),
            OpenSpan::Hole { after, before, what, max, .. } => {
                cut_hole(&mut tokens, after, before, |body| what.fits(body, max.unwrap_or(MAX_NAME)));
            }
            OpenSpan::Tail { from, sha256, .. } => {
                let Some(start) = find(&tokens, from, 0) else { continue };
                let mut tail = tokens[start..].to_vec();
                for hole in own(false) {
                    if let OpenSpan::TailHole { after, before, what, .. } = hole {
                        cut_hole(&mut tail, after, before, |body| what.fits(body, MAX_PROGRAM));
                    }
                }
                if sha256.contains(&digest(&tail)) {
                    tokens.truncate(start);
                }
            }
            OpenSpan::TailHole { .. } => {}
        }
    }
    tokens
}

fn cut_head(tokens: &mut Vec<&str>, before: &str, titles: &[String]) {
    let Some(end) = find(tokens, before, 0) else { return };
    let title = titles.iter().map(|t| words(t)).filter(|t| tokens[..end].starts_with(t)).map(|t| t.len()).max();
    if are_notices(&tokens[title.unwrap_or(0)..end]) {
        tokens.drain(..end);
    }
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

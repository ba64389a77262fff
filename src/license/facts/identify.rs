//! Which licence is this text? Identified only when the digest of its stream equals a known one, or those of its parts
//! equal several; else at best similar.

use crate::digest::Sha256;
use crate::license::facts::parts::{self, Parts};
use crate::license::facts::policy::Policies;
use crate::license::facts::record::{KnownText, Record, Role};
use crate::license::text::clauses::{self, Clause, Difference};
use crate::license::text::sketch::Sketch;
use crate::license::text::spans::cut;
use crate::license::text::stream::{digest, tokens};

/// Below this resemblance a text counts as unknown.
pub const SIMILAR_FROM: f64 = 0.25;
/// Sketches that are closer to each other than this don't say which of two twins a text resembles: their clauses do.
const TWINS_WITHIN: f64 = 0.1;

/// What a text is.
#[derive(Debug, Clone, PartialEq)]
pub enum Identity {
    /// Equal to a known text but for its open spans, or to several one after another, each of which binds. A use policy
    /// may belong to several licences.
    Known(Vec<(String, Role)>),
    /// Whole known texts one after another, each of which binds, and words that are in none of them; cut short.
    Several(Vec<(String, Role)>, String),
    /// Close to the text of this licence, and not equal to it; the share of common shingles, from 0 to 1.
    Similar(String, Role, f64),
    /// Like nothing that is known.
    Unknown,
}

impl Identity {
    /// The licences whose own text it is.
    pub(in crate::license) fn ids(&self) -> Vec<&str> {
        match self {
            Self::Known(known) | Self::Several(known, _) => known.iter().map(|(id, _)| id.as_str()).collect(),
            Self::Similar(..) | Self::Unknown => Vec::new(),
        }
    }
}

/// Identifies a licence text.
pub fn identify(text: &str, policies: &Policies) -> Identity {
    let tokens = tokens(text);
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    if let Some(known) = policies.known.get(&digest(&tokens)) {
        return Identity::Known(known.clone());
    }
    let mut ids: Vec<&String> = policies.spans.iter().flat_map(|s| s.ids()).collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        let cut = cut(&tokens, id, &policies.spans);
        if cut.len() == tokens.len() {
            continue;
        }
        let known = policies.known.get(&digest(&cut)).into_iter().flatten().filter(|(known, _)| known == id);
        let known: Vec<_> = known.cloned().collect();
        if !known.is_empty() {
            return Identity::Known(known);
        }
    }
    match parts::of(&tokens, policies) {
        Some(Parts { texts, rest }) if rest.is_empty() => Identity::Known(texts),
        Some(Parts { texts, rest }) => Identity::Several(texts, rest),
        None => nearest(&tokens, policies),
    }
}

fn nearest(tokens: &[&str], policies: &Policies) -> Identity {
    let sketch = Sketch::of(tokens);
    let known = policies.records().flat_map(|r| r.texts.iter().map(move |t| (r, t)));
    let scored = known.filter_map(|(r, t)| Some((t.sketch.as_ref()?.resemblance(&sketch), r, t)));
    let mut near: Vec<(f64, &Record, &KnownText)> = scored.filter(|(score, ..)| *score >= SIMILAR_FROM).collect();
    let best = near.iter().map(|(score, ..)| *score).fold(0.0, f64::max);
    near.retain(|(score, ..)| *score > best - TWINS_WITHIN);
    let distance = |(score, record, text): &(f64, &Record, &KnownText)| match near.len() {
        1 => (0, 0.0),
        _ => (clauses::distance(&cut(tokens, &record.id, &policies.spans), &text.clauses), 1.0 - score),
    };
    let nearest =
        near.iter().map(|of| (distance(of), of)).min_by(|(a, _), (b, _)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    match nearest {
        Some((_, (score, record, text))) => Identity::Similar(record.id.clone(), text.role, *score),
        None => Identity::Unknown,
    }
}

/// What a record keeps of a text: digest and length of its stream with the licence's open spans cut, and its sketch.
pub fn fingerprint(text: &str, id: &str, policies: &Policies) -> (Sha256, usize, Sketch) {
    let tokens = tokens(text);
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let cut = cut(&tokens, id, &policies.spans);
    (digest(&cut), cut.len(), Sketch::of(&cut))
}

/// What a record keeps of a text's clauses.
pub fn clauses(text: &str, id: &str, policies: &Policies) -> Vec<Clause> {
    clauses::of(text, id, &policies.spans)
}

/// Where a text that is only similar to one of `id` is another: against the nearest of its texts in that role.
pub fn differences(text: &str, id: &str, role: Role, policies: &Policies) -> Vec<Difference> {
    let tokens = tokens(text);
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let tokens = cut(&tokens, id, &policies.spans);
    let sketch = Sketch::of(&tokens);
    let texts = policies.record(id).map_or(&[][..], |r| &r.texts);
    let known = texts.iter().filter(|t| t.role == role && !t.clauses.is_empty());
    let score = |t: &KnownText| t.sketch.as_ref().map_or(0.0, |s| s.resemblance(&sketch));
    let nearest = known.max_by(|a, b| score(a).total_cmp(&score(b)));
    nearest.map_or_else(Vec::new, |known| clauses::compare(&tokens, &known.clauses))
}

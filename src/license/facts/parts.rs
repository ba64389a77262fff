//! Several whole licence texts in one file: the fingerprints of clauses say where one may begin, the digest proves it.

use crate::license::facts::policy::Policies;
use crate::license::facts::record::Role;
use crate::license::text::clauses::{Windows, beginnings};
use crate::license::text::spans::{cut, left_between};
use crate::license::text::stream::digest;

/// Whole texts of a file, and what stands between them.
#[derive(Debug, PartialEq)]
pub(in crate::license) struct Parts {
    /// Each licence and role once, in the order of the file.
    pub texts: Vec<(String, Role)>,
    /// Words that are in none of the texts and in no open span of theirs.
    pub rest: String,
}

/// A known text that stands whole in the stream.
struct Part<'p> {
    start: usize,
    /// One past its last token.
    end: usize,
    id: &'p str,
    role: Role,
}

/// A text is tried at no more places than this.
const MAX_STARTS: usize = 8;
/// Its open spans hold no more words than this together.
const MAX_OPEN: usize = 512;
/// Words of the rest that are shown.
const SHOWN: usize = 24;

/// The texts of a stream that holds at least two of them whole, one after another.
pub(in crate::license) fn of(tokens: &[&str], policies: &Policies) -> Option<Parts> {
    let mut found = whole_texts(tokens, policies);
    // the longest first: a text may hold another one
    found.sort_by_key(|part| (std::cmp::Reverse(part.end - part.start), part.start));
    let mut parts: Vec<Part<'_>> = Vec::new();
    for part in found {
        let twin = |p: &Part<'_>| (p.start, p.end) == (part.start, part.end);
        if parts.iter().all(|p| part.end <= p.start || p.end <= part.start || twin(p)) {
            parts.push(part);
        }
    }
    parts.sort_by_key(|part| part.start);
    let mut starts: Vec<usize> = parts.iter().map(|part| part.start).collect();
    starts.dedup();
    if starts.len() < 2 {
        return None;
    }
    let mut texts: Vec<(String, Role)> = Vec::new();
    for part in &parts {
        if !texts.iter().any(|(id, role)| id == part.id && *role == part.role) {
            texts.push((part.id.to_owned(), part.role));
        }
    }
    Some(Parts { texts, rest: rest(tokens, &parts, policies) })
}

fn whole_texts<'p>(tokens: &[&str], policies: &'p Policies) -> Vec<Part<'p>> {
    let windows = Windows::of(tokens);
    let places = windows.places();
    let mut found: Vec<Part<'p>> = Vec::new();
    for (record, text) in policies.records().flat_map(|r| r.texts.iter().map(move |t| (r, t))) {
        let (Some(sha256), Some(words)) = (text.sha256, text.words) else { continue };
        for start in beginnings(&text.clauses, &places).into_iter().take(MAX_STARTS) {
            let end = tokens.len().min(start + words + MAX_OPEN);
            let kept = cut(&tokens[start..end], &record.id, &policies.spans);
            if words == 0 || kept.len() < words || digest(&kept[..words]) != sha256 {
                continue;
            }
            // both hold slices of the same strings
            let last = kept[words - 1].as_ptr();
            let Some(length) = tokens[start..].iter().position(|t| t.as_ptr() == last) else { continue };
            found.push(Part { start, end: start + length + 1, id: &record.id, role: text.role });
        }
    }
    found
}

/// What lies before, between and after the parts, without what their licences leave open.
fn rest(tokens: &[&str], parts: &[Part<'_>], policies: &Policies) -> String {
    let mut rest: Vec<&str> = Vec::new();
    let ids = |start: usize| parts.iter().filter(move |p| p.start == start).map(|p| p.id).collect::<Vec<_>>();
    let (mut at, mut before): (usize, Vec<&str>) = (0, Vec::new());
    for next in parts.iter().map(|p| Some((p.start, p.end))).chain([None]) {
        let (start, end) = next.unwrap_or((tokens.len(), tokens.len()));
        if start < at {
            continue; // a twin of the part before
        }
        let after = if next.is_some() { ids(start) } else { Vec::new() };
        rest.extend(left_between(&tokens[at..start], &before, &after, &policies.spans));
        (at, before) = (end, after);
    }
    let more = if rest.len() > SHOWN { " …" } else { "" };
    rest.truncate(SHOWN);
    rest.join(" ") + more
}

//! Fingerprints of a text's clauses: where a text is only similar to a known one, they say which clause was altered,
//! left out or put in. Hashes of a dozen words each, so no text is kept; and they never identify.

use crate::license::text::spans::{OpenSpan, cut};
use crate::license::text::stream::tokens;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Words in a span; the last one of a clause takes a rest that is too short to stand alone.
const SPAN: usize = 12;
const SHORTEST: usize = 6;
/// A difference shows no more words of the text at hand than this: as many as one altered span and what surrounds it.
const SHOWN: usize = 24;
/// The factor of the window hash: odd, and large enough to mix.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// One clause: its label, its words' count, the hashes of its spans. Written `1.b.v 57 0123abcd…`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Clause {
    label: String,
    words: usize,
    spans: Vec<u32>,
}

/// How a clause differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Some of its words do.
    Differs,
    /// None of it is there.
    Missing,
    /// Words stand after it that are in no clause.
    FollowedBy,
}

/// A clause in which a text at hand is not the known one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its label in the known text.
    pub clause: String,
    /// How it differs.
    pub change: Change,
    /// The words at hand that don't fit, and some around them; cut short.
    pub words: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { clause, change, words } = self;
        if clause.starts_with(|c: char| c.is_ascii_digit()) || clause.len() < "opening".len() {
            write!(f, "clause ")?;
        }
        match change {
            Change::Missing => write!(f, "{clause} is missing"),
            Change::Differs if words.is_empty() => write!(f, "{clause} lacks words"),
            Change::Differs => write!(f, "{clause} differs (\"{words}\")"),
            Change::FollowedBy => write!(f, "{clause} is followed by other words (\"{words}\")"),
        }
    }
}

impl Clause {
    /// Words of each of its spans.
    fn lengths(&self) -> impl Iterator<Item = usize> {
        let (words, count) = (self.words, self.spans.len());
        (0..count).map(move |i| if i + 1 < count { SPAN } else { words - SPAN * (count - 1) })
    }
}

/// How many spans a clause of so many words has.
fn count_of_spans(words: usize) -> usize {
    (words / SPAN + usize::from(words % SPAN >= SHORTEST)).max(1)
}

impl From<Clause> for String {
    fn from(clause: Clause) -> String {
        let hashes: String = clause.spans.iter().map(|h| format!("{h:08x}")).collect();
        format!("{} {} {hashes}", clause.label, clause.words)
    }
}

impl TryFrom<String> for Clause {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("a clause is a label, a count of words and eight hexadecimal digits a span: {text}");
        let mut parts = text.rsplitn(3, ' ');
        let (hashes, words, label) = (parts.next(), parts.next(), parts.next());
        let (Some(hashes), Some(words), Some(label)) = (hashes, words, label) else { return Err(wrong()) };
        let words: usize = words.parse().map_err(|_| wrong())?;
        let whole = words > 0 && hashes.is_ascii() && hashes.len() == 8 * count_of_spans(words);
        let hash = |at: usize| hashes.get(at..at + 8).and_then(|h| u32::from_str_radix(h, 16).ok()).ok_or_else(wrong);
        let spans = (0..hashes.len()).step_by(8).map(hash).collect::<Result<Vec<_>, _>>()?;
        if whole { Ok(Self { label: label.into(), words, spans }) } else { Err(wrong()) }
    }
}

/// Where the windows of a dozen words stand, by their hashes.
pub(in crate::license) type Places = HashMap<u32, Vec<usize>>;

/// Hashes of all windows of a stream, in constant time each.
pub(in crate::license) struct Windows {
    prefix: Vec<u64>,
    power: Vec<u64>,
}

impl Windows {
    pub fn of(tokens: &[&str]) -> Self {
        let (mut prefix, mut power) = (vec![0u64], vec![1u64]);
        for token in tokens {
            let hash =
                token.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
            prefix.push(prefix[prefix.len() - 1].wrapping_mul(FACTOR).wrapping_add(hash | 1));
            power.push(power[power.len() - 1].wrapping_mul(FACTOR));
        }
        Self { prefix, power }
    }

    fn hash(&self, start: usize, length: usize) -> u32 {
        let sum = self.prefix[start + length].wrapping_sub(self.prefix[start].wrapping_mul(self.power[length]));
        let mixed = (sum ^ (sum >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 32) as u32
    }

    fn len(&self) -> usize {
        self.prefix.len() - 1
    }

    /// Every window of a dozen words.
    pub fn places(&self) -> Places {
        let mut places = Places::new();
        for at in 0..(self.len() + 1).saturating_sub(SPAN) {
            places.entry(self.hash(at, SPAN)).or_default().push(at);
        }
        places
    }
}

/// Where a known text may begin in a stream: by the first of its spans of a dozen words that stand there.
pub(in crate::license) fn beginnings(clauses: &[Clause], places: &Places) -> Vec<usize> {
    let mut offset = 0;
    for (length, hash) in clauses.iter().flat_map(|c| c.lengths().zip(&c.spans)) {
        if let Some(at) = places.get(hash).filter(|_| length == SPAN) {
            return at.iter().filter_map(|at| at.checked_sub(offset)).collect();
        }
        offset += length;
    }
    Vec::new()
}

/// The clauses of a known text, its licence's open spans cut: what a record keeps of them.
pub(in crate::license) fn of(text: &str, id: &str, spans: &[OpenSpan]) -> Vec<Clause> {
    let tokens = tokens(text);
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let kept = cut(&tokens, id, spans);
    let windows = Windows::of(&kept);
    let mut starts: Vec<(usize, String)> = crate::license::text::labels::of(text)
        .into_iter()
        .filter_map(|(at, label)| {
            let before = crate::license::text::stream::tokens(&text[..at]);
            // a mark that spans the line's start would shift the count
            let holds = before.iter().zip(&tokens).all(|(a, b)| a == b) && before.len() <= tokens.len();
            holds.then(|| (position(&tokens, &kept, before.len()), label))
        })
        .collect();
    starts.sort_by_key(|(at, _)| *at);
    starts.insert(0, (0, "opening".into()));
    let mut clauses: Vec<Clause> = Vec::new();
    let mut begun: Option<usize> = None;
    for i in 0..starts.len() {
        let end = starts.get(i + 1).map_or(kept.len(), |(at, _)| *at);
        // a heading without words of its own belongs to what follows
        let start = begun.take().unwrap_or(starts[i].0).min(end);
        if end < start + SHORTEST {
            begun = Some(start);
            continue;
        }
        clauses.push(clause(starts[i].1.clone(), start, end, &windows));
    }
    // a last line that is too short to stand alone
    if let Some(start) = begun {
        let last = clauses.pop();
        let (label, words) = last.map_or(("opening".into(), 0), |last| (last.label, last.words));
        if start - words < kept.len() {
            clauses.push(clause(label, start - words, kept.len(), &windows));
        }
    }
    clauses
}

fn clause(label: String, start: usize, end: usize, windows: &Windows) -> Clause {
    let words = end - start;
    let mut clause = Clause { label, words, spans: vec![0; count_of_spans(words)] };
    let mut at = start;
    clause.spans = clause
        .lengths()
        .map(|length| {
            at += length;
            windows.hash(at - length, length)
        })
        .collect();
    clause
}

/// Where the token `at` of the whole stream stands in what was kept of it.
fn position(tokens: &[&str], kept: &[&str], at: usize) -> usize {
    // both hold slices of the same strings
    let places: HashMap<*const u8, usize> = kept.iter().enumerate().map(|(i, t)| (t.as_ptr(), i)).collect();
    let next = tokens[at..].iter().find_map(|t| places.get(&t.as_ptr()).copied());
    next.unwrap_or(kept.len())
}

/// Spans of all clauses: clause, words, hash.
fn spans_of(clauses: &[Clause]) -> Vec<(usize, usize, u32)> {
    let of = |(i, c): (usize, &Clause)| -> Vec<_> {
        c.lengths().zip(&c.spans).map(|(length, hash)| (i, length, *hash)).collect()
    };
    clauses.iter().enumerate().flat_map(of).collect()
}

/// Words that stand in one of both alone, or elsewhere: what tells near twins apart.
pub(in crate::license) fn distance(tokens: &[&str], clauses: &[Clause]) -> usize {
    let spans = spans_of(clauses);
    let common: usize = align(&Windows::of(tokens), &spans).iter().map(|(span, _)| spans[*span].1).sum();
    spans.iter().map(|s| s.1).sum::<usize>() + tokens.len() - 2 * common
}

/// Where a text at hand is not the known one, in the order of the known one. `tokens`: its stream, open spans cut.
pub(in crate::license) fn compare(tokens: &[&str], clauses: &[Clause]) -> Vec<Difference> {
    let spans = spans_of(clauses);
    let found = align(&Windows::of(tokens), &spans);
    let mut differences: Vec<Difference> = Vec::new();
    let (mut next_span, mut next_word) = (0, 0);
    let end = std::iter::once((spans.len(), tokens.len()));
    for (span, at) in found.iter().copied().chain(end) {
        let words = &tokens[next_word.min(at)..at];
        gap(next_span..span, words, clauses, &spans, &found, &mut differences);
        next_span = span + 1;
        next_word = at + spans.get(span).map_or(0, |s| s.1);
    }
    differences
}

/// What lies between two spans that were found: spans of the known text that were not, words that are in none.
fn gap(
    lost: std::ops::Range<usize>,
    words: &[&str],
    clauses: &[Clause],
    spans: &[(usize, usize, u32)],
    found: &[(usize, usize)],
    differences: &mut Vec<Difference>,
) {
    let mut tell = |clause: usize, change: Change, words: &[&str]| {
        let clause = &clauses[clause].label;
        match differences.iter_mut().find(|d| d.clause == *clause && d.change == change) {
            Some(told) if !words.is_empty() && told.words.split(' ').count() < 2 * SHOWN => {
                told.words = [told.words.as_str(), &shown(words)].join(" \u{2026} ");
            }
            Some(_) => {}
            None => differences.push(Difference { clause: clause.clone(), change, words: shown(words) }),
        }
    };
    if lost.is_empty() {
        let before = lost.start.checked_sub(1).map_or(0, |i| spans[i].0);
        let inside = spans.get(lost.start).is_some_and(|s| s.0 == before);
        if !words.is_empty() && !clauses.is_empty() {
            tell(before, if inside { Change::Differs } else { Change::FollowedBy }, words);
        }
        return;
    }
    let of = |clause: usize| spans[lost.clone()].iter().filter(move |s| s.0 == clause);
    let (first, last) = (spans[lost.start].0, spans[lost.end - 1].0);
    let lost_words: usize = spans[lost.clone()].iter().map(|s| s.1).sum();
    for clause in first..=last {
        let whole = !found.iter().any(|(span, _)| spans[*span].0 == clause);
        let length: usize = of(clause).map(|s| s.1).sum();
        // too few words are left to be this clause, altered
        let room = (words.len() + length).saturating_sub(lost_words);
        if whole && room * 2 < length {
            tell(clause, Change::Missing, &[]);
        } else {
            tell(clause, Change::Differs, words);
        }
    }
}

/// A span at a place where it stands, as the last of a run.
struct Step {
    span: usize,
    at: usize,
    end: usize,
    before: Option<usize>,
}

/// The longest run of spans that stand in the text in the same order: span and place.
fn align(windows: &Windows, spans: &[(usize, usize, u32)]) -> Vec<(usize, usize)> {
    let lengths: BTreeSet<usize> = spans.iter().map(|s| s.1).collect();
    let sought: HashSet<(usize, u32)> = spans.iter().map(|s| (s.1, s.2)).collect();
    let mut places: HashMap<(usize, u32), Vec<usize>> = HashMap::new();
    for length in lengths.into_iter().filter(|l| *l <= windows.len()) {
        for at in 0..=windows.len() - length {
            let key = (length, windows.hash(at, length));
            if sought.contains(&key) {
                places.entry(key).or_default().push(at);
            }
        }
    }
    // patience: of all runs of a length, the one that ends first; places of one span from the last to the first
    let (mut tails, mut steps): (Vec<usize>, Vec<Step>) = (Vec::new(), Vec::new());
    for (span, (_, length, hash)) in spans.iter().enumerate() {
        for &at in places.get(&(*length, *hash)).into_iter().flatten().rev() {
            let run = tails.partition_point(|&step: &usize| steps[step].end <= at);
            let before = run.checked_sub(1).map(|r| tails[r]);
            let end = at + length;
            if run == tails.len() {
                tails.push(steps.len());
            } else if end < steps[tails[run]].end {
                tails[run] = steps.len();
            }
            steps.push(Step { span, at, end, before });
        }
    }
    let mut run = Vec::new();
    let mut step = tails.last().copied();
    while let Some(Step { span, at, before, .. }) = step.map(|s| &steps[s]) {
        run.push((*span, *at));
        step = *before;
    }
    run.reverse();
    run
}

/// As many words as a report shows: what was put in stands at one of the ends.
fn shown(words: &[&str]) -> String {
    if words.len() <= SHOWN {
        return words.join(" ");
    }
    let (first, last) = (&words[..SHOWN / 2], &words[words.len() - SHOWN / 2..]);
    [first.join(" "), last.join(" ")].join(" \u{2026} ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(known: &str, at_hand: &str) -> Vec<String> {
        let tokens = tokens(at_hand);
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        compare(&tokens, &of(known, "none", &[])).iter().map(Difference::to_string).collect()
    }

    #[test]
    fn a_phrase_that_stands_twice_hides_nothing() {
        let text = "One two three four five six seven eight terms and conditions for use here.\n\n\
            Terms and conditions for use here.\n\nThese are other words at the end.\n";
        assert_eq!(told(text, text), Vec::<String>::new());
        let without = text.replace("Terms and conditions for use here.\n\n", "");
        assert_eq!(told(text, &without), ["paragraph 2 is missing"]);
        assert_eq!(told(text, &text.replace("other", "no other")).len(), 1);
        assert_eq!(told(text, ""), ["paragraph 1 is missing", "paragraph 2 is missing", "paragraph 3 is missing"]);
    }

    #[test]
    fn a_clause_is_written_and_read() {
        let clauses = of(
            "1. One two three four five six.\n2. Words without an end, or so it seems to whoever reads.\n",
            "none",
            &[],
        );
        for clause in clauses {
            assert_eq!(Clause::try_from(String::from(clause.clone())), Ok(clause));
        }
        for wrong in
            ["", "1 12", "1 x 0123abcd", "1 12 0123abc", "1 24 0123abcd", "1 0 ", "1 12 \u{e9}\u{e9}\u{e9}\u{e9}"]
        {
            assert!(Clause::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}

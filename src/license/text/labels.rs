//! Where the clauses of a licence text begin and what it calls them itself: `1.b.v`, `section 2.a`; paragraphs where it
//! numbers nothing. Only for making fingerprints: nothing is judged by a label.

use crate::license::text::scan::re;

/// What marks an item: figures, letters or Roman figures, each with its own punctuation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A section by name.
    Named,
    Figure(bool),
    Letter(bool),
    Capital(bool),
    Roman(bool),
}

/// Byte offsets of lines that begin a clause, and the clauses' labels.
pub(in crate::license) fn of(text: &str) -> Vec<(usize, String)> {
    let numbered = numbered(text);
    if numbered.len() > 1 { numbered } else { paragraphs(text) }
}

fn numbered(text: &str) -> Vec<(usize, String)> {
    let item = re!(
        r"(?i)^[\s>#*_]*(?:(section|article|clause)\s+)?(\(?)([0-9]{1,2}(?:\.[0-9]{1,2})*|[a-z]|[ivx]{1,5})([.):]?)(?:[\s*_]|$)"
    );
    let mut labels: Vec<(usize, String)> = Vec::new();
    let mut path: Vec<(Kind, String)> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let Some(m) = item.captures(line) else { continue };
        let (mark, ending) = (&m[3], &m[4]);
        let rest = line[m.get(0).map_or(0, |m| m.end())..].trim_start();
        let titled = mark.contains('.') && rest.starts_with(char::is_uppercase);
        // a word or a number that happens to begin a line is no item
        if m.get(1).is_none() && !titled && !matches!(ending, "." | ")") {
            continue;
        }
        let kind = if m.get(1).is_some() { Kind::Named } else { kind(&path, mark, ending == ")" || !m[2].is_empty()) };
        if kind == Kind::Figure(false) && !titled && !goes_on(&path, mark) {
            continue;
        }
        enter(&mut path, mark, kind);
        labels.push((start, path.iter().map(|(_, mark)| mark.as_str()).collect::<Vec<_>>().join(".")));
    }
    labels
}

/// Does this number come after the last one of its kind? `7.` after `5.` is a sentence's end that began a line.
fn goes_on(path: &[(Kind, String)], mark: &str) -> bool {
    let number = |mark: &str| mark.parse::<u32>().ok();
    let last = path.iter().find(|(kind, _)| *kind == Kind::Figure(false)).and_then(|(_, mark)| number(mark));
    last.zip(number(mark)).is_none_or(|(last, this)| this == last + 1 || this <= 1)
}

/// Moves from item to item: back to the level of the same kind, or one level down.
fn enter(path: &mut Vec<(Kind, String)>, mark: &str, kind: Kind) {
    if mark.contains('.') {
        path.clear();
        path.extend(mark.split('.').map(|part| (Kind::Figure(false), part.to_owned())));
        return;
    }
    // `1.` never stands under `(1)`, and nothing stands above a section
    let top = kind == Kind::Named
        || (kind == Kind::Figure(false) && path.first().is_some_and(|(k, _)| *k == Kind::Figure(true)));
    let level = if top { Some(0) } else { path.iter().position(|(known, _)| *known == kind) };
    path.truncate(level.unwrap_or(path.len()));
    path.push((kind, mark.to_owned()));
}

fn kind(path: &[(Kind, String)], mark: &str, closed: bool) -> Kind {
    let first = mark.as_bytes()[0];
    if first.is_ascii_digit() {
        return Kind::Figure(closed);
    }
    // `i` after `h` is a letter; elsewhere it counts
    let follows = |kind: Kind| {
        path.iter().any(|(k, m)| *k == kind && m.len() == 1 && m.as_bytes()[0] + 1 == first.to_ascii_lowercase())
    };
    let letter = if first.is_ascii_uppercase() { Kind::Capital(closed) } else { Kind::Letter(closed) };
    let roman = mark.bytes().all(|b| b"ivx".contains(&b.to_ascii_lowercase()));
    if mark.len() > 1 || (roman && !follows(letter)) { Kind::Roman(closed) } else { letter }
}

fn paragraphs(text: &str) -> Vec<(usize, String)> {
    let starts = re!(r"\n[ \t\r]*\n\s*").find_iter(text).map(|m| m.end()).filter(|at| *at < text.len());
    let first = text.len() - text.trim_start().len();
    std::iter::once(first).chain(starts).enumerate().map(|(i, at)| (at, format!("paragraph {}", i + 1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_the_texts_own() {
        let labels = |text: &str| of(text).into_iter().map(|(_, label)| label).collect::<Vec<_>>();
        let nested = "Title\n1. Grant\n a. one\n b. two\n  i. x\n  ii. y\n2. End\n2024 is a year.\nI am no item\n";
        assert_eq!(labels(nested), ["1", "1.a", "1.b", "1.b.i", "1.b.ii", "2"]);
        assert_eq!(labels("1. A\n2. B, see section\n7. And so on.\n3. C\n"), ["1", "2", "3"]);
        let letters = "1. A\n (g) x\n (h) y\n (i) z\nSection 2 -- More\n  a. x\n3.1 B\n(a) y\n";
        assert_eq!(labels(letters), ["1", "1.g", "1.h", "1.i", "2", "2.a", "3.1", "3.1.a"]);
        assert_eq!(labels("Title\n\nOne.\n\n\nTwo.\n"), ["paragraph 1", "paragraph 2", "paragraph 3"]);
    }
}

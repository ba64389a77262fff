//! Steps 2 and 3 of the normalisation: hidden text never passes as text, and Markdown becomes what a reader sees.

use crate::license::text::scan::{COMMENT, HTML, STRUCK, after, before, is_digit, re, replace};
use regex::Captures;
use std::borrow::Cow;

// ---- step 2: hidden text never passes as text

const INLINE: &[&str] = &["b", "i", "em", "strong", "u", "code", "sub", "sup", "a", "tt"];
#[rustfmt::skip]
const BLOCK: &[&str] = &[
    "p", "br", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "div", "pre", "blockquote", "hr", "center", "table",
    "thead", "tbody", "tr", "td", "th", "dl", "dt", "dd", "html", "body",
];
#[rustfmt::skip]
const OTHER: &[&str] = &[
    "script", "style", "template", "noscript", "details", "summary", "span", "font", "ins", "object", "iframe", "svg",
    "img", "head", "meta", "link", "title", "mark", "small", "big", "section", "article", "header", "footer", "nav",
    "aside", "main", "input", "textarea", "button", "form", "select", "option", "label", "audio", "video", "canvas",
    "math", "picture", "source", "embed", "map", "area", "abbr", "cite", "q", "kbd", "samp", "var", "wbr", "base",
    "frame", "frameset", "noframes", "ruby", "rt", "rp", "bdo", "bdi", "figure", "figcaption", "dialog", "slot",
    "plaintext", "xmp", "listing", "marquee", "blink", "data", "time", "output", "progress", "meter", "param",
];

/// Step 2.
pub(in crate::license) fn hidden(text: &mut String) {
    if text.contains("]:") {
        replace(text, re!(r"(?m)^ {0,3}\[[^\]\n]*\]:\s*(?:#|<>)"), |whole, m| {
            let next = after(whole, m).next();
            next.is_none_or(|c| c.is_whitespace() || c == '(').then(|| COMMENT.into())
        });
    }
    if !text.contains(['<', '>']) {
        return;
    }
    replace(text, re!(r"<!--|--!?>|<!\[CDATA\["), |_, _| Some(COMMENT.into()));
    replace(text, re!(r"<[!?][^>]*>?"), |_, _| Some(HTML.into()));
    replace(text, re!(r"<(/?)([A-Za-z][A-Za-z0-9-]*)((?:\s|/)[^<>]*)?>"), |_, m| tag(m));
    *text = text.replace("\0inline\0", "");
    replace(text, re!(r"<((?:https?|mailto):[^<>\s]+)>"), |_, m| Some(format!(" {} ", &m[1]).into()));
    // a placeholder: its brackets go
    replace(text, re!(r"<([\p{L}\p{Nl}\p{No}][^<>\n]*(?:\n[^<>\n]+){0,2})>"), |_, m| {
        Some(format!(" {} ", &m[1]).into())
    });
}

/// What a tag leaves; `None`: it is no HTML element.
fn tag(m: &Captures<'_>) -> Option<Cow<'static, str>> {
    let name = m[2].to_lowercase();
    let (name, rest) = (name.as_str(), m.get(3).map_or("", |r| r.as_str()));
    let inline = INLINE.contains(&name);
    Some(Cow::Borrowed(if matches!(name, "s" | "del" | "strike") {
        STRUCK
    } else if inline || BLOCK.contains(&name) {
        let plain = re!(r#"(?i)\A(?:\s+(?:href|name|id|align)\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'>]+))*\s*/?\z"#);
        match (plain.is_match(rest), inline) {
            (false, _) => HTML,
            (true, true) => "\0inline\0",
            (true, false) => "\n",
        }
    } else if name == "span" && (!m[1].is_empty() || is_underline(rest)) {
        "\0inline\0"
    } else if OTHER.contains(&name) || name.contains('-') {
        HTML
    } else {
        return None;
    }))
}

fn is_underline(rest: &str) -> bool {
    re!(r#"(?i)\A\s+style\s*=\s*["']\s*text-decoration\s*:\s*underline\s*;?\s*["']\z"#).is_match(rest)
}

// ---- step 3: Markdown

/// Step 3.
pub(in crate::license) fn markdown(text: &mut String) {
    if text.contains("```") || text.contains("~~~") {
        replace(text, re!(r"(?m)^[ >]*(?:`{3,}|~{3,})[A-Za-z]*[ ]*$"), |_, _| Some("".into()));
    }
    replace(text, re!(r"(?m)^[ ]*[-=_*#+~|:][-=_*#+~|: ]{2,}$"), |_, _| Some("".into()));
    // a rule that reflow has moved into a line
    if text.contains("===") || text.contains("+++") {
        replace(text, re!(r"={3,}|\+{3,}"), |_, _| Some(" ".into()));
    }
    if text.contains("~~") {
        replace(text, re!(r"~{2,}"), |_, _| Some(STRUCK.into()));
    }
    if text.contains("](") {
        let link = re!(
            r#"!?\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(\s*<?([^\s()<>]*(?:\([^\s()]*\)[^\s()<>]*)*)>?(?:\s+["']([^"'\n]*)["'])?\s*\)"#
        );
        replace(text, link, |_, m| {
            let title = m.get(3).map(|t| t.as_str()).filter(|t| !t.is_empty());
            let linked = m[2].contains(['.', '/', ':', '#', '@']);
            linked.then(|| title.map_or(m[1].to_owned(), |title| format!("{} {title}", &m[1])).into())
        });
    }
    if text.contains('>') {
        strip_line_starts(text, quote_mark);
    }
    if text.contains('#') {
        strip_line_starts(text, heading_mark);
        replace(text, re!(r"(?m)[ ]+#{1,6}[ ]*$"), |_, _| Some("".into()));
    }
    strip_line_starts(text, bullet);
    if text.contains('\\') {
        replace(text, re!(r"\\"), |whole, m| match after(whole, m).next() {
            Some(c) if c.is_ascii_punctuation() => Some("".into()),
            _ => None,
        });
        replace(text, re!(r"\\"), |whole, m| {
            after(whole, m).next().is_none_or(char::is_whitespace).then(|| " ".into())
        });
    }
    if text.contains(['*', '`']) {
        replace(text, re!(r"[*`]+"), |whole, m| {
            let between = before(whole, m).is_some_and(is_digit) && after(whole, m).next().is_some_and(is_digit);
            Some(if between { " " } else { "" }.into())
        });
    }
    if text.contains('_') {
        *text = text.replace('_', " ");
    }
}

/// Takes away what `mark` finds at a line's start, its spaces too. `mark` sees the rest of the text after the spaces.
fn strip_line_starts(text: &mut String, mark: fn(&str) -> usize) {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let spaces = line.len() - line.trim_start_matches(' ').len();
        let marked = mark(&text[at + spaces..]);
        out.push_str(if marked > 0 { &line[spaces + marked..] } else { line });
        at += line.len();
    }
    *text = out;
}

/// `> > `, but not before a digit or a currency sign, where it compares.
fn quote_mark(rest: &str) -> usize {
    let (mut end, mut last) = (0, 0);
    while rest[end..].starts_with('>') {
        last = end;
        end += 1 + usize::from(rest[end + 1..].starts_with(' '));
    }
    let stays = |c: char| c.is_whitespace() || is_digit(c) || "$\u{20ac}\u{a3}\u{a5}\u{20a9}\u{20b9}=".contains(c);
    match rest[end..].chars().next() {
        Some(c) if end > 0 && !stays(c) => end,
        _ => last,
    }
}

fn heading_mark(rest: &str) -> usize {
    let marks = rest.len() - rest.trim_start_matches('#').len();
    if marks <= 6 && rest[marks..].starts_with(char::is_whitespace) { marks } else { 0 }
}

fn bullet(rest: &str) -> usize {
    const BULLETS: &str = "*+-\u{2022}\u{2023}\u{25aa}\u{25cf}\u{25cb}\u{25a0}\u{25a1}\u{25ba}\u{25b8}\u{25b6}\u{25c6}\u{25c7}\u{2043}\u{2219}\u{b7}\u{f0b7}";
    let mut chars = rest.chars();
    match (chars.next(), chars.next()) {
        (Some(c), Some(next)) if BULLETS.contains(c) && next.is_whitespace() => c.len_utf8(),
        _ => 0,
    }
}

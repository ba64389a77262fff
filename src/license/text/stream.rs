//! Normalisation 2: a licence file's text becomes a stream of tokens, so that reflow, quotes, Markdown and case don't
//! matter while a word, a number, a sign or a clause reference does. The steps stand in `docs/licences.md`.

use crate::digest::Sha256;
use crate::license::text::markup::{hidden, markdown};
use crate::license::text::scan::{
    CONTROL, DIRECTION, ZERO_WIDTH, after, before, is_alphanumeric, is_digit, is_mark, is_word, re, replace,
};
use regex::Captures;
use std::borrow::Cow;
use unicode_normalization::{UnicodeNormalization as _, is_nfkc};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

/// A licence file may not be larger than this.
pub const MAX_BYTES: u64 = 1 << 20;

/// The tokens of a text.
pub fn tokens(text: &str) -> Vec<String> {
    let mut text = lines(text);
    hidden(&mut text);
    markdown(&mut text);
    entities(&mut text);
    invisible(&mut text);
    marks_and_case(&mut text);
    copyright(&mut text);
    references(&mut text);
    numbers(&mut text);
    signs(&text)
}

/// The digest of a stream: SHA-256 over its tokens, joined by single spaces.
pub fn digest<S: AsRef<str>>(tokens: &[S]) -> Sha256 {
    let mut hasher = crate::digest::Hasher::default();
    for (i, token) in tokens.iter().enumerate() {
        if i > 0 {
            hasher.update(b" ");
        }
        hasher.update(token.as_ref().as_bytes());
    }
    hasher.finish()
}

// ---- step 1: lines

fn lines(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = text;
    loop {
        rest = push_plain(&mut out, rest, |b| matches!(b, b' '..=b'~' | b'\n'));
        let Some(c) = rest.chars().next() else { return out };
        rest = &rest[c.len_utf8()..];
        match c {
            '\r' => {
                rest = rest.strip_prefix('\n').unwrap_or(rest);
                out.push('\n');
            }
            '\u{2028}' | '\u{2029}' | '\u{85}' => out.push('\n'),
            '\t' | '\u{c}' | '\u{b}' => out.push(' '),
            c if is_control(c) => out.push_str(CONTROL),
            c => out.push(c),
        }
    }
}

/// Copies the bytes at the start that are ASCII and need no look; what is left.
fn push_plain<'t>(out: &mut String, text: &'t str, plain: impl Fn(u8) -> bool) -> &'t str {
    let end = text.bytes().position(|b| !b.is_ascii() || !plain(b)).unwrap_or(text.len());
    out.push_str(&text[..end]);
    &text[end..]
}

fn is_control(c: char) -> bool {
    use GeneralCategory as G;
    matches!(c.general_category(), G::Control | G::PrivateUse | G::Unassigned | G::Surrogate)
}

// ---- step 4: entities

fn entities(text: &mut String) {
    if !text.contains('&') {
        return;
    }
    let entity = re!(r"&(?:#([0-9]+);?|#[xX]([0-9a-fA-F]+);?|[^\t\n\x0C <&#;]{1,32};?)");
    replace(text, entity, |_, m| {
        let number = m.get(1).map(|d| (d, 10)).or_else(|| m.get(2).map(|d| (d, 16)));
        if number
            .and_then(|(digits, radix)| u32::from_str_radix(digits.as_str(), radix).ok())
            .is_some_and(is_no_character)
        {
            return Some("".into());
        }
        Some(htmlize::unescape(m.get(0)?.as_str()).into_owned().into())
    });
}

/// Numbers that no entity may stand for: they vanish.
fn is_no_character(n: u32) -> bool {
    matches!(n, 1..=8 | 0xb | 0xe..=0x1f | 0x7f | 0xfdd0..=0xfdef) || (n <= 0x10_ffff && n & 0xfffe == 0xfffe)
}

// ---- step 5: what cannot be seen

fn invisible(text: &mut String) {
    if text.is_ascii() || !text.contains(is_invisible) {
        return;
    }
    zero_width_in_words(text);
    text.retain(|c| !is_zero_width(c));
    replace(text, re!("[\u{200e}\u{200f}\u{202a}-\u{202e}\u{2066}-\u{2069}\u{61c}]+"), |_, _| Some(DIRECTION.into()));
    replace(text, re!("[\u{e0000}-\u{e0fff}]+"), |_, _| Some(ZERO_WIDTH.into()));
}

fn is_invisible(c: char) -> bool {
    let turns =
        |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}');
    !c.is_ascii() && (is_zero_width(c) || turns(c) || matches!(c, '\u{e0000}'..='\u{e0fff}'))
}

fn is_zero_width(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{ad}' | '\u{180e}' | '\u{34f}')
        || matches!(c, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{fe00}'..='\u{fe0f}')
}

/// A run between two word characters leaves a marker. (Some fillers are word characters themselves.)
fn zero_width_in_words(text: &mut String) {
    if !text.contains(is_zero_width) {
        return;
    }
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = at + chars[at..].iter().take_while(|c| is_zero_width(**c)).count();
        let begins = end > at && at > 0 && is_word(chars[at - 1]);
        match (at + 1..=end).rev().find(|&e| begins && chars.get(e).is_some_and(|c| is_word(*c))) {
            Some(end) => {
                out.push_str(ZERO_WIDTH);
                at = end;
            }
            None => {
                out.push(chars[at]);
                at += 1;
            }
        }
    }
    *text = out;
}

// ---- step 6: marks, compatibility forms, case

fn marks_and_case(text: &mut String) {
    let superscript = |c| matches!(c, '\u{b2}' | '\u{b3}' | '\u{b9}' | '\u{2070}' | '\u{2074}'..='\u{2079}');
    let trade_mark = |c| matches!(c, '\u{2122}' | '\u{2120}' | '\u{ae}');
    let is_ascii = text.is_ascii();
    if !is_ascii && text.contains(superscript) {
        replace(text, re!("[\u{b2}\u{b3}\u{b9}\u{2070}\u{2074}-\u{2079}]"), |_, m| {
            Some(format!("^{}", m[0].nfkc().collect::<String>()).into())
        });
    }
    if !is_ascii && text.contains(trade_mark) {
        text.retain(|c| !trade_mark(c));
    }
    if text.contains("(t") || text.contains("(T") {
        replace(text, re!(r"\([tT][mM]\)"), |_, _| Some("".into()));
    }
    if text.contains("(r") || text.contains("(R") {
        replace(text, re!(r"\([rR]\)"), |whole, m| {
            before(whole, m).is_some_and(|c| is_alphanumeric(c) && !is_digit(c)).then(|| "".into())
        });
    }
    if is_ascii {
        text.make_ascii_lowercase();
        return;
    }
    if text.contains(['\u{a0}', '\u{202f}', '\u{2009}']) {
        replace(text, re!("[\u{a0}\u{202f}\u{2009}]"), |whole, m| {
            let follow = after(whole, m).take(4).take_while(|c| is_digit(*c)).count();
            (follow == 3 && before(whole, m).is_some_and(is_digit)).then(|| ",".into())
        });
    }
    *text = folded(text);
}

/// NFKC, lower case, NFKC. Nothing composes with an ASCII character after it, so each run of other characters is folded
/// alone, with the character that it may compose with; only a capital sigma looks further.
fn folded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        let ascii = rest.bytes().position(|b| !b.is_ascii()).unwrap_or(rest.len());
        let plain = if ascii == rest.len() { ascii } else { ascii.saturating_sub(1) };
        let from = out.len();
        out.push_str(&rest[..plain]);
        out[from..].make_ascii_lowercase();
        rest = &rest[plain..];
        if rest.is_empty() {
            return out;
        }
        let first = usize::from(rest.as_bytes()[0].is_ascii());
        let end = rest.bytes().skip(first).position(|b| b.is_ascii()).map_or(rest.len(), |at| at + first);
        let run: String = rest[..end].nfkc().collect();
        if run.contains('\u{3a3}') {
            return nfkc(text.nfkc().collect::<String>().to_lowercase());
        }
        out.push_str(&nfkc(run.to_lowercase()));
        rest = &rest[end..];
    }
}

fn nfkc(text: String) -> String {
    if is_nfkc(&text) { text } else { text.nfkc().collect() }
}

// ---- step 7: copyright marks and references

fn copyright(text: &mut String) {
    if text.contains("(c)") || text.contains('\u{a9}') {
        replace(text, re!(r"copyright[\s:]*(?:\(c\)|\x{a9})"), |whole, m| {
            (!before(whole, m).is_some_and(is_word)).then(|| "copyright ".into())
        });
        replace(text, re!(r"(?:\(c\)|\x{a9})[\s:]*copyright"), |whole, m| {
            let free = m[0].starts_with('\u{a9}') || stands_free(whole, m);
            (free && !after(whole, m).next().is_some_and(is_word)).then(|| " copyright".into())
        });
        replace(text, re!(r"\(c\)\s*"), |whole, m| {
            let rest = &whole[m.get(0)?.end()..];
            (stands_free(whole, m) && begins_with_year(rest)).then(|| " copyright ".into())
        });
        *text = text.replace('\u{a9}', " copyright ");
    }
    if text.contains("https://") {
        *text = text.replace("https://", "http://");
    }
}

/// Not a reference, as in `3(c)` or `2(b)(c)`.
fn stands_free(whole: &str, m: &Captures<'_>) -> bool {
    !before(whole, m).is_some_and(|c| is_word(c) || c == ')')
}

fn begins_with_year(rest: &str) -> bool {
    let ends = |rest: &str| !rest.chars().next().is_some_and(is_word);
    if let Some(year) = rest.strip_prefix("19").or_else(|| rest.strip_prefix("20")) {
        let mut chars = year.chars();
        return chars.next().is_some_and(is_digit) && chars.next().is_some_and(is_digit) && ends(chars.as_str());
    }
    let word = rest.strip_prefix(['[', '<', '{']).unwrap_or(rest);
    word.starts_with("yyyy") || word.strip_prefix("year").is_some_and(ends)
}

/// `2(b)(ii)` stays one token: its brackets become private marks until the last step.
fn references(text: &mut String) {
    if !text.contains('(') {
        return;
    }
    let bracket = re!(r"\(([a-z]{1,4}|[0-9]{1,2})\)");
    for follows in ["0123456789", "\x03", "\x03", "\x03", "\x03"] {
        let mut changed = false;
        replace(text, bracket, |whole, m| {
            let joined = before(whole, m).is_some_and(|c| follows.contains(c));
            changed |= joined;
            joined.then(|| format!("\x02{}\x03", &m[1]).into())
        });
        if !changed {
            return;
        }
    }
}

// ---- step 9: numbers

fn numbers(text: &mut String) {
    *text = join_groups(text, |c| matches!(c, ',' | '\'' | '\u{2019}'), 1);
    *text = join_groups(text, |c| c == '.', 2);
    for (sign, mark) in [('.', '\x04'), ('/', '\x05'), ('\u{2044}', '\x05')] {
        if text.contains(sign) {
            *text = join_digits(text, sign, mark);
        }
    }
}

/// `1,000,000` becomes `1000000`: one to three digits, then at least `least` groups of a separator and three digits.
fn join_groups(text: &str, separates: fn(char) -> bool, least: usize) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut last) = (text, None);
    loop {
        let length = rest.len();
        rest = push_plain(&mut out, rest, |b| !b.is_ascii_digit());
        if rest.len() < length {
            last = out.chars().next_back();
        }
        let Some(c) = rest.chars().next() else { return out };
        let begins = is_digit(c) && !last.is_some_and(|l| is_digit(l) || l == '.' || l == ',');
        let end = if begins { groups_end(rest, separates, least) } else { None };
        let taken = &rest[..end.unwrap_or(c.len_utf8())];
        if end.is_some() {
            out.extend(taken.chars().filter(|c| is_digit(*c)));
        } else {
            out.push(c);
        }
        last = taken.chars().next_back();
        rest = &rest[taken.len()..];
    }
}

fn groups_end(text: &str, separates: fn(char) -> bool, least: usize) -> Option<usize> {
    let digits = |text: &str| text.chars().take(4).take_while(|c| is_digit(*c)).map(char::len_utf8).collect::<Vec<_>>();
    let head = digits(text);
    if head.len() > 3 {
        return None;
    }
    let (mut end, mut groups) = (head.iter().sum::<usize>(), 0);
    loop {
        let separator = text[end..].chars().next().filter(|c| separates(*c)).map(char::len_utf8);
        let group = separator.map(|length| digits(&text[end + length..]));
        match (separator, group) {
            (Some(length), Some(group)) if group.len() == 3 => {
                end += length + group.iter().sum::<usize>();
                groups += 1;
            }
            _ => return (groups >= least).then_some(end),
        }
    }
}

fn join_digits(text: &str, sign: char, mark: char) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (place, _) in text.match_indices(sign) {
        let next = place + sign.len_utf8();
        let follows = text[next..].chars().next().is_some_and(is_digit);
        if follows && text[..place].chars().next_back().is_some_and(is_digit) {
            out.push_str(&text[at..place]);
            out.push(mark);
            at = next;
        }
    }
    out.push_str(&text[at..]);
    out
}

// ---- step 10 and 11: signs, white space

fn signs(text: &str) -> Vec<String> {
    let mut text = Cow::Borrowed(text);
    if text.contains("us$") {
        let dollars = re!(r"us\$").replace_all(&text, |m: &Captures<'_>| {
            if before(&text, m).is_some_and(is_word) { m[0].to_owned() } else { " usd ".to_owned() }
        });
        text = Cow::Owned(dollars.into_owned());
    }
    for (sign, one) in [("<=", "\u{2264}"), (">=", "\u{2265}")] {
        if text.contains(sign) {
            text = Cow::Owned(text.replace(sign, one));
        }
    }
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = &*text;
    loop {
        rest = push_plain(&mut out, rest, |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b' ' | b'\n' | b'\0'));
        let Some(c) = rest.chars().next() else { break };
        push_sign(&mut out, c);
        rest = &rest[c.len_utf8()..];
    }
    if out.contains('\0') {
        let marker = re!(r"\x00([a-z ]+?)\x00");
        out = marker.replace_all(&out, |m: &Captures<'_>| format!(" <!{}> ", m[1].replace(' ', "-"))).into_owned();
    }
    let space = |c: char| c == ' ' || c == '\n' || c == '\0' || (!matches!(c, '!'..='~') && c.is_whitespace());
    out.split(space).filter(|t| !t.is_empty()).map(str::to_owned).collect()
}

fn push_sign(out: &mut String, c: char) {
    match c {
        '$' => out.push_str(" usd "),
        '\u{20ac}' => out.push_str(" eur "),
        '\u{a3}' => out.push_str(" gbp "),
        '\u{20a9}' => out.push_str(" krw "),
        '\u{20b9}' => out.push_str(" inr "),
        '\u{a5}' => out.push_str(" yen "),
        '&' => out.push_str(" and "),
        '\u{2a7d}' => out.push_str(" \u{2264} "),
        '\u{2a7e}' => out.push_str(" \u{2265} "),
        '\x02' => out.push('('),
        '\x03' => out.push(')'),
        '\x04' => out.push('.'),
        '\x05' => out.push('/'),
        '|' | '`' | '\u{b4}' => out.push(' '),
        c if is_alphanumeric(c) || is_mark(c) => out.push(c),
        c if is_sign(c) => out.extend([' ', c, ' ']),
        _ => out.push(' '),
    }
}

fn is_sign(c: char) -> bool {
    use GeneralCategory as G;
    matches!(c, '%' | '\u{2030}' | '\u{a7}' | '^')
        || matches!(c.general_category(), G::MathSymbol | G::CurrencySymbol | G::OtherSymbol)
}

#[cfg(test)]
mod tests {
    use super::tokens;

    /// Made with the first writing of the normalisation, in Python; both agree on every known licence text.
    #[test]
    fn texts_become_these_tokens() {
        for (text, wanted) in [
            ("Copyright (c) 2024 Example", "copyright 2024 example"),
            ("(C) copyright 2024", "copyright 2024"),
            ("\u{a9} 2024 (c) [yyyy]", "copyright 2024 copyright yyyy"),
            ("no(c)te: 3(c), 2(b)(ii) and (a)", "no c te 3(c) 2(b)(ii) and a"),
            ("1,000,000 1.000.000 1'000'000 1,234,5678 12.5 1/2", "1000000 1000000 1000000 1234 5678 12.5 1/2"),
            ("US$5 \u{20ac}7 \u{a3}8 \u{a5}9 100%", "usd 5 eur 7 gbp 8 yen 9 100 %"),
            ("<b>bold</b>ly <i class=x>no</i> <script>", "boldly <!html> no <!html>"),
            ("a<!-- x -->b ~~c~~", "a <!comment> x <!comment> b <!struck> c <!struck>"),
            ("[text](http://a.b/c) [a](b) <https://a.b> <name of holder>", "text a b http a b name of holder"),
            ("# Head #\n> quoted\n> 5 users\n- item\n* * *\n\n```rust\ncode", "head quoted > 5 users item code"),
            ("a\u{200b}b \u{200b} \u{202e}c", "a <!zero-width> b <!direction> c"),
            ("&lt;b&gt; &amp; &#169; &nbsp;x &notanentity;", "< b > and copyright x \u{ac} anentity"),
            ("x\u{b2} Foo\u{2122} Bar(r) (r)", "x ^ 2 foo bar r"),
            ("\u{201c}Quotes\u{201d} \u{2014} don\u{2019}t", "quotes don t"),
            ("\\* _under_ 5*6", "under 5 6"),
            ("a <= b >= c \u{2264} d", "a \u{2264} b \u{2265} c \u{2264} d"),
            ("[//]: # (hidden)", "<!comment> hidden"),
            ("na\u{ef}ve \u{fb01} \u{3a3}", "na\u{ef}ve fi \u{3c3}"),
            ("tab\there\r\nform\u{c}feed \u{7}", "tab here form feed <!control>"),
        ] {
            assert_eq!(tokens(text).join(" "), wanted, "{text}");
        }
    }
}

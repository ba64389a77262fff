//! Reading text by patterns and characters: what the normalisation's steps share. Linear time, whatever the text.

use regex::{Captures, Regex};
use std::borrow::Cow;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory as _};

/// A pattern, compiled once where it stands.
macro_rules! re {
    ($pattern:expr) => {{
        static PATTERN: std::sync::LazyLock<regex::Regex> =
            std::sync::LazyLock::new(|| regex::Regex::new($pattern).expect("our own pattern"));
        &*PATTERN
    }};
}
pub(in crate::license) use re;

/// What hidden text leaves in the stream, between two NULs until the last step.
pub(in crate::license) const COMMENT: &str = " \0comment\0 ";
pub(in crate::license) const STRUCK: &str = " \0struck\0 ";
pub(in crate::license) const HTML: &str = " \0html\0 ";
pub(in crate::license) const ZERO_WIDTH: &str = " \0zero-width\0 ";
pub(in crate::license) const DIRECTION: &str = " \0direction\0 ";
pub(in crate::license) const CONTROL: &str = " \0control\0 ";

/// As Python's `str.isalnum`, in which the normalisation was first written.
pub(in crate::license) fn is_alphanumeric(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || (!c.is_ascii()
            && matches!(c.general_category_group(), GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number))
}

pub(in crate::license) fn is_mark(c: char) -> bool {
    !c.is_ascii() && c.general_category_group() == GeneralCategoryGroup::Mark
}

pub(in crate::license) fn is_word(c: char) -> bool {
    c == '_' || is_alphanumeric(c)
}

pub(in crate::license) fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || (!c.is_ascii() && c.general_category() == GeneralCategory::DecimalNumber)
}

pub(in crate::license) fn before(whole: &str, m: &Captures<'_>) -> Option<char> {
    whole[..m.get(0)?.start()].chars().next_back()
}

pub(in crate::license) fn after<'h>(whole: &'h str, m: &Captures<'_>) -> std::str::Chars<'h> {
    whole[m.get(0).map_or(whole.len(), |m| m.end())..].chars()
}

/// Replaces each match by what `with` says; `None` leaves it.
pub(in crate::license) fn replace<'r>(
    text: &mut String,
    pattern: &Regex,
    mut with: impl FnMut(&str, &Captures<'_>) -> Option<Cow<'r, str>>,
) {
    let whole = std::mem::take(text);
    let mut at = 0;
    for m in pattern.captures_iter(&whole) {
        let (start, end) = m.get(0).map_or((0, 0), |m| (m.start(), m.end()));
        if let Some(instead) = with(&whole, &m) {
            text.push_str(&whole[at..start]);
            text.push_str(&instead);
            at = end;
        }
    }
    if at == 0 {
        *text = whole;
    } else {
        text.push_str(&whole[at..]);
    }
}

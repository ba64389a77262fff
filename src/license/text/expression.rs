//! A licence that is named by an SPDX expression, as cards and file headers have them; the `spdx` crate parses it. What
//! each of its licences says is for their records.

use spdx::expression::{ExprNode, Operator};
use spdx::{Expression, ParseMode};

/// A file of at most so many bytes may be nothing but a header.
const MAX_HEADER: usize = 512;
const HEADER: &str = "SPDX-License-Identifier:";

/// What an expression asks for.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::license) enum Named {
    /// All of them bind.
    All(Vec<Term>),
    /// One of several is to be picked, by a person.
    Choice,
}

/// One licence of an expression.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::license) struct Term {
    /// An id of the list, or `LicenseRef-…`; where a later version may be taken, the one that is named.
    pub license: String,
    /// What is permitted beyond it.
    pub exception: Option<String>,
}

/// Reads a name: what is no expression stands for itself.
pub(in crate::license) fn read(named: &str) -> Named {
    let alone = || Named::All(vec![Term { license: named.trim().to_owned(), exception: None }]);
    let Ok(expression) = Expression::parse_mode(named.trim(), ParseMode::LAX) else { return alone() };
    if expression.iter().any(|node| matches!(node, ExprNode::Op(Operator::Or))) {
        return Named::Choice;
    }
    Named::All(expression.requirements().map(|r| term(&r.req)).collect())
}

fn term(required: &spdx::LicenseReq) -> Term {
    let license = required.license.to_string();
    let plain = license.trim_end_matches('+');
    // the later version is the taker's choice; the one that is named holds until then
    let license = plain.strip_suffix("-or-later").map_or_else(|| plain.to_owned(), |version| format!("{version}-only"));
    Term { license, exception: required.addition.as_ref().map(ToString::to_string) }
}

/// The expression of a file that holds no licence but names one.
pub(in crate::license) fn header(text: &str) -> Option<&str> {
    if text.len() > MAX_HEADER {
        return None;
    }
    let tagged = text.split_once(HEADER).map(|(_, rest)| rest.lines().next().unwrap_or_default());
    let named = tagged.unwrap_or(text).trim();
    let is_one = !named.is_empty() && !named.contains('\n') && Expression::parse_mode(named, ParseMode::LAX).is_ok();
    is_one.then_some(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_and_names_are_left() {
        let all = |named: &str| match read(named) {
            Named::Choice => vec!["a choice".to_owned()],
            Named::All(terms) => terms.into_iter().map(|t| t.license + &t.exception.unwrap_or_default()).collect(),
        };
        assert_eq!(all("Apache-2.0 OR MIT"), ["a choice"]);
        assert_eq!(all("(MIT OR Apache-2.0) AND CC-BY-4.0"), ["a choice"]);
        assert_eq!(all("MIT AND CC-BY-NC-4.0"), ["MIT", "CC-BY-NC-4.0"]);
        assert_eq!(all("GPL-2.0-only WITH Classpath-exception-2.0"), ["GPL-2.0-onlyClasspath-exception-2.0"]);
        assert_eq!(all("GPL-3.0-or-later"), ["GPL-3.0-only"]);
        assert_eq!(all("LicenseRef-llama-2"), ["LicenseRef-llama-2"]);
        for name in ["llama2", "other", "", "gemma terms of use", "a AND"] {
            assert_eq!(all(name), [name]);
        }
    }

    #[test]
    fn a_header_is_no_text() {
        assert_eq!(header("SPDX-License-Identifier: Apache-2.0 OR MIT\n"), Some("Apache-2.0 OR MIT"));
        assert_eq!(header("MIT\n"), Some("MIT"));
        for text in ["", "Copyright 2024 Example Works", "MIT\nbut not for sale", &"x ".repeat(400)] {
            assert_eq!(header(text), None, "{text}");
        }
    }
}

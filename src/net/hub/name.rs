//! How a repository and its revision are named: `owner/name`, and a commit, branch or tag.

use crate::error::{Code, Error, Result};
use std::fmt;

/// `owner/name`, as on the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

/// A commit (40 hex digits), or a branch or tag, which may be another commit tomorrow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision(String);

/// The hub's own limit for a name.
const MAX_NAME_BYTES: usize = 96;
/// A branch may not be longer than this.
const MAX_REVISION_BYTES: usize = 200;

impl Name {
    /// Reads `owner/name`.
    pub fn parse(text: &str) -> Result<Self> {
        let part = |p: &str| {
            !p.is_empty()
                && !p.starts_with(['-', '.'])
                && !p.ends_with(['-', '.'])
                && !p.contains("..")
                && !p.contains("--")
                && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        };
        match text.split_once('/') {
            Some((owner, name)) if text.len() <= MAX_NAME_BYTES && part(owner) && part(name) => Ok(Self(text.into())),
            _ => Err(Error::new(Code::Usage, format!("not a name on the hub: {}", text.escape_debug()))
                .with_hint("it is `owner/name`, as in the model's address")),
        }
    }

    /// `models--owner--name`: its folder in the cache.
    pub fn folder(&self) -> String {
        format!("models--{}", self.0.replace('/', "--"))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Revision {
    /// Reads a revision; without one it is the branch `main`.
    pub fn parse(text: Option<&str>) -> Result<Self> {
        let text = text.unwrap_or("main");
        let part = |p: &str| {
            !p.is_empty()
                && !p.starts_with(['-', '.'])
                && !p.contains("..")
                && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._+".contains(&b))
        };
        if text.len() <= MAX_REVISION_BYTES && text.split('/').all(part) {
            return Ok(Self(text.into()));
        }
        Err(Error::new(Code::Usage, format!("not a revision on the hub: {}", text.escape_debug()))
            .with_hint("a commit of 40 hex digits; a branch or tag works, but may be another commit tomorrow"))
    }

    /// Does it always mean the same files?
    pub fn is_commit(&self) -> bool {
        is_commit(&self.0)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// 40 lower-case hex digits.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_revisions_stay_in_their_folder() {
        assert_eq!(Name::parse("example-org/tiny_1.0").unwrap().folder(), "models--example-org--tiny_1.0");
        for wrong in ["", "tiny", "a/b/c", "../b", "a/..", "a/", "/b", "a b/c", "a/b?", "a--b/c", "é/x", "a/.b"] {
            assert!(Name::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Revision::parse(Some(&"0a".repeat(20))).unwrap().is_commit());
        for right in [None, Some("main"), Some("v1.0"), Some("refs/pr/3")] {
            assert!(!Revision::parse(right).unwrap().is_commit());
        }
        for wrong in ["", "../x", "a/../b", "a//b", "/a", "a b", "a%2f", "-x", "a\0"] {
            assert!(Revision::parse(Some(wrong)).is_err(), "{wrong}");
        }
    }
}

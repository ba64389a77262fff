//! Where an artifact is: `HOST[:PORT]/REPOSITORY:TAG` or `…@sha256:DIGEST`, as the OCI distribution specification spells it.

use crate::digest::Sha256;
use crate::error::{Code, Error, Result};
use crate::net::url::{Url, is_loopback};
use std::fmt;

/// The specification's limits.
const MAX_REPOSITORY_BYTES: usize = 255;
const MAX_TAG_BYTES: usize = 128;

/// An artifact in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// As it was written, with its port.
    pub host: String,
    /// `team/product`.
    pub repository: String,
    /// Which of the repository's artifacts.
    pub target: Target,
}

/// Which artifact of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// By a name that may move.
    Tag(String),
    /// By its content.
    Digest(Sha256),
}

impl Reference {
    /// Reads a reference; host and tag (or digest) must stand there.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::new(Code::Usage, format!("{why}: {}", text.escape_debug()))
                .with_hint("for example registry.example/team/helpdesk:1.0.0-acme")
        };
        let (host, rest) = text.split_once('/').ok_or_else(|| wrong("not a reference to a registry"))?;
        if !(host.contains(['.', ':']) || host == "localhost") || host.contains('@') {
            return Err(wrong("a reference begins with the registry's host"));
        }
        let (repository, target) = match (rest.split_once('@'), rest.rsplit_once(':')) {
            (Some((repository, digest)), _) => {
                let digest = digest.strip_prefix("sha256:").and_then(|d| d.parse().ok());
                (repository, Target::Digest(digest.ok_or_else(|| wrong("not a sha256 digest"))?))
            }
            (None, Some((repository, tag))) if is_tag(tag) => (repository, Target::Tag(tag.into())),
            _ => return Err(wrong("a reference ends in a tag or a digest")),
        };
        if repository.len() > MAX_REPOSITORY_BYTES || !repository.split('/').all(is_component) {
            return Err(wrong("not the name of a repository"));
        }
        let reference = Self { host: host.into(), repository: repository.into(), target };
        reference.url("").map_err(|_| wrong("not a registry's host"))?;
        Ok(reference)
    }

    /// The address of something in the repository: `/blobs/…`. Encrypted, unless the registry is on this machine.
    pub fn url(&self, path: &str) -> Result<Url> {
        let name = self.host.rsplit_once(':').map_or(self.host.as_str(), |(name, _)| name);
        let (scheme, host) = match self.host.as_str() {
            "docker.io" => ("https", "registry-1.docker.io"),
            host if is_loopback(name) => ("http", host),
            host => ("https", host),
        };
        Url::parse(&format!("{scheme}://{host}/v2/{}{path}", self.repository))
    }

    /// The same repository, by content.
    pub fn with_digest(&self, digest: Sha256) -> Self {
        Self { target: Target::Digest(digest), ..self.clone() }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Tag(tag) => write!(f, "{}/{}:{tag}", self.host, self.repository),
            Target::Digest(digest) => write!(f, "{}/{}@sha256:{digest}", self.host, self.repository),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tag(tag) => f.write_str(tag),
            Target::Digest(digest) => write!(f, "sha256:{digest}"),
        }
    }
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]*`, short.
fn is_tag(tag: &str) -> bool {
    (1..=MAX_TAG_BYTES).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Lower-case letters and digits, joined by `.`, `_`, `__` or hyphens.
fn is_component(text: &str) -> bool {
    let inner = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    let ends = |c: Option<u8>| c.is_some_and(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9'));
    ends(text.bytes().next())
        && ends(text.bytes().last())
        && text.bytes().all(inner)
        && !["..", "___", "._", "_.", ".-", "-.", "_-", "-_"].iter().any(|pair| text.contains(pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_read_as_it_is_shown() {
        let digest = format!("registry.example/a@sha256:{}", "0a".repeat(32));
        for text in ["registry.example/team/helpdesk:1.0.0-acme", "127.0.0.1:5000/a/b:x", "localhost/a:_1", &digest] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "helpdesk:1",
            "team/helpdesk:1",
            "registry.example/helpdesk",
            "registry.example/Helpdesk:1",
            "registry.example/a/../b:1",
            "registry.example//a:1",
            "registry.example/a:1/b",
            "registry.example/a:-1",
            "registry.example/a@sha256:0",
            "user@registry.example/a:1",
            "registry.example:x/a:1",
            "registry.example/a b:1",
            "registry.example/a?b:1",
        ] {
            assert!(Reference::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_a_registry_on_this_machine_is_asked_in_clear() {
        let url = |text| Reference::parse(text).unwrap().url("/blobs/x").unwrap().to_string();
        assert_eq!(url("127.0.0.1:5000/a:1"), "http://127.0.0.1:5000/v2/a/blobs/x");
        assert_eq!(url("registry.example:5000/a:1"), "https://registry.example:5000/v2/a/blobs/x");
        assert_eq!(url("docker.io/team/a:1"), "https://registry-1.docker.io/v2/team/a/blobs/x");
    }
}

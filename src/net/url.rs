//! An address that this program is willing to connect to: `https`, or `http` on this very machine.

use crate::error::{Code, Error, Result};
use std::fmt;
use std::net::IpAddr;
use ureq::http::Uri;

/// An address may not be longer than this.
const MAX_BYTES: usize = 16 << 10;

/// An absolute address without user, password or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    secure: bool,
    /// `host` or `host:port`, in lower case.
    authority: String,
    /// Begins with `/`; a query may follow.
    path: String,
}

impl Url {
    /// Reads an address; refuses what would go over the network in clear.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::new(Code::Network, format!("{why}: {}", shown(text)));
        let uri: Uri = match text.len() <= MAX_BYTES {
            true => text.parse().map_err(|_| wrong("not an address"))?,
            false => return Err(wrong("an address that is too long")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("an address without a host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("an address with a user in it"));
        }
        if authority.port_u16().is_none() && authority.as_str() != authority.host() {
            return Err(wrong("an address whose port is no number"));
        }
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_loopback(authority.host()) => false,
            Some("http") => {
                return Err(
                    wrong("an address without encryption").with_hint("use https; http is for this machine only")
                );
            }
            _ => return Err(wrong("an address that is neither https nor http")),
        };
        let path = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        Ok(Self { secure, authority: authority.as_str().to_ascii_lowercase(), path })
    }

    /// The same host, another path (and query), which begins with `/`.
    pub fn at(&self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
    }

    /// The path after this one's, which must not end in `/`.
    pub fn below(&self, path: &str) -> Self {
        self.at(&format!("{}{path}", self.path.trim_end_matches('/')))
    }

    /// The same address with one more parameter, whose value is escaped.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let sign = if self.path.contains('?') { '&' } else { '?' };
        self.at(&format!("{}{sign}{name}={}", self.path, escape(value)))
    }

    /// Where a server's `Location` leads from here: never from `https` to `http`, nor off this machine from it.
    pub fn join(&self, location: &str) -> Result<Self> {
        let next = match location {
            path if path.starts_with('/') && !path.starts_with("//") => {
                Self::parse(&format!("{}{path}", self.origin()))?
            }
            absolute => Self::parse(absolute)?,
        };
        if self.secure != next.secure {
            let message = format!("a redirect between https and http: {}", shown(location));
            return Err(Error::new(Code::Network, message));
        }
        Ok(next)
    }

    /// Is a secret for `self` also one for `other`?
    pub fn same_host(&self, other: &Self) -> bool {
        (self.secure, &self.authority) == (other.secure, &other.authority)
    }

    /// Host and port, for messages.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// `https://host`, without a path.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.secure { "https" } else { "http" }, self.authority)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.path)
    }
}

/// One component of a path, or a query's value: what is not plain is escaped, `/` too.
pub fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// An address for a message: without its query, which may hold a signature.
fn shown(text: &str) -> String {
    let plain = text.split(['?', '#']).next().unwrap_or_default();
    let end = plain.char_indices().nth(200).map_or(plain.len(), |(at, _)| at);
    plain[..end].escape_debug().to_string()
}

/// Is it a name or number of this very machine?
pub fn is_loopback(host: &str) -> bool {
    let number = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || number.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_encrypted_or_local_addresses_are_taken() {
        for good in ["https://a.example", "http://127.0.0.1:5000/v2/", "http://localhost:1", "http://[::1]:80/x?y=z"] {
            assert!(Url::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "http://a.example/",
            "http://127.0.0.1.evil.example/",
            "http://localhost.evil.example/",
            "ftp://a.example/",
            "file:///etc/passwd",
            "https://user:word@a.example/",
            "/x",
            "",
            "https://",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_redirect_stays_encrypted() {
        let (far, near) = (Url::parse("https://a.example/x/y").unwrap(), Url::parse("http://127.0.0.1:1/x").unwrap());
        assert_eq!(far.join("/z?q=1").unwrap().to_string(), "https://a.example/z?q=1");
        assert_eq!(far.join("https://b.example/z").unwrap().authority(), "b.example");
        assert!(near.join("http://127.0.0.1:2/z").is_ok());
        for (from, to) in [
            (&far, "http://a.example/z"),
            (&far, "http://127.0.0.1/z"),
            (&near, "http://a.example/z"),
            (&near, "https://a.example/z"),
            (&far, "z"),
            (&far, "//b.example/z"),
        ] {
            assert!(from.join(to).is_err(), "{from} {to}");
        }
        assert!(!far.same_host(&far.join("https://a.example:444/").unwrap()));
    }

    #[test]
    fn a_value_cannot_leave_its_place() {
        let url = Url::parse("https://a.example/x").unwrap().with("scope", "a b&c=d/e");
        assert_eq!(url.to_string(), "https://a.example/x?scope=a%20b%26c%3Dd%2Fe");
    }
}

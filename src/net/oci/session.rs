//! Requests to one registry: when it asks who we are, it is told, and the request is made again.

use super::credentials;
use super::reference::Reference;
use crate::error::{Code, Error, Result};
use crate::net::http::{Answer, Ask, Client};
use crate::net::url::Url;
use std::collections::BTreeMap;
use std::io::Read;
use ureq::SendBody;
use zeroize::Zeroizing;

/// Bytes of a token server's answer.
const MAX_TOKEN_BYTES: u64 = 1 << 20;
/// Bytes of an error that a registry explains.
const MAX_ERROR_BYTES: u64 = 64 << 10;

/// A registry's repository, and what has been learnt about asking it.
pub struct Session {
    client: Client,
    reference: Reference,
    /// `pull` or `pull,push`.
    actions: &'static str,
    /// `Authorization`, since the registry asked for it.
    secret: Option<Zeroizing<String>>,
}

/// What is sent: how many bytes, and where they come from. Asked for again when a request is made again.
pub type Body<'b> = (u64, Box<dyn Read + 'b>);

impl Session {
    /// Opens no connection yet.
    pub fn new(reference: &Reference, push: bool) -> Result<Self> {
        let actions = if push { "pull,push" } else { "pull" };
        Ok(Self { client: Client::new()?, reference: reference.clone(), actions, secret: None })
    }

    /// For requests that need nothing but this.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// `Authorization`, as far as the registry wanted one.
    pub fn secret(&self) -> Option<&Zeroizing<String>> {
        self.secret.as_ref()
    }

    /// The address of something in the repository.
    pub fn url(&self, path: &str) -> Result<Url> {
        self.reference.url(path)
    }

    /// Asks; a redirect is followed.
    pub fn get(&mut self, url: &Url, headers: &[(&str, &str)]) -> Result<Answer> {
        let answer = self.client.get(url, Ask { headers, secret: self.secret.as_ref() })?;
        if answer.status != 401 {
            return Ok(answer);
        }
        self.log_in(&answer)?;
        self.client.get(url, Ask { headers, secret: self.secret.as_ref() })
    }

    /// Sends; a redirect is an answer. Nothing is repeated but for the registry's question who asks.
    pub fn send<'b>(
        &mut self,
        method: &str,
        url: &Url,
        headers: &[(&str, &str)],
        mut body: impl FnMut() -> Result<Body<'b>>,
    ) -> Result<Answer> {
        let answer = self.send_once(method, url, headers, body()?)?;
        if answer.status != 401 {
            return Ok(answer);
        }
        self.log_in(&answer)?;
        self.send_once(method, url, headers, body()?)
    }

    fn send_once(&self, method: &str, url: &Url, headers: &[(&str, &str)], body: Body<'_>) -> Result<Answer> {
        let (length, mut body) = body;
        let length = length.to_string();
        let mut all = headers.to_vec();
        if method != "HEAD" {
            all.push(("content-length", &length));
        }
        let own = url.same_host(&self.url("")?);
        let ask = Ask { headers: &all, secret: self.secret.as_ref().filter(|_| own) };
        match method {
            "HEAD" => self.client.send(method, url, ask, ()),
            _ => self.client.send(method, url, ask, SendBody::from_reader(&mut *body)),
        }
    }

    /// Answers `WWW-Authenticate`: with the credentials themselves, or with a token that they buy.
    pub fn log_in(&mut self, refusal: &Answer) -> Result<()> {
        let challenge = refusal.own_header("www-authenticate").unwrap_or_default();
        let (scheme, parameters) = parse_challenge(challenge);
        let known = credentials::of_user(&self.reference.host)?;
        self.secret = match scheme.as_str() {
            "basic" => Some(known.ok_or_else(|| self.unknown())?),
            "bearer" => Some(self.token(&parameters, known.as_ref())?),
            _ => return Err(self.refused(refusal.refused(&self.reference.to_string()))),
        };
        Ok(())
    }

    fn token(
        &self,
        parameters: &BTreeMap<String, String>,
        known: Option<&Zeroizing<String>>,
    ) -> Result<Zeroizing<String>> {
        let wrong = |why: &str| Error::new(Code::Network, format!("{}: {why}", self.reference.host));
        let realm = parameters.get("realm").ok_or_else(|| wrong("it wants a token and does not say whose"))?;
        // a registry on this machine may send to a token server on it, any other only to an encrypted one
        let mut url = self.url("")?.join(realm)?;
        if let Some(service) = parameters.get("service") {
            url = url.with("service", service);
        }
        // what we mean to do, not what the registry would like us to ask for
        url = url.with("scope", &format!("repository:{}:{}", self.reference.repository, self.actions));
        let answer =
            self.client.patiently(|| self.client.send("GET", &url, Ask { headers: &[], secret: known }, ()))?;
        if answer.status != 200 {
            return Err(self.refused(answer.refused(&self.reference.to_string())));
        }
        let bytes = Zeroizing::new(answer.bytes(MAX_TOKEN_BYTES)?);
        let token = token_in(&bytes).ok_or_else(|| wrong("its token server gives no token"))?;
        Ok(Zeroizing::new(format!("Bearer {}", token.as_str())))
    }

    fn unknown(&self) -> Error {
        self.refused(Error::new(Code::AccessDenied, format!("{}: it wants to know who asks", self.reference)))
    }

    fn refused(&self, error: Error) -> Error {
        match error.code {
            Code::AccessDenied => error.with_hint(format!(
                "log in with `docker login {0}`, `podman login {0}` or `skopeo login {0}`, with an account that may",
                self.reference.host
            )),
            _ => error,
        }
    }

    /// The error that an answer is, with what the registry says of it.
    pub fn failure(&self, what: &str, answer: Answer) -> Error {
        let error = answer.refused(what);
        let said = answer.bytes(MAX_ERROR_BYTES).ok().and_then(|bytes| said(&bytes));
        let message = said.map_or_else(|| error.to_string(), |said| format!("{error}: {said}"));
        self.refused(Error::new(error.code, message))
    }
}

/// A token, out of what a token server says.
fn token_in(bytes: &[u8]) -> Option<Zeroizing<String>> {
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Tokens {
        #[serde(deserialize_with = "credentials::secret")]
        token: Zeroizing<String>,
        #[serde(deserialize_with = "credentials::secret")]
        access_token: Zeroizing<String>,
    }
    let tokens: Tokens = serde_json::from_slice(bytes).ok()?;
    let token = if tokens.token.is_empty() { tokens.access_token } else { tokens.token };
    Some(token).filter(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_graphic()))
}

/// `{"errors": [{"code", "message"}]}`, the first.
fn said(bytes: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let error = value.get("errors")?.get(0)?;
    let word = |key| error.get(key).and_then(|v| v.as_str()).unwrap_or_default();
    let text: String = format!("{} {}", word("code"), word("message")).chars().take(200).collect();
    Some(text.trim().escape_debug().to_string())
}

/// `Bearer realm="https://…",service="…"`: the scheme in lower case, and its parameters.
fn parse_challenge(text: &str) -> (String, BTreeMap<String, String>) {
    let (scheme, mut rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let mut parameters = BTreeMap::new();
    while let Some((name, value)) = rest.split_once('=') {
        let quoted = value.strip_prefix('"').and_then(|v| v.split_once('"'));
        let (value, after) = match quoted {
            Some((value, after)) => (value, after.split_once(',').map_or("", |(_, after)| after)),
            None => value.split_once(',').unwrap_or((value, "")),
        };
        parameters.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        rest = after;
    }
    (scheme.to_ascii_lowercase(), parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_taken_apart() {
        let (scheme, parameters) = parse_challenge(
            r#"Bearer realm="https://auth.example/token",service="a, b",scope="repository:x:pull,push""#,
        );
        assert_eq!(scheme, "bearer");
        assert_eq!(parameters["realm"], "https://auth.example/token");
        assert_eq!((parameters["service"].as_str(), parameters.len()), ("a, b", 3));
        assert_eq!(parse_challenge("Basic realm=x").1["realm"], "x");
        for odd in ["", "Bearer", "Bearer =", "Bearer realm=\"", "=,=,\"", "Basic realm=\"x"] {
            parse_challenge(odd);
        }
    }

    #[test]
    fn a_token_is_one_word() {
        assert_eq!(token_in(br#"{"token":"a.b"}"#).unwrap().as_str(), "a.b");
        assert_eq!(token_in(br#"{"access_token":"c","expires_in":60}"#).unwrap().as_str(), "c");
        for wrong in [&br#"{"token":"a b"}"#[..], br#"{"token":""}"#, b"{}", b"[", br#"{"token":"a\r\nx: y"}"#] {
            assert!(token_in(wrong).is_none());
        }
    }
}

//! One request at a time over HTTP: redirects by our own rules, secrets to one host only, answers with limits.

use super::url::Url;
use crate::data;
use crate::error::{Code, Error, Result};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;
use ureq::http::{HeaderMap, Request as HttpRequest};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, AsSendBody, Body};
use zeroize::Zeroizing;

/// Redirects that are followed for one request.
const MAX_REDIRECTS: usize = 5;
/// Bytes of an answer's head.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// How long a server may take to be found, and to take the connection.
const CONNECT: Duration = Duration::from_secs(20);
/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// Waits before a request is tried again, in seconds; after the last one its failure stands.
const WAITS: [u64; 3] = [0, 1, 4];
/// The longest wait that a server may ask for with `Retry-After`, in seconds.
const MAX_WAIT: u64 = 60;
/// The file of root certificates that OpenSSL's programs read, too.
const ROOTS: &str = "SSL_CERT_FILE";
/// Bytes of that file.
const MAX_ROOTS_BYTES: u64 = 16 << 20;

/// Opens connections.
pub struct Client {
    agent: Agent,
}

/// What is sent besides the address.
#[derive(Default, Clone, Copy)]
pub struct Ask<'a> {
    /// Plain headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// `Authorization`, for the host that is asked and for no other.
    pub secret: Option<&'a Zeroizing<String>>,
}

/// An answer whose body is not read yet.
pub struct Answer {
    /// 200 and so on; never a redirect that could be followed.
    pub status: u16,
    /// Who answered in the end.
    pub url: Url,
    /// Headers of the host that was asked, where it sent on to another.
    first: HeaderMap,
    /// Headers of the answer.
    last: HeaderMap,
    body: Body,
}

impl Client {
    /// A client with Mozilla's root certificates, or those in the file that `SSL_CERT_FILE` names; a proxy is taken
    /// from the environment.
    pub fn new() -> Result<Self> {
        let config = Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots()?).build())
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_response_header_size(MAX_HEAD_BYTES)
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .user_agent(concat!("sealwright/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: config.new_agent() })
    }

    /// Asks for something, and follows it to where it is by now.
    pub fn get(&self, url: &Url, ask: Ask<'_>) -> Result<Answer> {
        let (mut at, mut first) = (url.clone(), None);
        for _ in 0..=MAX_REDIRECTS {
            // a secret is for the host that was asked
            let secret = ask.secret.filter(|_| at.same_host(url));
            let answer = self.patiently(|| self.send("GET", &at, Ask { secret, ..ask }, ()))?;
            match answer.header("location").filter(|_| (300..400).contains(&answer.status)) {
                None => return Ok(Answer { first: first.unwrap_or_default(), ..answer }),
                Some(location) => at = at.join(location)?,
            }
            first.get_or_insert(answer.last);
        }
        Err(Error::new(Code::Network, format!("{}: more than {MAX_REDIRECTS} redirects", url.authority())))
    }

    /// Tries again when the network or the server is unwell.
    pub fn patiently(&self, mut once: impl FnMut() -> Result<Answer>) -> Result<Answer> {
        let mut waits = WAITS.into_iter();
        loop {
            let result = once();
            let asked = match &result {
                Ok(answer) if matches!(answer.status, 429 | 500 | 502 | 503 | 504) => answer.wait(),
                Err(error) if error.code == Code::Network => 0,
                _ => return result,
            };
            let Some(wait) = waits.next() else { return result };
            std::thread::sleep(Duration::from_secs(wait.max(asked)));
        }
    }

    /// One request; a redirect is an answer like any other.
    pub fn send(&self, method: &str, url: &Url, ask: Ask<'_>, body: impl AsSendBody) -> Result<Answer> {
        let failed = |e: &dyn std::fmt::Display| {
            Error::new(Code::Network, format!("{}: {e}", url.authority()))
                .with_hint("check the network and run the same command again; what has come is kept")
        };
        let mut request = HttpRequest::builder().method(method).uri(url.to_string());
        for (name, value) in ask.headers {
            request = request.header(*name, *value);
        }
        if let Some(secret) = ask.secret {
            request = request.header("authorization", secret.as_str());
        }
        let request = request.body(body).map_err(|e| failed(&e))?;
        let response = self.agent.run(request).map_err(|e| failed(&e))?;
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        Ok(Answer { status, url: url.clone(), first: HeaderMap::new(), last: head.headers, body })
    }
}

impl Answer {
    /// A header's value, of the host that was asked before that of the one that answered.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.first.get(name).or_else(|| self.last.get(name))?.to_str().ok()
    }

    /// A header of whoever answered in the end.
    pub fn own_header(&self, name: &str) -> Option<&str> {
        self.last.get(name)?.to_str().ok()
    }

    /// The bytes that it says to have.
    pub fn length(&self) -> Option<u64> {
        self.body.content_length()
    }

    /// The body as a stream.
    pub fn reader(self) -> impl Read {
        self.body.into_reader()
    }

    /// The whole body, of at most `limit` bytes.
    pub fn bytes(self, limit: u64) -> Result<Vec<u8>> {
        let host = self.url.authority().to_owned();
        let mut bytes = Vec::new();
        self.reader()
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| Error::new(Code::Network, format!("{host}: {e}")))?;
        if bytes.len() as u64 > limit {
            let message = format!("{host}: an answer of more than {limit} bytes, the most that is read here");
            return Err(Error::new(Code::Network, message));
        }
        Ok(bytes)
    }

    /// The error that a status other than success is; `what` was asked for.
    pub fn refused(&self, what: &str) -> Error {
        let code = match self.status {
            401 | 403 => Code::AccessDenied,
            404 | 410 => Code::NotFound,
            _ => Code::Network,
        };
        Error::new(code, format!("{what}: {} answered {}", self.url.authority(), self.status))
    }

    fn wait(&self) -> u64 {
        self.own_header("retry-after").and_then(|s| s.parse().ok()).unwrap_or(0).min(MAX_WAIT)
    }
}

fn roots() -> Result<RootCerts> {
    let Some(path) = std::env::var_os(ROOTS).filter(|v| !v.is_empty()).map(PathBuf::from) else {
        return Ok(RootCerts::WebPki);
    };
    let pem = data::read_bytes(&path, MAX_ROOTS_BYTES)?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| if let Ok(PemItem::Certificate(c)) = item { Some(c) } else { None })
        .collect();
    if certificates.is_empty() {
        return Err(Error::input(&path, "no certificate in this file").with_hint(format!("{ROOTS} names it")));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

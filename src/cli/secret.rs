//! Passphrases: out of an environment variable, a file descriptor, or from the terminal; never an argument.

use super::say::Say;
use sealwright::error::{Code, Error, Result};
use secrecy::SecretString;
use std::path::Path;
use zeroize::Zeroizing;

/// What a passphrase protects; each is told apart by its variable.
#[derive(Clone, Copy)]
pub enum Secret {
    /// A vendor's private key.
    Key,
    /// A bundle that is sealed with a passphrase, or an identity that has one.
    Bundle,
}

/// Bytes of a passphrase.
const MAX_BYTES: u64 = 4096;

impl Secret {
    /// The environment variable that holds it; with `_FD` after it, the one that holds a file descriptor's number.
    fn variable(self) -> &'static str {
        match self {
            Secret::Key => "SEALWRIGHT_KEY_PASSPHRASE",
            Secret::Bundle => "SEALWRIGHT_PASSPHRASE",
        }
    }

    /// Asks for one that exists.
    pub fn ask(self, question: &str, say: &Say) -> Result<SecretString> {
        if let Some(given) = self.given()? {
            return Ok(given);
        }
        say.ask_secret(question)?.ok_or_else(|| {
            let name = self.variable();
            Error::new(Code::Usage, format!("no terminal to ask at: {question}"))
                .with_hint(format!("set {name}, or {name}_FD to the number of a file descriptor that gives it"))
        })
    }

    /// Asks for a new one, twice; `None` where nobody is there to ask, or wants none.
    pub fn make(self, question: &str, say: &Say) -> Result<Option<SecretString>> {
        use secrecy::ExposeSecret as _;
        if let Some(given) = self.given()? {
            return Ok(Some(given));
        }
        let Some(first) = say.ask_secret(question)? else { return Ok(None) };
        if first.expose_secret().is_empty() {
            return Ok(None);
        }
        match say.ask_secret("the same again")? {
            Some(second) if second.expose_secret() == first.expose_secret() => Ok(Some(first)),
            _ => Err(Error::new(Code::Usage, "the two passphrases differ").with_hint("run the command again")),
        }
    }

    fn given(self) -> Result<Option<SecretString>> {
        if let Ok(text) = std::env::var(self.variable()) {
            return not_empty(self.variable(), Zeroizing::new(text)).map(Some);
        }
        let name = format!("{}_FD", self.variable());
        let Ok(number) = std::env::var(&name) else { return Ok(None) };
        let number: u32 =
            number.parse().map_err(|_| Error::new(Code::Usage, format!("{name} is no file descriptor: {number}")))?;
        let path = Path::new("/dev/fd").join(number.to_string());
        let text = Zeroizing::new(sealwright::data::read_text(&path, MAX_BYTES)?);
        not_empty(&name, text).map(Some)
    }
}

fn not_empty(name: &str, text: Zeroizing<String>) -> Result<SecretString> {
    let text = text.strip_suffix('\n').unwrap_or(&text);
    if text.is_empty() {
        return Err(Error::new(Code::Usage, format!("{name} gives an empty passphrase")).with_hint("unset it"));
    }
    Ok(SecretString::from(text))
}

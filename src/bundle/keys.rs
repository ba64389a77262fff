//! Whom a bundle is encrypted to, and who can open it, FORMAT.md section 9: recipients and identities.

use crate::data;
use crate::error::{Code, Error, Result};
use crate::sign::{Ask, MAX_KEY_BYTES};
use age::secrecy::{ExposeSecret as _, SecretString};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The word that stands for a passphrase where a recipient is named.
const PASSPHRASE: &str = "passphrase";
/// scrypt's work factor that we write, as `age -p` does: 2^18 takes 256 MiB and about a second.
const SCRYPT_LOG_N: u8 = 18;
/// The highest that is read: 1 GiB and some seconds.
const MAX_SCRYPT_LOG_N: u8 = 20;

/// Whom a bundle is encrypted to.
#[derive(Clone)]
pub enum Recipient {
    /// `age1…`
    X25519(age::x25519::Recipient),
    /// `ssh-ed25519 …`
    Ssh(age::ssh::Recipient),
    /// `age1NAME1…`: a key that an age plugin holds, such as a hardware token's.
    Plugin(age::plugin::Recipient),
    /// `passphrase`: whoever knows it. It stands alone.
    Passphrase(SecretString),
}

impl Recipient {
    /// Reads `age1…`, `age1NAME1…`, `ssh-ed25519 …` (a comment after it is dropped) or `passphrase`, which is asked for.
    pub fn parse(text: &str, ask: Ask<'_>) -> Result<Self> {
        let refuse = |message: String, hint: &str| Err(Error::new(Code::BadInput, message).with_hint(hint));
        if text == PASSPHRASE {
            return ask("passphrase for the bundle").map(Self::Passphrase);
        }
        if text.starts_with("ssh-rsa ") {
            return refuse(
                "an ssh-rsa recipient is refused".into(),
                "use an ssh-ed25519 key or `sealwright keygen identity`",
            );
        }
        if let Some(key) = text.strip_prefix("ssh-ed25519 ") {
            let blob = key.split(' ').next().unwrap_or(key);
            return match format!("ssh-ed25519 {blob}").parse() {
                Ok(key @ age::ssh::Recipient::SshEd25519(..)) => Ok(Self::Ssh(key)),
                _ => refuse(format!("not an ssh-ed25519 public key: {text}"), "copy the whole line of the `.pub` file"),
            };
        }
        if let Ok(key) = text.parse() {
            return Ok(Self::Plugin(key));
        }
        match text.parse() {
            Ok(key) => Ok(Self::X25519(key)),
            Err(reason) => refuse(
                format!("not a recipient ({reason}): {text}"),
                "ask the customer for the line that `sealwright keygen identity` printed: age1…",
            ),
        }
    }

    /// Is it a passphrase, which nothing about a bundle tells apart from another one?
    pub fn is_passphrase(&self) -> bool {
        matches!(self, Self::Passphrase(_))
    }

    /// For age.
    fn to_age(&self) -> Result<Box<dyn age::Recipient>> {
        Ok(match self {
            Self::X25519(key) => Box::new(key.clone()),
            Self::Ssh(key) => Box::new(key.clone()),
            Self::Plugin(key) => Box::new(
                age::plugin::RecipientPluginV1::new(key.plugin(), std::slice::from_ref(key), &[], age::NoCallbacks)
                    .map_err(|_| no_plugin(key.plugin()))?,
            ),
            Self::Passphrase(secret) => {
                let mut recipient = age::scrypt::Recipient::new(secret.clone());
                recipient.set_work_factor(SCRYPT_LOG_N);
                Box::new(recipient)
            }
        })
    }
}

/// All of these, for age.
pub(super) fn for_age(recipients: &[Recipient]) -> Result<Vec<Box<dyn age::Recipient>>> {
    if recipients.len() > 1 && recipients.iter().any(Recipient::is_passphrase) {
        return Err(Error::new(Code::BadInput, "a passphrase stands beside other recipients")
            .with_hint("a passphrase stands alone; give the customer keys, or a passphrase"));
    }
    recipients.iter().map(Recipient::to_age).collect()
}

fn no_plugin(name: &str) -> Error {
    Error::new(Code::BadInput, format!("the age plugin is not on PATH: age-plugin-{name}"))
        .with_hint("install it; whoever gave you the recipient or identity knows where from")
}

/// Its text form, which manifests digest.
impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X25519(key) => key.fmt(f),
            Self::Ssh(key) => key.fmt(f),
            Self::Plugin(key) => key.fmt(f),
            Self::Passphrase(_) => f.write_str(PASSPHRASE),
        }
    }
}

/// Whom plugins and identities under a passphrase talk to.
pub trait Person: Send + Sync {
    /// Shows a line: a token must be touched.
    fn tell(&self, message: &str);
    /// Asks for what may be shown; `None` where nobody answers.
    fn ask(&self, question: &str) -> Option<String>;
    /// Asks for what may not.
    fn ask_secret(&self, question: &str) -> Option<SecretString>;
}

/// Nobody: for programs that have only keys that ask nothing.
pub struct Nobody;

impl Person for Nobody {
    fn tell(&self, _: &str) {}

    fn ask(&self, _: &str) -> Option<String> {
        None
    }

    fn ask_secret(&self, _: &str) -> Option<SecretString> {
        None
    }
}

#[derive(Clone)]
struct Callbacks(Arc<dyn Person>);

impl age::Callbacks for Callbacks {
    fn display_message(&self, message: &str) {
        self.0.tell(message);
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        let answer = self.0.ask(&format!("{message} ({yes}/{})", no.unwrap_or("no")))?;
        Some(answer == yes)
    }

    fn request_public_string(&self, description: &str) -> Option<String> {
        self.0.ask(description)
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        self.0.ask_secret(description)
    }
}

/// A customer's decrypting keys, out of one file; or a passphrase.
pub struct Identities(Vec<Identity>);

struct Identity {
    /// The public half; a plugin does not tell it.
    recipient: Option<Recipient>,
    key: Box<dyn age::Identity>,
}

impl Identity {
    fn x25519(key: age::x25519::Identity) -> Self {
        Self { recipient: Some(Recipient::X25519(key.to_public())), key: Box::new(key) }
    }

    fn plugin(key: &age::plugin::Identity, person: Callbacks) -> Result<Self> {
        let plugin = age::plugin::IdentityPluginV1::new(key.plugin(), std::slice::from_ref(key), person)
            .map_err(|_| no_plugin(key.plugin()))?;
        Ok(Self { recipient: None, key: Box::new(plugin) })
    }
}

impl Identities {
    /// Reads `AGE-SECRET-KEY-1…` and `AGE-PLUGIN-…` lines, or one OpenSSH private key of type ed25519.
    pub fn read(path: &Path, person: Arc<dyn Person>) -> Result<Self> {
        let text = Zeroizing::new(data::read_text(path, MAX_KEY_BYTES)?);
        let person = Callbacks(person);
        if text.contains("-----BEGIN") {
            return ssh_identity(path, &text, person).map(|key| Self(vec![key]));
        }
        let mut keys = Vec::new();
        for (number, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Ok(key) = line.parse() {
                keys.push(Identity::plugin(&key, person.clone())?);
                continue;
            }
            // what stands in the line is a secret: it is not shown
            let key = line.parse().map_err(|reason| {
                Error::input(path, format!("line {} is not an age identity: {reason}", number + 1))
                    .with_hint("`sealwright keygen identity` writes AGE-SECRET-KEY-1…, an age plugin AGE-PLUGIN-…")
            })?;
            keys.push(Identity::x25519(key));
        }
        if keys.is_empty() {
            return Err(
                Error::input(path, "no identity in this file").with_hint("AGE-SECRET-KEY-1… is the line it needs")
            );
        }
        Ok(Self(keys))
    }

    /// A passphrase, for a bundle that is sealed with one.
    pub fn passphrase(secret: SecretString) -> Self {
        let mut key = age::scrypt::Identity::new(secret.clone());
        key.set_max_work_factor(MAX_SCRYPT_LOG_N);
        Self(vec![Identity { recipient: Some(Recipient::Passphrase(secret)), key: Box::new(key) }])
    }

    /// Their public halves, as far as they are known.
    pub fn recipients(&self) -> impl Iterator<Item = &Recipient> {
        self.0.iter().filter_map(|identity| identity.recipient.as_ref())
    }

    /// Is there one whose public half only its plugin knows?
    pub(super) fn any_unknown(&self) -> bool {
        self.0.iter().any(|identity| identity.recipient.is_none())
    }

    /// For the decryptor.
    pub(super) fn as_age(&self) -> impl Iterator<Item = &(dyn age::Identity + 'static)> {
        self.0.iter().map(|identity| &*identity.key)
    }
}

fn ssh_identity(path: &Path, text: &str, person: Callbacks) -> Result<Identity> {
    use age::ssh::Identity as Ssh;
    let refuse = |message: &str, hint: &str| Err(Error::input(path, message).with_hint(hint));
    let key = match Ssh::from_buffer(text.as_bytes(), Some(path.display().to_string())) {
        Ok(key @ (Ssh::Unencrypted(_) | Ssh::Encrypted(_))) => key,
        Ok(Ssh::Unsupported(_)) | Err(_) => {
            return refuse("not an ssh-ed25519 private key", "use `sealwright keygen identity`");
        }
    };
    match key.clone().try_into() {
        Ok(recipient @ age::ssh::Recipient::SshEd25519(..)) => {
            Ok(Identity { recipient: Some(Recipient::Ssh(recipient)), key: Box::new(key.with_callbacks(person)) })
        }
        _ => refuse("an ssh-rsa identity is refused", "use an ssh-ed25519 key"),
    }
}

/// Makes an identity file, readable by its owner only, and returns the recipient to tell the vendor.
pub fn write_new_identity(path: &Path) -> Result<Recipient> {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public();
    let secret: SecretString = identity.to_string();
    let text = Zeroizing::new(format!("# public key: {recipient}\n{}\n", secret.expose_secret()));
    data::write_secret(path, &text)?;
    Ok(Recipient::X25519(recipient))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Recipient> {
        Recipient::parse(text, &|_| Ok("secret".into()))
    }

    #[test]
    fn recipients_are_told_by_their_identity() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("id.txt");
        let told = write_new_identity(&path).unwrap();
        let read = Identities::read(&path, Arc::new(Nobody)).unwrap();
        assert_eq!(read.recipients().next().unwrap().to_string(), told.to_string());
        assert_eq!(parse(&told.to_string()).unwrap().to_string(), told.to_string());
        for wrong in ["age1x", "ssh-rsa AAAA", "ssh-ed25519 AAAA", "", "Passphrase"] {
            assert_eq!(parse(wrong).err().unwrap().code, Code::BadInput, "{wrong}");
        }
        std::fs::write(&path, "AGE-SECRET-KEY-1NOTAKEY\n").unwrap();
        let error = Identities::read(&path, Arc::new(Nobody)).err().unwrap().to_string();
        assert!(error.contains("line 1") && !error.contains("NOTAKEY"), "{error}");
    }

    #[test]
    fn a_passphrase_stands_alone_and_its_text_tells_nothing_of_it() {
        let (secret, key) = (parse("passphrase").unwrap(), age::x25519::Identity::generate().to_public());
        assert_eq!(secret.to_string(), "passphrase");
        let error = for_age(&[secret.clone(), Recipient::X25519(key)]).err().unwrap();
        assert_eq!(error.code, Code::BadInput);
        assert_eq!(for_age(&[secret]).unwrap().len(), 1);
    }

    #[test]
    fn a_plugin_that_is_missing_is_named() {
        let recipient = parse("age1test1wdhk6etzdaj8j58wj93").unwrap();
        let error = for_age(&[recipient]).err().unwrap();
        assert!(error.to_string().ends_with("age-plugin-test"), "{error}");
    }
}

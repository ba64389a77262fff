//! Keys on disk, FORMAT.md section 9: the vendor's signing key, and the customer's identities and recipients.

use super::limits;
use crate::data;
use crate::digest::Sha256;
use crate::error::{AtPath, Code, Error, Result};
use age::secrecy::{ExposeSecret as _, SecretString};
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::elliptic_curve::rand_core::OsRng;
use p256::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding,
};
use std::fmt;
use std::io::Write as _;
use std::path::Path;
use zeroize::Zeroizing;

/// The line that makes a key one for trying things out.
pub const DEVELOPMENT_LINE: &str = "# sealwright development key: do not ship";

/// A vendor's private key, P-256.
pub struct SigningKey {
    key: p256::ecdsa::SigningKey,
    development: bool,
}

impl SigningKey {
    /// A new one, out of the system's randomness.
    pub fn generate(development: bool) -> Self {
        Self { key: p256::ecdsa::SigningKey::random(&mut OsRng), development }
    }

    /// Reads unencrypted PKCS#8 in PEM.
    pub fn read(path: &Path) -> Result<Self> {
        let text = Zeroizing::new(data::read_text(path, limits::MAX_KEY_BYTES)?);
        let refuse = |message: &str, hint: &str| Err(Error::input(path, message).with_hint(hint));
        if text.contains("BEGIN ENCRYPTED PRIVATE KEY") {
            return refuse(
                "an encrypted private key can't be read yet",
                "decrypt it with `openssl pkcs8 -in KEY -out PLAIN`",
            );
        }
        if text.contains("BEGIN EC PRIVATE KEY") {
            return refuse(
                "a SEC1 private key, not PKCS#8",
                "convert it with `openssl pkcs8 -topk8 -nocrypt -in KEY -out NEW`",
            );
        }
        let (before, pem) = split_pem(&text);
        match p256::ecdsa::SigningKey::from_pkcs8_pem(pem) {
            Ok(key) => Ok(Self { key, development: before.lines().any(|line| line.trim_end() == DEVELOPMENT_LINE) }),
            Err(_) => refuse("not a P-256 private key in PKCS#8 PEM", "make one with `sealwright keygen vendor`"),
        }
    }

    /// Writes it, readable by its owner only; a file that is there already is left alone.
    pub fn write(&self, path: &Path) -> Result<()> {
        let pem = self.key.to_pkcs8_pem(LineEnding::LF).expect("a P-256 key encodes");
        let head = if self.development { format!("{DEVELOPMENT_LINE}\n") } else { String::new() };
        let text = Zeroizing::new(head + &pem);
        write_secret(path, &text)
    }

    /// Is it one for trying things out?
    pub fn is_development(&self) -> bool {
        self.development
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey { key: *self.key.verifying_key() }
    }

    /// An ECDSA signature with SHA-256 in DER, s in the lower half.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: p256::ecdsa::Signature = self.key.sign(message);
        signature.normalize_s().unwrap_or(signature).to_der().as_bytes().to_vec()
    }
}

/// A vendor's public key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: p256::ecdsa::VerifyingKey,
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo in PEM.
    pub fn read(path: &Path) -> Result<Self> {
        let text = data::read_text(path, limits::MAX_KEY_BYTES)?;
        if text.contains("PRIVATE KEY") {
            return Err(Error::input(path, "a private key stands where a public one is wanted")
                .with_hint("name the `.pub.pem` beside it, and keep the private key to its vendor"));
        }
        let key = p256::ecdsa::VerifyingKey::from_public_key_pem(split_pem(&text).1).map_err(|_| {
            Error::input(path, "not a P-256 public key in PEM").with_hint("ask the vendor for its `.pub.pem`")
        })?;
        Ok(Self { key })
    }

    /// As a SubjectPublicKeyInfo in PEM: 64 columns, LF.
    pub fn to_pem(&self) -> String {
        self.key.to_public_key_pem(LineEnding::LF).expect("a P-256 key encodes")
    }

    /// SHA-256 of its DER: the `keyid`.
    pub fn id(&self) -> Sha256 {
        Sha256::of(self.key.to_public_key_der().expect("a P-256 key encodes"))
    }

    /// Checks an ECDSA signature in strict DER; `low_s` demands s in the lower half.
    pub(super) fn verifies(&self, message: &[u8], der: &[u8], low_s: bool) -> bool {
        let Ok(signature) = p256::ecdsa::Signature::from_der(der) else { return false };
        let canonical = signature.to_der().as_bytes() == der && !(low_s && signature.normalize_s().is_some());
        // p256 takes both halves, so a high s reaches here for model.sig only
        canonical && self.key.verify(message, &signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

/// Text before `-----BEGIN`, and the rest.
fn split_pem(text: &str) -> (&str, &str) {
    text.split_at(text.find("-----BEGIN").unwrap_or(0))
}

/// Whom a bundle is encrypted to.
#[derive(Clone)]
pub enum Recipient {
    /// `age1…`
    X25519(age::x25519::Recipient),
    /// `ssh-ed25519 …`
    Ssh(age::ssh::Recipient),
}

impl Recipient {
    /// Reads `age1…` or `ssh-ed25519 …`; a comment after an ssh key is dropped.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |message: String, hint: &str| Err(Error::new(Code::BadInput, message).with_hint(hint));
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
        match text.parse() {
            Ok(key) => Ok(Self::X25519(key)),
            Err(reason) => refuse(
                format!("not a recipient ({reason}): {text}"),
                "ask the customer for the line that `sealwright keygen identity` printed: age1…",
            ),
        }
    }

    /// For the encryptor.
    pub(super) fn as_age(&self) -> &dyn age::Recipient {
        match self {
            Self::X25519(key) => key,
            Self::Ssh(key) => key,
        }
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X25519(key) => key.fmt(f),
            Self::Ssh(key) => key.fmt(f),
        }
    }
}

/// A customer's decrypting keys, out of one file.
pub struct Identities(Vec<Identity>);

enum Identity {
    X25519(age::x25519::Identity),
    Ssh(age::ssh::Identity),
}

impl Identities {
    /// Reads `AGE-SECRET-KEY-1…` lines, or one OpenSSH private key of type ed25519.
    pub fn read(path: &Path) -> Result<Self> {
        let text = Zeroizing::new(data::read_text(path, limits::MAX_KEY_BYTES)?);
        if text.contains("-----BEGIN") {
            return ssh_identity(path, &text).map(|key| Self(vec![key]));
        }
        let mut keys = Vec::new();
        for (number, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // what stands in the line is a secret: it is not shown
            let key = line.parse().map_err(|reason| {
                Error::input(path, format!("line {} is not an age identity: {reason}", number + 1))
                    .with_hint("`sealwright keygen identity` writes AGE-SECRET-KEY-1…; plugins can't be used yet")
            })?;
            keys.push(Identity::X25519(key));
        }
        if keys.is_empty() {
            return Err(
                Error::input(path, "no identity in this file").with_hint("AGE-SECRET-KEY-1… is the line it needs")
            );
        }
        Ok(Self(keys))
    }

    /// Their public halves.
    pub fn recipients(&self) -> Vec<Recipient> {
        let public = |identity: &Identity| match identity {
            Identity::X25519(key) => Recipient::X25519(key.to_public()),
            Identity::Ssh(key) => {
                Recipient::Ssh(key.clone().try_into().expect("only unencrypted ed25519 keys are kept"))
            }
        };
        self.0.iter().map(public).collect()
    }

    /// For the decryptor.
    pub(super) fn as_age(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.0.iter().map(|identity| match identity {
            Identity::X25519(key) => key as &dyn age::Identity,
            Identity::Ssh(key) => key as &dyn age::Identity,
        })
    }
}

fn ssh_identity(path: &Path, text: &str) -> Result<Identity> {
    use age::ssh::{Identity as Ssh, Recipient};
    let refuse = |message: &str, hint: &str| Err(Error::input(path, message).with_hint(hint));
    match Ssh::from_buffer(text.as_bytes(), None) {
        Ok(key @ Ssh::Unencrypted(_)) => match key.clone().try_into() {
            Ok(Recipient::SshEd25519(..)) => Ok(Identity::Ssh(key)),
            _ => refuse("an ssh-rsa identity is refused", "use an ssh-ed25519 key"),
        },
        Ok(Ssh::Encrypted(_)) => refuse(
            "an ssh key with a passphrase can't be read yet",
            "use `sealwright keygen identity`, or a key without one",
        ),
        Ok(Ssh::Unsupported(_)) | Err(_) => {
            refuse("not an ssh-ed25519 private key", "use `sealwright keygen identity`")
        }
    }
}

/// Makes an identity file, readable by its owner only, and returns the recipient to tell the vendor.
pub fn write_new_identity(path: &Path) -> Result<Recipient> {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public();
    let secret: SecretString = identity.to_string();
    let text = Zeroizing::new(format!("# public key: {recipient}\n{}\n", secret.expose_secret()));
    write_secret(path, &text)?;
    Ok(Recipient::X25519(recipient))
}

/// Writes a secret under a name that is not taken; other users can't read it at any moment.
fn write_secret(path: &Path, text: &str) -> Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).at(parent)?;
    // a NamedTempFile is made with mode 0600
    let mut file = tempfile::Builder::new().prefix(".sealwright-").suffix(".partial").tempfile_in(parent).at(parent)?;
    file.write_all(text.as_bytes()).at(path)?;
    file.as_file().sync_all().at(path)?;
    file.persist_noclobber(path).map_err(|e| match e.error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::new(Code::Usage, format!("a file is there already: {}", path.display()))
                .with_hint("a key that is lost can't be made again; give another name")
        }
        _ => Error::io(path, &e.error),
    })?;
    data::sync_folder(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vendor_key_survives_its_file() {
        let dir = tempfile::tempdir().unwrap();
        for development in [false, true] {
            let path = dir.path().join(format!("{development}.pem"));
            let key = SigningKey::generate(development);
            key.write(&path).unwrap();
            let read = SigningKey::read(&path).unwrap();
            assert_eq!((read.public(), read.is_development()), (key.public(), development));
            assert_eq!(key.write(&path).unwrap_err().code, Code::Usage, "never overwritten");
            #[cfg(unix)]
            assert_eq!(std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777, 0o600);
            let public = dir.path().join("pub");
            std::fs::write(&public, key.public().to_pem()).unwrap();
            assert_eq!(PublicKey::read(&public).unwrap(), key.public());
            assert!(PublicKey::read(&path).unwrap_err().to_string().contains("private key"));
        }
    }

    #[test]
    fn signatures_have_one_form() {
        let key = SigningKey::generate(false);
        for i in 0..32u8 {
            let der = key.sign(&[i]);
            assert!(key.public().verifies(&[i], &der, true));
            assert!(!key.public().verifies(&[i + 1], &der, true));
            let low = p256::ecdsa::Signature::from_der(&der).unwrap();
            let (r, s) = low.split_scalars();
            let high = p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
            assert!(!key.public().verifies(&[i], high.to_der().as_bytes(), true), "high s");
            assert!(key.public().verifies(&[i], high.to_der().as_bytes(), false));
            let mut long = der.clone();
            long.push(0);
            assert!(!key.public().verifies(&[i], &long, true));
        }
    }

    #[test]
    fn recipients_are_told_by_their_identity() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("id.txt");
        let told = write_new_identity(&path).unwrap();
        let read = Identities::read(&path).unwrap().recipients();
        assert_eq!(read[0].to_string(), told.to_string());
        assert_eq!(Recipient::parse(&told.to_string()).unwrap().to_string(), told.to_string());
        for wrong in ["age1x", "ssh-rsa AAAA", "ssh-ed25519 AAAA", ""] {
            assert_eq!(Recipient::parse(wrong).err().unwrap().code, Code::BadInput, "{wrong}");
        }
        std::fs::write(&path, "AGE-SECRET-KEY-1NOTAKEY\n").unwrap();
        let error = Identities::read(&path).err().unwrap().to_string();
        assert!(error.contains("line 1") && !error.contains("NOTAKEY"), "{error}");
    }
}

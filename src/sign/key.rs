//! A private key: at hand in a PEM file, or elsewhere behind a command.

use super::command::Signer;
use super::{Ask, MAX_KEY_BYTES, PublicKey, pem};
use crate::data;
use crate::error::Result;
use p256::ecdsa::signature::Signer as _;
use p256::elliptic_curve::rand_core::OsRng;
use secrecy::SecretString;
use std::path::Path;
use zeroize::Zeroizing;

/// The line that makes a key one for trying things out.
const DEVELOPMENT_LINE: &str = "# sealwright development key: do not ship";

/// A private key, P-256.
pub struct SigningKey {
    place: Place,
    development: bool,
}

enum Place {
    Here(p256::ecdsa::SigningKey),
    Elsewhere(Signer),
}

impl SigningKey {
    /// A new one, out of the system's randomness.
    pub fn generate(development: bool) -> Self {
        Self { place: Place::Here(p256::ecdsa::SigningKey::random(&mut OsRng)), development }
    }

    /// Reads PKCS#8 or SEC1 in PEM; `ask` is called only where a passphrase protects it.
    pub fn read(path: &Path, ask: Ask<'_>) -> Result<Self> {
        let text = Zeroizing::new(data::read_text(path, MAX_KEY_BYTES)?);
        let key = pem::private_key(path, &text, ask)?.into();
        let development = pem::split(&text).0.lines().any(|line| line.trim_end() == DEVELOPMENT_LINE);
        Ok(Self { place: Place::Here(key), development })
    }

    /// A key that a command signs with, run in `folder`; `public` is the file of its public half.
    ///
    /// # Errors
    /// `bad-input` for an empty command or a `public` that is no key; the command itself is not run yet.
    pub fn elsewhere(command: &[String], folder: &Path, public: &Path) -> Result<Self> {
        let signer = Signer::new(command, folder, PublicKey::read(public)?)?;
        Ok(Self { place: Place::Elsewhere(signer), development: false })
    }

    /// Writes it, readable by its owner only; a file that is there already is left alone.
    ///
    /// # Panics
    /// For a key that is elsewhere: there is nothing to write.
    pub fn write(&self, path: &Path, passphrase: Option<&SecretString>) -> Result<()> {
        let Place::Here(key) = &self.place else { panic!("a key that is elsewhere can't be written") };
        let pem = pem::write_private_key(&key.into(), passphrase)?;
        let head = if self.development { format!("{DEVELOPMENT_LINE}\n") } else { String::new() };
        data::write_secret(path, &Zeroizing::new(head + &pem))
    }

    /// Is it one for trying things out?
    pub fn is_development(&self) -> bool {
        self.development
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        match &self.place {
            Place::Here(key) => PublicKey::of(key),
            Place::Elsewhere(signer) => signer.public().clone(),
        }
    }

    /// An ECDSA signature with SHA-256 in DER, s in the lower half.
    ///
    /// # Errors
    /// `signer-failed` from a key that is elsewhere; one at hand always signs.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        match &self.place {
            Place::Here(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                Ok(signature.normalize_s().unwrap_or(signature).to_der().as_bytes().to_vec())
            }
            Place::Elsewhere(signer) => signer.sign(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Code, Error};

    fn none(_: &str) -> Result<SecretString> {
        Err(Error::new(Code::Usage, "nobody to ask"))
    }

    #[test]
    fn a_key_survives_its_file() {
        let dir = tempfile::tempdir().unwrap();
        for (development, passphrase) in [(false, None), (true, None), (false, Some("five words of my own"))] {
            let path = dir.path().join(format!("{development}-{}.pem", passphrase.is_some()));
            let key = SigningKey::generate(development);
            let passphrase = passphrase.map(SecretString::from);
            key.write(&path, passphrase.as_ref()).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text.contains("BEGIN ENCRYPTED"), passphrase.is_some());
            let read = match &passphrase {
                Some(right) => {
                    assert_eq!(SigningKey::read(&path, &none).err().unwrap().code, Code::Usage);
                    let wrong = SigningKey::read(&path, &|_| Ok("wrong".into())).err().unwrap();
                    assert_eq!(wrong.code, Code::BadInput);
                    SigningKey::read(&path, &|_| Ok(right.clone())).unwrap()
                }
                None => SigningKey::read(&path, &none).unwrap(),
            };
            assert_eq!((read.public(), read.is_development()), (key.public(), development));
            assert_eq!(key.write(&path, None).unwrap_err().code, Code::Usage, "never overwritten");
            #[cfg(unix)]
            assert_eq!(std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777, 0o600);
            let public = dir.path().join("pub");
            std::fs::write(&public, key.public().to_pem()).unwrap();
            assert_eq!(PublicKey::read(&public).unwrap(), key.public());
            if passphrase.is_none() {
                assert_eq!(PublicKey::read(&path).unwrap_err().code, Code::BadInput, "a private key is not taken");
            }
        }
    }

    #[test]
    fn signatures_have_one_form() {
        let key = SigningKey::generate(false);
        for i in 0..32u8 {
            let der = key.sign(&[i]).unwrap();
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
}

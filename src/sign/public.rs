//! A public key: what a signature is checked with.

use super::{MAX_KEY_BYTES, pem};
use crate::data;
use crate::digest::Sha256;
use crate::error::{Error, Result};
use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::{DecodePublicKey as _, EncodePublicKey as _, LineEnding};
use std::fmt;
use std::path::Path;

/// A public key, P-256.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: p256::ecdsa::VerifyingKey,
}

impl PublicKey {
    pub(super) fn of(key: &p256::ecdsa::SigningKey) -> Self {
        Self { key: *key.verifying_key() }
    }

    /// Reads a SubjectPublicKeyInfo in PEM.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(path, &data::read_text(path, MAX_KEY_BYTES)?)
    }

    /// Takes the text of the file `path`: a SubjectPublicKeyInfo in PEM.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        if text.contains("PRIVATE KEY") {
            return Err(Error::input(path, "a private key stands where a public one is wanted")
                .with_hint("name the `.pub.pem` beside it, and keep the private key to its vendor"));
        }
        let key = p256::ecdsa::VerifyingKey::from_public_key_pem(pem::split(text).1).map_err(|_| {
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
    pub fn verifies(&self, message: &[u8], der: &[u8], low_s: bool) -> bool {
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

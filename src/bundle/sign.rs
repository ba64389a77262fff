//! `manifest.sig`, FORMAT.md section 5: one DSSE envelope over the exact bytes of the manifest.

use crate::digest::Sha256;
use crate::error::{Code, Error, Result};
use crate::sign::{Envelope, PublicKey, SigningKey, pae, parse_canonical};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// What is signed.
pub const PAYLOAD_TYPE: &str = "application/vnd.sealwright.manifest+json";

/// Who says to have signed these manifest bytes, and the signature.
#[derive(Debug)]
pub struct Claim {
    /// The key's id, not yet proven.
    pub keyid: Sha256,
    sig: Vec<u8>,
}

/// The bytes of `manifest.sig`.
pub fn sign(manifest: &[u8], key: &SigningKey) -> Result<Vec<u8>> {
    let envelope = Envelope::sign(PAYLOAD_TYPE, manifest, key.public().id().to_string(), key)?;
    Ok(serde_json_canonicalizer::to_vec(&envelope).expect("our own values serialise"))
}

impl Claim {
    /// Reads `manifest.sig`, which must be about these manifest bytes.
    pub fn parse(bytes: &[u8], manifest: &[u8]) -> Result<Self> {
        let Envelope { payload, payload_type, signatures: [signature] } =
            parse_canonical(Code::BadBundle, "manifest.sig", bytes)?;
        if payload_type != PAYLOAD_TYPE {
            return Err(bad(format!("it signs another type: {}", payload_type.escape_debug())));
        }
        if payload != BASE64.encode(manifest) {
            return Err(bad("it signs other bytes than manifest.json"));
        }
        let sig = BASE64.decode(&signature.sig).map_err(|e| bad(format!("not strict base64: {e}")))?;
        let keyid = signature.keyid.parse().map_err(bad)?;
        Ok(Self { keyid, sig })
    }

    /// Proves the claim with the key that it names.
    pub fn prove(&self, manifest: &[u8], key: &PublicKey) -> Result<()> {
        if self.keyid == key.id() && key.verifies(&pae(PAYLOAD_TYPE, manifest), &self.sig, true) {
            return Ok(());
        }
        Err(bad("it is not a signature by the key it names"))
    }
}

fn bad(message: impl std::fmt::Display) -> Error {
    Error::new(Code::BadSignature, format!("manifest.sig: {message}"))
        .with_hint("don't use the bundle; ask the vendor to send it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_proven_by_its_key_only() {
        let (key, other) = (SigningKey::generate(false), SigningKey::generate(false));
        let sig = sign(b"manifest", &key).unwrap();
        let claim = Claim::parse(&sig, b"manifest").unwrap();
        claim.prove(b"manifest", &key.public()).unwrap();
        assert_eq!(claim.prove(b"manifest", &other.public()).unwrap_err().code, Code::BadSignature);
        assert_eq!(Claim::parse(&sig, b"another").unwrap_err().code, Code::BadSignature);
        for i in 0..sig.len() * 8 {
            let mut flipped = sig.clone();
            flipped[i / 8] ^= 1 << (i % 8);
            let proven = Claim::parse(&flipped, b"manifest").and_then(|c| c.prove(b"manifest", &key.public()));
            assert!(proven.is_err(), "bit {i}");
        }
    }
}

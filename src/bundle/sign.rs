//! `manifest.sig`, FORMAT.md section 5: one DSSE envelope over the exact bytes of the manifest.

use super::keys::{PublicKey, SigningKey};
use super::manifest::parse_canonical;
use crate::digest::Sha256;
use crate::error::{Code, Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

/// What is signed.
pub const PAYLOAD_TYPE: &str = "application/vnd.sealwright.manifest+json";

/// A DSSE envelope with one signature.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Envelope {
    pub payload: String,
    pub payload_type: String,
    pub signatures: [Signature; 1],
}

/// One signature of an envelope.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signature {
    pub keyid: String,
    pub sig: String,
}

impl Envelope {
    /// Signs bytes of a type.
    pub fn sign(payload_type: &str, payload: &[u8], keyid: String, key: &SigningKey) -> Self {
        let sig = BASE64.encode(key.sign(&pae(payload_type, payload)));
        let signatures = [Signature { keyid, sig }];
        Self { payload: BASE64.encode(payload), payload_type: payload_type.into(), signatures }
    }
}

/// Who says to have signed these manifest bytes, and the signature.
#[derive(Debug)]
pub struct Claim {
    /// The key's id, not yet proven.
    pub keyid: Sha256,
    sig: Vec<u8>,
}

/// DSSE's pre-authentication encoding (DSSE protocol, v1).
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// The bytes of `manifest.sig`.
pub fn sign(manifest: &[u8], key: &SigningKey) -> Vec<u8> {
    let envelope = Envelope::sign(PAYLOAD_TYPE, manifest, key.public().id().to_string(), key);
    serde_json_canonicalizer::to_vec(&envelope).expect("our own values serialise")
}

impl Claim {
    /// Reads `manifest.sig`, which must be about these manifest bytes.
    pub fn parse(bytes: &[u8], manifest: &[u8]) -> Result<Self> {
        let Envelope { payload, payload_type, signatures: [signature] } = parse_canonical("manifest.sig", bytes)?;
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
    fn pae_is_that_of_the_protocol() {
        // the example of the DSSE protocol page
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn a_claim_is_proven_by_its_key_only() {
        let (key, other) = (SigningKey::generate(false), SigningKey::generate(false));
        let sig = sign(b"manifest", &key);
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

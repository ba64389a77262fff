//! DSSE envelopes with one signature, as canonical JSON, and the statements that have a file of their own.

use super::{MAX_STATEMENT_BYTES, PublicKey, SigningKey};
use crate::data;
use crate::digest::Sha256;
use crate::error::{Code, Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A DSSE envelope with one signature.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Envelope {
    /// Base64 of what is signed.
    pub payload: String,
    /// What the payload is; signed, too.
    pub payload_type: String,
    /// One of them.
    pub signatures: [Signature; 1],
}

/// One signature of an envelope.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Whose key, as text.
    pub keyid: String,
    /// Base64 of the signature.
    pub sig: String,
}

impl Envelope {
    /// Signs bytes of a type; `keyid` as the envelope names the key.
    pub fn sign(payload_type: &str, payload: &[u8], keyid: String, key: &SigningKey) -> Result<Self> {
        let sig = BASE64.encode(key.sign(&pae(payload_type, payload))?);
        let signatures = [Signature { keyid, sig }];
        Ok(Self { payload: BASE64.encode(payload), payload_type: payload_type.into(), signatures })
    }
}

/// DSSE's pre-authentication encoding (DSSE protocol, v1).
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// A JSON text that has only one form: parsed, written again, compared. A breach has the code `code`.
pub fn parse_canonical<T: Serialize + DeserializeOwned>(code: Code, name: &str, bytes: &[u8]) -> Result<T> {
    let value: T = serde_json::from_slice(bytes).map_err(|e| Error::new(code, format!("{name}: {e}")))?;
    let again = serde_json_canonicalizer::to_vec(&value).expect("our own values serialise");
    if again != bytes {
        return Err(Error::new(code, format!("{name}: not canonical JSON (RFC 8785)")));
    }
    Ok(value)
}

/// A document that is signed on its own: canonical JSON in an envelope, a file of its own.
pub trait Statement: Serialize + DeserializeOwned {
    /// The envelope's payload type; no two kinds of statement share one.
    const TYPE: &'static str;
    /// What messages call it: `a renewal`.
    const NAME: &'static str;

    /// Holds the rules that JSON's types don't, against the key that signed it; an error says which is broken.
    fn check(&self, signer: &Sha256) -> Result<(), &'static str>;
}

/// The bytes of a statement's file.
///
/// # Errors
/// `signer-failed` from a key that is elsewhere, `bad-statement` where the statement breaks its own rules.
pub fn sign<T: Statement>(statement: &T, key: &SigningKey) -> Result<Vec<u8>> {
    let keyid = key.public().id();
    statement.check(&keyid).map_err(|why| Error::new(Code::BadStatement, format!("{}: {why}", T::NAME)))?;
    let payload = serde_json_canonicalizer::to_vec(statement).expect("our own values serialise");
    let envelope = Envelope::sign(T::TYPE, &payload, keyid.to_string(), key)?;
    Ok(serde_json_canonicalizer::to_vec(&envelope).expect("our own values serialise"))
}

/// The statement in a file, proven by one of `keys`: nothing of it is parsed before its signature is right.
///
/// # Errors
/// `bad-signature` where the signature or the type is another's, `unknown-signer` where none of the keys is the one
/// that it names, `bad-statement` where it has not the one form, or breaks its own rules.
pub fn open<'k, T: Statement>(
    path: &Path,
    keys: impl IntoIterator<Item = &'k PublicKey>,
) -> Result<(T, &'k PublicKey)> {
    open_bytes(&path.display().to_string(), &data::read_bytes(path, MAX_STATEMENT_BYTES)?, keys)
}

/// What a file says, when it is a statement of this kind; its signature is not looked at.
pub fn unproven<T: Statement>(path: &Path) -> Option<T> {
    let bytes = data::read_bytes(path, MAX_STATEMENT_BYTES).ok()?;
    let envelope: Envelope = serde_json::from_slice(&bytes).ok()?;
    let payload = BASE64.decode(envelope.payload).ok().filter(|_| envelope.payload_type == T::TYPE)?;
    serde_json::from_slice(&payload).ok()
}

fn open_bytes<'k, T: Statement>(
    name: &str,
    bytes: &[u8],
    keys: impl IntoIterator<Item = &'k PublicKey>,
) -> Result<(T, &'k PublicKey)> {
    let forged = |why: &str| {
        Error::new(Code::BadSignature, format!("{name}: {why}"))
            .with_hint("don't use it; ask the vendor to send it again")
    };
    let Envelope { payload, payload_type, signatures: [signature] } = parse_canonical(Code::BadStatement, name, bytes)?;
    if payload_type != T::TYPE {
        return Err(forged(&format!("not {}: it is signed as {}", T::NAME, payload_type.escape_debug())));
    }
    let decode = |text: &str| BASE64.decode(text).map_err(|_| forged("not strict base64"));
    let (payload, sig) = (decode(&payload)?, decode(&signature.sig)?);
    let keyid: Sha256 = signature.keyid.parse().map_err(|_| forged("its key id is none"))?;
    let key = keys.into_iter().find(|key| key.id() == keyid).ok_or_else(|| {
        Error::new(Code::UnknownSigner, format!("{name}: signed by a key that is not trusted for this: {keyid}"))
            .with_hint("get the vendor's public key by a way that you trust, and give it with `--trust`")
    })?;
    if !key.verifies(&pae(T::TYPE, &payload), &sig, true) {
        return Err(forged("it is not a signature by the key it names"));
    }
    let statement: T = parse_canonical(Code::BadStatement, name, &payload)?;
    statement.check(&keyid).map_err(|why| Error::new(Code::BadStatement, format!("{name}: {why}")))?;
    Ok((statement, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Note {
        number: u64,
    }

    impl Statement for Note {
        const TYPE: &'static str = "application/vnd.sealwright.note+json";
        const NAME: &'static str = "a note";

        fn check(&self, _: &Sha256) -> Result<(), &'static str> {
            if self.number < 100 { Ok(()) } else { Err("too high") }
        }
    }

    #[derive(Serialize, Deserialize, Debug)]
    struct Other {
        number: u64,
    }

    impl Statement for Other {
        const TYPE: &'static str = "application/vnd.sealwright.other+json";
        const NAME: &'static str = "another";

        fn check(&self, _: &Sha256) -> Result<(), &'static str> {
            Ok(())
        }
    }

    #[test]
    fn pae_is_that_of_the_protocol() {
        // the example of the DSSE protocol page
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn a_statement_is_proven_by_its_key_and_type_only() {
        let (key, other) = (SigningKey::generate(false), SigningKey::generate(false));
        let bytes = sign(&Note { number: 7 }, &key).unwrap();
        let keys = [other.public(), key.public()];
        let code =
            |bytes: &[u8], keys: &[PublicKey]| open_bytes::<Note>("n", bytes, keys).map(|(n, _)| n).map_err(|e| e.code);
        assert_eq!(code(&bytes, &keys), Ok(Note { number: 7 }));
        assert_eq!(code(&bytes, &keys[..1]), Err(Code::UnknownSigner));
        assert_eq!(open_bytes::<Other>("n", &bytes, &keys).unwrap_err().code, Code::BadSignature);
        assert_eq!(code(&sign(&Other { number: 100 }, &key).unwrap(), &keys), Err(Code::BadSignature));
        assert_eq!(sign(&Note { number: 100 }, &key).unwrap_err().code, Code::BadStatement);
        for i in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[i / 8] ^= 1 << (i % 8);
            assert!(code(&flipped, &keys).is_err(), "bit {i}");
        }
    }
}

//! `model.sig`, FORMAT.md section 6: an OpenSSF Model Signing v1.0 signature over the opened folder.

use crate::digest::{Hasher, Sha256};
use crate::error::{Code, Error, Result};
use crate::sign::{Envelope, PublicKey, SigningKey, pae};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Its name in the payload.
pub const NAME: &str = "model.sig";
/// in-toto's DSSE payload type.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// What a signer may leave out of the folder; a reader refuses any other list.
const IGNORED: [&str; 5] = [".git", ".gitattributes", ".github", ".gitignore", NAME];

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Material {
    public_key: Hint,
    tlog_entries: [(); 0],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hint {
    hint: Sha256,
}

/// The signature over files by name and digest, as the bytes of `model.sig`.
pub fn sign(subject: &str, files: &BTreeMap<String, Sha256>, key: &SigningKey) -> Result<Vec<u8>> {
    let payload = serde_json::to_vec(&statement(subject, files)).expect("our own values serialise");
    let bundle = Bundle {
        media_type: MEDIA_TYPE.into(),
        verification_material: Material { public_key: Hint { hint: hint(&key.public()) }, tlog_entries: [] },
        dsse_envelope: Envelope::sign(PAYLOAD_TYPE, &payload, String::new(), key)?,
    };
    Ok(serde_json::to_vec(&bundle).expect("our own values serialise"))
}

/// Demands that `model.sig` is by `key` over exactly these files.
pub fn verify(bytes: &[u8], subject: &str, files: &BTreeMap<String, Sha256>, key: &PublicKey) -> Result<()> {
    let bundle: Bundle = serde_json::from_slice(bytes).map_err(|e| differs(format!("not a key signature: {e}")))?;
    let Envelope { payload, payload_type, signatures: [signature] } = bundle.dsse_envelope;
    if bundle.media_type != MEDIA_TYPE || payload_type != PAYLOAD_TYPE || !signature.keyid.is_empty() {
        return Err(differs("not of the type of Model Signing v1.0"));
    }
    if bundle.verification_material.public_key.hint != hint(key) {
        return Err(differs("it names another key than the bundle's"));
    }
    let decode = |text: &str| BASE64.decode(text).map_err(|_| differs("not strict base64"));
    let (payload, sig) = (decode(&payload)?, decode(&signature.sig)?);
    if !key.verifies(&pae(PAYLOAD_TYPE, &payload), &sig, false) {
        return Err(differs("its signature is not by the bundle's key"));
    }
    let said: Value = serde_json::from_slice(&payload).map_err(|e| differs(format!("its statement: {e}")))?;
    if said != statement(subject, files) {
        return Err(differs("it is about other files than those in the payload"));
    }
    Ok(())
}

/// OMS's in-toto statement; the order of keys has no meaning.
fn statement(subject: &str, files: &BTreeMap<String, Sha256>) -> Value {
    let mut root = Hasher::default();
    files.values().for_each(|digest| root.update(&digest.0));
    let resources: Vec<_> =
        files.iter().map(|(name, digest)| json!({"name": name, "algorithm": "sha256", "digest": digest})).collect();
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": subject, "digest": {"sha256": root.finish()}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "resources": resources,
            "serialization": {
                "method": "files", "hash_type": "sha256", "allow_symlinks": false, "ignore_paths": IGNORED,
            },
        },
    })
}

/// OMS digests the PEM text, not the DER.
fn hint(key: &PublicKey) -> Sha256 {
    Sha256::of(key.to_pem())
}

fn differs(message: impl std::fmt::Display) -> Error {
    Error::new(Code::InnerSignerDiffers, format!("model.sig: {message}"))
        .with_hint("don't use the bundle; ask the vendor to pack it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_binds_key_subject_and_files() {
        let (key, other) = (SigningKey::generate(false), SigningKey::generate(false));
        let files = BTreeMap::from([("a".to_owned(), Sha256::of("1")), ("b/c".to_owned(), Sha256::of("2"))]);
        let sig = sign("helpdesk-1.0.0", &files, &key).unwrap();
        verify(&sig, "helpdesk-1.0.0", &files, &key.public()).unwrap();
        let more = BTreeMap::from([("a".to_owned(), Sha256::of("1"))]);
        for (subject, files, key) in [
            ("helpdesk-1.0.1", &files, &key.public()),
            ("helpdesk-1.0.0", &more, &key.public()),
            ("helpdesk-1.0.0", &files, &other.public()),
        ] {
            assert_eq!(verify(&sig, subject, files, key).unwrap_err().code, Code::InnerSignerDiffers);
        }
        let text = String::from_utf8(sig).unwrap();
        let wider = text.replace(r#""tlogEntries":[]"#, r#""tlogEntries":[1]"#);
        assert!(verify(wider.as_bytes(), "helpdesk-1.0.0", &files, &key.public()).is_err());
    }
}

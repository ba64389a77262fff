//! `manifest.json`, FORMAT.md section 4: what is signed. One form only: parsed, written again, and compared.

use super::active::Active;
use super::entitlement::{Base, Entitlement, is_name};
use super::limits;
use crate::digest::Sha256;
use crate::error::{Code, Error, Result};
use crate::sign::parse_canonical;
use serde::{Deserialize, Serialize};

/// What a bundle says of itself, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `sealwright/1`.
    pub format: String,
    /// Signed with a key for trying things out.
    pub development: bool,
    /// Who seals.
    pub vendor: Vendor,
    /// What is sealed.
    pub product: ProductName,
    /// When, in seconds since 1970.
    pub issued: u64,
    /// Never falls for the same vendor key, product and customer.
    pub serial: u64,
    /// The bases that the derivative works on.
    pub bases: Vec<Base>,
    /// What in the derivative can run when it is loaded, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub active: Vec<Active>,
    /// How the derivative was made, where it is an adapter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Recipe>,
    /// Digest of the policy that cleared it.
    pub policy: Sha256,
    /// Who may use it, until when, for what.
    pub entitlement: Entitlement,
    /// The tar inside.
    pub payload: Payload,
    /// Every entry before the manifest.
    pub entries: Vec<Entry>,
}

/// Who seals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vendor {
    /// As it signs contracts.
    pub name: String,
    /// Digest of its public key.
    pub key: Sha256,
}

/// What is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductName {
    /// `[a-z0-9-]`, as in the bundle's file name.
    pub name: String,
    /// What customers call it.
    pub title: String,
    /// `1.0.0`.
    pub version: String,
}

/// How an adapter was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// `lora`.
    pub method: String,
    /// LoRA rank.
    pub rank: u64,
    /// LoRA alpha as decimal text: the manifest has no floats.
    pub alpha: String,
    /// The projections that have an adapter.
    pub targets: Vec<String>,
}

/// The tar inside the payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    /// Its bytes.
    pub size: u64,
    /// Its entries, `model.sig` counted.
    pub files: u64,
    /// Of the age file's bytes before its first chunk: who unwraps a key there has the vendor's.
    pub header: Sha256,
}

/// One entry of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// As in the tar.
    pub name: String,
    /// Bytes of data.
    pub size: u64,
    /// Of its data.
    pub sha256: Sha256,
}

impl Manifest {
    /// The one form of it: canonical JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(self).expect("our own values serialise")
    }

    /// Reads the one form.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        check_version(bytes)?;
        let manifest: Self = parse_canonical(Code::BadBundle, "manifest.json", bytes)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// `NAME-VERSION`: the subject of `model.sig`.
    pub fn subject(&self) -> String {
        format!("{}-{}", self.product.name, self.product.version)
    }

    fn check(&self) -> Result<()> {
        let integers = [self.issued, self.serial, self.payload.size, self.payload.files]
            .into_iter()
            .chain(self.entries.iter().map(|e| e.size))
            .chain(self.recipe.iter().map(|r| r.rank));
        let holds = integers.into_iter().all(|n| n <= limits::MAX_INTEGER)
            && is_name(&self.product.name)
            && is_version(&self.product.version)
            && (1..=limits::MAX_BASES).contains(&self.bases.len())
            && (1..=limits::MAX_FILES).contains(&self.payload.files)
            && self.active.is_sorted_by(|a, b| a < b)
            && self.payload.size > 0;
        if !holds {
            return Err(Error::new(Code::BadBundle, "manifest.json: a value breaks a rule of FORMAT.md"));
        }
        if self.payload.size > limits::MAX_PAYLOAD_BYTES {
            return Err(Error::new(Code::TooLarge, format!("the payload is too large: {} bytes", self.payload.size)));
        }
        self.entitlement.check()
    }
}

/// Is it the `format` of a statement of this version?
pub(super) fn is_format(text: &str) -> bool {
    text == limits::format()
}

/// A newer version says so, whatever else it holds.
fn check_version(bytes: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Version {
        format: String,
    }
    let version: Version =
        serde_json::from_slice(bytes).map_err(|e| Error::new(Code::BadBundle, format!("manifest.json: {e}")))?;
    match version.format.strip_prefix(limits::FORMAT).map(str::parse::<u32>) {
        Some(Ok(limits::VERSION)) => Ok(()),
        Some(Ok(other)) => Err(Error::new(
            Code::UnsupportedVersion,
            format!("bundle format version {other}; this program reads version {}", limits::VERSION),
        )
        .with_hint("use a newer sealwright")),
        _ => Err(Error::new(Code::BadBundle, "manifest.json: not a format of this program")),
    }
}

/// `[A-Za-z0-9][A-Za-z0-9.+-]*`, short.
pub(super) fn is_version(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".+-".contains(&b))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::entitlement::Use;
    use super::*;
    use crate::base::Fingerprint;

    pub(crate) fn example() -> Manifest {
        let digest = Sha256::of("x");
        Manifest {
            format: "sealwright/1".into(),
            development: false,
            vendor: Vendor { name: "Example Works".into(), key: digest },
            product: ProductName { name: "helpdesk".into(), title: "Helpdesk €".into(), version: "1.0.0".into() },
            issued: 1_767_225_600,
            serial: 1_767_225_600,
            bases: vec![Base {
                name: "tiny".into(),
                fingerprint: Fingerprint { weights: digest, config: digest, tokenizer: digest, template: digest },
            }],
            active: vec![Active::Pickle],
            recipe: Some(Recipe { method: "lora".into(), rank: 8, alpha: "16".into(), targets: vec!["q_proj".into()] }),
            policy: digest,
            entitlement: Entitlement {
                customer: "acme".into(),
                from: None,
                until: "2027-12-31".parse().unwrap(),
                uses: vec![Use::Open, Use::Run],
                machines: None,
                seats: Some(25),
                salt: digest,
                recipients: vec![digest],
            },
            payload: Payload { size: 2048, files: 1, header: digest },
            entries: vec![Entry { name: "payload.tar.zst.age".into(), size: 1, sha256: digest }],
        }
    }

    #[test]
    fn it_has_one_form() {
        let manifest = example();
        let bytes = manifest.to_bytes();
        assert_eq!(Manifest::parse(&bytes).unwrap(), manifest);
        let text = String::from_utf8(bytes).unwrap();
        for wrong in [
            format!(" {text}"),
            format!("{text}\n"),
            text.replace(r#""serial":1767225600"#, r#""serial":1.7672256e9"#),
            text.replace(r#""serial":1767225600"#, r#""serial":9007199254740993"#),
            text.replace(r#""serial":1767225600"#, r#""serial":-1"#),
            text.replace(r#","development":false"#, r#","development":false,"development":false"#),
            text.replace(r#"{"active""#, r#"{"Active":0,"active""#),
            text.replace("€", "\\u20ac"),
            text.replace(r#""from""#, r#""From""#).replace(r#""until":"2027-12-31""#, r#""until":"+002027-12-31""#),
            text.replace(r#"["open","run"]"#, r#"["run","open"]"#),
            text.replace(r#"["pickle"]"#, "[]"),
            text.replace(r#"["pickle"]"#, r#"["pickle","native"]"#),
            text.replace(r#"["pickle"]"#, r#"["pickle","pickle"]"#),
            text.replace(r#"["pickle"]"#, r#"["fireworks"]"#),
            text.replace(r#""customer":"acme""#, r#""customer":"../acme""#),
            "[".repeat(100_000),
            String::new(),
        ] {
            assert_eq!(Manifest::parse(wrong.as_bytes()).unwrap_err().code, Code::BadBundle, "{wrong:.300}");
        }
        let newer = text.replace("sealwright/1", "sealwright/2");
        assert_eq!(Manifest::parse(newer.as_bytes()).unwrap_err().code, Code::UnsupportedVersion);
    }
}

//! `[vendor]` and `[product]`: who sells what.

use crate::bundle::Active;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// `[vendor]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Vendor {
    /// As it signs contracts.
    pub name: String,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// What it sells, words of the vocabulary; some licences shut out kinds of company.
    pub business: Option<Vec<String>>,
    /// Does the company, or an affiliate, offer anything that competes with what the base's licensor offers?
    pub competes_with_licensor: Option<bool>,
    /// Of the company and its affiliates, by currency (ISO 4217); nothing is converted.
    #[serde(default)]
    pub annual_revenue: BTreeMap<String, u64>,
    /// Of the company and its affiliates, all products.
    pub monthly_active_users: Option<Users>,
    /// The private key that signs; without one `build` makes a development key.
    pub key: Option<Key>,
    /// The vendor's revocation list, which `ledger recall` writes; products may share one.
    #[serde(default = "default_revocations")]
    pub revocations: PathBuf,
}

fn default_revocations() -> PathBuf {
    "vendor.revocations".into()
}

/// Where the vendor's private key is.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a key is the path of a PEM file, or { command = [\"program\", …], public = \"vendor.pub.pem\" }"
)]
pub enum Key {
    /// A PEM file: PKCS#8 with or without a passphrase, or SEC1.
    File(PathBuf),
    /// In an HSM or a key service.
    Elsewhere {
        /// Gets the bytes to sign on stdin, writes a DER signature to stdout; run in the product's folder.
        command: Vec<String>,
        /// The public half, in PEM.
        public: PathBuf,
    },
}

/// Monthly active users at two moments, since some licences count once, in the month before the base came out.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Users {
    /// Today.
    pub now: Option<u64>,
    /// In the calendar month before the base's version was released.
    pub at_release: Option<u64>,
}

/// `[product]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Name {
    /// `[a-z0-9-]`, names files.
    pub name: String,
    /// What customers will call it: some licences rule on the name.
    pub title: String,
    /// `1.0.0`.
    pub version: String,
    /// What of the derivative may run when it is loaded; nothing when left out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub active_content: BTreeSet<Active>,
}

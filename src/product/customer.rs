//! `[[customer]]`: who gets a bundle, and on which terms.

use super::refuse;
use crate::error::Result;
use serde::Deserialize;
use std::path::Path;

/// `[[customer]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Customer {
    /// `[a-z0-9-]`, names the bundle.
    pub name: String,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// `age1…` or `ssh-ed25519 …`.
    pub recipients: Vec<String>,
    /// The first day, from 00:00:00 UTC.
    pub from: Option<jiff::civil::Date>,
    /// The last day, through 23:59:59 UTC.
    pub until: jiff::civil::Date,
    /// What the bundle may be used for.
    #[serde(default = "all_uses")]
    pub uses: Vec<String>,
    /// On how many machines it may be used: a declared term.
    pub machines: Option<std::num::NonZeroU32>,
    /// By how many people: a declared term.
    pub seats: Option<std::num::NonZeroU32>,
}

/// The uses that an entitlement can grant.
pub const USES: [&str; 3] = ["run", "serve", "open"];

fn all_uses() -> Vec<String> {
    USES.map(String::from).to_vec()
}

impl Customer {
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        if self.recipients.is_empty() {
            let hint = "ask the customer for the line that `sealwright keygen identity` printed";
            return Err(refuse(path, format!("customer {} has no recipient", self.name), hint));
        }
        if let Some(word) = self.uses.iter().find(|u| !USES.contains(&u.as_str())) {
            return Err(refuse(path, format!("customer {}: unknown use: {word}", self.name), "run, serve, open"));
        }
        if self.from.is_some_and(|from| from > self.until) {
            let message = format!("customer {}: `from` is after `until`", self.name);
            return Err(refuse(path, message, "swap the dates"));
        }
        Ok(())
    }
}

//! A revocation list, FORMAT.md section 12: which of a vendor's keys and bundles are no longer good.

use super::limits;
use super::manifest::{Vendor, is_format};
use crate::digest::Sha256;
use crate::sign::Statement;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// What a vendor took back, as of a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocations {
    /// `sealwright/1`.
    pub format: String,
    /// Whose keys and bundles they are.
    pub vendor: Vendor,
    /// Rises with each list of the same key.
    pub number: u64,
    /// When, in seconds since 1970.
    pub issued: u64,
    /// The last day on which this list is fresh, through 23:59:59 UTC; the next one is out by then.
    pub next: Date,
    /// Ascending by key.
    pub keys: Vec<RevokedKey>,
    /// Bundles by the digest of their manifest; ascending.
    pub bundles: Vec<RevokedBundle>,
}

/// A key that signs no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedKey {
    /// Its id.
    pub key: Sha256,
    /// The last day that it signed on, for a key that was retired; none for one that was stolen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Date>,
}

/// A bundle that was recalled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedBundle {
    /// The digest of its manifest.
    pub bundle: Sha256,
    /// Since when.
    pub on: Date,
}

impl Statement for Revocations {
    const TYPE: &'static str = "application/vnd.sealwright.revocations+json";
    const NAME: &'static str = "a revocation list";

    fn check(&self, signer: &Sha256) -> Result<(), &'static str> {
        let ascending = self.keys.windows(2).all(|p| p[0].key < p[1].key)
            && self.bundles.windows(2).all(|p| p[0].bundle < p[1].bundle);
        let count = self.keys.len() + self.bundles.len() <= limits::MAX_REVOKED;
        if !is_format(&self.format) || self.number.max(self.issued) > limits::MAX_INTEGER || !ascending || !count {
            return Err("a value breaks a rule of FORMAT.md");
        }
        if self.vendor.key != *signer {
            return Err("it names another key than the one that signed it");
        }
        Ok(())
    }
}

impl Revocations {
    /// A vendor's first list, which takes nothing back.
    pub fn first(vendor: Vendor, next: Date) -> Self {
        let (keys, bundles) = (Vec::new(), Vec::new());
        Self { format: limits::format(), vendor, number: 0, issued: 0, next, keys, bundles }
    }

    /// Takes a key back: one that was stolen, or with a day one that was retired then. It stays so: stolen, or the earlier day.
    pub fn revoke_key(&mut self, key: Sha256, until: Option<Date>) {
        match self.keys.binary_search_by_key(&key, |k| k.key) {
            Ok(at) => self.keys[at].until = self.keys[at].until.zip(until).map(|(old, new)| old.min(new)),
            Err(at) => self.keys.insert(at, RevokedKey { key, until }),
        }
    }

    /// Takes a bundle back; the first day stays.
    pub fn recall(&mut self, bundle: Sha256, on: Date) {
        if let Err(at) = self.bundles.binary_search_by_key(&bundle, |b| b.bundle) {
            self.bundles.insert(at, RevokedBundle { bundle, on });
        }
    }

    /// Since when a bundle is recalled.
    pub fn recalled(&self, bundle: Sha256) -> Option<Date> {
        self.bundles.binary_search_by_key(&bundle, |b| b.bundle).ok().map(|at| self.bundles[at].on)
    }

    /// What it says of a key.
    pub(super) fn key(&self, key: Sha256) -> Option<&RevokedKey> {
        self.keys.binary_search_by_key(&key, |k| k.key).ok().map(|at| &self.keys[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_back_stays_so_and_in_order() {
        let signer = Sha256::of("key");
        let vendor = Vendor { name: "Example Works".into(), key: signer };
        let mut list = Revocations::first(vendor, "2026-02-01".parse().unwrap());
        let day = |text: &str| text.parse::<Date>().unwrap();
        for name in ["c", "a", "b", "a"] {
            list.recall(Sha256::of(name), day(if name == "a" { "2026-01-01" } else { "2026-01-02" }));
            list.revoke_key(Sha256::of(name), Some(day("2026-01-01")));
        }
        list.revoke_key(Sha256::of("b"), Some(day("2026-01-05")));
        list.revoke_key(Sha256::of("a"), None);
        list.revoke_key(Sha256::of("a"), Some(day("2026-01-05")));
        list.check(&signer).unwrap();
        assert_eq!((list.bundles.len(), list.keys.len()), (3, 3));
        assert_eq!(list.key(Sha256::of("a")).unwrap().until, None, "stolen");
        assert_eq!(list.key(Sha256::of("b")).unwrap().until, Some(day("2026-01-01")));
        assert_eq!(list.recalled(Sha256::of("a")), Some(day("2026-01-01")));
        assert_eq!(list.recalled(Sha256::of("d")), None);
        assert!(list.check(&Sha256::of("another")).is_err());
        list.bundles.swap(0, 1);
        assert!(list.check(&signer).is_err());
    }
}

//! A renewal, FORMAT.md section 11: a vendor's later last day for one bundle that is out already.

use super::limits;
use super::manifest::{Manifest, Vendor, is_format};
use crate::digest::Sha256;
use crate::error::{Code, Error, Result};
use crate::sign::Statement;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// A later last day for one bundle. It can only extend: cutting off means a short `until` and no renewal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renewal {
    /// `sealwright/1`.
    pub format: String,
    /// Who renews.
    pub vendor: Vendor,
    /// SHA-256 of the manifest that it is for.
    pub bundle: Sha256,
    /// When, in seconds since 1970.
    pub issued: u64,
    /// Never falls for the same bundle.
    pub serial: u64,
    /// The last day, through 23:59:59 UTC.
    pub until: Date,
}

impl Statement for Renewal {
    const TYPE: &'static str = "application/vnd.sealwright.renewal+json";
    const NAME: &'static str = "a renewal";

    fn check(&self, signer: &Sha256) -> Result<(), &'static str> {
        if !is_format(&self.format) || self.issued.max(self.serial) > limits::MAX_INTEGER {
            return Err("a value breaks a rule of FORMAT.md");
        }
        if self.vendor.key != *signer {
            return Err("it names another key than the one that signed it");
        }
        Ok(())
    }
}

impl Renewal {
    /// Is it for this bundle, and does it extend it?
    pub(super) fn judge(&self, id: Sha256, manifest: &Manifest) -> Result<()> {
        if self.bundle != id {
            return Err(Error::new(
                Code::WrongBundle,
                format!("the renewal is for another bundle: {}; this one is {id}", self.bundle),
            )
            .with_hint("ask the vendor for a renewal of this bundle"));
        }
        if self.until <= manifest.entitlement.until {
            return Err(Error::new(
                Code::BadStatement,
                format!("the renewal ends on {}, and the bundle on {}", self.until, manifest.entitlement.until),
            )
            .with_hint("a renewal can only extend; use the bundle without it"));
        }
        Ok(())
    }
}

//! Everything that one bundle is made of, as the packer is told it.

use super::active::Active;
use super::content::Content;
use super::entitlement::{Base, Use};
use super::keys::Recipient;
use super::manifest::{ProductName, Recipe};
use super::papers::Papers;
use crate::digest::Sha256;
use crate::sign::SigningKey;
use jiff::Timestamp;
use jiff::civil::Date;
use std::collections::BTreeSet;

/// Everything that one bundle is made of.
pub struct PackPlan<'a> {
    /// What the clearance says, and what must travel.
    pub papers: &'a Papers,
    /// The derivative: what all bundles of a product have in common.
    pub content: &'a Content,
    /// What of it may run when it is loaded: the vendor's word, which customers must repeat.
    pub active: &'a BTreeSet<Active>,
    /// The vendor, as it signs contracts.
    pub vendor: &'a str,
    /// What is sealed.
    pub product: ProductName,
    /// What the derivative is licensed under: an SPDX id or a `LicenseRef-…`.
    pub terms: &'a str,
    /// What it is for, in a few words.
    pub purpose: &'a str,
    /// The bases that it works on.
    pub bases: Vec<Base>,
    /// How it was made.
    pub recipe: Option<Recipe>,
    /// Digests of the data sets that it learnt from; they stand salted in the bill of materials.
    pub data: &'a [Sha256],
    /// What was measured, as name and value, for the card.
    pub metrics: &'a [(String, String)],
    /// `[a-z0-9-]`, names the bundle.
    pub customer: &'a str,
    /// The first day.
    pub from: Option<Date>,
    /// The last day.
    pub until: Date,
    /// What it may be used for.
    pub uses: &'a [Use],
    /// On how many machines it may be used: a declared term.
    pub machines: Option<u64>,
    /// By how many people: a declared term.
    pub seats: Option<u64>,
    /// Whom it is encrypted to.
    pub recipients: &'a [Recipient],
    /// Now, or SOURCE_DATE_EPOCH. Gives the serial, too: it never falls while clocks don't.
    pub issued: Timestamp,
    /// Signs the manifest and `model.sig`.
    pub signer: &'a SigningKey,
}

impl PackPlan<'_> {
    /// `NAME-VERSION-CUSTOMER.sealed`.
    pub fn file_name(&self) -> String {
        format!("{}-{}-{}.sealed", self.product.name, self.product.version, self.customer)
    }
}

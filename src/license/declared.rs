//! The use that the vendor declares: statements that nobody checked. The cli makes it from the product file.

use crate::digest::Sha256;
use crate::error::Result;
use crate::license::Policies;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What the vendor means to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Use {
    /// As it signs contracts.
    pub vendor: String,
    /// ISO 3166-1 alpha-2.
    pub vendor_country: Option<String>,
    /// US dollars, the company and its affiliates.
    pub annual_revenue: Option<u64>,
    /// Monthly active users today, the company and its affiliates, all products.
    pub users_now: Option<u64>,
    /// The same, in the calendar month before the base's version came out.
    pub users_at_release: Option<u64>,
    /// What customers will call the product.
    pub title: String,
    /// What reaches customers.
    pub ship: Ship,
    /// `closed`, `same`, or a licence's id.
    pub terms: String,
    /// For money?
    pub commercial: bool,
    /// In a few words.
    pub purpose: String,
    /// Restricted fields that the product touches; `None`: not stated.
    pub fields: Option<Vec<String>>,
    /// Where customers are or will be, ISO 3166-1 alpha-2.
    pub territory: Vec<String>,
    /// Will outputs train other models? `None`: not stated.
    pub trains_models_on_outputs: Option<bool>,
    /// What the vendor holds from licensors.
    pub grants: Vec<Grant>,
    /// What the derivative learns from.
    pub data: Vec<DataOrigin>,
    /// Who gets it. Each is judged; they are no part of the digest that rulings bind.
    #[serde(skip)]
    pub customers: Vec<Customer>,
}

/// What reaches customers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ship {
    /// LoRA matrices alone.
    Adapter,
    /// Whole weights.
    Merged,
    /// Nothing: the product is hosted.
    Nothing,
}

/// Something that a licensor gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The licence that asks for it.
    pub license: String,
    /// `registration` or `agreement`.
    pub kind: GrantKind,
    /// When it was given.
    pub date: jiff::civil::Date,
    /// The licensor's number for it.
    pub reference: String,
}

/// What a licensor can give apart from the licence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrantKind {
    /// A registration that the licence asks for.
    Registration,
    /// A licence of its own.
    Agreement,
}

/// A data file and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataOrigin {
    /// As the product file names it.
    pub path: String,
    /// Whose it is.
    pub origin: Origin,
}

/// Whose data is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The vendor's own.
    Own,
    /// Under a licence.
    License(String),
    /// Written by a model.
    GeneratedBy(String),
}

/// A customer, who takes the base under the same licence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Customer {
    /// Names its bundle.
    pub name: String,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
}

impl Use {
    /// Refuses words that the vocabulary lacks; `source` is the file that they stand in.
    pub fn check_words(&self, source: &Path, policies: &Policies) -> Result<()> {
        policies.check_fields(source, self.fields.iter().flatten())
    }

    /// What rulings bind.
    pub fn digest(&self) -> Sha256 {
        Sha256::of_json(self)
    }

    /// May the derivative's terms differ from those of the licence `id`?
    pub(super) fn has_other_terms_than(&self, id: &str) -> bool {
        self.terms != "same" && !self.terms.eq_ignore_ascii_case(id)
    }

    /// A grant of this kind, given by `today`.
    pub(super) fn grant(&self, license: &str, kind: GrantKind, today: jiff::civil::Date) -> Option<&Grant> {
        self.grants.iter().find(|g| g.license.eq_ignore_ascii_case(license) && g.kind == kind && g.date <= today)
    }
}

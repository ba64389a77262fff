//! The use that the vendor declares: statements that nobody checked. The cli makes it from the product file.

use crate::digest::Sha256;
use crate::error::{Error, Result};
use crate::license::facts::countries;
use crate::license::facts::policy::Policies;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What the vendor means to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Use {
    /// As it signs contracts.
    pub vendor: String,
    /// ISO 3166-1 alpha-2.
    pub vendor_country: Option<String>,
    /// What it sells, words of the vocabulary; `None`: not stated.
    pub business: Option<Vec<String>>,
    /// Does the company or an affiliate compete with the licensor? `None`: not stated.
    pub competes_with_licensor: Option<bool>,
    /// The company and its affiliates, by currency (ISO 4217). Nothing is converted.
    pub annual_revenue: BTreeMap<String, u64>,
    /// Monthly active users today, the company and its affiliates, all products.
    pub users_now: Option<u64>,
    /// The same, in the calendar month before the base's version came out.
    pub users_at_release: Option<u64>,
    /// When the base was had from its licensor.
    pub obtained: Option<jiff::civil::Date>,
    /// What customers will call the product.
    pub title: String,
    /// What reaches customers.
    pub ship: Ship,
    /// Will anybody serve it to others over a network? `None`: not stated; what ships nothing is hosted.
    pub hosting: Option<bool>,
    /// May customers hand it on? `None`: not stated.
    pub redistribution: Option<bool>,
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
    /// Who gets it. Each is judged; they are no part of the digest that rulings bind, but a ruling covers no customer in
    /// another country than those of its day.
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

/// Something that a licensor gave apart from the licence, as the vendor states it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The licence whose duty it answers.
    pub license: String,
    /// That duty, a word of the vocabulary.
    pub kind: String,
    /// To whom it was given, as the paper says.
    pub grantee: String,
    /// Which uses it covers.
    pub scope: Vec<Covered>,
    /// When it was given.
    pub date: jiff::civil::Date,
    /// Its last day, where it has one.
    pub until: Option<jiff::civil::Date>,
    /// The licensor's number for it.
    pub reference: String,
    /// Digest of the paper, as stated.
    pub sha256: Option<Sha256>,
    /// Digest of the file that is at hand as that paper.
    pub document: Option<Sha256>,
}

/// A use that a grant can cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Covered {
    /// Handing over LoRA matrices.
    Adapter,
    /// Handing over whole weights.
    Merged,
    /// Serving it to others.
    Hosting,
}

/// A data file and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataOrigin {
    /// As the product file names it.
    pub path: String,
    /// Whose it is.
    pub origin: Origin,
    /// Whom to credit for it: title, author, address.
    pub credit: Option<String>,
    /// The customers whose adapter may learn from it; all where `None`.
    pub only_for: Option<Vec<String>>,
}

impl DataOrigin {
    /// Data that any customer's adapter may learn from.
    pub fn new(path: &str, origin: Origin) -> Self {
        Self { path: path.to_owned(), origin, credit: None, only_for: None }
    }
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

/// Fields of use that have keys of their own.
const ASKED_APART: [(&str, &str); 2] = [(COMPETING, "vendor.competes-with-licensor"), (HOSTED, "use.hosting")];
/// The field of products that compete with the licensor's.
pub(super) const COMPETING: &str = "competing-with-licensor";
/// The field of hosted services.
pub(super) const HOSTED: &str = "hosted-service";

impl Use {
    /// A closed commercial product; of all else nothing is stated.
    pub fn new(vendor: &str, title: &str, ship: Ship) -> Self {
        Self {
            vendor: vendor.to_owned(),
            vendor_country: None,
            business: None,
            competes_with_licensor: None,
            annual_revenue: BTreeMap::new(),
            users_now: None,
            users_at_release: None,
            obtained: None,
            title: title.to_owned(),
            ship,
            hosting: None,
            redistribution: None,
            terms: "closed".into(),
            commercial: true,
            purpose: String::new(),
            fields: None,
            territory: Vec::new(),
            trains_models_on_outputs: None,
            grants: Vec::new(),
            data: Vec::new(),
            customers: Vec::new(),
        }
    }

    /// Refuses words that no list has. `place`: file and line of a table's key with this value.
    pub fn check_words(&self, policies: &Policies, place: &dyn Fn(&str, &str, &str) -> PathBuf) -> Result<()> {
        for field in self.fields.iter().flatten() {
            let at = place("use", "fields", field);
            if let Some((_, key)) = ASKED_APART.iter().find(|(apart, _)| apart == field) {
                return Err(Error::input(&at, format!("{field} is no word of `fields`"))
                    .with_hint(format!("it has a key of its own: `{key}`")));
            }
            policies.check_fields(&at, [field])?;
        }
        for word in self.business.iter().flatten() {
            policies.check_business(&place("vendor", "business", word), word)?;
        }
        for grant in &self.grants {
            policies.check_duty(&place("grant", "kind", &grant.kind), &grant.kind)?;
            policies.check_license(&place("grant", "license", &grant.license), &grant.license)?;
        }
        if !matches!(self.terms.as_str(), "closed" | "same") && spdx::license_id(&self.terms).is_none() {
            policies.check_license(&place("use", "terms", &self.terms), &self.terms)?;
        }
        for currency in self.annual_revenue.keys() {
            if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()) {
                let at = place("vendor", "annual-revenue", currency);
                return Err(Error::input(&at, format!("no currency: {currency}"))
                    .with_hint("three capital letters of ISO 4217: USD, EUR, CNY"));
            }
        }
        self.check_countries(place)
    }

    fn check_countries(&self, place: &dyn Fn(&str, &str, &str) -> PathBuf) -> Result<()> {
        if let Some(code) = &self.vendor_country {
            countries::check(&place("vendor", "country", code), code)?;
        }
        let named = self.territory.iter().filter(|code| *code != countries::EU);
        named.into_iter().try_for_each(|code| countries::check(&place("use", "territory", code), code))?;
        let of_customers = self.customers.iter().filter_map(|c| c.country.as_ref());
        of_customers.into_iter().try_for_each(|code| countries::check(&place("customer", "country", code), code))
    }

    /// What rulings bind; customers are no part of it.
    pub fn digest(&self) -> Sha256 {
        Sha256::of_json(self)
    }

    /// Where customers are; one whose country is not stated stands for itself.
    pub fn places(&self) -> BTreeSet<String> {
        self.customers.iter().map(|c| c.country.clone().unwrap_or_else(|| c.name.clone())).collect()
    }

    /// Will it be served to others? What ships nothing is; `None`: not stated.
    pub fn hosted(&self) -> Option<bool> {
        if self.ship == Ship::Nothing { Some(true) } else { self.hosting }
    }

    /// Yearly revenue in this currency; none at all is none in every currency.
    pub(super) fn revenue_in(&self, currency: &str) -> Option<u64> {
        let none = || self.annual_revenue.values().find(|figure| **figure == 0);
        self.annual_revenue.get(currency).or_else(none).copied()
    }

    /// May the derivative's terms differ from those of the licence `id`?
    pub(super) fn has_other_terms_than(&self, id: &str) -> bool {
        self.terms != "same" && !self.terms.eq_ignore_ascii_case(id)
    }
}

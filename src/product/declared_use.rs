//! `[use]` and `[[grant]]`: what the vendor means to do, and what it already holds for that.

use crate::digest::Sha256;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[use]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Use {
    /// What reaches customers.
    pub ship: Ship,
    /// Will the vendor or a customer serve it to others over a network?
    pub hosting: Option<bool>,
    /// May customers hand it on?
    pub redistribution: Option<bool>,
    /// Under which terms: `closed`, `same` (as the base), or an SPDX id.
    pub terms: String,
    /// For money?
    pub commercial: bool,
    /// In a few words.
    #[serde(default)]
    pub purpose: String,
    /// Every restricted field that the product touches; `[]` states none, leaving it out leaves it open.
    pub fields: Option<Vec<String>>,
    /// Where customers are, ISO 3166-1 alpha-2.
    #[serde(default)]
    pub territory: Vec<String>,
    /// Will anyone train other models on what it says?
    pub trains_models_on_outputs: Option<bool>,
}

/// What reaches customers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ship {
    /// LoRA matrices; the customer brings the base.
    Adapter,
    /// Merged weights.
    Merged,
    /// Nothing: the product is hosted.
    Nothing,
}

/// `[[grant]]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Grant {
    /// The licence whose duty it answers.
    pub license: String,
    /// Which duty it answers, a word of the vocabulary.
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
    /// Digest of the paper.
    pub sha256: Option<Sha256>,
    /// The paper; where it is at hand its digest is compared.
    pub document: Option<PathBuf>,
}

/// A use that a grant can cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Covered {
    /// Handing over LoRA matrices.
    Adapter,
    /// Handing over whole weights.
    Merged,
    /// Serving it to others.
    Hosting,
}

//! One licence that binds the derivative, and how that is known.

use crate::license::facts::record::{Record, Standing};
use serde::Serialize;

/// One licence that binds, and how that is known.
#[derive(Debug, Clone)]
pub struct Member<'p> {
    pub record: &'p Record,
    /// The file, model or data file that it is the licence of.
    pub of: String,
    pub how: How,
    /// From the base to what it is the licence of, where that is not the base: `parent`, `grandparent`.
    pub path: Vec<String>,
    /// Is the pairing of a parent and its licence known from its card?
    pub certain: bool,
    /// Its text, where one is at hand.
    pub text: Option<Vec<u8>>,
}

/// How a licence is known to bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Its text was identified.
    Text,
    /// A text resembles its text.
    Similar,
    /// The card or the weights' metadata names it.
    Card,
    /// A model that the base was made from stands under it.
    Lineage,
    /// Training data stands under it.
    Data,
}

impl Member<'_> {
    /// Is it the base's own?
    pub fn is_of_base(&self) -> bool {
        self.path.is_empty() && matches!(self.how, How::Text | How::Similar | How::Card)
    }

    /// May this member deny? Only a text that was identified, or a parent's licence that is known from its card; and a
    /// record that was read whole.
    pub fn may_deny(&self) -> bool {
        let known = self.how == How::Text || (self.how == How::Lineage && self.certain);
        known && self.record.standing == Standing::Read
    }
}

/// A licence in the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    /// `None` where it is not known.
    pub id: Option<String>,
    /// The file, model or data file.
    pub of: String,
    /// How it is known.
    pub how: How,
    /// Resemblance from 0 to 1, where the text is only similar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// How the pairing of model and licence is known, where a model's name led to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basis: Option<String>,
    /// From the base to it, where it is a parent: `parent`, `grandparent`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<String>,
}

impl Listed {
    /// Without the vendor's own file names.
    pub(in crate::license) fn for_customers(&self) -> Self {
        let of = if self.how == How::Data { "training data".to_owned() } else { self.of.clone() };
        Self { of, ..self.clone() }
    }
}

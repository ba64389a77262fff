//! `[[data]]`: what is learnt from, and whose it is.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[[data]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Data {
    /// A `.jsonl` file.
    pub path: PathBuf,
    /// How a line is laid out.
    pub format: Format,
    /// Whose it is.
    pub origin: Origins,
    /// Customers whose adapter may learn from it; all when left out.
    pub may_ship_to: Option<Vec<String>>,
}

/// How a line of training data is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `{"messages": [{"role", "content"}, …]}`
    Messages,
    /// `{"prompt", "completion"}`
    PromptCompletion,
    /// `{"text"}`: every token bears loss.
    Text,
}

/// One origin, or a list of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Origins {
    /// All of one origin.
    One(Origin),
    /// A mixture.
    Many(Vec<Origin>),
}

impl Origins {
    /// As a list.
    pub fn as_slice(&self) -> &[Origin] {
        match self {
            Origins::One(origin) => std::slice::from_ref(origin),
            Origins::Many(origins) => origins,
        }
    }
}

/// Whose the data is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "OriginText")]
pub enum Origin {
    /// The vendor's own.
    Own,
    /// Under a licence.
    License {
        /// By id.
        id: String,
        /// Title, author and address, for the notice.
        credit: Option<String>,
    },
    /// Written by a model, by name.
    GeneratedBy(String),
}

/// As the product file writes it.
#[derive(Deserialize)]
#[serde(untagged)]
enum OriginText {
    Word(String),
    Table(OriginTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct OriginTable {
    license: Option<String>,
    credit: Option<String>,
    generated_by: Option<String>,
}

impl TryFrom<OriginText> for Origin {
    type Error = String;

    fn try_from(text: OriginText) -> Result<Self, String> {
        let wanted = "an origin is \"own\", { license = \"…\" } or { generated-by = \"…\" }";
        match text {
            OriginText::Word(word) if word == "own" => Ok(Origin::Own),
            OriginText::Word(word) => Err(format!("unknown origin: {word}; {wanted}")),
            OriginText::Table(OriginTable { license: Some(id), credit, generated_by: None }) => {
                Ok(Origin::License { id, credit })
            }
            OriginText::Table(OriginTable { license: None, credit: None, generated_by: Some(model) }) => {
                Ok(Origin::GeneratedBy(model))
            }
            OriginText::Table(_) => Err(wanted.to_owned()),
        }
    }
}

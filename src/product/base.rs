//! `[base]`: the open model that it is made from.

use super::refuse;
use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// `[base]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Base {
    /// A folder in the Hugging Face layout; or else `hub`.
    pub path: Option<PathBuf>,
    /// `owner/name` on the Hugging Face hub; or else `path`.
    pub hub: Option<String>,
    /// A commit of it; a branch or tag may mean other files tomorrow.
    pub revision: Option<String>,
    /// A licence text that the vendor vouches for, where the base's folder has none.
    pub license_text: Option<PathBuf>,
    /// When the copy was had from the licensor: it stays under the text of that day.
    pub obtained: Option<jiff::civil::Date>,
    /// What its projections become while they are learnt on.
    pub quantize: Option<Quantize>,
}

impl Base {
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        match (&self.path, &self.hub, &self.revision) {
            (Some(_), Some(_), _) => Err(refuse(path, "both base.path and base.hub are set", "keep one of them")),
            (None, None, _) => Err(refuse(
                path,
                "[base] names no base",
                "add `path = \"FOLDER\"`, or `hub = \"owner/name\"` and `revision = \"COMMIT\"`",
            )),
            (Some(_), None, Some(_)) => {
                Err(refuse(path, "base.revision is of no use with base.path", "it belongs to `hub`"))
            }
            _ => Ok(()),
        }
    }
}

/// How the base's projections are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quantize {
    /// Four bits a number: QLoRA.
    Nf4,
    /// Eight bits a number.
    Int8,
}

//! Known models: under which licence each stands, and what it was made from. `policies/lineage.toml`.

use crate::data::Folder;
use crate::error::Result;
use serde::Deserialize;

/// Known models.
pub struct Lineage {
    models: Vec<Model>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineageFile {
    #[serde(rename = "model")]
    models: Vec<Model>,
}

/// Models that stand under one licence.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Model {
    /// As hubs and people call them; compared without case.
    pub ids: Vec<String>,
    /// The licence of their weights, or of their outputs where only those can be had.
    pub license: String,
    /// How that is known.
    pub source: String,
    /// What they were made from, where that binds them too.
    #[serde(default)]
    pub parents: Vec<String>,
}

impl Lineage {
    pub(super) fn read(files: &Folder) -> Result<Self> {
        let file: LineageFile = files.parse("lineage.toml")?;
        Ok(Self { models: file.models })
    }

    /// A model by name: `org/name`, or the name alone.
    pub fn find(&self, name: &str) -> Option<&Model> {
        let bare = |id: &str| id.rsplit('/').next().unwrap_or(id).to_ascii_lowercase();
        let whole = |id: &&String| id.eq_ignore_ascii_case(name);
        let by_name = |id: &&String| !name.contains('/') && bare(id) == bare(name);
        self.models.iter().find(|m| m.ids.iter().any(|id| whole(&id) || by_name(&id)))
    }

    pub(super) fn licenses(&self) -> impl Iterator<Item = &String> {
        self.models.iter().map(|m| &m.license)
    }
}

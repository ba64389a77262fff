//! Known models: under which licence each stands, what it was made from, and its public dimensions.
//! `policies/lineage.toml`.

use super::facts::Standing;
use super::norms::Norms;
use super::shape::Shape;
use crate::data::Folder;
use crate::error::{Error, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const FILE: &str = "lineage.toml";

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
    /// Any name that begins so is one of them, too: dated versions of a closed service.
    #[serde(default)]
    pub begins: Vec<String>,
    /// The licence of their weights, or of their outputs where only those can be had.
    pub license: String,
    /// The licence that it stood under before, where its licensor replaced that: the record says when.
    pub earlier: Option<String>,
    /// Is there a record of that licence?
    #[serde(default = "yes")]
    pub recorded: bool,
    /// How the pairing of model and licence is known.
    pub standing: Standing,
    /// Where it is known from.
    pub source: String,
    /// What they were made from, where that binds them too.
    #[serde(default)]
    pub parents: Vec<String>,
    /// Their public dimensions, where they are certain.
    pub shape: Option<Shape>,
    /// Fingerprints of some of its norms, made from its weights: `examples/norm_vectors.rs`.
    pub norms: Option<Norms>,
}

fn yes() -> bool {
    true
}

impl Model {
    /// Was the licence read on the card or in the repository, and is there a record of it?
    pub fn is_certain(&self) -> bool {
        self.recorded && self.standing >= Standing::ReadmeOnly
    }

    /// What is known of it, for a finding.
    pub fn doubt(&self) -> &'static str {
        if self.recorded { "which was not read from its card" } else { "of which there is no record here" }
    }
}

impl Lineage {
    /// Refuses a name that stands twice, a parent that is not known and a circle. `is_recorded`: of a licence's id.
    pub(super) fn read(files: &Folder, is_recorded: impl Fn(&str) -> bool) -> Result<Self> {
        let file: LineageFile = files.parse(FILE)?;
        let lineage = Self { models: file.models };
        let mut names = BTreeSet::new();
        for model in &lineage.models {
            let bare: BTreeSet<String> = model.ids.iter().map(|id| bare(id)).collect();
            if let Some(twice) = bare.into_iter().find(|name| !names.insert(name.clone())) {
                return Err(refuse(format!("two models are called {twice}")));
            }
            if is_recorded(&model.license) != model.recorded {
                let message = if model.recorded { "no record of the licence" } else { "there is a record of" };
                let error = refuse(format!("{message} {}", model.license));
                return Err(error.with_hint("`recorded = false` marks a licence that has no record in licenses/"));
            }
        }
        let earlier = lineage.models.iter().filter_map(|m| m.earlier.as_deref());
        if let Some(id) = earlier.into_iter().find(|id| !is_recorded(id)) {
            return Err(refuse(format!("no record of the licence {id}")));
        }
        lineage.check_parents().map(|()| lineage)
    }

    /// Parents may only be what has been cleared of circles before.
    fn check_parents(&self) -> Result<()> {
        let mut sound: BTreeMap<&str, bool> = BTreeMap::new();
        while sound.len() < self.models.len() {
            let before = sound.len();
            for model in self.models.iter().filter(|m| !m.ids.is_empty()) {
                let of = |parent: &String| self.find(parent).ok_or_else(|| refuse(format!("no such parent: {parent}")));
                let parents = model.parents.iter().map(of).collect::<Result<Vec<_>>>()?;
                if parents.iter().all(|p| sound.contains_key(p.ids[0].as_str())) {
                    sound.insert(&model.ids[0], true);
                }
            }
            if sound.len() == before {
                let rest = self.models.iter().flat_map(|m| m.ids.first()).find(|id| !sound.contains_key(id.as_str()));
                return Err(refuse(match rest {
                    Some(id) => format!("{id} is among its own ancestors, or made from one that is"),
                    None => "a model has no name".into(),
                }));
            }
        }
        Ok(())
    }

    /// A model by name: `org/name`, or the name alone; one that a service dates, by its beginning.
    pub fn find(&self, name: &str) -> Option<&Model> {
        let lower = name.trim().to_ascii_lowercase();
        let whole = |id: &String| id.eq_ignore_ascii_case(&lower) || (!lower.contains('/') && bare(id) == lower);
        let named = self.models.iter().find(|m| m.ids.iter().any(whole));
        let begun = || self.models.iter().find(|m| m.begins.iter().any(|b| lower.starts_with(b.as_str())));
        named.or_else(begun)
    }

    /// The model and all that it was made from, nearest first, each with a name.
    pub fn with_ancestors<'a>(&'a self, name: &'a str) -> Vec<(&'a str, &'a Model)> {
        self.paths(name).into_iter().map(|(path, model)| (path[path.len() - 1], model)).collect()
    }

    /// The same, each with the names on the way to it, its own the last.
    pub fn paths<'a>(&'a self, name: &'a str) -> Vec<(Vec<&'a str>, &'a Model)> {
        let mut line: Vec<(Vec<&str>, &Model)> = self.find(name).map(|model| (vec![name], model)).into_iter().collect();
        let mut at = 0;
        while let Some((path, model)) = line.get(at).cloned() {
            for parent in &model.parents {
                let new = self.find(parent).filter(|p| !line.iter().any(|(_, known)| std::ptr::eq(*known, *p)));
                let way = |model| ([path.as_slice(), &[parent.as_str()]].concat(), model);
                line.extend(new.map(way));
            }
            at += 1;
        }
        line
    }

    /// Models whose norms stand in these weights, and how many of those that are kept.
    pub fn of_norms<'a>(&'a self, norms: &'a Norms) -> impl Iterator<Item = (&'a Model, &'a Norms, usize)> {
        self.models.iter().filter_map(|model| {
            let kept = model.norms.as_ref()?;
            Some((model, kept, norms.resembles(kept)?))
        })
    }

    /// Models that one of this shape may be a child of; those whose vocabulary is the same, where there are some.
    pub fn of_shape(&self, shape: &Shape) -> Vec<&Model> {
        let alike = |m: &&Model| m.shape.as_ref().is_some_and(|known| shape.resembles(known));
        let all: Vec<&Model> = self.models.iter().filter(alike).collect();
        let same = |m: &&Model| m.shape.as_ref().is_some_and(|known| known.vocabulary == shape.vocabulary);
        let exact: Vec<&Model> = all.iter().copied().filter(same).collect();
        if exact.is_empty() { all } else { exact }
    }
}

/// A hub's name without its organisation.
fn bare(id: &str) -> String {
    id.rsplit('/').next().unwrap_or(id).to_ascii_lowercase()
}

fn refuse(message: String) -> Error {
    Error::input(Path::new(FILE), message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::POLICIES;
    use crate::license::Policies;

    fn own() -> Lineage {
        let licenses = |id: &str| {
            let mut files = POLICIES.get_dir("licenses").unwrap().files();
            files.any(|f| f.contents_utf8().unwrap().starts_with(&format!("id = \"{id}\"")))
        };
        Lineage::read(&Folder::embedded(&POLICIES), licenses).unwrap()
    }

    #[test]
    fn the_program_knows_many_models() {
        let lineage = own();
        assert!(lineage.models.iter().map(|m| m.ids.len()).sum::<usize>() >= 500);
        assert!(lineage.models.iter().filter(|m| m.shape.is_some()).count() >= 150);
        assert!(lineage.models.iter().all(|m| !m.source.is_empty() && m.ids.iter().all(|id| !id.contains(' '))));
    }

    #[test]
    fn names_that_people_write_are_found() {
        let policies = Policies::load(None).unwrap();
        for (name, license) in [
            ("Llama-2-70b-chat", "LicenseRef-llama-2"),
            ("meta-llama/llama-2-70b-chat-hf", "LicenseRef-llama-2"),
            ("gpt-4", "LicenseRef-openai-terms"),
            ("gpt-4-0613", "LicenseRef-openai-terms"),
            ("claude-3-opus-20240229", "LicenseRef-anthropic-terms"),
            ("gemini-1.5-pro-002", "LicenseRef-google-gemini-terms"),
            ("ernie-bot", "LicenseRef-baidu-ernie-terms"),
            ("qwen-max", "LicenseRef-alibaba-tongyi-terms"),
            ("glm-4-plus", "LicenseRef-zhipu-api-terms"),
            ("gpt-oss-20b", "Apache-2.0"),
            ("gpt2", "LicenseRef-gpt2-modified-mit"),
        ] {
            assert_eq!(policies.lineage().find(name).map(|m| m.license.as_str()), Some(license), "{name}");
        }
        assert!(policies.lineage().find("example/gpt-4-at-home").is_none());
        let line = policies.lineage().with_ancestors("deepseek-ai/DeepSeek-R1-Distill-Llama-8B");
        let licenses: Vec<&str> = line.iter().map(|(_, m)| m.license.as_str()).collect();
        assert_eq!(licenses, ["MIT", "LicenseRef-llama-3.1"]);
    }

    #[test]
    fn circles_strangers_and_doubles_are_refused() {
        let model = |id: &str, parent: &str| {
            format!(
                "[[model]]\nids = [\"{id}\"]\nlicense = \"MIT\"\nstanding = \"read\"\nsource = \"x\"\nparents = [{parent}]\n"
            )
        };
        let read = |text: String| {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(FILE), text).unwrap();
            Lineage::read(&Folder::on_disk(dir.path()).unwrap(), |id| id == "MIT").err().map(|e| e.to_string())
        };
        assert_eq!(read(model("a/b", "") + &model("a/c", "\"a/b\"")), None);
        let circle = read(model("a/b", "\"a/c\"") + &model("a/c", "\"a/b\"")).unwrap();
        assert!(circle.contains("its own ancestors"), "{circle}");
        assert!(read(model("a/b", "\"a/z\"")).unwrap().contains("no such parent"));
        assert!(read(model("a/b", "") + &model("z/B", "")).unwrap().contains("two models"));
        assert!(read(model("a/b", "").replace("MIT", "X")).unwrap().contains("no record of the licence X"));
        assert!(read(model("a/b", "") + "recorded = false\n").unwrap().contains("there is a record of MIT"));
    }
}

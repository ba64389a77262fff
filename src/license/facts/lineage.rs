//! Known models: under which licence each stands, what it was made from, and its public dimensions.
//! `policies/lineage.toml`.

use crate::data::Folder;
use crate::error::{Error, Result};
use crate::license::evidence::norms::Norms;
use crate::license::evidence::shape::Shape;
use crate::license::facts::record::Standing;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

const FILE: &str = "lineage.toml";

/// Known models.
pub struct Lineage {
    models: Vec<Model>,
    /// Each name, squeezed, with and without its organisation, and its model.
    names: BTreeMap<String, usize>,
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
    /// As hubs and people call them; compared without case, spaces, dashes and underscores.
    pub ids: Vec<String>,
    /// Any name that begins so (words joined by dashes) is one of them, too: dated versions of a closed service.
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

    /// How its licence is known.
    pub fn basis(&self) -> String {
        self.standing.basis(&self.source)
    }

    /// What is known of it, for a finding.
    pub fn doubt(&self) -> &'static str {
        if self.recorded { "which was not read from its card" } else { "of which there is no record here" }
    }
}

impl Lineage {
    /// Refuses a name that stands twice, a parent that is not known and a circle. `is_recorded`: of a licence's id.
    pub(in crate::license) fn read(files: &Folder, is_recorded: impl Fn(&str) -> bool) -> Result<Self> {
        let file: LineageFile = files.parse(FILE)?;
        let lineage = Self { names: names(&file.models)?, models: file.models };
        for model in &lineage.models {
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

    /// A model by name: `org/name`, or the name alone as people write it; one that a service dates, by its beginning.
    pub fn find(&self, name: &str) -> Option<&Model> {
        let named = self.names.get(&squeezed(name)).map(|at| &self.models[*at]);
        let dashed = name.trim().to_lowercase().replace([' ', '_'], "-");
        let begun = || self.models.iter().find(|m| m.begins.iter().any(|b| dashed.starts_with(b.as_str())));
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
fn bare(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

/// What is compared of a name: `Llama 2 70B chat`, `llama2-70b-chat` and `Llama-2-70b-chat` are one. Between two digits
/// a mark stays, as a dot: 1.3B is not 13B.
fn squeezed(name: &str) -> String {
    let name = name.trim().to_lowercase();
    let mut out = String::with_capacity(name.len());
    let mut rest = name.chars().peekable();
    while let Some(c) = rest.next() {
        if c.is_alphanumeric() || c == '/' {
            out.push(c);
        } else if out.ends_with(|c: char| c.is_ascii_digit()) && rest.peek().is_some_and(char::is_ascii_digit) {
            out.push('.');
        }
    }
    out
}

/// Refuses a name that two models have.
fn names(models: &[Model]) -> Result<BTreeMap<String, usize>> {
    let mut names = BTreeMap::new();
    for (at, id) in models.iter().enumerate().flat_map(|(at, m)| m.ids.iter().map(move |id| (at, id))) {
        for name in [id, bare(id)].map(squeezed) {
            if names.insert(name.clone(), at).is_some_and(|other| other != at) {
                return Err(refuse(format!("two models are called {name}")));
            }
        }
    }
    Ok(names)
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
        assert!(
            lineage.models.iter().flat_map(|m| &m.begins).all(|b| *b == b.to_lowercase() && !b.contains([' ', '_']))
        );
    }

    #[test]
    fn names_that_people_write_are_found() {
        let policies = Policies::load(None).unwrap();
        for (license, names) in [
            (
                "LicenseRef-openai-terms",
                "gpt-4, GPT-4, gpt4, gpt-4-0613, GPT 4 Turbo, gpt-4o-2024-08-06, gpt-3.5-turbo",
            ),
            (
                "LicenseRef-openai-terms",
                "GPT-3, gpt-3.5, GPT3.5, o1, o1-preview-2024-09-12, o3-mini, ChatGPT, openai/gpt-4o",
            ),
            (
                "LicenseRef-openai-terms",
                "text-davinci-003, text-davinci-002, code-davinci-002, gpt-4.1-mini, gpt-4-32k",
            ),
            (
                "LicenseRef-anthropic-terms",
                "Claude, claude-3-opus-20240229, Claude 3.5 Sonnet, claude-3-5-sonnet-20241022",
            ),
            (
                "LicenseRef-anthropic-terms",
                "claude-v1.3, Claude Instant, anthropic/claude-3-haiku, anthropic.claude-v2",
            ),
            (
                "LicenseRef-google-gemini-terms",
                "gemini-1.5-pro-002, Gemini Pro, Gemini 1.5 Flash, google/gemini-pro-1.5, PaLM 2",
            ),
            (
                "LicenseRef-baidu-ernie-terms",
                "ERNIE-4.0, ernie-bot, ERNIE Bot, ERNIE-Bot-turbo, ERNIE-4.0-8K, ernie-speed-128k",
            ),
            ("LicenseRef-baidu-ernie-terms", "Wenxin Yiyan, \u{6587}\u{5fc3}\u{4e00}\u{8a00}, ERNIE-4.5-Turbo-128K"),
            (
                "LicenseRef-alibaba-tongyi-terms",
                "qwen-max, Qwen-Max, qwen-max-longcontext, qwen-turbo, qwen-plus-latest, Tongyi",
            ),
            ("LicenseRef-alibaba-tongyi-terms", "Tongyi Qianwen, \u{901a}\u{4e49}\u{5343}\u{95ee}, qwen-vl-max"),
            (
                "LicenseRef-zhipu-api-terms",
                "glm-4-plus, GLM-4, glm-4-air, glm-4-0520, GLM-4V-Plus, GLM API, chatglm_turbo, glm-3-turbo",
            ),
            ("LicenseRef-llama-1", "llama-7b, LLaMA-65B, llama_13b"),
            (
                "LicenseRef-llama-2",
                "Llama-2-70b-chat, llama2-70b, Llama 2 70B, meta-llama/llama-2-70b-chat-hf, llama-2-7b-chat",
            ),
            ("LicenseRef-llama-2", "CodeLlama-34b-hf, codellama-7b-instruct-hf"),
            ("LicenseRef-llama-3", "llama3-8b, Meta-Llama-3-70B-Instruct, Llama 3 70B Instruct"),
            ("LicenseRef-llama-3.1", "llama-3.1-8b-instruct, Llama-3.1-405B, Meta Llama 3.1 70B"),
            ("LicenseRef-llama-3.3", "llama-3.3-70b-instruct"),
            ("LicenseRef-tongyi-qianwen", "Qwen-72B-Chat, qwen-7b, Qwen1.5-110B-Chat"),
            ("LicenseRef-tongyi-qianwen-research", "Qwen-1.8B, qwen-1_8b-chat"),
            ("LicenseRef-qwen-2024", "Qwen2.5-72B-Instruct, qwen2-72b"),
            ("LicenseRef-qwen-research-2024", "qwen2.5-3b-instruct"),
            ("LicenseRef-glm-4", "glm-4-9b-chat, THUDM/glm-4-9b"),
            ("LicenseRef-chatglm2-6b", "ChatGLM2-6B"),
            ("LicenseRef-deepseek-model-1.0", "DeepSeek-V3, deepseek-coder-33b-instruct"),
            ("LicenseRef-gemma-2025-03-24", "gemma-2-9b-it, gemma2-9b, Gemma 3 27B it"),
            ("LicenseRef-mistral-research-0.1", "Mistral-Large-Instruct-2407"),
            ("LicenseRef-mistral-mnpl-0.1", "Codestral-22B, codestral-22b-v0.1"),
            ("LicenseRef-cohere-cc-by-nc-4.0", "command-r-plus, c4ai-command-r-v01, Aya-23-35B"),
            ("LicenseRef-falcon-180b", "falcon-180B-chat"),
            ("LicenseRef-falcon-3-2024-12", "Falcon3-7B-Instruct"),
            ("LicenseRef-databricks-open-model", "DBRX, dbrx-instruct"),
            ("LicenseRef-microsoft-research", "Orca-2-13b"),
            ("LicenseRef-gpt2-modified-mit", "gpt2, GPT-2-XL"),
            (
                "Apache-2.0",
                "gpt-oss-20b, openai/gpt-oss-120b, Mixtral 8x7B, mistral-7b-instruct, Grok-1, ERNIE-4.5-21B-A3B-PT",
            ),
            ("MIT", "DeepSeek R1, phi-2"),
        ] {
            for name in names.split(", ") {
                assert_eq!(policies.lineage().find(name).map(|m| m.license.as_str()), Some(license), "{name}");
            }
        }
        for name in ["example/gpt-4-at-home", "gpt4all-j", "example/llama-2-70b-chat", "claudette", "", "/"] {
            assert!(policies.lineage().find(name).is_none(), "{name}");
        }
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

//! Cases of the licence corpus (`tests/licenses/*.toml`): a base's folder and a product file as data, made real in a
//! temporary folder and judged by the program itself. It holds no licence text: those are filled in here.

use crate::commands::sealwright;
use sealwright::digest::Sha256;
use sealwright::license::{Identity, Policies, Role, identify};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use toml::{Table, Value};

/// The folder that real texts are in; without it only those of the SPDX list are at hand.
pub const TEXTS_VARIABLE: &str = "SEALWRIGHT_LICENSE_TEXTS";

pub static POLICIES: LazyLock<Policies> = LazyLock::new(|| Policies::load(None).unwrap());
static TEXTS: LazyLock<Vec<Text>> = LazyLock::new(gather_texts);

/// One case: what differs from a plain product, and for a decisive scenario what must come of it, and why.
#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Case {
    /// Names its snapshot.
    pub name: String,
    /// Files of the base's folder.
    #[serde(default)]
    pub files: BTreeMap<String, Source>,
    /// Front matter of the base's `README.md`.
    card: Option<Table>,
    /// What stands in that card below the front matter.
    prose: Option<String>,
    /// `config.json`.
    #[serde(default)]
    config: Table,
    /// `__metadata__` of a weight file.
    metadata: Option<BTreeMap<String, String>>,
    /// Its tensors by name, in BF16; the file ends after its header.
    tensors: Option<BTreeMap<String, Vec<u64>>>,
    /// Tables of `sealwright.toml`, laid over those of `PRODUCT`.
    #[serde(default)]
    product: Table,
    /// Keys of it that are left out: `use.fields`.
    #[serde(default)]
    unstated: Vec<String>,
    /// Codes that `sealwright rule` answers before the check.
    #[serde(default)]
    ruled: Vec<String>,
    pub verdict: Option<String>,
    /// Findings that must be there.
    #[serde(default)]
    pub codes: Vec<String>,
    /// Findings that must not.
    #[serde(default)]
    pub without: Vec<String>,
    /// The clause that decides.
    pub because: Option<String>,
}

/// What a file of the base holds: the text `ID`, `ID use-policy` or `ID DIGEST` alone, or more.
#[derive(Deserialize, Clone)]
#[serde(untagged)]
pub enum Source {
    Text(String),
    Made(Made),
}

/// A text with changes, applied in this order.
#[derive(Deserialize, Clone, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Made {
    text: Option<String>,
    /// Words of nobody's licence.
    words: Option<String>,
    /// From and to; the first must be there.
    replace: Vec<[String; 2]>,
    /// The share of it that is kept, from its start.
    keep: Option<f64>,
    before: Option<String>,
    after: Option<String>,
    /// Another text in the same file.
    and: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    #[serde(rename = "case")]
    cases: Vec<Case>,
}

/// A commercial, closed adapter for one customer in the United States; everything is stated.
const PRODUCT: &str = r#"
[vendor]
name = "Example Works"
country = "US"
business = ["software"]
competes-with-licensor = false
annual-revenue = { USD = 400000 }
monthly-active-users = { now = 40000, at-release = 0 }
[product]
name = "helpdesk"
title = "Example Helpdesk"
version = "1.0.0"
[base]
path = "base"
[use]
ship = "adapter"
hosting = false
redistribution = false
terms = "closed"
commercial = true
purpose = "customer support"
fields = []
territory = ["US"]
trains-models-on-outputs = false
[derivative]
path = "adapter"
own = true
[[customer]]
name = "acme"
country = "US"
"#;

pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/licenses")
}

/// One case, as its file would have it.
pub fn parse(text: &str) -> Case {
    toml::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// The cases of one file.
pub fn read(name: &str) -> Vec<Case> {
    let text = std::fs::read_to_string(folder().join(name)).unwrap();
    toml::from_str::<CaseFile>(&text).unwrap_or_else(|e| panic!("{name}: {e}")).cases
}

// ---- texts

struct Text {
    id: String,
    role: Role,
    digest: Sha256,
    text: String,
}

/// Every known text at hand: those of the SPDX list, then those of the folder.
fn gather_texts() -> Vec<Text> {
    let listed = POLICIES.records().filter_map(|r| spdx::license_id(&r.id)).map(|id| id.text().to_owned());
    let mut texts = Vec::new();
    for text in listed.chain(real_texts().into_iter().map(|(_, text)| text)) {
        let Identity::Known(known) = identify(&text, &POLICIES) else { continue };
        for (id, role) in known {
            let (digest, ..) = sealwright::license::fingerprint(&text, &id, &POLICIES);
            texts.push(Text { id, role, digest, text: text.clone() });
        }
    }
    texts
}

/// File names and texts of the folder that the environment names, sorted; none without one.
pub fn real_texts() -> Vec<(String, String)> {
    let Some(folder) = std::env::var_os(TEXTS_VARIABLE) else { return Vec::new() };
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths.filter(|p| p.extension().is_some_and(|e| e == "txt")).collect();
    paths.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

/// `ID`, `ID use-policy`, `ID DIGEST`; `None`: not at hand.
pub fn text(named: &str) -> Option<&'static str> {
    let (id, which) = named.split_once(' ').unwrap_or((named, ""));
    assert!(POLICIES.record(id).is_some(), "no record of {id}");
    let role = if which == "use-policy" { Role::UsePolicy } else { Role::Licence };
    let digest = if role == Role::UsePolicy { "" } else { which };
    let fits = |t: &&Text| t.id == id && t.role == role && t.digest.to_string().starts_with(digest);
    TEXTS.iter().find(fits).map(|t| t.text.as_str())
}

impl Source {
    /// The file's bytes; `None` where a text is not at hand.
    fn fill(&self) -> Option<String> {
        let made = match self {
            Self::Text(named) => return text(named).map(String::from),
            Self::Made(made) => made,
        };
        let mut out = made.text.as_ref().map_or(Some(String::new()), |named| text(named).map(String::from))?;
        out += made.words.as_deref().unwrap_or("");
        for [from, to] in &made.replace {
            assert!(out.contains(from), "not in the text: {from}");
            out = out.replacen(from, to, 1);
        }
        if let Some(share) = made.keep {
            let kept = (out.chars().count() as f64 * share) as usize;
            out = out.chars().take(kept).collect();
        }
        if let Some(and) = &made.and {
            out = format!("{out}\n\n{}", text(and)?);
        }
        Some([made.before.as_deref().unwrap_or(""), &out, made.after.as_deref().unwrap_or("")].concat())
    }
}

// ---- folders

impl Case {
    /// What the program reports, with its exit code; `None` where a text is not at hand.
    pub fn judge(&self) -> Option<(serde_json::Value, Option<i32>)> {
        let judged = self.judge_by(&[]);
        assert!(judged.iter().all(|(report, _)| report.get("error").is_none()), "{}: {judged:?}", self.name);
        judged
    }

    /// The same, with more arguments to `sealwright check`; or the error that it ended with.
    pub fn judge_by(&self, more: &[&str]) -> Option<(serde_json::Value, Option<i32>)> {
        let files: Option<Vec<(&String, String)>> = self.files.iter().map(|(n, s)| Some((n, s.fill()?))).collect();
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("shop/base");
        std::fs::create_dir_all(&base).unwrap();
        for (name, text) in files? {
            std::fs::create_dir_all(base.join(name).parent().unwrap()).unwrap();
            std::fs::write(base.join(name), text).unwrap();
        }
        self.write_evidence(&base);
        let product = toml::to_string(&self.product()).unwrap();
        std::fs::write(dir.path().join("shop/sealwright.toml"), product).unwrap();
        for code in &self.ruled {
            let rule = ["rule", "shop", code, "--by", "compliance", "--reason", "looked at"];
            let output = sealwright(dir.path(), &rule);
            assert!(output.status.success(), "{}: {}", self.name, crate::commands::stderr(&output));
        }
        let output = sealwright(dir.path(), &[&["check", "shop", "--json"], more].concat());
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}: {}", self.name, crate::commands::stderr(&output)));
        Some((report, output.status.code()))
    }

    fn write_evidence(&self, base: &Path) {
        std::fs::write(base.join("config.json"), serde_json::to_string(&self.config).unwrap()).unwrap();
        if self.card.is_some() || self.prose.is_some() {
            // JSON is YAML, too
            let front = self.card.as_ref().map_or(String::new(), |card| serde_json::to_string(card).unwrap());
            let prose = self.prose.as_deref().unwrap_or("# Example base\n");
            std::fs::write(base.join("README.md"), format!("---\n{front}\n---\n{prose}")).unwrap();
        }
        if self.metadata.is_some() || self.tensors.is_some() {
            let mut header = serde_json::json!({ "__metadata__": self.metadata.clone().unwrap_or_default() });
            let mut at = 0;
            for (name, shape) in self.tensors.iter().flatten() {
                let start = at;
                at += 2 * shape.iter().product::<u64>();
                header[name] = serde_json::json!({ "dtype": "BF16", "shape": shape, "data_offsets": [start, at] });
            }
            let header = header.to_string();
            let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
            std::fs::write(base.join("model.safetensors"), bytes).unwrap();
        }
    }

    /// The product file.
    fn product(&self) -> Table {
        let mut product: Table = toml::from_str(PRODUCT).unwrap();
        lay_over(&mut product, &self.product);
        for key in &self.unstated {
            let mut parts: Vec<&str> = key.split('.').collect();
            let last = parts.pop().unwrap();
            let table = parts.iter().fold(&mut product, |table, part| table[*part].as_table_mut().unwrap());
            assert!(table.remove(last).is_some(), "{}: not stated anyway: {key}", self.name);
        }
        for customer in product.get_mut("customer").and_then(Value::as_array_mut).into_iter().flatten() {
            let customer = customer.as_table_mut().unwrap();
            customer.insert("recipients".into(), Value::Array(vec!["age1example".into()]));
            customer.insert("until".into(), Value::String("2099-12-31".into()));
        }
        for data in product.get_mut("data").and_then(Value::as_array_mut).into_iter().flatten() {
            data.as_table_mut().unwrap().insert("format".into(), "messages".into());
        }
        product
    }
}

fn lay_over(under: &mut Table, over: &Table) {
    for (key, value) in over {
        match (under.get_mut(key).and_then(Value::as_table_mut), value.as_table()) {
            (Some(under), Some(over)) => lay_over(under, over),
            _ => drop(under.insert(key.clone(), value.clone())),
        }
    }
}

/// A small generator (xorshift): the same changes on every machine.
pub struct Draw(pub u64);

impl Draw {
    /// A number below `bound`; 0 where there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

/// Is this document of `check` what `docs/report.schema.json` calls so: `report`, `comparison`, `watch`, `annex`, `why`?
pub fn conforms(name: &str, document: &serde_json::Value) {
    let schema: serde_json::Value = serde_json::from_str(include_str!("../../docs/report.schema.json")).unwrap();
    let reference = format!("#/$defs/{name}");
    assert!(schema["anyOf"].as_array().unwrap().iter().any(|one| one["$ref"] == reference.as_str()));
    holds(&schema, &schema["$defs"][name], document, name);
}

/// As much of JSON Schema as the document uses.
fn holds(root: &serde_json::Value, schema: &serde_json::Value, value: &serde_json::Value, at: &str) {
    if let Some(reference) = schema.get("$ref").and_then(|r| r.as_str()) {
        return holds(root, root.pointer(&reference[1..]).unwrap(), value, at);
    }
    if let Some(words) = schema.get("enum") {
        assert!(words.as_array().unwrap().contains(value), "{at}: {value}");
    }
    if let Some(kind) = schema.get("type") {
        let kinds = kind.as_array().cloned().unwrap_or_else(|| vec![kind.clone()]);
        let is = |kind: &serde_json::Value| match kind.as_str().unwrap() {
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "number" => value.is_number(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "null" => value.is_null(),
            other => panic!("{other}"),
        };
        assert!(kinds.iter().any(is), "{at}: {value}");
    }
    for item in value.as_array().into_iter().flatten() {
        holds(root, &schema["items"], item, at);
    }
    if let Some(object) = value.as_object() {
        let need = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
        assert!(need.iter().all(|key| object.contains_key(key.as_str().unwrap())), "{at}: {value}");
        for (key, value) in object {
            let any = Some(&schema["additionalProperties"]).filter(|any| any.is_object());
            let known = schema["properties"].get(key).or(any);
            holds(root, known.unwrap_or_else(|| panic!("{at}.{key}")), value, key);
        }
    }
}

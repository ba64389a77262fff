//! `sealwright.toml`: one file that describes the whole job. The cli turns it into each room's own plan.

use crate::data;
use crate::digest::Sha256;
use crate::error::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The name of the product file in its folder.
pub const FILE_NAME: &str = "sealwright.toml";
/// A product file may not be larger than this.
pub const MAX_BYTES: u64 = 1 << 20;

/// The product file, checked: names are well formed, and what contradicts itself is refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Product {
    /// Who sells.
    pub vendor: Vendor,
    /// What is sold.
    pub product: Name,
    /// What it is made from.
    pub base: Base,
    /// What the vendor means to do: the question that the pre-flight answers.
    #[serde(rename = "use")]
    pub declared_use: Use,
    /// What the vendor already holds from a licensor.
    #[serde(default, rename = "grant")]
    pub grants: Vec<Grant>,
    /// What it is trained on.
    #[serde(default)]
    pub data: Vec<Data>,
    /// How it is trained; or else `derivative`.
    pub train: Option<Train>,
    /// What another trainer made; or else `train`.
    pub derivative: Option<Derivative>,
    /// Held-out questions, asked before and after training.
    pub eval: Option<Eval>,
    /// Who gets a bundle.
    #[serde(default, rename = "customer")]
    pub customers: Vec<Customer>,
    /// The folder that the product file stands in; paths in it are relative to this.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// `[vendor]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Vendor {
    /// As it signs contracts.
    pub name: String,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// What it sells, words of the vocabulary; some licences shut out kinds of company.
    pub business: Option<Vec<String>>,
    /// Does the company, or an affiliate, offer anything that competes with what the base's licensor offers?
    pub competes_with_licensor: Option<bool>,
    /// Of the company and its affiliates, by currency (ISO 4217); nothing is converted.
    #[serde(default)]
    pub annual_revenue: BTreeMap<String, u64>,
    /// Of the company and its affiliates, all products.
    pub monthly_active_users: Option<Users>,
    /// The private key that signs; without one `build` makes a development key.
    pub key: Option<Key>,
    /// The vendor's revocation list, which `ledger recall` writes; products may share one.
    #[serde(default = "default_revocations")]
    pub revocations: PathBuf,
}

fn default_revocations() -> PathBuf {
    "vendor.revocations".into()
}

/// Where the vendor's private key is.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a key is the path of a PEM file, or { command = [\"program\", …], public = \"vendor.pub.pem\" }"
)]
pub enum Key {
    /// A PEM file: PKCS#8 with or without a passphrase, or SEC1.
    File(PathBuf),
    /// In an HSM or a key service.
    Elsewhere {
        /// Gets the bytes to sign on stdin, writes a DER signature to stdout; run in the product's folder.
        command: Vec<String>,
        /// The public half, in PEM.
        public: PathBuf,
    },
}

/// Monthly active users at two moments, since some licences count once, in the month before the base came out.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Users {
    /// Today.
    pub now: Option<u64>,
    /// In the calendar month before the base's version was released.
    pub at_release: Option<u64>,
}

/// `[product]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Name {
    /// `[a-z0-9-]`, names files.
    pub name: String,
    /// What customers will call it: some licences rule on the name.
    pub title: String,
    /// `1.0.0`.
    pub version: String,
}

/// `[base]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Base {
    /// A folder in the Hugging Face layout.
    pub path: PathBuf,
    /// A licence text that the vendor vouches for, where the base's folder has none.
    pub license_text: Option<PathBuf>,
    /// When the copy was had from the licensor: it stays under the text of that day.
    pub obtained: Option<jiff::civil::Date>,
    /// What its projections become while they are learnt on.
    pub quantize: Option<Quantize>,
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

/// `[train]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Train {
    /// LoRA rank.
    pub rank: usize,
    /// LoRA alpha; the update is scaled by `alpha / rank`.
    pub alpha: f32,
    /// `"all-linear"`, or names of projections.
    pub targets: Targets,
    /// Passes over the data; or else `steps`.
    pub epochs: Option<f64>,
    /// Optimiser steps; or else `epochs`.
    pub steps: Option<u64>,
    /// Sequences an optimiser step.
    pub batch: usize,
    /// Sequences at a time; `batch` is reached by accumulation. The planner chooses when left out.
    pub micro_batch: Option<usize>,
    /// Tokens a sequence.
    pub sequence: usize,
    /// The peak, after warm-up.
    pub learning_rate: f64,
    /// Steps of linear warm-up; 3 % of the run when left out.
    pub warmup: Option<u64>,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f64,
    /// The global gradient norm is clipped to this.
    pub clip: f64,
    /// Everything that is drawn is drawn from this.
    pub seed: u64,
    /// The share of samples held out to watch the loss on, where no `[eval]` file has messages.
    pub validation: f64,
    /// Optimiser steps between checkpoints.
    pub checkpoint_every: u64,
    /// `auto` or `cpu`.
    pub device: String,
    /// An adapter folder to go on from.
    pub init: Option<PathBuf>,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: 32.0,
            targets: Targets::Named("all-linear".into()),
            epochs: None,
            steps: None,
            batch: 4,
            micro_batch: None,
            sequence: 512,
            learning_rate: 2e-4,
            warmup: None,
            weight_decay: 0.0,
            clip: 1.0,
            seed: 17,
            validation: 0.05,
            checkpoint_every: 50,
            device: "auto".into(),
            init: None,
        }
    }
}

/// Which projections get an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Targets {
    /// `"all-linear"`.
    Named(String),
    /// `["q_proj", "v_proj"]`.
    List(Vec<String>),
}

/// `[derivative]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Derivative {
    /// A PEFT adapter folder.
    pub path: PathBuf,
}

/// `[eval]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Eval {
    /// `{"messages": […]}` a line, the last message is the wanted answer; `"keywords"` beside it, or the whole answer is one.
    pub path: PathBuf,
    /// How an answer is judged.
    #[serde(default, rename = "match")]
    pub matching: Match,
}

/// How an answer is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Match {
    /// Every keyword stands in it, whatever the case.
    #[default]
    Keyword,
    /// It is the wanted answer, but for white space at the ends.
    Exact,
}

/// `[[customer]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Customer {
    /// `[a-z0-9-]`, names the bundle.
    pub name: String,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// `age1…` or `ssh-ed25519 …`.
    pub recipients: Vec<String>,
    /// The first day, from 00:00:00 UTC.
    pub from: Option<jiff::civil::Date>,
    /// The last day, through 23:59:59 UTC.
    pub until: jiff::civil::Date,
    /// What the bundle may be used for.
    #[serde(default = "all_uses")]
    pub uses: Vec<String>,
    /// On how many machines it may be used: a declared term.
    pub machines: Option<std::num::NonZeroU32>,
    /// By how many people: a declared term.
    pub seats: Option<std::num::NonZeroU32>,
}

/// The uses that an entitlement can grant.
pub const USES: [&str; 3] = ["run", "serve", "open"];

fn all_uses() -> Vec<String> {
    USES.map(String::from).to_vec()
}

impl Product {
    /// Reads and checks the product file of a folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE_NAME);
        if !path.is_file() {
            return Err(Error::new(Code::Usage, format!("no product file: {}", path.display()))
                .with_hint("name a product folder, or begin one with `sealwright init`"));
        }
        let text = data::read_text(&path, MAX_BYTES)?;
        let mut product: Self = data::parse(&path, &text)?;
        product.folder = folder.to_owned();
        product.check(&path)?;
        Ok(product)
    }

    /// A path of the product file, as one that can be opened.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// What the program remembers of this product: checkpoints, stages, the development key.
    pub fn state_folder(&self) -> PathBuf {
        self.folder.join(".sealwright")
    }

    fn check(&self, path: &Path) -> Result<()> {
        self.check_names(path)?;
        self.check_data(path)?;
        self.customers.iter().try_for_each(|customer| customer.check(path))?;
        match (&self.train, &self.derivative) {
            (Some(_), Some(_)) => Err(refuse(
                path,
                "both [train] and [derivative] stand here",
                "keep [train] to make an adapter, [derivative] to ship one that was made elsewhere",
            )),
            (None, None) if self.declared_use.ship != Ship::Nothing => Err(refuse(
                path,
                "neither [train] nor [derivative] stands here",
                "add [train]; an empty one has good defaults",
            )),
            (Some(train), None) => {
                train.check(path)?;
                match self.data.is_empty() {
                    true => Err(refuse(path, "[train] has nothing to learn from", "add a [[data]] table")),
                    false => Ok(()),
                }
            }
            (None, _) => Ok(()),
        }
    }

    /// Each file once.
    fn check_data(&self, path: &Path) -> Result<()> {
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = self.data.iter().find(|d| !seen.insert(&d.path)) {
            let message = format!("two [[data]] tables name {}", twice.path.display());
            return Err(refuse(path, message, "name each file once; `origin` may be a list"));
        }
        Ok(())
    }

    fn check_names(&self, path: &Path) -> Result<()> {
        let customers = self.customers.iter().map(|c| ("customer.name", &c.name));
        for (key, name) in std::iter::once(("product.name", &self.product.name)).chain(customers) {
            if !is_name(name) {
                let message = format!("{key} must be made of a-z, 0-9 and -: {name}");
                let hint = "the name becomes part of a file name; put what people read into `title`";
                return Err(refuse(path, message, hint));
            }
        }
        if !is_version(&self.product.version) {
            let message = format!("product.version must be made of digits, letters and dots: {}", self.product.version);
            return Err(refuse(path, message, "for example 1.0.0"));
        }
        let mut seen = std::collections::BTreeSet::new();
        match self.customers.iter().find(|c| !seen.insert(&c.name)) {
            Some(twice) => Err(refuse(
                path,
                format!("two customers have the name {}", twice.name),
                "a bundle is named after its customer; give each its own name",
            )),
            None => Ok(()),
        }
    }
}

impl Customer {
    fn check(&self, path: &Path) -> Result<()> {
        if self.recipients.is_empty() {
            let hint = "ask the customer for the line that `sealwright keygen identity` printed";
            return Err(refuse(path, format!("customer {} has no recipient", self.name), hint));
        }
        if let Some(word) = self.uses.iter().find(|u| !USES.contains(&u.as_str())) {
            return Err(refuse(path, format!("customer {}: unknown use: {word}", self.name), "run, serve, open"));
        }
        if self.from.is_some_and(|from| from > self.until) {
            let message = format!("customer {}: `from` is after `until`", self.name);
            return Err(refuse(path, message, "swap the dates"));
        }
        Ok(())
    }
}

fn refuse(path: &Path, message: impl std::fmt::Display, hint: &str) -> Error {
    Error::input(path, message).with_hint(hint)
}

impl Train {
    fn check(&self, path: &Path) -> Result<()> {
        if self.epochs.is_some() && self.steps.is_some() {
            return Err(refuse(path, "train.epochs and train.steps are both set", "keep one of them"));
        }
        let positive = [
            ("rank", self.rank as f64),
            ("alpha", f64::from(self.alpha)),
            ("batch", self.batch as f64),
            ("sequence", self.sequence as f64),
            ("learning-rate", self.learning_rate),
            ("clip", self.clip),
            ("checkpoint-every", self.checkpoint_every as f64),
            ("epochs", self.epochs.unwrap_or(1.0)),
            ("steps", self.steps.unwrap_or(1) as f64),
            ("micro-batch", self.micro_batch.unwrap_or(1) as f64),
        ];
        if let Some((key, value)) = positive.into_iter().find(|(_, v)| !(v.is_finite() && *v > 0.0)) {
            return Err(refuse(path, format!("train.{key} must be above 0: {value}"), "leave it out for the default"));
        }
        if !(0.0..0.5).contains(&self.validation) {
            return Err(refuse(
                path,
                format!("train.validation must be from 0 to below 0.5: {}", self.validation),
                "0.05 holds out one sample in twenty",
            ));
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return Err(refuse(
                path,
                format!("train.weight-decay must not be negative: {}", self.weight_decay),
                "leave it out for the default",
            ));
        }
        if !matches!(self.device.as_str(), "auto" | "cpu") {
            return Err(refuse(path, format!("train.device is unknown: {}", self.device), "auto or cpu"));
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with('-')
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

fn is_version(version: &str) -> bool {
    (1..=64).contains(&version.len())
        && version.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !version.ends_with('.')
        && version.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = r#"
[vendor]
name = "Example Works"
[product]
name = "helpdesk"
title = "Example Helpdesk"
version = "1.0.0"
[base]
path = "base"
[use]
ship = "nothing"
terms = "closed"
commercial = true
"#;

    fn read(text: &str) -> Result<Product> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE_NAME), text).unwrap();
        Product::read(dir.path())
    }

    #[test]
    fn the_smallest_product_is_read() {
        assert_eq!(read(SMALLEST).unwrap().product.name, "helpdesk");
    }

    #[test]
    fn contradictions_are_refused() {
        let customer = "[[customer]]\nname = \"acme\"\nrecipients = [\"age1x\"]\nuntil = \"2027-12-31\"\n";
        for (text, said) in [
            (SMALLEST.replace("helpdesk\"\nt", "Help Desk\"\nt"), "product.name must be"),
            (SMALLEST.replace("\"nothing\"", "\"adapter\""), "neither [train] nor [derivative]"),
            (format!("{SMALLEST}[train]\nsteps = 0\n"), "train.steps must be above 0"),
            (format!("{SMALLEST}[train]\nsteps = 1\nepochs = 1.0\n"), "both set"),
            (format!("{SMALLEST}[train]\n"), "nothing to learn from"),
            (format!("{SMALLEST}{customer}{customer}"), "two customers"),
            (format!("{SMALLEST}{customer}uses = [\"fly\"]\n"), "unknown use: fly"),
            (format!("{SMALLEST}[tran]\n"), "unknown field `tran`"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.to_string().contains(said), "{said}: {error}");
            assert!(error.hint().is_some(), "{said}: no hint");
        }
    }
}

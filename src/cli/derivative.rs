//! The derivative that a product ships: what `train` made, or what another trainer or framework did. Shared by `pack`
//! and `build`.

use super::say::{Say, visible};
#[cfg(feature = "ml")]
use super::stages::Stages;
use super::stages::State;
use sealwright::adapter::{self, CONFIG_FILE, RECORD_FILE, RunRecord, TENSOR_FILE};
use sealwright::base::{Base, Fingerprint};
use sealwright::bundle::{self, Gathered, Recipe, SourceFile};
use sealwright::digest::Sha256;
use sealwright::error::{AtPath as _, Code, Error, Result};
use sealwright::product::{self, Product, Ship};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Files to seal, and what is said of them.
pub struct Derivative {
    /// The payload's files.
    pub files: Vec<SourceFile>,
    /// How an adapter adapts.
    pub recipe: Option<Recipe>,
    /// Digests of the data that it learnt from.
    pub data: Vec<Sha256>,
    /// What was measured, for the card.
    pub metrics: Vec<(String, String)>,
}

impl Derivative {
    /// The one that the product file names.
    pub fn of(product: &Product, base: &Base, fingerprint: &Fingerprint, state: &State, say: &Say) -> Result<Self> {
        match (&product.derivative, product.declared_use.ship) {
            (_, Ship::Nothing) => Err(Error::new(Code::Usage, "use.ship is `nothing`: there is nothing to pack")
                .with_hint("`adapter` ships the adapter")),
            (Some(derivative), ship) => Self::theirs(product, derivative, ship, say),
            (None, ship) => {
                let ours = Self::ours(&state.folder().join(adapter::FOLDER), fingerprint, state)?;
                if ship == Ship::Adapter { Ok(ours) } else { ours.merged(product, base, state, say) }
            }
        }
    }

    /// An adapter that `train` made: whole, and of this base.
    fn ours(folder: &Path, base: &Fingerprint, state: &State) -> Result<Self> {
        let record = RunRecord::read(folder)?.ok_or_else(|| {
            Error::new(Code::Usage, format!("no finished training here: {}", folder.display()))
                .with_hint("`sealwright train` first; `sealwright build` does both")
        })?;
        let tensors = folder.join(TENSOR_FILE);
        if Sha256::of_file(&tensors)? != record.adapter {
            return Err(Error::input(&tensors, "not the matrices that the run record beside it names")
                .with_hint("`sealwright train --fresh` makes them again"));
        }
        if let [first, ..] = record.base.differs_in(base)[..] {
            return Err(Error::new(Code::WrongBase, format!("the adapter was trained on a base with another {first}"))
                .with_hint("`sealwright train` trains on the base as it is now"));
        }
        let redacted = state.folder().join("redacted").join(RECORD_FILE);
        record.redacted(&salt(state)?).write(redacted.parent().expect("it has a folder"))?;
        let source = |name: &str, path: PathBuf| SourceFile { name: name.into(), path };
        Ok(Self {
            files: vec![
                source(CONFIG_FILE, folder.join(CONFIG_FILE)),
                source(TENSOR_FILE, tensors),
                source(RECORD_FILE, redacted),
            ],
            recipe: Some(recipe(&adapter::read(folder)?.recipe)),
            data: record.data.iter().map(|file| file.digest).collect(),
            metrics: metrics(&record),
        })
    }

    /// What `train` made, in the base's place: merged once, kept as long as the adapter is the same.
    #[cfg(feature = "ml")]
    fn merged(self, product: &Product, base: &Base, state: &State, say: &Say) -> Result<Self> {
        let (folder, out) = (state.folder().join(adapter::FOLDER), state.folder().join(adapter::MERGED));
        let inputs: Vec<_> = self.files.iter().map(|f| Sha256::of_file(&f.path)).collect::<Result<_>>()?;
        let proof = Stages::read(state).run("merge", Sha256::of_json(&inputs), &out, || {
            if out.is_dir() {
                std::fs::remove_dir_all(&out).at(&out)?;
            }
            super::merge::merge(product, base, &folder, &out, say)
        })?;
        let mut files = bundle::gather(&out, None)?.files;
        files.extend(self.files.into_iter().filter(|f| f.name == RECORD_FILE));
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let mut metrics = self.metrics;
        metrics.push(("largest KL divergence of the merge, nats".into(), format!("{:.1e}", proof.found.largest)));
        Ok(Self { files, metrics, ..self })
    }

    /// The small verifier has no tensors.
    #[cfg(not(feature = "ml"))]
    fn merged(self, _: &Product, _: &Base, _: &State, _: &Say) -> Result<Self> {
        Err(Error::new(Code::NotBuilt, "this build of the program cannot merge weights")
            .with_hint("use a build with the feature `ml`, which is the default"))
    }

    /// What another trainer or framework made, as it is.
    fn theirs(product: &Product, derivative: &product::Derivative, ship: Ship, say: &Say) -> Result<Self> {
        let path = product.resolve(&derivative.path);
        let Gathered { files, left } = bundle::gather(&path, derivative.files.as_deref())?;
        if !say.is_json() {
            left.iter().for_each(|(name, why)| say.note(visible(&format!("left out: {name}, {why}"))));
        }
        demand_ship(&path, &files, ship)?;
        Ok(Self {
            recipe: if ship == Ship::Adapter { recipe_of(&path, &files, say)? } else { None },
            files,
            data: product.data.iter().map(|d| Sha256::of_file(&product.resolve(&d.path))).collect::<Result<_>>()?,
            metrics: Vec::new(),
        })
    }
}

/// What was cleared is what is sealed: an adapter without whole weights beside it, or no adapter.
fn demand_ship(path: &Path, files: &[SourceFile], ship: Ship) -> Result<()> {
    let is_adapter = files.iter().any(|file| file.name == CONFIG_FILE);
    let whole = files.iter().find(|file| is_adapter && is_whole_weights(&file.name));
    let (said, hint) = match (ship, is_adapter, whole) {
        (Ship::Adapter, false, _) => (
            format!("use.ship is `adapter`, and there is no {CONFIG_FILE} in it"),
            "`ship = \"merged\"` is for whole weights, of any framework: other clauses are judged",
        ),
        (_, true, Some(file)) => (
            format!("whole weights beside an adapter: {}", file.name),
            "`[derivative] files` names what travels; `ship` must say which of the two it is",
        ),
        (Ship::Merged, true, None) => (
            format!("use.ship is `merged`, and it is an adapter ({CONFIG_FILE})"),
            "`ship = \"adapter\"`, or name the merged weights",
        ),
        _ => return Ok(()),
    };
    Err(Error::input(path, said).with_hint(hint))
}

/// An adapter's own matrices begin with its name, whoever wrote them.
fn is_whole_weights(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    [".safetensors", ".gguf"].iter().any(|end| last.ends_with(end)) && !last.starts_with("adapter")
}

/// How an adapter adapts, where it is a plain LoRA; any other is sealed as it is, and said.
fn recipe_of(folder: &Path, files: &[SourceFile], say: &Say) -> Result<Option<Recipe>> {
    match adapter::read(folder) {
        Ok(adapter) => Ok(Some(recipe(&adapter.recipe))),
        Err(error) if files.iter().any(|file| file.name == TENSOR_FILE) => {
            if !say.is_json() {
                say.note(visible(&format!("sealed as it is, for `run` has no use for it: {error}")));
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn recipe(recipe: &adapter::Recipe) -> Recipe {
    Recipe {
        method: "lora".into(),
        rank: recipe.rank as u64,
        alpha: recipe.alpha.to_string(),
        targets: recipe.targets.clone(),
    }
}

fn metrics(record: &RunRecord) -> Vec<(String, String)> {
    let mut metrics = Vec::new();
    for (when, held_out) in [("before", record.before), ("after", record.after)] {
        let Some(held_out) = held_out else { continue };
        metrics.extend(held_out.loss.map(|loss| (format!("held-out loss {when}"), format!("{loss:.4}"))));
        if held_out.questions > 0 {
            let share = 100.0 * held_out.matched as f64 / held_out.questions as f64;
            metrics.push((format!("held-out questions answered {when}, %"), format!("{share:.1}")));
        }
    }
    metrics
}

/// 32 secret bytes of this product, which hide its data's digests in what is shipped.
fn salt(state: &State) -> Result<[u8; 32]> {
    let path = state.folder().join("salt");
    if !path.is_file() {
        let mut random = [0; 32];
        sealwright::data::random(&mut random)?;
        sealwright::data::write_atomically(&path, |file| file.write_all(&random).at(&path))?;
    }
    let bytes = sealwright::data::read_bytes(&path, 32)?;
    bytes.try_into().map_err(|_| Error::input(&path, "not 32 bytes").with_hint("remove the file; a new one is made"))
}

//! What `build` remembers: each stage's inputs as one digest, what it made, and what it found.

use sealwright::data;
use sealwright::digest::Sha256;
use sealwright::error::{AtPath as _, Code, Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The memory file may not be larger than this.
const MAX_BYTES: u64 = 64 << 20;

/// A product's state folder, locked while this lives.
pub struct State {
    folder: PathBuf,
    _lock: File,
}

impl State {
    /// Makes the folder (0700) where there is none, and locks it.
    pub fn lock(folder: &Path) -> Result<Self> {
        data::private_folder(folder)?;
        let path = folder.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path).at(&path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder: folder.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(Error::new(Code::Locked, format!("another process works on this product: {}", folder.display()))
                    .with_hint("wait for it to end"))
            }
            Err(TryLockError::Error(e)) => Err(Error::io(&path, &e)),
        }
    }

    /// Where the state lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// The stages of one product, as they were last run.
#[derive(Default)]
pub struct Stages {
    path: PathBuf,
    done: BTreeMap<String, Done>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Done {
    inputs: Sha256,
    made: Sha256,
    found: serde_json::Value,
}

/// A stage's result, and whether it was taken from before.
pub struct Stage<T> {
    /// What the stage found.
    pub found: T,
    /// Nothing had changed since it was run.
    pub from_before: bool,
}

impl Stages {
    /// What the state folder remembers. A memory that can't be read is no memory.
    pub fn read(state: &State) -> Self {
        let path = state.folder().join("stages.json");
        let bytes = data::read_bytes(&path, MAX_BYTES).unwrap_or_default();
        Self { done: serde_json::from_slice(&bytes).unwrap_or_default(), path }
    }

    /// Runs a stage, unless its inputs and what it made are as they were.
    ///
    /// `inputs` is everything that changes the result; `output` the file or folder that `work` makes.
    #[cfg(any(feature = "ml", test))] // the small verifier makes nothing in stages but bundles
    pub fn run<T: Serialize + DeserializeOwned>(
        &mut self,
        name: &str,
        inputs: Sha256,
        output: &Path,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<Stage<T>> {
        let made = || if output.is_dir() { sealwright::digest::folder(output) } else { Sha256::of_file(output) };
        self.run_if_needed(
            name,
            || Ok(inputs),
            made,
            || {
                let found = work()?;
                Ok((found, made()?))
            },
        )
    }

    /// The same for inputs and results that take long to read. `inputs` is asked before the work only where an earlier
    /// run can be compared, for the work may read what it digests; `made` where the inputs are as they were. `work`
    /// returns what was found, and what `made` will say of it.
    pub fn run_if_needed<T: Serialize + DeserializeOwned>(
        &mut self,
        name: &str,
        inputs: impl Fn() -> Result<Sha256>,
        made: impl Fn() -> Result<Sha256>,
        work: impl FnOnce() -> Result<(T, Sha256)>,
    ) -> Result<Stage<T>> {
        if let Some(done) = self.done.get(name)
            && inputs()? == done.inputs
            && made().is_ok_and(|made| made == done.made)
            && let Ok(found) = serde_json::from_value(done.found.clone())
        {
            return Ok(Stage { found, from_before: true });
        }
        let (found, made) = work()?;
        let value = serde_json::to_value(&found).expect("our own values serialise");
        self.done.insert(name.to_owned(), Done { inputs: inputs()?, made, found: value });
        self.write()?;
        Ok(Stage { found, from_before: false })
    }

    fn write(&self) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(&self.done).expect("our own values serialise");
        data::write_atomically(&self.path, |file| file.write_all(&bytes).at(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_runs_again_only_when_something_changed() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::lock(&dir.path().join("state")).unwrap();
        let out = dir.path().join("out");
        let mut runs = 0;
        let mut build = |inputs: &str| {
            let mut stages = Stages::read(&state);
            let stage = stages.run("train", Sha256::of(inputs), &out, || {
                runs += 1;
                std::fs::write(&out, inputs).at(&out)?;
                Ok(runs)
            });
            stage.map(|s| (s.found, s.from_before)).unwrap()
        };
        assert_eq!(build("a"), (1, false));
        assert_eq!(build("a"), (1, true));
        assert_eq!(build("b"), (2, false));
        std::fs::write(dir.path().join("out"), "tampered").unwrap();
        assert_eq!(build("b"), (3, false));
    }

    #[test]
    fn two_processes_do_not_share_a_product() {
        let dir = tempfile::tempdir().unwrap();
        let _first = State::lock(dir.path()).unwrap();
        assert_eq!(State::lock(dir.path()).err().unwrap().code, Code::Locked);
    }
}

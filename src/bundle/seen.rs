//! What the reader remembers: the highest serial seen for each vendor key, product and customer.
//!
//! One JSON file in the user's state folder, replaced whole, under a lock. Whoever can delete it can go back to an
//! older bundle: it guards against mix-ups and old copies, not against the machine's owner.

use super::manifest::Manifest;
use crate::data;
use crate::digest::Sha256;
use crate::error::{AtPath, Code, Error, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The file may not be larger than this.
const MAX_BYTES: u64 = 16 << 20;

/// The reader's state folder.
pub struct Seen {
    folder: PathBuf,
}

type Serials = BTreeMap<Sha256, u64>;

impl Seen {
    /// Kept in this folder, which is made when there is something to keep.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// `$SEALWRIGHT_STATE`, else `$XDG_STATE_HOME/sealwright`, else `~/.local/state/sealwright`.
    pub fn of_user() -> Result<Self> {
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let folder = set("SEALWRIGHT_STATE")
            .or_else(|| set("XDG_STATE_HOME").map(|p| p.join("sealwright")))
            .or_else(|| set("HOME").map(|p| p.join(".local/state/sealwright")));
        folder.map(Self::at).ok_or_else(|| {
            Error::new(Code::Usage, "no folder to remember serials in").with_hint("set SEALWRIGHT_STATE to a folder")
        })
    }

    /// Refuses a bundle whose serial is below the highest seen.
    pub fn judge(&self, manifest: &Manifest) -> Result<()> {
        judge(&self.read()?, manifest)
    }

    /// Judges again, and remembers the bundle's serial.
    pub fn remember(&self, manifest: &Manifest) -> Result<()> {
        std::fs::create_dir_all(&self.folder).at(&self.folder)?;
        let _lock = lock(&self.folder.join("serials.lock"))?;
        let mut serials = self.read()?;
        judge(&serials, manifest)?;
        if serials.insert(key(manifest), manifest.serial) == Some(manifest.serial) {
            return Ok(());
        }
        let path = self.path();
        let bytes = serde_json::to_vec(&serials).expect("our own values serialise");
        data::write_atomically(&path, |file| file.write_all(&bytes).at(&path))
    }

    fn path(&self) -> PathBuf {
        self.folder.join("serials.json")
    }

    fn read(&self) -> Result<Serials> {
        let path = self.path();
        if !path.exists() {
            return Ok(Serials::new());
        }
        serde_json::from_slice(&data::read_bytes(&path, MAX_BYTES)?).map_err(|e| {
            Error::input(&path, e)
                .with_hint("move it away; then older bundles are not noticed until newer ones were seen")
        })
    }
}

fn key(manifest: &Manifest) -> Sha256 {
    Sha256::of_json(&(&manifest.vendor.key, &manifest.product.name, &manifest.entitlement.customer))
}

fn judge(serials: &Serials, manifest: &Manifest) -> Result<()> {
    match serials.get(&key(manifest)) {
        Some(highest) if *highest > manifest.serial => Err(Error::new(
            Code::OlderBundle,
            format!(
                "a newer bundle of {} was opened before: serial {highest}, this one has {}",
                manifest.product.name, manifest.serial
            ),
        )
        .with_hint("use the newer bundle")),
        _ => Ok(()),
    }
}

/// Waits for other readers; the lock goes with the file.
fn lock(path: &Path) -> Result<File> {
    let file = File::options().create(true).append(true).open(path).at(path)?;
    #[cfg(unix)]
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).map_err(|e| Error::io(path, &e.into()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_older_serial_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let seen = Seen::at(dir.path().join("state"));
        let mut manifest = super::super::manifest::tests::example();
        seen.judge(&manifest).unwrap();
        seen.remember(&manifest).unwrap();
        seen.remember(&manifest).unwrap();
        manifest.serial -= 1;
        assert_eq!(seen.judge(&manifest).unwrap_err().code, Code::OlderBundle);
        assert_eq!(seen.remember(&manifest).unwrap_err().code, Code::OlderBundle);
        manifest.entitlement.customer = "beta".into();
        seen.judge(&manifest).unwrap();
    }
}

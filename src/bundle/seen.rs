//! What the reader remembers: the highest serial of each bundle, renewal and revocation list, and the latest moment.
//!
//! One JSON file in the user's state folder, replaced whole, under a lock. Whoever can delete it can go back to an
//! older bundle or an older day: it guards against mix-ups, old copies and a clock that was set back, not against the
//! machine's owner.

use super::manifest::Manifest;
use super::renewal::Renewal;
use super::revocations::Revocations;
use crate::data;
use crate::digest::Sha256;
use crate::error::{AtPath, Code, Error, Result};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

/// The file may not be larger than this.
const MAX_BYTES: u64 = 16 << 20;
/// By how much two clocks may differ before one of them is said to be wrong.
const TOLERANCE: SignedDuration = SignedDuration::from_hours(24);

/// The reader's state folder.
pub struct Seen {
    folder: PathBuf,
}

/// What is in the file.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Memory {
    /// The latest moment at which a bundle was opened, in seconds since 1970.
    clock: i64,
    /// By vendor key, product and customer.
    bundles: BTreeMap<Sha256, u64>,
    /// By bundle.
    renewals: BTreeMap<Sha256, u64>,
    /// By the key that signed the list.
    lists: BTreeMap<Sha256, u64>,
}

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

    /// Refuses a bundle or a renewal whose serial is below the highest seen, and a clock that was set back.
    pub fn judge(&self, manifest: &Manifest, id: Sha256, renewal: Option<&Renewal>, now: Timestamp) -> Result<()> {
        self.read()?.judge(manifest, id, renewal, now)
    }

    /// Judges again, and remembers serials and moment.
    pub fn remember(&self, manifest: &Manifest, id: Sha256, renewal: Option<&Renewal>, now: Timestamp) -> Result<()> {
        self.change(|memory| {
            memory.judge(manifest, id, renewal, now)?;
            memory.clock = memory.clock.max(now.as_second());
            memory.bundles.insert(key(manifest), manifest.serial);
            if let Some(renewal) = renewal {
                memory.renewals.insert(id, renewal.serial);
            }
            Ok(())
        })
    }

    /// Refuses a revocation list with a lower number than one by any of these keys that was seen, and remembers it.
    pub(super) fn take_list(&self, list: &Revocations, keys: &[Sha256]) -> Result<()> {
        self.change(|memory| {
            let highest = keys.iter().filter_map(|key| memory.lists.get(key)).max().copied().unwrap_or(0);
            if list.number < highest {
                return Err(Error::new(
                    Code::OlderStatement,
                    format!("a newer revocation list was seen before: number {highest}, this one has {}", list.number),
                )
                .with_hint("get the newest list from the vendor"));
            }
            memory.lists.insert(list.vendor.key, list.number);
            Ok(())
        })
    }

    /// Refuses a clock that is before the latest moment seen.
    pub(super) fn judge_clock(&self, now: Timestamp) -> Result<()> {
        self.read()?.judge_clock(now)
    }

    fn change(&self, change: impl FnOnce(&mut Memory) -> Result<()>) -> Result<()> {
        std::fs::create_dir_all(&self.folder).at(&self.folder)?;
        let _lock = data::lock(&self.folder.join("seen.lock"))?;
        let mut memory = self.read()?;
        let before = serde_json::to_vec(&memory).expect("our own values serialise");
        change(&mut memory)?;
        let bytes = serde_json::to_vec(&memory).expect("our own values serialise");
        if bytes == before {
            return Ok(());
        }
        let path = self.path();
        data::write_atomically(&path, |file| file.write_all(&bytes).at(&path))
    }

    fn path(&self) -> PathBuf {
        self.folder.join("seen.json")
    }

    fn read(&self) -> Result<Memory> {
        let path = self.path();
        if !path.exists() {
            return Ok(Memory::default());
        }
        serde_json::from_slice(&data::read_bytes(&path, MAX_BYTES)?).map_err(|e| {
            Error::input(&path, e)
                .with_hint("move it away; then older bundles are not noticed until newer ones were seen")
        })
    }
}

impl Memory {
    fn judge(&self, manifest: &Manifest, id: Sha256, renewal: Option<&Renewal>, now: Timestamp) -> Result<()> {
        self.judge_clock(now)?;
        if let Some(highest) = self.bundles.get(&key(manifest)).filter(|highest| **highest > manifest.serial) {
            return Err(Error::new(
                Code::OlderBundle,
                format!(
                    "a newer bundle of {} was opened before: serial {highest}, this one has {}",
                    manifest.product.name, manifest.serial
                ),
            )
            .with_hint("use the newer bundle"));
        }
        let serial = renewal.map_or(0, |renewal| renewal.serial);
        match self.renewals.get(&id) {
            Some(highest) if renewal.is_some() && *highest > serial => Err(Error::new(
                Code::OlderStatement,
                format!("a newer renewal of this bundle was used before: serial {highest}, this one has {serial}"),
            )
            .with_hint("use the newer renewal")),
            _ => Ok(()),
        }
    }

    fn judge_clock(&self, now: Timestamp) -> Result<()> {
        let latest = Timestamp::from_second(self.clock).unwrap_or_default();
        judge_clock(now, latest, "a bundle was opened here")
    }
}

/// Refuses a clock that is more than a day before a moment that has passed.
pub(super) fn judge_clock(now: Timestamp, passed: Timestamp, what: &str) -> Result<()> {
    if passed.duration_since(now) <= TOLERANCE {
        return Ok(());
    }
    Err(Error::new(Code::ClockSetBack, format!("this machine's clock says {now}, and {what} at {passed}"))
        .with_hint("set the clock right; no date can be judged by it"))
}

fn key(manifest: &Manifest) -> Sha256 {
    Sha256::of_json(&(&manifest.vendor.key, &manifest.product.name, &manifest.entitlement.customer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_older_serial_or_day_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let seen = Seen::at(dir.path().join("state"));
        let mut manifest = super::super::manifest::tests::example();
        let (id, now) = (Sha256::of("id"), "2026-06-01T12:00:00Z".parse::<Timestamp>().unwrap());
        let mut renewal = Renewal {
            format: "sealwright/1".into(),
            vendor: manifest.vendor.clone(),
            bundle: id,
            issued: 5,
            serial: 5,
            until: "2028-12-31".parse().unwrap(),
        };
        seen.judge(&manifest, id, None, now).unwrap();
        seen.remember(&manifest, id, Some(&renewal), now).unwrap();
        seen.remember(&manifest, id, Some(&renewal), now).unwrap();
        let code = |manifest: &Manifest, renewal: Option<&Renewal>, now: Timestamp| {
            let judged = seen.judge(manifest, id, renewal, now).err().map(|e| e.code);
            assert_eq!(judged, seen.remember(manifest, id, renewal, now).err().map(|e| e.code));
            judged
        };
        assert_eq!(code(&manifest, Some(&renewal), now - SignedDuration::from_hours(25)), Some(Code::ClockSetBack));
        assert_eq!(code(&manifest, Some(&renewal), now - SignedDuration::from_hours(23)), None);
        renewal.serial = 4;
        assert_eq!(code(&manifest, Some(&renewal), now), Some(Code::OlderStatement));
        assert_eq!(code(&manifest, None, now), None, "without one the bundle's own days hold");
        manifest.serial -= 1;
        assert_eq!(code(&manifest, None, now), Some(Code::OlderBundle));
        manifest.entitlement.customer = "beta".into();
        assert_eq!(code(&manifest, None, now), None);
    }
}

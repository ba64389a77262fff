//! The vendor's ledger of holders: which bundle went to whom, sealed to which keys, until when, and what became of it.
//!
//! `ledger.jsonl` in the product's folder, one event a line, replaced whole under a lock: an event is in it or not.
//! It knows what was made here; who passed a bundle on, or still uses it, it cannot know.

use crate::data;
use crate::digest::Sha256;
use crate::error::{AtPath, Code, Error, Result};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Its name in the product's folder.
pub const FILE_NAME: &str = "ledger.jsonl";
/// It may not be larger than this: some hundred thousand events.
const MAX_BYTES: u64 = 256 << 20;

/// What happened to a bundle; moments in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// It was sealed.
    Packed(Holding),
    /// It was given a later last day.
    Renewed {
        /// When.
        at: u64,
        /// The digest of its manifest.
        bundle: Sha256,
        /// Its new last day.
        until: Date,
    },
    /// It was put on the revocation list.
    Recalled {
        /// When.
        at: u64,
        /// The digest of its manifest.
        bundle: Sha256,
    },
}

/// A bundle, and who holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Holding {
    /// When it was sealed.
    pub at: u64,
    /// The digest of its manifest.
    pub bundle: Sha256,
    /// Whom it is for.
    pub customer: String,
    /// `[a-z0-9-]`.
    pub product: String,
    /// `1.0.0`.
    pub version: String,
    /// The first day, where it has one.
    pub from: Option<Date>,
    /// The last day.
    pub until: Date,
    /// What it may be used for.
    pub uses: Vec<String>,
    /// The key that signed it.
    pub key: Sha256,
    /// Whom it is encrypted to.
    pub recipients: Vec<String>,
    /// Its file, in the product's folder.
    pub file: PathBuf,
    /// Bytes of the file.
    pub bytes: u64,
}

/// A bundle as it stands today.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Held {
    /// As it was sealed.
    #[serde(flatten)]
    pub holding: Holding,
    /// The last day, renewals counted in.
    pub valid_until: Date,
    /// On the revocation list.
    pub recalled: bool,
}

/// A product's ledger.
pub struct Ledger {
    path: PathBuf,
    lock: PathBuf,
}

impl Ledger {
    /// The one of a product's folder; its lock lies in the state folder.
    pub fn of(folder: &Path, state: &Path) -> Self {
        Self { path: folder.join(FILE_NAME), lock: state.join("ledger.lock") }
    }

    /// Writes an event down, unless it is there already: a bundle is packed once, and recalled once.
    pub fn record(&self, event: &Event) -> Result<()> {
        let folder = self.lock.parent().expect("it has a folder");
        data::private_folder(folder)?;
        let _lock = data::lock(&self.lock)?;
        let mut events = self.read()?;
        let is_same = |other: &Event| match (event, other) {
            (Event::Packed(new), Event::Packed(old)) => new.bundle == old.bundle,
            (Event::Recalled { bundle: new, .. }, Event::Recalled { bundle: old, .. }) => new == old,
            (new, old) => new == old,
        };
        if events.iter().any(is_same) {
            return Ok(());
        }
        events.push(event.clone());
        data::write_atomically(&self.path, |file| {
            let mut out = std::io::BufWriter::new(file);
            for event in &events {
                let line = serde_json::to_string(event).expect("our own values serialise");
                writeln!(out, "{line}").at(&self.path)?;
            }
            out.flush().at(&self.path)
        })
    }

    /// Every event, in the order of the file.
    pub fn read(&self) -> Result<Vec<Event>> {
        if !self.path.exists() {
            return Ok(Vec::new());
        }
        let text = data::read_text(&self.path, MAX_BYTES)?;
        let parse = |(number, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|e| {
                Error::input(&self.path, format!("line {}: {e}", number + 1))
                    .with_hint("put the file back from a backup; the program writes it whole or not at all")
            })
        };
        text.lines().enumerate().map(parse).collect()
    }

    /// Every bundle as it stands, in the order in which they were sealed.
    pub fn held(&self) -> Result<Vec<Held>> {
        let mut held = Vec::<Held>::new();
        let mut places = BTreeMap::new();
        for event in self.read()? {
            match event {
                Event::Packed(holding) => {
                    places.insert(holding.bundle, held.len());
                    held.push(Held { valid_until: holding.until, holding, recalled: false });
                }
                Event::Renewed { bundle, until, .. } => {
                    let place = *places.get(&bundle).ok_or_else(|| self.unknown(bundle))?;
                    held[place].valid_until = until;
                }
                Event::Recalled { bundle, .. } => {
                    let place = *places.get(&bundle).ok_or_else(|| self.unknown(bundle))?;
                    held[place].recalled = true;
                }
            }
        }
        Ok(held)
    }

    /// The bundle with this digest.
    pub fn find(&self, bundle: Sha256) -> Result<Held> {
        self.held()?.into_iter().find(|h| h.holding.bundle == bundle).ok_or_else(|| self.unknown(bundle))
    }

    fn unknown(&self, bundle: Sha256) -> Error {
        Error::new(Code::Usage, format!("not a bundle of this product: {bundle}"))
            .with_hint(format!("`sealwright ledger` lists those in {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(name: &str) -> Holding {
        Holding {
            at: 5,
            bundle: Sha256::of(name),
            customer: name.into(),
            product: "helpdesk".into(),
            version: "1.0.0".into(),
            from: None,
            until: "2027-12-31".parse().unwrap(),
            uses: vec!["run".into()],
            key: Sha256::of("key"),
            recipients: vec!["age1x".into()],
            file: "dist/x.sealed".into(),
            bytes: 9,
        }
    }

    #[test]
    fn a_hundred_at_once_lose_no_line() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for i in 0..100 {
                let ledger = Ledger::of(dir.path(), &dir.path().join("state"));
                scope.spawn(move || ledger.record(&Event::Packed(holding(&i.to_string()))).unwrap());
            }
        });
        let held = Ledger::of(dir.path(), &dir.path().join("state")).held().unwrap();
        let names: std::collections::BTreeSet<_> = held.iter().map(|h| &h.holding.customer).collect();
        assert_eq!(names.len(), 100);
    }

    #[test]
    fn a_bundle_stands_as_its_last_event_says() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::of(dir.path(), &dir.path().join("state"));
        let (bundle, until) = (Sha256::of("a"), "2028-12-31".parse().unwrap());
        assert_eq!(ledger.find(bundle).unwrap_err().code, Code::Usage);
        for _ in 0..2 {
            ledger.record(&Event::Packed(holding("a"))).unwrap();
            ledger.record(&Event::Renewed { at: 6, bundle, until }).unwrap();
            ledger.record(&Event::Recalled { at: 7, bundle }).unwrap();
        }
        assert_eq!(ledger.read().unwrap().len(), 3, "nothing twice");
        let held = ledger.find(bundle).unwrap();
        assert_eq!((held.valid_until, held.recalled), (until, true));
        std::fs::write(dir.path().join(FILE_NAME), "{\"event\":\"packed\"").unwrap();
        assert_eq!(ledger.read().unwrap_err().code, Code::BadInput);
    }
}

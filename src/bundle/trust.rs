//! Whose bundles a customer takes, FORMAT.md section 13: public keys, and trust files that bound them.

use super::manifest::{Manifest, Vendor};
use super::revocations::{Revocations, RevokedKey};
use super::seen::{Seen, judge_clock};
use crate::data;
use crate::digest::Sha256;
use crate::error::{Code, Error, Result};
use crate::sign::{self, MAX_KEY_BYTES, PublicKey, Statement};
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Whose bundles are taken.
#[derive(Default)]
pub struct Trust {
    keys: Vec<TrustedKey>,
    lists: Vec<List>,
    allow_development: bool,
}

/// A vendor's key, and what it is trusted for.
#[derive(Debug)]
pub(super) struct TrustedKey {
    pub public: PublicKey,
    /// None trusts it under any name and for any product.
    vendor: Option<String>,
    products: Option<Vec<String>>,
    from: Option<Date>,
    until: Option<Date>,
    status: Status,
    pins: BTreeSet<Sha256>,
}

/// A revocation list, and whose.
struct List {
    vendor: String,
    said: Revocations,
    /// The last day on which it was fresh, where that has passed.
    stale: Option<Date>,
}

/// What became of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    /// It signs.
    #[default]
    Active,
    /// It signs no more; what it signed through `until` stays good, or else the pins alone.
    Retired,
    /// Others may have it: the pins alone stay good.
    Compromised,
}

/// A trust file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    /// The day on which it was written: a clock before it is wrong.
    updated: Option<Date>,
    /// Revocation lists.
    #[serde(default)]
    revocations: Vec<PathBuf>,
    #[serde(default, rename = "key")]
    keys: Vec<Table>,
}

/// `[[key]]` of a trust file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Table {
    public: PathBuf,
    vendor: String,
    products: Option<Vec<String>>,
    from: Option<Date>,
    until: Option<Date>,
    #[serde(default)]
    status: Status,
    #[serde(default)]
    pins: BTreeSet<Sha256>,
}

impl Trust {
    /// These keys, under any name and for any product; `allow_development` takes a development key's bundles, too.
    pub fn in_keys(keys: impl IntoIterator<Item = PublicKey>, allow_development: bool) -> Self {
        let keys = keys.into_iter().map(TrustedKey::without_bounds).collect();
        Self { keys, lists: Vec::new(), allow_development }
    }

    /// What these files say: each a public key in PEM, or a trust file. Lists and clock are judged by `seen` and `now`.
    ///
    /// # Errors
    /// `bad-input` for a file that is neither; what [`sign::open`] says of a revocation list; `older-statement` for a
    /// list older than one seen; `clock-set-back` where a trust file's dates can't be judged.
    pub fn read(paths: &[PathBuf], allow_development: bool, now: Timestamp, seen: &Seen) -> Result<Self> {
        let mut trust = Self { allow_development, ..Self::default() };
        for path in paths {
            let text = data::read_text(path, data::MAX_FILE_BYTES)?;
            if text.contains("-----BEGIN") && text.len() as u64 <= MAX_KEY_BYTES {
                trust.keys.push(TrustedKey::without_bounds(PublicKey::parse(path, &text)?));
            } else {
                trust.add(path, data::parse(path, &text)?, now, seen)?;
            }
        }
        let mut ids = BTreeSet::new();
        match trust.keys.iter().map(|key| key.public.id()).find(|id| !ids.insert(*id)) {
            Some(twice) => Err(Error::new(Code::BadInput, format!("a key is trusted twice: {twice}"))
                .with_hint("keep one of them: a trust file bounds a key only where nothing else names it")),
            None => Ok(trust),
        }
    }

    /// Takes in a trust file.
    fn add(&mut self, path: &Path, file: File, now: Timestamp, seen: &Seen) -> Result<()> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let keys =
            file.keys.into_iter().map(|table| TrustedKey::of(path, folder, table)).collect::<Result<Vec<_>>>()?;
        if let Some(updated) = file.updated {
            judge_clock(now, midnight(updated), &format!("{} was updated", path.display()))?;
        }
        for name in &file.revocations {
            seen.judge_clock(now)?;
            self.lists.push(List::read(&folder.join(name), &keys, now, seen)?);
        }
        self.keys.extend(keys);
        Ok(())
    }

    /// The key with this id.
    pub(super) fn key(&self, id: Sha256) -> Option<&TrustedKey> {
        self.keys.iter().find(|key| key.public.id() == id)
    }

    /// May this key have signed this bundle, and is the bundle still good?
    pub(super) fn judge(&self, key: &TrustedKey, manifest: &Manifest, id: Sha256) -> Result<()> {
        if !key.covers(&manifest.vendor, &manifest.product.name) {
            return Err(Error::new(
                Code::UnknownSigner,
                format!(
                    "whole, but signed by a key that is not trusted for {} by {}: {}",
                    manifest.product.name, manifest.vendor.name, manifest.vendor.key
                ),
            )
            .with_hint("`vendor` and `products` in the trust file say what a key is trusted for"));
        }
        let lists = || self.lists_of(key);
        if let Some(day) = lists().find_map(|list| list.said.recalled(id)) {
            return Err(Error::new(Code::RevokedBundle, format!("the vendor recalled this bundle on {day}"))
                .with_hint("ask the vendor for a new one"));
        }
        key.judge(manifest.issued, Some(id), &self.said_of(key))?;
        if let Some(day) = lists().find_map(|list| list.stale) {
            return Err(Error::new(
                Code::StaleRevocations,
                format!(
                    "whole and signed by a trusted key, but its vendor's revocation list was fresh until {day} only"
                ),
            )
            .with_hint("get the newest list from the vendor"));
        }
        if manifest.development && !self.allow_development {
            return Err(Error::new(
                Code::DevelopmentKey,
                "signed with a development key, which proves nothing about its vendor",
            )
            .with_hint(
                "ask for a bundle signed with the vendor's key; to try things out, give `--allow-development`",
            ));
        }
        Ok(())
    }

    /// A statement about a bundle, by a key that is trusted for the bundle's vendor and product and could sign it then.
    pub(super) fn open<T: Statement>(
        &self,
        path: &Path,
        manifest: &Manifest,
        by: impl Fn(&T) -> (&Vendor, u64),
    ) -> Result<T> {
        // a key that nothing bounds to a vendor speaks for the bundles that it signed itself, and for no others
        let bound = |key: &&TrustedKey| key.vendor.is_some() || key.public.id() == manifest.vendor.key;
        let covering = self.keys.iter().filter(|key| key.covers(&manifest.vendor, &manifest.product.name));
        let candidates = covering.filter(bound);
        let (statement, signer) = sign::open::<T>(path, candidates.map(|key| &key.public))?;
        let key = self.key(signer.id()).expect("it is one of ours");
        let (vendor, issued) = by(&statement);
        if vendor.name != manifest.vendor.name {
            return Err(Error::new(Code::BadStatement, format!("{}: it names another vendor", path.display())));
        }
        key.judge(issued, None, &self.said_of(key))?;
        Ok(statement)
    }

    /// What its vendor's lists say of a key.
    fn said_of<'a>(&'a self, key: &'a TrustedKey) -> Vec<&'a RevokedKey> {
        let id = key.public.id();
        self.lists_of(key).filter_map(|list| list.said.key(id)).collect()
    }

    fn lists_of<'a>(&'a self, key: &'a TrustedKey) -> impl Iterator<Item = &'a List> {
        self.lists.iter().filter(|list| key.vendor.as_ref() == Some(&list.vendor))
    }
}

impl TrustedKey {
    fn without_bounds(public: PublicKey) -> Self {
        let (status, pins) = (Status::Active, BTreeSet::new());
        Self { public, vendor: None, products: None, from: None, until: None, status, pins }
    }

    fn of(path: &Path, folder: &Path, table: Table) -> Result<Self> {
        let Table { public, vendor, products, from, until, status, pins } = table;
        if status == Status::Retired && until.is_none() && pins.is_empty() {
            return Err(Error::input(
                path,
                format!("{} is retired, with neither `until` nor `pins`", public.display()),
            )
            .with_hint("until = the last day that it signed on; pins = the bundles that you know of"));
        }
        let (vendor, public) = (Some(vendor), PublicKey::read(&folder.join(public))?);
        Ok(Self { public, vendor, products, from, until, status, pins })
    }

    /// Is it trusted for this name and product?
    fn covers(&self, vendor: &Vendor, product: &str) -> bool {
        self.vendor.as_ref().is_none_or(|name| *name == vendor.name)
            && self.products.as_ref().is_none_or(|products| products.iter().any(|name| name == product))
    }

    /// Could it sign at that moment? `pin` is the bundle, where it is one; `listed` what lists say of the key.
    fn judge(&self, issued: u64, pin: Option<Sha256>, listed: &[&RevokedKey]) -> Result<()> {
        if pin.is_some_and(|id| self.pins.contains(&id)) {
            return Ok(());
        }
        let stolen = self.status == Status::Compromised || listed.iter().any(|key| key.until.is_none());
        let until = self.until.into_iter().chain(listed.iter().filter_map(|key| key.until)).min();
        let day = day_of(issued)?;
        let why = if stolen {
            "others may have it, and this is not pinned".into()
        } else if (self.status == Status::Retired || !listed.is_empty()) && !self.pins.is_empty() {
            "it is retired, and this is not pinned".into()
        } else if let Some(from) = self.from.filter(|from| day < *from) {
            format!("it signs from {from} on, and this is of {day}")
        } else if let Some(until) = until.filter(|until| day > *until) {
            format!("it signed until {until}, and this is of {day}")
        } else {
            return Ok(());
        };
        Err(Error::new(Code::RevokedKey, format!("the key that signed is no longer good for this: {why}"))
            .with_hint("don't use it; ask the vendor for one signed with its key of today"))
    }
}

impl List {
    /// Reads a list by one of `keys`, and holds it against the lists seen before.
    fn read(path: &Path, keys: &[TrustedKey], now: Timestamp, seen: &Seen) -> Result<Self> {
        let (said, signer) = sign::open::<Revocations>(path, keys.iter().map(|key| &key.public))?;
        let key = keys.iter().find(|key| key.public == *signer).expect("it is one of them");
        let vendor = key.vendor.clone().unwrap_or_default();
        if vendor != said.vendor.name {
            return Err(Error::new(Code::BadStatement, format!("{}: it names another vendor", path.display())));
        }
        key.judge(said.issued, None, &[])?;
        judge_clock(now, moment(said.issued)?, "a revocation list was issued")?;
        // what a thief counted up to binds nobody
        let stolen = |key: &&TrustedKey| {
            let id = key.public.id();
            key.status == Status::Compromised
                || (id != said.vendor.key && said.key(id).is_some_and(|key| key.until.is_none()))
        };
        let ours = keys.iter().filter(|key| key.vendor.as_ref() == Some(&vendor) && !stolen(key));
        seen.take_list(&said, &ours.map(|key| key.public.id()).collect::<Vec<_>>())?;
        let stale = (TimeZone::UTC.to_datetime(now).date() > said.next).then_some(said.next);
        Ok(Self { vendor, said, stale })
    }
}

fn moment(seconds: u64) -> Result<Timestamp> {
    let moment = i64::try_from(seconds).ok().and_then(|s| Timestamp::from_second(s).ok());
    moment.ok_or_else(|| Error::new(Code::BadStatement, format!("a moment that no calendar holds: {seconds}")))
}

fn day_of(seconds: u64) -> Result<Date> {
    moment(seconds).map(|moment| TimeZone::UTC.to_datetime(moment).date())
}

/// The first moment of a day.
fn midnight(day: Date) -> Timestamp {
    TimeZone::UTC.to_timestamp(day.to_datetime(Time::midnight())).unwrap_or_default()
}

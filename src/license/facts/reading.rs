//! From what a licence's facts were read: how whole, on which day, and which texts, by their digests.

use crate::digest::Sha256;
use crate::license::facts::policy::Policies;
use crate::license::facts::record::{Record, Role, Standing};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// How a record came to be: every fact of it goes back to this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reading {
    /// How much of the licence was read for it.
    pub standing: Standing,
    /// The last day of that.
    pub read_on: jiff::civil::Date,
    /// What was read; empty where no text could be had.
    pub texts: Vec<ReadText>,
}

/// One text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ReadText {
    /// The licence itself, its use policy, a page on it.
    pub role: Role,
    /// How much of it was read.
    pub standing: Standing,
    /// Of its token stream (`docs/licences.md`), open spans cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// Where it was had, or can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl Reading {
    /// Of one record.
    pub fn of(record: &Record) -> Self {
        let text = |t: &crate::license::facts::record::KnownText| ReadText {
            role: t.role,
            standing: t.standing,
            sha256: t.sha256,
            source: t.source.clone().or_else(|| t.address.clone()),
        };
        Self { standing: record.standing, read_on: record.read_on, texts: record.texts.iter().map(text).collect() }
    }

    /// Of the records that these ids name; an id without a record is left out.
    pub(in crate::license) fn of_all<'i>(
        ids: impl IntoIterator<Item = &'i str>,
        policies: &Policies,
    ) -> BTreeMap<String, Self> {
        let ids: BTreeSet<&str> = ids.into_iter().collect();
        let of = |id: &str| Some((id.to_owned(), Self::of(policies.record(id)?)));
        ids.into_iter().filter_map(of).collect()
    }
}

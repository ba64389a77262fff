//! An organisation's decisions: `org/default.toml` decides on every kind of finding, other files of `org/` decide anew on
//! some of them. Each decision keeps its line, may give a reason, and may end; then the default holds again: that of
//! `default.toml`, or for a line of `default.toml` the program's own.

use crate::data::{self, Folder, nearest};
use crate::error::{Error, Result};
use crate::license::finding::{FindingCode, Severity};
use crate::license::ruling::RulingKey;
use crate::sign::PublicKey;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use toml::Spanned;

/// The file that decides on everything.
pub const ORG: &str = "org/default.toml";

/// What the organisation decided on a kind of finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// How bad it is.
    pub severity: Severity,
    /// File and line.
    pub place: String,
    /// Why.
    pub reason: Option<String>,
    /// The last day that it holds.
    pub until: Option<jiff::civil::Date>,
}

/// All decisions of a policies folder.
pub struct Org {
    clearance_days: u32,
    /// Place and word.
    forbidden: Vec<(String, String)>,
    ruling_keys: Vec<RulingKey>,
    /// The newest first; the last one has no end.
    decisions: BTreeMap<FindingCode, Vec<Decision>>,
}

/// `org/default.toml`
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct DefaultFile {
    clearance_days: u32,
    fields: Fields,
    severity: BTreeMap<String, Spanned<Entry>>,
    #[serde(default, rename = "ruling-key")]
    ruling_keys: Vec<Spanned<KeyEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    forbidden: Vec<Spanned<String>>,
}

/// Another file of `org/`: it may add forbidden fields and keys, and decide anew.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct OtherFile {
    fields: Option<Fields>,
    #[serde(default)]
    severity: BTreeMap<String, Spanned<Entry>>,
    #[serde(default, rename = "ruling-key")]
    ruling_keys: Vec<Spanned<KeyEntry>>,
}

/// `[[ruling-key]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    by: String,
    pem: String,
}

/// `"review"`, or `{ severity = "review", reason = "…", until = "2027-12-31" }`.
struct Entry {
    severity: Severity,
    reason: Option<String>,
    until: Option<jiff::civil::Date>,
}

impl Org {
    /// Every kind of finding must be decided, none milder than the code's floor, none twice beside the default.
    pub fn read(files: &Folder) -> Result<Self> {
        let file: DefaultFile = files.parse(ORG)?;
        let text = text_of(files, ORG);
        let mut forbidden = placed(ORG, text, file.fields);
        let mut ruling_keys = read_keys(ORG, text, file.ruling_keys)?;
        let mut decisions: BTreeMap<FindingCode, Vec<Decision>> = BTreeMap::new();
        for (code, decision) in read_entries(ORG, text, &file.severity)? {
            let own = decision.until.map(|_| program_decision(code)).transpose()?;
            decisions.insert(code, [Some(decision), own].into_iter().flatten().collect());
        }
        if let Some(missing) = FindingCode::ALL.iter().find(|c| !decisions.contains_key(c)) {
            return Err(Error::input(Path::new(ORG), format!("[severity] does not decide on {}", missing.name())));
        }
        for (name, text) in files.under("org/").filter(|(name, _)| *name != ORG) {
            let other: OtherFile = files.parse(name)?;
            other.fields.into_iter().for_each(|fields| forbidden.extend(placed(name, text, fields)));
            ruling_keys.extend(read_keys(name, text, other.ruling_keys)?);
            for (code, decision) in read_entries(name, text, &other.severity)? {
                let of = decisions.entry(code).or_default();
                if let Some(first) = of.first().filter(|first| !first.place.starts_with(ORG)) {
                    let message = format!("{} is decided at {}, too", code.name(), first.place);
                    return Err(Error::input(Path::new(&decision.place), message).with_hint("keep one of them"));
                }
                of.insert(0, decision);
            }
        }
        Ok(Self { clearance_days: file.clearance_days, forbidden, ruling_keys, decisions })
    }

    /// What holds today.
    ///
    /// # Panics
    /// Never: reading refuses a code that nothing decides for good.
    pub fn decision(&self, code: FindingCode, today: jiff::civil::Date) -> &Decision {
        let of = &self.decisions[&code];
        of.iter().find(|d| d.holds(today)).unwrap_or_else(|| &of[of.len() - 1])
    }

    /// The next day on which a decision ends.
    pub fn end(&self, today: jiff::civil::Date) -> Option<jiff::civil::Date> {
        self.decisions.keys().filter_map(|code| self.decision(*code, today).until).min()
    }

    /// Restricted fields that are refused, each with its file and line.
    pub fn forbidden(&self) -> impl Iterator<Item = (&String, &String)> {
        self.forbidden.iter().map(|(place, field)| (place, field))
    }

    /// The keys whose rulings count.
    pub fn ruling_keys(&self) -> &[RulingKey] {
        &self.ruling_keys
    }

    /// How long a clearance holds.
    pub fn clearance_days(&self) -> u32 {
        self.clearance_days
    }

    /// Lines that decide nothing today: ended ones, those that say what the default says, fields that no licence has.
    pub fn unused(&self, restricted: &BTreeSet<&str>, today: jiff::civil::Date) -> Vec<String> {
        let mut unused = Vec::new();
        for (code, of) in &self.decisions {
            let same = of.get(1).filter(|then| then.severity == of[0].severity);
            if let Some(until) = of[0].until.filter(|_| !of[0].holds(today)) {
                let now = self.decision(*code, today);
                unused.push(format!("{}: {} held until {until}, now {} decides", of[0].place, code.name(), now.place));
            } else if let Some(then) = same {
                unused.push(format!("{}: {} says what {} says", of[0].place, code.name(), then.place));
            }
        }
        for (at, (place, field)) in self.forbidden.iter().enumerate() {
            let before = self.forbidden[..at].iter().find(|(_, word)| word == field);
            unused.extend(before.map(|(first, _)| format!("{place}: {field} is forbidden at {first}, too")));
        }
        let idle = self.forbidden.iter().filter(|(_, field)| !restricted.contains(field.as_str()));
        unused.extend(idle.map(|(place, field)| format!("{place}: no licence on record restricts {field}")));
        unused
    }
}

impl Decision {
    fn holds(&self, today: jiff::civil::Date) -> bool {
        self.until.is_none_or(|until| today <= until)
    }
}

fn text_of<'f>(files: &'f Folder, name: &'f str) -> &'f str {
    files.under(name).next().map_or("", |(_, text)| text)
}

fn line(text: &str, at: usize) -> usize {
    text[..at.min(text.len())].matches('\n').count() + 1
}

/// Forbidden fields, each with its file and line.
fn placed(name: &str, text: &str, fields: Fields) -> Vec<(String, String)> {
    let place = |f: Spanned<String>| (format!("{name}:{}", line(text, f.span().start)), f.into_inner());
    fields.forbidden.into_iter().map(place).collect()
}

/// The keys of one file.
fn read_keys(name: &str, text: &str, entries: Vec<Spanned<KeyEntry>>) -> Result<Vec<RulingKey>> {
    let read = |entry: Spanned<KeyEntry>| {
        let place = format!("{name}:{}", line(text, entry.span().start));
        let KeyEntry { by, pem } = entry.into_inner();
        let key = PublicKey::parse(Path::new(&place), pem.trim_start())?;
        Ok(RulingKey { by, place, key })
    };
    entries.into_iter().map(read).collect()
}

/// The decisions of one file, each with its line.
fn read_entries(
    name: &str,
    text: &str,
    entries: &BTreeMap<String, Spanned<Entry>>,
) -> Result<Vec<(FindingCode, Decision)>> {
    let read = |(word, entry): (&String, &Spanned<Entry>)| {
        let place = format!("{name}:{}", line(text, entry.span().start));
        let refuse = |message: String| Error::input(Path::new(&place), message);
        let code: FindingCode = word.parse().map_err(|message: String| {
            let hint = nearest(word, FindingCode::ALL.iter().map(|c| c.name()));
            refuse(message)
                .with_hint(hint.map_or("docs/codes.md lists them".into(), |w| format!("did you mean `{w}`?")))
        })?;
        let Entry { severity, reason, until } = entry.get_ref();
        if *severity < code.floor() {
            return Err(refuse(format!("{word} may not be milder than its floor"))
                .with_hint("a person's ruling lifts one finding; a policy cannot lift them all"));
        }
        if until.is_some() && reason.is_none() {
            return Err(refuse(format!("{word} ends and says no reason")).with_hint("add `reason = \"…\"`"));
        }
        Ok((code, Decision { severity: *severity, reason: reason.clone(), until: *until, place: place.clone() }))
    };
    entries.iter().map(read).collect()
}

/// What the program itself decides: where a line of `default.toml` has ended.
fn program_decision(code: FindingCode) -> Result<Decision> {
    let files = Folder::embedded(&data::POLICIES);
    let file: DefaultFile = files.parse(ORG)?;
    let all = read_entries(ORG, text_of(&files, ORG), &file.severity)?;
    let own = all.into_iter().find(|(of, _)| *of == code).map(|(_, d)| d);
    own.map(|d| Decision { place: format!("the program's {}", d.place), until: None, ..d })
        .ok_or_else(|| Error::input(Path::new(ORG), format!("the program decides nothing on {}", code.name())))
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> serde::de::Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("note, obligation, review, deny, or a table with `severity`, `reason` and `until`")
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Entry, E> {
        let severity = Severity::deserialize(StrDeserializer::new(word))?;
        Ok(Entry { severity, reason: None, until: None })
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            severity: Severity,
            reason: Option<String>,
            until: Option<jiff::civil::Date>,
        }
        let Table { severity, reason, until } = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Entry { severity, reason, until })
    }
}

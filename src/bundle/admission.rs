//! A customer's admission rule, `--policy FILE`: which whole bundles of trusted vendors are let in. Each breach is named
//! with the rule's line. `docs/admission.md` describes the file.

use super::active::Active;
use super::limits;
use super::manifest::Manifest;
use crate::data;
use crate::digest::Sha256;
use crate::error::{Code, Error, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// The rule's file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Rules {
    /// Ids of the keys that may have signed.
    signers: Option<Spanned<Vec<Sha256>>>,
    vendors: Option<Spanned<Vec<String>>>,
    products: Option<Spanned<Vec<String>>>,
    /// Every licence that the pre-flight lists must be among these.
    licenses: Option<Spanned<Vec<String>>>,
    /// At most.
    verdict: Option<Spanned<Verdict>>,
    /// Of the bundle's file, at most: `"8 GiB"`.
    size: Option<Spanned<String>>,
    /// Kinds that may be in it.
    active_content: Option<Spanned<Vec<Active>>>,
    /// May a development key have signed?
    development: Option<Spanned<bool>>,
    /// Days since it was issued, at most.
    age_days: Option<Spanned<u32>>,
}

/// What clears a bundle, from the mildest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing is owed.
    Allow,
    /// The bundle carries what is owed.
    AllowWithObligations,
}

/// What of a bundle's `report.json` a rule asks about.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// Of the vendor's pre-flight.
    pub verdict: Verdict,
    /// What the pre-flight found.
    #[serde(default)]
    pub licenses: Vec<Licence>,
}

/// A licence of base or data.
#[derive(Debug, Serialize, Deserialize)]
pub struct Licence {
    /// Of SPDX, or a `LicenseRef-…`.
    pub id: Option<String>,
}

impl Verdict {
    /// As it stands in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::AllowWithObligations => "allow-with-obligations",
        }
    }
}

/// A customer's rule.
#[derive(Debug)]
pub struct Admission {
    path: PathBuf,
    text: String,
    rules: Rules,
    /// `size` in bytes.
    most: u64,
}

/// A breach: the rule's place in the file, its key, and what was found.
type Breach = (usize, &'static str, String);

impl Admission {
    /// Reads a rule.
    pub fn read(path: &Path) -> Result<Self> {
        let text = data::read_text(path, data::MAX_FILE_BYTES)?;
        let rules: Rules = data::parse(path, &text)?;
        let most = match &rules.size {
            None => u64::MAX,
            Some(size) => bytes_of(size.get_ref()).ok_or_else(|| {
                let line = line_of(&text, size.span().start);
                Error::new(Code::BadInput, format!("{}:{line}: no size: {}", path.display(), size.get_ref()))
                    .with_hint("for example \"512 MiB\" or \"8 GiB\"")
            })?,
        };
        Ok(Self { path: path.to_owned(), text, rules, most })
    }

    /// What the signed manifest and the bundle's size alone tell.
    ///
    /// # Errors
    /// `not-admitted`, with every breach.
    pub fn judge(&self, manifest: &Manifest, size: u64, now: Timestamp) -> Result<()> {
        let rules = &self.rules;
        let mut breaches = Vec::new();
        among(&mut breaches, "signers", &rules.signers, &manifest.vendor.key);
        among(&mut breaches, "vendors", &rules.vendors, &manifest.vendor.name);
        among(&mut breaches, "products", &rules.products, &manifest.product.name);
        for kind in &manifest.active {
            among(&mut breaches, "active-content", &rules.active_content, kind);
        }
        if let Some(rule) = rules.size.as_ref().filter(|_| size > self.most) {
            breaches.push((rule.span().start, "size", format!("{size} bytes")));
        }
        if let Some(rule) = rules.development.as_ref().filter(|rule| !rule.get_ref() && manifest.development) {
            breaches.push((rule.span().start, "development", "signed with a development key".into()));
        }
        if let Some(rule) = &rules.age_days {
            let age = now.as_second().saturating_sub(i64::try_from(manifest.issued).unwrap_or(i64::MAX));
            let days = age.div_euclid(24 * 60 * 60);
            if days > i64::from(*rule.get_ref()) {
                breaches.push((rule.span().start, "age-days", format!("issued {days} days ago")));
            }
        }
        self.answer(breaches)
    }

    /// Does it ask about `report.json`?
    pub(super) fn asks_for_report(&self) -> bool {
        self.rules.licenses.is_some() || self.rules.verdict.is_some()
    }

    /// What the bundle's `report.json` tells.
    pub(super) fn judge_report(&self, report: &[u8]) -> Result<()> {
        let report: Report = serde_json::from_slice(report).map_err(|e| {
            Error::new(Code::NotAdmitted, format!("report.json does not say what {} asks: {e}", self.path.display()))
                .with_hint("ask the vendor to pack it with a newer sealwright")
        })?;
        let mut breaches = Vec::new();
        for licence in &report.licenses {
            let id = licence.id.clone().unwrap_or_else(|| "a licence that has no id".into());
            among(&mut breaches, "licenses", &self.rules.licenses, &id);
        }
        if let Some(rule) = self.rules.verdict.as_ref().filter(|rule| report.verdict > *rule.get_ref()) {
            breaches.push((rule.span().start, "verdict", report.verdict.name().into()));
        }
        self.answer(breaches)
    }

    fn answer(&self, breaches: Vec<Breach>) -> Result<()> {
        if breaches.is_empty() {
            return Ok(());
        }
        let line =
            |(at, key, found): &Breach| format!("{}:{}: {key}: {found}", self.path.display(), line_of(&self.text, *at));
        let lines: Vec<String> = breaches.iter().map(line).collect();
        Err(Error::new(Code::NotAdmitted, format!("the bundle breaks the rule\n  {}", lines.join("\n  ")))
            .with_hint("ask for a bundle that keeps it, or whoever wrote the rule to change it"))
    }
}

/// A value that a list must hold, where there is a list.
fn among<T: PartialEq + Display>(
    breaches: &mut Vec<Breach>,
    key: &'static str,
    rule: &Option<Spanned<Vec<T>>>,
    found: &T,
) {
    if let Some(rule) = rule.as_ref().filter(|rule| !rule.get_ref().contains(found)) {
        breaches.push((rule.span().start, key, found.to_string()));
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

/// `"512 MiB"`, `"8 GiB"`.
fn bytes_of(size: &str) -> Option<u64> {
    let (number, unit) = size.split_once(' ')?;
    let shift = match unit {
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    let most = limits::MAX_INTEGER >> shift;
    number.parse::<u64>().ok().filter(|n| (1..=most).contains(n)).map(|n| n << shift)
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::example;
    use super::*;

    fn admission(text: &str) -> Result<Admission> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rule.toml");
        std::fs::write(&path, text).unwrap();
        Admission::read(&path)
    }

    /// The example is a day old.
    fn judge(text: &str) -> Result<()> {
        admission(text).unwrap().judge(&example(), 1 << 30, "2026-01-02T00:00:01Z".parse().unwrap())
    }

    #[test]
    fn every_breach_is_named_with_its_line() {
        judge("").unwrap();
        judge("vendors = [\"Example Works\"]\nsize = \"1 GiB\"\nage-days = 1\nactive-content = [\"pickle\"]\n")
            .unwrap();
        let error = judge(
            "# ours\nvendors = [\"Other Works\"]\nproducts = [\"desk\"]\nsize = \"1023 MiB\"\nage-days = 0\n\
             active-content = [\n\"native\"]\nsigners = []\n",
        )
        .unwrap_err();
        assert_eq!(error.code, Code::NotAdmitted);
        for said in [
            "rule.toml:2: vendors: Example Works",
            "rule.toml:3: products: helpdesk",
            "rule.toml:4: size: 1073741824 bytes",
            "rule.toml:5: age-days: issued 1 days ago",
            "rule.toml:6: active-content: pickle",
            "rule.toml:8: signers: ",
        ] {
            assert!(error.to_string().contains(said), "{said}: {error}");
        }
    }

    #[test]
    fn the_report_is_judged_by_its_verdict_and_licences() {
        let judge = |rule: &str, report: &str| admission(rule).unwrap().judge_report(report.as_bytes());
        let report = r#"{"verdict": "allow-with-obligations", "licenses": [{"id": "MIT"}, {"id": null}]}"#;
        assert!(judge("verdict = \"allow-with-obligations\"", report).is_ok());
        assert!(judge("verdict = \"allow\"", report).unwrap_err().to_string().contains(":1: verdict: allow-with"));
        let error = judge("licenses = [\"MIT\"]", report).unwrap_err().to_string();
        assert!(error.contains("no id") && !error.contains(": MIT"), "{error}");
        assert_eq!(judge("verdict = \"allow\"", "{}").unwrap_err().code, Code::NotAdmitted);
    }

    #[test]
    fn a_rule_that_says_nothing_known_is_refused() {
        for (text, said) in [
            ("vendor = [\"x\"]", "did you mean `vendors`?"),
            ("verdict = \"deny\"", "unknown variant"),
            ("size = \"8\"", "no size"),
            ("size = \"8 TB\"", "no size"),
            ("active-content = [\"pickel\"]", "pickle"),
            ("age-days = -1", "-1"),
            ("signers = [\"vendor\"]", "rule.toml:1"),
        ] {
            let error = admission(text).unwrap_err();
            let all = format!("{error} {}", error.hint().unwrap_or_default());
            assert!(error.code == Code::BadInput && all.contains(said), "{said}: {all}");
        }
    }
}

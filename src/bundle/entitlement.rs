//! Who may use a bundle, on which base, from when until when, for what: FORMAT.md section 4.

use super::keys::{Identities, Recipient};
use super::limits;
use crate::base::Fingerprint;
use crate::digest::{Hasher, Sha256};
use crate::error::{Code, Error, Result};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// What a bundle may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// Unpacked into a folder.
    Open,
    /// Asked in memory.
    Run,
    /// Served to others.
    Serve,
}

impl Use {
    /// The word in manifests and product files.
    pub fn name(self) -> &'static str {
        match self {
            Use::Open => "open",
            Use::Run => "run",
            Use::Serve => "serve",
        }
    }

    /// The use that a word means.
    pub fn parse(word: &str) -> Option<Self> {
        [Use::Open, Use::Run, Use::Serve].into_iter().find(|u| u.name() == word)
    }
}

/// `entitlement` of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entitlement {
    /// `[a-z0-9-]`, as in the bundle's file name.
    pub customer: String,
    /// The first day, from 00:00:00 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Date>,
    /// The last day, through 23:59:59 UTC.
    pub until: Date,
    /// Ascending.
    pub uses: Vec<Use>,
    /// On how many machines: a declared term, which no reader enforces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machines: Option<u64>,
    /// By how many people: a declared term, which no reader enforces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seats: Option<u64>,
    /// What recipients are digested with.
    pub salt: Sha256,
    /// SHA-256 of salt ‖ recipient, ascending.
    pub recipients: Vec<Sha256>,
}

/// A base that the derivative works on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// As people call it.
    pub name: String,
    /// Its components' digests.
    pub fingerprint: Fingerprint,
}

/// The digest that stands for a recipient.
pub fn salted(salt: &Sha256, recipient: &Recipient) -> Sha256 {
    let mut hasher = Hasher::default();
    hasher.update(&salt.0);
    hasher.update(recipient.to_string().as_bytes());
    hasher.finish()
}

impl Entitlement {
    /// Holds the rules that JSON's types don't.
    pub(super) fn check(&self) -> Result<()> {
        let ascending = self.recipients.windows(2).all(|p| p[0] < p[1]) && self.uses.windows(2).all(|p| p[0] < p[1]);
        let count = (1..=limits::MAX_RECIPIENTS).contains(&self.recipients.len());
        let counts = [self.machines, self.seats].into_iter().flatten().all(|n| (1..=limits::MAX_INTEGER).contains(&n));
        if !ascending || !count || !counts || !is_name(&self.customer) || self.from.is_some_and(|f| f > self.until) {
            return Err(Error::new(Code::BadBundle, "manifest.json: its entitlement breaks a rule of FORMAT.md"));
        }
        Ok(())
    }

    /// Is `now` within its days, of which `until` is the last, a renewal counted in?
    pub fn judge_date(&self, now: Timestamp, until: Date) -> Result<()> {
        let today = TimeZone::UTC.to_datetime(now).date();
        if let Some(from) = self.from.filter(|from| today < *from) {
            return Err(Error::new(Code::NotYetValid, format!("the entitlement begins on {from}"))
                .with_hint("wait, or check this machine's clock"));
        }
        if today > until {
            return Err(Error::new(Code::Expired, format!("the entitlement ended on {until}"))
                .with_hint("ask the vendor for a renewal, or check this machine's clock"));
        }
        Ok(())
    }

    /// Is it sealed with a passphrase?
    pub fn wants_passphrase(&self) -> bool {
        let word = Recipient::Passphrase(Default::default());
        self.recipients == [salted(&self.salt, &word)]
    }

    /// Is this use granted?
    pub fn judge_use(&self, wanted: Use) -> Result<()> {
        if self.uses.contains(&wanted) {
            return Ok(());
        }
        let granted = self.uses.iter().map(|u| u.name()).collect::<Vec<_>>().join(", ");
        Err(Error::new(
            Code::UseNotGranted,
            format!("the entitlement doesn't grant `{}`; it grants: {granted}", wanted.name()),
        )
        .with_hint("ask the vendor for a bundle that does"))
    }

    /// Is one of these recipients among those that it was sealed for?
    ///
    /// A plugin does not tell whose its identity is: then the payload itself answers.
    pub fn judge_recipient(&self, own: &Identities) -> Result<()> {
        let is_named = |r: &Recipient| self.recipients.binary_search(&salted(&self.salt, r)).is_ok();
        if own.any_unknown() || own.recipients().any(is_named) {
            return Ok(());
        }
        Err(Error::new(
            Code::WrongCustomer,
            format!("the identity is not one that this bundle is sealed for; customer: {}", self.customer),
        )
        .with_hint("give the identity whose recipient line the vendor was told"))
    }
}

/// Is the base at hand one of those that were signed? Names the components that differ from the nearest one.
pub fn judge_base(bases: &[Base], at_hand: &Fingerprint) -> Result<()> {
    let differing = bases.iter().map(|b| (at_hand.differs_in(&b.fingerprint), b)).min_by_key(|(d, _)| d.len());
    match differing {
        Some((differs, _)) if differs.is_empty() => Ok(()),
        Some((differs, base)) => {
            Err(Error::new(Code::WrongBase, format!("the base differs from {} in: {}", base.name, differs.join(", ")))
                .with_hint(
                    "use the very base that the bundle was made for; `sealwright inspect` shows its fingerprint",
                ))
        }
        None => Err(Error::new(Code::WrongBase, "the bundle names no base")),
    }
}

/// `[a-z0-9-]+`, short.
pub(super) fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entitlement(from: Option<&str>, until: &str) -> Entitlement {
        Entitlement {
            customer: "acme".into(),
            from: from.map(|d| d.parse().unwrap()),
            until: until.parse().unwrap(),
            uses: vec![Use::Open],
            machines: None,
            seats: None,
            salt: Sha256::of("salt"),
            recipients: vec![Sha256::of("one")],
        }
    }

    #[test]
    fn days_are_whole_and_in_utc() {
        let e = entitlement(Some("2026-03-01"), "2026-03-02");
        let at = |t: &str| e.judge_date(t.parse().unwrap(), e.until).map_err(|e| e.code);
        assert_eq!(at("2026-02-28T23:59:59Z"), Err(Code::NotYetValid));
        assert_eq!(at("2026-03-01T00:00:00Z"), Ok(()));
        assert_eq!(at("2026-03-02T23:59:59Z"), Ok(()));
        assert_eq!(at("2026-03-03T00:00:00Z"), Err(Code::Expired));
    }

    #[test]
    fn only_granted_uses_pass() {
        let e = entitlement(None, "2026-03-02");
        assert_eq!(e.judge_use(Use::Open), Ok(()));
        assert_eq!(e.judge_use(Use::Serve).unwrap_err().code, Code::UseNotGranted);
    }

    #[test]
    fn a_wrong_base_is_told_by_its_component() {
        let digest = Sha256::of("x");
        let right = Fingerprint { weights: digest, config: digest, tokenizer: digest, template: digest };
        let bases = [Base { name: "tiny".into(), fingerprint: right.clone() }];
        assert_eq!(judge_base(&bases, &right), Ok(()));
        let error = judge_base(&bases, &Fingerprint { template: Sha256::of("y"), ..right }).unwrap_err();
        assert_eq!(
            (error.code, error.to_string().as_str()),
            (Code::WrongBase, "the base differs from tiny in: template")
        );
        assert_eq!(judge_base(&[], &bases[0].fingerprint).unwrap_err().code, Code::WrongBase);
    }
}

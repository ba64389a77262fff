//! What was shipped to a customer, kept so that it can be judged again without the base: the evidence, the declared
//! use, the rulings, and what records and report said then. It holds the vendor's figures, so it stays at home.

use crate::data;
use crate::digest::Sha256;
use crate::error::{AtPath as _, Error, Result};
use crate::license::declared::{Customer, Use};
use crate::license::evidence::subject::Subject;
use crate::license::facts::policy::Policies;
use crate::license::report::compare::{Account, Changes, Sameness};
use crate::license::report::says::{Said, says};
use crate::license::ruling::{Digests, Ruling, RulingState};
use crate::license::verdict::{Report, check};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

/// The form of the file that this program writes.
const FORMAT: u32 = 1;
/// The file may not be larger than this: every licence file of a base, and as much again.
const MAX_BYTES: u64 = 128 << 20;
/// What a record says beside the words of the vocabulary.
const MORE_TERMS: [&str; 4] = ["standing", "limit", "territory", "question"];

/// What a record says: term → values with their clauses.
type Stated = BTreeMap<String, Vec<Said>>;

/// One bundle's judgement.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Shipped {
    format: u32,
    /// `NAME-VERSION`.
    pub product: String,
    /// Who got it.
    pub customer: String,
    /// All customers of the product with their countries: rulings bind them.
    customers: Vec<(String, Option<String>)>,
    /// The bundle: the digest of its manifest.
    pub bundle: Sha256,
    /// The day of the judgement.
    pub on: jiff::civil::Date,
    account: Account,
    digests: Digests,
    facts: BTreeMap<String, Stated>,
    rulings: Vec<Ruling>,
    #[serde(rename = "use")]
    declared: Use,
    subject: Subject,
}

/// What was judged: the evidence, the use, the rulings, and by what.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The evidence of the base.
    pub subject: &'a Subject,
    /// What the vendor means to do.
    pub declared: &'a Use,
    /// A person's answers.
    pub rulings: &'a [Ruling],
    /// Facts and decisions.
    pub policies: &'a Policies,
}

/// What became of something that was shipped.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Watched {
    /// Verdict, findings and duties.
    pub changes: Changes,
    /// What else is another one than it was: texts, records, policy, use.
    pub bound: Vec<&'static str>,
    /// What the records of its licences say otherwise.
    pub facts: Vec<FactChange>,
    /// Rulings that hold no longer.
    pub lapsed: Vec<RulingState>,
}

/// What a record says otherwise on one term.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct FactChange {
    /// The licence.
    pub license: String,
    /// A word of the vocabulary, `limit`, `territory`, `question` or `standing`.
    pub term: String,
    /// What it said; nothing where it did not.
    pub was: Vec<Said>,
    /// What it says now.
    pub is: Vec<Said>,
}

impl Shipped {
    /// What a customer got. `product` is `NAME-VERSION`, `bundle` the digest of its manifest.
    pub fn new(asked: Asked<'_>, report: &Report, product: String, customer: &str, bundle: Sha256) -> Self {
        let of = |c: &Customer| (c.name.clone(), c.country.clone());
        let ids = report.licenses().iter().filter_map(|l| l.id.as_deref());
        Self {
            format: FORMAT,
            product,
            customer: customer.to_owned(),
            customers: asked.declared.customers.iter().map(of).collect(),
            bundle,
            on: report.judged(),
            account: Account::for_customer(report, customer),
            digests: report.digests().clone(),
            facts: ids.map(|id| (id.to_owned(), stated(id, asked.policies))).collect(),
            rulings: asked.rulings.to_vec(),
            declared: asked.declared.clone(),
            subject: asked.subject.clone(),
        }
    }

    /// Reads what [`Shipped::write`] wrote.
    pub fn read(path: &Path) -> Result<Self> {
        let refuse = |e: String| {
            Error::input(path, e).with_hint("name what `pack` wrote into the product's .sealwright/shipped folder")
        };
        let value: serde_json::Value =
            serde_json::from_slice(&data::read_bytes(path, MAX_BYTES)?).map_err(|e| refuse(e.to_string()))?;
        if let Some(format) = value.get("format").and_then(serde_json::Value::as_u64).filter(|f| *f > FORMAT.into()) {
            return Err(refuse(format!("written by a newer program, in form {format}")));
        }
        let mut shipped: Self = serde_json::from_value(value).map_err(|e| refuse(e.to_string()))?;
        // a use is written without them
        let customer =
            |(name, country): &(String, Option<String>)| Customer { name: name.clone(), country: country.clone() };
        shipped.declared.customers = shipped.customers.iter().map(customer).collect();
        Ok(shipped)
    }

    /// Writes it whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self).expect("our own values serialise");
        data::write_atomically(path, |file| file.write_all(&bytes).at(path))
    }

    /// Judges it by the policies of today, with today's figures and grants of the vendor where `stated` has them, and
    /// with `more` rulings beside those of then.
    pub fn judge_again(
        &self,
        stated: Option<&Use>,
        more: &[Ruling],
        policies: &Policies,
        now: jiff::Timestamp,
    ) -> Watched {
        let declared = stated.map_or_else(|| self.declared.clone(), |now| restated(&self.declared, now));
        let rulings = [more, &self.rulings].concat();
        let report = check(&self.subject, &declared, policies, &rulings, now);
        let lapsed = report.rulings().iter().filter(|r| !holds(r));
        Watched {
            changes: self.account.changes(&Account::for_customer(&report, &self.customer), Sameness::Wording),
            bound: self.digests.differ(report.digests()),
            facts: self.fact_changes(policies),
            lapsed: lapsed.filter(|r| !is_answered(r, report.rulings())).cloned().collect(),
        }
    }

    fn fact_changes(&self, policies: &Policies) -> Vec<FactChange> {
        let mut changes = Vec::new();
        for (license, then) in &self.facts {
            let now = stated(license, policies);
            let terms: std::collections::BTreeSet<&String> = then.keys().chain(now.keys()).collect();
            let of = |stated: &Stated, term: &str| stated.get(term).cloned().unwrap_or_default();
            let changed = terms.into_iter().filter(|term| then.get(*term) != now.get(*term));
            changes.extend(changed.map(|term| FactChange {
                license: license.clone(),
                term: term.clone(),
                was: of(then, term),
                is: of(&now, term),
            }));
        }
        changes
    }
}

impl Watched {
    /// A verdict is worse, or a duty is new.
    pub fn is_worse(&self) -> bool {
        self.changes.is_worse()
    }

    /// Nothing that bears on it is another one.
    pub fn is_unchanged(&self) -> bool {
        self.changes.is_none() && self.facts.is_empty() && self.lapsed.is_empty()
    }
}

fn holds(ruling: &RulingState) -> bool {
    matches!(&*ruling.state, "applied" | "unused")
}

/// The same finding has another ruling that holds.
fn is_answered(lapsed: &RulingState, states: &[RulingState]) -> bool {
    let key = |r: &RulingState| (r.code, r.license.clone(), r.subject.clone());
    states.iter().any(|r| key(r) == key(lapsed) && holds(r))
}

/// The use of then, with what the vendor says of itself today.
fn restated(then: &Use, now: &Use) -> Use {
    Use {
        vendor_country: now.vendor_country.clone(),
        business: now.business.clone(),
        competes_with_licensor: now.competes_with_licensor,
        annual_revenue: now.annual_revenue.clone(),
        users_now: now.users_now,
        users_at_release: now.users_at_release,
        grants: now.grants.clone(),
        ..then.clone()
    }
}

/// All that the record of a licence says; nothing where there is none.
fn stated(license: &str, policies: &Policies) -> Stated {
    let Some(record) = policies.record(license) else { return Stated::new() };
    let terms = policies.terms().chain(MORE_TERMS);
    let said = terms.map(|term| (term.to_owned(), says(record, term)));
    said.filter(|(_, said)| !said.is_empty()).collect()
}

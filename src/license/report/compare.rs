//! Two judgements side by side: what changes if the base is another one, or what changed since something was shipped.
//! It judges nothing, and what it compares clears nothing.

use crate::license::finding::Finding;
use crate::license::rules::obligations::Obligation;
use crate::license::verdict::{CustomerVerdict, Report, Verdict};
use serde::{Deserialize, Serialize};

/// What a report said, to be kept and compared. No clearance can be made from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Account {
    /// The worst of the findings.
    pub verdict: Verdict,
    /// The same for each customer.
    pub customers: Vec<CustomerVerdict>,
    /// The worst first.
    pub findings: Vec<Finding>,
    /// The duties.
    pub obligations: Vec<Obligation>,
}

/// When two findings or duties are the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sameness {
    /// The same kind, whichever licence it comes from: to choose between bases.
    Kind,
    /// The same kind, from the same licence, said in the same words: to watch one base.
    Wording,
}

/// From one judgement to another.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Changes {
    /// The verdict before and after.
    pub verdict: Step,
    /// The customers whose verdict is another one.
    pub customers: Vec<CustomerStep>,
    /// What stands no longer.
    pub gone: Part,
    /// What did not stand before.
    pub new: Part,
}

/// A verdict before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Before.
    pub was: Verdict,
    /// After.
    pub is: Verdict,
}

/// A customer's verdict before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CustomerStep {
    /// Names its bundle.
    pub name: String,
    /// For it.
    #[serde(flatten)]
    pub verdict: Step,
}

/// Findings and duties on one side only.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Part {
    /// The findings.
    pub findings: Vec<Finding>,
    /// The duties.
    pub obligations: Vec<Obligation>,
}

impl From<&Report> for Account {
    fn from(report: &Report) -> Self {
        Self {
            verdict: report.verdict(),
            customers: report.customers().to_vec(),
            findings: report.findings().to_vec(),
            obligations: report.obligations().to_vec(),
        }
    }
}

impl Account {
    /// What concerns one customer: its verdict, and findings for all and for it.
    pub fn for_customer(report: &Report, customer: &str) -> Self {
        let mut account = Self::from(report);
        account.customers.retain(|c| c.name == customer);
        account.findings.retain(|f| f.customer.as_deref().is_none_or(|of| of == customer));
        account.verdict = account.customers.first().map_or(account.verdict, |c| c.verdict);
        account
    }

    /// What changes from this judgement to `other`.
    pub fn changes(&self, other: &Self, same: Sameness) -> Changes {
        let step = |before: &CustomerVerdict, after: &CustomerVerdict| CustomerStep {
            name: after.name.clone(),
            verdict: Step { was: before.verdict, is: after.verdict },
        };
        let pairs = other
            .customers
            .iter()
            .filter_map(|after| self.customers.iter().find(|b| b.name == after.name).map(|b| step(b, after)));
        Changes {
            verdict: Step { was: self.verdict, is: other.verdict },
            customers: pairs.filter(|c| c.verdict.was != c.verdict.is).collect(),
            gone: self.without(other, same),
            new: other.without(self, same),
        }
    }

    /// What stands here and not in `other`; of those that are the same, the first.
    fn without(&self, other: &Self, same: Sameness) -> Part {
        let findings = |of: &Self| of.findings.iter().map(|f| finding_key(f, same)).collect::<Vec<_>>();
        let duties = |of: &Self| of.obligations.iter().map(|d| duty_key(d, same)).collect::<Vec<_>>();
        Part {
            findings: only(&self.findings, &findings(self), &findings(other)),
            obligations: only(&self.obligations, &duties(self), &duties(other)),
        }
    }
}

/// The items whose key is not among `others`, each key once.
fn only<T: Clone>(items: &[T], keys: &[String], others: &[String]) -> Vec<T> {
    let new = |i: usize| !others.contains(&keys[i]) && !keys[..i].contains(&keys[i]);
    items.iter().enumerate().filter(|(i, _)| new(*i)).map(|(_, item)| item.clone()).collect()
}

fn finding_key(finding: &Finding, same: Sameness) -> String {
    let kind = (finding.severity, finding.code, &finding.customer, &finding.term);
    match same {
        Sameness::Kind => format!("{kind:?}"),
        Sameness::Wording => format!("{kind:?} {:?}", (&finding.license, &finding.subject, &finding.message)),
    }
}

fn duty_key(duty: &Obligation, same: Sameness) -> String {
    let kind = (&duty.term, &duty.words);
    match same {
        Sameness::Kind => format!("{kind:?}"),
        Sameness::Wording => format!("{kind:?} {:?}", (&duty.license, &duty.unmet)),
    }
}

impl Changes {
    /// Neither verdicts nor findings nor duties differ.
    pub fn is_none(&self) -> bool {
        self.verdict.was == self.verdict.is
            && self.customers.is_empty()
            && self.gone == Part::default()
            && self.new == Part::default()
    }

    /// A verdict is worse, or a duty is new.
    pub fn is_worse(&self) -> bool {
        let steps = self.customers.iter().map(|c| c.verdict).chain([self.verdict]);
        steps.into_iter().any(|step| step.is > step.was) || !self.new.obligations.is_empty()
    }
}

//! The report and its verdict: the worst of its findings, for the vendor and for each customer. Only a report makes
//! a clearance.

use crate::digest::Sha256;
use crate::error::{Code, Error, Result};
use crate::license::declared::{Customer, Use};
use crate::license::evidence::piece::Evidence;
use crate::license::evidence::subject::Subject;
use crate::license::facts::policy::Policies;
use crate::license::facts::reading::Reading;
use crate::license::finding::{Finding, Severity};
use crate::license::report::papers::{self, Papers};
use crate::license::rules::chain::Chain;
use crate::license::rules::dates;
use crate::license::rules::doubts;
use crate::license::rules::follow;
use crate::license::rules::incompatible;
use crate::license::rules::judge::Judge;
use crate::license::rules::member::Listed;
use crate::license::rules::obligations::{self, Obligation};
use crate::license::rules::origins;
use crate::license::rules::statements;
use crate::license::rules::terms;
use crate::license::ruling::{self, Digests, Ruling, RulingState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What every report says first.
pub const DISCLAIMER: &str = "This report compares recorded facts about licence texts with the vendor's own statements, \
    which were not checked. It is no legal advice. It did not look at data protection, AI acts, export, patents or \
    trade marks. The facts are as of their dates.";

/// May it be done?
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Yes.
    Allow,
    /// Yes, with duties.
    AllowWithObligations,
    /// A person must look first.
    NeedsReview,
    /// No.
    Deny,
}

impl From<Severity> for Verdict {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Note => Verdict::Allow,
            Severity::Obligation => Verdict::AllowWithObligations,
            Severity::Review => Verdict::NeedsReview,
            Severity::Deny => Verdict::Deny,
        }
    }
}

impl Verdict {
    /// As reports print it.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Allow => "allow",
            Verdict::AllowWithObligations => "allow-with-obligations",
            Verdict::NeedsReview => "needs-review",
            Verdict::Deny => "deny",
        }
    }
}

/// What the licences of base and data say of the declared use.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    verdict: Verdict,
    licenses: Vec<Listed>,
    findings: Vec<Finding>,
    obligations: Vec<Obligation>,
    records: BTreeMap<String, Reading>,
    evidence: Vec<Evidence>,
    customers: Vec<CustomerVerdict>,
    rulings: Vec<RulingState>,
    digests: Digests,
    judged: jiff::civil::Date,
    expires: jiff::civil::Date,
    disclaimer: &'static str,
    #[serde(skip)]
    papers: Papers,
}

/// The verdict for one customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerVerdict {
    /// Names its bundle.
    pub name: String,
    /// For it.
    pub verdict: Verdict,
}

/// Judges the declared use of a base. `now` is the only clock.
pub fn check(
    subject: &Subject,
    declared: &Use,
    policies: &Policies,
    rulings: &[Ruling],
    now: jiff::Timestamp,
) -> Report {
    let today = now.to_zoned_datetime(jiff::tz::TimeZone::UTC).date();
    let mut judge = Judge::new(policies, declared, today);
    let mut chain = follow::follow(subject, &mut judge);
    let conditions = doubts::judge(subject, &chain, &mut judge);
    let of_data = origins::judge(&mut judge, &mut chain);
    let mut obligations = judge_members(&mut judge, &chain, subject);
    obligations.extend(of_data);
    dedup_obligations(&mut obligations);
    papers::meet(&mut obligations, &chain, declared, policies);
    incompatible::judge(&mut judge, &chain);
    dates::judge(&mut judge, &chain);
    statements::compare(&mut judge);
    statements::grants(&mut judge);
    let digests = Digests {
        text: subject.digest(),
        facts: policies.facts_digest(),
        policy: policies.policy_digest(),
        declared: declared.digest(),
        places: declared.places(),
    };
    let grants_end = judge.grants.end();
    let mut findings = judge.findings;
    findings.iter_mut().filter(|f| f.severity != Severity::Review).for_each(|f| f.question = None);
    keep_first(&mut findings);
    let rulings_of_today = rulings.iter().filter_map(|r| r.until).filter(|until| *until >= today);
    let ends = rulings_of_today.chain(policies.decisions_end(today)).chain(grants_end);
    let last = today.saturating_add(jiff::Span::new().days(i64::from(policies.clearance_days())));
    let expires = ends.fold(last, jiff::civil::Date::min);
    let rulings = ruling::apply(&mut findings, rulings, &digests, policies.ruling_keys(), today);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let of_findings = findings.iter().filter_map(|f| f.license.as_deref());
    let of_duties = obligations.iter().map(|o| o.license.as_str());
    let cited = chain.listed.iter().filter_map(|l| l.id.as_deref()).chain(of_findings).chain(of_duties);
    let cited: Vec<&str> = cited.collect();
    let customer = |c: &Customer| CustomerVerdict { name: c.name.clone(), verdict: worst(&findings, Some(&c.name)) };
    Report {
        verdict: worst_of_all(&findings),
        customers: declared.customers.iter().map(customer).collect(),
        papers: Papers::collect(&chain, subject, declared, &obligations, policies),
        evidence: subject.evidence.iter().cloned().chain(conditions).collect(),
        records: Reading::of_all(cited, policies),
        licenses: chain.listed,
        findings,
        obligations,
        rulings,
        digests,
        judged: today,
        expires,
        disclaimer: DISCLAIMER,
    }
}

/// Each member of the chain alone; their duties joined.
fn judge_members(judge: &mut Judge<'_>, chain: &Chain<'_>, subject: &Subject) -> Vec<Obligation> {
    let mut obligations: Vec<Obligation> = Vec::new();
    for member in &chain.members {
        let crossed = terms::judge(judge, member, subject);
        let duties = obligations::of(judge, member, chain, crossed);
        obligations::report(judge, member, &duties);
        obligations::questions(judge, member, &duties, subject.multimodal);
        obligations.extend(duties);
    }
    obligations
}

/// Each finding once, wherever its twin stands.
fn keep_first(findings: &mut Vec<Finding>) {
    let mut kept: Vec<Finding> = Vec::with_capacity(findings.len());
    for finding in findings.drain(..) {
        if !kept.contains(&finding) {
            kept.push(finding);
        }
    }
    *findings = kept;
}

fn dedup_obligations(obligations: &mut Vec<Obligation>) {
    let mut seen = std::collections::BTreeSet::new();
    obligations.retain(|o| seen.insert((o.license.clone(), o.term.clone(), o.clause.clone(), o.words.clone())));
}

fn worst_of_all(findings: &[Finding]) -> Verdict {
    findings.iter().map(|f| f.severity).max().map_or(Verdict::Allow, Verdict::from)
}

/// The verdict for one customer: what concerns all, and what concerns it.
fn worst(findings: &[Finding], customer: Option<&str>) -> Verdict {
    let own = findings.iter().filter(|f| f.customer.is_none() || f.customer.as_deref() == customer);
    own.map(|f| f.severity).max().map_or(Verdict::Allow, Verdict::from)
}

impl Report {
    /// For the vendor and all customers together.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// What binds, and how that is known.
    pub fn licenses(&self) -> &[Listed] {
        &self.licenses
    }

    /// From what the facts of each licence that is cited were read, by its id.
    pub fn records(&self) -> &BTreeMap<String, Reading> {
        &self.records
    }

    /// The worst first.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The duties under this use.
    pub fn obligations(&self) -> &[Obligation] {
        &self.obligations
    }

    /// Every claim of the base's folder, with its place.
    pub fn evidence(&self) -> &[Evidence] {
        &self.evidence
    }

    /// The verdict for each customer.
    pub fn customers(&self) -> &[CustomerVerdict] {
        &self.customers
    }

    /// What became of the rulings.
    pub fn rulings(&self) -> &[RulingState] {
        &self.rulings
    }

    /// Of what was judged.
    pub fn digests(&self) -> &Digests {
        &self.digests
    }

    /// The draft of a contract annex out of the duties that flow down: Markdown, the same for every customer.
    pub fn annex(&self) -> &str {
        &self.papers.annex
    }

    /// The day of the judgement.
    pub fn judged(&self) -> jiff::civil::Date {
        self.judged
    }

    /// The last day of a clearance made from this report.
    pub fn expires(&self) -> jiff::civil::Date {
        self.expires
    }

    /// The whole report; it holds the vendor's figures in words and all customers' names, so it stays at home.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("our own values serialise")
    }

    /// A clearance for the vendor and all customers; `denied` or `needs-review` otherwise.
    pub fn clear(&self) -> Result<Clearance> {
        self.clear_as(self.verdict, None)
    }

    /// A clearance for one customer, whatever the verdict for others.
    pub fn clear_for(&self, customer: &str) -> Result<Clearance> {
        match self.customers.iter().find(|c| c.name == customer) {
            Some(found) => self.clear_as(found.verdict, Some(customer)),
            None => Err(Error::new(Code::Usage, format!("no such customer: {customer}"))
                .with_hint("each [[customer]] of the product file is judged")),
        }
    }

    fn clear_as(&self, verdict: Verdict, customer: Option<&str>) -> Result<Clearance> {
        let (severity, code, said) = match verdict {
            Verdict::Deny => (Severity::Deny, Code::Denied, "the licence forbids the declared use"),
            Verdict::NeedsReview => (Severity::Review, Code::NeedsReview, "a person must look first"),
            _ => return Ok(Clearance { report: self.clone(), verdict }),
        };
        let concerns =
            |f: &&Finding| f.severity == severity && (f.customer.is_none() || f.customer.as_deref() == customer);
        let worst = self.findings.iter().find(concerns).or_else(|| self.findings.first());
        let (message, remedy) = worst.map_or(("", ""), |f| (f.message.as_str(), f.remedy.as_str()));
        let name = worst.map_or("", |f| f.code.name());
        Err(Error::new(code, format!("{said}: {name}: {message}"))
            .with_hint(format!("{remedy}; `sealwright check` shows the whole report")))
    }
}

/// A verdict that lets packing go on. Only [`Report::clear`] and [`Report::clear_for`] make one; none is read from a file.
#[derive(Debug, Clone)]
pub struct Clearance {
    report: Report,
    verdict: Verdict,
}

impl Clearance {
    /// `allow` or `allow-with-obligations`.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// What must travel and be done.
    pub fn obligations(&self) -> &[Obligation] {
        &self.report.obligations
    }

    /// Duties that cannot be met now: packing refuses on them.
    pub fn unmet(&self) -> impl Iterator<Item = &Obligation> {
        self.report.obligations.iter().filter(|o| o.unmet.is_some())
    }

    /// What binds.
    pub fn licenses(&self) -> &[Listed] {
        &self.report.licenses
    }

    /// Licence texts and use policies to hand on: a name for `LICENSES/`, and the exact bytes.
    pub fn texts(&self) -> &[(String, Vec<u8>)] {
        &self.report.papers.texts
    }

    /// The paragraphs of `NOTICE`.
    pub fn notice_paragraphs(&self) -> &[String] {
        &self.report.papers.notice
    }

    /// Digest of the contract annex that [`Report::annex`] drafts.
    pub fn annex_digest(&self) -> Sha256 {
        Sha256::of(&self.report.papers.annex)
    }

    /// Digest of the organisation's decisions.
    pub fn policy_digest(&self) -> Sha256 {
        self.report.digests.policy
    }

    /// The last day on which packing may go on with it.
    pub fn expires(&self) -> jiff::civil::Date {
        self.report.expires
    }

    /// `report.json` of a bundle: verdict, licences and from what their facts were read, obligations, digests. Without the
    /// vendor's figures, names of data files, other customers, findings and rulings' reasons.
    pub fn report_json(&self) -> serde_json::Value {
        let report = &self.report;
        let listed = |id: &str| report.licenses.iter().any(|l| l.id.as_deref() == Some(id));
        let owed = |id: &str| report.obligations.iter().any(|o| o.license == id);
        let records: BTreeMap<_, _> = report.records.iter().filter(|(id, _)| listed(id) || owed(id)).collect();
        serde_json::json!({
            "verdict": self.verdict,
            "licenses": self.report.licenses.iter().map(Listed::for_customers).collect::<Vec<_>>(),
            "records": records,
            "obligations": self.report.obligations,
            "policy": self.report.digests.policy,
            "facts": self.report.digests.facts,
            "annex": self.annex_digest(),
            "judged": self.report.judged,
            "disclaimer": DISCLAIMER,
        })
    }
}

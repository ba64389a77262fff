//! Collects findings: each gets its severity from the organisation's policy, and the line that decided.

use crate::license::declared::Use;
use crate::license::facts::policy::Policies;
use crate::license::facts::record::Record;
use crate::license::finding::{Finding, FindingCode as F, Severity};
use crate::license::rules::grants::Grants;
use crate::license::rules::member::Member;

/// A judgement under way.
pub struct Judge<'p> {
    pub policies: &'p Policies,
    pub declared: &'p Use,
    pub today: jiff::civil::Date,
    pub findings: Vec<Finding>,
    pub grants: Grants<'p>,
}

/// Where in a licence a finding rests: its term if not the code's own, the clause.
pub struct At<'a> {
    pub term: &'a str,
    pub clause: &'a str,
}

impl<'p> Judge<'p> {
    pub fn new(policies: &'p Policies, declared: &'p Use, today: jiff::civil::Date) -> Self {
        let grants = Grants::counting(declared, today);
        Self { policies, declared, today, findings: Vec::new(), grants }
    }

    /// A finding on the evidence itself.
    pub fn evidence(&mut self, code: F, subject: &str, message: String, remedy: &str) {
        self.push(code, None, None, subject, message, remedy);
    }

    /// A finding on a licence that is only named.
    pub fn about(&mut self, record: &Record, code: F, subject: &str, message: String, remedy: &str) {
        let clause = record.clause.get(code.term()).map(String::as_str);
        self.push(code, Some(&record.id), clause, subject, message, remedy);
    }

    /// A fact met by the use; its clause is the one of the code's term.
    pub fn fact(&mut self, member: &Member<'_>, code: F, message: String, remedy: &str) {
        let record = member.record;
        self.at(member, code, At { term: code.term(), clause: record.clause(code.term()) }, message, remedy);
    }

    /// The same, resting on another clause. A grant answers what it names; without an identified text and a record read
    /// whole, `deny` is a review.
    pub fn at(&mut self, member: &Member<'_>, code: F, at: At<'_>, message: String, remedy: &str) {
        if code.answered_by().is_some_and(|kind| self.is_granted(member, kind, at.clause)) {
            return;
        }
        self.push_at(member, code, at, message, remedy);
    }

    /// Does a grant answer this duty? Then it is noted that it is relied on.
    pub fn is_granted(&mut self, member: &Member<'_>, kind: &str, clause: &str) -> bool {
        let Some(words) = self.grants.rely_on(member.record, kind) else { return false };
        let message = format!("the vendor's word: {words}");
        let at = At { term: kind, clause };
        self.push_at(member, F::GrantReliedOn, at, message, "keep the paper at hand: nobody checked what it says");
        true
    }

    /// What else the last finding's question turns on.
    pub fn asks_about(&mut self, what: &str) {
        if let Some(question) = self.findings.last_mut().and_then(|finding| finding.question.as_mut()) {
            *question = question.replace("{what}", what);
        }
    }

    /// How what the last finding rests on is known, where that is no licence text.
    pub fn known_from(&mut self, basis: String) {
        if let Some(finding) = self.findings.last_mut() {
            finding.basis = Some(basis);
        }
    }

    fn push_at(&mut self, member: &Member<'_>, code: F, at: At<'_>, message: String, remedy: &str) {
        self.push(code, Some(&member.record.id), Some(at.clause), &member.of, message, remedy);
        let finding = self.findings.last_mut().expect("just pushed");
        at.term.clone_into(&mut finding.term);
        finding.path.clone_from(&member.path);
        if finding.severity == Severity::Deny && !member.may_deny() {
            finding.severity = Severity::Review;
        }
    }

    /// Makes the last finding one that concerns this customer only.
    pub fn for_customer(&mut self, name: &str) {
        if let Some(finding) = self.findings.last_mut() {
            finding.customer = Some(name.to_owned());
        }
    }

    fn push(
        &mut self,
        code: F,
        license: Option<&str>,
        clause: Option<&str>,
        subject: &str,
        message: String,
        remedy: &str,
    ) {
        let decision = self.policies.decision(code, self.today);
        self.findings.push(Finding {
            code,
            severity: decision.severity,
            term: code.term().to_owned(),
            license: license.map(String::from),
            clause: clause.map(String::from),
            policy: decision.place.clone(),
            policy_reason: decision.reason.clone(),
            message,
            remedy: remedy.to_owned(),
            question: Some(code.question().replace("{license}", license.unwrap_or("")).replace("{subject}", subject)),
            basis: None,
            subject: subject.to_owned(),
            path: Vec::new(),
            customer: None,
            ruled: None,
        });
    }

    /// Leaves the last finding to a person, where it would deny.
    pub fn review_last(&mut self) {
        if let Some(finding) = self.findings.last_mut() {
            finding.severity = finding.severity.min(Severity::Review);
        }
    }
}

/// `Llama-3.1-Helpdesk` and `Llama Helpdesk` begin with `Llama`; `Llamazon` does not.
pub fn begins_with_word(title: &str, word: &str) -> bool {
    title.strip_prefix(word).is_some_and(|rest| !rest.starts_with(char::is_alphabetic))
}

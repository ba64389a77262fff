//! Collects findings: each gets its severity from the organisation's policy, and the line that decided.

use super::declared::{GrantKind, Use};
use super::facts::{CommercialUse, OutputTraining, Record, Standing};
use super::finding::{Finding, FindingCode as F, Severity};
use super::member::Member;
use super::policy::Policies;

/// A judgement under way.
pub struct Judge<'p> {
    pub policies: &'p Policies,
    pub declared: &'p Use,
    pub today: jiff::civil::Date,
    pub findings: Vec<Finding>,
}

/// Where in a licence a finding rests: its term if not the code's own, the clause.
pub struct At<'a> {
    pub term: &'a str,
    pub clause: &'a str,
}

impl<'p> Judge<'p> {
    pub fn new(policies: &'p Policies, declared: &'p Use, today: jiff::civil::Date) -> Self {
        Self { policies, declared, today, findings: Vec::new() }
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

    /// The same, resting on another clause. Without an identified text and a record read whole, `deny` is a review.
    pub fn at(&mut self, member: &Member<'_>, code: F, at: At<'_>, message: String, remedy: &str) {
        self.push(code, Some(&member.record.id), Some(at.clause), &member.of, message, remedy);
        let finding = self.findings.last_mut().expect("just pushed");
        at.term.clone_into(&mut finding.term);
        if finding.severity == Severity::Deny && !member.may_deny() {
            finding.severity = Severity::Review;
        }
    }

    /// The reference of an agreement that the vendor holds from the licensor of `id`.
    pub fn agreement(&self, id: &str) -> Option<String> {
        self.declared.grant(id, GrantKind::Agreement, self.today).map(|g| g.reference.clone())
    }

    /// Notes that a grant answers what the licence asks for.
    pub fn relied_on(&mut self, member: &Member<'_>, term: &str, clause: &str, reference: &str) {
        self.at(
            member,
            F::GrantReliedOn,
            At { term, clause },
            format!("the vendor states a grant from the licensor of {}: {reference}", member.record.id),
            "keep the grant at hand: it was not checked",
        );
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
            subject: subject.to_owned(),
            customer: None,
            ruled: None,
        });
    }

    /// Data under a licence: what bears on a model that learns from it. Nobody has seen the text, so nothing denies.
    pub fn data_license(&mut self, record: &Record, path: &str) {
        self.data_record(record, path);
        let commercial = &record.commercial_use;
        let forbids = commercial.iter().any(|c| matches!(c, CommercialUse::No | CommercialUse::ResearchOnly));
        if self.declared.commercial && forbids {
            self.about(
                record,
                F::CommercialUseForbidden,
                path,
                format!("{path} stands under {}, which is not for commercial use", record.id),
                "train on other data, or have the owner's agreement and rule on it",
            );
            self.review_last();
        } else if commercial.contains(&CommercialUse::Silent) && self.declared.commercial {
            self.about(
                record,
                F::CommercialUseSilent,
                path,
                format!("{} says nothing on commercial use", record.id),
                "have it read, and rule on it",
            );
        }
        if record.is_share_alike() && self.declared.has_other_terms_than(&record.id) {
            self.about(record, F::DataShareAlike, path,
                format!("{path} stands under {}, a share-alike licence; whether a model trained on it is an adaptation is unsettled", record.id),
                "train on other data, or have it judged and rule on it");
        }
    }

    /// Data that a model wrote. `same`: the base stands under that model's licence, too.
    pub fn generated_data(&mut self, record: &Record, path: &str, model: &str, same: bool) {
        self.data_record(record, path);
        let outputs = &record.output_training;
        let has = |word| outputs.contains(&word);
        let free = has(OutputTraining::Free) || has(OutputTraining::FreeWithName);
        let own_family = has(OutputTraining::SameFamilyOnly) && same;
        if !free && !own_family {
            self.about(
                record,
                F::GeneratedDataLimited,
                path,
                format!("{path} was written by {model}; {} limits training on its outputs", record.id),
                "train on other data, or have the limit judged and rule on it",
            );
        }
        if has(OutputTraining::FreeWithName) {
            for duty in record.duties("name-prefix") {
                let words = duty.words.as_deref().unwrap_or("");
                if !begins_with_word(&self.declared.title, words) {
                    self.about(
                        record,
                        F::NamePrefixMissing,
                        path,
                        format!(
                            "{path} was written by {model}, so the title must begin with {words}: {}",
                            self.declared.title
                        ),
                        "change `product.title`, or train on other data",
                    );
                    self.review_last();
                    self.findings.last_mut().expect("just pushed").clause = Some(duty.clause.clone());
                }
            }
        }
    }

    /// A record that was not read whole clears no data.
    fn data_record(&mut self, record: &Record, path: &str) {
        if record.standing < Standing::Read {
            self.about(
                record,
                F::RecordNotRead,
                path,
                format!(
                    "what is recorded of {}, which {path} stands under, was not read from its whole text",
                    record.id
                ),
                "read the whole terms and complete the record, or rule on it",
            );
        }
    }

    fn review_last(&mut self) {
        if let Some(finding) = self.findings.last_mut() {
            finding.severity = finding.severity.min(Severity::Review);
        }
    }
}

/// `Llama-3.1-Helpdesk` and `Llama Helpdesk` begin with `Llama`; `Llamazon` does not.
pub fn begins_with_word(title: &str, word: &str) -> bool {
    title.strip_prefix(word).is_some_and(|rest| !rest.starts_with(char::is_alphabetic))
}

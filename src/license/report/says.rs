//! What a record says on one term, with the clause; and which records can lead to a finding. It judges no use.

use crate::license::declared::{COMPETING, HOSTED};
use crate::license::facts::policy::Policies;
use crate::license::facts::reading::Reading;
use crate::license::facts::record::*;
use crate::license::facts::words::{value, words};
use crate::license::finding::FindingCode;
use crate::license::rules::limits::describe;
use serde::{Deserialize, Serialize};

/// One thing that a licence says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// A word of the vocabulary, a line, a duty or a question.
    pub value: String,
    /// Where it says so.
    pub clause: String,
}

/// What a licence says that can lead to a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Clauses {
    /// The licence.
    pub license: String,
    /// What it says, and where.
    pub says: Vec<Said>,
    /// From what that was read.
    #[serde(flatten)]
    pub reading: Reading,
}

/// Every licence on record that can lead to this finding, with its clauses; none for findings on the evidence alone.
pub fn clauses_behind(code: FindingCode, policies: &Policies) -> Vec<Clauses> {
    let of = |record: &Record| Clauses {
        license: record.id.clone(),
        says: behind(code, record),
        reading: Reading::of(record),
    };
    policies.records().map(of).filter(|c| !c.says.is_empty()).collect()
}

/// What a record says on a fact, a kind of duty, a line, a territory or an open question.
pub(in crate::license) fn says(record: &Record, term: &str) -> Vec<Said> {
    let said = |value: String, clause: &str| Said { value, clause: clause.to_owned() };
    match term {
        "standing" => vec![said(words(&[record.standing]), "whole")],
        "limit" | "watch-limit" => record.limits.iter().map(|l| said(describe(l), &l.clause)).collect(),
        "territory" => {
            let left_out = |t: &Territory| format!("leaves out {}", t.excluded.join(", "));
            record.territories.iter().map(|t| said(left_out(t), &t.clause)).collect()
        }
        "question" => [asked(record, Open::Review), asked(record, Open::Note)].concat(),
        "obligations" => record.obligations.iter().map(|d| said(d.kind.clone(), &d.clause)).collect(),
        kind if value(record, kind).is_none() => record.duties(kind).map(|d| said(duty(d), &d.clause)).collect(),
        fact => value(record, fact).map(|value| said(value, record.clause(fact))).into_iter().collect(),
    }
}

fn duty(duty: &Duty) -> String {
    let when = duty.when.map_or(String::new(), |when| format!(" ({})", words(&[when])));
    let set = duty.words.as_ref().map_or(String::new(), |words| format!(": {words}"));
    format!("{}{when}{set}", duty.kind)
}

/// What of a record can lead to this finding; empty where nothing can.
fn behind(code: FindingCode, record: &Record) -> Vec<Said> {
    use FindingCode as F;
    match code {
        F::TextNotAtHand => [says(record, "ship-licence-text"), says(record, "ship-use-policy")].concat(),
        F::IncompatibleDuties if record.is_share_alike() => says(record, "share-alike"),
        F::GrantReliedOn => [says(record, "register"), says(record, "request-licence"), says(record, "limit")].concat(),
        F::RegistrationMissing if has_value(code, record) && record.duties("register").next().is_none() => {
            says(record, "commercial-use")
        }
        F::TextReplaced | F::ObtainedNotStated => replaced(record),
        F::AttributionMissing => says(record, "attribute-source"),
        F::NotedQuestion => asked(record, Open::Note),
        F::OpenQuestion if record.share_alike == ShareAlike::Weak => {
            [asked(record, Open::Review), says(record, "share-alike")].concat()
        }
        F::OpenQuestion => asked(record, Open::Review),
        _ if has_value(code, record) => says(record, code.term()),
        _ => Vec::new(),
    }
}

/// What took its place, and when.
fn replaced(record: &Record) -> Vec<Said> {
    let said = |r: &Replaced| Said { value: format!("replaced on {} by {}", r.on, r.by), clause: "whole".to_owned() };
    record.replaced.iter().map(said).collect()
}

/// The open questions of one kind; they stand at their own clause, and at those of what they bear on.
fn asked(record: &Record, open: Open) -> Vec<Said> {
    let clause = |question: &Question| {
        let mut clauses: Vec<String> = question.clause.iter().cloned().collect();
        for said in question.bears_on.iter().flat_map(|word| says(record, word)) {
            if said.clause != "silent" && !clauses.contains(&said.clause) {
                clauses.push(said.clause);
            }
        }
        if clauses.is_empty() { "silent".to_owned() } else { clauses.join("; ") }
    };
    let of = record.questions.iter().filter(|q| q.open == open);
    of.map(|q| Said { value: q.text.clone(), clause: clause(q) }).collect()
}

/// Has the record a value that the rules make this finding of, for some use?
fn has_value(code: FindingCode, record: &Record) -> bool {
    use FindingCode as F;
    let commercial = |words: &[CommercialUse]| record.commercial_use.iter().any(|w| words.contains(w));
    let outputs = |words: &[OutputTraining]| record.output_training.iter().any(|w| words.contains(w));
    match code {
        F::RecordNotRead => record.standing < Standing::Read,
        F::CommercialUseForbidden => {
            commercial(&[CommercialUse::No, CommercialUse::ResearchOnly, CommercialUse::Permission])
        }
        F::CommercialUseSilent => commercial(&[CommercialUse::Silent]),
        F::ResearchOnly => {
            commercial(&[CommercialUse::No, CommercialUse::ResearchOnly])
                || record.derivative_distribution == DerivativeDistribution::ResearchOnly
        }
        F::RegistrationMissing => commercial(&[CommercialUse::Registration]),
        F::DerivativeForbidden => matches!(
            record.derivative_distribution,
            DerivativeDistribution::Forbidden | DerivativeDistribution::ResearchOnly
        ),
        F::DerivativeSilent => record.derivative_distribution == DerivativeDistribution::Silent,
        F::SameTermsRequired => record.is_share_alike() || record.hosting_is_distribution == Hosting::NetworkSource,
        F::OwnTermsForbidden => record.derivative_own_terms == OwnTerms::Forbidden,
        F::OwnTermsSilent => record.derivative_own_terms == OwnTerms::Silent,
        F::TermsFlowDown => record.derivative_own_terms == OwnTerms::FlowDown,
        F::AdapterUnsettled => {
            let open = [AdapterStatus::DerivativeWorks, AdapterStatus::Unsettled];
            record.adapter_status.iter().any(|s| open.contains(s))
        }
        F::BaseStillBound => record.derivative_own_terms == OwnTerms::BaseStillBound,
        F::HostingNotStated => {
            matches!(record.hosting_is_distribution, Hosting::Forbidden | Hosting::Silent | Hosting::NetworkSource)
                || record.field_of_use.iter().any(|f| f == HOSTED)
        }
        F::CompetitionNotStated => record.field_of_use.iter().any(|f| f == COMPETING),
        F::HostingForbidden => record.hosting_is_distribution == Hosting::Forbidden,
        F::HostingSilent => record.hosting_is_distribution == Hosting::Silent,
        F::FieldForbidden | F::FieldRestricted | F::FieldsNotStated => !record.field_of_use.is_empty(),
        F::OutputTrainingForbidden => outputs(&[OutputTraining::Forbidden]),
        F::OutputTrainingLimited | F::OutputTrainingNotStated | F::GeneratedDataLimited => record.limits_outputs(),
        F::RemoteRestriction => record.remote_restriction == RemoteRestriction::Yes,
        F::RevocableLicense => matches!(record.revocable, Revocable::Revocable | Revocable::AtWill),
        F::TermsMayChange => record.licensor_may_change_terms != MayChange::No,
        F::DataShareAlike => record.is_share_alike(),
        // these have a line, a country or a duty, or nothing to say
        F::LimitCrossed | F::LimitReadingOpen | F::LimitFigureMissing | F::LimitKept => true,
        F::TerritoryExcluded | F::CountryNotStated | F::NamePrefixMissing | F::DutiesApply => true,
        F::FurtherLimits | F::RedistributionNotStated | F::BusinessExcluded | F::BusinessNotStated => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Base;
    use crate::license::declared::{Customer, Ship, Use};
    use crate::license::evidence::subject::Subject;
    use crate::license::rules::judge::Judge;
    use crate::license::rules::member::{How, Member};
    use crate::license::rules::terms;

    fn uses() -> Vec<Use> {
        let of = |ship, commercial, stated: bool| {
            let silent = Use {
                commercial,
                territory: vec!["DE".into(), "KR".into(), "GB".into()],
                customers: vec![Customer { name: "acme".into(), country: stated.then(|| "DE".into()) }],
                ..Use::new("Example Works", "Example", ship)
            };
            let revenue = [("USD".into(), u64::MAX), ("CNY".into(), u64::MAX)].into();
            let full = Use {
                vendor_country: Some("DE".into()),
                business: Some(vec!["software".into()]),
                competes_with_licensor: Some(true),
                annual_revenue: revenue,
                users_now: Some(u64::MAX),
                users_at_release: Some(0),
                hosting: Some(true),
                redistribution: Some(false),
                fields: Some(vec!["military".into(), "minors".into()]),
                trains_models_on_outputs: Some(true),
                ..silent.clone()
            };
            if stated { full } else { silent }
        };
        let all = [Ship::Adapter, Ship::Merged, Ship::Nothing].into_iter().flat_map(|ship| {
            [(true, true), (true, false), (false, true), (false, false)].map(move |(c, s)| (ship, c, s))
        });
        all.map(|(ship, commercial, stated)| of(ship, commercial, stated)).collect()
    }

    #[test]
    fn every_finding_on_a_record_is_among_its_clauses() {
        let policies = Policies::load(None).unwrap();
        let today = jiff::civil::date(2026, 6, 1);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), "{\"vision_config\": {}}").unwrap();
        let subject = Subject::read(&Base::open(dir.path()).unwrap(), None).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for (declared, record) in uses().iter().flat_map(|u| policies.records().map(move |r| (u, r))) {
            let mut judge = Judge::new(&policies, declared, today);
            let member =
                Member { record, of: "LICENSE".into(), how: How::Text, path: Vec::new(), certain: true, text: None };
            terms::judge(&mut judge, &member, &subject);
            for finding in judge.findings {
                seen.insert(finding.code);
                assert!(!behind(finding.code, record).is_empty(), "{}: {}", record.id, finding.code.name());
            }
        }
        assert!(seen.len() > 20, "{seen:?}");
    }

    #[test]
    fn findings_on_the_evidence_rest_on_no_clause() {
        let policies = Policies::load(None).unwrap();
        assert!(clauses_behind(FindingCode::NoLicense, &policies).is_empty());
        let research = clauses_behind(FindingCode::CommercialUseForbidden, &policies);
        assert!(research.iter().any(|c| c.license == "CC-BY-NC-4.0") && !research.iter().any(|c| c.license == "MIT"));
        assert!(research.iter().all(|c| c.says.iter().all(|s| !s.clause.is_empty())));
    }
}

//! Handing over a changed model, hosting it, and what customers may do with it: the facts of one licence met by these.

use crate::license::declared::Ship;
use crate::license::facts::record::*;
use crate::license::finding::FindingCode as F;
use crate::license::rules::fields::hosting_is_a_field;
use crate::license::rules::judge::{At, Judge};
use crate::license::rules::member::Member;

/// Judges what reaches others, by which way.
pub fn judge(judge: &mut Judge<'_>, member: &Member<'_>) {
    let record = member.record;
    let served_is_handed = judge.declared.hosted() == Some(true) && record.hosting_is_distribution == Hosting::Yes;
    if judge.declared.ship != Ship::Nothing || served_is_handed {
        derivative(judge, member);
    }
    match judge.declared.hosted() {
        Some(true) => hosting(judge, member),
        None if turns_on_hosting(record) => judge.fact(
            member,
            F::HostingNotStated,
            format!("{} has terms on serving a model to others; whether that is meant is not stated", record.id),
            "state it in `[use] hosting`",
        ),
        Some(false) | None => {}
    }
    if judge.declared.ship != Ship::Nothing {
        redistribution(judge, member);
    }
}

fn turns_on_hosting(record: &Record) -> bool {
    matches!(record.hosting_is_distribution, Hosting::Forbidden | Hosting::Silent | Hosting::NetworkSource)
        || hosting_is_a_field(record)
}

/// The derivative in others' hands, or what the licence takes for that.
fn derivative(judge: &mut Judge<'_>, member: &Member<'_>) {
    use DerivativeDistribution as D;
    let record = member.record;
    let other_terms = judge.declared.has_other_terms_than(&record.id);
    match record.derivative_distribution {
        D::Allowed | D::Conditional => {}
        D::Forbidden => {
            let message = format!("{} forbids handing over a changed model", record.id);
            judge.fact(member, F::DerivativeForbidden, message, "take another base, or host the product");
            by_both_readings(judge, record);
        }
        D::ResearchOnly if judge.declared.commercial => judge.fact(
            member,
            F::DerivativeForbidden,
            format!("{} allows handing over a changed model for research only", record.id),
            "take another base",
        ),
        D::ResearchOnly => judge.at(
            member,
            F::ResearchOnly,
            At { term: "derivative-distribution", clause: record.clause("derivative-distribution") },
            format!("{} allows handing over a changed model for research only", record.id),
            "state how this is research, and rule on it",
        ),
        D::Silent => judge.fact(
            member,
            F::DerivativeSilent,
            format!("{} does not say whether a changed model may be handed over", record.id),
            "ask the licensor, or have the grant judged and rule on it",
        ),
        D::SameLicence => {}
    }
    if record.is_share_alike() && other_terms {
        judge.fact(
            member,
            F::SameTermsRequired,
            format!("the derivative must stay under {}, the declared terms are {}", record.id, judge.declared.terms),
            "set `[use] terms` to `same`, or take another base",
        );
        by_both_readings(judge, record);
    } else {
        own_terms(judge, member, other_terms);
    }
    if record.share_alike == ShareAlike::Weak && other_terms {
        let at = At { term: "share-alike", clause: record.clause("share-alike") };
        judge.at(
            member,
            F::OpenQuestion,
            at,
            format!("{} keeps its own files under it; what that means for weights is open", record.id),
            "have it judged, and rule on it",
        );
        judge.asks_about("whether weights are files of the licensed work");
    }
    adapter(judge, member);
}

fn own_terms(judge: &mut Judge<'_>, member: &Member<'_>, other_terms: bool) {
    let record = member.record;
    if !other_terms {
        return;
    }
    match record.derivative_own_terms {
        OwnTerms::Forbidden => {
            let message = format!("{} forbids own terms for the derivative", record.id);
            judge.fact(member, F::OwnTermsForbidden, message, "set `[use] terms` to `same`, or take another base");
            by_both_readings(judge, record);
        }
        OwnTerms::Silent => judge.fact(
            member,
            F::OwnTermsSilent,
            format!("{} does not say whether the derivative may have own terms", record.id),
            "ask the licensor, or have it judged and rule on it",
        ),
        OwnTerms::FlowDown => judge.fact(
            member,
            F::TermsFlowDown,
            format!("own terms are allowed; the use limits of {} must be in them", record.id),
            "put them into the contract with the customer",
        ),
        OwnTerms::BaseStillBound if judge.declared.ship == Ship::Merged => judge.fact(
            member,
            F::BaseStillBound,
            format!("own terms can only cover your part of the merged weights; the base's stays under {}", record.id),
            "say so in the contract with the customer",
        ),
        OwnTerms::Allowed | OwnTerms::BaseStillBound | OwnTerms::SameLicence => {}
    }
}

/// An adapter under a text that has copyright's own words, or none, for what it binds: whether it is a derivative is
/// unsettled, and if it is none the ban does not reach it. The readings differ in their verdicts, so a person answers.
fn by_both_readings(judge: &mut Judge<'_>, record: &Record) {
    if judge.declared.ship == Ship::Adapter && is_unsettled(record) {
        judge.review_last();
    }
}

fn is_unsettled(record: &Record) -> bool {
    record.adapter_status.iter().any(|s| matches!(s, AdapterStatus::DerivativeWorks | AdapterStatus::Unsettled))
}

/// Only where the record has no question of its own on it: those are printed with the questions.
fn adapter(judge: &mut Judge<'_>, member: &Member<'_>) {
    let record = member.record;
    let asked = record.questions.iter().any(|q| q.bears_on.iter().any(|b| b == "adapter-status"));
    if judge.declared.ship == Ship::Adapter && !asked && is_unsettled(record) {
        judge.fact(
            member,
            F::AdapterUnsettled,
            format!("whether an adapter alone is a derivative under {} is unsettled; it is treated as one", record.id),
            "nothing: the duties are done as if it were",
        );
    }
}

fn hosting(judge: &mut Judge<'_>, member: &Member<'_>) {
    let record = member.record;
    match record.hosting_is_distribution {
        Hosting::Forbidden => {
            judge.fact(member, F::HostingForbidden, format!("{} forbids hosting", record.id), "take another base");
        }
        Hosting::Silent => judge.fact(
            member,
            F::HostingSilent,
            format!("{} does not say whether hosting counts as handing over", record.id),
            "have it judged, and rule on it",
        ),
        // what is handed over, too, has been judged by its terms already
        Hosting::NetworkSource
            if judge.declared.ship == Ship::Nothing && judge.declared.has_other_terms_than(&record.id) =>
        {
            judge.at(
                member,
                F::SameTermsRequired,
                At { term: "hosting-is-distribution", clause: record.clause("hosting-is-distribution") },
                format!("{} asks for the source of what is hosted, under itself", record.id),
                "set `[use] terms` to `same`, or take another base",
            );
        }
        Hosting::Yes | Hosting::ProductOrService | Hosting::No | Hosting::NetworkSource => {}
    }
}

/// A licence that suffers no further limits, and customers who may not hand on. An adapter holds nothing of the base:
/// limits on it touch the licensed part only where the derivative itself must stay under the licence.
fn redistribution(judge: &mut Judge<'_>, member: &Member<'_>) {
    let record = member.record;
    if judge.declared.ship == Ship::Adapter && !record.is_share_alike() {
        return;
    }
    let Some(duty) = record.duties("no-further-limits").next() else { return };
    let at = At { term: "no-further-limits", clause: &duty.clause };
    match judge.declared.redistribution {
        Some(true) => {}
        Some(false) => judge.at(
            member,
            F::FurtherLimits,
            at,
            format!("customers may not hand it on, and {} suffers no further limits on the licensed part", record.id),
            "allow it, or have it judged what the licensed part is and rule on it",
        ),
        None => judge.at(
            member,
            F::RedistributionNotStated,
            at,
            format!("{} suffers no further limits; whether customers may hand it on is not stated", record.id),
            "state it in `[use] redistribution`",
        ),
    }
}

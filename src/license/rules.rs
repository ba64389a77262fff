//! The facts of one licence met by the declared use, clause by clause. Silence is a finding, never a permission.

use super::declared::{GrantKind, Ship};
use super::facts::*;
use super::finding::FindingCode as F;
use super::judge::{At, Judge, begins_with_word};
use super::limits;
use super::member::Member;
use super::says::words;
use super::subject::Subject;

/// Judges one member of the chain; true: a line of users or revenue is crossed.
pub fn judge(judge: &mut Judge<'_>, member: &Member<'_>, subject: &Subject) -> bool {
    standing(judge, member);
    commercial(judge, member);
    let crossed = limits::lines(judge, member);
    limits::territories(judge, member, subject.multimodal);
    if judge.declared.ship == Ship::Nothing {
        hosting(judge, member);
    } else {
        derivative(judge, member);
    }
    fields(judge, member);
    outputs(judge, member);
    title(judge, member);
    reservations(judge, member);
    crossed
}

fn standing(judge: &mut Judge<'_>, member: &Member<'_>) {
    let record = member.record;
    if record.standing < Standing::Read {
        let at = At { term: "standing", clause: "whole" };
        judge.at(
            member,
            F::RecordNotRead,
            at,
            format!("what is recorded of {} was not read from its whole text", record.id),
            "read the whole licence and complete its record, or rule on it",
        );
    }
}

fn commercial(judge: &mut Judge<'_>, member: &Member<'_>) {
    use CommercialUse as C;
    let record = member.record;
    let has = |word| record.commercial_use.contains(&word);
    let closed = has(C::No) || has(C::ResearchOnly) || has(C::Permission);
    if !judge.declared.commercial {
        if has(C::No) || has(C::ResearchOnly) {
            judge.fact(
                member,
                F::ResearchOnly,
                format!(
                    "{} allows research or non-commercial use only; whether this is one is for a person to say",
                    record.id
                ),
                "state how the product earns nothing, and rule on it",
            );
        }
        return;
    }
    if closed {
        match judge.agreement(&record.id) {
            Some(reference) => judge.relied_on(member, "commercial-use", record.clause("commercial-use"), &reference),
            None => judge.fact(
                member,
                F::CommercialUseForbidden,
                format!("{} does not allow commercial use", record.id),
                "take another base, or get the licensor's agreement and state it as a [[grant]]",
            ),
        }
    }
    if has(C::Registration) {
        let clause = record.duties("register").next().map_or(record.clause("commercial-use"), |d| &d.clause);
        match judge.declared.grant(&record.id, GrantKind::Registration, judge.today).map(|g| g.reference.clone()) {
            Some(reference) => judge.relied_on(member, "register", clause, &reference),
            None => judge.at(
                member,
                F::RegistrationMissing,
                At { term: "register", clause },
                format!("{} asks for a registration before commercial use", record.id),
                "register with the licensor, then state it as a [[grant]] of the kind `registration`",
            ),
        }
    }
    if has(C::Silent) {
        judge.fact(
            member,
            F::CommercialUseSilent,
            format!("{} says nothing on commercial use", record.id),
            "ask the licensor, and rule on it",
        );
    }
}

fn derivative(judge: &mut Judge<'_>, member: &Member<'_>) {
    use DerivativeDistribution as D;
    let record = member.record;
    let other_terms = judge.declared.has_other_terms_than(&record.id);
    match record.derivative_distribution {
        D::Allowed | D::Conditional => {}
        D::Forbidden => judge.fact(
            member,
            F::DerivativeForbidden,
            format!("{} forbids handing over a changed model", record.id),
            "take another base, or host the product",
        ),
        D::ResearchOnly if judge.declared.commercial && judge.agreement(&record.id).is_none() => {
            judge.fact(
                member,
                F::DerivativeForbidden,
                format!("{} allows handing over a changed model for research only", record.id),
                "take another base",
            );
        }
        D::ResearchOnly => {}
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
    }
    adapter(judge, member);
}

fn own_terms(judge: &mut Judge<'_>, member: &Member<'_>, other_terms: bool) {
    let record = member.record;
    if !other_terms {
        return;
    }
    match record.derivative_own_terms {
        OwnTerms::Forbidden => judge.fact(
            member,
            F::OwnTermsForbidden,
            format!("{} forbids own terms for the derivative", record.id),
            "set `[use] terms` to `same`, or take another base",
        ),
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
        OwnTerms::Allowed | OwnTerms::BaseStillBound | OwnTerms::SameLicence => {}
    }
}

/// Only where the record has no question of its own on it: those are printed with the questions.
fn adapter(judge: &mut Judge<'_>, member: &Member<'_>) {
    let record = member.record;
    let unsettled = [AdapterStatus::DerivativeWorks, AdapterStatus::Unsettled];
    let asked = record.questions.iter().any(|q| q.bears_on.iter().any(|b| b == "adapter-status"));
    if judge.declared.ship == Ship::Adapter && !asked && record.adapter_status.iter().any(|s| unsettled.contains(s)) {
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
            judge.fact(member, F::HostingForbidden, format!("{} forbids hosting", record.id), "take another base")
        }
        Hosting::Silent => judge.fact(
            member,
            F::HostingSilent,
            format!("{} does not say whether hosting counts as handing over", record.id),
            "have it judged, and rule on it",
        ),
        Hosting::NetworkSource if judge.declared.has_other_terms_than(&record.id) => judge.fact(
            member,
            F::SameTermsRequired,
            format!("{} asks for the source of what is hosted, under itself", record.id),
            "set `[use] terms` to `same`, or take another base",
        ),
        Hosting::Yes | Hosting::ProductOrService | Hosting::No | Hosting::NetworkSource => {}
    }
}

fn fields(judge: &mut Judge<'_>, member: &Member<'_>) {
    let record = member.record;
    if record.field_of_use.is_empty() {
        return;
    }
    let Some(fields) = judge.declared.fields.as_ref() else {
        judge.fact(
            member,
            F::FieldsNotStated,
            format!(
                "{} restricts {} fields of use; which of them the product touches is not stated",
                record.id,
                record.field_of_use.len()
            ),
            "state them in `[use] fields`; an empty list states none",
        );
        return;
    };
    for field in fields.iter().filter(|f| record.field_of_use.contains(f)) {
        if judge.policies.forbids_field(field) {
            judge.fact(
                member,
                F::FieldForbidden,
                format!("the product touches {field}, which {} forbids", record.id),
                "keep the product out of this field, or take another base",
            );
        } else {
            judge.fact(
                member,
                F::FieldRestricted,
                format!("the product touches {field}, which {} restricts", record.id),
                "compare the purpose with the clause, and rule on it",
            );
        }
    }
}

fn outputs(judge: &mut Judge<'_>, member: &Member<'_>) {
    use OutputTraining as O;
    let record = member.record;
    let has = |word: &O| record.output_training.contains(word);
    let limited = !has(&O::Free) && !has(&O::FreeWithName);
    let by_purpose = has(&O::PurposeBound) && record.output_training.len() == 1 && !judge.declared.commercial;
    match judge.declared.trains_models_on_outputs {
        Some(false) => {}
        _ if !limited || by_purpose => {}
        Some(true) if has(&O::Forbidden) => judge.fact(
            member,
            F::OutputTrainingForbidden,
            format!("{} forbids training models on outputs", record.id),
            "drop that plan, or take another base",
        ),
        Some(true) => judge.fact(
            member,
            F::OutputTrainingLimited,
            format!("{} limits training models on outputs: {}", record.id, words(&record.output_training)),
            "compare the plan with the clause, and rule on it",
        ),
        None => judge.fact(
            member,
            F::OutputTrainingNotStated,
            format!("{} limits training models on outputs; whether that is meant is not stated", record.id),
            "state it in `[use] trains-models-on-outputs`",
        ),
    }
}

fn title(judge: &mut Judge<'_>, member: &Member<'_>) {
    for duty in member.record.duties("name-prefix") {
        let prefix = duty.words.as_deref().unwrap_or("");
        if !begins_with_word(&judge.declared.title, prefix) {
            judge.at(
                member,
                F::NamePrefixMissing,
                At { term: "name-prefix", clause: &duty.clause },
                format!("the title must begin with {prefix}: {}", judge.declared.title),
                &format!("change `product.title`, for example: {prefix} {}", judge.declared.title),
            );
        }
    }
}

fn reservations(judge: &mut Judge<'_>, member: &Member<'_>) {
    let record = member.record;
    if record.remote_restriction == RemoteRestriction::Yes {
        judge.fact(
            member,
            F::RemoteRestriction,
            format!("the licensor of {} reserves to restrict use from afar", record.id),
            "give entitlements an end, and keep a list of who has which bundle",
        );
    }
    if matches!(record.revocable, Revocable::Revocable | Revocable::AtWill) {
        judge.fact(
            member,
            F::RevocableLicense,
            format!("{} may be ended without a breach", record.id),
            "plan for a change of base",
        );
    }
    if record.licensor_may_change_terms == MayChange::Yes {
        judge.fact(
            member,
            F::TermsMayChange,
            format!("the licensor of {} may change its terms", record.id),
            "read the newest terms at each release",
        );
    }
}

//! The facts of one licence met by the declared use, clause by clause. Silence is a finding, never a permission.

use crate::license::evidence::subject::Subject;
use crate::license::facts::record::*;
use crate::license::facts::words::words;
use crate::license::finding::FindingCode as F;
use crate::license::rules::fields;
use crate::license::rules::handing;
use crate::license::rules::judge::{At, Judge, begins_with_word};
use crate::license::rules::limits;
use crate::license::rules::member::Member;

/// Judges one member of the chain; true: a line of users or revenue is crossed.
pub fn judge(judge: &mut Judge<'_>, member: &Member<'_>, subject: &Subject) -> bool {
    standing(judge, member);
    commercial(judge, member);
    let crossed = limits::lines(judge, member);
    limits::territories(judge, member, subject.multimodal);
    handing::judge(judge, member);
    fields::judge(judge, member);
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
        judge.fact(
            member,
            F::CommercialUseForbidden,
            format!("{} does not allow commercial use", record.id),
            "take another base, or get the licensor's agreement and state it as a [[grant]] of the kind `request-licence`",
        );
    }
    if has(C::Registration) {
        let clause = record.duties("register").next().map_or(record.clause("commercial-use"), |d| &d.clause);
        judge.at(
            member,
            F::RegistrationMissing,
            At { term: "register", clause },
            format!("{} asks for a registration before commercial use", record.id),
            "register with the licensor, then state it as a [[grant]] of the kind `register`",
        );
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

fn outputs(judge: &mut Judge<'_>, member: &Member<'_>) {
    use OutputTraining as O;
    let record = member.record;
    let has = |word: &O| record.output_training.contains(word);
    let by_purpose = record.output_training == [O::PurposeBound] && !judge.declared.commercial;
    match judge.declared.trains_models_on_outputs {
        Some(false) => {}
        _ if !record.limits_outputs() || by_purpose => {}
        Some(true) if has(&O::Forbidden) => judge.fact(
            member,
            F::OutputTrainingForbidden,
            format!("{} forbids training models on outputs", record.id),
            "drop that plan, or take another base",
        ),
        Some(true) => {
            let limits = words(&record.output_training);
            let message = format!("{} limits training models on outputs: {limits}", record.id);
            judge.fact(member, F::OutputTrainingLimited, message, "compare the plan with the clause, and rule on it");
            judge.asks_about(&limits);
        }
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
            judge.asks_about(prefix);
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
    if record.licensor_may_change_terms != MayChange::No {
        let what = if record.licensor_may_change_terms == MayChange::Yes { "terms" } else { "use policy" };
        judge.fact(
            member,
            F::TermsMayChange,
            format!("the licensor of {} may change its {what}", record.id),
            "read the newest terms at each release",
        );
    }
}

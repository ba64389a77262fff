//! What the product and its vendor do, met by the fields and the kinds of company that a licence shuts out.

use crate::license::declared::{COMPETING, HOSTED};
use crate::license::facts::record::Record;
use crate::license::finding::FindingCode as F;
use crate::license::rules::judge::{At, Judge};
use crate::license::rules::member::Member;

/// Judges the product's fields, competition with the licensor, and the vendor's business.
pub fn judge(judge: &mut Judge<'_>, member: &Member<'_>) {
    fields(judge, member);
    competition(judge, member);
    business(judge, member);
}

/// Is offering it as a service a restricted field of this licence?
pub fn hosting_is_a_field(record: &Record) -> bool {
    record.field_of_use.iter().any(|f| f == HOSTED)
}

fn fields(judge: &mut Judge<'_>, member: &Member<'_>) {
    let record = member.record;
    let hosted = || judge.declared.hosted() == Some(true);
    let asked = |f: &&String| *f != COMPETING && *f != HOSTED;
    let restricted: Vec<&str> = record.field_of_use.iter().filter(asked).map(String::as_str).collect();
    if hosting_is_a_field(record) && hosted() {
        judge.fact(
            member,
            F::FieldRestricted,
            format!("the product is served to others, which {} restricts", record.id),
            "compare the service with the clause, and rule on it; or take another base",
        );
        judge.asks_about("serving it to others");
    }
    if restricted.is_empty() {
        return;
    }
    let Some(fields) = judge.declared.fields.as_ref() else {
        judge.fact(
            member,
            F::FieldsNotStated,
            format!(
                "{} restricts {} fields of use; which of them the product touches is not stated",
                record.id,
                restricted.len()
            ),
            "state them in `[use] fields`; an empty list states none",
        );
        judge.asks_about(&restricted.join(", "));
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
        judge.asks_about(field);
    }
}

/// The field that turns on the vendor.
fn competition(judge: &mut Judge<'_>, member: &Member<'_>) {
    let record = member.record;
    if !record.field_of_use.iter().any(|f| f == COMPETING) {
        return;
    }
    match judge.declared.competes_with_licensor {
        Some(false) => {}
        Some(true) => {
            let message = format!("the vendor competes with the licensor, which {} restricts", record.id);
            let remedy = "get the licensor's agreement, or have the clause judged and rule on it";
            judge.fact(member, F::FieldRestricted, message, remedy);
            judge.asks_about("competing with the licensor");
        }
        None => judge.fact(
            member,
            F::CompetitionNotStated,
            format!(
                "{} restricts those who compete with its licensor; whether the vendor does is not stated",
                record.id
            ),
            "state `vendor.competes-with-licensor`",
        ),
    }
}

/// Kinds of company that may not use it.
fn business(judge: &mut Judge<'_>, member: &Member<'_>) {
    let id = &member.record.id;
    for duty in member.record.duties("not-provider-kind") {
        let at = At { term: "not-provider-kind", clause: &duty.clause };
        let shut_out = duty.companies.join(", ");
        let own = judge.declared.business.as_ref();
        match own.map(|own| own.iter().find(|word| duty.companies.contains(word))) {
            Some(Some(word)) => {
                let message = format!("{id} shuts out companies of this kind: {word}");
                let remedy = "get the licensor's agreement and state it as a [[grant]], or take another base";
                judge.at(member, F::BusinessExcluded, at, message, remedy);
                judge.asks_about(word);
            }
            Some(None) => {}
            None => {
                let message = format!("{id} shuts out kinds of company ({shut_out}), and the vendor's is not stated");
                judge.at(member, F::BusinessNotStated, at, message, "state `vendor.business`");
                judge.asks_about(&shut_out);
            }
        }
    }
}

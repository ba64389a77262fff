//! What must travel with the derivative, and the questions that bear on this use.

use crate::license::declared::{Ship, Use};
use crate::license::facts::policy::{DoneBy, Policies};
use crate::license::facts::record::{CommercialUse, Duty, Hosting, Open, Question, QuestionUse, Record, Role, When};
use crate::license::finding::FindingCode as F;
use crate::license::rules::chain::Chain;
use crate::license::rules::judge::{At, Judge};
use crate::license::rules::member::Member;
use serde::{Deserialize, Serialize};

/// One duty of one licence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Obligation {
    /// A kind of the vocabulary.
    pub term: String,
    /// The licence that asks for it.
    pub license: String,
    /// Where.
    pub clause: String,
    /// Who meets it.
    pub done_by: DoneBy,
    /// Set words, to be used exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// How it is met.
    pub how: String,
    /// The file of the bundle that meets it, where `pack` does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met_by: Option<String>,
    /// Why it cannot be met now: `pack` refuses while this stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmet: Option<String>,
}

impl Obligation {
    /// A duty of a record, in the vocabulary's words.
    pub fn of(policies: &Policies, record: &Record, duty: &Duty, unmet: Option<String>) -> Self {
        let word = policies.duty(&duty.kind);
        Self {
            term: duty.kind.clone(),
            license: record.id.clone(),
            clause: duty.clause.clone(),
            done_by: word.done_by,
            words: duty.words.clone(),
            how: word.satisfy.clone(),
            met_by: None,
            unmet,
        }
    }
}

/// The duties of one member under this use; `crossed`: a line of users or revenue is. What a grant answers is none.
pub fn of(judge: &mut Judge<'_>, member: &Member<'_>, chain: &Chain<'_>, crossed: bool) -> Vec<Obligation> {
    let due = member.record.obligations.iter().filter(|d| applies(d, member, judge.declared, crossed));
    let due: Vec<&Duty> = due.collect();
    let rest = due.into_iter().filter(|duty| !judge.is_granted(member, &duty.kind, &duty.clause));
    let rest: Vec<&Duty> = rest.collect();
    let obligation = |duty| Obligation::of(judge.policies, member.record, duty, unmet(duty, member, chain));
    rest.into_iter().map(obligation).collect()
}

fn applies(duty: &Duty, member: &Member<'_>, declared: &Use, crossed: bool) -> bool {
    let handing_over = declared.ship != Ship::Nothing;
    let paid = member.record.commercial_use.iter().any(|c| !matches!(c, CommercialUse::Yes | CommercialUse::Threshold));
    match (duty.kind.as_str(), duty.when) {
        ("register", _) if !declared.commercial => false,
        ("request-licence", None | Some(When::Always)) => declared.commercial && paid,
        (_, Some(When::HandingOver)) => handing_over,
        (_, Some(When::Merged)) => declared.ship == Ship::Merged,
        (_, Some(When::Hosting)) => declared.hosted() != Some(false),
        (_, Some(When::AboveLimit)) => crossed,
        (_, Some(When::OutputsTrainAModel)) => declared.trains_models_on_outputs != Some(false),
        // `pack` writes a NOTICE of its own
        (_, Some(When::OwnNoticesAdded)) => handing_over,
        (_, Some(When::Always)) => true,
        // what rides along with copies: hosting gives none, unless the licence says that it does
        (kind, None) if !handing_over && RIDES_ALONG.contains(&kind) => {
            member.record.hosting_is_distribution != Hosting::No
        }
        (_, None) => true,
    }
}

const RIDES_ALONG: [&str; 9] = [
    "ship-licence-text",
    "ship-use-policy",
    "notice-file",
    "retain-notices",
    "state-changes",
    "attribute-source",
    "same-licence",
    "offer-source",
    "keep-documentation",
];

fn unmet(duty: &Duty, member: &Member<'_>, chain: &Chain<'_>) -> Option<String> {
    let id = &member.record.id;
    match duty.kind.as_str() {
        "ship-licence-text" if member.text.is_none() => Some(format!("the text of {id} is not at hand")),
        "ship-use-policy" if !has_policy(member, chain) => Some(format!("the use policy of {id} is not at hand")),
        _ => None,
    }
}

/// A policy at hand, or one that is part of the licence's own text.
fn has_policy(member: &Member<'_>, chain: &Chain<'_>) -> bool {
    let apart = member.record.texts.iter().any(|t| t.role == Role::UsePolicy);
    !apart || chain.use_policies.iter().any(|(ids, _)| ids.contains(&member.record.id))
}

/// A finding for each licence that lays duties on this use, and for each that cannot be met.
pub fn report(judge: &mut Judge<'_>, member: &Member<'_>, duties: &[Obligation]) {
    if duties.is_empty() {
        return;
    }
    let terms: Vec<&str> = duties.iter().map(|d| d.term.as_str()).collect();
    let clauses: Vec<&str> = duties.iter().map(|d| d.clause.as_str()).collect();
    let at = At { term: "obligations", clause: &clauses.join("; ") };
    judge.at(
        member,
        F::DutiesApply,
        at,
        format!("{} asks for: {}", member.record.id, terms.join(", ")),
        "see the obligations: each says who meets it",
    );
    for duty in duties {
        if let Some(reason) = &duty.unmet {
            let at = At { term: &duty.term, clause: &duty.clause };
            judge.at(member, F::TextNotAtHand, at, reason.clone(), "put a copy into the base's folder");
        }
    }
}

/// The questions of the record that bear on this use.
pub fn questions(judge: &mut Judge<'_>, member: &Member<'_>, duties: &[Obligation], multimodal: bool) {
    for question in &member.record.questions {
        let bears = question.bears_on.iter().find(|word| bears(word, member, judge.declared, duties, multimodal));
        let Some(term) = bears.filter(|_| concerns(question, judge.declared)) else { continue };
        let code = if question.open == Open::Review { F::OpenQuestion } else { F::NotedQuestion };
        let duty = duties.iter().find(|d| d.term == *term).map(|d| d.clause.as_str());
        let clause = question.clause.as_deref().or(duty);
        let at = At { term, clause: clause.unwrap_or_else(|| member.record.clause(term)) };
        let remedy =
            if question.open == Open::Review { "have it judged, and rule on it" } else { "nothing: good to know" };
        judge.at(member, code, at, question.text.clone(), remedy);
        judge.asks_about(&in_a_sentence(&question.text));
    }
}

/// A sentence as a part of another: without its full stop, and without its capital where it begins with a plain word.
fn in_a_sentence(text: &str) -> String {
    let text = text.trim_end_matches('.');
    match text.strip_prefix('W') {
        Some(rest) => format!("w{rest}"),
        None => text.to_owned(),
    }
}

fn concerns(question: &Question, declared: &Use) -> bool {
    let ship = declared.ship;
    question.uses.iter().any(|asked| match asked {
        QuestionUse::Any => true,
        QuestionUse::Adapter => ship == Ship::Adapter,
        QuestionUse::Merged => ship == Ship::Merged,
        QuestionUse::Hosted => declared.hosted() != Some(false),
    })
}

/// Does a question about this fact or duty matter to this use?
fn bears(word: &str, member: &Member<'_>, declared: &Use, duties: &[Obligation], multimodal: bool) -> bool {
    use crate::license::facts::record::Scope;
    let record = member.record;
    let closed = record.commercial_use.iter().any(|c| matches!(c, CommercialUse::No | CommercialUse::ResearchOnly));
    match word {
        // where commerce is forbidden, what counts as none matters only to those who claim none
        "commercial-use" => !(closed && declared.commercial),
        "field-of-use" => declared.fields.as_ref().is_none_or(|f| f.iter().any(|f| record.field_of_use.contains(f))),
        "territory" | "limit-territory" => record.territories.iter().any(|t| t.scope == Scope::All || multimodal),
        "output-training" | "no-output-training" => declared.trains_models_on_outputs != Some(false),
        "derivative-own-terms" => declared.has_other_terms_than(&record.id),
        // a bundle's entitlement is a limit whatever the terms
        "no-further-limits" => declared.ship != Ship::Nothing,
        "derivative-distribution" => declared.ship != Ship::Nothing,
        "hosting-is-distribution" => declared.hosted() != Some(false),
        "limit" => !record.limits.is_empty(),
        "request-licence" => duties.iter().any(|d| d.term == word) && !(closed && declared.commercial),
        kind if record.obligations.iter().any(|d| d.kind == kind) => duties.iter().any(|d| d.term == kind),
        _ => true,
    }
}

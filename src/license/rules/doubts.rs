//! What the pieces of evidence say against each other, and what they say of terms besides the licence's own: parents,
//! relation, tokenizer, the card's prose, what the hub asks for, data sets.

use crate::license::evidence::piece::{ADAPTER_CONFIG, CARD, Evidence, Topic};
use crate::license::evidence::subject::Subject;
use crate::license::facts::lineage::Lineage;
use crate::license::facts::policy::Policies;
use crate::license::facts::record::{CommercialUse, DerivativeDistribution, OutputTraining, OwnTerms, Record};
use crate::license::facts::signs::{Condition, DataSet};
use crate::license::finding::FindingCode as F;
use crate::license::rules::chain::{BASE, Chain};
use crate::license::rules::judge::Judge;
use crate::license::rules::member::{How, Listed};

/// The hub's words for how a model was made from another.
const RELATIONS: [&str; 4] = ["finetune", "adapter", "merge", "quantized"];

/// Findings on the evidence go to `judge`; gives what was found in the card's prose, as evidence.
pub fn judge(subject: &Subject, chain: &Chain<'_>, judge: &mut Judge<'_>) -> Vec<Evidence> {
    if !subject.has_config {
        judge.evidence(
            F::ConfigMissing,
            BASE,
            "no config.json and no GGUF: nothing but words says what the base is".into(),
            "put the base's config.json into its folder, or rule on it",
        );
    }
    dimensions(subject, judge);
    parents(subject, judge);
    relation(subject, judge);
    relicensed(subject, chain, judge);
    norms(subject, chain, judge);
    tokenizer(subject, chain, judge);
    acceptance(subject, judge);
    data_sets(subject, judge);
    conditions(subject, chain, judge)
}

/// Weights that the config is not of: the two were put together, or one of them is broken.
fn dimensions(subject: &Subject, judge: &mut Judge<'_>) {
    let against: Vec<&Evidence> = subject.on(Topic::Tensors).collect();
    let Some(first) = against.first() else { return };
    let told = |e: &&Evidence| format!("{} ({})", e.says, e.at.as_deref().unwrap_or(&e.file));
    judge.evidence(
        F::DimensionsDiffer,
        &first.file,
        format!("the tensors are not those of the config: {}", against.iter().map(told).collect::<Vec<_>>().join("; ")),
        "get weights and config of one model from its maker, or rule on whose weights these are",
    );
}

/// Does another file name a parent that is not of the card's family?
fn parents(subject: &Subject, judge: &mut Judge<'_>) {
    let (card, others): (Vec<&Evidence>, Vec<&Evidence>) = subject.on(Topic::Parent).partition(|e| e.file == CARD);
    let lineage = judge.policies.lineage();
    let known = |e: &&Evidence| lineage.find(&e.says).is_some();
    let others = others.into_iter().chain(subject.on(Topic::Name).filter(known));
    let named = card.iter().map(|e| e.says.as_str()).collect::<Vec<_>>();
    let strange: Vec<&Evidence> =
        others.filter(|e| !named.is_empty() && !named.iter().any(|card| related(&e.says, card, lineage))).collect();
    for evidence in strange {
        let place = evidence.at.as_ref().map_or(String::new(), |at| format!(" ({at})"));
        judge.evidence(
            F::ParentsDiffer,
            &evidence.file,
            format!(
                "the card says that the base was made from {}, {}{place} says {}",
                named.join(", "),
                evidence.file,
                evidence.says
            ),
            "find out what it was made from, and name all of it as `base_model` in the card, or rule on it",
        );
    }
}

/// The same model, or one of them among the other's ancestors.
fn related(one: &str, other: &str, lineage: &Lineage) -> bool {
    let bare = |name: &str| name.rsplit('/').next().unwrap_or(name).to_lowercase();
    let line = |of: &str, is: &str| {
        let wanted = lineage.find(is);
        wanted.is_some_and(|w| lineage.with_ancestors(of).iter().any(|(_, m)| std::ptr::eq(*m, w)))
    };
    bare(one) == bare(other) || line(one, other) || line(other, one)
}

/// Does what the card says of how the base was made fit what is there?
fn relation(subject: &Subject, judge: &mut Judge<'_>) {
    let said: Vec<&Evidence> = subject.on(Topic::Relation).filter(|e| e.file == CARD).collect();
    let merged = subject.on(Topic::Relation).any(|e| e.file != CARD);
    let is_adapter = subject.on(Topic::Parent).any(|e| e.file == ADAPTER_CONFIG);
    let parents = subject.on(Topic::Parent).filter(|e| e.file == CARD).count();
    for relation in said {
        let against = match relation.says.as_str() {
            word if !RELATIONS.contains(&word) => "no word for one that is known",
            _ if parents == 0 => "and names no `base_model`",
            "adapter" if !is_adapter && subject.shape.is_some() => "but the config is a whole network's",
            "finetune" | "merge" | "quantized" if is_adapter => "but the folder holds an adapter",
            "merge" if parents == 1 && !merged => "and names one model alone",
            "finetune" | "quantized" if merged => "but mergekit's configuration lies beside it",
            _ => continue,
        };
        judge.evidence(
            F::RelationDiffers,
            CARD,
            format!("the card says that the base is related to its parent by `{}`, {against}", relation.says),
            "find out how the base was made, and correct its card, or rule on it",
        );
    }
}

/// A licence of its own where the parent's stays: the same weights, or a parent that demands its own terms.
fn relicensed(subject: &Subject, chain: &Chain<'_>, judge: &mut Judge<'_>) {
    let own: Vec<&Record> = chain.own().map(|m| m.record).collect();
    let same_weights = subject.on(Topic::Relation).any(|e| e.says == "quantized");
    for parent in subject.parents() {
        let Some(model) = judge.policies.lineage().find(parent) else { continue };
        let Some(record) = judge.policies.record(&model.license) else { continue };
        let keeps = matches!(record.derivative_own_terms, OwnTerms::SameLicence | OwnTerms::Forbidden)
            || record.derivative_distribution == DerivativeDistribution::SameLicence;
        if own.is_empty() || own.iter().any(|o| o.id == record.id) || !(same_weights || keeps) {
            continue;
        }
        let found = own.iter().map(|r| r.id.as_str()).collect::<Vec<_>>().join(", ");
        let why = if same_weights { "the base is its weights, quantized" } else { "which derivatives must stay under" };
        judge.about(
            record,
            F::Relicensed,
            parent,
            format!("{parent} stands under {}, {why}; the base calls itself {found}", record.id),
            "take the parent's licence as the base's own, or rule on why its maker could choose another",
        );
        judge.known_from(model.basis());
    }
}

/// A known model's norms without its licence: whose child the weights are, whatever layers and vocabulary they have.
fn norms(subject: &Subject, chain: &Chain<'_>, judge: &mut Judge<'_>) {
    let lineage = judge.policies.lineage();
    for (model, kept, alike) in subject.norms.iter().flat_map(|norms| lineage.of_norms(norms)) {
        let listed = |l: &Listed| l.how != How::Data && l.id.as_ref() == Some(&model.license);
        if chain.listed.iter().any(listed) {
            continue;
        }
        judge.evidence(
            F::WeightsResemble,
            BASE,
            format!(
                "{alike} of {} norms of {} stand in the weights; it is under {}, which was not found",
                kept.prints.len(),
                model.ids[0],
                model.license
            ),
            "find out what the base was made from and name it as `base_model` in the card, or rule on it",
        );
        judge.asks_about(&model.ids[0]);
        judge.known_from(model.basis());
    }
}

/// A family's tokenizer without a licence of that family.
fn tokenizer(subject: &Subject, chain: &Chain<'_>, judge: &mut Judge<'_>) {
    let rules = subject.on(Topic::Tokenizer).find(|e| e.at.as_deref() == Some("tokenizer.ggml.pre"));
    let Some(family) = judge.policies.signs().tokenizer(&subject.tokens, rules.map_or("", |e| &e.says)) else { return };
    let listed = |id: &String| chain.listed.iter().any(|l| l.id.as_ref() == Some(id) && l.how != How::Data);
    // a model whose dimensions and licence are known may have taken the tokenizer alone
    let known = subject.shape.as_ref().map_or_else(Vec::new, |shape| judge.policies.lineage().of_shape(shape));
    if family.licenses.iter().any(listed) || known.iter().any(|model| model.is_certain() && listed(&model.license)) {
        return;
    }
    judge.evidence(
        F::TokenizerResembles,
        BASE,
        format!("the tokenizer is {}'s, and none of that family's licences was found", family.family),
        "find out what the base was made from and name it as `base_model` in the card, or rule on it",
    );
    judge.asks_about(&family.family);
    judge.known_from(family.basis());
}

/// What the hub asks to accept: terms that no licence file holds.
fn acceptance(subject: &Subject, judge: &mut Judge<'_>) {
    let asked: Vec<&Evidence> = subject.on(Topic::Acceptance).collect();
    let told = asked.iter().find(|e| e.at.as_deref() == Some("extra_gated_prompt")).or(asked.first());
    if let Some(told) = told {
        let keys: Vec<&str> = asked.iter().filter_map(|e| e.at.as_deref()).collect();
        judge.evidence(
            F::AcceptanceAsked,
            CARD,
            format!(
                "the hub asks for acceptance before it hands the base out ({}): \"{}\"",
                keys.join(", "),
                told.says
            ),
            "read what is asked, accept it by somebody who may, and rule on it with who and when",
        );
    }
}

/// What the card says that the base learnt from.
fn data_sets(subject: &Subject, judge: &mut Judge<'_>) {
    let policies = judge.policies;
    let mut seen: Vec<&DataSet> = Vec::new();
    for named in subject.on(Topic::DataSet) {
        let Some(set) = policies.signs().data_set(&named.says).filter(|s| !seen.iter().any(|o| std::ptr::eq(*o, *s)))
        else {
            continue;
        };
        seen.push(set);
        let mut limits: Vec<String> = license_limit(set, judge).into_iter().collect();
        limits.extend(set.generated_by.iter().filter_map(|model| output_limit(model, policies)));
        if !limits.is_empty() {
            judge.evidence(
                F::DataSetLimited,
                &named.says,
                format!("the base learnt from {} ({}): {}", named.says, named.file, limits.join("; ")),
                "have it judged whether that binds the weights, and rule on it, or take another base",
            );
            judge.known_from(set.basis());
        }
    }
}

fn license_limit(set: &DataSet, judge: &Judge<'_>) -> Option<String> {
    let id = &set.license;
    let Some(record) = judge.policies.record(id) else {
        return Some(format!("it stands under {id}, of which there is no record"));
    };
    let forbids = record.commercial_use.iter().any(|c| matches!(c, CommercialUse::No | CommercialUse::ResearchOnly));
    if judge.declared.commercial && forbids {
        return Some(format!("it stands under {id}, which is not for commercial use"));
    }
    let other = record.is_share_alike() && judge.declared.has_other_terms_than(id);
    other.then(|| format!("it stands under {id}, a share-alike licence"))
}

fn output_limit(model: &str, policies: &Policies) -> Option<String> {
    let known = policies.lineage().find(model)?;
    let outputs = policies.record(&known.license).map_or(&[][..], |record| &record.output_training);
    let free = outputs.contains(&OutputTraining::Free);
    (!free).then(|| format!("{model} wrote it, and {} limits training on its outputs", known.license))
}

/// What the card's prose says of terms, where no licence that was found says it, too.
fn conditions(subject: &Subject, chain: &Chain<'_>, judge: &mut Judge<'_>) -> Vec<Evidence> {
    let Some((prose, first_line)) = &subject.prose else { return Vec::new() };
    let mut evidence = Vec::new();
    for found in judge.policies.signs().conditions(prose) {
        let at = format!("line {}", first_line + found.line);
        let says = found.condition.name().to_owned();
        evidence.push(Evidence { topic: Topic::Condition, says, file: CARD.into(), at: Some(at.clone()) });
        let free = found.condition == Condition::NonCommercial && !judge.declared.commercial;
        if free || chain.members.iter().any(|m| m.record.commercial_use.iter().any(|c| agrees(found.condition, *c))) {
            continue;
        }
        judge.evidence(
            F::CardRestricts,
            CARD,
            format!("the card's prose ({at}) says \"{}\", and no licence that was found does", found.phrase),
            "ask the licensor which one holds, or rule on what the sentence is about",
        );
        judge.asks_about(&found.phrase);
    }
    evidence
}

fn agrees(condition: Condition, commercial: CommercialUse) -> bool {
    match condition {
        Condition::NonCommercial | Condition::ResearchOnly => {
            matches!(commercial, CommercialUse::No | CommercialUse::ResearchOnly)
        }
        Condition::Registration => {
            matches!(commercial, CommercialUse::Registration | CommercialUse::Permission | CommercialUse::Threshold)
        }
    }
}

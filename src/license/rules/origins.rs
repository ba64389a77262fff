//! What goes in: the terms of each data file, met by a model that learns from it. Nobody has seen these texts, so
//! nothing here denies. Where law is open, whether a model is an adaptation of its data, a person decides.

use crate::license::declared::{DataOrigin, Origin};
use crate::license::facts::lineage::Model;
use crate::license::facts::record::{CommercialUse, DerivativeDistribution, Duty, OutputTraining, Record, Standing};
use crate::license::finding::FindingCode as F;
use crate::license::rules::chain::Chain;
use crate::license::rules::claims::named_by;
use crate::license::rules::judge::{Judge, begins_with_word};
use crate::license::rules::member::{How, Listed};
use crate::license::rules::obligations::Obligation;

/// Judges every origin; the duties that data lays on the derivative.
pub fn judge<'p>(judge: &mut Judge<'p>, chain: &mut Chain<'p>) -> Vec<Obligation> {
    let declared = judge.declared;
    let of = |data: &DataOrigin| match &data.origin {
        Origin::Own => Vec::new(),
        Origin::License(named) => licensed(judge, chain, data, named),
        Origin::GeneratedBy(model) => generated(judge, chain, &data.path, model),
    };
    declared.data.iter().flat_map(of).collect()
}

/// `basis`: how that licence is known, where the data was written by a model.
fn listed(id: Option<&str>, path: &str, basis: Option<String>) -> Listed {
    Listed { id: id.map(String::from), of: path.to_owned(), how: How::Data, score: None, basis, path: Vec::new() }
}

fn licensed<'p>(judge: &mut Judge<'p>, chain: &mut Chain<'p>, data: &DataOrigin, named: &str) -> Vec<Obligation> {
    let policies = judge.policies;
    let [record] = named_by(named, policies)[..] else {
        judge.evidence(
            F::DataLicenseUnknown,
            &data.path,
            format!("data under a licence that is not known: {named}"),
            "have its licence read, add a record to the policies, or rule on it",
        );
        chain.listed.push(listed(None, &data.path, None));
        return Vec::new();
    };
    chain.listed.push(listed(Some(&record.id), &data.path, None));
    not_read(judge, record, &data.path);
    commerce(judge, record, &data.path);
    adaptation(judge, chain, record, &data.path);
    credited(judge, chain, record, data)
}

/// A record that was not read whole clears no data.
fn not_read(judge: &mut Judge<'_>, record: &Record, path: &str) {
    if record.standing < Standing::Read {
        let id = &record.id;
        judge.about(
            record,
            F::RecordNotRead,
            path,
            format!("what is recorded of {id}, which {path} stands under, was not read from its whole text"),
            "read the whole terms and complete the record, or rule on it",
        );
    }
}

fn commerce(judge: &mut Judge<'_>, record: &Record, path: &str) {
    let has = |word: CommercialUse| record.commercial_use.contains(&word);
    if !judge.declared.commercial {
        return;
    }
    if has(CommercialUse::No) || has(CommercialUse::ResearchOnly) || has(CommercialUse::Permission) {
        judge.about(
            record,
            F::CommercialUseForbidden,
            path,
            format!("{path} stands under {}, which is not for commercial use", record.id),
            "train on other data, or have the owner's agreement and rule on it",
        );
        judge.review_last();
    } else if has(CommercialUse::Silent) {
        judge.about(
            record,
            F::CommercialUseSilent,
            path,
            format!("{} says nothing on commercial use", record.id),
            "have it read, and rule on it",
        );
    }
}

/// Terms that would reach the model if it is an adaptation, or if the data is a model's answers.
fn adaptation(judge: &mut Judge<'_>, chain: &Chain<'_>, record: &Record, path: &str) {
    let id = &record.id;
    // `same` is the base's
    let same = judge.declared.terms != "same" || chain.members.iter().any(|m| m.record.id == *id);
    if record.is_share_alike() && (judge.declared.has_other_terms_than(id) || !same) {
        judge.about(
            record,
            F::DataShareAlike,
            path,
            format!(
                "{path} stands under {id}, a share-alike licence; whether a model trained on it is an adaptation is \
                 unsettled"
            ),
            "train on other data, or have it judged and rule on it",
        );
    }
    if record.derivative_distribution == DerivativeDistribution::Forbidden {
        judge.about(
            record,
            F::DerivativeForbidden,
            path,
            format!(
                "{path} stands under {id}, which bars sharing adaptations; whether a model trained on it is one is \
                 unsettled"
            ),
            "train on other data, or have it judged and rule on it",
        );
        judge.review_last();
    }
    use OutputTraining as O;
    let binds = |word: &O| !matches!(word, O::Free | O::FreeWithName | O::Silent | O::PurposeBound);
    if record.output_training.iter().any(binds) {
        judge.about(
            record,
            F::GeneratedDataLimited,
            path,
            format!("{path} stands under {id}, which limits training on outputs; are these a model's answers?"),
            "name the model as `generated-by`, train on other data, or have it judged and rule on it",
        );
    }
}

/// Whose name must be given: it travels in `NOTICE`.
fn credited<'p>(
    judge: &mut Judge<'p>,
    chain: &mut Chain<'p>,
    record: &'p Record,
    data: &DataOrigin,
) -> Vec<Obligation> {
    let due: Vec<&Duty> = record.duties("attribute-source").collect();
    match &data.credit {
        Some(credit) if !chain.credits.iter().any(|(c, r)| c == credit && r.id == record.id) => {
            chain.credits.push((credit.clone(), record));
        }
        Some(_) => {}
        None if due.is_empty() => {}
        None => {
            judge.about(
                record,
                F::AttributionMissing,
                &data.path,
                format!("{} asks that the source of {} be named, and no credit is stated", record.id, data.path),
                "state it in the origin: `credit = \"title, author, address\"`",
            );
            judge.findings.last_mut().expect("just pushed").clause = Some(due[0].clause.clone());
        }
    }
    let unmet = data.credit.is_none().then(|| format!("nothing says whom to credit for {}", data.path));
    due.into_iter().map(|duty| Obligation::of(judge.policies, record, duty, unmet.clone())).collect()
}

/// What a model wrote: its terms on outputs, and those of what it was made from.
fn generated(judge: &mut Judge<'_>, chain: &mut Chain<'_>, path: &str, model: &str) -> Vec<Obligation> {
    let line = judge.policies.lineage().with_ancestors(model);
    let unsure = line.iter().find(|(_, known)| !known.is_certain());
    let message = match unsure {
        Some((name, known)) => {
            format!("data written by {model}; {name} is said to stand under {}, {}", known.license, known.doubt())
        }
        None => format!("data written by {model}, whose terms are not known here"),
    };
    if line.is_empty() || unsure.is_some() {
        judge.evidence(
            F::GeneratorUnknown,
            path,
            message,
            "read that model's terms on outputs; add it to policies/lineage.toml, or rule on it",
        );
        if let Some((_, known)) = unsure {
            judge.known_from(known.basis());
        }
    }
    let mut duties = Vec::new();
    for (name, known) in line {
        chain.listed.push(listed(Some(&known.license), path, Some(known.basis())));
        if let Some(record) = judge.policies.record(&known.license) {
            let same = chain.members.iter().any(|m| m.record.id == record.id);
            not_read(judge, record, path);
            outputs(judge, record, path, (name, known), same);
            duties.extend(names(judge, record, path, name));
        }
    }
    duties
}

/// `same`: the base stands under that model's licence, too.
fn outputs(judge: &mut Judge<'_>, record: &Record, path: &str, (model, known): (&str, &Model), same: bool) {
    let own_family = record.output_training == [OutputTraining::SameFamilyOnly] && same;
    if record.limits_outputs() && !own_family {
        judge.about(
            record,
            F::GeneratedDataLimited,
            path,
            format!("{path} was written by {model}; {} limits training on its outputs", record.id),
            "train on other data, or have the limit judged and rule on it",
        );
        judge.known_from(known.basis());
    }
}

/// The name and the mark that a model trained on outputs must bear.
fn names(judge: &mut Judge<'_>, record: &Record, path: &str, model: &str) -> Vec<Obligation> {
    if !record.output_training.contains(&OutputTraining::FreeWithName) {
        return Vec::new();
    }
    for duty in record.duties("name-prefix") {
        let words = duty.words.as_deref().unwrap_or("");
        if !begins_with_word(&judge.declared.title, words) {
            let title = &judge.declared.title;
            judge.about(
                record,
                F::NamePrefixMissing,
                path,
                format!("{path} was written by {model}, so the title must begin with {words}: {title}"),
                "change `product.title`, or train on other data",
            );
            judge.asks_about(words);
            judge.review_last();
            judge.findings.last_mut().expect("just pushed").clause = Some(duty.clause.clone());
        }
    }
    let bears = |duty: &&Duty| matches!(duty.kind.as_str(), "name-prefix" | "display-mark") && duty.when.is_none();
    record.obligations.iter().filter(bears).map(|d| Obligation::of(judge.policies, record, d, None)).collect()
}

//! Models that the base was made from, and theirs: each binds with its licence.

use crate::license::evidence::subject::Subject;
use crate::license::facts::lineage::Model;
use crate::license::finding::FindingCode as F;
use crate::license::rules::chain::{BASE, Chain};
use crate::license::rules::judge::Judge;
use crate::license::rules::member::{How, Listed};
use jiff::civil::Date;

/// A base that names more parents than this is not followed further.
const MAX_PARENTS: usize = 64;

/// Follows every name that a base gives; findings on them go to `judge`.
pub fn read<'p>(chain: &mut Chain<'p>, subject: &Subject, judge: &mut Judge<'p>) {
    let (parents, names) = (subject.parents(), subject.names());
    if parents.len() > MAX_PARENTS {
        let many = parents.len();
        let message = format!("the base names {many} parents, of which {MAX_PARENTS} are judged");
        judge.evidence(F::ParentUnknown, BASE, message, "have the others judged, and rule on it");
        judge.asks_about("the other parents");
    }
    let named = parents.iter().map(|p| (*p, true));
    let also = names.iter().filter(|name| !parents.contains(name)).map(|p| (*p, false));
    for (parent, certain) in named.chain(also).take(MAX_PARENTS) {
        follow(chain, parent, certain, subject, judge);
    }
}

/// One name and what it was made from. `certain`: the base names it as its parent; a name in its config may be its own.
fn follow<'p>(chain: &mut Chain<'p>, parent: &str, certain: bool, subject: &Subject, judge: &mut Judge<'p>) {
    let lineage = judge.policies.lineage();
    let line = lineage.paths(parent);
    // a service's weights are nobody's base: the name only begins like one
    if !certain && line.first().is_some_and(|(_, model)| !model.begins.is_empty()) {
        return;
    }
    if line.is_empty() && certain {
        judge.evidence(
            F::ParentUnknown,
            parent,
            format!("the base was made from {parent}, whose licence is not known here"),
            "read its licence; add it to policies/lineage.toml, or rule on it",
        );
        judge.asks_about(parent);
    }
    let own = lineage.find(&subject.name).filter(|_| !subject.names().contains(&subject.name.as_str()));
    if line.iter().skip(1).any(|(_, model)| own.is_some_and(|own| std::ptr::eq(own, *model))) {
        judge.evidence(
            F::ParentCycle,
            parent,
            format!("{} was made from {parent}, which was made from {0}", subject.name),
            "find out which of them is wrong; correct the card or the lineage, or rule on it",
        );
    }
    for (at, (path, model)) in line.into_iter().enumerate() {
        let path: Vec<String> = path.into_iter().map(String::from).collect();
        add(chain, &path, model, certain, judge);
        // the base's own name: the product file says when it was had
        let obtained = judge.declared.obtained.filter(|_| !certain && at == 0);
        add_earlier(chain, &path, model, obtained, judge);
    }
}

/// `path`: from the base to it. `certain`: the base names the first of them as its parent.
fn add<'p>(chain: &mut Chain<'p>, path: &[String], model: &Model, certain: bool, judge: &mut Judge<'p>) {
    let (id, parent) = (model.license.as_str(), &path[path.len() - 1]);
    chain.listed.push(listed(id, path, model));
    let bound = chain.members.iter_mut().find(|m| m.record.id == id);
    if !model.is_certain() && bound.as_ref().is_none_or(|m| m.how != How::Text) {
        judge.evidence(
            F::ParentUnknown,
            parent,
            format!("{parent}, which the base was made from, is said to stand under {id}, {}", model.doubt()),
            "read its card and its licence; complete policies/lineage.toml, or rule on it",
        );
        judge.asks_about(parent);
        judge.known_from(model.basis());
    }
    let certain = certain && model.is_certain();
    // the same licence binds once; the strongest evidence is already there
    match bound {
        Some(member) if member.how == How::Lineage => member.certain |= certain,
        Some(_) => {}
        None => chain.add_from(id, path, certain, judge.policies),
    }
}

/// The licence that a model stood under before, unless the copy was had later; of a parent nobody knows when.
fn add_earlier<'p>(
    chain: &mut Chain<'p>,
    path: &[String],
    model: &Model,
    obtained: Option<Date>,
    judge: &mut Judge<'p>,
) {
    let of = &path[path.len() - 1];
    let Some(record) = model.earlier.as_deref().and_then(|id| judge.policies.record(id)) else { return };
    let Some(replaced) = &record.replaced else { return };
    if obtained.is_some_and(|day| day >= replaced.on) || chain.members.iter().any(|m| m.record.id == record.id) {
        return;
    }
    let when = obtained.map_or("when the copy was had is not known".to_owned(), |day| format!("had on {day}"));
    judge.about(
        record,
        F::TextReplaced,
        of,
        format!("{of} stood under {} until {} came on {}; {when}", record.id, replaced.by, replaced.on),
        "both bind; state `[base] obtained` where it is the base's own name",
    );
    judge.asks_about(&replaced.on.to_string());
    judge.known_from(replaced.source.clone());
    chain.listed.push(listed(&record.id, path, model));
    chain.add_from(&record.id, path, false, judge.policies);
}

fn listed(id: &str, path: &[String], model: &Model) -> Listed {
    Listed {
        id: Some(id.to_owned()),
        of: path[path.len() - 1].clone(),
        how: How::Lineage,
        score: None,
        basis: Some(model.basis()),
        path: path.to_vec(),
    }
}

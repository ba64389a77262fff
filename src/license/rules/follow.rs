//! Follows the evidence of a base to everything that binds by it: texts first, then claims, then parents, then what the
//! derivative begins from. Each member is judged alone later; what speaks against the evidence itself is a finding here.

use crate::license::evidence::subject::{Adapter, Subject, TextFile};
use crate::license::facts::lineage::Model;
use crate::license::finding::FindingCode as F;
use crate::license::rules::chain::{BASE, Chain};
use crate::license::rules::claims;
use crate::license::rules::judge::Judge;
use crate::license::rules::member::How;
use crate::license::rules::parents;
use crate::license::rules::texts;

/// A finding names no more models of one shape than this.
const MAX_ALIKE: usize = 4;

/// Follows the evidence; findings on it go to `judge`.
pub fn follow<'p>(subject: &Subject, judge: &mut Judge<'p>) -> Chain<'p> {
    let mut chain = Chain::default();
    subject.texts.iter().for_each(|file| texts::read(&mut chain, file, subject, judge));
    claims::compare(&mut chain, 0, "", subject, judge);
    if subject.texts.is_empty() && subject.claims().is_empty() {
        judge.evidence(
            F::NoLicense,
            BASE,
            "nothing in the base's folder names its licence".into(),
            "put the licence's text into the folder, or name one with `[base] license-text`",
        );
    }
    parents::read(&mut chain, subject, judge);
    subject.adapters.iter().for_each(|adapter| read_adapter(&mut chain, adapter, subject, judge));
    compare_shape(&chain, subject, judge);
    count(&chain, judge);
    chain
}

/// Several licences bind together.
fn count(chain: &Chain<'_>, judge: &mut Judge<'_>) {
    let mut ids: Vec<&str> = chain.members.iter().map(|m| m.record.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() > 1 {
        judge.evidence(
            F::SeveralLicenses,
            BASE,
            format!("these bind together: {}", ids.join(", ")),
            "the strictest of their terms holds",
        );
    }
}

/// An adapter that was made elsewhere is a parent with a licence of its own.
fn read_adapter<'p>(chain: &mut Chain<'p>, adapter: &Adapter, base: &Subject, judge: &mut Judge<'p>) {
    let (members, listed) = (chain.members.len(), chain.listed.len());
    let name = &adapter.name;
    if let Some(subject) = &adapter.subject {
        for file in &subject.texts {
            let file = TextFile { name: format!("{name}/{}", file.name), ..file.clone() };
            texts::read(chain, &file, subject, judge);
        }
        claims::compare(chain, members, &format!("{name}/"), subject, judge);
        parents::read(chain, &subject.without_parents(|parent| base.is_called(parent)), judge);
    }
    let nothing_found = chain.listed.len() == listed;
    let told = if adapter.subject.is_some() { "nothing in its folder names a licence" } else { "it is not at hand" };
    if adapter.own {
        let message = format!("the vendor's word: {name} is its own work");
        judge.evidence(F::OwnWorkStated, name, message, "keep the record of the training that made it");
    } else if nothing_found {
        judge.evidence(
            F::NoLicense,
            name,
            format!("the derivative comes from {name}, and {told}"),
            "put its licence beside it; or state that it is your own work: `own = true` in [derivative], `init-own = \
             true` in [train]",
        );
    }
    chain.members[members..].iter_mut().for_each(|member| member.path.insert(0, name.clone()));
    chain.listed[listed..].iter_mut().for_each(|listed| listed.path.insert(0, name.clone()));
}

/// Dimensions of a known model whose licence is not among those found.
fn compare_shape(chain: &Chain<'_>, subject: &Subject, judge: &mut Judge<'_>) {
    let Some(shape) = &subject.shape else { return };
    let alike = judge.policies.lineage().of_shape(shape);
    let found =
        |model: &Model| chain.listed.iter().any(|l| l.id.as_ref() == Some(&model.license) && l.how != How::Data);
    // an entry that nobody looked up clears no base of being another's child
    let (own, alike): (Vec<&Model>, Vec<&Model>) = alike.into_iter().partition(|model| found(model));
    if alike.is_empty() || own.iter().any(|model| model.is_certain()) {
        return;
    }
    let shown = &alike[..alike.len().min(MAX_ALIKE)];
    let models: Vec<String> = shown.iter().map(|m| format!("{} ({})", m.ids[0], m.license)).collect();
    let mut ids: Vec<&str> = chain.listed.iter().filter_map(|l| l.id.as_deref()).collect();
    ids.dedup();
    let found = if ids.is_empty() { "no licence was found".into() } else { format!("found: {}", ids.join(", ")) };
    judge.evidence(
        F::ShapeResembles,
        BASE,
        format!("the base has the dimensions of {}; {found}", models.join(", ")),
        "find out what it was made from and name it as `base_model` in the card, or rule on it",
    );
    judge.asks_about(&shown.iter().map(|m| m.ids[0].as_str()).collect::<Vec<_>>().join(" or "));
    let mut sources: Vec<String> = shown.iter().map(|m| m.basis()).collect();
    sources.dedup();
    judge.known_from(sources.join("; "));
}

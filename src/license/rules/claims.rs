//! Licences that are named without their texts: by the card, its link, a licence file's header, or weights. They come
//! last: a claim agrees with the texts, or it is a finding.

use crate::license::evidence::piece::{CARD, Topic};
use crate::license::evidence::subject::{Claim, Subject};
use crate::license::facts::lineage::Model;
use crate::license::facts::links::{self, Target};
use crate::license::facts::policy::Policies;
use crate::license::facts::record::Record;
use crate::license::finding::FindingCode as F;
use crate::license::rules::chain::{Chain, listed_text};
use crate::license::rules::judge::Judge;
use crate::license::rules::member::How;
use crate::license::text::expression::{self, Named};
use std::ops::Range;

/// Compares the claims of a folder with its texts, which begin at member `from`. `of`: what stands before the names of
/// the folder's files.
pub fn compare<'p>(chain: &mut Chain<'p>, from: usize, of: &str, subject: &Subject, judge: &mut Judge<'p>) {
    let texts = from..chain.members.len();
    let headers = std::mem::take(&mut chain.headers);
    let mut named: Vec<&str> = Vec::new();
    let claims: Vec<Claim> = headers.into_iter().chain(subject.claims()).collect();
    for claim in &claims {
        let by = format!("{of}{}", claim.by);
        let Named::All(terms) = expression::read(&claim.license) else {
            judge.evidence(
                F::LicenseChoice,
                &by,
                format!("the {by} offers a choice: {}", claim.license),
                "pick one, put its text into the base's folder, and rule on the choice",
            );
            judge.asks_about(&claim.license);
            continue;
        };
        for term in terms {
            if let Some(exception) = &term.exception {
                judge.evidence(
                    F::ClaimUnknown,
                    &by,
                    format!(
                        "the {by} names {exception}, of which there is no record; {} is judged without it",
                        term.license
                    ),
                    "read what the exception permits, and rule on it",
                );
                judge.asks_about(exception);
            }
            named.extend(named_by(&term.license, judge.policies).iter().map(|r| r.id.as_str()));
            compare_one(chain, &term.license, &by, texts.clone(), subject, judge);
        }
    }
    follow_links(chain, &named, texts, of, subject, judge);
}

/// One name beside the texts: what it names binds, too.
fn compare_one<'p>(
    chain: &mut Chain<'p>,
    named: &str,
    by: &str,
    texts: Range<usize>,
    subject: &Subject,
    judge: &mut Judge<'p>,
) {
    let candidates = named_by(named, judge.policies);
    if candidates.iter().any(|c| chain.members[texts.clone()].iter().any(|m| m.record.id == c.id)) {
        return;
    }
    if !texts.is_empty() && !says_nothing(named) {
        let found: Vec<&str> = chain.members[texts.clone()].iter().map(|m| m.record.id.as_str()).collect();
        judge.evidence(
            F::CardAndTextDiffer,
            by,
            format!("the {by} says {named}, the text is {}", found.join(", ")),
            "ask the licensor which one holds; until then both bind",
        );
    }
    match candidates.as_slice() {
        [record] => add(chain, record, by, texts.is_empty(), subject, judge),
        _ if texts.is_empty() => {
            let message = match candidates.iter().map(|r| r.id.as_str()).collect::<Vec<_>>()[..] {
                [] => format!("the {by} names a licence that is not known: {named}"),
                ref several => format!("the {by} says {named}, which may be any of these: {}", several.join(", ")),
            };
            let remedy = "put the licence's text into the folder, or name one with `[base] license-text`";
            judge.evidence(F::ClaimUnknown, by, message, remedy);
            judge.asks_about(if says_nothing(named) { "the licence" } else { named });
            chain.list(None, by, How::Card, None);
        }
        _ => {}
    }
}

/// A licence that binds because it is named; `alone`: no text stands beside the name.
fn add<'p>(chain: &mut Chain<'p>, record: &'p Record, by: &str, alone: bool, subject: &Subject, judge: &mut Judge<'p>) {
    let text = listed_text(&record.id);
    if alone && !confirmed([record.id.as_str()], by, subject, judge) {
        judge.about(
            record,
            F::ClaimedWithoutText,
            by,
            format!("the {by} names {}, but its text is not in the base's folder", record.id),
            if text.is_some() {
                "the text of the SPDX list will travel; put the base's own copy beside the card, or rule on it"
            } else {
                "put the base's own copy into its folder, or name one with `[base] license-text`"
            },
        );
    }
    chain.list(Some(&record.id), by, How::Card, None);
    chain.add(&record.id, by, How::Card, text, judge.policies);
}

/// Where the card says that its licence is found. A link that leads to a known text names that licence; any other one
/// proves nothing.
fn follow_links<'p>(
    chain: &mut Chain<'p>,
    named: &[&str],
    texts: Range<usize>,
    of: &str,
    subject: &Subject,
    judge: &mut Judge<'p>,
) {
    let by = format!("{of}card's license_link");
    for link in subject.on(Topic::LicenseLink) {
        let (records, why) = match links::follow(&link.says, subject, judge.policies) {
            Target::OwnFile => continue,
            Target::Records { of, read } => (of, (!read).then_some("by general knowledge alone it is a known text's")),
            Target::Unknown(why) => (Vec::new(), Some(why)),
        };
        if let Some(why) = why {
            judge.evidence(
                F::LinkNotRead,
                CARD,
                format!("the card says that its licence is at {}: {why}, and it proves nothing", link.says),
                "read what stands there, and put a copy into the base's folder",
            );
            judge.asks_about(&link.says);
        }
        if records.is_empty() {
            continue;
        }
        let is_one_of = |id: &&str| records.iter().any(|r| r.id == *id);
        let found: Vec<&str> = chain.members[texts.clone()].iter().map(|m| m.record.id.as_str()).collect();
        if found.iter().chain(named).any(is_one_of) {
            continue;
        }
        let ids = records.iter().map(|r| r.id.as_str()).collect::<Vec<_>>().join(" or ");
        let (what, others) = if found.is_empty() { ("the card names", named) } else { ("the text is", &found[..]) };
        if !others.is_empty() {
            judge.evidence(
                F::CardAndTextDiffer,
                &by,
                format!("{what} {}, and the {by} leads to {ids}", others.join(", ")),
                "ask the licensor which one holds; until then both bind",
            );
        }
        if let [record] = records[..] {
            add(chain, record, &by, texts.is_empty(), subject, judge);
        }
    }
}

/// Does the lineage know the base by its name, with one of these licences and in these dimensions? Then it says so.
pub fn confirmed<'i>(
    ids: impl IntoIterator<Item = &'i str>,
    about: &str,
    subject: &Subject,
    judge: &mut Judge<'_>,
) -> bool {
    let lineage = judge.policies.lineage();
    let parents = subject.parents();
    let ids: Vec<&str> = ids.into_iter().collect();
    let fits = |name: &str| {
        let known = lineage.with_ancestors(name).into_iter().find_map(|(_, model)| model.shape);
        let norms = lineage.find(name).and_then(|model| model.norms.as_ref());
        known.zip(subject.shape).is_none_or(|(known, shape)| shape.resembles(&known))
            && norms.zip(subject.norms.as_ref()).is_none_or(|(known, norms)| norms.resembles(known).is_some())
    };
    let names = subject.names().into_iter().filter(|name| !parents.contains(name));
    let known = names.filter_map(|name| Some((name, lineage.find(name)?)));
    let confirming =
        |(name, model): &(&str, &Model)| model.is_certain() && ids.contains(&model.license.as_str()) && fits(name);
    let Some((name, model)) = known.into_iter().find(confirming) else { return false };
    judge.evidence(
        F::LineageConfirms,
        about,
        format!("{name} is known to stand under {}", model.license),
        "keep the source at hand",
    );
    judge.known_from(model.basis());
    true
}

/// A word of the hub's list that names no licence.
fn says_nothing(named: &str) -> bool {
    matches!(named, "other" | "unknown")
}

/// The records that a card or a data set may mean by this name: an id, a card tag, or a `license_name`.
pub fn named_by<'p>(named: &str, policies: &'p Policies) -> Vec<&'p Record> {
    let named = named.trim();
    let is = |id: &str| id.eq_ignore_ascii_case(named);
    if let Some(record) = policies.records().find(|r| is(&r.id) || r.id.strip_prefix("LicenseRef-").is_some_and(is)) {
        return vec![record];
    }
    if says_nothing(named) {
        return Vec::new();
    }
    policies.records().filter(|r| r.card_tags.iter().any(|tag| is(tag))).collect()
}

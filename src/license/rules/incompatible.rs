//! Duties that cannot all be met: each licence could be kept alone, together they ask for what cannot be done.

use crate::license::facts::record::{CommercialUse, DerivativeDistribution, FlowDown, OwnTerms, Record};
use crate::license::finding::FindingCode as F;
use crate::license::rules::chain::{BASE, Chain};
use crate::license::rules::judge::{Judge, begins_with_word};

/// A finding for each pair of licences, and each reason.
pub fn judge(judge: &mut Judge<'_>, chain: &Chain<'_>) {
    let mut records: Vec<&Record> = chain.members.iter().map(|m| m.record).collect();
    records.sort_unstable_by_key(|r| &r.id);
    records.dedup_by_key(|r| &r.id);
    let pairs =
        records.iter().enumerate().flat_map(|(at, one)| records[at + 1..].iter().map(move |other| (*one, *other)));
    for (one, other) in pairs {
        let both_ways = [further(one, other), further(other, one), changed(one, other), changed(other, one)];
        for reason in [kept(one, other), prefixes(one, other)].into_iter().chain(both_ways).flatten() {
            judge.evidence(
                F::IncompatibleDuties,
                BASE,
                reason,
                "have their compatibility judged, and rule on it; or take another base",
            );
        }
    }
}

/// Two that each keep the derivative for themselves.
fn kept(one: &Record, other: &Record) -> Option<String> {
    let keeps = |r: &Record| r.is_share_alike() || r.derivative_own_terms == OwnTerms::Forbidden;
    let (a, b) = (&one.id, &other.id);
    (keeps(one) && keeps(other)).then(|| format!("the derivative cannot stand under each of these: {a}, {b}"))
}

/// One that suffers no further limits, and limits of another that must reach whoever gets the derivative.
fn further(open: &Record, limits: &Record) -> Option<String> {
    let suffers_none = open.is_share_alike() && open.duties("no-further-limits").next().is_some();
    let closed =
        |c: &CommercialUse| matches!(c, CommercialUse::No | CommercialUse::ResearchOnly | CommercialUse::Permission);
    let what = if limits.commercial_use.iter().any(closed) && !open.commercial_use.iter().any(closed) {
        "bar commerce"
    } else if limits.use_flow_down == FlowDown::EnforceableTerms {
        "must be handed on as terms"
    } else if limits.use_flow_down == FlowDown::PolicyBindsLicensee && !limits.field_of_use.is_empty() {
        "bind by a use policy"
    } else {
        return None;
    };
    suffers_none.then(|| format!("{} suffers no further limits, and those of {} {what}", open.id, limits.id))
}

/// A changed model that may not be handed over, beside another licence that came in by a change.
fn changed(barred: &Record, other: &Record) -> Option<String> {
    let bars = barred.derivative_distribution == DerivativeDistribution::Forbidden;
    bars.then(|| format!("{} bars handing over what was changed, and {} came in beside it", barred.id, other.id))
}

/// Two names that no title begins with at once.
fn prefixes(one: &Record, other: &Record) -> Option<String> {
    let of = |r: &Record| -> Vec<String> { r.duties("name-prefix").filter_map(|d| d.words.clone()).collect() };
    let apart = |a: &String, b: &String| !begins_with_word(a, b) && !begins_with_word(b, a);
    let (ones, others) = (of(one), of(other));
    let pair = ones.iter().flat_map(|a| others.iter().map(move |b| (a, b))).find(|(a, b)| apart(a, b));
    pair.map(|(a, b)| format!("{} asks for a name that begins with {a}, {} for one with {b}", one.id, other.id))
}

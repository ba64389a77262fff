//! Statements of the product file that contradict each other, and grants that answer nothing: what rests on them does not
//! count.

use crate::license::declared::{Ship, Use};
use crate::license::finding::FindingCode as F;
use crate::license::rules::chain::BASE;
use crate::license::rules::judge::Judge;
use std::collections::BTreeSet;

/// A finding for each contradiction.
pub fn compare(judge: &mut Judge<'_>) {
    let declared = judge.declared;
    for (message, remedy) in [reach(declared), terms(declared), revenue(declared), shared_data(declared)].concat() {
        judge.evidence(F::StatementsContradict, BASE, message, remedy);
    }
}

/// Findings on grants that do not count, and on those that nothing asked for.
pub fn grants(judge: &mut Judge<'_>) {
    for (grant, against) in judge.grants.idle() {
        let what = format!("the grant {} ({} of {})", grant.reference, grant.kind, grant.license);
        let (code, message, remedy) = match against {
            Some(reason) => (
                F::GrantNotApplied,
                format!("{what} is not relied on: {reason}"),
                "correct the [[grant]], or get one that covers this use",
            ),
            None => (
                F::GrantUnused,
                format!("{what} answers nothing: no licence that binds asks for it in this use"),
                "nothing; or compare its `license` and `kind` with the findings",
            ),
        };
        match judge.policies.record(&grant.license) {
            Some(record) => judge.about(record, code, &grant.reference, message, remedy),
            None => judge.evidence(code, &grant.reference, message, remedy),
        }
    }
}

type Said = Vec<(String, &'static str)>;

fn reach(declared: &Use) -> Said {
    let unreached = declared.ship == Ship::Nothing && declared.hosting == Some(false);
    let message = "`ship` is `nothing` and `hosting` is false: nobody would reach the product";
    unreached.then(|| (message.to_owned(), "correct `[use] ship` or `[use] hosting`")).into_iter().collect()
}

/// Open terms let recipients hand on.
fn terms(declared: &Use) -> Said {
    let open = declared.terms != "closed" && declared.ship != Ship::Nothing;
    let message = format!("the terms are {} and customers may not hand it on", declared.terms);
    let wrong = open && declared.redistribution == Some(false);
    wrong.then_some((message, "correct `[use] terms` or `[use] redistribution`")).into_iter().collect()
}

fn revenue(declared: &Use) -> Said {
    let figures = || declared.annual_revenue.values();
    let wrong = figures().any(|f| *f == 0) && figures().any(|f| *f > 0);
    let message = "the revenue is 0 in one currency and more in another";
    wrong.then(|| (message.to_owned(), "correct `vendor.annual-revenue`")).into_iter().collect()
}

/// Data that only some customers' adapters may learn from, and customers who may hand on.
fn shared_data(declared: &Use) -> Said {
    let kept: BTreeSet<&str> = declared.data.iter().filter(|d| d.only_for.is_some()).map(|d| d.path.as_str()).collect();
    let said = |path: &&str| {
        let message = format!("{path} may reach some customers only, and customers may hand on what learned from it");
        (message, "set `[use] redistribution` to false, or let the data reach all")
    };
    if declared.redistribution == Some(true) { kept.iter().map(said).collect() } else { Vec::new() }
}

//! What licensors gave apart from their licences, as the vendor states it. A grant answers only the duty that it names,
//! for its grantee, within its scope and time. Nobody has checked the papers.

use crate::license::declared::{Covered, Grant, Ship, Use};
use crate::license::facts::record::{CommercialUse, Record};
use std::collections::BTreeSet;

/// The stated grants, and which of them were relied on.
pub struct Grants<'p> {
    /// Each with what speaks against it.
    stated: Vec<(&'p Grant, Option<String>)>,
    used: BTreeSet<usize>,
}

impl<'p> Grants<'p> {
    /// Which of them count for this use today.
    pub fn counting(declared: &'p Use, today: jiff::civil::Date) -> Self {
        let stated = declared.grants.iter().map(|grant| (grant, against(grant, declared, today)));
        Self { stated: stated.collect(), used: BTreeSet::new() }
    }

    /// The words of a grant that answers this duty of a licence.
    pub fn rely_on(&mut self, record: &Record, kind: &str) -> Option<String> {
        let answers = |(grant, against): &(&Grant, Option<String>)| {
            against.is_none() && grant.kind == kind && grant.license.eq_ignore_ascii_case(&record.id)
        };
        let at = self.stated.iter().position(answers).filter(|_| asks(record, kind))?;
        self.used.insert(at);
        Some(words(self.stated[at].0))
    }

    /// Those that nothing relied on, each with what speaks against it.
    pub fn idle(&self) -> Vec<(&'p Grant, Option<String>)> {
        let idle = self.stated.iter().enumerate().filter(|(at, _)| !self.used.contains(at));
        idle.map(|(_, stated)| stated.clone()).collect()
    }

    /// The next day on which one that was relied on ends.
    pub fn end(&self) -> Option<jiff::civil::Date> {
        self.used.iter().filter_map(|at| self.stated[*at].0.until).min()
    }
}

/// Can this licence ask for it?
fn asks(record: &Record, kind: &str) -> bool {
    record.duties(kind).next().is_some()
        || (kind == "request-licence" && !record.limits.is_empty())
        || (kind == "register" && record.commercial_use.contains(&CommercialUse::Registration))
}

/// Why it does not count.
fn against(grant: &Grant, declared: &Use, today: jiff::civil::Date) -> Option<String> {
    let shipped = match declared.ship {
        Ship::Adapter => Some((Covered::Adapter, "an adapter")),
        Ship::Merged => Some((Covered::Merged, "merged weights")),
        Ship::Nothing => None,
    };
    // what is not stated is not taken for covered
    let hosted = (declared.hosted() != Some(false)).then_some((Covered::Hosting, "hosting"));
    let lacking = shipped.into_iter().chain(hosted).find(|(use_, _)| !grant.scope.contains(use_));
    if !grant.grantee.trim().eq_ignore_ascii_case(declared.vendor.trim()) {
        Some(format!("it was given to {}, the vendor is {}", grant.grantee, declared.vendor))
    } else if grant.date > today {
        Some(format!("it is dated {}", grant.date))
    } else if let Some(until) = grant.until.filter(|until| *until < today) {
        Some(format!("it ended on {until}"))
    } else if let Some((_, what)) = lacking {
        Some(format!("its scope does not cover {what}"))
    } else if grant.document.is_some() && grant.document != grant.sha256 {
        Some("the file at hand is not the paper with the stated digest".into())
    } else {
        None
    }
}

fn words(grant: &Grant) -> String {
    let until = grant.until.map_or(String::new(), |until| format!(" until {until}"));
    let paper = match (grant.sha256, grant.document) {
        (Some(digest), Some(_)) => format!("the file at hand has the stated digest {digest}"),
        (Some(digest), None) => format!("its paper, {digest}, was not at hand"),
        (None, _) => "no digest of a paper is stated".into(),
    };
    format!(
        "the licensor of {} answered {} for {} on {}{until}, number {}; {paper}",
        grant.license, grant.kind, grant.grantee, grant.date, grant.reference
    )
}

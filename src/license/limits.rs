//! Lines that a licence draws: users, revenue, countries. Where two readings differ, a person decides.

use super::facts::{Binds, Counted, Effect, Limit, LimitKind, Op, Scope, Whose};
use super::finding::FindingCode as F;
use super::judge::{At, Judge};
use super::member::Member;

/// How a line stands.
enum Line {
    Kept,
    Crossed,
    /// Crossed under one reading of the clause.
    Open,
    /// The figure under this key was not stated.
    Missing(&'static str),
    /// No key of the product file answers it.
    Unasked,
}

/// Judges the lines of users and revenue; true: one is crossed.
pub fn lines(judge: &mut Judge<'_>, member: &Member<'_>) -> bool {
    let crossed = member.record.limits.iter().filter(|limit| line(judge, member, limit));
    crossed.count() > 0 // every line is judged, not only up to the first that is crossed
}

fn line(judge: &mut Judge<'_>, member: &Member<'_>, limit: &Limit) -> bool {
    let id = &member.record.id;
    let at = |term| At { term, clause: &limit.clause };
    let what = describe(limit);
    match state(judge, limit) {
        Line::Kept => judge.at(
            member,
            F::LimitKept,
            at("watch-limit"),
            format!("below the line of {id}: {what}"),
            "state the figures again at each release",
        ),
        Line::Missing(figure) => judge.at(
            member,
            F::LimitFigureMissing,
            at("limit"),
            format!("{id} draws a line ({what}) and the figure is not stated"),
            &format!("state `vendor.{figure}`"),
        ),
        Line::Unasked => judge.at(
            member,
            F::LimitFigureMissing,
            at("limit"),
            format!("{id} draws a line that the product file has no figure for: {what}"),
            "count it, and rule on it",
        ),
        Line::Open => match judge.agreement(id) {
            Some(reference) => judge.relied_on(member, "request-licence", &limit.clause, &reference),
            None => judge.at(
                member,
                F::LimitReadingOpen,
                at("limit"),
                format!("the line of {id} ({what}) is crossed under one reading of the clause"),
                "ask the licensor, or have the clause judged and rule on it",
            ),
        },
        Line::Crossed if limit.effect == Effect::DisplayMark => return true,
        Line::Crossed => {
            match judge.agreement(id) {
                Some(reference) => judge.relied_on(member, "request-licence", &limit.clause, &reference),
                None => judge.at(
                    member,
                    F::LimitCrossed,
                    at("limit"),
                    format!("above the line of {id}: {what}"),
                    "get the licensor's agreement and state it as a [[grant]], or take another base",
                ),
            }
            return true;
        }
    }
    false
}

fn state(judge: &Judge<'_>, limit: &Limit) -> Line {
    let declared = judge.declared;
    let crossed = |figure: u64| match limit.op {
        Op::Over => figure > limit.count,
        Op::AtLeast => figure >= limit.count,
    };
    let now = match limit.kind {
        LimitKind::MonthlyActiveUsers => (declared.users_now, "monthly-active-users.now"),
        LimitKind::AnnualRevenue if limit.currency.as_deref() == Some("USD") => {
            (declared.annual_revenue, "annual-revenue-usd")
        }
        LimitKind::AnnualRevenue | LimitKind::MonthlyRevenue | LimitKind::DailyActiveUsers => return Line::Unasked,
    };
    if limit.when == Counted::MonthBeforeRelease {
        return match (declared.users_at_release, now.0) {
            (None, _) => Line::Missing("monthly-active-users.at-release"),
            (Some(then), _) if crossed(then) => Line::Crossed,
            (_, None) => Line::Missing(now.1),
            // under then, over now: does growing past it later matter?
            (_, Some(today)) if crossed(today) => Line::Open,
            _ => Line::Kept,
        };
    }
    match now {
        (None, figure) => Line::Missing(figure),
        // the figure counts all products, the line only the one that uses the model
        (Some(figure), _) if crossed(figure) && limit.whose == Whose::Product => Line::Open,
        (Some(figure), _) if crossed(figure) => Line::Crossed,
        _ => Line::Kept,
    }
}

/// The line in words.
pub fn describe(limit: &Limit) -> String {
    let op = if limit.op == Op::Over { "more than" } else { "at least" };
    let kind = match limit.kind {
        LimitKind::MonthlyActiveUsers => "monthly active users",
        LimitKind::DailyActiveUsers => "daily active users",
        LimitKind::AnnualRevenue => "of revenue a year",
        LimitKind::MonthlyRevenue => "of revenue a month",
    };
    let currency = limit.currency.as_ref().map_or(String::new(), |c| format!("{c} "));
    let when = match (limit.when, limit.release) {
        (Counted::MonthBeforeRelease, Some(release)) => format!(" in the calendar month before {release}"),
        _ => String::new(),
    };
    format!("{op} {currency}{} {kind}{when}", grouped(limit.count))
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
    groups.join(" ")
}

/// Judges the countries that the licence leaves out, for the vendor and for each customer.
pub fn territories(judge: &mut Judge<'_>, member: &Member<'_>, multimodal: bool) {
    let declared = judge.declared;
    for territory in &member.record.territories {
        if territory.scope == Scope::Multimodal && !multimodal {
            continue;
        }
        let at = || At { term: "territory", clause: &territory.clause };
        let excludes = |country: &str| territory.excluded.iter().any(|code| is_in(country, code));
        let by_use = territory.binds != Binds::LicenseeSeat;
        let places = declared.territory.iter().filter(|_| by_use).map(String::as_str);
        for country in declared.vendor_country.as_deref().into_iter().chain(places) {
            if excludes(country) {
                judge.at(
                    member,
                    F::TerritoryExcluded,
                    at(),
                    format!("{} does not reach {country}", member.record.id),
                    "take another base, or leave this country out",
                );
            }
        }
        if declared.vendor_country.is_none() {
            judge.at(
                member,
                F::CountryNotStated,
                at(),
                format!("{} leaves out countries, and the vendor's is not stated", member.record.id),
                "state `vendor.country`",
            );
        }
        for customer in &declared.customers {
            match customer.country.as_deref() {
                Some(country) if excludes(country) => judge.at(
                    member,
                    F::TerritoryExcluded,
                    at(),
                    format!("{} does not reach {country}, where {} is", member.record.id, customer.name),
                    "take another base for this customer",
                ),
                Some(_) => continue,
                None => judge.at(
                    member,
                    F::CountryNotStated,
                    at(),
                    format!("{} leaves out countries, and that of {} is not stated", member.record.id, customer.name),
                    "state the customer's country",
                ),
            }
            judge.for_customer(&customer.name);
        }
    }
}

/// Members of the European Union on 2026-01-01, ISO 3166-1 alpha-2.
#[rustfmt::skip]
const EU: [&str; 27] = [
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU", "LV",
    "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
];

fn is_in(country: &str, code: &str) -> bool {
    country.eq_ignore_ascii_case(code) || (code == "EU" && EU.iter().any(|c| country.eq_ignore_ascii_case(c)))
}

//! Lines that a licence draws: users, revenue, countries. Where two readings differ, a person decides.

use crate::license::declared::{Customer, Ship, Use};
use crate::license::facts::countries;
use crate::license::facts::record::{Binds, Counted, Effect, Limit, LimitKind, Op, Scope, Territory, Whose};
use crate::license::finding::FindingCode as F;
use crate::license::rules::judge::{At, Judge};
use crate::license::rules::member::Member;

/// How a line stands.
enum Line {
    Kept,
    Crossed,
    /// Crossed under one reading of the clause: why it may not be.
    Open(&'static str),
    /// The figure under this key was not stated.
    Missing(String),
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
    let asked = match (limit.when, limit.whose) {
        (Counted::MonthBeforeRelease, whose) => format!("had {} {what}", whom(whose)),
        (_, whose) => format!("has {} {what}", whom(whose)),
    };
    match state(judge, limit) {
        Line::Kept => judge.at(
            member,
            F::LimitKept,
            at("watch-limit"),
            format!("below the line of {id}: {what}"),
            "state the figures again at each release",
        ),
        Line::Missing(key) => judge.at(
            member,
            F::LimitFigureMissing,
            at("limit"),
            format!("{id} draws a line ({what}) and the figure is not stated"),
            &format!("state `vendor.{key}`"),
        ),
        Line::Unasked => judge.at(
            member,
            F::LimitFigureMissing,
            at("limit"),
            format!("{id} draws a line that the product file has no figure for: {what}"),
            "count it, and rule on it",
        ),
        Line::Open(_) | Line::Crossed if limit.effect == Effect::DisplayMark => return true,
        Line::Open(why) => judge.at(
            member,
            F::LimitReadingOpen,
            at("limit"),
            format!("the line of {id} ({what}) is crossed under one reading of the clause: {why}"),
            "ask the licensor, or have the clause judged and rule on it",
        ),
        Line::Crossed => {
            judge.at(
                member,
                F::LimitCrossed,
                at("limit"),
                format!("above the line of {id}: {what}"),
                "get the licensor's agreement and state it as a [[grant]] of the kind `request-licence`, or take \
                 another base",
            );
            judge.asks_about(&what);
            return true;
        }
    }
    judge.asks_about(&asked);
    false
}

/// Whose users or revenue a clause counts.
fn whom(whose: Whose) -> &'static str {
    match whose {
        Whose::LicenseeGroup => "the group",
        Whose::Licensee => "the vendor alone",
        Whose::Product => "the product alone",
    }
}

/// A figure of the product file that a line is counted by.
struct Figure {
    key: String,
    value: Option<u64>,
    /// It is at least what the clause counts, and may be more.
    bound: bool,
}

/// The group's figures: nobody is active on more days than in a month, no month earns more than its year.
fn figure(declared: &Use, limit: &Limit) -> Figure {
    let users = |bound| Figure { key: "monthly-active-users.now".into(), value: declared.users_now, bound };
    let currency = limit.currency.as_deref().unwrap_or("USD");
    let revenue = |bound| {
        let value = declared.revenue_in(currency);
        Figure { key: format!("annual-revenue.{currency}"), value, bound }
    };
    match limit.kind {
        LimitKind::MonthlyActiveUsers => users(false),
        LimitKind::DailyActiveUsers => users(true),
        LimitKind::AnnualRevenue => revenue(false),
        LimitKind::MonthlyRevenue => revenue(true),
    }
}

fn state(judge: &Judge<'_>, limit: &Limit) -> Line {
    let crossed = |figure: u64| match limit.op {
        Op::Over => figure > limit.count,
        Op::AtLeast => figure >= limit.count,
    };
    // the figures are the group's
    let above = match limit.whose {
        Whose::LicenseeGroup => Line::Crossed,
        Whose::Licensee => Line::Open("with the affiliates' figures, while the clause counts the vendor's own"),
        Whose::Product => Line::Open("with all products together, while the clause counts one"),
    };
    let now = figure(judge.declared, limit);
    if limit.when == Counted::MonthBeforeRelease {
        return match (judge.declared.users_at_release, now.value) {
            (None, _) => Line::Missing("monthly-active-users.at-release".into()),
            (Some(then), _) if crossed(then) => above,
            (_, None) => Line::Missing(now.key),
            // under then, over now: does growing past it later matter?
            (_, Some(today)) if crossed(today) => Line::Open("today, and not in the month that is named"),
            _ => Line::Kept,
        };
    }
    match now.value {
        None => Line::Missing(now.key),
        Some(figure) if !crossed(figure) => Line::Kept,
        Some(_) if now.bound => Line::Unasked,
        Some(_) => above,
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
    let reaching = |t: &&Territory| t.scope == Scope::All || multimodal;
    for territory in member.record.territories.iter().filter(reaching) {
        of_vendor(judge, member, territory);
        for customer in &judge.declared.customers {
            of_customer(judge, member, territory, customer);
        }
    }
}

fn excludes(territory: &Territory, country: &str) -> bool {
    territory.excluded.iter().any(|code| countries::meet(country, code))
}

fn of_vendor(judge: &mut Judge<'_>, member: &Member<'_>, territory: &Territory) {
    let (declared, id) = (judge.declared, &member.record.id);
    let at = || At { term: "territory", clause: &territory.clause };
    let excluded = territory.excluded.join(", ");
    let by_use = territory.binds != Binds::LicenseeSeat;
    let places = declared.territory.iter().filter(|_| by_use).map(String::as_str);
    for country in declared.vendor_country.as_deref().into_iter().chain(places).filter(|c| excludes(territory, c)) {
        let message = format!("{id} does not reach {country}");
        judge.at(member, F::TerritoryExcluded, at(), message, "take another base, or leave this country out");
        judge.asks_about(country);
    }
    if declared.vendor_country.is_none() {
        let message = format!("{id} leaves out countries, and the vendor's is not stated");
        judge.at(member, F::CountryNotStated, at(), message, "state `vendor.country`");
        judge.asks_about(&format!("the vendor in one of these: {excluded}"));
    }
    if by_use && declared.territory.is_empty() && declared.customers.is_empty() {
        let message = format!("{id} leaves out countries, and where it will be used is not stated");
        judge.at(member, F::CountryNotStated, at(), message, "state `[use] territory`");
        judge.asks_about(&format!("it to be used in one of these: {excluded}"));
    }
}

fn of_customer(judge: &mut Judge<'_>, member: &Member<'_>, territory: &Territory, customer: &Customer) {
    let by_seat = territory.binds == Binds::LicenseeSeat;
    // whoever only uses a service takes no licence that a seat could shut out
    if by_seat && judge.declared.ship == Ship::Nothing {
        return;
    }
    let id = &member.record.id;
    let at = At { term: "territory", clause: &territory.clause };
    match customer.country.as_deref() {
        Some(country) if excludes(territory, country) => {
            let message = format!("{id} does not reach {country}, where {} is", customer.name);
            judge.at(member, F::TerritoryExcluded, at, message, "take another base for this customer");
            judge.asks_about(country);
        }
        Some(_) => return,
        None => {
            let message = format!("{id} leaves out countries, and that of {} is not stated", customer.name);
            judge.at(member, F::CountryNotStated, at, message, "state the customer's country");
            judge.asks_about(&format!("{} in one of these: {}", customer.name, territory.excluded.join(", ")));
        }
    }
    judge.for_customer(&customer.name);
    if by_seat {
        // is whoever is handed weights a licensee, or the end user of a product?
        judge.review_last();
    }
}

//! What the product file states, met by the lines that licences draw: hosting, handing on, business, figures, days,
//! grants, contradictions.

use crate::license::{PRODUCT, codes, declared, grant, judged, judged_by, product, spdx_text, with_made_up_texts};
use sealwright::digest::Sha256;
use sealwright::license::*;

/// The report on a base under this licence, whose text is made up.
fn under(id: &str, declared: &Use) -> Report {
    let (policies, text, policy) = with_made_up_texts(id);
    let files = [("LICENSE", text.as_str()), ("USE_POLICY.md", policy.as_str())];
    let apart = matches!(identify(&policy, &policies), Identity::Known(_));
    judged_by(&policies, if apart { &files } else { &files[..1] }, declared, &[])
}

fn has(report: &Report, code: &str) -> bool {
    codes(report).contains(&code)
}

fn message(report: &Report, code: &str) -> String {
    let found = report.findings().iter().find(|f| f.code.name() == code);
    found.unwrap_or_else(|| panic!("no {code}: {:?}", codes(report))).message.clone()
}

fn day(text: &str) -> jiff::civil::Date {
    text.parse().unwrap()
}

// ---- hosting, handing on, business

#[test]
fn hosting_is_asked_where_a_licence_turns_on_it() {
    let with = |hosting| Use { hosting, commercial: false, ..declared() };
    let flux = |hosting| under("LicenseRef-flux-1-dev-nc", &with(hosting));
    assert!(has(&flux(None), "hosting-not-stated") && !has(&flux(None), "hosting-forbidden"));
    assert!(has(&flux(Some(true)), "hosting-forbidden") && has(&flux(Some(true)), "field-restricted"));
    assert_eq!(flux(Some(true)).verdict(), Verdict::Deny);
    assert!(!has(&flux(Some(false)), "hosting-not-stated") && !has(&flux(Some(false)), "hosting-forbidden"));
    // what ships nothing is hosted, whatever is left out
    let hosted = Use { ship: Ship::Nothing, ..with(None) };
    assert!(has(&under("LicenseRef-flux-1-dev-nc", &hosted), "hosting-forbidden"));
    // nothing turns on it under MIT
    assert!(!has(&judged(&[("LICENSE", spdx_text("MIT"))], &with(None)), "hosting-not-stated"));
}

#[test]
fn hosting_that_counts_as_handing_over_is_judged_as_that() {
    // serving is sharing there, and a derivative needs the same permission as one that is handed over
    let served = Use { ship: Ship::Nothing, hosting: None, ..declared() };
    assert!(has(&under("LicenseRef-gemma-2025-03-24", &served), "terms-flow-down"));
    assert!(!has(&under("LicenseRef-llama-4", &served), "base-still-bound"));
    let agpl = judged(&[("LICENSE", spdx_text("AGPL-3.0-only"))], &served);
    assert_eq!(
        message(&agpl, "same-terms-required"),
        "AGPL-3.0-only asks for the source of what is hosted, under itself"
    );
    let gpl = judged(&[("LICENSE", spdx_text("GPL-3.0-only"))], &served);
    assert!(!has(&gpl, "same-terms-required"), "{:?}", codes(&gpl));
}

#[test]
fn who_suffers_no_limits_asks_whether_customers_may_hand_on() {
    let sharing = Use { terms: "same".into(), ..declared() };
    let with =
        |redistribution| judged(&[("LICENSE", spdx_text("CC-BY-SA-4.0"))], &Use { redistribution, ..sharing.clone() });
    assert!(has(&with(None), "redistribution-not-stated"));
    assert!(has(&with(Some(false)), "further-limits") && has(&with(Some(false)), "statements-contradict"));
    assert!(!has(&with(Some(true)), "further-limits") && !has(&with(Some(true)), "redistribution-not-stated"));
    // an adapter holds nothing of a base that lets the derivative go its own way
    let own = |ship| judged(&[("LICENSE", spdx_text("CC-BY-4.0"))], &Use { ship, ..declared() });
    assert!(!has(&own(Ship::Adapter), "further-limits"));
    assert!(has(&own(Ship::Merged), "further-limits") && has(&own(Ship::Merged), "base-still-bound"));
}

#[test]
fn competition_and_business_are_the_vendors_to_state() {
    let seed = |competes| {
        let named = Use { title: "HyperCLOVA X Helpdesk".into(), ..declared() };
        under("LicenseRef-hyperclova-x-seed", &Use { competes_with_licensor: competes, ..named })
    };
    assert_eq!(seed(Some(false)).verdict(), Verdict::AllowWithObligations, "{:?}", codes(&seed(Some(false))));
    assert!(has(&seed(None), "competition-not-stated"));
    assert_eq!(
        message(&seed(Some(true)), "field-restricted").split(',').next(),
        Some("the vendor competes with the licensor")
    );
    let card = "---\nbase_model: baichuan-inc/Baichuan2-7B-Base\n---\n";
    let shop = |business: Option<&str>| {
        let business = business.map(|word| vec![word.to_owned()]);
        judged(&[("LICENSE", spdx_text("MIT")), ("README.md", card)], &Use { business, ..declared() })
    };
    assert!(has(&shop(None), "business-not-stated"));
    assert!(has(&shop(Some("cloud")), "business-excluded"));
    assert!(!has(&shop(Some("other")), "business-excluded") && !has(&shop(Some("other")), "business-not-stated"));
}

// ---- figures

#[test]
fn revenue_is_counted_in_the_lines_currency() {
    let stability = |revenue: &[(&str, u64)]| {
        let annual_revenue = revenue.iter().map(|(currency, n)| ((*currency).to_owned(), *n)).collect();
        let registered =
            Grant { scope: vec![Covered::Adapter], ..grant("LicenseRef-stability-community-2024", "register") };
        under("LicenseRef-stability-community-2024", &Use { annual_revenue, grants: vec![registered], ..declared() })
    };
    assert!(has(&stability(&[("USD", 1_000_000)]), "limit-kept"));
    assert!(has(&stability(&[("USD", 1_000_001)]), "limit-crossed"));
    let euros = stability(&[("EUR", 10)]);
    let asked = euros.findings().iter().find(|f| f.code.name() == "limit-figure-missing").unwrap();
    assert_eq!(asked.remedy, "state `vendor.annual-revenue.USD`");
    // nothing is nothing in every currency
    assert!(has(&stability(&[("EUR", 0)]), "limit-kept"));
}

#[test]
fn a_groups_figure_above_a_line_of_the_company_alone_is_open() {
    let with = |then, now| Use { users_at_release: Some(then), users_now: Some(now), ..declared() };
    let line = 100_000_000;
    assert_eq!(under("LicenseRef-hunyuan-large", &with(line, line)).verdict(), Verdict::AllowWithObligations);
    let large = under("LicenseRef-hunyuan-large", &with(line + 1, 0));
    assert!(message(&large, "limit-reading-open").ends_with("while the clause counts the vendor's own"));
    assert_eq!(large.verdict(), Verdict::NeedsReview);
    let group = Use { users_at_release: Some(700_000_001), title: "Llama".into(), ..declared() };
    assert_eq!(under("LicenseRef-llama-4", &group).verdict(), Verdict::Deny);
}

#[test]
fn a_month_bounds_its_days_and_a_year_its_months() {
    let card = "---\nbase_model: baichuan-inc/Baichuan2-7B-Base\n---\n";
    let shop = |users| {
        judged(&[("LICENSE", spdx_text("MIT")), ("README.md", card)], &Use { users_now: Some(users), ..declared() })
    };
    assert!(has(&shop(999_999), "limit-kept"));
    assert!(message(&shop(1_000_000), "limit-figure-missing").contains("no figure for"));
    let kimi = |usd, users| {
        let figures = Use { annual_revenue: [("USD".into(), usd)].into(), users_now: Some(users), ..declared() };
        under("LicenseRef-moonshot-modified-mit", &figures)
    };
    let marked = |report: &Report| report.obligations().iter().any(|o| o.term == "display-mark");
    assert!(!marked(&kimi(20_000_000, 0)) && !has(&kimi(20_000_000, 0), "limit-figure-missing"));
    assert!(has(&kimi(20_000_001, 0), "limit-figure-missing"));
    // above it with all products together, the mark costs little
    assert!(marked(&kimi(0, 100_000_001)));
}

// ---- days

#[test]
fn an_old_copy_stays_under_its_old_text() {
    let yi = |obtained: Option<&str>| {
        under("LicenseRef-yi-community-2.1", &Use { obtained: obtained.map(day), ..declared() })
    };
    assert!(has(&yi(None), "obtained-not-stated"));
    assert!(has(&yi(Some("2024-05-29")), "text-replaced") && !has(&yi(Some("2024-05-29")), "obtained-not-stated"));
    assert!(message(&yi(Some("2024-05-30")), "statements-contradict").contains("comes under Apache-2.0"));
    assert!(message(&yi(Some("2027-01-01")), "statements-contradict").contains("after today"));
    // a parent: when its maker had it is not known, so both bind
    let card = "---\nbase_model: 01-ai/Yi-34B\n---\n";
    let child = judged(&[("LICENSE", spdx_text("Apache-2.0")), ("README.md", card)], &declared());
    let bound: Vec<&str> = child.licenses().iter().filter_map(|l| l.id.as_deref()).collect();
    assert_eq!(bound, ["Apache-2.0", "Apache-2.0", "LicenseRef-yi-community-2.1"]);
    assert_eq!(child.verdict(), Verdict::NeedsReview);
}

#[test]
fn nothing_is_had_before_it_came_out() {
    let named = Use { title: "Llama Helpdesk".into(), obtained: Some(day("2024-07-22")), ..declared() };
    assert!(message(&under("LicenseRef-llama-3.1", &named), "statements-contradict").contains("2024-07-23"));
    let later = Use { obtained: Some(day("2024-07-23")), ..named };
    assert!(!has(&under("LicenseRef-llama-3.1", &later), "statements-contradict"));
}

// ---- statements

#[test]
fn statements_that_contradict_each_other_are_found() {
    let mit = [("LICENSE", spdx_text("MIT"))];
    let kept = DataOrigin { only_for: Some(vec!["acme".into()]), ..DataOrigin::new("tickets.jsonl", Origin::Own) };
    for (said, use_) in [
        ("nobody would reach", Use { ship: Ship::Nothing, ..declared() }),
        ("the terms are MIT", Use { terms: "MIT".into(), ..declared() }),
        ("0 in one currency", Use { annual_revenue: [("EUR".into(), 0), ("USD".into(), 9)].into(), ..declared() }),
        ("some customers only", Use { data: vec![kept.clone()], redistribution: Some(true), ..declared() }),
    ] {
        let report = judged(&mit, &use_);
        assert!(message(&report, "statements-contradict").contains(said), "{said}");
        assert_eq!(report.verdict(), Verdict::NeedsReview, "{said}");
    }
    assert!(!has(&judged(&mit, &Use { data: vec![kept], ..declared() }), "statements-contradict"));
}

// ---- grants

const GLM: &str = "LicenseRef-chatglm2-6b";

#[test]
fn a_grant_answers_only_its_duty_its_grantee_its_scope_and_its_time() {
    let with = |grant: Grant| under(GLM, &Use { grants: vec![grant], ..declared() });
    let good = || grant(GLM, "register");
    let relied = with(Grant { sha256: Some(Sha256::of(b"paper")), document: Some(Sha256::of(b"paper")), ..good() });
    assert!(message(&relied, "grant-relied-on").starts_with("the vendor's word: "));
    assert!(message(&relied, "grant-relied-on").contains("the file at hand has the stated digest"));
    assert!(!relied.obligations().iter().any(|o| o.term == "register"));
    for (said, bad) in [
        ("given to Another Works", Grant { grantee: "Another Works".into(), ..good() }),
        ("scope does not cover an adapter", Grant { scope: vec![Covered::Merged, Covered::Hosting], ..good() }),
        ("it is dated", Grant { date: day("2026-06-02"), ..good() }),
        ("it ended on 2026-05-31", Grant { until: Some(day("2026-05-31")), ..good() }),
        ("not the paper", Grant { sha256: Some(Sha256::of(b"paper")), document: Some(Sha256::of(b"other")), ..good() }),
    ] {
        let report = with(bad);
        assert!(message(&report, "grant-not-applied").contains(said), "{said}");
        assert!(has(&report, "registration-missing") && !has(&report, "grant-relied-on"), "{said}");
    }
    // another duty is not answered
    let other = with(Grant { kind: "request-licence".into(), ..good() });
    assert!(has(&other, "registration-missing") && has(&other, "grant-unused"));
    // a clearance ends with what it rests on
    assert_eq!(with(Grant { until: Some(day("2026-06-10")), ..good() }).expires(), day("2026-06-10"));
    // hosting that is not stated is not covered
    let open = Use { grants: vec![good()], hosting: None, ..declared() };
    assert!(message(&under(GLM, &open), "grant-not-applied").contains("hosting"));
}

#[test]
fn any_duty_of_the_vocabulary_can_be_answered() {
    let agreed = |kind: &str| Use { grants: vec![grant("LicenseRef-llama-3.1", kind)], ..declared() };
    let named = under("LicenseRef-llama-3.1", &agreed("name-prefix"));
    assert!(!has(&named, "name-prefix-missing"));
    assert_eq!(named.verdict(), Verdict::AllowWithObligations, "{:?}", codes(&named));
    let marked = under("LicenseRef-llama-3.1", &agreed("display-mark"));
    assert!(!marked.obligations().iter().any(|o| o.term == "display-mark"));
    assert!(has(&marked, "grant-relied-on") && has(&marked, "name-prefix-missing"));
    assert!(has(&under("LicenseRef-llama-3.1", &agreed("register")), "grant-unused"));
}

#[test]
fn a_wrong_word_is_refused_with_its_line_and_the_nearest() {
    let grant = "[[grant]]\nlicense = \"MIT\"\nkind = \"register\"\ngrantee = \"Example Works\"\nscope = [\"adapter\"]\n\
                 date = \"2026-01-10\"\nreference = \"1\"\n";
    let lines = PRODUCT.lines().count();
    for (text, said, hint) in [
        (grant.replace("register", "registr"), format!(":{}: unknown kind of duty: registr", lines + 3), "`register`"),
        (grant.replace("MIT", "MITT"), format!(":{}: unknown licence: MITT", lines + 2), "`MIT`"),
    ] {
        let dir = product(&[("LICENSE", spdx_text("MIT"))]);
        std::fs::write(dir.path().join("sealwright.toml"), format!("{PRODUCT}{text}")).unwrap();
        let output = crate::commands::sealwright(dir.path(), &["check"]);
        let shown = crate::commands::stderr(&output);
        assert!(shown.contains(&said) && shown.contains(hint), "{said}: {shown}");
    }
    for (from, to, said) in [
        ("terms = \"closed\"", "terms = \"propietary\"", "unknown licence: propietary"),
        ("name = \"Example Works\"", "name = \"Example Works\"\ncountry = \"UK\"", "did you mean `GB`?"),
        ("name = \"Example Works\"", "name = \"Example Works\"\nbusiness = [\"clouds\"]", "did you mean `cloud`?"),
        ("commercial = true", "commercial = true\nfields = [\"hosted-service\"]", "use.hosting"),
        ("name = \"Example Works\"", "name = \"Example Works\"\nannual-revenue = { dollars = 1 }", "ISO 4217"),
    ] {
        let dir = product(&[("LICENSE", spdx_text("MIT"))]);
        std::fs::write(dir.path().join("sealwright.toml"), PRODUCT.replace(from, to)).unwrap();
        let output = crate::commands::sealwright(dir.path(), &["check"]);
        assert_eq!(output.status.code(), Some(2), "{to}");
        assert!(crate::commands::stderr(&output).contains(said), "{to}: {}", crate::commands::stderr(&output));
    }
}

// ---- rulings and customers

#[test]
fn a_ruling_does_not_cover_a_customer_in_another_country() {
    let policies = Policies::load(None).unwrap();
    let card = [("README.md", "---\nlicense: mit\n---\n")];
    let asked = judged_by(&policies, &card, &declared(), &[]);
    let finding = asked.findings().iter().find(|f| f.code.name() == "claimed-without-text").unwrap();
    let ruling = Ruling::answer(finding, asked.digests(), "compliance", "seen upstream", day("2026-05-01"));
    let with = |name: &str, country: Option<&str>| {
        let mut use_ = declared();
        use_.customers.push(Customer { name: name.into(), country: country.map(String::from) });
        judged_by(&policies, &card, &use_, std::slice::from_ref(&ruling))
    };
    assert_eq!(with("berta", Some("US")).verdict(), Verdict::AllowWithObligations);
    for new in [Some("DE"), None] {
        let report = with("berta", new);
        assert_eq!(report.verdict(), Verdict::NeedsReview, "{new:?}");
        assert!(report.rulings()[0].state.contains(&format!("a customer in {}", new.unwrap_or("berta"))));
    }
}

// ---- words that bind in part

#[test]
fn one_free_word_does_not_free_the_others() {
    let training = Use { trains_models_on_outputs: Some(true), title: "HyperCLOVA X Helpdesk".into(), ..declared() };
    assert!(has(&under("LicenseRef-hyperclova-x-seed", &training), "output-training-limited"));
    let named = Use { title: "Llama Helpdesk".into(), ..training };
    assert!(!has(&under("LicenseRef-llama-3.1", &named), "output-training-limited"));
}

#[test]
fn a_ruling_on_one_customer_is_none_on_another() {
    let customer = |name: &str| Customer { name: name.into(), country: None };
    let use_ = Use { customers: vec![customer("acme"), customer("berta")], ..declared() };
    let (policies, text, _) = with_made_up_texts("LicenseRef-hunyuan-large");
    let files = [("LICENSE", text.as_str())];
    let asked = judged_by(&policies, &files, &use_, &[]);
    let of = |report: &Report, name: &str| report.customers().iter().find(|c| c.name == name).unwrap().verdict;
    let acme = |f: &&Finding| f.code.name() == "country-not-stated" && f.customer.as_deref() == Some("acme");
    let finding = asked.findings().iter().find(acme).unwrap();
    let ruling = Ruling::answer(finding, asked.digests(), "compliance", "seat in the US", day("2026-05-01"));
    let ruled = judged_by(&policies, &files, &use_, &[ruling]);
    assert_eq!(of(&ruled, "acme"), Verdict::AllowWithObligations, "{:?}", codes(&ruled));
    assert_eq!(of(&ruled, "berta"), Verdict::NeedsReview);
}

//! What binds by what was there before: parents and their parents, data and its authors, duties that exclude each other.

use crate::license::{codes, declared, judged, judged_by, spdx_text, with_made_up_texts};
use sealwright::license::*;

fn card(parents: &[&str]) -> String {
    format!("---\nbase_model: [{}]\n---\n", parents.join(", "))
}

/// A base under MIT with these parents.
fn child_of(parents: &[&str], declared: &Use) -> Report {
    judged(&[("LICENSE", spdx_text("MIT")), ("README.md", &card(parents))], declared)
}

fn messages<'r>(report: &'r Report, code: &str) -> Vec<&'r str> {
    report.findings().iter().filter(|f| f.code.name() == code).map(|f| f.message.as_str()).collect()
}

// ---- parents

#[test]
fn a_research_licence_two_steps_up_denies_and_the_way_is_told() {
    // Vicuna 1.3 was made from LLaMA, whose licence is for research
    let report = child_of(&["lmsys/vicuna-13b-v1.3"], &declared());
    assert_eq!(report.verdict(), Verdict::Deny, "{:?}", codes(&report));
    let worst = report.findings().iter().find(|f| f.code == FindingCode::CommercialUseForbidden).unwrap();
    assert_eq!(worst.license.as_deref(), Some("LicenseRef-llama-1"));
    assert_eq!(worst.path.first().map(String::as_str), Some("lmsys/vicuna-13b-v1.3"));
    assert_eq!(worst.path.last(), Some(&worst.subject));
    // a name in a config may be the base's own or a parent's: it binds and does not deny
    let dir = tempfile::tempdir().unwrap();
    let config = r#"{"model_type": "llama", "_name_or_path": "lmsys/vicuna-13b-v1.3"}"#;
    std::fs::write(dir.path().join("config.json"), config).unwrap();
    std::fs::write(dir.path().join("LICENSE"), spdx_text("MIT")).unwrap();
    let subject = Subject::read(&sealwright::base::Base::open(dir.path()).unwrap(), None).unwrap();
    let policies = Policies::load(None).unwrap();
    let named = check(&subject, &declared(), &policies, &[], "2026-06-01T12:00:00Z".parse().unwrap());
    assert_eq!(named.verdict(), Verdict::NeedsReview);
    assert!(codes(&named).contains(&"commercial-use-forbidden"));
}

#[test]
fn each_parent_of_a_merge_is_judged_alone() {
    let parents = ["meta-llama/Llama-3.1-8B", "Qwen/Qwen2.5-72B-Instruct"];
    let both = child_of(&parents, &declared());
    for parent in parents {
        let alone = child_of(&[parent], &declared());
        for finding in alone.findings().iter().filter(|f| !f.path.is_empty()) {
            let same = |f: &&Finding| {
                (f.code, &f.license, &f.clause, &f.path)
                    == (finding.code, &finding.license, &finding.clause, &finding.path)
            };
            assert!(both.findings().iter().any(|f| same(&f)), "{parent}: {}", finding.message);
        }
    }
    let backwards = child_of(&[parents[1], parents[0]], &declared());
    assert_eq!(backwards.verdict(), both.verdict());
    assert_eq!(backwards.findings().len(), both.findings().len());
}

#[test]
fn a_circle_and_too_many_parents_are_found() {
    // by its card it is the parent of what it says it was made from
    let card = "---\nbase_model: lmsys/vicuna-13b-v1.3\n---\n# huggyllama/llama-13b\n";
    let report = judged(&[("LICENSE", spdx_text("MIT")), ("README.md", card)], &declared());
    assert_eq!(messages(&report, "parent-cycle").len(), 1, "{:?}", codes(&report));
    assert!(!codes(&child_of(&["lmsys/vicuna-13b-v1.3"], &declared())).contains(&"parent-cycle"));
    let many: Vec<String> = (0..100).map(|i| format!("example/model-{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let unknown = child_of(&many, &declared());
    assert!(messages(&unknown, "parent-unknown").contains(&"the base names 100 parents, of which 64 are judged"));
    assert_eq!(messages(&unknown, "parent-unknown").len(), 65);
}

// ---- duties together

#[test]
fn duties_that_exclude_each_other_are_found() {
    let open = Use { terms: "same".into(), redistribution: Some(true), ..declared() };
    let with =
        |first: &str, second: &str| judged(&[("LICENSE", spdx_text(first)), ("COPYING", spdx_text(second))], &open);
    for (first, second, said) in [
        ("GPL-2.0-only", "GPL-3.0-only", "cannot stand under each of these"),
        (
            "GPL-3.0-only",
            "CC-BY-NC-4.0",
            "GPL-3.0-only suffers no further limits, and those of CC-BY-NC-4.0 bar commerce",
        ),
        ("CC-BY-ND-4.0", "MIT", "CC-BY-ND-4.0 bars handing over what was changed"),
    ] {
        let told = with(first, second);
        assert!(messages(&told, "incompatible-duties").iter().any(|m| m.contains(said)), "{said}: {:?}", codes(&told));
    }
    assert!(messages(&with("MIT", "Apache-2.0"), "incompatible-duties").is_empty());
    assert!(messages(&with("MIT", "GPL-3.0-only"), "incompatible-duties").is_empty());
    // a copyleft base with a parent whose limits must be handed on, and two names
    let gemma = [("LICENSE", spdx_text("CC-BY-SA-4.0")), ("README.md", &card(&["google/gemma-7b"]))];
    let told = judged(&gemma, &open);
    assert!(
        messages(&told, "incompatible-duties").iter().any(|m| m.contains("must be handed on")),
        "{:?}",
        codes(&told)
    );
    let named = child_of(&["meta-llama/Llama-3.1-8B", "naver-hyperclovax/HyperCLOVAX-SEED-Text-Instruct-1.5B"], &open);
    assert!(messages(&named, "incompatible-duties").iter().any(|m| m.contains("for one with")), "{:?}", codes(&named));
    // a longer name begins with the shorter one
    assert!(
        messages(&child_of(&["meta-llama/Llama-3.1-8B", "meta-llama/Meta-Llama-3-8B"], &open), "incompatible-duties")
            .is_empty()
    );
}

// ---- data

#[test]
fn whoever_made_the_data_is_credited() {
    let with = |credit: Option<&str>| {
        let data = DataOrigin {
            credit: credit.map(String::from),
            ..DataOrigin::new("faq.jsonl", Origin::License("CC-BY-4.0".into()))
        };
        judged(&[("LICENSE", spdx_text("MIT"))], &Use { data: vec![data], ..declared() })
    };
    let silent = with(None);
    assert_eq!(silent.verdict(), Verdict::NeedsReview);
    assert!(codes(&silent).contains(&"attribution-missing"));
    let credited = with(Some("Example Questions by the Example Works, example.org"));
    assert_eq!(credited.verdict(), Verdict::AllowWithObligations, "{:?}", codes(&credited));
    let clearance = credited.clear().unwrap();
    assert_eq!(clearance.unmet().count(), 0);
    let said = "The derivative learned from: Example Questions by the Example Works, example.org, under";
    assert!(clearance.notice_paragraphs().iter().any(|p| p.starts_with(said)), "{:?}", clearance.notice_paragraphs());
    assert!(clearance.obligations().iter().any(|o| o.license == "CC-BY-4.0" && o.term == "attribute-source"));
    assert!(!clearance.report_json().to_string().contains("faq.jsonl"));
}

#[test]
fn data_is_judged_by_what_its_words_say() {
    let with = |origin: Origin| {
        let data = vec![DataOrigin { credit: Some("x".into()), ..DataOrigin::new("a.jsonl", origin) }];
        judged(&[("LICENSE", spdx_text("MIT"))], &Use { data, ..declared() })
    };
    for (code, origin) in [
        ("derivative-forbidden", Origin::License("CC-BY-ND-4.0".into())),
        ("commercial-use-forbidden", Origin::License("CC-BY-NC-SA-4.0".into())),
        ("data-share-alike", Origin::License("ODC-By-1.0".into())),
        // a data set under a model's licence may be that model's answers
        ("generated-data-limited", Origin::License("LicenseRef-llama-2".into())),
        // free with a name, and bound as a derivative when it imitates
        ("generated-data-limited", Origin::GeneratedBy("naver-hyperclovax/HyperCLOVAX-SEED-Text-Instruct-1.5B".into())),
    ] {
        let report = with(origin);
        assert!(codes(&report).contains(&code), "{code}: {:?}", codes(&report));
        assert_eq!(report.verdict(), Verdict::NeedsReview, "{code}");
    }
    assert_eq!(with(Origin::License("CDLA-Permissive-2.0".into())).verdict(), Verdict::AllowWithObligations);
    let llama = with(Origin::GeneratedBy("meta-llama/Llama-3.1-8B-Instruct".into()));
    assert!(
        llama.obligations().iter().any(|o| o.term == "display-mark" && o.words.as_deref() == Some("Built with Llama"))
    );
}

// ---- the records and the rules

/// What the rules rely on in every record: words of facts have the duties, lines and clauses that they speak of.
#[test]
fn facts_and_duties_go_together() {
    let policies = Policies::load(None).unwrap();
    let uses = |terms: &str| Use { terms: terms.into(), redistribution: Some(true), ..declared() };
    for record in policies.records().filter(|r| r.texts.iter().any(|t| t.sha256.is_some())) {
        let (made_up, text, policy) = with_made_up_texts(&record.id);
        let apart = matches!(identify(&policy, &made_up), Identity::Known(_));
        let files = [("LICENSE", text.as_str()), ("USE_POLICY.md", policy.as_str())];
        let files = if apart { &files[..] } else { &files[..1] };
        // the same use with more stated restrictions is never judged milder
        let mild = judged_by(&made_up, files, &uses("same"), &[]).verdict();
        let harsh =
            Use { hosting: Some(true), trains_models_on_outputs: Some(true), ship: Ship::Merged, ..uses("closed") };
        let harsh =
            Use { redistribution: Some(false), fields: Some(vec!["military".into(), "minors".into()]), ..harsh };
        assert!(judged_by(&made_up, files, &harsh, &[]).verdict() >= mild, "{}", record.id);
        // what is not stated is never milder than its good answer
        let silent = Use { commercial: true, ..Use::new("Example Works", "Example Helpdesk", Ship::Adapter) };
        let good = Use { redistribution: Some(true), ..declared() };
        assert!(
            judged_by(&made_up, files, &silent, &[]).verdict() >= judged_by(&made_up, files, &good, &[]).verdict(),
            "{}",
            record.id
        );
    }
}

// ---- adapters

/// A base under MIT, and an adapter folder with these files.
fn with_adapter(files: &[(&str, &str)], own: bool) -> Report {
    let read = |dir: &std::path::Path| Subject::read(&sealwright::base::Base::open(dir).unwrap(), None).unwrap();
    let (base, adapter) = (crate::license::base(&[("LICENSE", spdx_text("MIT"))]), tempfile::tempdir().unwrap());
    for (name, text) in files {
        std::fs::write(adapter.path().join(name), text).unwrap();
    }
    let subject = (!files.is_empty()).then(|| read(adapter.path()));
    let subject = read(base.path()).with_adapters(vec![Adapter { name: "theirs".into(), own, subject }]);
    check(&subject, &declared(), &Policies::load(None).unwrap(), &[], "2026-06-01T12:00:00Z".parse().unwrap())
}

#[test]
fn an_adapter_made_elsewhere_binds_by_its_own_licence() {
    let config = r#"{"base_model_name_or_path": "./base"}"#;
    let research = with_adapter(&[("adapter_config.json", config), ("LICENSE", spdx_text("CC-BY-NC-4.0"))], false);
    assert_eq!(research.verdict(), Verdict::Deny, "{:?}", codes(&research));
    let denied = research.findings().iter().find(|f| f.code == FindingCode::CommercialUseForbidden).unwrap();
    assert_eq!((denied.subject.as_str(), denied.path.as_slice()), ("theirs/LICENSE", &["theirs".to_owned()][..]));
    // a place on a disk is no parent's name
    assert!(!codes(&research).contains(&"parent-unknown"));
    // silence is the vendor's own work only where it says so
    for (files, own, wanted) in [
        (&[("adapter_config.json", config)][..], false, Verdict::NeedsReview),
        (&[("adapter_config.json", config)][..], true, Verdict::AllowWithObligations),
        (&[], false, Verdict::NeedsReview),
        (&[], true, Verdict::AllowWithObligations),
    ] {
        let report = with_adapter(files, own);
        assert_eq!(report.verdict(), wanted, "{:?}", codes(&report));
        assert_eq!(codes(&report).contains(&"no-license"), !own);
    }
    // whatever the vendor says, a licence that is there is judged
    assert_eq!(with_adapter(&[("LICENSE", spdx_text("CC-BY-NC-4.0"))], true).verdict(), Verdict::Deny);
}

#[test]
fn an_adapters_parents_and_card_are_judged_by_the_way_they_came() {
    let config = r#"{"base_model_name_or_path": "lmsys/vicuna-13b-v1.3"}"#;
    let report = with_adapter(&[("adapter_config.json", config)], true);
    assert_eq!(report.verdict(), Verdict::Deny, "{:?}", codes(&report));
    let denied = report.findings().iter().find(|f| f.code == FindingCode::CommercialUseForbidden).unwrap();
    assert_eq!(denied.path[..2], ["theirs", "lmsys/vicuna-13b-v1.3"]);
    let claimed = with_adapter(&[("README.md", "---\nlicense: apache-2.0\n---\n")], false);
    assert_eq!(messages(&claimed, "claimed-without-text").len(), 1, "{:?}", codes(&claimed));
    assert!(claimed.findings().iter().any(|f| f.subject == "theirs/card"));
    // what was judged is in the digest that rulings bind
    let other = with_adapter(&[("README.md", "---\nlicense: mit\n---\n")], false);
    assert_ne!(claimed.digests().text, other.digests().text);
}

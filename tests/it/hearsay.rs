//! What nobody looked up clears nothing: models, data sets and addresses that are known by general knowledge alone.

use crate::license::{base, codes, declared, now, spdx_text};
use sealwright::base::Base;
use sealwright::license::*;
use serde_json::json;
use toml::{Table, Value};

const LINEAGE: &str = include_str!("../../policies/lineage.toml");
const DATA_SETS: &str = include_str!("../../policies/datasets.toml");

/// The entries of a file that are general knowledge.
fn hearsay(text: &str, list: &str) -> Vec<Table> {
    let file: Table = toml::from_str(text).unwrap();
    let entries = file[list].as_array().unwrap().iter().filter_map(Value::as_table);
    entries.filter(|e| e["standing"].as_str() == Some("general-knowledge")).cloned().collect()
}

fn judged(policies: &Policies, config: serde_json::Value, front: serde_json::Value, license: Option<&str>) -> Report {
    let (config, card) = (config.to_string(), format!("---\n{front}\n---\n# Example base\n"));
    let license = license.map(|id| ("LICENSE", spdx_text(id)));
    let files: Vec<_> = [("config.json", config.as_str()), ("README.md", &card)].into_iter().chain(license).collect();
    let dir = base(&files);
    check(&Subject::read(&Base::open(dir.path()).unwrap(), None).unwrap(), &declared(), policies, &[], now())
}

#[test]
fn a_model_that_nobody_looked_up_confirms_no_card() {
    let policies = Policies::load(None).unwrap();
    let models = hearsay(LINEAGE, "model");
    assert!(models.len() > 50, "{}", models.len());
    for model in models.iter().filter(|m| m.get("ids").is_some_and(|ids| ids.as_array().is_some_and(|l| !l.is_empty())))
    {
        let (name, license) = (&model["ids"][0], &model["license"]);
        let report = judged(&policies, json!({ "_name_or_path": name }), json!({ "license": license }), None);
        assert!(!codes(&report).contains(&"lineage-confirms"), "{name}");
        assert!(matches!(report.verdict(), Verdict::NeedsReview | Verdict::Deny), "{name}: {:?}", report.verdict());
    }
}

#[test]
fn a_data_set_that_nobody_looked_up_takes_no_finding_away() {
    let policies = Policies::load(None).unwrap();
    let card = |sets: Vec<&Value>| json!({ "license": "apache-2.0", "datasets": sets });
    let plain = judged(&policies, json!({}), card(Vec::new()), Some("Apache-2.0"));
    let sets = hearsay(DATA_SETS, "data-set");
    assert!(!sets.is_empty());
    for set in &sets {
        let named = judged(&policies, json!({}), card(vec![&set["ids"][0]]), Some("Apache-2.0"));
        assert!(codes(&plain).iter().all(|code| codes(&named).contains(code)), "{set}");
        assert!(named.verdict() >= plain.verdict(), "{set}");
    }
}

#[test]
fn an_address_that_nobody_looked_up_is_told_even_where_it_agrees() {
    let policies = Policies::load(None).unwrap();
    let of = |link: &str| {
        let card = json!({ "license": "mit", "license_link": format!("https://{link}") });
        codes(&judged(&policies, json!({}), card, Some("MIT"))).contains(&"link-not-read")
    };
    let record = policies.record("MIT").unwrap();
    assert!(!record.links.is_empty() && !record.links_unread.is_empty());
    assert!(record.links.iter().all(|link| !of(link)));
    assert!(record.links_unread.iter().all(|link| of(link)));
}

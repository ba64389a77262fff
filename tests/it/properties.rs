//! What holds of every licence and use: a restriction more is never milder, order changes nothing, every clause that a
//! report cites stands in the data, and every word of the vocabulary is of use.

use crate::cases::{self, POLICIES, parse};
use crate::license::copy_policies;
use proptest::prelude::*;
use sealwright::license::FindingCode;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use toml::Table;

/// Facts whose values have an order, from the mildest to the strictest, for a closed commercial product. What is silent
/// is stricter than a permission and milder than a bar.
const ORDER: [(&str, &[&str]); 12] = [
    ("commercial-use", &["yes", "threshold", "silent", "registration", "permission"]),
    ("derivative-distribution", &["allowed", "conditional", "silent", "research-only"]),
    ("derivative-own-terms", &["allowed", "base-still-bound", "flow-down", "silent", "forbidden"]),
    ("adapter-status", &["named", "broad-definition", "derivative-works", "unsettled"]),
    ("hosting-is-distribution", &["no", "product-or-service", "silent", "forbidden"]),
    ("output-training", &["free", "purpose-bound", "forbidden"]),
    ("use-flow-down", &["none", "copy", "enforceable-terms"]),
    ("share-alike", &["none", "weak", "strong"]),
    ("revocable", &["irrevocable", "on-breach", "revocable", "at-will"]),
    ("licensor-may-change-terms", &["no", "policy-only", "yes"]),
    ("remote-restriction", &["no", "yes"]),
    ("patent-grant", &["yes", "silent", "no"]),
];

/// Restrictions that come on top of a record.
const ADDED: [&str; 6] = [
    "[[obligation]]\nkind = \"name-prefix\"\nclause = \"1\"\nwords = \"Zebra\"\n",
    "[[obligation]]\nkind = \"ship-licence-text\"\nclause = \"1\"\n",
    "[[obligation]]\nkind = \"request-licence\"\nclause = \"1\"\n",
    "[[territory]]\nexcluded = [\"EU\"]\nbinds = \"both\"\nscope = \"all\"\nclause = \"1\"\n",
    "[[limit]]\nkind = \"monthly-active-users\"\ncount = 1000\nop = \"over\"\nwhose = \"licensee-group\"\nwhen = \"any-month\"\n\
     effect = \"request-licence\"\nclause = \"1\"\n",
    "[[question]]\ntext = \"Whether it is so.\"\nbears-on = [\"output-training\"]\nuses = [\"any\"]\nopen = \"review\"\n",
];

/// Uses, each a few keys of a case.
const USES: [&str; 9] = [
    "",
    "product.use.ship = \"merged\"",
    "product.use = { ship = \"nothing\", hosting = true }",
    "product.use.commercial = false",
    "product.use.trains-models-on-outputs = true",
    "product.use.hosting = true",
    "unstated = [\"use.hosting\", \"use.redistribution\", \"vendor.business\"]",
    "product.use.fields = [\"military\"]",
    "product.customer = [{ name = \"acme\", country = \"DE\" }]",
];

/// The verdict under a policies folder in which MIT is this record.
fn verdict(record: &str, declared: &str) -> u8 {
    let dir = tempfile::tempdir().unwrap();
    copy_policies(&sealwright::data::POLICIES, dir.path(), &|path, text| {
        if path.ends_with("licenses/mit.toml") { record.to_owned() } else { text.to_owned() }
    });
    let case = parse(&format!("name = \"x\"\nfiles = {{ LICENSE = \"MIT\" }}\n{declared}\n"));
    let (report, _) = case.judge_by(&["--policies", dir.path().to_str().unwrap()]).unwrap();
    rank(&report)
}

/// A record that contradicts itself is refused, which is stricter than any verdict.
fn rank(report: &Value) -> u8 {
    if report["error"]["code"] == "bad-input" {
        return u8::MAX;
    }
    let verdicts = ["allow", "allow-with-obligations", "needs-review", "deny"];
    u8::try_from(verdicts.iter().position(|v| report["verdict"] == *v).unwrap()).unwrap()
}

/// A record in which a fact has another value.
fn with_fact(record: &str, fact: &str, value: &str) -> String {
    let of = |line: &str| match line.split_once(" = ") {
        Some((name, old)) if name == fact && old.starts_with('[') => format!("{name} = [\"{value}\"]"),
        Some((name, _)) if name == fact => format!("{name} = \"{value}\""),
        _ => line.to_owned(),
    };
    record.lines().map(of).collect::<Vec<_>>().join("\n") + "\n"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_restriction_more_is_never_milder(
        picks in prop::collection::vec((0..ORDER.len(), 0usize..5), 0..4),
        stricter in 0..ORDER.len() + ADDED.len(),
        declared in 0..USES.len(),
    ) {
        let mut record = sealwright::data::POLICIES.get_file("licenses/mit.toml").unwrap().contents_utf8().unwrap().to_owned();
        let mut at = [0; ORDER.len()];
        for (fact, value) in picks {
            let (name, values) = ORDER[fact];
            at[fact] = value.min(values.len() - 1);
            record = with_fact(&record, name, values[at[fact]]);
        }
        let more = match ORDER.get(stricter) {
            Some((name, values)) => with_fact(&record, name, values[(at[stricter] + 1).min(values.len() - 1)]),
            None => format!("{record}\n{}", ADDED[stricter - ORDER.len()]),
        };
        let (before, after) = (verdict(&record, USES[declared]), verdict(&more, USES[declared]));
        prop_assume!(before < u8::MAX);
        prop_assert!(after >= before, "{after} after {before}; {}\n{more}", USES[declared]);
    }

    #[test]
    fn the_order_of_the_evidence_changes_nothing(
        texts in Just(["MIT", "GPL-3.0-only", "CC-BY-NC-4.0", "CC-BY-SA-4.0"]).prop_shuffle(),
        parents in Just(["huggyllama/llama-7b", "google/gemma-7b", "example/unheard-of", "Qwen/Qwen2.5-7B"]).prop_shuffle(),
        data in Just([
            "\"own\"", "{ license = \"CC-BY-NC-4.0\" }", "{ generated-by = \"gpt-4\" }", "{ license = \"nobody-knows\" }",
        ]).prop_shuffle(),
        customers in Just(["DE", "US", "KR"]).prop_shuffle(),
        count in 1usize..4,
    ) {
        let case = |texts: &[&str], parents: &[&str], data: &[&str], customers: &[&str]| {
            let files: Vec<String> = texts.iter().enumerate().map(|(i, t)| format!("LICENSE-{i} = \"{t}\"")).collect();
            let data: Vec<String> = data.iter().map(|o| format!("{{ path = \"{}\", origin = {o} }}", o.replace(|c: char| !c.is_alphanumeric(), ""))).collect();
            let customers: Vec<String> =
                customers.iter().map(|c| format!("{{ name = \"{}\", country = \"{c}\" }}", c.to_lowercase())).collect();
            findings(&parse(&format!(
                "name = \"x\"\nfiles = {{ {} }}\ncard.base_model = {parents:?}\nproduct.data = [{}]\nproduct.customer = [{}]\n",
                files.join(", "), data.join(", "), customers.join(", ")
            )))
        };
        let (mut t, mut p, mut d, mut c) = (texts[..count].to_vec(), parents[..count].to_vec(), data.to_vec(), customers.to_vec());
        let shuffled = case(&t, &p, &d, &c);
        [&mut t, &mut p, &mut d, &mut c].into_iter().for_each(|list| list.sort_unstable());
        prop_assert_eq!(shuffled, case(&t, &p, &d, &c));
    }
}

/// Verdict and findings; the names of the files, which were shuffled, apart.
fn findings(case: &cases::Case) -> (u8, BTreeSet<String>) {
    let (report, _) = case.judge().unwrap();
    let of = |f: &Value| {
        let message = f["message"].as_str().unwrap().replace(|c: char| c.is_ascii_digit(), "");
        let names: Vec<&str> = message.split(": ").collect();
        // lists of names in the order of the evidence
        let mut words: Vec<&str> = names.last().unwrap().split(", ").collect();
        words.sort_unstable();
        format!("{} {} {} {} {} {words:?}", f["code"], f["severity"], f["license"], f["clause"], f["customer"])
    };
    (rank(&report), report["findings"].as_array().unwrap().iter().map(of).collect())
}

/// Every clause of the records, by licence.
fn clauses() -> BTreeMap<String, BTreeSet<String>> {
    fn gather(key: &str, value: &toml::Value, into: &mut BTreeSet<String>) {
        match value {
            toml::Value::String(text) if key == "clause" => drop(into.insert(text.clone())),
            toml::Value::Table(table) => {
                table.iter().for_each(|(k, v)| gather(if key == "clause" { key } else { k }, v, into));
            }
            toml::Value::Array(list) => list.iter().for_each(|v| gather(key, v, into)),
            _ => {}
        }
    }
    let records = sealwright::data::POLICIES.get_dir("licenses").unwrap().files();
    let of = |text: &str| {
        let record: Table = toml::from_str(text).unwrap();
        let mut clauses = BTreeSet::new();
        record.iter().for_each(|(k, v)| gather(k, v, &mut clauses));
        (record["id"].as_str().unwrap().to_owned(), clauses)
    };
    records.map(|file| of(file.contents_utf8().unwrap())).collect()
}

#[test]
fn every_clause_that_a_report_cites_stands_in_the_data() {
    let known = clauses();
    let mut cited = 0;
    for entry in std::fs::read_dir(cases::folder().join("snapshots")).unwrap() {
        let path = entry.unwrap().path();
        let report: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for item in ["findings", "obligations"].iter().flat_map(|list| report[*list].as_array().unwrap()) {
            let (Some(license), Some(clause)) = (item["license"].as_str(), item["clause"].as_str()) else { continue };
            let of = &known[license];
            // the duties of one licence are joined, and a clause may hold a semicolon itself
            let mut rest = clause;
            while !rest.is_empty() && !matches!(rest, "silent" | "whole") {
                let next =
                    of.iter().filter(|c| rest == **c || rest.starts_with(&format!("{c}; "))).max_by_key(|c| c.len());
                let next = next.unwrap_or_else(|| panic!("{}: {license} has no clause {rest}", path.display()));
                rest = rest[next.len()..].trim_start_matches("; ");
                cited += 1;
            }
        }
    }
    assert!(cited > 1000, "{cited}");
}

/// Words that no record uses yet: the vocabulary has them for what is read next.
const UNUSED: [&str; 0] = [];

#[test]
fn every_word_of_the_vocabulary_has_facts() {
    let text = sealwright::data::POLICIES.get_file("vocabulary.toml").unwrap().contents_utf8().unwrap();
    let vocabulary: Table = toml::from_str(text).unwrap();
    let mut used: BTreeSet<String> = BTreeSet::new();
    for file in sealwright::data::POLICIES.get_dir("licenses").unwrap().files() {
        let record: Table = toml::from_str(file.contents_utf8().unwrap()).unwrap();
        for (key, value) in &record {
            let one =
                value.as_str().into_iter().chain(value.as_array().into_iter().flatten().filter_map(|v| v.as_str()));
            used.extend(one.map(|word| format!("{key}: {word}")));
        }
        let duties = record.get("obligation").and_then(|o| o.as_array()).into_iter().flatten();
        used.extend(duties.map(|duty| format!("obligation: {}", duty["kind"].as_str().unwrap())));
    }
    let list =
        |key: &str| vocabulary[key].as_array().unwrap().iter().map(|t| t.as_table().unwrap()).collect::<Vec<_>>();
    let values = list("fact").into_iter().flat_map(|fact| {
        let name = fact["name"].as_str().unwrap();
        fact["values"].as_array().unwrap().iter().map(move |v| format!("{name}: {}", v.as_str().unwrap()))
    });
    let kinds = list("obligation").into_iter().map(|duty| format!("obligation: {}", duty["kind"].as_str().unwrap()));
    let fields = vocabulary["field-of-use"].as_table().unwrap().keys().map(|field| format!("field-of-use: {field}"));
    let unused: Vec<String> = values.chain(kinds).chain(fields).filter(|word| !used.contains(word)).collect();
    assert_eq!(unused, UNUSED, "no record uses these words");
}

/// Facts that lead to no finding: nothing that the product file states meets them. `check --why` prints them.
const WITHOUT_A_FINDING: [&str; 4] = ["patent-grant", "litigation-ends", "trademark", "governing-law"];

#[test]
fn every_term_has_a_meaning_and_a_decision() {
    let decided: BTreeSet<&str> = FindingCode::ALL.iter().map(|code| code.term()).collect();
    let duties: BTreeSet<&str> = POLICIES.records().flat_map(|r| &r.obligations).map(|d| d.kind.as_str()).collect();
    let mut without = Vec::new();
    for term in POLICIES.terms() {
        assert!(POLICIES.meaning(term).is_some() || matches!(term, "field-of-use" | "governing-law"), "{term}");
        // every duty is decided on by `duties-apply`
        if !decided.contains(term) && !duties.contains(term) {
            without.push(term);
        }
    }
    assert_eq!(without, WITHOUT_A_FINDING);
}

//! The pre-flight's other forms: SARIF for programs, HTML for people.

use crate::cases;
use crate::commands::{sealwright, stderr, stdout};
use sealwright::data::POLICIES;
use sealwright::license::{DISCLAIMER, FindingCode};
use serde_json::Value;
use tempfile::TempDir;

const PRODUCT: &str = r#"
[vendor]
name = "Example Works"
[product]
name = "helpdesk"
title = "Example <b>Helpdesk</b>"
version = "1.0.0"
[base]
path = "base"
[use]
ship = "adapter"
terms = "closed"
commercial = true
[[data]]
path = "tickets.jsonl"
format = "messages"
origin = { license = "nobody-knows" }
[derivative]
path = "adapter"
own = true
"#;

/// A product on a base with the text of this licence, in a folder `shop`.
fn shop(license: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("shop/base")).unwrap();
    std::fs::write(dir.path().join("shop/sealwright.toml"), PRODUCT).unwrap();
    add_base(&dir, "shop/base", license);
    dir
}

fn add_base(dir: &TempDir, folder: &str, license: &str) {
    let folder = dir.path().join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.json"), "{}").unwrap();
    std::fs::write(folder.join("LICENSE"), spdx::license_id(license).unwrap().text()).unwrap();
}

#[test]
fn sarif_points_at_lines_and_files() {
    let dir = shop("CC-BY-NC-4.0");
    let output = sealwright(dir.path(), &["check", "shop", "--sarif"]);
    assert_eq!(output.status.code(), Some(1));
    let log: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((log["version"].as_str(), log["runs"].as_array().unwrap().len()), (Some("2.1.0"), 1));
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), FindingCode::ALL.len());
    assert!(rules.iter().all(|r| !r["help"]["text"].as_str().unwrap().is_empty()));
    let of = |code: &str| {
        let results = run["results"].as_array().unwrap();
        let result = results.iter().find(|r| r["ruleId"] == code).unwrap_or_else(|| panic!("no {code}"));
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], code);
        let place = &result["locations"][0]["physicalLocation"];
        let uri = place["artifactLocation"]["uri"].as_str().unwrap().to_owned();
        (result["level"].as_str().unwrap().to_owned(), uri, place["region"]["startLine"].as_u64())
    };
    let line = |text: &str| PRODUCT.lines().position(|l| l.starts_with(text)).map(|at| at as u64 + 1);
    let expected = |level: &str, at| (level.to_owned(), "shop/sealwright.toml".to_owned(), at);
    assert_eq!(of("commercial-use-forbidden"), expected("error", line("commercial")));
    assert_eq!(of("data-license-unknown"), expected("warning", line("path = \"tickets")));
    assert_eq!(of("duties-apply"), ("note".to_owned(), "shop/base/LICENSE".to_owned(), Some(1)));
    assert!(!stdout(&output).contains(&dir.path().display().to_string()));
}

#[test]
fn several_bases_are_several_runs() {
    let dir = shop("MIT");
    add_base(&dir, "other", "Apache-2.0");
    let output = sealwright(dir.path(), &["check", "shop", "--sarif", "--compare", "shop/base", "other"]);
    let log: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(log["runs"].as_array().unwrap().len(), 2);
    assert_eq!(log["runs"][1]["automationDetails"]["id"], "sealwright check/other");
}

#[test]
fn a_lifted_finding_is_suppressed_with_its_reason() {
    let dir = shop("MIT");
    let rule = ["rule", "shop", "data-license-unknown", "--by", "compliance", "--reason", "a private reason"];
    assert!(sealwright(dir.path(), &rule).status.success());
    let out = stdout(&sealwright(dir.path(), &["check", "shop", "--sarif"]));
    let log: Value = serde_json::from_str(&out).unwrap();
    let results = log["runs"][0]["results"].as_array().unwrap();
    let lifted = results.iter().find(|r| r["ruleId"] == "data-license-unknown").unwrap();
    assert_eq!(
        (lifted["level"].as_str(), lifted["suppressions"][0]["status"].as_str()),
        (Some("note"), Some("accepted"))
    );
    assert!(!out.contains("a private reason"));
}

#[test]
fn the_page_is_whole_escaped_and_without_scripts() {
    let dir = shop("CC-BY-NC-4.0");
    std::fs::write(dir.path().join("shop/base/LICENSE<script>.txt"), "no known text").unwrap();
    let output = sealwright(dir.path(), &["check", "shop", "--html"]);
    assert_eq!(output.status.code(), Some(1));
    let page = stdout(&output);
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    for word in ["<script", "<b>", " src=", " href=", "javascript:", "@import", "url("] {
        assert!(!page.contains(word), "{word}");
    }
    let disclaimer = DISCLAIMER.replace('\'', "&#39;");
    let digest = sealwright::license::Policies::load(None).unwrap().facts_digest().to_string();
    for word in [
        "Example &lt;b&gt;Helpdesk&lt;/b&gt;",
        "LICENSE&lt;script&gt;.txt",
        "<p class=\"verdict deny\">deny</p>",
        "<h2>Forbidden</h2>",
        "<code>commercial-use-forbidden</code>",
        "decided by <code>org/default.toml:",
        "CC-BY-NC-4.0, clause ",
        "Remedy: ",
        "that <code>sealwright pack</code> does",
        &disclaimer,
        &digest,
    ] {
        assert!(page.contains(word), "{word}");
    }
    for tag in ["section", "article", "table", "tr", "td", "th", "code", "p", "h2", "h3", "span"] {
        let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn a_report_has_one_form() {
    let dir = shop("MIT");
    for pair in [["--json", "--sarif"], ["--json", "--html"], ["--sarif", "--html"]] {
        let output = sealwright(dir.path(), &["check", "shop", pair[0], pair[1]]);
        assert_eq!(output.status.code(), Some(2), "{pair:?}");
    }
    let output = sealwright(dir.path(), &["check", "nowhere", "--sarif"]);
    assert!(output.stdout.is_empty() && !stderr(&output).is_empty());
}

#[test]
fn a_second_base_is_compared_with_the_first() {
    let dir = shop("CC-BY-NC-4.0");
    add_base(&dir, "other", "MIT");
    let both = ["check", "shop", "--compare", "shop/base", "other"];
    let out = stdout(&sealwright(dir.path(), &both));
    let compared = out.split("\nother instead of shop/base\n").nth(1).unwrap();
    assert!(compared.contains("verdict: deny -> needs-review\n"), "{compared}");
    assert!(compared.contains("gone: deny commercial-use-forbidden (CC-BY-NC-4.0, clause "), "{compared}");
    assert!(!compared.contains("data-license-unknown"), "{compared}");
    let back = stdout(&sealwright(dir.path(), &["check", "shop", "--compare", "other", "shop/base"]));
    assert!(back.contains("new: deny commercial-use-forbidden (CC-BY-NC-4.0, clause "), "{back}");
    let page = stdout(&sealwright(dir.path(), &[&both[..], &["--html"]].concat()));
    assert!(page.contains("<h2>What changes</h2>") && page.matches("<p class=\"verdict ").count() == 2);
    let same = stdout(&sealwright(dir.path(), &["check", "shop", "--compare", "other", "other"]));
    assert!(same.contains("the same findings and duties"), "{same}");
    assert!(!stdout(&sealwright(dir.path(), &["check", "shop"])).contains("instead of"));
    // one folder is compared with the product's own base
    let own = stdout(&sealwright(dir.path(), &["check", "shop", "--compare", "other"]));
    assert!(own.contains("\nother instead of shop/base\n  verdict: deny -> needs-review\n"), "{own}");
    let json = stdout(&sealwright(dir.path(), &[&both[..], &["--json"]].concat()));
    let document: Value = serde_json::from_str(&json).unwrap();
    cases::conforms("comparison", &document);
    let annex = stdout(&sealwright(dir.path(), &["check", "shop", "--annex", "--json"]));
    cases::conforms("annex", &serde_json::from_str(&annex).unwrap());
    assert_eq!(
        (document["bases"][1]["base"].as_str(), document["bases"].as_array().unwrap().len()),
        (Some("other"), 2)
    );
    let changes = &document["comparisons"][0]["changes"];
    assert_eq!((&changes["verdict"]["was"], &changes["verdict"]["is"]), (&"deny".into(), &"needs-review".into()));
    assert_eq!(changes["gone"]["findings"][0]["code"], "commercial-use-forbidden");
    let why = sealwright(dir.path(), &["check", "shop", "--why", "limit", "--compare", "other"]);
    assert_eq!(why.status.code(), Some(2));
}

#[test]
fn why_goes_from_the_evidence_to_the_verdict() {
    let dir = shop("CC-BY-NC-4.0");
    let output = sealwright(dir.path(), &["check", "shop", "--why", "commercial-use"]);
    assert_eq!(output.status.code(), Some(1));
    let out = stdout(&output);
    let steps = [
        "term: commercial-use\n",
        "LICENSE (text) -> CC-BY-NC-4.0\n",
        "record: read whole on ",
        "says: no (clause ",
        "finding: commercial-use-forbidden, deny by org/default.toml:",
        "the policy on this term's findings\n",
        "commercial-use-silent: review, by org/default.toml:",
        "of this term: deny\nverdict: deny\n",
    ];
    let mut rest = out.as_str();
    for step in steps {
        rest = rest.split_once(step).unwrap_or_else(|| panic!("no {step:?} in {rest}")).1;
    }
    let by_code = stdout(&sealwright(dir.path(), &["check", "shop", "--why", "data-license-unknown", "--json"]));
    let why: Value = serde_json::from_str(&by_code).unwrap();
    cases::conforms("why", &why);
    assert_eq!((why["term"].as_str(), why["of-term"].as_str()), (Some("data"), Some("needs-review")));
    assert_eq!(why["traces"][1]["findings"][0]["code"], "data-license-unknown");
    let wrong = sealwright(dir.path(), &["check", "shop", "--why", "comercial-use"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("did you mean `commercial-use`?"));
}

#[test]
fn explain_names_the_clauses_of_every_licence_that_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let out = stdout(&sealwright(dir.path(), &["explain", "name-prefix-missing"]));
    let clauses = out.split("Licences on record that can lead to it:\n").nth(1).unwrap();
    assert!(
        clauses.contains("  LicenseRef-llama-3.1: name-prefix: Llama (clause 1.b.i, last sentence)\n"),
        "{clauses}"
    );
    assert!(!clauses.contains("Apache-2.0"));
    // each licence says from which texts its facts were read, and when
    let line = clauses.lines().skip_while(|l| !l.contains("LicenseRef-llama-3.1: ")).nth(1).unwrap();
    let record = POLICIES.get_file("licenses/llama-3.1.toml").unwrap().contents_utf8().unwrap();
    let digest = record.split("sha256 = \"").nth(1).unwrap();
    assert!(line.starts_with("    read whole on 2026-") && line.contains(&digest[..12]), "{line}");
    assert!(out.contains("What a person is asked, where one must look:\n  Will the product's name begin with …?\n"));
    assert!(!stdout(&sealwright(dir.path(), &["explain", "no-license"])).contains("Licences on record"));
    let json = stdout(&sealwright(dir.path(), &["explain", "commercial-use-forbidden", "--json"]));
    let page: Value = serde_json::from_str(&json).unwrap();
    let of = page["clauses"].as_array().unwrap().iter().find(|c| c["license"] == "CC-BY-NC-4.0").unwrap();
    assert!(of["texts"][0]["sha256"].as_str().unwrap().len() == 64 && of["read-on"].is_string(), "{of}");
}

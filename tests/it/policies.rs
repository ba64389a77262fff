//! An organisation's decisions: reasons, ends, several files, lines that decide nothing.

use crate::commands::{sealwright, stderr, stdout};
use crate::license::copy_policies;
use sealwright::base::Base;
use sealwright::data::POLICIES;
use sealwright::error::Error;
use sealwright::license::*;
use tempfile::TempDir;

/// The program's policies, this file of `org/` beside the default.
fn folder(name: &str, text: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_policies(&POLICIES, dir.path(), &|_, text| text.to_owned());
    std::fs::write(dir.path().join("org").join(name), text).unwrap();
    dir
}

fn refused(text: &str) -> Error {
    Policies::load(Some(folder("shop.toml", text).path())).err().unwrap_or_else(|| panic!("taken: {text}"))
}

/// What a product on a base under MIT is told on this day.
fn judged(policies: &Policies, day: &str) -> Report {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    std::fs::write(dir.path().join("LICENSE"), spdx::license_id("MIT").unwrap().text()).unwrap();
    let subject = Subject::read(&Base::open(dir.path()).unwrap(), None).unwrap();
    let declared = Use {
        fields: Some(vec![]),
        trains_models_on_outputs: Some(false),
        ..Use::new("Example Works", "Example", Ship::Adapter)
    };
    check(&subject, &declared, policies, &[], format!("{day}T12:00:00Z").parse().unwrap())
}

fn day(text: &str) -> jiff::civil::Date {
    text.parse().unwrap()
}

const ENDS: &str =
    "[severity]\nduties-apply = { severity = \"review\", reason = \"until the audit\", until = \"2026-06-30\" }\n";

#[test]
fn a_decision_ends_and_the_default_holds_again() {
    let dir = folder("shop.toml", ENDS);
    let policies = Policies::load(Some(dir.path())).unwrap();
    let before = judged(&policies, "2026-06-30");
    let duties = |report: &Report| report.findings().iter().find(|f| f.code.name() == "duties-apply").unwrap().clone();
    assert_eq!(before.verdict(), Verdict::NeedsReview);
    assert_eq!(duties(&before).policy, "org/shop.toml:2");
    assert_eq!(duties(&before).policy_reason.as_deref(), Some("until the audit"));
    assert_eq!(before.expires(), day("2026-06-30"));
    assert!(policies.unused(day("2026-06-30")).is_empty());

    let after = judged(&policies, "2026-07-01");
    assert_eq!(after.verdict(), Verdict::AllowWithObligations);
    assert!(duties(&after).policy.starts_with("org/default.toml:") && duties(&after).policy_reason.is_none());
    let unused = policies.unused(day("2026-07-01"));
    assert!(unused[0].starts_with("org/shop.toml:2: duties-apply held until 2026-06-30, now org/default.toml:"));
    assert_ne!(before.digests().policy, judged(&Policies::load(None).unwrap(), "2026-06-30").digests().policy);
}

#[test]
fn a_line_of_the_default_file_that_ended_gives_way_to_the_programs_own() {
    let dir = tempfile::tempdir().unwrap();
    let ends = ENDS.lines().nth(1).unwrap();
    copy_policies(&POLICIES, dir.path(), &|_, text| text.replace("duties-apply = \"obligation\"", ends));
    let policies = Policies::load(Some(dir.path())).unwrap();
    assert_eq!(judged(&policies, "2026-06-01").verdict(), Verdict::NeedsReview);
    let after = judged(&policies, "2026-07-01");
    assert_eq!(after.verdict(), Verdict::AllowWithObligations);
    assert!(after.findings().iter().any(|f| f.policy.starts_with("the program's org/default.toml:")));
}

#[test]
fn lines_that_decide_nothing_are_named() {
    assert_eq!(Policies::load(None).unwrap().unused(day("2026-06-01")), Vec::<String>::new());
    let dir = folder("shop.toml", "[severity]\nno-license = \"review\"\n");
    let unused = Policies::load(Some(dir.path())).unwrap().unused(day("2026-06-01"));
    assert_eq!(unused.len(), 1);
    assert!(unused[0].starts_with("org/shop.toml:2: no-license says what org/default.toml:"), "{unused:?}");
    // other files may forbid more fields; one that is forbidden already is said
    let fields = folder("shop.toml", "[fields]\nforbidden = [\"medical-advice\", \"military\"]\n");
    let policies = Policies::load(Some(fields.path())).unwrap();
    assert!(policies.forbids_field("medical-advice") && policies.forbids_field("malware"));
    let unused = policies.unused(day("2026-06-01"));
    assert!(unused.len() == 1 && unused[0].starts_with("org/shop.toml:2: military is forbidden at org/default.toml:"));
    // the command says so, and its report stays the report
    let product = include_str!("../../examples/01-helpdesk/sealwright.toml");
    std::fs::create_dir_all(dir.path().join("shop/base")).unwrap();
    std::fs::write(dir.path().join("shop/sealwright.toml"), product).unwrap();
    std::fs::write(dir.path().join("shop/base/config.json"), "{}").unwrap();
    let policies = dir.path().to_str().unwrap();
    let output = sealwright(dir.path(), &["check", "shop", "--policies", policies, "--json"]);
    assert!(stderr(&output).contains("note: a line of the policy is not used: org/shop.toml:2"), "{}", stderr(&output));
    assert!(serde_json::from_str::<serde_json::Value>(&stdout(&output)).is_ok());
}

#[test]
fn a_wrong_decision_is_refused_with_its_place() {
    for (text, said, hint) in [
        ("no-license = \"revew\"", "org/shop.toml:2:14: unknown variant `revew`", Some("did you mean `review`?")),
        ("no-licence = \"deny\"", "org/shop.toml:2: no such finding: no-licence", Some("did you mean `no-license`?")),
        (
            "no-license = { severity = \"deny\", untill = \"2026-01-01\" }",
            "unknown field `untill`",
            Some("did you mean `until`?"),
        ),
        ("no-license = { severity = \"deny\", until = \"2026-01-01\" }", "org/shop.toml:2: no-license ends", None),
        ("no-license = { severity = \"note\" }", "org/shop.toml:2: no-license may not be milder", None),
        ("no-license = 3", "org/shop.toml:2:14", None),
    ] {
        let error = refused(&format!("[severity]\n{text}\n"));
        assert!(error.to_string().contains(said), "{text}: {error}");
        assert!(hint.is_none() || error.hint() == hint, "{text}: {:?}", error.hint());
    }
    let error = refused("[fields]\nforbidden = [\n  \"military\",\n  \"milltary\",\n]\n");
    assert_eq!(error.to_string(), "org/shop.toml:4: unknown field of use: milltary");
    assert_eq!(error.hint(), Some("did you mean `military`?"));
    let dir = folder("a.toml", "[severity]\nno-license = \"deny\"\n");
    std::fs::write(dir.path().join("org/b.toml"), "[severity]\n\nno-license = \"review\"\n").unwrap();
    let error = Policies::load(Some(dir.path())).err().unwrap();
    assert_eq!(error.to_string(), "org/b.toml:3: no-license is decided at org/a.toml:2, too");
}

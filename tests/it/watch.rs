//! What was shipped is judged again: unchanged, better, worse, without the base at hand.

use crate::cases;
use crate::commands::{sealwright, stderr, stdout};
use crate::license::{copy_policies, declared, with_made_up_texts};
use crate::pack::product;
use sealwright::base::Base;
use sealwright::data::POLICIES;
use sealwright::digest::Sha256;
use sealwright::license::*;
use serde_json::Value;
use std::path::Path;

const RECORD: &str = ".sealwright/shipped/shop-1.0.0-acme.json";

/// Judges with the program's policies, one file changed.
fn watch_with(folder: &Path, file: &str, from: &str, to: &str) -> (Option<i32>, String) {
    let policies = tempfile::tempdir().unwrap();
    copy_policies(&POLICIES, policies.path(), &|path, text| {
        if path != Path::new(file) {
            return text.to_owned();
        }
        assert!(text.contains(from), "{file} has no {from}");
        text.replace(from, to)
    });
    let output = sealwright(folder, &["check", "--policies", policies.path().to_str().unwrap(), "--watch", "."]);
    (output.status.code(), stdout(&output) + &stderr(&output))
}

#[test]
fn what_was_shipped_is_judged_again() {
    let dir = tempfile::tempdir().unwrap();
    product(dir.path(), 8, "");
    assert!(sealwright(dir.path(), &["pack"]).status.success());
    // the base is gone, and nobody misses it
    let file = dir.path().join("sealwright.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let at = text.find("path = ").unwrap();
    std::fs::write(&file, text[..at].to_owned() + "path = \"nowhere\"" + &text[at + text[at..].find('\n').unwrap()..])
        .unwrap();

    for path in [".", RECORD] {
        let same = sealwright(dir.path(), &["check", "--watch", path]);
        assert_eq!(same.status.code(), Some(0), "{}", stderr(&same));
        assert!(stdout(&same).starts_with("shop-1.0.0 for acme, judged on "), "{}", stdout(&same));
        assert!(stdout(&same).ends_with(": unchanged, allow-with-obligations\n"), "{}", stdout(&same));
    }

    let license = "licenses/apache-2.0.toml";
    let duty = "[[obligation]]\nkind = \"disclose-ai\"\nclause = \"4.x\"\n\n[[obligation]]\nkind = \"state-changes\"";
    let (code, said) = watch_with(dir.path(), license, "[[obligation]]\nkind = \"state-changes\"", duty);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains(": worse\n  verdict: allow-with-obligations, as before\n"), "{said}");
    assert!(said.contains("another one than then: the records of licences\n"), "{said}");
    assert!(said.contains("record of Apache-2.0, disclose-ai: nothing -> disclose-ai (4.x)\n"), "{said}");
    assert!(said.contains("new: duty disclose-ai (Apache-2.0, clause 4.x)\n"), "{said}");

    let (code, said) = watch_with(
        dir.path(),
        license,
        "derivative-distribution = \"allowed\"\nderivative-own-terms = \"allowed\"",
        "derivative-distribution = \"forbidden\"\nderivative-own-terms = \"forbidden\"",
    );
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("verdict: allow-with-obligations -> needs-review\n"), "{said}");
    assert!(said.contains("derivative-distribution: allowed ("), "{said}");
    assert!(said.contains("new: review derivative-forbidden (Apache-2.0"), "{said}");

    let (code, said) =
        watch_with(dir.path(), "org/default.toml", "duties-apply = \"obligation\"", "duties-apply = \"review\"");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("another one than then: the organisation's policy\n"), "{said}");
    assert!(said.contains("new: review duties-apply") && said.contains("gone: obligation duties-apply"), "{said}");
    assert!(said.contains("question: Will all of these duties be met?"), "{said}");

    // less is no alarm
    let (code, said) =
        watch_with(dir.path(), license, "[[obligation]]\nkind = \"state-changes\"\nclause = \"4.b\"\n", "");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(": changed\n") && said.contains("gone: duty state-changes"), "{said}");

    let json = sealwright(dir.path(), &["check", "--watch", ".", RECORD, "--json"]);
    let document: Value = serde_json::from_slice(&json.stdout).unwrap();
    cases::conforms("watch", &document);
    assert_eq!((&document["worse"], document["watched"].as_array().unwrap().len()), (&false.into(), 2));
    assert_eq!(document["watched"][0]["unchanged"], true);
}

#[test]
fn nothing_shipped_or_a_foreign_file_is_said() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x.json"), "{\"format\": 1}").unwrap();
    std::fs::write(dir.path().join("new.json"), "{\"format\": 2}").unwrap();
    for (path, said) in [
        (".", "nothing shipped"),
        ("x.json", "missing field"),
        ("new.json", "newer program"),
        ("no", "nothing shipped"),
    ] {
        let output = sealwright(dir.path(), &["check", "--watch", path]);
        assert_eq!(output.status.code(), Some(2), "{path}");
        assert!(stderr(&output).contains(said), "{path}: {}", stderr(&output));
    }
    assert_eq!(sealwright(dir.path(), &["check", ".", "--watch", "x.json"]).status.code(), Some(2));
}

#[test]
fn a_line_that_is_crossed_later_is_seen_and_a_lapsed_ruling_is_named() {
    let (policies, text, policy) = with_made_up_texts("LicenseRef-llama-3.1");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    std::fs::write(dir.path().join("LICENSE"), text).unwrap();
    std::fs::write(dir.path().join("USE_POLICY"), policy).unwrap();
    let subject = Subject::read(&Base::open(dir.path()).unwrap(), None).unwrap();
    let mut asked = declared();
    asked.title = "Llama Helpdesk".into();
    asked.fields = None;
    let now = "2026-06-01T12:00:00Z".parse().unwrap();
    let first = check(&subject, &asked, &policies, &[], now);
    let open = first.findings().iter().filter(|f| f.severity == Severity::Review);
    let rulings: Vec<Ruling> =
        open.map(|f| Ruling::answer(f, first.digests(), "counsel", "read", first.judged())).collect();
    let report = check(&subject, &asked, &policies, &rulings, now);
    report.clear_for("acme").unwrap();

    let path = dir.path().join("kept.json");
    let bundle = Sha256::of("bundle");
    let all = Asked { subject: &subject, declared: &asked, rulings: &rulings, policies: &policies };
    Shipped::new(all, &report, "helpdesk-1.0.0".into(), "acme", bundle).write(&path).unwrap();
    let kept = Shipped::read(&path).unwrap();
    assert!(kept.judge_again(None, &[], &policies, now).is_unchanged());
    assert!(kept.judge_again(Some(&asked), &[], &policies, now).is_unchanged());

    let mut grown = asked.clone();
    grown.users_now = Some(800_000_000);
    let found = kept.judge_again(Some(&grown), &[], &policies, now);
    assert!(found.is_worse());
    assert_eq!(found.bound, ["the declared use"]);
    assert!(found.changes.new.findings.iter().any(|f| f.code == FindingCode::LimitReadingOpen), "{:?}", found.changes);
    assert_eq!(found.lapsed.len(), rulings.len());
    assert!(found.facts.is_empty());
}

//! A customer's rule: what it lets in, what it refuses with the rule's line, and that the example is a rule.

use crate::commands::{sealwright, stderr, stdout};
use crate::pack::{BUNDLE, product};
use sealwright::bundle::Admission;
use std::path::Path;

fn says(folder: &Path, rule: &str, args: &[&str]) -> (Option<i32>, String) {
    std::fs::write(folder.join("rule.toml"), rule).unwrap();
    let output = sealwright(folder, &[args, &["--trust", "vendor.pub.pem", "--policy", "rule.toml"]].concat());
    (output.status.code(), stderr(&output))
}

#[test]
fn a_rule_lets_in_or_names_each_breach_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    product(dir.path(), 8, "");
    assert!(sealwright(dir.path(), &["pack"]).status.success());
    let inspected = stdout(&sealwright(dir.path(), &["inspect", BUNDLE, "--json"]));
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    let key = inspected["keyid"].as_str().unwrap();
    let licence = inspected["report"]["licenses"][0]["id"].as_str().unwrap();
    let kept = format!(
        "signers = [{key:?}]\nvendors = [\"Example Works\"]\nproducts = [\"shop\"]\nlicenses = [{licence:?}]\n\
         verdict = \"allow-with-obligations\"\nsize = \"1 MiB\"\nactive-content = []\ndevelopment = false\nage-days = 1\n"
    );
    let open = ["open", BUNDLE, "--identity", "identity.txt", "--out", "opened"];
    let (exit, said) = says(dir.path(), &kept, &["verify", BUNDLE]);
    assert_eq!(exit, Some(0), "{said}");
    let broken = "licenses = [\"Example-1.0\"]\nproducts = [\"desk\"]\n";
    let (exit, said) = says(dir.path(), broken, &open);
    assert!(exit == Some(1) && said.contains("rule.toml:2: products: shop"), "{said}");
    let (exit, said) = says(dir.path(), "\nlicenses = [\"Example-1.0\"]\n", &open);
    assert!(exit == Some(1) && said.contains(&format!("rule.toml:2: licenses: {licence}")), "{said}");
    assert!(!dir.path().join("opened").exists());
    assert_eq!(says(dir.path(), "licences = []\n", &open).0, Some(2), "an unknown key is no rule");
    assert_eq!(says(dir.path(), &kept, &open).0, Some(0));
}

#[test]
fn inspect_shows_what_a_rule_asks_about_and_a_renewal_beside_the_bundle() {
    let dir = tempfile::tempdir().unwrap();
    product(dir.path(), 8, "");
    assert!(sealwright(dir.path(), &["pack"]).status.success());
    let before = stdout(&sealwright(dir.path(), &["inspect", BUNDLE]));
    for said in ["verdict    allow", "licences   ", "key id     ", "issued     ", "size       "] {
        assert!(before.contains(said), "{said}: {before}");
    }
    assert!(!before.contains("renewal"));
    let renewed = sealwright(dir.path(), &["renew", BUNDLE, "--until", "2100-01-31", "--product", "."]);
    assert!(renewed.status.success(), "{}", stderr(&renewed));
    let after = stdout(&sealwright(dir.path(), &["inspect", BUNDLE]));
    assert!(after.contains("renewal    through 2100-01-31"), "{after}");
}

#[test]
fn the_example_is_a_rule_with_every_key_that_its_page_describes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("examples/policies/admission.toml");
    Admission::read(&path).unwrap();
    let keys = |text: &str, begin: &str, end: &str| -> Vec<String> {
        text.lines().filter_map(|l| Some(l.strip_prefix(begin)?.split_once(end)?.0.to_owned())).collect()
    };
    let page = std::fs::read_to_string(root.join("docs/admission.md")).unwrap();
    assert_eq!(keys(&std::fs::read_to_string(path).unwrap(), "", " = "), keys(&page, "| `", "`"));
}

//! Duties are done, not listed: for every record, a bundle under its licence is packed and holds what each duty that is
//! `pack`'s asks for; and where a text is missing, packing refuses and names the duty.

use crate::license::{copy_policies, declared};
use sealwright::base::{Base, Fingerprint};
use sealwright::bundle::{self, PackPlan, Papers, ProductName};
use sealwright::data::POLICIES;
use sealwright::digest::Sha256;
use sealwright::error::{Code, Result};
use sealwright::license::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tempfile::TempDir;

const NOTICE_OF_BASE: &str = "Copyright 2026 the base's makers\n";

fn made_up(id: &str, role: &str) -> String {
    format!("the made up {role} of {id}\n")
}

/// The program's policies, but every text on record is made up.
fn policies() -> (TempDir, Policies) {
    let own = Policies::load(None).unwrap();
    let dir = tempfile::tempdir().unwrap();
    copy_policies(&POLICIES, dir.path(), &|path, text| {
        if !path.starts_with("licenses") {
            return text.to_owned();
        }
        let id = text.split('"').nth(1).unwrap();
        let (mut role, mut lines) = (String::new(), Vec::new());
        for line in text.lines() {
            if let Some(word) = line.strip_prefix("role = ") {
                role = word.trim_matches('"').to_owned();
            }
            let digest = line.strip_prefix("sha256 = ").filter(|_| !role.is_empty());
            let digest = digest.map(|_| format!("sha256 = \"{}\"", fingerprint(&made_up(id, &role), id, &own).0));
            lines.push(digest.unwrap_or_else(|| line.to_owned()));
        }
        lines.join("\n")
    });
    let policies = Policies::load(Some(dir.path())).unwrap();
    (dir, policies)
}

/// The mildest use: what reviews it leaves, a person has answered.
fn cleared(policies: &Policies, record: &Record, files: &[(&str, String)]) -> Result<Clearance> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    files.iter().for_each(|(name, text)| std::fs::write(dir.path().join(name), text).unwrap());
    let subject = Subject::read(&Base::open(dir.path()).unwrap(), None).unwrap();
    let prefix = record.obligations.iter().find(|d| d.kind == "name-prefix").and_then(|d| d.words.clone());
    let mut asked = declared();
    asked.commercial = false;
    asked.terms = "same".into();
    asked.title = format!("{} Helpdesk", prefix.unwrap_or("Example".into()));
    let now = "2026-06-01T12:00:00Z".parse().unwrap();
    let first = check(&subject, &asked, policies, &[], now);
    let open = first.findings().iter().filter(|f| f.severity == Severity::Review);
    let rulings: Vec<Ruling> =
        open.map(|f| Ruling::answer(f, first.digests(), "counsel", "read", first.judged())).collect();
    check(&subject, &asked, policies, &rulings, now).clear()
}

/// Packs a small derivative; the entries of the bundle by name.
fn packed(clearance: &Clearance) -> Result<BTreeMap<String, Vec<u8>>> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("adapter")).unwrap();
    std::fs::write(dir.path().join("adapter/adapter_model.safetensors"), [7; 8]).unwrap();
    let files = bundle::gather(&dir.path().join("adapter"), None).unwrap().files;
    let content = bundle::Content::new(&files, None).unwrap();
    let of = |part: &str| Sha256::of(part);
    let fingerprint = Fingerprint { weights: of("w"), config: of("c"), tokenizer: of("t"), template: of("m") };
    let recipient = bundle::write_new_identity(&dir.path().join("id.txt")).unwrap();
    let signer = sealwright::sign::SigningKey::generate(false);
    let plan = PackPlan {
        papers: &Papers::from_clearance(clearance),
        content: &content,
        active: &BTreeSet::new(),
        vendor: "Example Works",
        product: ProductName { name: "helpdesk".into(), title: "Example".into(), version: "1.0.0".into() },
        terms: "same",
        purpose: "",
        bases: vec![bundle::Base { name: "example-base".into(), fingerprint }],
        recipe: None,
        data: &[],
        metrics: &[],
        customer: "acme",
        from: None,
        until: "2099-12-31".parse().unwrap(),
        uses: &[bundle::Use::Open],
        machines: None,
        seats: None,
        recipients: &[recipient],
        issued: "2026-06-01T12:00:00Z".parse().unwrap(),
        signer: &signer,
    };
    let out = dir.path().join("out.sealed");
    bundle::pack(&plan, &out)?;
    let mut archive = tar::Archive::new(std::fs::File::open(&out).unwrap());
    let entry = |mut e: tar::Entry<'_, std::fs::File>| {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut e, &mut bytes).unwrap();
        (e.path().unwrap().display().to_string(), bytes)
    };
    Ok(archive.entries().unwrap().map(|e| entry(e.unwrap())).collect())
}

/// Does the bundle hold what the duty asks for?
fn is_done(duty: &Obligation, record: &Record, bundle: &BTreeMap<String, Vec<u8>>) -> bool {
    let text = |name: &str| bundle.get(name).map(|b| String::from_utf8(b.clone()).unwrap()).unwrap_or_default();
    let licence = text(&format!("LICENSES/{}.txt", record.id));
    let notice = text("NOTICE");
    match duty.term.as_str() {
        "ship-licence-text" => licence == made_up(&record.id, "licence"),
        "ship-use-policy" => {
            let apart = record.texts.iter().any(|t| t.role == Role::UsePolicy);
            let policy = made_up(&record.id, "use-policy").into_bytes();
            if apart { bundle.values().any(|b| *b == policy) } else { licence == made_up(&record.id, "licence") }
        }
        "notice-file" | "disclaimer-words" => notice.contains(duty.words.as_deref().unwrap()),
        "retain-notices" => notice.contains(NOTICE_OF_BASE.trim()),
        "state-changes" => notice.contains("changed the base model") && notice.contains("fine-tuned"),
        "attribute-source" => notice.contains(&record.name) && notice.contains(&record.id),
        other => panic!("no test knows what {other} asks for"),
    }
}

#[test]
fn every_records_duties_are_in_the_bundle_or_packing_refuses() {
    let (_dir, policies) = policies();
    let (mut done, mut denied, mut refused) = (BTreeSet::new(), Vec::new(), Vec::new());
    for record in policies.records() {
        let mut files = vec![("NOTICE", NOTICE_OF_BASE.to_owned())];
        let has = |role| record.texts.iter().any(|t| t.role == role && t.sha256.is_some());
        if has(Role::Licence) {
            files.push(("LICENSE", made_up(&record.id, "licence")));
        } else {
            files.push(("README.md", format!("---\nlicense: other\nlicense_name: {}\n---\n", record.id)));
        }
        if has(Role::UsePolicy) {
            files.push(("USE_POLICY", made_up(&record.id, "use-policy")));
        }
        let clearance = match cleared(&policies, record, &files) {
            Err(error) if error.code == Code::Denied => {
                denied.push(record.id.clone());
                continue;
            }
            cleared => cleared.unwrap(),
        };
        let unmet: Vec<&Obligation> = clearance.unmet().collect();
        match (packed(&clearance), unmet.first()) {
            (Ok(bundle), None) => {
                for duty in clearance.obligations().iter().filter(|o| o.done_by == DoneBy::Pack) {
                    assert!(is_done(duty, record, &bundle), "{}: {}", record.id, duty.term);
                    assert!(bundle.contains_key(duty.met_by.as_ref().unwrap()), "{}: {:?}", record.id, duty.met_by);
                    done.insert(duty.term.clone());
                }
                let report: serde_json::Value = serde_json::from_slice(&bundle["report.json"]).unwrap();
                assert_eq!(report["annex"], clearance.annex_digest().to_string());
            }
            (Err(error), Some(duty)) => {
                assert_eq!(error.code, Code::UnmetObligation, "{}: {error}", record.id);
                assert!(error.to_string().contains(&duty.term), "{error}");
                refused.push(record.id.clone());
            }
            // a licence that lays no duty and has no text on record has nothing to hand on
            (Err(error), None) => {
                assert_eq!((error.code, has(Role::Licence)), (Code::UnmetObligation, false), "{}: {error}", record.id);
            }
            (Ok(_), Some(duty)) => panic!("{}: packed without {}", record.id, duty.term),
        }
    }
    let asked: BTreeSet<String> = policies.records().flat_map(|r| &r.obligations).map(|d| d.kind.clone()).collect();
    let packs: BTreeSet<String> = asked.into_iter().filter(|k| policies.duty(k).done_by == DoneBy::Pack).collect();
    assert_eq!(done, packs, "denied: {denied:?}, refused: {refused:?}");
    let forbidding = denied
        .iter()
        .all(|id| policies.record(id).is_some_and(|r| r.derivative_distribution != DerivativeDistribution::Allowed));
    assert!(forbidding && denied.len() < 12, "{denied:?}");
}

#[test]
fn a_licence_without_its_text_is_not_packed() {
    let (_dir, policies) = policies();
    let mut refused = 0;
    for record in policies.records().filter(|r| !r.spdx_listed && r.duties("ship-licence-text").next().is_some()) {
        let card = format!("---\nlicense: other\nlicense_name: {}\n---\n", record.id);
        // what only the card says denies nothing
        let clearance = cleared(&policies, record, &[("README.md", card)]).unwrap();
        let error = packed(&clearance).unwrap_err();
        assert_eq!(error.code, Code::UnmetObligation);
        assert!(error.to_string().starts_with(&record.id) && error.hint().is_some(), "{error}");
        refused += 1;
    }
    assert!(refused > 30, "{refused}");
}

#[test]
fn what_is_hosted_is_not_left_to_pack() {
    let (_dir, policies) = policies();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    std::fs::write(dir.path().join("LICENSE"), made_up("LicenseRef-llama-3.1", "licence")).unwrap();
    let subject = Subject::read(&Base::open(dir.path()).unwrap(), None).unwrap();
    let mut asked = declared();
    asked.ship = Ship::Nothing;
    let report = check(&subject, &asked, &policies, &[], "2026-06-01T12:00:00Z".parse().unwrap());
    assert!(!report.obligations().is_empty());
    assert!(report.obligations().iter().all(|o| o.done_by != DoneBy::Pack), "{:?}", report.obligations());
}

#[test]
fn the_annex_names_clauses_and_files_and_no_day() {
    let (_dir, policies) = policies();
    let record = policies.record("LicenseRef-gemma-2025-03-24").unwrap();
    let files = [("LICENSE", made_up(&record.id, "licence")), ("USE_POLICY", made_up(&record.id, "use-policy"))];
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    files.iter().for_each(|(name, text)| std::fs::write(dir.path().join(name), text).unwrap());
    let subject = Subject::read(&Base::open(Path::new(dir.path())).unwrap(), None).unwrap();
    let annex = |day: &str| {
        let mut asked = declared();
        asked.title = "Example | *Helpdesk*".into();
        check(&subject, &asked, &policies, &[], format!("{day}T12:00:00Z").parse().unwrap()).annex().to_owned()
    };
    let text = annex("2026-06-01");
    for word in [
        "# Annex: what the licences behind Example \\| \\*Helpdesk\\* ask of the customer",
        "no legal advice",
        "LICENSES/LicenseRef-gemma-2025-03-24.txt",
        "LICENSES/LicenseRef-gemma-2025-03-24-use-policy.txt",
        "## 2. Uses that are not allowed",
        "terms that can be enforced against the customer (clause ",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    for field in &record.field_of_use {
        assert!(text.contains(&format!("(`{field}`: {})", record.id)), "{field}");
    }
    assert_eq!(text, annex("2026-06-02"));
}

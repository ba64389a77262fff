//! The licence corpus: what the program reports on each case of `tests/licenses/` is compared with its snapshot, or for
//! a decisive scenario with the verdict that its line argues. `SEALWRIGHT_SNAPSHOTS=write` writes the snapshots anew.

use crate::cases::{self, Case, TEXTS_VARIABLE};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};

/// Files of cases that have a snapshot each.
const SNAPSHOT_FILES: [&str; 5] = ["records.toml", "evidence.toml", "uses.toml", "chains.toml", "data.toml"];
const SCENARIOS: &str = "scenarios.toml";
/// No more first differences are printed than this.
const MAX_SHOWN: usize = 8;

static CASES: LazyLock<Vec<Case>> =
    LazyLock::new(|| SNAPSHOT_FILES.iter().flat_map(|name| cases::read(name)).collect());

/// A test's own words, which the harness doesn't swallow when it passes.
pub fn aloud(text: &str) {
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).unwrap();
}

/// Each case on some thread; what `judged` says against it, and how many could not be filled in.
fn over(cases: &[Case], judged: impl Fn(&Case, &Value, Option<i32>) -> Option<String> + Sync) -> (Vec<String>, usize) {
    let (next, skipped, complaints) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            match case.judge() {
                Some((report, exit)) => complaints.lock().unwrap().extend(judged(case, &report, exit)),
                None => drop(skipped.fetch_add(1, Ordering::Relaxed)),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let mut complaints = complaints.into_inner().unwrap();
    complaints.sort();
    (complaints, skipped.into_inner())
}

fn conclude(what: &str, count: usize, skipped: usize, complaints: &[String], remedy: &str) {
    let reason = if skipped > 0 { format!(" (their texts are not at hand: {TEXTS_VARIABLE})") } else { String::new() };
    aloud(&format!("{what}: {} judged, {skipped} skipped{reason}", count - skipped));
    let shown = complaints.iter().take(MAX_SHOWN).cloned().collect::<Vec<_>>().join("\n");
    assert!(complaints.is_empty(), "{} of {count} differ; {remedy}\n{shown}", complaints.len());
}

#[test]
fn reports_are_as_their_snapshots() {
    let folder = cases::folder().join("snapshots");
    let write = std::env::var("SEALWRIGHT_SNAPSHOTS").is_ok_and(|how| how == "write");
    let (complaints, skipped) = over(&CASES, |case, report, _| {
        if let Some(complaint) = untraced(report) {
            return Some(format!("{}: {complaint}", case.name));
        }
        let (path, now) = (folder.join(format!("{}.json", case.name)), pruned(report));
        if write {
            std::fs::write(&path, now).unwrap();
            return None;
        }
        let then = std::fs::read_to_string(&path).unwrap_or_default();
        difference(&case.name, &then, &now)
    });
    let remedy = "if that is meant: SEALWRIGHT_SNAPSHOTS=write cargo test --release corpus";
    conclude("licence corpus", CASES.len(), skipped, &complaints, remedy);
    let names: BTreeSet<String> = CASES.iter().map(|c| format!("{}.json", c.name)).collect();
    assert_eq!(names.len(), CASES.len(), "two cases have one name");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(names.contains(&name), "a snapshot of no case: {name}");
    }
}

/// What a report owes to whoever reads it: a plain question with each review, and for each licence that it cites from
/// which texts its facts were read, and when.
fn untraced(report: &Value) -> Option<String> {
    let list = |key: &str| report[key].as_array().unwrap().iter();
    let asks = |f: &&Value| f["question"].as_str().is_some_and(|q| q.ends_with('?') && !q.contains(['{', '}']));
    let open = |f: &&Value| f["severity"] == "review";
    if let Some(finding) = list("findings").filter(open).find(|f| !asks(f)) {
        return Some(format!("no question that can be answered: {finding}"));
    }
    let cited =
        list("licenses").map(|l| &l["id"]).chain(list("findings").chain(list("obligations")).map(|f| &f["license"]));
    let ids: BTreeSet<&str> =
        cited.filter_map(Value::as_str).filter(|id| cases::POLICIES.record(id).is_some()).collect();
    let read = |id: &&str| {
        let record = &report["records"][*id];
        let by_digest = |text: &Value| text["sha256"].is_string() || text["standing"] != "read";
        record["read-on"].is_string() && record["texts"].as_array().is_some_and(|texts| texts.iter().all(by_digest))
    };
    ids.into_iter().find(|id| !read(id)).map(|id| format!("nothing says from what the facts of {id} were read"))
}

/// The first line that differs.
fn difference(name: &str, then: &str, now: &str) -> Option<String> {
    let ((mut then, mut now), mut line) = ((then.lines(), now.lines()), 0);
    loop {
        line += 1;
        match (then.next(), now.next()) {
            (None, None) => return None,
            (a, b) if a == b => {}
            (a, b) => {
                let none = "(nothing)";
                return Some(format!(
                    "{name}, line {line}\n  then: {}\n   now: {}",
                    a.unwrap_or(none),
                    b.unwrap_or(none)
                ));
            }
        }
    }
}

/// The report without what is the same in all of them, or follows from the rest: a line an entry.
fn pruned(report: &Value) -> String {
    let mut out = String::from("{");
    for (key, value) in report.as_object().unwrap() {
        let text = match (key.as_str(), value) {
            ("digests" | "disclaimer" | "judged" | "expires" | "records", _) => continue,
            (_, Value::Array(entries)) if !entries.is_empty() => {
                let lines: Vec<String> = entries.iter().map(|entry| entry_line(key, entry)).collect();
                format!("[\n{}\n]", lines.join(",\n"))
            }
            (_, other) => other.to_string(),
        };
        let comma = if out.len() > 1 { ",\n" } else { "" };
        out += &format!("{comma}{}: {text}", Value::from(key.as_str()));
    }
    out + "}\n"
}

fn entry_line(list: &str, entry: &Value) -> String {
    let mut entry = entry.clone();
    if let Some(object) = entry.as_object_mut() {
        match list {
            // the vocabulary's words on the duty
            "obligations" => drop(object.remove("how")),
            "findings" if object["policy"].as_str().is_some_and(|p| p.starts_with("org/default.toml:")) => {
                object.shift_remove("policy");
            }
            _ => {}
        }
        if let Some(ruled) = object.get_mut("ruled").and_then(Value::as_object_mut) {
            ruled.remove("on");
        }
    }
    entry.to_string()
}

#[test]
fn decisive_scenarios_end_as_argued() {
    let scenarios = cases::read(SCENARIOS);
    assert!(scenarios.len() >= 60);
    let names: BTreeSet<&str> = scenarios.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names.len(), scenarios.len(), "two scenarios have one name");
    let (complaints, skipped) = over(&scenarios, |case, report, exit| {
        let because = case.because.as_deref().unwrap_or_else(|| panic!("{}: no argument", case.name));
        assert!(!because.is_empty() && !because.contains('\n'), "{}: one line", case.name);
        let found: BTreeSet<&str> =
            report["findings"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap()).collect();
        let wrong = |what: &str| Some(format!("{}: {what}; {because}\n  found: {found:?}", case.name));
        let (verdict, wanted) = (report["verdict"].as_str().unwrap(), case.verdict.as_deref().unwrap());
        let by_verdict = match verdict {
            "deny" => 1,
            "needs-review" => 3,
            _ => 0,
        };
        assert_eq!(exit, Some(by_verdict), "{}", case.name);
        if verdict != wanted {
            return wrong(&format!("{verdict}, and {wanted} was argued"));
        }
        if let Some(missing) = case.codes.iter().find(|c| !found.contains(c.as_str())) {
            return wrong(&format!("no {missing}"));
        }
        let unwanted = case.without.iter().find(|c| found.contains(c.as_str()));
        unwanted.and_then(|code| wrong(&format!("a {code}")))
    });
    conclude("decisive scenarios", scenarios.len(), skipped, &complaints, "argue anew or mend the rule");
}

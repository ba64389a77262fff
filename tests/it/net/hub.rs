//! Bases off the Hugging Face hub, as a small hub on this machine serves the example's base.

use super::server::{Reply, Request, Server};
use crate::commands::{command, stderr};
use sealwright::digest::Sha256;
use sealwright::net::Event;
use sealwright::net::hub::{Hub, Name, Revision, Settings, Snapshot};
use sealwright::{Code, Result};
use serde_json::{Value, json};
use sha1::Digest as _;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const MODEL: &str = "example-org/nano";

type Files = BTreeMap<String, Vec<u8>>;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The example's base, as the hub holds it.
fn nano() -> Files {
    let folder = root().join("examples/01-helpdesk/base");
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())).collect()
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".gguf")
}

fn digest(name: &str, bytes: &[u8]) -> String {
    if is_large(name) {
        return Sha256::of(bytes).to_string();
    }
    let mut hasher = sha1::Sha1::new();
    hasher.update(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hasher.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

fn listing(files: &Files) -> Reply {
    let sibling = |(name, bytes): (&String, &Vec<u8>)| {
        let mut sibling = json!({"rfilename": name, "size": bytes.len(), "blobId": digest("", bytes)});
        if is_large(name) {
            sibling["lfs"] = json!({"sha256": digest(name, bytes), "size": bytes.len(), "pointerSize": 134});
        }
        sibling
    };
    let siblings: Vec<Value> = files.iter().map(sibling).collect();
    Reply::new(200, json!({"id": MODEL, "sha": COMMIT, "siblings": siblings}).to_string())
}

/// A file, or the part of it that was asked for.
fn part(bytes: &[u8], request: &Request) -> Reply {
    let Some(range) = request.header("range").strip_prefix("bytes=") else { return Reply::new(200, bytes) };
    let (first, last) = range.split_once('-').unwrap();
    let first: usize = first.parse().unwrap();
    let last = last.parse().unwrap_or(bytes.len() - 1).min(bytes.len() - 1);
    Reply::new(206, &bytes[first..=last]).with("content-range", format!("bytes {first}-{last}/{}", bytes.len()))
}

/// What a well-behaved hub answers.
fn honest(files: &Files, request: &Request) -> Reply {
    let model = format!("/api/models/{MODEL}/revision/");
    let resolve = format!("/{MODEL}/resolve/{COMMIT}/");
    if let Some(revision) = request.path.strip_prefix(&model) {
        let known = [format!("{COMMIT}?blobs=true"), "main?blobs=true".into()];
        return if known.iter().any(|k| k == revision) {
            listing(files)
        } else {
            Reply::new(404, "").with("x-error-code", "RevisionNotFound")
        };
    }
    match request.path.strip_prefix(&resolve).and_then(|name| files.get(name)) {
        Some(bytes) => part(bytes, request),
        None => Reply::new(404, "").with("x-error-code", "EntryNotFound"),
    }
}

fn hub_of(files: Files) -> Server {
    Server::start(move |request| honest(&files, request))
}

/// The program on a copy of the example, over this hub and a cache of its own.
fn program(server: &Server, home: &Path, args: &[&str]) -> Output {
    let example = root().join("examples/01-helpdesk");
    let mut command = command(&example, args);
    for name in ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY"] {
        command.env_remove(name);
    }
    command.env("SEALWRIGHT_STATE", home.join("state"));
    command.env("HF_HOME", home).env("HF_ENDPOINT", server.url()).output().unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", stderr(output)))
}

fn settings(server: &Server, cache: &Path, token: Option<&str>) -> Settings {
    Settings::new(&server.url(), token, cache.to_owned(), false).unwrap()
}

/// Fetches every file of a commit; how often the connection was lost, and the cache's snapshot.
fn fetch(settings: Settings) -> Result<(Vec<u64>, PathBuf)> {
    let hub = Hub::new(settings)?;
    let snapshot = hub.snapshot(&Name::parse(MODEL)?, &Revision::parse(Some(COMMIT))?)?;
    let mut again = Vec::new();
    fetch_all(&snapshot, &mut again)?;
    Ok((again, snapshot.folder()))
}

fn fetch_all(snapshot: &Snapshot<'_>, again: &mut Vec<u64>) -> Result<()> {
    snapshot.fetch(snapshot.files(), &mut |event| {
        if let Event::Again(have) = event {
            again.push(have);
        }
    })
}

fn assert_whole(folder: &Path) {
    for (name, bytes) in nano() {
        assert!(std::fs::read(folder.join(&name)).unwrap() == bytes, "{name}");
    }
}

#[test]
fn a_hub_id_is_judged_like_its_folder_and_its_weights_stay_there() {
    let (server, home) = (hub_of(nano()), tempfile::tempdir().unwrap());
    let place = format!("hub:{MODEL}@{COMMIT}");
    let far = program(&server, home.path(), &["check", "--json", "--base", &place]);
    let near = program(&server, home.path(), &["check", "--json", "--base", "base"]);
    let (mut far, mut near) = (report(&far), report(&near));
    assert_eq!(far["verdict"], "allow-with-obligations");
    for report in [&mut far, &mut near] {
        report["judged"].take();
        // one names its repository, the other its norms
        report["evidence"].take();
        report["digests"].take(); // the hub's name is evidence, too
    }
    assert_eq!(far, near);
    let seen = server.seen();
    let weights: Vec<_> = seen.iter().filter(|r| r.path.ends_with(".safetensors")).collect();
    assert_eq!(weights.len(), 1, "{seen:?}");
    assert_eq!(weights[0].header("range"), "bytes=0-131071");
    let offline = program(&server, home.path(), &["check", "--json", "--offline", "--base", &place]);
    assert_eq!(report(&offline)["findings"], far["findings"], "what was judged once is judged offline");
    assert!(server.seen().is_empty());
    let cache = home.path().join("hub/models--example-org--nano");
    assert!(!cache.join(format!("snapshots/{COMMIT}/model.safetensors")).exists());
    let license = cache.join(format!("snapshots/{COMMIT}/LICENSE"));
    let blob = format!("../../blobs/{}", digest("LICENSE", &nano()["LICENSE"]));
    assert_eq!(std::fs::read_link(&license).unwrap(), Path::new(&blob));
}

#[test]
fn a_gguf_on_the_hub_is_judged_by_its_head() {
    let numbers = [("llama.embedding_length", 4096), ("llama.block_count", 32), ("llama.attention.head_count", 32)];
    // a vocabulary that one request does not reach the end of
    let long = "x".repeat(200_000);
    let texts = [("general.architecture", "llama"), ("general.license", "llama2"), ("tokenizer.chat_template", &*long)];
    let numbers = [&numbers[..], &[("llama.vocab_size", 32000), ("llama.feed_forward_length", 11008)]].concat();
    let weights = vec![1.0; 1 << 20];
    let gguf = crate::evidence::gguf(&texts, &numbers, &[("output.weight", &weights)]);
    let size = gguf.len();
    let files = Files::from([("README.md".to_owned(), b"# Own\n".to_vec()), ("own.Q8_0.gguf".to_owned(), gguf)]);
    let (server, home) = (hub_of(files), tempfile::tempdir().unwrap());
    let place = format!("hub:{MODEL}@{COMMIT}");
    let far = report(&program(&server, home.path(), &["check", "--json", "--base", &place]));
    let evidence = far["evidence"].as_array().unwrap();
    let says = |topic: &str| evidence.iter().find(|e| e["topic"] == topic).unwrap_or_else(|| panic!("{topic}: {far}"));
    assert_eq!((&says("license")["says"], &says("license")["file"]), (&"llama2".into(), &"own.Q8_0.gguf".into()));
    assert!(says("dimensions")["says"].as_str().unwrap().starts_with("4096 wide, 32 layers, 32 heads"));
    let ranges: Vec<String> =
        server.seen().iter().filter(|r| r.path.ends_with(".gguf")).map(|r| r.header("range").to_owned()).collect();
    assert_eq!(ranges, ["bytes=0-131071", "bytes=131072-262143"], "of {size} bytes");
    let offline = program(&server, home.path(), &["check", "--json", "--offline", "--base", &place]);
    assert_eq!(report(&offline)["findings"], far["findings"], "what was judged once is judged offline");
    assert!(server.seen().is_empty());
}

#[test]
fn a_branch_becomes_a_commit_that_is_said() {
    let (server, home) = (hub_of(nano()), tempfile::tempdir().unwrap());
    let output = program(&server, home.path(), &["check", "--base", &format!("hub:{MODEL}")]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains(&format!("{MODEL} at main is commit {COMMIT} today")), "{}", stderr(&output));
    let branch = home.path().join("hub/models--example-org--nano/refs/main");
    assert_eq!(std::fs::read_to_string(branch).unwrap(), COMMIT);
    let gone = program(&server, home.path(), &["check", "--json", "--base", &format!("hub:{MODEL}@v9")]);
    assert_eq!(report(&gone)["error"]["code"], "not-found");
    assert_eq!(gone.status.code(), Some(2));
}

#[test]
fn offline_uses_what_is_there_and_nothing_else() {
    let (server, home) = (hub_of(nano()), tempfile::tempdir().unwrap());
    let bundle = root().join("tests/vectors/good.sealed").display().to_string();
    let key = |name: &str| root().join("tests/vectors/keys").join(name).display().to_string();
    let (trust, identity) = (key("vendor.pub.pem"), key("identity.txt"));
    let out = home.path().join("out").display().to_string();
    let open = |extra: &[&str]| {
        let place = format!("hub:{MODEL}");
        let mut args = vec!["open", "--json", &bundle, "--trust", &trust, "--identity", &identity, "--out", &out];
        args.extend(["--base", &place]);
        args.extend(extra);
        report(&program(&server, home.path(), &args))["error"]["code"].clone()
    };
    assert_eq!(open(&["--offline"]), "offline");
    assert!(server.seen().is_empty());
    // the whole base comes, and is compared: the bundle was made for another
    assert_eq!(open(&[]), "wrong-base");
    assert!(server.seen().iter().any(|r| r.path.ends_with(".safetensors")));
    assert_whole(&home.path().join(format!("hub/models--example-org--nano/snapshots/{COMMIT}")));
    assert_eq!(open(&["--offline"]), "wrong-base");
    assert!(server.seen().is_empty());
    std::fs::remove_file(home.path().join(format!("hub/models--example-org--nano/snapshots/{COMMIT}/LICENSE")))
        .unwrap();
    assert_eq!(open(&["--offline"]), "offline", "a missing licence file must be noticed");
}

#[test]
fn a_pinned_base_that_is_there_needs_no_network() {
    let (server, home) = (hub_of(nano()), tempfile::tempdir().unwrap());
    fetch(settings(&server, home.path(), None)).unwrap();
    assert!(!server.seen().is_empty());
    fetch(settings(&server, home.path(), None)).unwrap();
    assert!(server.seen().is_empty());
}

#[test]
fn a_cut_connection_is_taken_up_where_it_broke() {
    let home = tempfile::tempdir().unwrap();
    let served = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let mut reply = honest(&nano(), request);
        if request.path.ends_with(".safetensors") && served.fetch_add(1, Ordering::SeqCst) < 2 {
            reply.cut = Some(300_000);
        }
        reply
    });
    let (again, folder) = fetch(settings(&server, home.path(), None)).unwrap();
    assert_eq!(again, [300_000, 600_000]);
    assert_whole(&folder);
    let ranges: Vec<String> = server.seen().iter().map(|r| r.header("range").to_owned()).collect();
    assert!(ranges.contains(&"bytes=300000-".into()) && ranges.contains(&"bytes=600000-".into()), "{ranges:?}");
}

#[test]
fn what_an_ended_process_left_is_gone_on_with_if_it_is_right() {
    let bytes = &nano()["model.safetensors"];
    let mut wrong = bytes[..500_000].to_vec();
    wrong[77] ^= 1;
    for (left, again) in [(bytes[..500_000].to_vec(), vec![]), (wrong, vec![0]), (vec![0; 900_000], vec![0])] {
        let (server, home) = (hub_of(nano()), tempfile::tempdir().unwrap());
        let blobs = home.path().join("models--example-org--nano/blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        let partial = blobs.join(format!("{}.incomplete", Sha256::of(bytes)));
        std::fs::write(&partial, &left).unwrap();
        let (found, folder) = fetch(settings(&server, home.path(), None)).unwrap();
        assert_eq!(found, again);
        assert_whole(&folder);
        assert!(!partial.exists());
        let resumed = server.seen().iter().any(|r| r.header("range") == "bytes=500000-");
        assert_eq!(resumed, left.len() == 500_000);
    }
}

#[test]
fn a_server_without_ranges_is_heard_from_the_start() {
    let home = tempfile::tempdir().unwrap();
    let served = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let mut plain = request.clone();
        plain.headers.remove("range");
        let mut reply = honest(&nano(), &plain);
        if request.path.ends_with(".safetensors") && served.fetch_add(1, Ordering::SeqCst) == 0 {
            reply.cut = Some(1000);
        }
        reply
    });
    let (again, folder) = fetch(settings(&server, home.path(), None)).unwrap();
    assert_eq!(again, [1000, 0]);
    assert_whole(&folder);
}

#[test]
fn other_bytes_than_promised_get_no_name() {
    for change in [0usize, 1, 2] {
        let home = tempfile::tempdir().unwrap();
        let server = Server::start(move |request| {
            let mut reply = honest(&nano(), request);
            let meant = if change == 0 { "LICENSE" } else { "model.safetensors" };
            if request.path.ends_with(meant) {
                match change {
                    2 => reply.body.push(0), // longer than promised
                    _ => reply.body[100] ^= 1,
                }
            }
            reply
        });
        let error = fetch(settings(&server, home.path(), None)).unwrap_err();
        let wanted = if change == 2 { Code::Network } else { Code::WrongDigest };
        assert_eq!(error.code, wanted, "{error}");
        let name = if change == 0 { "LICENSE" } else { "model.safetensors" };
        let folder = home.path().join("models--example-org--nano");
        assert!(!folder.join(format!("snapshots/{COMMIT}/{name}")).exists());
        let digest = digest(name, &nano()[name]);
        assert!(!folder.join("blobs").join(&digest).exists());
        let left = folder.join(format!("blobs/{digest}.incomplete")).metadata().map_or(0, |m| m.len());
        assert_eq!(left, 0, "wrong bytes are not kept to go on with");
    }
}

#[test]
fn a_gated_base_names_its_page_and_wants_a_token() {
    let server = Server::start(|request| match request.header("authorization") {
        "Bearer hf_good" => honest(&nano(), request),
        "" => Reply::new(401, "").with("x-error-code", "GatedRepo"),
        _ => Reply::new(403, "").with("x-error-code", "GatedRepo"),
    });
    for token in [None, Some("hf_poor")] {
        let home = tempfile::tempdir().unwrap();
        let error = fetch(settings(&server, home.path(), token)).unwrap_err();
        assert_eq!(error.code, Code::AccessDenied);
        let hint = error.hint().unwrap();
        assert!(hint.contains(&format!("{}/{MODEL}", server.url())) && hint.contains("HF_TOKEN"), "{hint}");
        assert!(!format!("{error} {hint}").contains("hf_poor"));
    }
    let home = tempfile::tempdir().unwrap();
    assert_whole(&fetch(settings(&server, home.path(), Some("hf_good"))).unwrap().1);
}

#[test]
fn a_token_goes_to_no_other_host() {
    let files = nano();
    let store = Server::start(move |request| match files.get(request.path.trim_start_matches('/')) {
        Some(bytes) if request.header("authorization").is_empty() => part(bytes, request),
        _ => Reply::new(400, ""),
    });
    let (target, home) = (store.url(), tempfile::tempdir().unwrap());
    let server =
        Server::start(move |request| match request.path.strip_prefix(&format!("/{MODEL}/resolve/{COMMIT}/")) {
            Some(name) => Reply::new(302, "").with("location", format!("{target}/{name}")),
            None => honest(&nano(), request),
        });
    assert_whole(&fetch(settings(&server, home.path(), Some("hf_secret"))).unwrap().1);
    let seen = server.seen();
    assert!(seen.iter().all(|r| r.header("authorization") == "Bearer hf_secret" && r.body.is_empty()));
    assert!(store.seen().len() >= nano().len());
}

#[test]
fn a_redirect_leaves_neither_the_machine_nor_an_endless_circle_open() {
    for location in ["http://a.example/x", "https://a.example/x", "//a.example/x", "/again"] {
        let (home, to) = (tempfile::tempdir().unwrap(), location.to_owned());
        let server = Server::start(move |request| match request.path.starts_with("/api/") {
            true => honest(&nano(), request),
            false => Reply::new(302, "").with("location", &to),
        });
        let error = fetch(settings(&server, home.path(), None)).unwrap_err();
        assert_eq!(error.code, Code::Network, "{location}: {error}");
    }
}

#[test]
fn a_hub_that_lies_is_not_followed_out_of_the_cache() {
    for name in ["../../../evil", "/evil", "a\\..\\..\\evil", "a/../../evil"] {
        let home = tempfile::tempdir().unwrap();
        let server = Server::start(move |request| {
            let mut files = nano();
            files.insert(name.into(), b"evil".to_vec());
            honest(&files, request)
        });
        let error = fetch(settings(&server, &home.path().join("cache"), None)).unwrap_err();
        assert!(error.code == Code::Network && error.to_string().contains("evil"), "{error}");
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "nothing was made");
    }
    let (server, home) = (Server::start(|_| Reply::new(200, "[".repeat(1 << 20))), tempfile::tempdir().unwrap());
    assert_eq!(fetch(settings(&server, home.path(), None)).unwrap_err().code, Code::Network);
}

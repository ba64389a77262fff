//! Bundles to and from OCI registries, as a small registry on this machine speaks: whose it is comes first, then the rest.

use super::server::{Reply, Request, Server};
use crate::commands::{command, stderr, stdout};
use sealwright::digest::Sha256;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn vector(name: &str) -> String {
    vectors().join(name).display().to_string()
}

/// What a registry holds, and how it misbehaves.
#[derive(Default)]
struct Held {
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: BTreeMap<String, Vec<u8>>,
    /// Answers to be given instead, by method and the beginning of the path, each once.
    instead: Vec<(&'static str, String, Reply)>,
    /// `USER:PASSWORD` in base64, where a token must be bought.
    account: Option<String>,
}

struct Registry {
    held: Arc<Mutex<Held>>,
    server: Server,
}

const BASE: &str = "/v2/team/helpdesk";

impl Registry {
    fn start() -> Self {
        let held = Arc::<Mutex<Held>>::default();
        let inside = held.clone();
        Self { held, server: Server::start(move |request| inside.lock().unwrap().answer(request)) }
    }

    fn reference(&self) -> String {
        format!("{}/team/helpdesk:1.0.0-acme", self.server.url().trim_start_matches("http://"))
    }

    fn instead(&self, method: &'static str, path: &str, reply: Reply) {
        self.held.lock().unwrap().instead.push((method, format!("{BASE}{path}"), reply));
    }

    /// The artifact's manifest, and its layers' digests.
    fn artifact(&self) -> (Value, Vec<String>) {
        let held = self.held.lock().unwrap();
        let manifest: Value = serde_json::from_slice(&held.manifests["1.0.0-acme"]).unwrap();
        let digest = |layer: &Value| layer["digest"].as_str().unwrap().to_owned();
        let layers = manifest["layers"].as_array().unwrap().iter().map(digest).collect();
        (manifest, layers)
    }

    /// Puts another manifest under the tag.
    fn retag(&self, manifest: &Value) {
        self.held.lock().unwrap().manifests.insert("1.0.0-acme".into(), manifest.to_string().into());
    }

    /// Paths that were asked for since the last call, below the repository.
    fn asked(&self) -> Vec<String> {
        let below = |r: Request| Some(format!("{} {}", r.method, r.path.strip_prefix(BASE)?));
        self.server.seen().into_iter().filter_map(below).collect()
    }
}

impl Held {
    fn answer(&mut self, request: &Request) -> Reply {
        if let Some(reply) = self.refuse(request) {
            return reply;
        }
        let meant =
            |(method, path, _): &(&str, String, Reply)| *method == request.method && request.path.starts_with(path);
        if let Some(at) = self.instead.iter().position(meant) {
            return self.instead.remove(at).2;
        }
        let path = request.path.strip_prefix(BASE).unwrap_or_default();
        match (request.method.as_str(), path.split_once("/blobs/"), path.strip_prefix("/manifests/")) {
            ("POST", Some((_, "uploads/")), _) => {
                Reply::new(202, "").with("location", format!("{BASE}/blobs/uploads/1?a=b"))
            }
            ("PUT", Some((_, upload)), _) => {
                let digest = upload.split_once("&digest=").unwrap().1.replace("%3A", ":");
                let right = digest == format!("sha256:{}", Sha256::of(&request.body));
                if right {
                    self.blobs.insert(digest, request.body.clone());
                }
                Reply::new(if right { 201 } else { 400 }, "")
            }
            ("PUT", None, Some(tag)) => {
                let digest = format!("sha256:{}", Sha256::of(&request.body));
                self.manifests.insert(tag.into(), request.body.clone());
                self.manifests.insert(digest, request.body.clone());
                Reply::new(201, "")
            }
            ("GET", None, Some(name)) => self.manifests.get(name).map_or(missing(), |m| Reply::new(200, m.clone())),
            ("GET" | "HEAD", Some((_, digest)), _) => self.blobs.get(digest).map_or(missing(), |b| part(b, request)),
            _ => missing(),
        }
    }

    /// Who has not said who it is.
    fn refuse(&self, request: &Request) -> Option<Reply> {
        let account = self.account.as_ref()?;
        let said = request.header("authorization");
        if request.path.starts_with("/token?") {
            let scope = request.path.contains("service=test&scope=repository%3Ateam%2Fhelpdesk%3Apull");
            return Some(match said == format!("Basic {account}") && scope {
                true => Reply::new(200, json!({"token": "t0ken"}).to_string()),
                false => Reply::new(401, ""),
            });
        }
        let realm = format!("Bearer realm=\"http://{}/token\",service=\"test\"", request.header("host"));
        (said != "Bearer t0ken").then(|| Reply::new(401, "").with("www-authenticate", realm))
    }
}

fn missing() -> Reply {
    Reply::new(404, json!({"errors": [{"code": "UNKNOWN", "message": "no such thing"}]}).to_string())
}

fn part(bytes: &[u8], request: &Request) -> Reply {
    let Some(first) = request.header("range").strip_prefix("bytes=").and_then(|r| r.split_once('-')) else {
        return Reply::new(200, bytes);
    };
    let first: usize = first.0.parse().unwrap();
    Reply::new(206, &bytes[first..]).with("content-range", format!("bytes {first}-{}/{}", bytes.len() - 1, bytes.len()))
}

fn program(folder: &Path, args: &[&str]) -> Output {
    let mut command = command(folder, args);
    command.env("DOCKER_CONFIG", folder).env("HOME", folder).env_remove("XDG_RUNTIME_DIR");
    command.env("REGISTRY_AUTH_FILE", folder.join("auth.json")).output().unwrap()
}

fn push(folder: &Path, bundle: &str, registry: &Registry) -> Value {
    report(&program(folder, &["push", "--json", &vector(bundle), &registry.reference()]))
}

fn pull(folder: &Path, from: &str, key: &str) -> (Value, Option<i32>) {
    let key = vector(&format!("keys/{key}"));
    let output = program(folder, &["pull", "--json", from, "--trust", &key, "--out", "here"]);
    (report(&output), output.status.code())
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", stdout(output), stderr(output)))
}

/// What lies in the folder that is pulled into.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder.join("here")) else { return Vec::new() };
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

const VENDOR: &str = "vendor.pub.pem";
const DEVELOPMENT: &str = "development.pub.pem";

#[test]
fn a_bundle_comes_back_byte_for_byte() {
    let (registry, dir) = (Registry::start(), tempfile::tempdir().unwrap());
    let pushed = push(dir.path(), "good.sealed", &registry);
    let bytes = std::fs::read(vector("good.sealed")).unwrap();
    assert_eq!(pushed["size"], bytes.len());
    let (artifact, layers) = registry.artifact();
    assert_eq!(artifact["artifactType"], "application/vnd.sealwright.bundle.v1");
    let joined: Vec<u8> =
        layers.iter().flat_map(|digest| registry.held.lock().unwrap().blobs[digest].clone()).collect();
    assert!(joined == bytes, "the blobs, joined, are the bundle");

    let by_digest = pushed["reference"].as_str().unwrap();
    for from in [registry.reference(), by_digest.to_owned()] {
        let (pulled, exit) = pull(dir.path(), &from, VENDOR);
        assert_eq!(exit, Some(0), "{pulled}");
        let file = dir.path().join(pulled["file"].as_str().unwrap());
        assert!(std::fs::read(&file).unwrap() == bytes);
        assert_eq!(names(dir.path()).len(), 1);
        assert_eq!(
            format!(
                "{}@sha256:{}",
                registry.reference().rsplit_once(':').unwrap().0,
                pulled["artifact"].as_str().unwrap()
            ),
            by_digest
        );
    }
    registry.asked();
    assert_eq!(push(dir.path(), "good.sealed", &registry)["sent"], 0, "what is there is not sent again");
    assert!(registry.asked().iter().all(|line| !line.starts_with("POST")));
}

#[test]
fn whose_it_is_comes_before_the_bundle() {
    for (bundle, key, code, exit) in [
        ("good.sealed", DEVELOPMENT, "unknown-signer", 3),
        ("development.sealed", DEVELOPMENT, "development-key", 3),
        ("expired.sealed", VENDOR, "expired", 1),
    ] {
        let (registry, dir) = (Registry::start(), tempfile::tempdir().unwrap());
        push(dir.path(), bundle, &registry);
        let (_, layers) = registry.artifact();
        registry.asked();
        let (report, found) = pull(dir.path(), &registry.reference(), key);
        assert_eq!((report["error"]["code"].as_str(), found), (Some(code), Some(exit)), "{bundle}");
        let tail = format!("GET /blobs/{}", layers.last().unwrap());
        assert_eq!(registry.asked(), ["GET /manifests/1.0.0-acme", tail.as_str()], "{bundle}");
        assert!(names(dir.path()).is_empty());
    }
    let (registry, dir) = (Registry::start(), tempfile::tempdir().unwrap());
    push(dir.path(), "not-yet-valid.sealed", &registry);
    assert_eq!(pull(dir.path(), &registry.reference(), VENDOR).1, Some(0), "it may be fetched before its first day");
}

#[test]
fn a_rule_comes_before_the_bundle_where_the_end_can_tell() {
    for (rule, parts) in [("products = [\"desk\"]", false), ("verdict = \"allow\"", true)] {
        let (registry, dir) = (Registry::start(), tempfile::tempdir().unwrap());
        push(dir.path(), "good.sealed", &registry);
        registry.asked();
        std::fs::write(dir.path().join("rule.toml"), rule).unwrap();
        let (key, from) = (vector("keys/vendor.pub.pem"), registry.reference());
        let args = ["pull", "--json", &from, "--trust", &key, "--policy", "rule.toml", "--out", "here"];
        let output = program(dir.path(), &args);
        assert_eq!(report(&output)["error"]["code"], "not-admitted", "{rule}");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(registry.asked().len() > 2, parts, "{rule}: manifest and end, or the parts, too");
        assert!(names(dir.path()).is_empty(), "{rule}: nothing is left");
    }
}

#[test]
fn a_registry_that_asks_is_told_and_nobody_else() {
    let (registry, dir) = (Registry::start(), tempfile::tempdir().unwrap());
    let account = "dXNlcjpwYXNzd29yZA==";
    registry.held.lock().unwrap().account = Some(account.into());
    let refused = program(dir.path(), &["push", "--json", &vector("good.sealed"), &registry.reference()]);
    assert_eq!(report(&refused)["error"]["code"], "access-denied");
    assert_eq!(refused.status.code(), Some(2));

    let host = registry.reference().split_once('/').unwrap().0.to_owned();
    std::fs::write(dir.path().join("config.json"), json!({"auths": {host: {"auth": account}}}).to_string()).unwrap();
    registry.server.seen();
    push(dir.path(), "good.sealed", &registry);
    let (_, layers) = registry.artifact();
    // the payload is elsewhere, where the token has no business
    let payload = registry.held.lock().unwrap().blobs[&layers[0]].clone();
    let store = Server::start(move |request| match request.header("authorization") {
        "" => part(&payload, request),
        _ => Reply::new(400, ""),
    });
    registry.instead(
        "GET",
        &format!("/blobs/{}", layers[0]),
        Reply::new(307, "").with("location", format!("{}/x", store.url())),
    );
    let (pulled, exit) = pull(dir.path(), &registry.reference(), VENDOR);
    assert_eq!(exit, Some(0), "{pulled}");
    assert_eq!(store.seen().len(), 1);
    let said: Vec<_> = registry
        .server
        .seen()
        .iter()
        .map(|r| (r.path.starts_with("/token"), r.header("authorization").to_owned()))
        .collect();
    assert!(said.iter().all(|(token, said)| *token == said.starts_with("Basic ")), "{said:?}");
}

#[test]
fn a_pull_goes_on_where_it_was_cut() {
    let (registry, dir) = (Registry::start(), tempfile::tempdir().unwrap());
    push(dir.path(), "good.sealed", &registry);
    let (_, layers) = registry.artifact();
    let payload = registry.held.lock().unwrap().blobs[&layers[0]].clone();
    let path = format!("/blobs/{}", layers[0]);
    registry.instead("GET", &path, Reply { cut: Some(5000), ..Reply::new(200, payload.clone()) });
    registry.instead("GET", &path, Reply::new(404, ""));
    let (report, exit) = pull(dir.path(), &registry.reference(), VENDOR);
    assert_eq!((report["error"]["code"].as_str(), exit), (Some("not-found"), Some(2)));
    let left = names(dir.path());
    assert!(left.len() == 1 && left[0].ends_with(".partial"), "no final name yet: {left:?}");
    registry.server.seen();
    assert_eq!(pull(dir.path(), &registry.reference(), VENDOR).1, Some(0));
    let ranges: Vec<_> = registry.server.seen().iter().map(|r| r.header("range").to_owned()).collect();
    assert!(ranges.contains(&"bytes=5000-".into()), "{ranges:?}");
    let found = names(dir.path());
    assert!(found.len() == 1 && found[0].ends_with(".sealed"), "{found:?}");
    assert!(
        std::fs::read(dir.path().join("here").join(&found[0])).unwrap()
            == std::fs::read(vector("good.sealed")).unwrap()
    );
}

#[test]
fn a_bundle_in_many_parts_is_joined_from_wherever_it_was_cut() {
    let (registry, dir) = (Registry::start(), tempfile::tempdir().unwrap());
    push(dir.path(), "good.sealed", &registry);
    let (mut artifact, layers) = registry.artifact();
    let payload = registry.held.lock().unwrap().blobs[&layers[0]].clone();
    let tail = artifact["layers"][1].clone();
    let parts: Vec<Value> = payload
        .chunks(6000)
        .map(|bytes| {
            let digest = format!("sha256:{}", Sha256::of(bytes));
            registry.held.lock().unwrap().blobs.insert(digest.clone(), bytes.to_vec());
            json!({"mediaType": artifact["layers"][0]["mediaType"], "digest": digest, "size": bytes.len()})
        })
        .chain([tail])
        .collect();
    assert!(parts.len() >= 4);
    artifact["layers"] = parts.into();
    registry.retag(&artifact);
    let third = artifact["layers"][2]["digest"].as_str().unwrap().to_owned();
    registry.instead("GET", &format!("/blobs/{third}"), Reply::new(404, ""));
    assert_eq!(pull(dir.path(), &registry.reference(), VENDOR).0["error"]["code"], "not-found");
    registry.asked();
    let (pulled, exit) = pull(dir.path(), &registry.reference(), VENDOR);
    assert_eq!(exit, Some(0), "{pulled}");
    let asked = registry.asked();
    let first = artifact["layers"][0]["digest"].as_str().unwrap();
    assert!(!asked.iter().any(|line| line.ends_with(first)), "what is there is not fetched again: {asked:?}");
    let file = dir.path().join(pulled["file"].as_str().unwrap());
    assert!(std::fs::read(file).unwrap() == std::fs::read(vector("good.sealed")).unwrap());
}

#[test]
fn a_push_goes_on_where_it_was_cut() {
    let (registry, dir) = (Registry::start(), tempfile::tempdir().unwrap());
    registry.instead("PUT", "/manifests/", Reply::new(403, ""));
    assert_eq!(push(dir.path(), "good.sealed", &registry)["error"]["code"], "access-denied");
    assert!(registry.held.lock().unwrap().manifests.is_empty(), "no tag on half a bundle");
    registry.asked();
    assert_eq!(push(dir.path(), "good.sealed", &registry)["sent"], 0);
    let registry = Registry::start();
    registry.instead("PUT", "/blobs/uploads/", Reply::new(500, ""));
    assert!(push(dir.path(), "good.sealed", &registry)["reference"].is_string(), "a blob is begun again");
}

#[test]
fn a_registry_that_lies_gives_nothing() {
    let (registry, dir) = (Registry::start(), tempfile::tempdir().unwrap());
    let pushed = push(dir.path(), "good.sealed", &registry);
    let (honest, layers) = registry.artifact();
    let expect = |from: &str, code: &str| {
        let (report, _) = pull(dir.path(), from, VENDOR);
        assert_eq!(report["error"]["code"], code, "{report}");
        assert!(names(dir.path()).iter().all(|name| name.ends_with(".partial")));
    };
    let mut other = honest.clone();
    other["artifactType"] = "application/vnd.example".into();
    registry.retag(&other);
    expect(&registry.reference(), "bad-bundle");
    let mut other = honest.clone();
    other["layers"][0]["size"] = 1_000_000.into();
    registry.retag(&other);
    expect(&registry.reference(), "bad-bundle");
    let mut other = honest.clone();
    other["layers"][1] = other["layers"][0].clone();
    registry.retag(&other);
    expect(&registry.reference(), "bad-bundle");
    registry
        .retag(&json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}));
    expect(&registry.reference(), "bad-bundle");
    registry.retag(&honest);
    for (at, layer) in layers.iter().enumerate().rev() {
        let bytes = registry.held.lock().unwrap().blobs[layer].clone();
        let mut flipped = bytes.clone();
        flipped[600] ^= 1;
        registry.held.lock().unwrap().blobs.insert(layer.clone(), flipped);
        expect(&registry.reference(), "wrong-digest");
        registry.held.lock().unwrap().blobs.insert(layer.clone(), bytes);
        assert_eq!(names(dir.path()).len(), 1 - at, "the tail is judged before a file is made");
    }
    let by_digest = pushed["reference"].as_str().unwrap().to_owned();
    let name = by_digest.rsplit_once('@').unwrap().1.to_owned();
    registry.held.lock().unwrap().manifests.insert(name, other.to_string().into());
    expect(&by_digest, "wrong-digest");
    // another artifact's payload under this one's end: every blob is what its digest says, the bundle is not
    let mut bytes = registry.held.lock().unwrap().blobs[&layers[0]].clone();
    bytes[9000] ^= 1;
    let mut other = honest;
    let digest = format!("sha256:{}", Sha256::of(&bytes));
    other["layers"][0]["digest"] = digest.clone().into();
    registry.held.lock().unwrap().blobs.insert(digest, bytes);
    registry.retag(&other);
    expect(&registry.reference(), "damaged");
}

#[test]
fn what_is_no_bundle_is_not_pushed() {
    let (registry, dir) = (Registry::start(), tempfile::tempdir().unwrap());
    assert_eq!(push(dir.path(), "truncated.sealed", &registry)["error"]["code"], "truncated");
    assert_eq!(push(dir.path(), "index.toml", &registry)["error"]["code"].as_str().map(|c| c.is_empty()), Some(false));
    assert!(registry.asked().is_empty());
    let far = program(dir.path(), &["push", "--json", &vector("good.sealed"), "no-registry"]);
    assert_eq!(report(&far)["error"]["code"], "usage");
}

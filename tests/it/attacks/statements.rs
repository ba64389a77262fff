//! Trust files, revocation lists and renewals that lie: made by the second writer, each with the code that answers.

use super::forge::{Forge, envelope, identities, key, key_id, key_path, publish};
use sealwright::Code;
use sealwright::bundle::{Request, Seen, Trust, Use, inspect, verify};
use sealwright::digest::Sha256;
use serde_json::{Value, json};
use std::path::Path;

const LIST: &str = "application/vnd.sealwright.revocations+json";
const RENEWAL: &str = "application/vnd.sealwright.renewal+json";

/// A bundle of 2026-01-01 that ended on 2026-03-31, and what a customer has beside it on 2026-06-01.
struct Scene {
    /// More lines of the trust file's table of the vendor's key.
    key_table: String,
    /// Before the tables.
    head: String,
    list: Option<Document>,
    renewal: Option<Document>,
    /// Whose name stands in the trust file.
    vendor: &'static str,
    now: &'static str,
    /// What was opened before, with the same state.
    before: Option<Box<Scene>>,
}

/// A statement that can lie.
#[derive(Clone)]
struct Document {
    kind: &'static str,
    content: Value,
    key: &'static str,
    keyid: Option<Sha256>,
    on_text: fn(&mut String),
    on_envelope: fn(&mut Value),
}

impl Document {
    fn bytes(&self) -> Vec<u8> {
        let mut text = String::from_utf8(serde_json_canonicalizer::to_vec(&self.content).unwrap()).unwrap();
        (self.on_text)(&mut text);
        let mut value = envelope(self.kind, text.as_bytes(), &key(self.key), self.keyid, false);
        (self.on_envelope)(&mut value);
        serde_json_canonicalizer::to_vec(&value).unwrap()
    }
}

fn document(kind: &'static str, content: Value) -> Document {
    Document { kind, content, key: "vendor.pem", keyid: None, on_text: |_| (), on_envelope: |_| () }
}

/// What nobody has anything against.
fn plain(id: Sha256) -> Scene {
    Scene {
        key_table: String::new(),
        head: String::new(),
        list: None,
        renewal: Some(renewal(id)),
        vendor: "Example Works",
        now: "2026-06-01T00:00:00Z",
        before: None,
    }
}

/// Plays it, and what was before it; the change is told the bundle's digest.
fn scene(what: &str, change: impl FnOnce(&mut Scene, Sha256)) -> Result<(), Code> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.sealed");
    let forge = Forge { on_manifest: |m| m["entitlement"]["until"] = json!("2026-03-31"), ..Forge::honest() };
    let bundle = forge.write();
    std::fs::write(&path, &bundle).unwrap();
    let id = inspect(&path).unwrap().id;
    let mut scene = plain(id);
    change(&mut scene, id);
    if let Some(before) = &scene.before {
        play(before, dir.path()).unwrap();
    }
    let code = play(&scene, dir.path());
    let mut files = vec![("b.sealed", bundle)];
    let before =
        scene.before.as_ref().map(|before| before.published(["0/trust.toml", "0/list", "0/renewal"], &mut files));
    let now = scene.published(["1/trust.toml", "1/list", "1/renewal"], &mut files);
    publish(what, code, before.into_iter().chain([now]).collect(), &files);
    code
}

impl Scene {
    fn trust_file(&self) -> String {
        let lists = self.list.as_ref().map_or("", |_| "revocations = [\"list\"]\n");
        let table = |key: &str, vendor: &str| format!("[[key]]\npublic = {:?}\nvendor = {vendor:?}\n", key_path(key));
        let other = table("development.pub.pem", "Example Others");
        format!("{}{lists}{}{}\n{other}", self.head, table("vendor.pub.pem", self.vendor), self.key_table)
    }

    /// Its files under these names, and how they are read.
    fn published<'n>(&self, [trust, list, renewal]: [&'n str; 3], files: &mut Vec<(&'n str, Vec<u8>)>) -> Value {
        files.push((trust, self.trust_file().into_bytes()));
        files.extend(self.list.as_ref().map(|document| (list, document.bytes())));
        files.extend(self.renewal.as_ref().map(|document| (renewal, document.bytes())));
        let renewal = self.renewal.as_ref().map(|_| renewal);
        json!({"trust": trust, "renewal": renewal, "identity": key_path("identity.txt"), "at": self.now})
    }
}

fn play(scene: &Scene, folder: &Path) -> Result<(), Code> {
    let (path, trust) = (folder.join("b.sealed"), folder.join("trust.toml"));
    std::fs::write(&trust, scene.trust_file()).unwrap();
    if let Some(list) = &scene.list {
        std::fs::write(folder.join("list"), list.bytes()).unwrap();
    }
    let (now, seen, identities) = (scene.now.parse().unwrap(), Seen::at(folder.join("state")), identities());
    let trust = Trust::read(&[trust], false, now, &seen).map_err(|e| e.code)?;
    let mut verified = verify(&path, &trust).map_err(|e| e.code)?;
    if let Some(renewal) = &scene.renewal {
        let path = folder.join("renewal");
        std::fs::write(&path, renewal.bytes()).unwrap();
        verified = verified.renew(&path, &trust).map_err(|e| e.code)?;
    }
    let request = Request { identities: &identities, now, base: None, wanted: Use::Open, seen: &seen };
    verified.open(&request).map(|_| ()).map_err(|e| e.code)
}

fn vendor(name: &str) -> Value {
    json!({"name": "Example Works", "key": key_id(&key(name))})
}

fn renewal(id: Sha256) -> Document {
    let content = json!({"format": "sealwright/1", "vendor": vendor("vendor.pem"), "bundle": id,
        "issued": 1_772_323_200, "serial": 1_772_323_200, "until": "2026-12-31"});
    document(RENEWAL, content)
}

/// Number 5, of 2026-05-01, fresh until 2026-07-01; takes nothing back.
fn list() -> Document {
    let content = json!({"format": "sealwright/1", "vendor": vendor("vendor.pem"), "number": 5,
        "issued": 1_777_593_600, "next": "2026-07-01", "keys": [], "bundles": []});
    document(LIST, content)
}

type Attack = (&'static str, Code, fn(&mut Scene, Sha256));

fn expect(attacks: &[Attack]) {
    for (what, code, change) in attacks {
        assert_eq!(scene(what, change), Err(*code), "{what}");
    }
}

#[test]
fn what_is_honest_passes() {
    assert_eq!(scene("a renewal", |_, _| ()), Ok(()));
    assert_eq!(scene("a list that takes nothing back", |s, _| s.list = Some(list())), Ok(()));
    assert_eq!(
        scene("retired later", |s, _| s.key_table = "until = \"2026-12-31\"\nstatus = \"retired\"".into()),
        Ok(())
    );
    let pinned = |s: &mut Scene, id: Sha256| {
        s.key_table = format!("status = \"compromised\"\npins = [\"{id}\"]");
        (s.renewal, s.now) = (None, "2026-03-01T00:00:00Z");
    };
    assert_eq!(scene("a bundle that was known before the key was stolen", pinned), Ok(()));
    let elsewhere = |s: &mut Scene, _: Sha256| {
        let mut list = list();
        list.content["bundles"] = json!([{"bundle": Sha256::of("another"), "on": "2026-05-01"}]);
        list.content["keys"] = json!([{"key": Sha256::of("another")}]);
        s.list = Some(list);
    };
    assert_eq!(scene("others are recalled", elsewhere), Ok(()));
}

#[test]
fn renewals() {
    expect(&[
        ("none", Code::Expired, |s, _| s.renewal = None),
        ("of another bundle", Code::WrongBundle, |s, _| s.renewal = Some(renewal(Sha256::of("another")))),
        ("of a day that has passed", Code::Expired, |s, _| {
            s.renewal.as_mut().unwrap().content["until"] = json!("2026-04-30")
        }),
        ("that shortens", Code::BadStatement, |s, _| {
            s.renewal.as_mut().unwrap().content["until"] = json!("2026-03-30")
        }),
        ("that changes nothing", Code::BadStatement, |s, _| {
            s.renewal.as_mut().unwrap().content["until"] = json!("2026-03-31")
        }),
        ("older than one that was used", Code::OlderStatement, |s, id| {
            let mut newer = renewal(id);
            newer.content["serial"] = json!(1_772_323_201);
            s.before = Some(Box::new(Scene { list: None, renewal: Some(newer), now: s.now, ..plain(id) }));
        }),
        ("by another vendor's key", Code::UnknownSigner, |s, _| s.renewal.as_mut().unwrap().key = "development.pem"),
        ("by another key, under the vendor's id", Code::BadSignature, |s, _| {
            let document = s.renewal.as_mut().unwrap();
            (document.key, document.keyid) = ("development.pem", Some(key_id(&key("vendor.pem"))));
        }),
        ("that names another key than it is signed with", Code::BadStatement, |s, _| {
            s.renewal.as_mut().unwrap().content["vendor"] = vendor("development.pem")
        }),
        ("in another vendor's name", Code::BadStatement, |s, _| {
            s.renewal.as_mut().unwrap().content["vendor"]["name"] = json!("Example Others")
        }),
        ("that is signed as a list", Code::BadSignature, |s, _| s.renewal.as_mut().unwrap().kind = LIST),
        ("that is signed as a manifest", Code::BadSignature, |s, _| {
            s.renewal.as_mut().unwrap().kind = "application/vnd.sealwright.manifest+json"
        }),
        ("signed as a list, and called a renewal", Code::BadSignature, |s, _| {
            let document = s.renewal.as_mut().unwrap();
            document.kind = LIST;
            document.on_envelope = |e| e["payloadType"] = json!(RENEWAL);
        }),
        ("that is a list", Code::BadStatement, |s, _| s.renewal.as_mut().unwrap().content = list().content),
        ("with an unknown key", Code::BadStatement, |s, _| {
            s.renewal.as_mut().unwrap().content["uses"] = json!(["run"])
        }),
        ("with a key twice", Code::BadStatement, |s, _| {
            s.renewal.as_mut().unwrap().on_text = |t| *t = t.replacen('{', "{\"serial\":9,", 1)
        }),
        ("with a space", Code::BadStatement, |s, _| s.renewal.as_mut().unwrap().on_text = |t| t.push(' ')),
        ("with a float", Code::BadStatement, |s, _| {
            s.renewal.as_mut().unwrap().on_text = |t| *t = t.replace("\"serial\":1772323200", "\"serial\":1.7723232e9")
        }),
        ("of another format", Code::BadStatement, |s, _| {
            s.renewal.as_mut().unwrap().content["format"] = json!("sealwright/2")
        }),
        ("with two signatures", Code::BadStatement, |s, _| {
            s.renewal.as_mut().unwrap().on_envelope = |e| {
                let first = e["signatures"][0].clone();
                e["signatures"].as_array_mut().unwrap().push(first);
            }
        }),
        ("whose envelope has more in it", Code::BadStatement, |s, _| {
            s.renewal.as_mut().unwrap().on_envelope = |e| e["extra"] = json!(1)
        }),
        ("of a day that has not come", Code::ClockSetBack, |s, _| {
            s.renewal.as_mut().unwrap().content["issued"] = json!(1_780_444_800)
        }),
        ("by a key that had retired", Code::RevokedKey, |s, _| {
            s.key_table = "status = \"retired\"\nuntil = \"2026-01-31\"".into()
        }),
        ("by a retired key, for a pinned bundle", Code::RevokedKey, |s, id| {
            s.key_table = format!("status = \"retired\"\npins = [\"{id}\"]")
        }),
        ("by a stolen key, for a pinned bundle", Code::RevokedKey, |s, id| {
            s.key_table = format!("status = \"compromised\"\npins = [\"{id}\"]")
        }),
    ]);
}

#[test]
fn keys_that_are_bounded() {
    expect(&[
        ("for another vendor's name", Code::UnknownSigner, |s, _| s.vendor = "Example Wrong"),
        ("for another product", Code::UnknownSigner, |s, _| s.key_table = "products = [\"other\"]".into()),
        ("stolen", Code::RevokedKey, |s, _| s.key_table = "status = \"compromised\"".into()),
        ("stolen, and another bundle pinned", Code::RevokedKey, |s, _| {
            s.key_table = format!("status = \"compromised\"\npins = [\"{}\"]", Sha256::of("another"))
        }),
        ("retired before", Code::RevokedKey, |s, _| {
            s.key_table = "status = \"retired\"\nuntil = \"2025-12-31\"".into()
        }),
        ("retired later, back-dated to before, and not among the pins", Code::RevokedKey, |s, _| {
            s.key_table = format!("status = \"retired\"\nuntil = \"2026-12-31\"\npins = [\"{}\"]", Sha256::of("known"))
        }),
        ("before its first day", Code::RevokedKey, |s, _| s.key_table = "from = \"2026-01-02\"".into()),
        ("after its last day", Code::RevokedKey, |s, _| s.key_table = "until = \"2025-12-31\"".into()),
        ("retired, and nothing says since when", Code::BadInput, |s, _| s.key_table = "status = \"retired\"".into()),
        ("a status that nobody knows", Code::BadInput, |s, _| s.key_table = "status = \"fine\"".into()),
        ("the same key twice", Code::BadInput, |s, _| {
            s.key_table = format!("[[key]]\npublic = {:?}\nvendor = \"Example Others\"", key_path("vendor.pub.pem"))
        }),
        ("a private key", Code::BadInput, |s, _| {
            s.key_table = format!("[[key]]\npublic = {:?}\nvendor = \"Example Works\"", key_path("vendor.pem"))
        }),
        ("a trust file of a day that has not come", Code::ClockSetBack, |s, _| {
            s.head = "updated = \"2026-06-03\"\n".into()
        }),
        ("a bundle of a day that has not come", Code::ClockSetBack, |s, _| {
            (s.now, s.renewal) = ("2025-12-30T00:00:00Z", None)
        }),
    ]);
}

#[test]
fn revocation_lists() {
    expect(&[
        ("of this bundle", Code::RevokedBundle, |s, id| {
            let mut list = list();
            list.content["bundles"] = json!([{"bundle": id, "on": "2026-05-01"}]);
            s.list = Some(list);
        }),
        ("of this bundle, by another vendor", Code::BadStatement, |s, id| {
            let mut list = list();
            list.content["vendor"]["name"] = json!("Example Others");
            list.content["bundles"] = json!([{"bundle": id, "on": "2026-05-01"}]);
            s.list = Some(list);
        }),
        ("of this bundle, though it is pinned", Code::RevokedBundle, |s, id| {
            let mut list = list();
            list.content["bundles"] = json!([{"bundle": id, "on": "2026-05-01"}]);
            s.list = Some(list);
            s.key_table = format!("pins = [\"{id}\"]");
        }),
        ("of this key as stolen", Code::RevokedKey, |s, _| {
            let mut list = list();
            list.content["keys"] = json!([{"key": key_id(&key("vendor.pem"))}]);
            s.list = Some(list);
        }),
        ("of this key as retired before", Code::RevokedKey, |s, _| {
            let mut list = list();
            list.content["keys"] = json!([{"key": key_id(&key("vendor.pem")), "until": "2025-12-31"}]);
            s.list = Some(list);
        }),
        ("of this key as retired, and another bundle pinned", Code::RevokedKey, |s, _| {
            let mut list = list();
            list.content["keys"] = json!([{"key": key_id(&key("vendor.pem")), "until": "2026-05-01"}]);
            s.list = Some(list);
            s.key_table = format!("pins = [\"{}\"]", Sha256::of("another"));
        }),
        ("stale", Code::StaleRevocations, |s, _| {
            s.list = Some(list());
            s.list.as_mut().unwrap().content["next"] = json!("2026-05-31");
        }),
        ("stale, and this bundle is on it", Code::RevokedBundle, |s, id| {
            let mut list = list();
            list.content["next"] = json!("2026-05-31");
            list.content["bundles"] = json!([{"bundle": id, "on": "2026-05-01"}]);
            s.list = Some(list);
        }),
        ("older than one that was seen", Code::OlderStatement, |s, id| {
            let mut older = list();
            older.content["number"] = json!(4);
            s.list = Some(older);
            s.before =
                Some(Box::new(Scene { list: Some(list()), renewal: Some(renewal(id)), now: s.now, ..plain(id) }));
        }),
        ("missing", Code::Io, |s, _| s.head = "revocations = [\"no-such-list\"]\n".into()),
        ("by a key that the trust file lacks", Code::UnknownSigner, |s, _| {
            s.list = Some(list());
            s.list.as_mut().unwrap().keyid = Some(Sha256::of("another"));
        }),
        ("by another vendor's key, in this one's name", Code::BadStatement, |s, _| {
            let mut list = list();
            list.key = "development.pem";
            list.content["vendor"] = vendor("development.pem");
            s.list = Some(list);
        }),
        ("by another key, under the vendor's id", Code::BadSignature, |s, _| {
            let mut list = list();
            (list.key, list.keyid) = ("development.pem", Some(key_id(&key("vendor.pem"))));
            s.list = Some(list);
        }),
        ("by a stolen key", Code::RevokedKey, |s, _| {
            s.list = Some(list());
            s.key_table = "status = \"compromised\"".into();
        }),
        ("by a retired key, back-dated", Code::RevokedKey, |s, id| {
            s.list = Some(list());
            s.key_table = format!("status = \"retired\"\npins = [\"{id}\"]");
        }),
        ("that is signed as a renewal", Code::BadSignature, |s, _| {
            s.list = Some(list());
            s.list.as_mut().unwrap().kind = RENEWAL;
        }),
        ("that is a renewal", Code::BadSignature, |s, id| s.list = Some(renewal(id))),
        ("out of order", Code::BadStatement, |s, _| {
            let mut list = list();
            let (a, b) = (Sha256::of("1"), Sha256::of("2"));
            list.content["keys"] = json!([{"key": a.max(b)}, {"key": a.min(b)}]);
            s.list = Some(list);
        }),
        ("of a day that has not come", Code::ClockSetBack, |s, _| {
            s.list = Some(list());
            s.list.as_mut().unwrap().content["issued"] = json!(1_780_444_800);
        }),
        ("deep nesting", Code::BadStatement, |s, _| {
            s.list = Some(list());
            s.list.as_mut().unwrap().on_text = |t| *t = "[".repeat(1 << 19);
        }),
    ]);
}

#[test]
fn a_clock_set_back_is_noticed_after_an_opening() {
    let later = |s: &mut Scene, id: Sha256| {
        s.before =
            Some(Box::new(Scene { list: None, renewal: Some(renewal(id)), now: "2026-06-10T00:00:00Z", ..plain(id) }));
    };
    assert_eq!(scene("nine days back", later), Err(Code::ClockSetBack));
}

#[test]
fn a_key_that_nothing_bounds_renews_only_what_it_signed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, beside) = (dir.path().join("b.sealed"), dir.path().join("renewal"));
    std::fs::write(&path, Forge::honest().write()).unwrap();
    let mut renewal = renewal(inspect(&path).unwrap().id);
    renewal.content["until"] = json!("2199-12-31");
    let keys = ["vendor.pub.pem", "development.pub.pem"];
    let keys = keys.map(|name| sealwright::sign::PublicKey::read(&key_path(name)).unwrap());
    let trust = Trust::in_keys(keys, false);
    let code = |renewal: &Document| {
        std::fs::write(&beside, renewal.bytes()).unwrap();
        verify(&path, &trust).unwrap().renew(&beside, &trust).err().map(|e| e.code)
    };
    assert_eq!(code(&renewal), None);
    (renewal.key, renewal.content["vendor"]) = ("development.pem", vendor("development.pem"));
    assert_eq!(code(&renewal), Some(Code::UnknownSigner), "another vendor that is trusted, too");
}

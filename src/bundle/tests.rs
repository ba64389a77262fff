//! The whole room at once: pack, verify, open; and each way in which that must fail, with its code.
//!
//! These tests make [`Papers`] without a clearance, which nothing outside this room can do.

use super::*;
use crate::base::Fingerprint;
use crate::digest::Sha256;
use crate::error::{Code, Result};
use crate::sign::SigningKey;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A vendor, a customer and a small derivative in a temporary folder.
struct Shop {
    dir: tempfile::TempDir,
    signer: SigningKey,
    papers: Papers,
    files: Vec<SourceFile>,
    recipient: Recipient,
    until: &'static str,
    from: Option<&'static str>,
    uses: Vec<Use>,
    identity: PathBuf,
    /// The base at hand.
    base: Fingerprint,
}

fn fingerprint() -> Fingerprint {
    let of = |part: &str| Sha256::of(part);
    Fingerprint { weights: of("weights"), config: of("config"), tokenizer: of("tokenizer"), template: of("template") }
}

/// What a clearance of an Apache-2.0 base would give, small.
fn papers() -> Papers {
    let duty = Duty {
        license: "Apache-2.0".into(),
        term: "include-license".into(),
        clause: "4(a)".into(),
        done_by: "pack".into(),
        words: None,
        met_by: Some("LICENSES/Apache-2.0.txt".into()),
        unmet: None,
        how: "the text is put into LICENSES/".into(),
    };
    Papers {
        verdict: "allow-with-obligations".into(),
        licenses: vec!["Apache-2.0".into()],
        duties: vec![duty],
        texts: vec![("Apache-2.0.txt".into(), b"the text\n".to_vec())],
        notice: vec!["a notice line".into()],
        report: serde_json::json!({"verdict": "allow-with-obligations"}),
        policy: Sha256::of("policy"),
    }
}

impl Shop {
    fn new() -> Self {
        Self::with(SigningKey::generate(false))
    }

    fn with(signer: SigningKey) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let adapter = dir.path().join("adapter");
        std::fs::create_dir_all(adapter.join("sub")).unwrap();
        std::fs::write(adapter.join("adapter_config.json"), "{\"r\":8}\n").unwrap();
        std::fs::write(adapter.join("adapter_model.safetensors"), [7; 100]).unwrap();
        std::fs::write(adapter.join("sub/run.json"), "").unwrap();
        let recipient = write_new_identity(&dir.path().join("id.txt")).unwrap();
        let files = gather(&adapter, None).unwrap().files;
        let uses = vec![Use::Run, Use::Open];
        let identity = dir.path().join("id.txt");
        let (until, from, base) = ("2027-12-31", None, fingerprint());
        Self { dir, signer, papers: papers(), files, recipient, until, from, uses, identity, base }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn pack(&self, name: &str) -> Result<Packed> {
        self.pack_of(&Content::new(&self.files, None)?, name)
    }

    fn pack_of(&self, content: &Content, name: &str) -> Result<Packed> {
        let base = Base { name: "example-base".into(), fingerprint: fingerprint() };
        let targets = vec!["q_proj".into()];
        let plan = PackPlan {
            papers: &self.papers,
            content,
            active: &BTreeSet::new(),
            vendor: "Example Works",
            product: ProductName { name: "helpdesk".into(), title: "Example Helpdesk".into(), version: "1.0.0".into() },
            terms: "LicenseRef-Example-Works",
            purpose: "customer support",
            bases: vec![base],
            recipe: Some(Recipe { method: "lora".into(), rank: 8, alpha: "16".into(), targets }),
            data: &[Sha256::of("private data")],
            metrics: &[("loss".into(), "1.25".into())],
            customer: "acme",
            from: self.from.map(|d| d.parse().unwrap()),
            until: self.until.parse().unwrap(),
            uses: &self.uses,
            machines: None,
            seats: Some(25),
            recipients: std::slice::from_ref(&self.recipient),
            issued: "2026-01-01T00:00:00Z".parse().unwrap(),
            signer: &self.signer,
        };
        assert_eq!(plan.file_name(), "helpdesk-1.0.0-acme.sealed");
        pack(&plan, &self.at(name))
    }

    fn trust(&self) -> Trust {
        Trust::in_keys([self.signer.public()], false)
    }

    /// Verifies and opens into `out`, on a day in 2026 and the right base unless told otherwise.
    fn open(&self, name: &str, change: impl FnOnce(&mut Request<'_>)) -> Result<Manifest> {
        let identities = Identities::read(&self.identity, Arc::new(Nobody))?;
        let seen = Seen::at(self.at("state"));
        let mut request = Request {
            identities: &identities,
            now: "2026-06-01T12:00:00Z".parse().unwrap(),
            base: Some(&self.base),
            wanted: Use::Open,
            seen: &seen,
        };
        change(&mut request);
        verify(&self.at(name), &self.trust())?.open_into(&request, &self.at("out"))
    }
}

#[test]
fn what_was_packed_comes_back() {
    let shop = Shop::new();
    let packed = shop.pack("b.sealed").unwrap();
    assert_eq!(packed.size, shop.at("b.sealed").metadata().unwrap().len());
    let verified = verify(&shop.at("b.sealed"), &shop.trust()).unwrap();
    assert_eq!((verified.id(), verified.manifest()), (packed.id, &packed.manifest));
    shop.open("b.sealed", |_| ()).unwrap();
    for file in &shop.files {
        assert_eq!(std::fs::read(shop.at("out").join(&file.name)).unwrap(), std::fs::read(&file.path).unwrap());
    }
    assert_eq!(std::fs::read(shop.at("out/LICENSES/Apache-2.0.txt")).unwrap(), b"the text\n");
    let inspected = inspect(&shop.at("b.sealed")).unwrap();
    assert_eq!((inspected.id, inspected.manifest), (packed.id, packed.manifest));
    #[cfg(unix)]
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&shop.at("out").metadata().unwrap().permissions()) & 0o777,
        0o700
    );
}

#[test]
fn memory_gives_the_same_files_as_a_folder() {
    let shop = Shop::new();
    shop.pack("b.sealed").unwrap();
    shop.open("b.sealed", |_| ()).unwrap();
    let identities = Identities::read(&shop.at("id.txt"), Arc::new(Nobody)).unwrap();
    let request = Request {
        identities: &identities,
        now: "2026-06-01T12:00:00Z".parse().unwrap(),
        base: None,
        wanted: Use::Run,
        seen: &Seen::at(shop.at("state")),
    };
    let opened = verify(&shop.at("b.sealed"), &shop.trust()).unwrap().open(&request).unwrap();
    assert_eq!(opened.files.len() as u64, opened.manifest.payload.files);
    for (name, bytes) in &opened.files {
        assert_eq!(**bytes, std::fs::read(shop.at("out").join(name)).unwrap(), "{name}");
    }
}

#[test]
fn more_than_one_frame_comes_back() {
    let mut shop = Shop::new();
    let noise: Vec<u8> = (0..3_500_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(&shop.files[1].path, &noise).unwrap();
    shop.files.truncate(2);
    shop.pack("b.sealed").unwrap();
    shop.open("b.sealed", |_| ()).unwrap();
    assert!(std::fs::read(shop.at("out/adapter_model.safetensors")).unwrap() == noise);
}

/// A shop whose adapter fills several pieces, part of them with papers in them and part not.
fn large_shop() -> (Shop, Vec<u8>) {
    let mut shop = Shop::new();
    let noise: Vec<u8> = (0..3_500_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let large = shop.files.iter().position(|f| f.name == "adapter_model.safetensors").unwrap();
    std::fs::write(&shop.files[large].path, &noise).unwrap();
    let late = shop.dir.path().join("zeros.safetensors");
    std::fs::write(&late, vec![0; 1_500_000]).unwrap();
    shop.files.push(SourceFile { name: "zeros.safetensors".into(), path: late });
    (shop, noise)
}

#[test]
fn bundles_of_one_content_open_to_the_same_files_whatever_their_papers_take() {
    let (mut shop, noise) = large_shop();
    let content = Content::new(&shop.files, Some(shop.dir.path())).unwrap();
    let mut sizes = Vec::new();
    for (n, more) in [0, 0, 5_000, 600_000, 1 << 20, 0].into_iter().enumerate() {
        shop.papers.notice = vec!["n".repeat(more)];
        let name = format!("{n}.sealed");
        let of_content = shop.pack_of(&content, &name).unwrap().manifest.payload;
        let alone = shop.pack("alone.sealed").unwrap().manifest.payload;
        assert_eq!((of_content.size, of_content.files), (alone.size, alone.files), "{more}");
        shop.open(&name, |_| ()).unwrap();
        assert!(std::fs::read(shop.at("out/adapter_model.safetensors")).unwrap() == noise, "{more}");
        assert!(std::fs::read(shop.at("out/zeros.safetensors")).unwrap() == vec![0; 1_500_000], "{more}");
        std::fs::remove_dir_all(shop.at("out")).unwrap();
        sizes.push(shop.at(&name).metadata().unwrap().len());
    }
    assert!(sizes[0] == sizes[1] && sizes[0] == sizes[5] && sizes[3] > sizes[0], "{sizes:?}");
}

#[test]
fn a_file_that_changes_between_two_bundles_is_never_sealed_under_its_old_digest() {
    let (shop, noise) = large_shop();
    let content = Content::new(&shop.files, Some(shop.dir.path())).unwrap();
    shop.pack_of(&content, "1.sealed").unwrap();
    let path = shop.files.iter().find(|f| f.name == "adapter_model.safetensors").unwrap().path.clone();
    let mut other = noise.clone();
    other[1_700_000] ^= 1;
    std::fs::write(&path, &other).unwrap();
    shop.pack_of(&content, "2.sealed").unwrap();
    shop.open("2.sealed", |_| ()).unwrap();
    assert!(std::fs::read(shop.at("out/adapter_model.safetensors")).unwrap() == noise, "as it was read");
    let content = Content::new(&shop.files, None).unwrap();
    content.digests().unwrap();
    for (what, bytes) in [("changed", &noise[..]), ("shorter", &noise[1..]), ("longer", &[&noise[..], b"x"].concat())] {
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(shop.pack_of(&content, "3.sealed").unwrap_err().code, Code::BadInput, "{what}");
        assert!(!shop.at("3.sealed").exists());
    }
}

#[test]
fn a_payload_that_is_damaged_after_it_was_verified_is_not_opened() {
    use std::os::unix::fs::FileExt as _;
    let (shop, _) = large_shop();
    shop.pack("b.sealed").unwrap();
    let identities = Identities::read(&shop.identity, Arc::new(Nobody)).unwrap();
    let seen = Seen::at(shop.at("state"));
    let now = "2026-06-01T12:00:00Z".parse().unwrap();
    let request = Request { identities: &identities, now, base: Some(&shop.base), wanted: Use::Open, seen: &seen };
    let file = std::fs::File::options().read(true).write(true).open(shop.at("b.sealed")).unwrap();
    let size = file.metadata().unwrap().len();
    for at in [size / 4, size / 2, size - size / 4] {
        let verified = verify(&shop.at("b.sealed"), &shop.trust()).unwrap();
        let unhashed = signed(&shop.at("b.sealed"), &shop.trust()).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        for bundle in [verified, unhashed] {
            assert_eq!(bundle.open_into(&request, &shop.at("out")).unwrap_err().code, Code::Damaged, "{at}");
        }
        assert!(!shop.at("out").exists());
        file.write_all_at(&byte, at).unwrap();
    }
}

#[test]
fn a_hundred_packs_into_one_folder_lose_nothing() {
    let shop = Shop::new();
    let left = shop.at(".sealwright-killed.partial");
    std::fs::write(&left, "what a killed process left").unwrap();
    std::thread::scope(|scope| {
        for n in 0..50 {
            let shop = &shop;
            scope.spawn(move || shop.pack(&format!("{n}.sealed")).unwrap());
            scope.spawn(move || shop.pack("same.sealed").unwrap());
        }
    });
    let names = (0..50).map(|n| format!("{n}.sealed")).chain(["same.sealed".into()]);
    names.for_each(|name| drop(verify(&shop.at(&name), &shop.trust()).unwrap()));
    let of_ours = |name: &str| name.ends_with(".partial");
    let names = std::fs::read_dir(shop.dir.path()).unwrap().map(|e| e.unwrap().file_name());
    assert_eq!(names.filter(|n| of_ours(n.to_str().unwrap())).count(), 0, "nothing temporary is left");
}

#[test]
fn an_ssh_key_opens_what_was_sealed_for_it() {
    let mut shop = Shop::new();
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/keys");
    let public = std::fs::read_to_string(vectors.join("ssh.pub")).unwrap();
    shop.recipient = Recipient::parse(public.trim(), &|_| unreachable!()).unwrap();
    shop.pack("b.sealed").unwrap();
    shop.identity = vectors.join("ssh-other");
    assert_eq!(shop.open("b.sealed", |_| ()).unwrap_err().code, Code::WrongCustomer);
    shop.identity = vectors.join("ssh");
    shop.open("b.sealed", |_| ()).unwrap();
}

/// Knows one passphrase, and is asked nothing else.
struct Knows(&'static str);

impl Person for Knows {
    fn tell(&self, _: &str) {}

    fn ask(&self, _: &str) -> Option<String> {
        None
    }

    fn ask_secret(&self, question: &str) -> Option<age::secrecy::SecretString> {
        assert!(question.contains("ssh-locked"), "{question}");
        Some(self.0.into())
    }
}

#[test]
fn an_ssh_key_under_a_passphrase_opens_for_who_knows_it() {
    let mut shop = Shop::new();
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/keys");
    let public = std::fs::read_to_string(vectors.join("ssh.pub")).unwrap();
    shop.recipient = Recipient::parse(public.trim(), &|_| unreachable!()).unwrap();
    shop.pack("b.sealed").unwrap();
    let open = |passphrase: &'static str| {
        let identities = Identities::read(&vectors.join("ssh-locked"), Arc::new(Knows(passphrase))).unwrap();
        let request = Request {
            identities: &identities,
            now: "2026-06-01T12:00:00Z".parse().unwrap(),
            base: None,
            wanted: Use::Run,
            seen: &Seen::at(shop.at("state")),
        };
        verify(&shop.at("b.sealed"), &shop.trust()).unwrap().open(&request).map(|_| ()).map_err(|e| e.code)
    };
    assert_eq!(open("another"), Err(Code::WrongCustomer));
    assert_eq!(open("throw-away"), Ok(()));
}

#[test]
fn an_entitlement_is_judged_before_anything_is_decrypted() {
    let mut shop = Shop::new();
    shop.from = Some("2026-02-01");
    shop.uses = vec![Use::Run];
    shop.pack("b.sealed").unwrap();
    let code = |change: fn(&mut Request<'_>)| shop.open("b.sealed", change).unwrap_err().code;
    assert_eq!(code(|_| ()), Code::UseNotGranted);
    assert_eq!(code(|r| r.now = "2026-01-31T23:59:59Z".parse().unwrap()), Code::NotYetValid);
    assert_eq!(code(|r| r.now = "2028-01-01T00:00:00Z".parse().unwrap()), Code::Expired);
    assert!(!shop.at("out").exists() && !shop.at("state").exists());
}

#[test]
fn another_identity_or_base_is_refused() {
    let mut shop = Shop::new();
    shop.pack("b.sealed").unwrap();
    shop.base.template = Sha256::of("another template");
    let error = shop.open("b.sealed", |_| ()).unwrap_err();
    assert_eq!((error.code, error.to_string().ends_with("in: template")), (Code::WrongBase, true));
    shop.base = fingerprint();
    std::fs::remove_file(shop.at("id.txt")).unwrap();
    write_new_identity(&shop.at("id.txt")).unwrap();
    assert_eq!(shop.open("b.sealed", |_| ()).unwrap_err().code, Code::WrongCustomer);
}

#[test]
fn signers_are_trusted_by_name_only() {
    let shop = Shop::with(SigningKey::generate(true));
    shop.pack("b.sealed").unwrap();
    let code = |trust: &Trust| verify(&shop.at("b.sealed"), trust).err().map(|e| e.code);
    assert_eq!(code(&Trust::default()), Some(Code::UnknownSigner));
    assert_eq!(code(&shop.trust()), Some(Code::DevelopmentKey));
    assert_eq!(code(&Trust::in_keys([shop.signer.public()], true)), None);
    let other = Trust::in_keys([SigningKey::generate(false).public()], true);
    assert_eq!(code(&other), Some(Code::UnknownSigner));
}

#[test]
fn an_older_bundle_is_refused_after_a_newer_one() {
    let shop = Shop::new();
    let mut packed = shop.pack("b.sealed").unwrap();
    packed.manifest.serial += 1;
    let now = "2026-06-01T12:00:00Z".parse().unwrap();
    Seen::at(shop.at("state")).remember(&packed.manifest, packed.id, None, now).unwrap();
    assert_eq!(shop.open("b.sealed", |_| ()).unwrap_err().code, Code::OlderBundle);
}

#[test]
fn one_flipped_bit_anywhere_is_noticed() {
    use std::os::unix::fs::FileExt as _;
    let shop = Shop::new();
    shop.pack("b.sealed").unwrap();
    let path = shop.at("b.sealed");
    let bytes = std::fs::read(&path).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    for (offset, byte) in bytes.iter().enumerate() {
        file.write_all_at(&[byte ^ (1 << (offset % 8))], offset as u64).unwrap();
        let code = verify(&path, &shop.trust()).err().unwrap_or_else(|| panic!("offset {offset} is free")).code;
        let told = [Code::Damaged, Code::BadSignature, Code::BadBundle, Code::Truncated].contains(&code);
        assert!(told, "offset {offset}: {}", code.name());
        file.write_all_at(&[*byte], offset as u64).unwrap();
    }
    verify(&path, &shop.trust()).unwrap();
}

#[test]
fn a_file_cut_anywhere_is_truncated() {
    let shop = Shop::new();
    shop.pack("b.sealed").unwrap();
    let bytes = std::fs::read(shop.at("b.sealed")).unwrap();
    for length in (0..bytes.len()).rev() {
        let file = std::fs::File::options().write(true).open(shop.at("b.sealed")).unwrap();
        file.set_len(length as u64).unwrap();
        assert_eq!(verify(&shop.at("b.sealed"), &shop.trust()).err().unwrap().code, Code::Truncated, "{length}");
    }
}

#[test]
fn the_same_inputs_give_the_same_papers() {
    let shop = Shop::new();
    let (one, two) = (shop.pack("1.sealed").unwrap(), shop.pack("2.sealed").unwrap());
    let (mut one, mut two) = (one.manifest, two.manifest);
    let (a, b) = (one.entries.pop().unwrap(), two.entries.pop().unwrap());
    assert_ne!((a.sha256, one.payload.header), (b.sha256, two.payload.header), "age draws fresh keys");
    two.payload.header = one.payload.header;
    assert_eq!(one, two, "all but the ciphertext repeats");
    let payload = |name: &str| {
        let identities = Identities::read(&shop.at("id.txt"), Arc::new(Nobody)).unwrap();
        let request = Request {
            identities: &identities,
            now: "2026-06-01T12:00:00Z".parse().unwrap(),
            base: None,
            wanted: Use::Run,
            seen: &Seen::at(shop.at("state")),
        };
        verify(&shop.at(name), &shop.trust()).unwrap().open(&request).unwrap().files
    };
    assert_eq!(payload("1.sealed"), payload("2.sealed"));
}

#[test]
fn no_private_data_stands_in_clear() {
    let shop = Shop::new();
    shop.pack("b.sealed").unwrap();
    let bytes = std::fs::read(shop.at("b.sealed")).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    for private in
        [Sha256::of("private data").to_string(), Sha256::of([7; 100]).to_string(), shop.recipient.to_string()]
    {
        assert!(!text.contains(&private), "{private}");
    }
    assert!(text.contains("sealwright:data:salted-sha256"));
}

#[test]
fn a_failed_pack_leaves_nothing() {
    let mut shop = Shop::new();
    shop.until = "2020-01-01";
    shop.from = Some("2021-01-01");
    assert_eq!(shop.pack("b.sealed").unwrap_err().code, Code::BadBundle);
    assert!(
        std::fs::read_dir(shop.dir.path()).unwrap().all(|e| !e.unwrap().file_name().to_string_lossy().contains("seal"))
    );
}

/// Writes what is missing in tests/vectors: `cargo test --release --lib write_vectors -- --ignored`.
#[test]
#[ignore = "writes into the repository"]
fn write_vectors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let key =
        |name: &str| SigningKey::read(&folder.join("keys").join(name), &|_| unreachable!("no passphrase")).unwrap();
    let put = |name: &str, bytes: &[u8]| {
        if !folder.join(name).exists() {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    };
    let write = |name: &str, signer: &str, change: fn(&mut Shop)| {
        let mut shop = Shop::with(key(signer));
        let identities = Identities::read(&folder.join("keys/identity.txt"), Arc::new(Nobody)).unwrap();
        shop.recipient = identities.recipients().next().unwrap().clone();
        shop.until = "2099-12-31";
        change(&mut shop);
        shop.pack(name).unwrap();
        put(name, &std::fs::read(shop.at(name)).unwrap());
        std::fs::read(folder.join(name)).unwrap()
    };
    let good = write("good.sealed", "vendor.pem", |_| ());
    write("development.sealed", "development.pem", |_| ());
    write("other-customer.sealed", "vendor.pem", |s| s.recipient = write_new_identity(&s.at("other.txt")).unwrap());
    write("expired.sealed", "vendor.pem", |s| s.until = "2025-12-31");
    write("not-yet-valid.sealed", "vendor.pem", |s| s.from = Some("2099-01-01"));
    write("run-only.sealed", "vendor.pem", |s| s.uses = vec![Use::Run]);
    write("passphrase.sealed", "vendor.pem", |s| s.recipient = Recipient::Passphrase("throw-away".into()));
    put("truncated.sealed", &good[..good.len() - 1]);
    let mut damaged = good;
    damaged[512] ^= 1; // the first byte of the first licence text
    put("damaged.sealed", &damaged);
    write_statements(&key("vendor.pem"), &folder, put);
}

/// Renewals and lists, honest ones and others, by the vectors' vendor.
fn write_statements(key: &SigningKey, folder: &Path, put: impl Fn(&str, &[u8])) {
    let vendor = || Vendor { name: "Example Works".into(), key: key.public().id() };
    let id = |name: &str| inspect(&folder.join(name)).unwrap().id;
    let renewal = |bundle: Sha256, until: &str| {
        let (format, until) = (limits::format(), until.parse().unwrap());
        let renewal = Renewal { format, vendor: vendor(), bundle, issued: 1_767_225_600, serial: 1_767_225_600, until };
        crate::sign::sign(&renewal, key).unwrap()
    };
    put("renewed.renewal", &renewal(id("expired.sealed"), "2099-12-31"));
    put("shortened.renewal", &renewal(id("expired.sealed"), "2025-12-30"));
    put("of-another.renewal", &renewal(id("good.sealed"), "2199-12-31"));
    let list = |next: &str| {
        let mut list = Revocations::first(vendor(), next.parse().unwrap());
        (list.number, list.issued) = (1, 1_767_225_600);
        list.recall(id("run-only.sealed"), "2026-01-01".parse().unwrap());
        crate::sign::sign(&list, key).unwrap()
    };
    put("keys/fresh.revocations", &list("2099-12-31"));
    put("keys/stale.revocations", &list("2026-01-31"));
    put("a-list.renewal", &list("2099-12-31"));
}

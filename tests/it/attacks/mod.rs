//! Attacks as a generator: bundles that a second writer makes with a lie in them.
//!
//! What it writes is signed by the trusted key wherever the attack is one that a signer could make, so that each rule
//! is met alone. Each attack must end with its own code, at `verify` or at `open`.

mod active;
mod forge;
mod statements;

use forge::{Forge, file, frames, header, identities, key, key_id, key_path};
use sealwright::Code;
use sealwright::base::Fingerprint;
use sealwright::bundle::{Identities, Request, Seen, Trust, Use, verify};
use sealwright::digest::Sha256;
use serde_json::json;
use std::io::Write as _;

/// A frame by hand, its header saying a size that need not be true.
fn frame_saying(size: u32, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    frame.extend(size.to_le_bytes());
    frame.extend(((content.len() as u32) << 3 | 1).to_le_bytes()[..3].iter()); // one raw block
    frame.extend(content);
    frame
}

#[test]
fn the_second_writer_is_read() {
    assert_eq!(Forge::honest().code("nothing is wrong"), Ok(()));
}

/// What is attacked, the code that must answer, and the change.
type Attack = (&'static str, Code, fn(&mut Forge));

/// Runs each attack and compares its code.
fn expect(attacks: &[Attack]) {
    for (what, code, change) in attacks {
        let mut forge = Forge::honest();
        change(&mut forge);
        assert_eq!(forge.code(what), Err(*code), "{what}");
    }
}

#[test]
fn names_in_the_payload() {
    let names =
        ["../../escape.json", "/etc/escape", "a/../../b", "a\\..\\b", ".ssh/config", "NUL.json", "x.", "a//b", "é"];
    for name in names {
        let mut forge = Forge::honest();
        forge.add(name, b"x");
        assert_eq!(forge.code(name), Err(Code::BadBundle), "{name}");
    }
    expect(&[
        ("twice", Code::BadBundle, |f| f.inner.insert(2, file("LICENSES/MIT.txt", b"text"))),
        ("case collision", Code::BadBundle, |f| f.add("adapter_model.SAFETENSORS", b"")),
        ("a file that is a folder", Code::BadBundle, |f| f.add("adapter_model.safetensors/x", b"")),
        ("out of order", Code::BadBundle, |f| f.inner.reverse()),
        ("papers before files", Code::BadBundle, |f| f.inner.rotate_left(2)),
        ("in the order of names alone", Code::BadBundle, |f| f.inner.sort()),
        ("a paper that differs", Code::BadBundle, |f| f.inner[4].1 = b"other notice".to_vec()),
        ("a paper that is missing", Code::BadBundle, |f| drop(f.inner.remove(4))),
        ("a licence more", Code::BadBundle, |f| f.inner.insert(3, file("LICENSES/X.txt", b""))),
        ("two model.sig", Code::BadBundle, |f| f.inner.push(file("model.sig", b"{}"))),
    ]);
}

#[test]
fn headers_of_the_payload() {
    // the first header's fields; the checksum is made right again where it must not give the lie away
    fn relabel(tar: &mut [u8], at: usize, bytes: &[u8]) {
        tar[at..at + bytes.len()].copy_from_slice(bytes);
        tar[148..156].copy_from_slice(b"        ");
        let sum: u32 = tar[..512].iter().map(|b| u32::from(*b)).sum();
        tar[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
    }
    expect(&[
        ("a symbolic link", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 156, b"2")),
        ("a hard link", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 156, b"1")),
        ("a folder", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 156, b"5")),
        ("a device", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 156, b"3")),
        ("a pax header", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 156, b"x")),
        ("a GNU long name", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 156, b"L")),
        ("executable", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 100, b"0000755")),
        ("another time", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 136, b"00000000001")),
        ("a prefix", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 345, b"..")),
        ("a size with spaces", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 124, b"          4")),
        ("a size in base 256", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 124, b"\x80\0\0\0\0\0\0\0\0\0\0\x04")),
        ("a size beyond the end", Code::Truncated, |f| f.inner_tar = |t| relabel(t, 124, b"77777777777")),
        ("a negative size", Code::BadBundle, |f| f.inner_tar = |t| relabel(t, 124, &[0xff; 12])),
        ("a checksum that lies", Code::BadBundle, |f| f.inner_tar = |t| t[148] ^= 1),
        ("a dirty padding", Code::BadBundle, |f| f.inner_tar = |t| t[512 + 4] = 1),
        ("a dirty trailer", Code::BadBundle, |f| f.inner_tar = |t| *t.last_mut().unwrap() = 1),
        ("trailing zeros", Code::BadBundle, |f| f.inner_tar = |t| t.extend([0; 512])),
        ("half a trailer", Code::Truncated, |f| f.inner_tar = |t| t.truncate(t.len() - 512)),
    ]);
}

#[test]
fn compression_and_encryption() {
    expect(&[
        ("a bomb: more than was signed", Code::BadBundle, |f| {
            f.compress = |t| frames(&[t, &vec![0; 64 << 20][..]].concat())
        }),
        ("a frame that says more", Code::BadBundle, |f| f.compress = |t| frame_saying(u32::MAX, t)),
        ("a frame that holds less than it says", Code::BadBundle, |f| {
            f.compress = |t| {
                let mut frame = frames(t)[..7].to_vec(); // magic number, descriptor, two bytes of size
                frame.extend([1, 0, 0]); // a last raw block of nothing
                frame
            }
        }),
        ("blocks of nothing without end", Code::BadBundle, |f| {
            f.compress = |t| {
                let mut frame = frames(t)[..7].to_vec();
                frame.resize(4 << 20, 0);
                frame
            }
        }),
        ("a skippable frame before", Code::BadBundle, |f| {
            f.compress = |t| [b"\x50\x2a\x4d\x18\0\0\0\0", &frames(t)[..]].concat()
        }),
        ("a skippable frame after", Code::BadBundle, |f| {
            f.compress = |t| [&frames(t)[..], b"\x50\x2a\x4d\x18\0\0\0\0"].concat()
        }),
        ("an empty frame after", Code::BadBundle, |f| {
            f.compress = |t| [frames(t), zstd::bulk::compress(b"", 1).unwrap()].concat()
        }),
        ("smaller pieces", Code::BadBundle, |f| {
            f.compress = |t| t.chunks(512).flat_map(|p| zstd::bulk::compress(p, 1).unwrap()).collect()
        }),
        ("a checksum", Code::BadBundle, |f| {
            f.compress = |t| {
                let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
                encoder.include_checksum(true).unwrap();
                encoder.set_pledged_src_size(Some(t.len() as u64)).unwrap();
                encoder.write_all(t).unwrap();
                encoder.finish().unwrap()
            }
        }),
        ("a dictionary's id", Code::BadBundle, |f| {
            f.compress = |t| {
                let mut frame = frames(t);
                frame[4] |= 1;
                frame
            }
        }),
        ("no compression", Code::BadBundle, |f| f.compress = <[u8]>::to_vec),
        ("nothing at all", Code::Truncated, |f| f.compress = |_| Vec::new()),
        ("a byte after the last age chunk", Code::BadBundle, |f| f.on_cipher = |c| c.push(0)),
        ("the last age chunk is missing", Code::BadBundle, |f| f.on_cipher = |c| c.truncate(c.len() - 1)),
        ("not age", Code::BadBundle, |f| f.on_cipher = |c| c[0] ^= 1),
        ("a passphrase that asks for 2^63 rounds", Code::TooLarge, |f| {
            f.identities = || Identities::passphrase("x".into());
            f.on_manifest = |m| {
                let digest = Sha256::of([&Sha256::of("salt").0[..], b"passphrase"].concat());
                m["entitlement"]["recipients"] = json!([digest]);
            };
            f.on_cipher = |c| {
                let (salt, body, mac) = ("A".repeat(22), "A".repeat(43), "A".repeat(43));
                *c = format!("age-encryption.org/v1\n-> scrypt {salt} 63\n{body}\n--- {mac}\n").into_bytes();
                c.extend([0; 64]);
            }
        }),
        ("a passphrase for a customer with a key", Code::WrongCustomer, |f| {
            f.on_cipher = |c| {
                let mut recipient = age::scrypt::Recipient::new("x".to_owned().into());
                recipient.set_work_factor(1);
                *c = age::encrypt(&recipient, b"x").unwrap();
            }
        }),
        ("another customer's payload", Code::WrongCustomer, |f| {
            f.on_cipher = |c| {
                let other = age::x25519::Identity::generate().to_public();
                *c = age::encrypt(&other, b"x").unwrap();
            }
        }),
    ]);
}

#[test]
fn the_manifest() {
    expect(&[
        ("an unknown key", Code::BadBundle, |f| f.on_manifest = |m| m["extra"] = json!(1)),
        ("a missing key", Code::BadBundle, |f| f.on_manifest = |m| drop(m.as_object_mut().unwrap().remove("policy"))),
        ("a key twice", Code::BadBundle, |f| {
            f.on_manifest_text = |t| *t = t.replacen('{', "{\"development\":false,", 1)
        }),
        ("a space", Code::BadBundle, |f| f.on_manifest_text = |t| t.push(' ')),
        ("a float", Code::BadBundle, |f| {
            f.on_manifest_text = |t| *t = t.replace("\"serial\":1767225600", "\"serial\":1767225600.0")
        }),
        ("deep nesting", Code::BadBundle, |f| f.on_manifest_text = |t| *t = "[".repeat(1 << 19)),
        ("not JSON", Code::BadBundle, |f| f.on_manifest_text = String::clear),
        ("a newer version", Code::UnsupportedVersion, |f| f.on_manifest = |m| m["format"] = json!("sealwright/2")),
        ("another format", Code::BadBundle, |f| f.on_manifest = |m| m["format"] = json!("sealed")),
        ("a product that is a path", Code::BadBundle, |f| f.on_manifest = |m| m["product"]["name"] = json!("../x")),
        ("a payload beyond the limit", Code::TooLarge, |f| {
            f.on_manifest = |m| m["payload"]["size"] = json!(1u64 << 50)
        }),
        ("a payload that is larger than it is", Code::BadBundle, |f| {
            f.on_manifest = |m| m["payload"]["size"] = json!(m["payload"]["size"].as_u64().unwrap() + 512)
        }),
        ("another age header", Code::BadBundle, |f| {
            f.on_manifest = |m| m["payload"]["header"] = json!(Sha256::of("x"))
        }),
        ("no age header", Code::BadBundle, |f| {
            f.on_manifest = |m| drop(m["payload"].as_object_mut().unwrap().remove("header"))
        }),
        ("fewer files than there are", Code::BadBundle, |f| f.on_manifest = |m| m["payload"]["files"] = json!(7)),
        ("more files than there are", Code::BadBundle, |f| f.on_manifest = |m| m["payload"]["files"] = json!(9)),
        ("another digest", Code::Damaged, |f| f.on_manifest = |m| m["entries"][0]["sha256"] = json!(Sha256::of("x"))),
        ("another size", Code::BadBundle, |f| f.on_manifest = |m| m["entries"][0]["size"] = json!(5)),
        ("no entries", Code::BadBundle, |f| f.on_manifest = |m| m["entries"] = json!([])),
        ("no recipients", Code::BadBundle, |f| f.on_manifest = |m| m["entitlement"]["recipients"] = json!([])),
        ("somebody else's recipient", Code::WrongCustomer, |f| {
            f.on_manifest = |m| m["entitlement"]["recipients"] = json!([Sha256::of("x")])
        }),
    ]);
}

#[test]
fn the_signatures() {
    expect(&[
        ("another key", Code::BadSignature, |f| {
            f.keyid = Some(key_id(&f.key));
            f.key = key("development.pem");
        }),
        ("a key that nobody trusts", Code::UnknownSigner, |f| f.key = key("development.pem")),
        ("a trusted name in a stranger's bundle", Code::BadSignature, |f| {
            f.key = key("development.pem");
            f.on_manifest = |m| m["vendor"]["key"] = json!(key_id(&key("vendor.pem")));
        }),
        ("another type", Code::BadSignature, |f| f.manifest_type = "application/vnd.in-toto+json"),
        ("high s", Code::BadSignature, |f| f.high_s = true),
        ("a development key that is trusted", Code::DevelopmentKey, |f| {
            f.on_manifest = |m| m["development"] = json!(true)
        }),
        ("model.sig by another key", Code::InnerSignerDiffers, |f| f.inner_key = key("development.pem")),
        ("model.sig that leaves more out", Code::InnerSignerDiffers, |f| {
            f.on_model_sig = |s| {
                s["predicate"]["serialization"]["ignore_paths"] =
                    json!([".git", "adapter_model.safetensors", "model.sig"]);
            }
        }),
        ("model.sig of another product", Code::InnerSignerDiffers, |f| {
            f.on_model_sig = |s| s["subject"][0]["name"] = json!("other-1.0.0")
        }),
        ("model.sig over other files", Code::InnerSignerDiffers, |f| {
            f.on_model_sig = |s| s["predicate"]["resources"][0]["digest"] = json!(Sha256::of("x"))
        }),
        ("a manifest swapped after signing", Code::BadSignature, |f| {
            f.on_entries = |e| {
                let at = e.len() - 2;
                e[at].1 = String::from_utf8(e[at].1.clone()).unwrap().replace("2099-12-31", "2199-12-31").into_bytes();
            }
        }),
    ]);
}

#[test]
fn the_outer_tar() {
    expect(&[
        ("an entry more", Code::BadBundle, |f| f.on_entries = |e| e.insert(0, file("LICENSES/A.txt", b""))),
        ("an entry less", Code::BadBundle, |f| f.on_entries = |e| drop(e.remove(0))),
        ("reordered", Code::BadBundle, |f| f.on_entries = |e| e.swap(1, 2)),
        ("an unknown entry", Code::BadBundle, |f| f.on_entries = |e| e.insert(0, file("A.sh", b""))),
        ("a paper twice", Code::BadBundle, |f| f.on_entries = |e| e.insert(3, file("NOTICE", b"notice"))),
        ("manifest before payload", Code::BadBundle, |f| f.on_entries = |e| e.swap(5, 6)),
        ("no signature", Code::Truncated, |f| f.on_entries = |e| drop(e.pop())),
        ("an entry after the signature", Code::BadBundle, |f| f.on_entries = |e| e.push(file("x", b""))),
        ("a paper's bytes", Code::Damaged, |f| f.on_entries = |e| e[2].1[0] ^= 1),
        ("another payload", Code::Damaged, |f| f.on_entries = |e| e[5].1[300] ^= 1),
        ("a manifest without end", Code::BadBundle, |f| f.on_entries = |e| e[6].1.resize(2 << 20, b' ')),
        ("bytes after the end", Code::BadBundle, |f| f.after = |b| b.push(0)),
        ("blocked as tar does it", Code::BadBundle, |f| f.after = |b| b.resize(b.len().next_multiple_of(10_240), 0)),
        ("an unfinished file", Code::Truncated, |f| {
            f.after = |b| {
                let payload = b.windows(7).position(|w| w == b"payload").unwrap();
                b.truncate(payload);
                b.resize(payload + 4096, 0);
            }
        }),
        ("empty", Code::Truncated, |f| f.after = Vec::clear),
        ("a size beyond the end", Code::Truncated, |f| {
            f.after = |b| b.splice(..512, header("LICENSES/MIT.txt", 1 << 20)).for_each(drop)
        }),
        ("a paper beyond its limit", Code::BadBundle, |f| {
            f.after = |b| b.splice(..512, header("LICENSES/MIT.txt", 1 << 32)).for_each(drop)
        }),
    ]);
}

#[test]
fn a_base_is_told_by_its_component() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.sealed");
    std::fs::write(&path, Forge::honest().write()).unwrap();
    let public = sealwright::sign::PublicKey::read(&key_path("vendor.pub.pem")).unwrap();
    let identities = identities();
    let of = |part: &str| Sha256::of(part);
    let at_hand = Fingerprint { weights: of("w"), config: of("c"), tokenizer: of("another"), template: of("j") };
    let request = Request {
        identities: &identities,
        now: "2026-06-01T00:00:00Z".parse().unwrap(),
        base: Some(&at_hand),
        wanted: Use::Open,
        seen: &Seen::at(dir.path().join("state")),
    };
    let error = verify(&path, &Trust::in_keys([public], false)).unwrap().judge(&request).unwrap_err();
    assert_eq!((error.code, error.to_string().contains("tokenizer")), (Code::WrongBase, true), "{error}");
}

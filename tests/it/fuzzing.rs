//! The fuzz targets' bodies over seeded, mutated inputs: no nightly compiler, the same inputs on every machine.
//! `SEALWRIGHT_FUZZ=N` runs N inputs a reader in place of the few that every test run affords.

#[path = "../../fuzz/bodies.rs"]
mod bodies;

use crate::cases::{self, Draw};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Inputs a reader.
const INPUTS: usize = 300;
/// An input is cut to so many bytes.
const MAX_BYTES: usize = 6000;

/// Words that mean something to some reader.
const WORDS: [&str; 24] = [
    "---\n",
    "license: mit\n",
    "base_model:\n- a/b\n",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "<!--",
    "-->",
    "<p>",
    "&lt;",
    "~~",
    "```\n",
    "(c) 2024",
    "\u{200b}",
    "\u{202e}",
    "\u{0}",
    "\r\n",
    "[[ruling]]\n",
    "= 18446744073709551615\n",
    "&a *a",
    "](",
    "not ",
];

impl Draw {
    /// One seed with a few of its parts cut, doubled, replaced.
    fn mutated(&mut self, seeds: &[Vec<u8>], most: usize) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(6) {
            let (at, length) = (self.below(bytes.len() + 1), self.below(40));
            let end = (at + length).min(bytes.len());
            match self.below(6) {
                0 => drop(bytes.drain(at..end)),
                1 => bytes = [&bytes[..end], &bytes[at..]].concat(),
                2 => bytes = [&bytes[..at], WORDS[self.below(WORDS.len())].as_bytes(), &bytes[at..]].concat(),
                3 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                4 => {
                    let other = &seeds[self.below(seeds.len())];
                    let from = self.below(other.len() + 1);
                    bytes = [&bytes[..at], &other[from..(from + length * 4).min(other.len())]].concat();
                }
                _ => {
                    bytes = [
                        &bytes[..at],
                        &WORDS[self.below(WORDS.len())].repeat(self.below(200)).into_bytes()[..],
                        &bytes[at..],
                    ]
                    .concat()
                }
            }
        }
        bytes.truncate(most);
        bytes
    }
}

/// Runs a body; a failure prints its input.
fn run(name: &str, body: fn(&[u8]), seeds: &[Vec<u8>]) {
    run_up_to(name, MAX_BYTES, body, seeds);
}

/// The same with inputs of another size.
fn run_up_to(name: &str, most: usize, body: fn(&[u8]), seeds: &[Vec<u8>]) {
    let inputs = std::env::var("SEALWRIGHT_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(INPUTS);
    let mut draw = Draw(name.bytes().fold(0x5ea1_u64, |seed, b| seed.wrapping_mul(31) + u64::from(b)) | 1);
    seeds.iter().for_each(|seed| body(seed));
    for round in 0..inputs {
        let input = draw.mutated(seeds, most);
        if catch_unwind(AssertUnwindSafe(|| body(&input))).is_err() {
            panic!("{name}, round {round}: {:?}", String::from_utf8_lossy(&input));
        }
    }
}

fn texts(list: &[&str]) -> Vec<Vec<u8>> {
    list.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn cards_are_read_or_refused() {
    let seeds = texts(&[
        "---\nlicense: llama2\nbase_model:\n- a/b\n- c/d\nextra: {x: [1, 2]}\n---\n# Title\n",
        "---\nlicense: other\nlicense_name: |\n  two\n  lines\nextra_gated_fields:\n  I agree: checkbox\n---\nprose",
        "\u{feff}---\r\nlicense: >-\r\n  mit\r\n---\r\nx",
        "no front matter",
    ]);
    run("card", bodies::card, &seeds);
}

#[test]
fn any_text_is_normalised_and_compared() {
    let mut seeds: Vec<Vec<u8>> = ["MIT", "BSD-3-Clause", "Apache-2.0", "CC0-1.0", "ISC"]
        .iter()
        .map(|id| cases::text(id).unwrap().into())
        .collect();
    seeds.extend(texts(&["# A\n> b\n* c\n1. d\n(a) e 3(b)(ii) US$1,000,000 <b>x</b> [y](z.w) &amp; \u{2019}"]));
    run("text", bodies::text, &seeds);
}

#[test]
fn records_are_read_or_refused() {
    let file = |name: &str| sealwright::data::POLICIES.get_file(name).unwrap().contents().to_vec();
    let seeds = ["licenses/mit.toml", "licenses/isc.toml", "licenses/mistral-research-0.1.toml"].map(file);
    run("record", bodies::record, &seeds);
}

#[test]
fn policies_are_read_or_refused() {
    let seeds = [
        (
            0,
            "[fields]\nforbidden = [\"military\"]\n[severity]\nlimit-kept = { severity = \"review\", reason = \"x\", until = \"2027-01-01\" }\n",
        ),
        (
            2,
            "[[model]]\nids = [\"a/b\"]\nlicense = \"MIT\"\nstanding = \"read\"\nsource = \"x\"\nparents = [\"a/c\"]\n[[model]]\nids = [\"a/c\"]\nlicense = \"MIT\"\nstanding = \"read\"\nsource = \"x\"\n",
        ),
        (
            3,
            "[[data-set]]\nids = [\"a/b\"]\nlicense = \"MIT\"\ngenerated-by = [\"gpt-4\"]\nstanding = \"read\"\nsource = \"x\"\n",
        ),
    ];
    let mut seeds: Vec<Vec<u8>> = seeds.iter().map(|(which, text)| [&[*which], text.as_bytes()].concat()).collect();
    let default = sealwright::data::POLICIES.get_file("org/default.toml").unwrap().contents();
    seeds.push([&[1], default].concat());
    run("policy", bodies::policy, &seeds);
}

#[test]
fn gguf_heads_are_read_or_refused() {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let pair = [text("general.license"), 8u32.to_le_bytes().to_vec(), text("mit")].concat();
    let tensor = [text("w"), 1u32.to_le_bytes().to_vec(), 8u64.to_le_bytes().to_vec(), vec![0; 12]].concat();
    let head = [&b"GGUF\x03\0\0\0"[..], &1u64.to_le_bytes(), &1u64.to_le_bytes(), &pair, &tensor].concat();
    run("gguf", bodies::gguf, &[[head, vec![0; 64]].concat()]);
}

#[test]
fn active_content_is_found_however_it_is_packed() {
    let head = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let zip = b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0\x05\0\0\0\x01\0\0\0acos\nxPK\x01\x02\x14\0\x14\0\0\0\0\0\0\0\0\0\0\
        \0\0\0\x05\0\0\0\x05\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0aPK\x05\x06\0\0\0\0\x01\0\x01\0\x2f\0\0\0\x24\0\0\0\0\0";
    let seeds = [
        b"cposix\nsystem\n(S'id'\ntR.".to_vec(),
        b"\x80\x04\x95\x1d\0\0\0\0\0\0\0\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.".to_vec(),
        b"\x93NUMPY\x01\0\x0f\0{'descr': '|O'}".to_vec(),
        b"\x08\x0a\x3a\x0c\x0a\x0a\x22\x03Run\x3a\x03a.b".to_vec(),
        b"\x08\x01\x12\x0f\x12\x0d\x0a\x0b\x0a\x01n\x12\x06PyFunc".to_vec(),
        br#"{"auto_map": {"AutoModel": "m.M"}, "x": [{"class_name": "Lambda", "module": "os"}]}"#.to_vec(),
        [&(head.len() as u64).to_le_bytes()[..], head.as_bytes(), &[0; 4]].concat(),
        b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01\x05\0\xfa\xffK\x01.K\x02".to_vec(),
        zip.to_vec(),
    ];
    run("active", bodies::active, &seeds);
}

#[test]
fn product_files_are_read_or_refused() {
    let seeds = texts(&[
        include_str!("../../examples/01-helpdesk/sealwright.toml"),
        include_str!("../../examples/02-smollm2/sealwright.toml"),
    ]);
    run("product", bodies::product, &seeds);
}

#[test]
fn rulings_read_as_they_were_written() {
    let digest = "00".repeat(32);
    let ruling = format!(
        "[[ruling]]\ncode = \"no-license\"\nsubject = \"base\"\nterm = \"text\"\nby = \"compliance\"\non = \"2026-05-01\"\nuntil = \"2027-01-01\"\n\
         reason = \"a \\\"quoted\\\" one\"\ntext = \"{digest}\"\nfacts = \"{digest}\"\npolicy = \"{digest}\"\nuse = \"{digest}\"\n"
    );
    run("rulings", bodies::rulings, &texts(&[&ruling, &ruling.repeat(2)]));
}

#[test]
fn weight_headers_are_read_or_refused() {
    let file = |header: &str, data: &[u8]| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat();
    let seeds = [
        file(r#"{"__metadata__":{"license":"mit"},"w":{"dtype":"BF16","shape":[2,1],"data_offsets":[0,4]}}"#, &[0; 4]),
        file(
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"I8","shape":[4],"data_offsets":[4,8]}}"#,
            &[1; 8],
        ),
    ];
    run("headers", bodies::headers, &seeds);
}

fn vector(name: &str) -> Vec<u8> {
    std::fs::read(crate::bundle::vectors().join(name)).unwrap()
}

#[test]
fn bundles_are_read_or_refused() {
    let names = ["good.sealed", "passphrase.sealed", "truncated.sealed"];
    run_up_to("bundle", 64 << 10, bodies::bundle, &names.map(vector));
}

#[test]
fn the_ends_of_bundles_are_read_or_refused() {
    let end = |name: &str| {
        let (_, start) = sealwright::bundle::Tail::read(&crate::bundle::vectors().join(name)).unwrap();
        vector(name)[start as usize..].to_vec()
    };
    run("tail", bodies::tail, &["good.sealed", "run-only.sealed"].map(end));
}

#[test]
fn manifests_have_one_form() {
    let of =
        |name: &str| sealwright::bundle::inspect(&crate::bundle::vectors().join(name)).unwrap().manifest.to_bytes();
    run("manifest", bodies::manifest, &["good.sealed", "not-yet-valid.sealed", "passphrase.sealed"].map(of));
}

#[test]
fn signed_statements_have_one_form() {
    let (key, digest) = (bodies::SIGNER.public().id(), "00".repeat(32));
    let vendor = format!(r#""vendor":{{"key":"{key}","name":"Example Works"}}"#);
    let renewal = format!(
        r#"{{"bundle":"{digest}","format":"sealwright/1","issued":1767225600,"serial":1767225600,"until":"2099-12-31",{vendor}}}"#
    );
    let list = format!(
        r#"{{"bundles":[{{"bundle":"{digest}","on":"2026-01-01"}}],"format":"sealwright/1","issued":1767225600,"keys":[{{"key":"{digest}","until":"2026-01-01"}}],"next":"2099-12-31","number":1,{vendor}}}"#
    );
    run("renewal", bodies::renewal, &texts(&[&renewal]));
    run("revocations", bodies::revocations, &texts(&[&list]));
}

#[test]
fn trust_files_are_read_or_refused() {
    let seeds = texts(&[
        "updated = \"2026-05-01\"\n[[key]]\npublic = \"vendor.pub.pem\"\nvendor = \"Example Works\"\nproducts = [\"helpdesk\"]\n\
         from = \"2026-01-01\"\nuntil = \"2026-12-31\"\nstatus = \"retired\"\n",
        "[[key]]\npublic = \"vendor.pub.pem\"\nvendor = \"Example Works\"\nstatus = \"compromised\"\npins = []\n",
    ]);
    run("trust", bodies::trust, &seeds);
}

#[test]
fn frames_are_read_or_refused() {
    let seed = |content: &[u8]| {
        let size = (content.len() as u32).to_le_bytes();
        let frames = content.chunks(1 << 20).flat_map(|piece| zstd::bulk::compress(piece, 3).unwrap());
        size[..3].iter().copied().chain(frames).collect::<Vec<u8>>()
    };
    run("frames", bodies::frames, &[seed(b"a"), seed(&[7; 70_000]), seed(&vec![0; (1 << 20) + 300])]);
}

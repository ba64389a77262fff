//! Which licence, whose child: every place that says something of it, and what places say against each other.

use crate::license::{codes, declared, now, spdx_text};
use sealwright::base::{Base, Gguf};
use sealwright::error::Code;
use sealwright::license::*;
use std::path::Path;

const CONFIG: (&str, &str) = ("config.json", r#"{"model_type": "llama"}"#);
const LLAMA_2_7B: &str = r#"{"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32000}"#;
const SMOLLM2: &str = r#"{"_name_or_path": "HuggingFaceTB/SmolLM2-135M", "hidden_size": 576, "intermediate_size": 1536,
    "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152}"#;

fn fill(folder: &Path, files: &[(&str, &[u8])]) {
    files.iter().for_each(|(name, bytes)| std::fs::write(folder.join(name), bytes).unwrap());
}

fn subject(files: &[(&str, &[u8])]) -> Subject {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), files);
    Subject::read(&Base::open(dir.path()).unwrap(), None).unwrap()
}

fn judged(files: &[(&str, &str)], declared: &Use) -> Report {
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    check(&subject(&files), declared, &Policies::load(None).unwrap(), &[], now())
}

/// A folder under Apache-2.0 with a config, and these files.
fn apache(files: &[(&str, &str)]) -> Report {
    judged(&[&[("LICENSE", spdx_text("Apache-2.0")), CONFIG], files].concat(), &declared())
}

fn finding<'r>(report: &'r Report, code: &str) -> &'r Finding {
    report.findings().iter().find(|f| f.code.name() == code).unwrap_or_else(|| panic!("{code}: {:?}", codes(report)))
}

fn card(front: &str, prose: &str) -> String {
    format!("---\n{front}\n---\n{prose}\n")
}

// ---- what is there, and where

#[test]
fn every_claim_has_its_place_and_is_bound_by_the_digest() {
    let readme = card(
        "license: other\nlicense_name: example-terms\nlicense_link: LICENSE\nbase_model:\n- a/b\n\
         base_model_relation: finetune\ndatasets: [c/d, e/f]\nextra_gated_prompt: |\n  Agree\n  to all.\n\
         extra_gated_fields:\n  Name: text\n  Country: country",
        "# Title\n\nFor research\nonly.",
    );
    let config = r#"{"_name_or_path": "g/h", "architectures": ["XForCausalLM"], "model_type": "x",
        "text_config": {"_name_or_path": "i/j"}, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 10}"#;
    let tokenizer = r#"{"name_or_path": "k/l", "tokenizer_class": "XTokenizer", "eos_token": {"content": "</s>"}}"#;
    let merge = "models:\n  - model: m/n\n    parameters: {weight: 1}\n  - model: \"o/p+q/r\"\nbase_model: m/n\n";
    let header = r#"{"__metadata__":{"modelspec.license":"MIT","base_model":"s/t"}}"#;
    let weights = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    let files: [(&str, &[u8]); 8] = [
        ("LICENSE", b"text"),
        ("NOTICE", b"notice"),
        ("README.md", readme.as_bytes()),
        ("config.json", config.as_bytes()),
        ("tokenizer_config.json", tokenizer.as_bytes()),
        ("adapter_config.json", br#"{"base_model_name_or_path": "u/v"}"#),
        ("mergekit_config.yml", merge.as_bytes()),
        ("model.safetensors", &weights),
    ];
    let whole = subject(&files);
    let report = check(&whole, &declared(), &Policies::load(None).unwrap(), &[], now());
    let found: Vec<String> = report
        .evidence()
        .iter()
        .filter(|e| !matches!(e.topic, Topic::Text | Topic::Notice | Topic::Card))
        .map(|e| format!("{:?} {} {} {}", e.topic, e.says, e.file, e.at.as_deref().unwrap_or("-")))
        .collect();
    assert_eq!(
        found,
        [
            "License other README.md license",
            "LicenseName example-terms README.md license_name",
            "LicenseLink LICENSE README.md license_link",
            "Parent a/b README.md base_model",
            "Relation finetune README.md base_model_relation",
            "DataSet c/d README.md datasets",
            "DataSet e/f README.md datasets",
            "Acceptance Agree to all. README.md extra_gated_prompt",
            "Acceptance Name, Country README.md extra_gated_fields",
            "Name g/h config.json _name_or_path",
            "Name i/j config.json text_config._name_or_path",
            "Architecture XForCausalLM config.json architectures",
            "Architecture x config.json model_type",
            "Name k/l tokenizer_config.json name_or_path",
            "Tokenizer XTokenizer tokenizer_config.json tokenizer_class",
            "Parent u/v adapter_config.json base_model_name_or_path",
            "Relation merge mergekit_config.yml -",
            "Parent m/n mergekit_config.yml line 2",
            "Parent o/p mergekit_config.yml line 4",
            "Parent q/r mergekit_config.yml line 4",
            "Parent m/n mergekit_config.yml line 5",
            "Parent s/t model.safetensors __metadata__.base_model",
            "License MIT model.safetensors __metadata__.modelspec.license",
            "Dimensions 8 wide, 2 layers, 2 heads, 10 tokens config.json -",
            "Condition research-only README.md line 18",
        ]
    );
    for (name, bytes) in files {
        let mut changed = files;
        let other = [bytes, b" "].concat();
        let at = changed.iter().position(|(n, _)| *n == name).unwrap();
        // what only JSON or YAML see the same is the same
        if matches!(name, "LICENSE" | "NOTICE" | "README.md") {
            changed[at].1 = &other;
            assert_ne!(subject(&changed).digest(), whole.digest(), "{name}");
        }
        changed[at] = ("unrelated.bin", b"");
        assert_ne!(subject(&changed).digest(), whole.digest(), "{name}");
    }
}

#[test]
fn words_alone_can_be_checked_and_an_empty_folder_not() {
    let files = [("LICENSE", spdx_text("Apache-2.0")), ("README.md", "---\nlicense: apache-2.0\n---\n")];
    let report = judged(&files, &declared());
    assert_eq!(report.verdict(), Verdict::NeedsReview);
    let asked: Vec<_> = report.findings().iter().filter(|f| f.severity == Severity::Review).map(|f| f.code).collect();
    assert_eq!(asked, [FindingCode::ConfigMissing]);
    // what needs a config says that there is none
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &[("LICENSE", b"x")]);
    let base = Base::open(dir.path()).unwrap();
    assert!(base.config.need("hidden_size").unwrap_err().to_string().contains("no config.json"));
    assert!(base.fingerprint().unwrap_err().to_string().contains("no weights"));
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(Base::open(empty.path()).unwrap_err().code, Code::Io);
    assert_eq!(Base::open(Path::new("nowhere.gguf")).unwrap_err().code, Code::Io);
}

// ---- what clears

#[test]
fn a_licence_that_is_only_named_clears_where_the_lineage_knows_the_model_with_it() {
    let card = ("README.md", "---\nlicense: apache-2.0\n---\n");
    let report = judged(&[card, ("config.json", SMOLLM2)], &declared());
    assert_eq!(report.verdict(), Verdict::AllowWithObligations, "{:?}", codes(&report));
    assert!(finding(&report, "lineage-confirms").message.contains("HuggingFaceTB/SmolLM2-135M"));
    assert_eq!(report.clear().unwrap().texts()[0].0, "Apache-2.0.txt");
    for (why, config, card) in [
        ("another licence", SMOLLM2.to_owned(), "license: mit"),
        ("other dimensions", SMOLLM2.replace("576", "512"), "license: apache-2.0"),
        ("no name", SMOLLM2.replace("HuggingFaceTB/SmolLM2-135M", "example/own"), "license: apache-2.0"),
        ("a parent's name", SMOLLM2.to_owned(), "license: apache-2.0\nbase_model: HuggingFaceTB/SmolLM2-135M"),
        // known, but from general knowledge alone
        ("a doubtful entry", r#"{"_name_or_path": "Qwen/Qwen2.5-7B-Instruct"}"#.into(), "license: apache-2.0"),
    ] {
        let report = judged(&[("README.md", &format!("---\n{card}\n---\n")), ("config.json", &config)], &declared());
        assert_eq!(report.verdict(), Verdict::NeedsReview, "{why}");
        assert!(codes(&report).contains(&"claimed-without-text"), "{why}: {:?}", codes(&report));
    }
}

#[test]
fn a_text_that_the_vendor_vouches_for_clears_no_stranger() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("their-license.txt");
    std::fs::write(&text, spdx_text("Apache-2.0")).unwrap();
    let verdict = |config: &str| {
        let base = tempfile::tempdir().unwrap();
        fill(base.path(), &[("config.json", config.as_bytes())]);
        let subject = Subject::read(&Base::open(base.path()).unwrap(), Some(&text)).unwrap();
        let report = check(&subject, &declared(), &Policies::load(None).unwrap(), &[], now());
        (report.verdict(), codes(&report).contains(&"text-vouched"))
    };
    assert_eq!(verdict(SMOLLM2), (Verdict::AllowWithObligations, false));
    assert_eq!(verdict("{}"), (Verdict::NeedsReview, true));
    assert_eq!(verdict(LLAMA_2_7B), (Verdict::NeedsReview, true));
}

// ---- what speaks against what

#[test]
fn files_that_name_other_parents_than_the_card_are_told() {
    let smol = card("base_model: HuggingFaceTB/SmolLM2-135M", "");
    let llama = r#"{"base_model_name_or_path": "meta-llama/Llama-2-7b-hf"}"#;
    let report = apache(&[("README.md", &smol), ("adapter_config.json", llama)]);
    let told = finding(&report, "parents-differ");
    assert_eq!((told.subject.as_str(), told.severity), ("adapter_config.json", Severity::Review));
    assert!(told.message.contains("meta-llama/Llama-2-7b-hf") && told.message.contains("SmolLM2-135M"));
    // both bind
    assert!(report.licenses().iter().any(|l| l.id.as_deref() == Some("LicenseRef-llama-2")));
    let named = r#"{"_name_or_path": "meta-llama/Llama-2-7b-hf"}"#;
    assert!(codes(&apache(&[("README.md", &smol), ("config.json", named)])).contains(&"parents-differ"));
    for (same, config) in [
        ("its own name", r#"{"_name_or_path": "example/own"}"#),
        ("the parent's", r#"{"_name_or_path": "HuggingFaceTB/SmolLM2-135M"}"#),
        ("a sister's child", r#"{"_name_or_path": "HuggingFaceTB/SmolLM2-135M-Instruct"}"#),
    ] {
        assert!(
            !codes(&apache(&[("README.md", &smol), ("config.json", config)])).contains(&"parents-differ"),
            "{same}"
        );
    }
}

#[test]
fn a_relation_that_does_not_fit_is_told() {
    let adapter = ("adapter_config.json", r#"{"base_model_name_or_path": "HuggingFaceTB/SmolLM2-135M"}"#);
    let merged = ("mergekit_config.yml", "models:\n- model: HuggingFaceTB/SmolLM2-135M\n");
    let parent = "base_model: HuggingFaceTB/SmolLM2-135M";
    let told = |relation: &str, parent: &str, files: &[(&str, &str)]| {
        let front = format!("{parent}\nbase_model_relation: {relation}");
        let card = card(&front, "");
        codes(&apache(&[&[("README.md", card.as_str())], files].concat())).contains(&"relation-differs")
    };
    for (relation, files) in [
        ("fine-tuned", &[][..]),
        ("finetune", &[adapter]),
        ("merge", &[]),
        ("quantized", &[merged]),
        ("adapter", &[("config.json", SMOLLM2)]),
    ] {
        assert!(told(relation, parent, files), "{relation}");
    }
    assert!(told("finetune", "license: apache-2.0", &[]));
    for (relation, files) in [("finetune", &[][..]), ("adapter", &[adapter]), ("merge", &[merged]), ("quantized", &[])]
    {
        assert!(!told(relation, parent, files), "{relation}");
    }
}

#[test]
fn a_licence_in_the_place_of_one_that_stays_is_told() {
    let with = |license: &str, parent: &str, relation: &str| {
        let card = card(&format!("base_model: {parent}\nbase_model_relation: {relation}"), "");
        let report = judged(&[("LICENSE", spdx_text(license)), ("README.md", &card), CONFIG], &declared());
        codes(&report).contains(&"relicensed")
    };
    assert!(with("MIT", "HuggingFaceTB/SmolLM2-135M", "quantized"));
    assert!(!with("MIT", "HuggingFaceTB/SmolLM2-135M", "finetune"));
    assert!(!with("Apache-2.0", "HuggingFaceTB/SmolLM2-135M", "quantized"));
}

#[test]
fn conditions_in_the_cards_prose_are_told_unless_the_licence_says_them() {
    let prose = card("license: apache-2.0", "# T\n\nThis model is for **non-commercial** use.");
    let report = apache(&[("README.md", &prose)]);
    let told = finding(&report, "card-restricts");
    assert!(told.message.contains("line 6") && told.message.contains("\"non commercial\""), "{}", told.message);
    assert_eq!(report.verdict(), Verdict::NeedsReview);
    let at: Vec<_> = report.evidence().iter().filter(|e| e.topic == Topic::Condition).collect();
    assert_eq!((at.len(), at[0].says.as_str(), at[0].at.as_deref()), (1, "non-commercial", Some("line 6")));

    let free = Use { commercial: false, ..declared() };
    let files = [("LICENSE", spdx_text("Apache-2.0")), CONFIG, ("README.md", prose.as_str())];
    assert!(!codes(&judged(&files, &free)).contains(&"card-restricts"));
    let said = [("LICENSE", spdx_text("CC-BY-NC-4.0")), CONFIG, ("README.md", prose.as_str())];
    assert!(!codes(&judged(&said, &declared())).contains(&"card-restricts"));
    let none = card("license: apache-2.0", "Free for research and commercial use, not limited to non-commercial ones.");
    assert!(!codes(&apache(&[("README.md", &none)])).contains(&"card-restricts"));
}

#[test]
fn what_the_hub_asks_for_is_told() {
    let front = "license: apache-2.0\nextra_gated_prompt: >-\n  You agree to the Example Terms,\n  as of today.\n\
                 extra_gated_fields:\n  Company: text";
    let report = apache(&[("README.md", &card(front, ""))]);
    let told = finding(&report, "acceptance-asked");
    assert!(told.message.contains("extra_gated_prompt, extra_gated_fields"), "{}", told.message);
    assert!(told.message.contains("\"You agree to the Example Terms, as of today.\""), "{}", told.message);
    assert!(!codes(&apache(&[("README.md", &card("license: apache-2.0", ""))])).contains(&"acceptance-asked"));
}

#[test]
fn data_sets_that_are_limited_are_told() {
    let told = |set: &str, declared: &Use| {
        let card = card(&format!("datasets:\n- {set}"), "");
        let files = [("LICENSE", spdx_text("Apache-2.0")), CONFIG, ("README.md", card.as_str())];
        let report = judged(&files, declared);
        report.findings().iter().find(|f| f.code.name() == "data-set-limited").map(|f| f.message.clone())
    };
    let alpaca = told("tatsu-lab/alpaca", &declared()).unwrap();
    assert!(alpaca.contains("CC-BY-NC-4.0") && alpaca.contains("text-davinci-003"), "{alpaca}");
    assert!(told("Open-Orca/SlimOrca", &declared()).unwrap().contains("gpt-4 wrote it"));
    assert!(told("rajpurkar/squad", &declared()).unwrap().contains("share-alike"));
    assert!(told("databricks/databricks-dolly-15k", &declared()).is_some());
    assert!(told("lmsys/lmsys-chat-1m", &declared()).unwrap().contains("no record"));
    for free in ["Anthropic/hh-rlhf", "OpenAssistant/oasst1", "HuggingFaceTB/cosmopedia", "example/own"] {
        assert_eq!(told(free, &declared()), None, "{free}");
    }
    let same = Use { commercial: false, terms: "same".into(), ..declared() };
    assert_eq!(told("rajpurkar/squad", &same), None);
    assert_eq!(told("HuggingFaceH4/no_robots", &same), None);
    assert!(told("facebook/natural_reasoning", &same).unwrap().contains("Llama-3.3-70B-Instruct wrote it"));
}

#[test]
fn a_familys_tokenizer_under_a_strange_licence_is_told() {
    let tokens = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"];
    let added: Vec<String> =
        tokens.iter().enumerate().map(|(i, t)| format!("\"{}\": {{\"content\": \"{t}\"}}", 128_000 + i)).collect();
    let tokenizer = format!("{{\"added_tokens_decoder\": {{{}}}}}", added.join(", "));
    let tokenizer = ("tokenizer_config.json", tokenizer.as_str());
    assert!(finding(&apache(&[tokenizer]), "tokenizer-resembles").message.contains("Llama 3"));
    // a child that says so, and one whose dimensions and licence are known
    let child = card("base_model: meta-llama/Llama-3.1-8B", "");
    assert!(!codes(&apache(&[tokenizer, ("README.md", &child)])).contains(&"tokenizer-resembles"));
    let known = apache(&[tokenizer, ("config.json", SMOLLM2)]);
    assert!(!codes(&known).contains(&"tokenizer-resembles"));
    assert!(
        !codes(&apache(&[("tokenizer_config.json", r#"{"eos_token": "<|eot_id|>"}"#)]))
            .contains(&"tokenizer-resembles")
    );
}

// ---- GGUF

/// A GGUF file of these strings and numbers, its tensors' infos and this many bytes of data.
pub fn gguf(texts: &[(&str, &str)], numbers: &[(&str, u32)], tensors: &[(&str, &[f32])]) -> Vec<u8> {
    let string = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let mut bytes = [&b"GGUF"[..], &3u32.to_le_bytes()].concat();
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend(((texts.len() + numbers.len()) as u64).to_le_bytes());
    for (key, text) in texts {
        bytes.extend([&string(key)[..], &8u32.to_le_bytes(), &string(text)].concat());
    }
    for (key, number) in numbers {
        bytes.extend([&string(key)[..], &4u32.to_le_bytes(), &number.to_le_bytes()].concat());
    }
    let mut data: Vec<u8> = Vec::new();
    for (name, values) in tensors {
        let place = (data.len() as u64).to_le_bytes();
        let info = [&string(name)[..], &1u32.to_le_bytes(), &(values.len() as u64).to_le_bytes(), &[0; 4], &place];
        bytes.extend(info.concat());
        data.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        data.resize(data.len().next_multiple_of(32), 0);
    }
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    [bytes, data].concat()
}

const SMOLLM2_NUMBERS: [(&str, u32); 6] = [
    ("llama.embedding_length", 576),
    ("llama.block_count", 30),
    ("llama.attention.head_count", 9),
    ("llama.attention.head_count_kv", 3),
    ("llama.feed_forward_length", 1536),
    ("llama.vocab_size", 49152),
];

#[test]
fn a_gguf_says_what_it_is() {
    let texts = [
        ("general.architecture", "llama"),
        ("general.name", "Own Model"),
        ("general.license", "other"),
        ("general.license.name", "apache-2.0"),
        ("general.license.link", "LICENSE"),
        ("general.base_model.0.name", "SmolLM2 135M"),
        ("general.base_model.0.organization", "HuggingFaceTB"),
        ("general.base_model.1.name", "ignored"),
        ("general.base_model.1.repo_url", "https://example.invalid/meta-llama/Llama-2-7b-hf/"),
        ("general.dataset.0.repo_url", "https://example.invalid/datasets/tatsu-lab/alpaca"),
        ("tokenizer.ggml.pre", "llama-bpe"),
    ];
    let bytes = gguf(&texts, &SMOLLM2_NUMBERS, &[]);
    let subject = subject(&[("own.gguf", &bytes)]);
    let said = |topic| subject.on(topic).map(|e| e.says.as_str()).collect::<Vec<_>>();
    assert_eq!(said(Topic::Parent), ["HuggingFaceTB/SmolLM2-135M", "meta-llama/Llama-2-7b-hf"]);
    assert_eq!(said(Topic::DataSet), ["tatsu-lab/alpaca"]);
    assert_eq!(said(Topic::Name), ["Own-Model"]);
    assert_eq!(subject.on(Topic::License).next().unwrap().at.as_deref(), Some("general.license"));
    assert_eq!(subject.shape.unwrap().vocabulary, 49152);
    let report = check(&subject, &declared(), &Policies::load(None).unwrap(), &[], now());
    let found = codes(&report);
    for code in ["claimed-without-text", "data-set-limited", "several-licenses"] {
        assert!(found.contains(&code), "{code}: {found:?}");
    }
    // its parent has that tokenizer's licence family? Llama 2 is another one; the dimensions are a known model's
    assert!(!found.contains(&"config-missing") && !found.contains(&"shape-resembles"), "{found:?}");
}

#[test]
fn one_gguf_file_is_a_base_with_what_lies_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let texts = [("general.architecture", "llama"), ("general.name", "SmolLM2 135M")];
    fill(dir.path(), &[("a.gguf", &gguf(&texts, &SMOLLM2_NUMBERS, &[])), ("b.gguf", b"no GGUF")]);
    fill(dir.path(), &[("LICENSE", spdx_text("Apache-2.0").as_bytes())]);
    let base = Base::open(&dir.path().join("a.gguf")).unwrap();
    assert_eq!(base.name(), "SmolLM2 135M");
    let report = check(&Subject::read(&base, None).unwrap(), &declared(), &Policies::load(None).unwrap(), &[], now());
    assert_eq!(report.verdict(), Verdict::AllowWithObligations, "{:?}", codes(&report));
    // a folder with a broken one is refused
    assert!(base.fingerprint().is_ok());
    let error = Base::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("b.gguf") && error.to_string().contains("not a GGUF"), "{error}");
}

#[test]
fn a_head_gives_the_tensors_to_whoever_reads_on() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &[("a.gguf", &gguf(&[], &[], &[("w", &[1.0, 2.0]), ("v", &[3.0])]))]);
    let path = dir.path().join("a.gguf");
    let head = Gguf::read(&path).unwrap();
    let tensor = head.tensor("v").unwrap();
    let bytes = &std::fs::read(&path).unwrap()[tensor.start as usize..tensor.end as usize];
    assert_eq!((bytes, &tensor.shape[..], tensor.kind.name), (&3.0f32.to_le_bytes()[..], &[1][..], "F32"));
}

// ---- weights of which only the headers are there

#[test]
fn headers_alone_say_whose_child_it_may_be() {
    let header = |tensors: &[(&str, [usize; 2], usize)]| {
        let mut at = 0;
        let entry = |(name, shape, bytes): &(&str, [usize; 2], usize)| {
            let start = at;
            at += bytes;
            format!(r#""{name}":{{"dtype":"BF16","shape":{shape:?},"data_offsets":[{start},{at}]}}"#)
        };
        let json = format!("{{{}}}", tensors.iter().map(entry).collect::<Vec<_>>().join(","));
        [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat()
    };
    let embedding = ("model.embed_tokens.weight", [32000, 4096], 32000 * 4096 * 2);
    let gate = ("model.layers.0.mlp.gate_proj.weight", [11008, 4096], 11008 * 4096 * 2);
    let index = r#"{"metadata":{},"weight_map":{"model.embed_tokens.weight":"model-1.safetensors",
        "model.layers.31.input_layernorm.weight":"model-2.safetensors"}}"#;
    let dir = tempfile::tempdir().unwrap();
    let read = |files: &[(&str, &[u8])]| {
        fill(dir.path(), &[&[("LICENSE", spdx_text("MIT").as_bytes())], files].concat());
        let subject = Subject::read(&Base::open_evidence(dir.path()).unwrap(), None).unwrap();
        check(&subject, &declared(), &Policies::load(None).unwrap(), &[], now())
    };
    // an index alone: the tensors' names, and no dimensions
    let report = read(&[("model.safetensors.index.json", index.as_bytes())]);
    assert!(!codes(&report).contains(&"shape-resembles"));
    // one shard of two, cut off after its header
    let report = read(&[("model-1.safetensors", &header(&[embedding, gate]))]);
    let told = finding(&report, "shape-resembles");
    assert!(told.message.contains("Llama-2-7b"), "{}", told.message);
    assert!(told.basis.as_ref().is_some_and(|b| b.contains("meta-llama")), "{told:?}");
    let dimensions = report.evidence().iter().find(|e| e.topic == Topic::Dimensions).unwrap();
    assert_eq!(
        (dimensions.says.as_str(), dimensions.file.as_str()),
        ("4096 wide, 32 layers, 11008 wide inside, 32000 tokens", "model-1.safetensors")
    );
    // what would run needs all of it
    assert!(Base::open(dir.path()).unwrap_err().to_string().contains("model-2.safetensors"));
}

// ---- whose child the weights are

/// The nano base's tensors with these of them left out or renamed, as a safetensors file.
fn nano_weights(name: impl Fn(&str) -> Option<String>) -> Vec<u8> {
    let bytes = std::fs::read("examples/01-helpdesk/base/model.safetensors").unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let kept = tensors.iter().filter_map(|(old, view)| Some((name(old)?, view)));
    safetensors::serialize(kept, None).unwrap()
}

/// Under MIT, which is not the nano base's licence.
fn under_mit(config: &str, weights: (&str, &[u8])) -> Report {
    let files = [("LICENSE", spdx_text("MIT").as_bytes()), ("config.json", config.as_bytes()), weights];
    check(&subject(&files), &declared(), &Policies::load(None).unwrap(), &[], now())
}

#[test]
fn a_renamed_base_with_blocks_dropped_is_known_by_its_norms() {
    // the middle block goes, the last one takes its name, and the vocabulary's matrix is another one
    let pruned = nano_weights(|name| match name {
        "model.embed_tokens.weight" => None,
        name if name.contains(".layers.1.") => None,
        name => Some(name.replace(".layers.2.", ".layers.1.")),
    });
    let config = r#"{"model_type": "llama", "hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 9000}"#;
    let report = under_mit(config, ("own.safetensors", &pruned));
    let told = finding(&report, "weights-resemble");
    assert!(told.message.starts_with("3 of 5 norms of sealwright-nano"), "{}", told.message);
    assert_eq!(report.verdict(), Verdict::NeedsReview);
    let norms: Vec<_> = report.evidence().iter().filter(|e| e.topic == Topic::Norms).collect();
    assert!(norms.len() == 1 && norms[0].file == "own.safetensors" && norms[0].says.starts_with("5 vectors of 96: "));
    // without a config, and in another file's format
    let bytes = std::fs::read("examples/01-helpdesk/base/model.safetensors").unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let values = |name: &str| -> Vec<f32> {
        let numbers =
            tensors.tensor(name).unwrap().data().chunks_exact(2).map(|b| u32::from(u16::from_le_bytes([b[0], b[1]])));
        numbers.map(|bits| f32::from_bits(bits << 16)).collect()
    };
    let (last, first) = (values("model.norm.weight"), values("model.layers.0.input_layernorm.weight"));
    let file = gguf(&[], &[], &[("output_norm.weight", &last), ("blk.0.attn_norm.weight", &first)]);
    assert!(codes(&under_mit("{}", ("own.gguf", &file))).contains(&"weights-resemble"));
    let one = gguf(&[], &[], &[("output_norm.weight", &last)]);
    assert!(!codes(&under_mit("{}", ("own.gguf", &one))).contains(&"weights-resemble"));
}

#[test]
fn another_training_of_the_same_shape_is_no_child_and_the_own_licence_is_silent() {
    let mut state = 7u64;
    let mut number = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        1.0 + (state >> 40) as f32 / (1 << 24) as f32
    };
    let vectors: Vec<(String, Vec<f32>)> =
        (0..7).map(|i| (format!("blk.{i}.attn_norm.weight"), (0..96).map(|_| number()).collect())).collect();
    let tensors: Vec<(&str, &[f32])> = vectors.iter().map(|(name, values)| (name.as_str(), &values[..])).collect();
    let config = include_str!("../../examples/01-helpdesk/base/config.json");
    let report = under_mit(config, ("own.gguf", &gguf(&[], &[], &tensors)));
    assert!(report.evidence().iter().any(|e| e.topic == Topic::Norms));
    assert!(!codes(&report).contains(&"weights-resemble"), "{:?}", codes(&report));
    // before training all norms are alike, and say nothing
    let ones = gguf(&[], &[], &[("output_norm.weight", &[1.0; 96]), ("blk.0.attn_norm.weight", &[1.0; 96])]);
    assert!(!under_mit(config, ("own.gguf", &ones)).evidence().iter().any(|e| e.topic == Topic::Norms));
    let own = Base::open(Path::new("examples/01-helpdesk/base")).unwrap();
    let subject = Subject::read(&own, None).unwrap();
    let report = check(&subject, &declared(), &Policies::load(None).unwrap(), &[], now());
    assert_eq!(subject.norms.unwrap().prints.len(), 7);
    assert!(!codes(&report).contains(&"weights-resemble"), "{:?}", codes(&report));
}

/// `SEALWRIGHT_SMOLLM2` names a folder of SmolLM2-135M-Instruct in the Hugging Face layout.
#[test]
fn a_real_model_under_a_strange_licence_is_known_by_its_norms() {
    let Some(folder) = std::env::var_os("SEALWRIGHT_SMOLLM2") else {
        eprintln!("skipped: SEALWRIGHT_SMOLLM2 names no folder of SmolLM2-135M-Instruct");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &[("LICENSE", spdx_text("MIT").as_bytes())]);
    let weights = Path::new(&folder).join("model.safetensors");
    std::os::unix::fs::symlink(weights, dir.path().join("model.safetensors")).unwrap();
    let subject = Subject::read(&Base::open(dir.path()).unwrap(), None).unwrap();
    let report = check(&subject, &declared(), &Policies::load(None).unwrap(), &[], now());
    let told = finding(&report, "weights-resemble");
    assert!(told.message.starts_with("5 of 5 norms of HuggingFaceTB/SmolLM2-135M"), "{}", told.message);
}

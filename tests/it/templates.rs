//! Chat templates in the ways that models write them, against transformers' rendering (`tests/golden/templates.json`).

use sealwright::base::Base;
use sealwright::base::chat::{ChatTemplate, Message};
use serde_json::{Value, json};
use std::path::Path;

#[test]
fn a_template_renders_to_the_bytes_of_transformers() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/templates.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() >= 28);
    for case in cases {
        let name = case["template"].as_str().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let special = json!({"bos_token": "<s>", "eos_token": "</s>"});
        std::fs::write(dir.path().join("config.json"), "{}").unwrap();
        std::fs::write(dir.path().join("tokenizer_config.json"), special.to_string()).unwrap();
        let template = golden["templates"][name].as_str().unwrap();
        std::fs::write(dir.path().join("chat_template.jinja"), template).unwrap();
        let chat = ChatTemplate::open(&Base::open(dir.path()).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
        let rendered = chat.render(&messages, case["prompt"].as_bool().unwrap());
        let rendered = rendered.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(rendered, case["rendered"].as_str().unwrap(), "{name}");
    }
}

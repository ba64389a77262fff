//! The base's own tokenizer: byte-level BPE (Sennrich et al. 2016), digits one by one, and its chat template.

use super::text::Dialogue;
use serde_json::{Value, json};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, PreTokenizerWrapper, Result, Tokenizer};

pub const PAD: &str = "<|pad|>";
pub const START: &str = "<|start|>";
pub const END: &str = "<|end|>";
pub const USER: &str = "<|user|>";
pub const ASSISTANT: &str = "<|assistant|>";
const SYSTEM: &str = "<|system|>";

/// The most tokens that it has, special ones included.
const SIZE: usize = 1024;

const CHAT_TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + \
message['content'] + '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

/// Learns the vocabulary of some dialogues.
pub fn learn(dialogues: impl Iterator<Item = Dialogue>) -> Result<Tokenizer> {
    let bytes = ByteLevel::new(false, true, true);
    let mut tokenizer = Tokenizer::new(BPE::default());
    let steps = vec![PreTokenizerWrapper::Digits(Digits::new(true)), PreTokenizerWrapper::ByteLevel(bytes)];
    tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
    tokenizer.with_decoder(Some(bytes));
    let special = [PAD, START, END, USER, ASSISTANT, SYSTEM].map(|t| AddedToken::from(t, true)).to_vec();
    let mut trainer: TrainerWrapper = BpeTrainerBuilder::new()
        .vocab_size(SIZE)
        .min_frequency(8)
        .show_progress(false)
        .special_tokens(special.clone())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build()
        .into();
    let texts: Vec<String> = dialogues.flat_map(|(said, answer)| [said, answer]).collect();
    tokenizer.train(&mut trainer, texts.into_iter())?;
    tokenizer.add_special_tokens(special)?;
    Ok(tokenizer)
}

/// `tokenizer_config.json`
pub fn settings(positions: usize) -> Value {
    let mut settings = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": false,
        "model_max_length": positions,
        "chat_template": CHAT_TEMPLATE,
    });
    let all = settings.as_object_mut().expect("an object was just made");
    all.extend(special_tokens().as_object().cloned().unwrap_or_default());
    settings
}

/// `special_tokens_map.json`
pub fn special_tokens() -> Value {
    json!({
        "bos_token": START,
        "eos_token": END,
        "pad_token": PAD,
        "additional_special_tokens": [USER, ASSISTANT, SYSTEM],
    })
}

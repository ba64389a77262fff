//! `sealwright run`: one question to a bundle, in memory: verify → judge → decrypt → answer. Nothing is written.

use super::Answer;
use super::base::{Extent, Network, Place};
use super::customer::CustomerArgs;
use super::say::{Say, visible};
use super::train::use_threads;
use sealwright::adapter::{Adapter, CONFIG_FILE, TENSOR_FILE};
use sealwright::base::Base;
use sealwright::base::chat::Message;
use sealwright::base::tokenizer::Tokenizer;
use sealwright::bundle::{MODEL_SIG, Opened, Request, Seen, Use, is_paper};
use sealwright::error::{Code, Error, Result};
use sealwright::model::Model;
use sealwright::model::generate::{Sampler, generate};
use sealwright::train::lora;
use sealwright::train::template::Renderer;
use serde_json::json;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    customer: CustomerArgs,
    /// The question
    question: String,
    /// Your own copy of the base: a folder, or `hub:OWNER/NAME[@REVISION]` on the Hugging Face hub
    #[arg(long, value_name = "BASE")]
    base: Place,
    #[command(flatten)]
    network: Network,
    /// Said before the question, as the system
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// The answer's most tokens
    #[arg(long, default_value_t = 256, value_name = "N")]
    max_tokens: usize,
    /// 0 answers the same every time
    #[arg(long, default_value_t = 0.0, value_name = "T")]
    temperature: f32,
    /// What a temperature above 0 draws from
    #[arg(long, default_value_t = 17, value_name = "N")]
    seed: u64,
    /// Threads at work; the answer is the same with any number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

/// What a file is, by the end of its name: for a message only.
const KINDS: [(&str, &str); 8] = [
    (".gguf", "a GGUF"),
    (".onnx", "an ONNX model"),
    ("saved_model.pb", "a TensorFlow SavedModel"),
    (".pdparams", "a PaddlePaddle model"),
    (".pdmodel", "a PaddlePaddle model"),
    (".keras", "a Keras model"),
    (".safetensors", "whole weights"),
    (".pt", "a PyTorch checkpoint"),
];

/// Of the probability mass, what sampling considers.
const TOP_P: f32 = 0.95;

pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    use_threads(args.threads)?;
    let base = args.base.open(Extent::Whole, &args.network, say)?;
    let adapter = adapter_of(&open(args, &base, say)?)?;
    let model = Model::load(&base, None)?;
    let lora = lora::from_adapter(&model, &adapter)?;
    let renderer = Renderer::open(&base, true)?;

    let system = args.system.iter().map(|text| ("system", text));
    let messages: Vec<Message> = system
        .chain([("user", &args.question)])
        .map(|(role, content)| Message { role: role.into(), content: content.clone() })
        .collect();
    let prompt = renderer.prompt(&messages)?;
    let mut sampler = Sampler::new(args.temperature, TOP_P, args.seed);
    let mut speech = Speech { tokenizer: &renderer.tokenizer, say, tokens: Vec::new(), said: 0 };
    let ends = renderer.tokenizer.end_tokens();
    let tokens = generate(&model, Some(&lora), &prompt, &mut sampler, args.max_tokens, ends, &mut |token| {
        speech.hear(token);
        true
    })?;
    let answer = renderer.tokenizer.decode(&tokens)?;
    if say.is_json() {
        say.json(&json!({"answer": answer, "tokens": tokens.len(), "prompt-tokens": prompt.len()}));
    } else {
        say.stream(&answer[speech.said..]);
        say.data("\n");
    }
    Ok(Answer::Yes)
}

/// Proven to be the vendor's, then judged by date, use, base, recipient and serial, then decrypted into memory.
fn open(args: &Args, base: &Base, say: &Say) -> Result<Opened> {
    let signed = args.customer.signed(say)?;
    let identities = args.customer.identities(&signed, say)?;
    signed.open(&Request {
        identities: &identities,
        now: jiff::Timestamp::now(),
        base: Some(&base.fingerprint()?),
        wanted: Use::Run,
        seen: &Seen::of_user()?,
    })
}

fn adapter_of(opened: &Opened) -> Result<Adapter> {
    match (opened.files.get(CONFIG_FILE), opened.files.get(TENSOR_FILE)) {
        (Some(config), Some(tensors)) => Adapter::from_bytes(config, tensors),
        _ => {
            let said = format!("`run` answers with a LoRA adapter, and the bundle holds {}", what_is_in(opened));
            Err(Error::new(Code::NotBuilt, visible(&said))
                .with_hint("`sealwright open` unpacks it for its own runtime"))
        }
    }
}

/// What a payload without an adapter is, by the name of its weights.
fn what_is_in(opened: &Opened) -> String {
    let ours = |name: &str| name == MODEL_SIG || is_paper(name);
    let mut names = opened.files.keys().map(String::as_str).filter(|name| !ours(name)).peekable();
    let first = names.peek().copied().unwrap_or_default();
    let known = names.find_map(|name| KINDS.iter().find(|(end, _)| name.ends_with(end)).map(|(_, what)| (name, *what)));
    let (name, what) = known.unwrap_or((first, "files of another framework"));
    format!("{what}: {name}")
}

/// Says an answer while it comes.
struct Speech<'a> {
    tokenizer: &'a Tokenizer,
    say: &'a Say,
    tokens: Vec<u32>,
    /// Bytes of the answer that were said.
    said: usize,
}

impl Speech<'_> {
    /// A token may end inside a character; its bytes wait for the rest.
    fn hear(&mut self, token: u32) {
        self.tokens.push(token);
        let Ok(text) = self.tokenizer.decode(&self.tokens) else { return };
        let whole = text.trim_end_matches('\u{fffd}').len();
        if !self.say.is_json() && whole > self.said && text.is_char_boundary(self.said) {
            self.say.stream(&text[self.said..whole]);
            self.said = whole;
        }
    }
}

//! `sealwright init`: a product folder to start from, by questions or by flags.

use super::Answer;
use super::say::Say;
use sealwright::data;
use sealwright::error::{AtPath as _, Code, Error, Result};
use sealwright::product::{FILE_NAME, Product};
use std::io::Write as _;
use std::path::PathBuf;

const TEMPLATE: &str = include_str!("init.toml");

#[derive(clap::Args)]
pub struct Args {
    /// The product's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Who sells
    #[arg(long)]
    vendor: Option<String>,
    /// The product's name in files: a-z, 0-9 and -
    #[arg(long)]
    name: Option<String>,
    /// What customers will call it
    #[arg(long)]
    title: Option<String>,
    /// The base model's folder
    #[arg(long)]
    base: Option<String>,
    /// The training data, a .jsonl file
    #[arg(long)]
    data: Option<String>,
}

pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    let path = args.folder.join(FILE_NAME);
    if path.exists() {
        return Err(Error::new(Code::Usage, format!("there is a product already: {}", path.display()))
            .with_hint("edit it, or name another folder"));
    }
    let questions = [
        ("vendor", &args.vendor, "Who sells", "Example Works"),
        ("name", &args.name, "The product's name in files", "helpdesk"),
        ("title", &args.title, "What customers will call it", "Example Helpdesk"),
        ("base", &args.base, "The base model's folder", "base"),
        ("data", &args.data, "The training data", "data.jsonl"),
    ];
    let mut text = TEMPLATE.to_owned();
    for (key, given, question, default) in questions {
        let answer = given.clone().map_or_else(|| say.ask(question, default), Ok)?;
        text = text.replace(&format!("{{{key}}}"), &toml::Value::String(answer).to_string());
    }
    data::write_atomically(&path, |file| file.write_all(text.as_bytes()).at(&path))?;
    if let Err(error) = Product::read(&args.folder) {
        std::fs::remove_file(&path).at(&path)?;
        return Err(error);
    }
    say.note(format!("wrote {}; next: `sealwright check {}`", path.display(), args.folder.display()));
    Ok(Answer::Yes)
}

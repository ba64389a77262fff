//! `sealwright eval`: loss and answers on what was held out, for the base alone and with an adapter.

use super::Answer;
use super::base::{Extent, Network, Place};
use super::say::Say;
use super::train::{plan_of, stop_flag, use_threads};
use sealwright::adapter;
use sealwright::error::{Code, Error, Result};
use sealwright::model::{Keep, Lora, Model};
use sealwright::product::{Product, Train};
use sealwright::train::{Material, Plan, eval, lora};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// The product folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// An adapter folder instead of the product's own; `none` for the base alone
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Show every answer: they may hold what the private data say
    #[arg(long)]
    answers: bool,
    #[command(flatten)]
    network: Network,
    /// Threads at work; the result is the same with any number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    let mut product = Product::read(&args.folder)?;
    let base = Place::of(&product).open(Extent::Whole, &args.network, say)?;
    let adapter = match args.adapter.as_deref() {
        Some(none) if none.as_os_str() == "none" => None,
        named => Some(adapter_folder(named, &product)?),
    };
    // what another trainer made is evaluated under the defaults
    product.train.get_or_insert_with(Train::default);
    let plan = plan_of(&product, &base)?;
    use_threads(args.threads)?;
    let material = Material::gather(&base, &plan)?;
    if material.held_out.is_empty() {
        return Err(Error::new(Code::Usage, "nothing is held out to evaluate on")
            .with_hint("add [eval] with a file of questions, or set train.validation above 0"));
    }
    let model = Model::load(&base, plan.quantize)?;
    let mut results = vec![("base", evaluate(args, &model, None, &plan, &material)?)];
    if let Some(folder) = adapter {
        let lora = lora::from_adapter(&model, &adapter::read(&folder)?)?;
        results.push(("adapter", evaluate(args, &model, Some(&lora), &plan, &material)?));
    }
    report(&results, say);
    Ok(Answer::Yes)
}

/// The adapter that was named, or else the product's own.
pub fn adapter_folder(named: Option<&Path>, product: &Product) -> Result<PathBuf> {
    if let Some(folder) = named {
        return Ok(folder.to_owned());
    }
    let own = product.state_folder().join(adapter::FOLDER);
    let folder = product.derivative.as_ref().map_or(own, |d| product.resolve(&d.path));
    match folder.is_dir() {
        true => Ok(folder),
        false => Err(Error::new(Code::Usage, format!("no adapter here: {}", folder.display()))
            .with_hint("`sealwright train` makes it; `eval --adapter none` evaluates the base alone")),
    }
}

struct Evaluation {
    loss: Option<f64>,
    answers: Vec<eval::Answer>,
    show: bool,
}

fn evaluate(args: &Args, model: &Model, lora: Option<&Lora>, plan: &Plan, material: &Material) -> Result<Evaluation> {
    let loss = eval::loss(
        model,
        lora,
        &material.held_out,
        plan.micro_batch() * plan.sequence,
        &mut model.workspace(Keep::Inputs),
    );
    let answers = match &plan.questions {
        Some(source) => {
            let (renderer, questions) = (&material.renderer, &material.questions);
            eval::ask(model, lora, renderer, questions, source.matching, stop_flag(), &mut |_| {})?
        }
        None => Vec::new(),
    };
    Ok(Evaluation { loss, answers, show: args.answers })
}

impl Evaluation {
    fn matched(&self) -> usize {
        self.answers.iter().filter(|a| a.matched).count()
    }

    fn json(&self) -> Value {
        let answer = |a: &eval::Answer| {
            let mut object = json!({"line": a.place.line, "matched": a.matched});
            if self.show {
                object["answer"] = json!(a.text);
            }
            object
        };
        json!({
            "loss": self.loss,
            "questions": self.answers.len(),
            "matched": self.matched(),
            "answers": self.answers.iter().map(answer).collect::<Vec<_>>(),
        })
    }
}

fn report(results: &[(&str, Evaluation)], say: &Say) {
    if say.is_json() {
        let report: serde_json::Map<_, _> = results.iter().map(|(name, r)| ((*name).to_owned(), r.json())).collect();
        return say.json(&report);
    }
    for (name, result) in results {
        let loss = result.loss.map_or("-".into(), |l| format!("{l:.4}"));
        let (matched, asked) = (result.matched(), result.answers.len());
        say.data(&format!("{name:8} loss {loss}   answered as wanted: {matched} of {asked}\n"));
        for answer in result.answers.iter().filter(|a| result.show || !a.matched) {
            let mark = if answer.matched { "yes" } else { "no" };
            let text =
                if result.show { format!(": {}", super::say::visible(answer.text.trim())) } else { String::new() };
            say.data(&format!("  {} {mark}{text}\n", answer.place));
        }
    }
}

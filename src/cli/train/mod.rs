//! `sealwright train`: product file → licence pre-flight → plan → adapter, with progress.

mod progress;

use super::Answer;
use super::base::{Extent, Place};
use super::gpus;
use super::preflight::Preflight;
use super::say::Say;
use super::stages::State;
use progress::{Progress, duration};
use sealwright::base::Base;
use sealwright::error::{Code, Error, Result};
use sealwright::kernels::Compute;
use sealwright::model::Quantize;
use sealwright::product::{self, Product};
use sealwright::train::{self, Device, Format, Launch, Length, Matching, Plan, Questions, Ranks, Source, Trained};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(clap::Args)]
pub struct Args {
    /// The product folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    #[command(flatten)]
    preflight: Preflight,
    /// Train although the licence forbids the declared use; the adapter can never be packed
    #[arg(long)]
    allow_denied: bool,
    /// Begin anew: forget what an interrupted or finished training left
    #[arg(long)]
    fresh: bool,
    /// Threads at work; the result is the same with any number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Cards of this machine to train on together, a process each
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    gpus: Option<u16>,
}

pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    if let Some(count) = args.gpus
        && !Launch::launched()
    {
        gpus::allowed(&Product::read(&args.folder)?, count)?;
        if count > 1 {
            return gpus::launch(count.into(), say);
        }
    }
    let ranks = Ranks::of_environment()?;
    let say = &if ranks.leads() { *say } else { say.silent() };
    run_as_rank(args, &ranks, say).or_else(|error| match ranks.leave(&error) {
        true => Ok(Answer::Said(error.code.exit())),
        false => Err(error),
    })
}

/// One rank's part; the only one's, where there are no others.
fn run_as_rank(args: &Args, ranks: &Ranks, say: &Say) -> Result<Answer> {
    let product = Product::read(&args.folder)?;
    let base = ranks.first_alone(|| Place::of(&product).open(Extent::Whole, &args.preflight.network, say))?;
    let report = args.preflight.judge(&product, &base, &args.preflight.policies()?)?.report;
    match report.clear() {
        Err(error) if error.code == Code::Denied && !args.allow_denied => return Err(error),
        Err(error) => say.warning(format!("what this trains cannot be packed as things stand: {error}")),
        Ok(_) => {}
    }
    use_threads(args.threads)?;
    let _state = ranks.all_well(if ranks.leads() { begin(&product, &base, args.fresh).map(Some) } else { Ok(None) })?;
    let adapter = adapter_of(&product, &base, args.fresh, ranks, args.gpus.is_some(), say)?;
    if adapter.from_before {
        say.note("nothing has changed since the last training; `--fresh` would repeat it");
    }
    show(&adapter.trained, say);
    Ok(Answer::Yes)
}

/// Takes the product for this command alone, and forgets an earlier training where a fresh one is wanted.
fn begin(product: &Product, base: &Base, fresh: bool) -> Result<State> {
    let state = State::lock(&product.state_folder())?;
    if fresh {
        train::forget(&plan_of(product, base)?)?;
    }
    Ok(state)
}

/// The product's adapter.
pub struct Adapter {
    /// Folder and record.
    pub trained: Trained,
    /// Nothing had changed since it was trained.
    pub from_before: bool,
}

/// Trains the adapter that the product file asks for, unless it is there already or a fresh one is wanted.
///
/// `on_card`: a card is asked for, and nothing else will do.
pub fn adapter_of(
    product: &Product,
    base: &Base,
    fresh: bool,
    ranks: &Ranks,
    on_card: bool,
    say: &Say,
) -> Result<Adapter> {
    let plan = plan_of(product, base)?;
    match train::finished(base, &plan)? {
        Some(trained) if !fresh => Ok(Adapter { trained, from_before: true }),
        _ => {
            let device = match on_card {
                true => ranks.all_well(Device::card(base, ranks.local()))?,
                false => ranks.all_well(device_of(product, base, ranks, say))?,
            };
            #[cfg(feature = "cuda")]
            let device = joined(device, ranks, say)?;
            Ok(Adapter { trained: train_with_progress(base, &plan, &device, ranks, say)?, from_before: false })
        }
    }
}

/// The training that a product file asks for.
pub fn plan_of(product: &Product, base: &Base) -> Result<Plan> {
    let train = product.train.as_ref().ok_or_else(|| {
        Error::new(Code::Usage, "the product file has no [train]")
            .with_hint("add [train]; an empty one has good defaults")
    })?;
    let source = |data: &product::Data| Source {
        path: product.resolve(&data.path),
        name: data.path.display().to_string(),
        format: match data.format {
            product::Format::Messages => Format::Messages,
            product::Format::PromptCompletion => Format::PromptCompletion,
            product::Format::Text => Format::Text,
        },
    };
    let length = match (train.steps, train.epochs) {
        (Some(steps), _) => Length::Steps(steps),
        (None, epochs) => Length::Epochs(epochs.unwrap_or(3.0)),
    };
    Ok(Plan {
        data: product.data.iter().map(source).collect(),
        questions: questions_of(product),
        base_name: base.name(),
        quantize: quantize_of(product),
        compute: match train.compute {
            product::Compute::F32 => Compute::F32,
            product::Compute::Bf16 => Compute::Bf16,
        },
        rank: train.rank,
        alpha: train.alpha,
        targets: match &train.targets {
            product::Targets::Named(name) => vec![name.clone()],
            product::Targets::List(names) => names.clone(),
        },
        length,
        batch: train.batch,
        micro_batch: train.micro_batch,
        sequence: train.sequence,
        learning_rate: train.learning_rate,
        warmup: train.warmup,
        weight_decay: train.weight_decay,
        clip: train.clip,
        seed: train.seed,
        validation: train.validation,
        checkpoint_every: train.checkpoint_every,
        init: train.init.as_ref().map(|folder| product.resolve(folder)),
        memory: train.memory(),
        folder: product.state_folder(),
    })
}

/// What the base's projections become when the engine reads them.
pub fn quantize_of(product: &Product) -> Option<Quantize> {
    product.base.quantize.map(|quantize| match quantize {
        product::Quantize::Nf4 => Quantize::Nf4,
        product::Quantize::Int8 => Quantize::Int8,
    })
}

/// The held-out questions that a product file names.
pub fn questions_of(product: &Product) -> Option<Questions> {
    product.eval.as_ref().map(|eval| Questions {
        path: product.resolve(&eval.path),
        matching: match eval.matching {
            product::Match::Keyword => Matching::Keyword,
            product::Match::Exact => Matching::Exact,
        },
    })
}

/// Where a product trains; what `auto` chose is said, and why where it was not the card.
fn device_of(product: &Product, base: &Base, ranks: &Ranks, say: &Say) -> Result<Device> {
    let train = product.train.as_ref();
    if let Some(ordinal) = train.and_then(product::Train::card) {
        if ranks.count() > 1 {
            let message = format!("train.device = \"cuda:{ordinal}\" for {} ranks", ranks.count());
            return Err(
                Error::new(Code::Usage, message).with_hint("\"auto\" gives each rank of a machine its own card")
            );
        }
        return Device::card(base, ordinal);
    }
    if train.is_some_and(|train| train.device == "cpu") {
        return Ok(Device::Processor);
    }
    let (device, why) = Device::auto(base, ranks);
    match why {
        Some(why) => say.note(format!("no card is used: {why}")),
        None if matches!(device, Device::Processor) => {}
        None => say.note(format!("a card is there, and train.device = \"auto\" takes it: {device}")),
    }
    Ok(device)
}

/// The device, joined to those of the other ranks; where NCCL is missing, that is said.
#[cfg(feature = "cuda")]
fn joined(device: Device, ranks: &Ranks, say: &Say) -> Result<Device> {
    let (device, why) = device.with_ranks(ranks)?;
    if let Some(why) = why {
        say.note(format!("gradients go between the ranks by way of the host: {why}"));
    }
    Ok(device)
}

/// How many threads the engine uses from now on; by default one a core.
pub fn use_threads(threads: Option<u16>) -> Result<()> {
    let Some(threads) = threads else {
        return Ok(());
    };
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.into())
        .build_global()
        .map_err(|e| Error::new(Code::Usage, format!("--threads {threads}: {e}")))
}

/// True once Ctrl-C was pressed, here or where `--gpus` was typed. The second time ends the process at once: files have
/// their names only when whole.
pub fn stop_flag() -> &'static AtomicBool {
    static STOP: AtomicBool = AtomicBool::new(false);
    static HANDLER: OnceLock<()> = OnceLock::new();
    let pressed = || {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(Code::Interrupted.exit()));
        }
    };
    HANDLER.get_or_init(|| {
        // where no handler can be set, Ctrl-C ends the process, and the last checkpoint remains
        let _ = ctrlc::set_handler(pressed);
        if Launch::launched() {
            std::thread::spawn(move || gpus::hear(pressed));
        }
    });
    &STOP
}

/// Trains, and says meanwhile how it goes.
fn train_with_progress(base: &Base, plan: &Plan, device: &Device, ranks: &Ranks, say: &Say) -> Result<Trained> {
    let mut progress = Progress::new(say);
    let trained = train::run_together(base, plan, device, ranks, &mut |event| progress.on(event), stop_flag());
    progress.end();
    trained
}

fn show(trained: &Trained, say: &Say) {
    let record = &trained.record;
    if say.is_json() {
        return say.json_line(&json!({
            "device": record.device,
            "steps": record.steps,
            "tokens": record.tokens,
            "loss-tokens": record.loss_tokens,
            "loss": record.losses.last().map(|l| l.loss),
            "before": record.before,
            "after": record.after,
            "wall-seconds": record.wall_seconds,
            "cpu-seconds": record.cpu_seconds,
            "peak-memory": record.peak_memory,
            "adapter": trained.folder.display().to_string(),
        }));
    }
    say.note(format!(
        "{} steps, {} tokens in {} ({} of processor time), {} MiB at the peak",
        record.steps,
        record.tokens,
        duration(record.wall_seconds),
        duration(record.cpu_seconds),
        record.peak_memory >> 20
    ));
    say.note(format!("adapter: {}", relative(&trained.folder)));
}

fn relative(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

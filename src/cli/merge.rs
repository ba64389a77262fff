//! `sealwright merge`: base and adapter as one model, and the proof that it says what the two said.

use super::Answer;
use super::eval::adapter_folder;
use super::say::Say;
use super::train::{plan_of, quantize_of, use_threads};
use sealwright::adapter;
use sealwright::base::Base;
use sealwright::error::{Code, Error, Result};
use sealwright::model::{Batch, Divergence, Model, divergence};
use sealwright::product::{Product, Train};
use sealwright::train::{self, Material, lora};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// The product folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// An adapter folder instead of the product's own
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Where the merged model goes, a folder that does not exist yet
    #[arg(long, value_name = "DIR", default_value = "merged")]
    out: PathBuf,
    /// Threads at work; the result is the same with any number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

/// Tokens of held-out texts that the proof reads: their logits are held whole, twice.
const PROOF_TOKENS: usize = 256;

pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    let product = Product::read(&args.folder)?;
    let base = Base::open(&product.resolve(&product.base.path))?;
    use_threads(args.threads)?;
    let folder = adapter_folder(args.adapter.as_deref(), &product)?;
    let proof = merge(&product, &base, &folder, &args.out, say)?;
    if say.is_json() {
        say.json(&json!({"folder": args.out, "divergence": proof}));
    } else {
        say.data(&format!("merged    {}\nproof     {}\n", args.out.display(), words(&proof)));
    }
    Ok(Answer::Yes)
}

/// Merges, then reads held-out texts with the base under its adapter and with what was merged.
pub fn merge(product: &Product, base: &Base, folder: &Path, out: &Path, say: &Say) -> Result<Divergence> {
    let adapter = adapter::read(folder)?;
    let model = Model::load(base, None)?;
    let lora = lora::from_adapter(&model, &adapter)?;
    let bar = say.progress(0, "merging {bar:24} {bytes} of {total_bytes}, {eta} left");
    adapter::merge(base, &adapter, out, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    let batch = texts(product, base, &model)?;
    let apart = model.logits(Some(&lora), &batch);
    drop(model);
    let merged = Model::load(&Base::open(out)?, None)?;
    let proof = divergence(&apart, &merged.logits(None, &batch), merged.shape().vocab);
    if !proof.largest.is_finite() {
        return Err(Error::new(Code::Diverged, format!("the merged model says something else: {}", words(&proof)))
            .with_hint("the adapter's numbers may be too large for the base's type"));
    }
    if quantize_of(product).is_some() {
        say.note("the adapter learnt on a quantised base; it was merged into the original weights");
    }
    Ok(proof)
}

/// For people.
pub fn words(proof: &Divergence) -> String {
    format!(
        "over {} positions of held-out texts the largest KL divergence is {:.1e} nats, the mean {:.1e}; \
         the same token comes first at {} of them",
        proof.positions, proof.largest, proof.mean, proof.same_first
    )
}

/// Held-out texts of the product, as many as the proof reads; without any, ids from all over the vocabulary.
fn texts(product: &Product, base: &Base, model: &Model) -> Result<Batch> {
    let mut product = product.clone();
    product.train.get_or_insert_with(Train::default);
    let mut held_out = Material::gather(base, &plan_of(&product, base)?)?.held_out;
    held_out.iter_mut().for_each(|document| {
        document.tokens.truncate(PROOF_TOKENS);
        document.loss.truncate(PROOF_TOKENS);
    });
    let mut tokens = 0;
    let few = held_out.iter().take_while(|document| {
        tokens += document.tokens.len();
        tokens <= PROOF_TOKENS
    });
    let batch = train::batch::batch(few);
    if !batch.tokens.is_empty() {
        return Ok(batch);
    }
    let tokens: Vec<u32> = (0..PROOF_TOKENS).map(|n| (n * model.shape().vocab / PROOF_TOKENS) as u32).collect();
    let (targets, bounds) = (tokens.clone(), vec![0, tokens.len()]);
    Ok(Batch { loss: vec![false; tokens.len()], tokens, targets, bounds })
}

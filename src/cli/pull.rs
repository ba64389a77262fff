//! `sealwright pull`: a bundle off an OCI registry. Signer, dates and size are judged before the bundle comes.

use super::Answer;
use super::customer::TrustArgs;
use super::inspect::describe;
use super::progress::Progress;
use super::say::{Say, visible};
use sealwright::error::{Code, Result};
use sealwright::net::oci::{self, Reference};
use serde_json::json;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// Where from: HOST[:PORT]/REPOSITORY:TAG, or HOST[:PORT]/REPOSITORY@sha256:DIGEST
    #[arg(value_name = "REFERENCE")]
    from: String,
    #[command(flatten)]
    trust: TrustArgs,
    /// A renewal of the bundle, where its own last day has passed
    #[arg(long, value_name = "FILE")]
    renewal: Option<PathBuf>,
    /// The folder to put it into, under the name that its manifest gives it
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    let trust = args.trust.read()?;
    let offer = oci::offer(&Reference::parse(&args.from)?)?;
    offer.tail().judge(&trust)?;
    let (rule, now) = (args.trust.rule()?, jiff::Timestamp::now());
    rule.iter().try_for_each(|rule| rule.judge(offer.tail().manifest(), offer.tail().bundle_size(), now))?;
    let until = offer.tail().until(args.renewal.as_deref(), &trust)?;
    match offer.tail().manifest().entitlement.judge_date(now, until) {
        // a bundle may be fetched before its first day
        Err(early) if early.code == Code::NotYetValid => say.note(early.to_string()),
        judged => judged?,
    }
    if !say.is_json() {
        let size = indicatif::HumanBytes(offer.tail().bundle_size());
        say.note(visible(&format!("{}size       {size}", describe(offer.tail().manifest()))));
    }
    let digest = offer.digest();
    let mut progress = Progress::new(say);
    let pulled = offer.fetch(&args.out, &trust, rule.as_ref(), &mut |event| progress.on(event))?;
    if say.is_json() {
        let manifest = pulled.verified.manifest();
        say.json(&json!({"file": pulled.path, "artifact": digest, "id": pulled.verified.id(), "manifest": manifest}));
        return Ok(Answer::Yes);
    }
    say.data(&format!("{}\n", pulled.path.display()));
    say.note("verified: whole, and signed by a key that you trust");
    Ok(Answer::Yes)
}

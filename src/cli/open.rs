//! `sealwright open`: verify a bundle, judge its entitlement, decrypt it into a folder.

use super::Answer;
use super::base::{Extent, Network, Place};
use super::customer::CustomerArgs;
use super::say::{Say, visible};
use sealwright::bundle::{Request, Seen, Use};
use sealwright::error::Result;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    customer: CustomerArgs,
    /// The base at hand, to compare with the one that the bundle was made for: a folder, or
    /// `hub:OWNER/NAME[@REVISION]` on the Hugging Face hub
    #[arg(long, value_name = "BASE")]
    base: Option<Place>,
    #[command(flatten)]
    network: Network,
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    let signed = args.customer.signed(say)?;
    let identities = args.customer.identities(&signed, say)?;
    let base =
        args.base.as_ref().map(|place| place.open(Extent::Whole, &args.network, say)?.fingerprint()).transpose()?;
    let request = Request {
        identities: &identities,
        now: jiff::Timestamp::now(),
        base: base.as_ref(),
        wanted: Use::Open,
        seen: &Seen::of_user()?,
    };
    let manifest = signed.open_into(&request, &args.out)?;
    if say.is_json() {
        say.json(&serde_json::json!({"opened": args.out, "manifest": manifest}));
        return Ok(Answer::Yes);
    }
    say.data(&format!("{}\n", args.out.display()));
    let (product, files) = (&manifest.product, manifest.payload.files);
    say.note(visible(&format!("opened: {} {}, {files} files", product.name, product.version)));
    if base.is_none() {
        say.note("the base was not compared; `--base BASE` does");
    }
    Ok(Answer::Yes)
}

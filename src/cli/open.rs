//! `sealwright open`: verify a bundle, judge its entitlement, decrypt it into a folder.

use super::Answer;
use super::customer::CustomerArgs;
use super::say::{Say, visible};
use sealwright::base::Base;
use sealwright::bundle::{Request, Seen, Use};
use sealwright::error::Result;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    customer: CustomerArgs,
    /// The base at hand, to compare with the one that the bundle was made for
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    let verified = args.customer.verified(say)?;
    let identities = args.customer.identities(&verified, say)?;
    let base = args.base.as_deref().map(|folder| Base::open(folder)?.fingerprint()).transpose()?;
    let request = Request {
        identities: &identities,
        now: jiff::Timestamp::now(),
        base: base.as_ref(),
        wanted: Use::Open,
        seen: &Seen::of_user()?,
    };
    let manifest = verified.open_into(&request, &args.out)?;
    if say.is_json() {
        say.json(&serde_json::json!({"opened": args.out, "manifest": manifest}));
        return Ok(Answer::Yes);
    }
    say.data(&format!("{}\n", args.out.display()));
    let (product, files) = (&manifest.product, manifest.payload.files);
    say.note(visible(&format!("opened: {} {}, {files} files", product.name, product.version)));
    if base.is_none() {
        say.note("the base was not compared; `--base DIR` does");
    }
    Ok(Answer::Yes)
}

//! `sealwright verify`: is a bundle whole, and from whom? Tells the entitlement, and does not judge it.

use super::Answer;
use super::inspect::describe;
use super::say::{Say, visible};
use sealwright::bundle::{Trust, verify};
use sealwright::error::Result;
use std::path::PathBuf;

/// Whose bundles are taken; `verify`, `open` and `run` share it.
#[derive(clap::Args)]
pub struct TrustArgs {
    /// A vendor's public key (PEM) that you trust; may be given more than once
    #[arg(long = "trust", value_name = "KEY")]
    keys: Vec<PathBuf>,
    /// Take a bundle that a development key signed, to try things out
    #[arg(long)]
    allow_development: bool,
}

impl TrustArgs {
    pub fn read(&self) -> Result<Trust> {
        Trust::read(&self.keys, self.allow_development)
    }
}

#[derive(clap::Args)]
pub struct Args {
    /// The bundle
    bundle: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
}

pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    let verified = verify(&args.bundle, &args.trust.read()?)?;
    if say.is_json() {
        say.json(&serde_json::json!({"verified": true, "id": verified.id(), "manifest": verified.manifest()}));
        return Ok(Answer::Yes);
    }
    say.data(&visible(&format!("{}bundle     {}\n", describe(verified.manifest()), verified.id())));
    say.note("verified: whole, and signed by a key that you trust");
    Ok(Answer::Yes)
}

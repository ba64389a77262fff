//! `sealwright verify`: is a bundle whole, and from whom? Tells the entitlement, and does not judge it.

use super::Answer;
use super::customer::BundleArgs;
use super::inspect::describe;
use super::say::{Say, visible};
use sealwright::error::Result;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    bundle: BundleArgs,
}

pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    let verified = args.bundle.verified(say)?;
    if say.is_json() {
        say.json(&serde_json::json!({"verified": true, "id": verified.id(), "until": verified.until(),
            "manifest": verified.manifest()}));
        return Ok(Answer::Yes);
    }
    let mut text = format!("{}bundle     {}\n", describe(verified.manifest()), verified.id());
    if verified.until() != verified.manifest().entitlement.until {
        text += &format!("renewed    through {}\n", verified.until());
    }
    say.data(&visible(&text));
    say.note("verified: whole, and signed by a key that you trust");
    Ok(Answer::Yes)
}

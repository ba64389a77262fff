//! `sealwright push`: a bundle to an OCI registry.

use super::Answer;
use super::progress::Progress;
use super::say::Say;
use sealwright::error::Result;
use sealwright::net::oci::{self, Reference};
use serde_json::json;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// The bundle
    bundle: PathBuf,
    /// Where to: HOST[:PORT]/REPOSITORY:TAG. Credentials are those of docker, podman or skopeo; a registry on this
    /// machine is spoken to without encryption, any other never
    #[arg(value_name = "REFERENCE")]
    to: String,
}

pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    let to = Reference::parse(&args.to)?;
    let mut progress = Progress::new(say);
    let pushed = oci::push(&args.bundle, &to, &mut |event| progress.on(event))?;
    let lasting = to.with_digest(pushed.digest).to_string();
    if say.is_json() {
        say.json(&json!({"reference": lasting, "size": pushed.size, "sent": pushed.sent}));
        return Ok(Answer::Yes);
    }
    say.data(&format!("{lasting}\n"));
    let (size, sent) = (indicatif::HumanBytes(pushed.size), indicatif::HumanBytes(pushed.sent));
    say.note(format!("pushed: {to}, {size}, of which {sent} were sent"));
    Ok(Answer::Yes)
}

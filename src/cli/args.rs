//! What can be typed.

use super::Answer;
use super::say::Say;
use clap::{CommandFactory as _, Parser, Subcommand};
use sealwright::error::Result;
use std::path::PathBuf;

/// Fine-tune an open-weights model on private data, clear its licence, seal the result for a customer.
///
/// Exit codes: 0 yes, 1 no, 2 could not tell, 3 a person must look, 130 stopped by Ctrl-C with the state saved.
#[derive(Parser)]
#[command(name = "sealwright", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Args {
    /// Report as JSON on stdout, errors too
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Begin a product folder
    Init(super::init::Args),
    /// Pre-flight: what the licences of base and data say of the declared use
    Check(super::check::Args),
    /// Fine-tune an adapter on the product's data
    #[cfg(feature = "ml")]
    Train(super::train::Args),
    /// Loss and answers on held-out questions, for the base and for an adapter
    #[cfg(feature = "ml")]
    Eval(super::eval::Args),
    /// Logits, loss and adapter gradients of given token ids, to compare with another implementation
    #[cfg(feature = "ml")]
    Probe(super::probe::Args),
    /// Base and adapter as one model, and how far it is from the two
    #[cfg(feature = "ml")]
    Merge(super::merge::Args),
    /// Seal the derivative into one bundle a customer
    Pack(super::pack::Args),
    /// Check, train and pack: what has changed, and nothing twice
    #[cfg(feature = "ml")]
    Build(super::build::Args),
    /// Make a vendor's signing key or a customer's identity
    Keygen(super::keygen::Args),
    /// Give a bundle that is out already a later last day
    Renew(super::renew::Args),
    /// Who has which bundle until when; take bundles and keys back
    Ledger(super::ledger::Args),
    /// What a bundle says of itself, with no key
    Inspect(super::inspect::Args),
    /// Is the bundle whole, and from whom?
    Verify(super::verify::Args),
    /// Verify and decrypt a bundle into a folder
    Open(super::open::Args),
    /// Write a ruling on a finding for a person to sign off
    Rule(super::rule::Args),
    /// Answer one prompt with a bundle, in memory
    #[cfg(feature = "ml")]
    Run(super::run::Args),
    /// Serve a bundle over an OpenAI-compatible API (not built yet)
    Serve(Unbuilt),
    /// Send a bundle to an OCI registry (not built yet)
    Push(Unbuilt),
    /// Fetch a bundle from an OCI registry (not built yet)
    Pull(Unbuilt),
    /// A page on a finding or an error
    Explain(super::explain::Args),
    /// Shell completions, or man pages into a folder
    #[command(hide = true)]
    Completions(Completions),
}

impl Command {
    /// The word that was typed, for the commands that are not built.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Serve(_) => "serve",
            Command::Push(_) => "push",
            Command::Pull(_) => "pull",
            _ => "this command",
        }
    }
}

/// Whatever is typed after a command that is not built.
#[derive(clap::Args)]
pub struct Unbuilt {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

#[derive(clap::Args)]
pub struct Completions {
    /// The shell
    #[arg(required_unless_present = "man")]
    shell: Option<clap_complete::Shell>,
    /// Write man pages into this folder
    #[arg(long, value_name = "DIR")]
    man: Option<PathBuf>,
}

pub fn completions(args: &Completions, say: &Say) -> Result<Answer> {
    use sealwright::error::AtPath as _;
    let mut command = Args::command();
    if let Some(folder) = &args.man {
        std::fs::create_dir_all(folder).at(folder)?;
        clap_mangen::generate_to(command, folder).at(folder)?;
    } else if let Some(shell) = args.shell {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command, "sealwright", &mut text);
        say.data(&String::from_utf8_lossy(&text));
    }
    Ok(Answer::Yes)
}

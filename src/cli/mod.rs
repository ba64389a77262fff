//! The commands: each file turns what was typed into what is meant, and calls the rooms.

pub mod args;
pub mod say;

mod base;
mod check;
mod customer;
mod derivative;
mod explain;
mod init;
mod inspect;
mod key;
mod keygen;
mod ledger;
#[cfg(feature = "ml")]
mod merge;
mod open;
mod pack;
mod preflight;
mod renew;
mod report;
mod rule;
mod secret;
mod stages;
mod terminal;
mod verify;
mod watch;

#[cfg(feature = "ml")]
mod build;
#[cfg(feature = "ml")]
mod eval;
#[cfg(feature = "ml")]
mod gpus;
#[cfg(feature = "ml")]
mod probe;
#[cfg(feature = "net")]
mod progress;
#[cfg(feature = "net")]
mod pull;
#[cfg(feature = "net")]
mod push;
#[cfg(feature = "ml")]
mod run;
#[cfg(feature = "ml")]
mod train;

use args::Command;
use say::Say;
use sealwright::error::{Code, Error, Result};

/// What a command found: the exit code of one that ran to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 0
    Yes,
    /// 1
    No,
    /// 3: a person must look
    Review,
    /// An exit code whose reason another process has said
    #[cfg(feature = "ml")]
    Said(u8),
}

impl Answer {
    /// The process's exit code.
    pub fn exit(self) -> u8 {
        match self {
            Answer::Yes => 0,
            Answer::No => 1,
            Answer::Review => 3,
            #[cfg(feature = "ml")]
            Answer::Said(code) => code,
        }
    }
}

/// Runs one command.
pub fn run(command: Command, say: &Say) -> Result<Answer> {
    match command {
        Command::Init(args) => init::run(&args, say),
        Command::Check(args) => check::run(&args, say),
        Command::Rule(args) => rule::run(&args, say),
        Command::Keygen(args) => keygen::run(&args, say),
        Command::Pack(args) => pack::run(&args, say),
        Command::Renew(args) => renew::run(&args, say),
        Command::Ledger(args) => ledger::run(&args, say),
        Command::Inspect(args) => inspect::run(&args, say),
        Command::Verify(args) => verify::run(&args, say),
        Command::Open(args) => open::run(&args, say),
        Command::Explain(args) => explain::run(&args, say),
        Command::Completions(args) => args::completions(&args, say),
        #[cfg(feature = "ml")]
        Command::Train(args) => train::run(&args, say),
        #[cfg(feature = "ml")]
        Command::Eval(args) => eval::run(&args, say),
        #[cfg(feature = "ml")]
        Command::Merge(args) => merge::run(&args, say),
        #[cfg(feature = "ml")]
        Command::Probe(args) => probe::run(&args, say),
        #[cfg(feature = "ml")]
        Command::Build(args) => build::run(&args, say),
        #[cfg(feature = "ml")]
        Command::Run(args) => run::run(&args, say),
        #[cfg(feature = "net")]
        Command::Push(args) => push::run(&args, say),
        #[cfg(feature = "net")]
        Command::Pull(args) => pull::run(&args, say),
        Command::Serve(_) => Err(not_built(&command)),
    }
}

fn not_built(command: &Command) -> Error {
    Error::new(Code::NotBuilt, format!("`sealwright {}` is not built yet", command.name()))
        .with_hint("`sealwright --help` lists what there is")
}

//! The program: parse, run, print the error and its hints, exit code.

mod cli;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = cli::args::Args::parse();
    let say = cli::say::Say::new(args.json);
    match cli::run(args.command, &say) {
        Ok(answer) => ExitCode::from(answer.exit()),
        Err(error) => {
            say.error(&error);
            ExitCode::from(error.code.exit())
        }
    }
}

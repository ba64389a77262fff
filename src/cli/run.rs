//! `sealwright run`.

use super::Answer;
use super::say::Say;
use sealwright::error::{Code, Error, Result};

#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: &Args, _say: &Say) -> Result<Answer> {
    Err(Error::new(Code::NotBuilt, "`sealwright run` is not built yet"))
}

//! `sealwright probe`.

use super::Answer;
use super::say::Say;
use sealwright::error::{Code, Error, Result};

#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: &Args, _say: &Say) -> Result<Answer> {
    Err(Error::new(Code::NotBuilt, "`sealwright probe` is not built yet"))
}

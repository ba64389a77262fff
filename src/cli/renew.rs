//! `sealwright renew`: a later last day for a bundle that is out already, as a small signed file.

use super::Answer;
use super::pack::{issued, signing_key};
use super::say::Say;
use super::stages::State;
use sealwright::bundle::{self, Renewal, Vendor};
use sealwright::error::{AtPath as _, Code, Error, Result};
use sealwright::ledger::{Event, Ledger};
use sealwright::product::Product;
use sealwright::sign;
use std::io::Write as _;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// The bundle, as it was packed
    bundle: PathBuf,
    /// Its new last day, through 23:59:59 UTC
    #[arg(long, value_name = "DATE")]
    until: jiff::civil::Date,
    /// The product folder that it was packed in
    #[arg(long, value_name = "DIR", default_value = ".")]
    product: PathBuf,
    /// Where to write the renewal; beside the bundle, the customer's commands find it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    let product = Product::read(&args.product)?;
    let state = State::lock(&product.state_folder())?;
    let ledger = Ledger::of(&product.folder, state.folder());
    let held = ledger.find(bundle::inspect(&args.bundle)?.id)?;
    if held.recalled {
        return Err(Error::new(Code::Usage, format!("the bundle is recalled: {}", held.holding.bundle))
            .with_hint("pack a new one for the customer"));
    }
    if args.until <= held.holding.until {
        return Err(Error::new(Code::Usage, format!("the bundle itself is good until {}", held.holding.until))
            .with_hint("a renewal can only extend; `sealwright ledger recall` takes a bundle back"));
    }
    let key = signing_key(&product, &state, say)?;
    let issued = u64::try_from(issued()?.as_second()).map_err(|_| Error::new(Code::Usage, "a time before 1970"))?;
    let renewal = Renewal {
        format: bundle::limits::format(),
        vendor: Vendor { name: product.vendor.name.clone(), key: key.public().id() },
        bundle: held.holding.bundle,
        issued,
        serial: issued,
        until: args.until,
    };
    let bytes = sign::sign(&renewal, &key)?;
    let out = args.out.clone().unwrap_or_else(|| bundle::renewal_beside(&args.bundle));
    ledger.record(&Event::Renewed { at: issued, bundle: renewal.bundle, until: renewal.until })?;
    sealwright::data::write_atomically(&out, |file| file.write_all(&bytes).at(&out))?;
    if say.is_json() {
        say.json(&serde_json::json!({"renewal": out, "bundle": renewal.bundle, "until": renewal.until}));
        return Ok(Answer::Yes);
    }
    say.data(&format!("{}\n", out.display()));
    say.note(format!(
        "{} may use it until {}; send the file to lie beside the bundle",
        held.holding.customer, args.until
    ));
    Ok(Answer::Yes)
}

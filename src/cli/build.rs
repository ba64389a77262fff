//! `sealwright build`: check, train, pack: what has changed, and nothing twice. With `--json`, the training's steps and
//! then the report, a line each.

use super::Answer;
use super::base::{Extent, Place};
use super::pack::{Sealed, Shipment};
use super::preflight::Preflight;
use super::say::Say;
use super::stages::{Stages, State};
use super::train::{self, use_threads};
use sealwright::adapter::{HeldOut, RunRecord};
use sealwright::base::Base;
use sealwright::error::Result;
use sealwright::license::{DoneBy, Report};
use sealwright::product::{Product, Ship};
use sealwright::train::Ranks;
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// The product folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    #[command(flatten)]
    preflight: Preflight,
    /// Threads at work; the result is the same with any number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    let product = Product::read(&args.folder)?;
    use_threads(args.threads)?;
    let state = State::lock(&product.state_folder())?;
    let base = Place::of(&product).open(Extent::Whole, &args.preflight.network, say)?;

    let policies = args.preflight.policies()?;
    let judged = args.preflight.judge(&product, &base, &policies)?;
    let report = &judged.report;
    let clearance = report.clear()?;
    let trained = match product.train {
        Some(_) => Some(train::adapter_of(&product, &base, false, &Ranks::alone(), false, say)?),
        None => None,
    };
    let mut bundles = Vec::new();
    if product.declared_use.ship != Ship::Nothing {
        let shipment = Shipment::gather(&product, &base, product.customers.len(), &state, say)?;
        let mut stages = Stages::read(&state);
        for customer in &product.customers {
            bundles.push(shipment.seal(&judged, customer, &mut stages)?);
        }
    }
    let built = Built { product: &product, base: &base, report, trained: trained.as_ref(), bundles: &bundles };
    if say.is_json() {
        say.json_line(&built.json())
    } else {
        say.data(&built.table())
    }
    let vendors_part = clearance.obligations().iter().filter(|o| o.done_by == DoneBy::Vendor).count();
    if vendors_part > 0 && !say.is_json() {
        let duties = if vendors_part == 1 { "1 duty is" } else { &format!("{vendors_part} duties are") };
        say.note(format!("{duties} yours to meet: `sealwright check {}` names them", args.folder.display()));
    }
    Ok(Answer::Yes)
}

/// What stands at the end of a build.
struct Built<'a> {
    product: &'a Product,
    base: &'a Base,
    report: &'a Report,
    trained: Option<&'a train::Adapter>,
    bundles: &'a [Sealed],
}

impl Built<'_> {
    fn table(&self) -> String {
        let licenses: Vec<&str> = self.report.licenses().iter().filter_map(|l| l.id.as_deref()).collect();
        let mut rows = vec![
            ("product", format!("{} {}", self.product.product.title, self.product.product.version)),
            ("base", format!("{}, {}", self.base.name(), licenses.join(" and "))),
            ("verdict", self.report.verdict().name().to_owned()),
        ];
        if let Some(adapter) = self.trained {
            rows.extend(training_rows(adapter));
        }
        rows.extend(self.bundles.iter().map(|bundle| ("bundle", bundle.line())));
        rows.iter().map(|(name, value)| format!("{name:10}{value}\n")).collect()
    }

    fn json(&self) -> Value {
        let training = self.trained.map(|adapter| {
            let record = &adapter.trained.record;
            json!({
                "from-before": adapter.from_before,
                "steps": record.steps,
                "tokens": record.tokens,
                "loss-tokens": record.loss_tokens,
                "before": record.before,
                "after": record.after,
                "wall-seconds": record.wall_seconds,
            })
        });
        json!({
            "product": self.product.product,
            "base": self.base.name(),
            "verdict": self.report.verdict(),
            "licenses": self.report.licenses(),
            "training": training,
            "bundles": self.bundles,
        })
    }
}

fn training_rows(adapter: &train::Adapter) -> Vec<(&'static str, String)> {
    let record = &adapter.trained.record;
    let before = if adapter.from_before { "  (from before)" } else { "" };
    let mut rows = vec![("trained", format!("{} steps, {} tokens{before}", record.steps, record.tokens))];
    let losses = both(record, |h| h.loss.map(|loss| format!("{loss:.4}")));
    rows.extend(losses.map(|(was, is)| ("loss", format!("{was} → {is} on what was held out"))));
    let matches = both(record, |h| (h.questions > 0).then(|| share(h)));
    rows.extend(matches.map(|(was, is)| ("answers", format!("{was} → {is} of the held-out questions as wanted"))));
    rows
}

fn both(record: &RunRecord, show: impl Fn(&HeldOut) -> Option<String>) -> Option<(String, String)> {
    Some((show(record.before.as_ref()?)?, show(record.after.as_ref()?)?))
}

fn share(held_out: &HeldOut) -> String {
    let percent = 100.0 * held_out.matched as f64 / held_out.questions as f64;
    format!("{} of {} ({percent:.0} %)", held_out.matched, held_out.questions)
}

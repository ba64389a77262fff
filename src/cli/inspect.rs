//! `sealwright inspect`: what a bundle says of itself, with no key.

use super::Answer;
use super::say::{Say, visible};
use sealwright::bundle::{Manifest, inspect};
use sealwright::error::Result;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// The bundle
    bundle: PathBuf,
}

pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    let inspected = inspect(&args.bundle)?;
    if say.is_json() {
        say.json(&inspected);
        return Ok(Answer::Yes);
    }
    let mut text = describe(&inspected.manifest);
    if let Some(report) = &inspected.report {
        let ids: BTreeSet<_> = report.licenses.iter().map(|l| l.id.as_deref().unwrap_or("one without an id")).collect();
        let ids = ids.into_iter().collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "verdict    {}\nlicences   {ids}", report.verdict.name());
    }
    if let Some(renewal) = &inspected.renewal {
        let _ = writeln!(text, "renewal    through {}, by {} (beside the bundle)", renewal.until, renewal.vendor.key);
    }
    let _ = writeln!(text, "bundle     {}\nsize       {} bytes", inspected.id, inspected.size);
    for entry in &inspected.manifest.entries {
        let _ = writeln!(text, "  {:>12}  {}", entry.size, entry.name);
    }
    say.data(&visible(&text));
    say.note("the bundle's own words; `sealwright verify` proves them");
    Ok(Answer::Yes)
}

/// A manifest in lines, for `inspect` and `verify`; to be shown through `visible`.
pub fn describe(manifest: &Manifest) -> String {
    let entitlement = &manifest.entitlement;
    let uses = entitlement.uses.iter().map(|u| u.name()).collect::<Vec<_>>().join(", ");
    let from = entitlement.from.map(|d| format!("from {d} ")).unwrap_or_default();
    let issued = i64::try_from(manifest.issued).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    let issued = issued.map_or_else(|| manifest.issued.to_string(), |t| t.to_string());
    let development = if manifest.development { " (a development key)" } else { "" };
    let mut text = String::new();
    let _ = writeln!(
        text,
        "product    {} {} ({})",
        manifest.product.name, manifest.product.version, manifest.product.title
    );
    let _ = writeln!(text, "vendor     {}\nkey id     {}{development}", manifest.vendor.name, manifest.vendor.key);
    let _ = writeln!(text, "issued     {issued}, serial {}", manifest.serial);
    let _ = writeln!(
        text,
        "customer   {}\nvalid      {from}through {}\nuses       {uses}",
        entitlement.customer, entitlement.until
    );
    let terms = [(entitlement.machines, "machines"), (entitlement.seats, "seats")];
    let declared: Vec<_> = terms.iter().filter_map(|(n, what)| n.map(|n| format!("{n} {what}"))).collect();
    if !declared.is_empty() {
        let _ = writeln!(text, "declared   {} (terms; no program enforces them)", declared.join(", "));
    }
    for base in &manifest.bases {
        let print = &base.fingerprint;
        let _ = writeln!(text, "base       {}", base.name);
        let _ = writeln!(text, "  weights    {}\n  config     {}", print.weights, print.config);
        let _ = writeln!(text, "  tokenizer  {}\n  template   {}", print.tokenizer, print.template);
    }
    if let Some(recipe) = &manifest.recipe {
        let targets = recipe.targets.join(", ");
        let _ =
            writeln!(text, "recipe     {}, rank {}, alpha {}, on {targets}", recipe.method, recipe.rank, recipe.alpha);
    }
    if !manifest.active.is_empty() {
        let kinds = manifest.active.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "active     {kinds} (can run when it is loaded)");
    }
    let _ = writeln!(text, "opened     {} files, {} bytes", manifest.payload.files, manifest.payload.size);
    text
}

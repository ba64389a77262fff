//! `sealwright check`: the pre-flight, and its report in the form that was asked for.

use super::Answer;
use super::base::{Extent, Place};
use super::preflight::Preflight;
use super::report::{self, Judged, Places};
use super::say::{Say, visible};
use sealwright::digest::Sha256;
use sealwright::error::{Code, Error, Result};
use sealwright::license::{self, Policies, Verdict};
use sealwright::product::Product;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// The product folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    #[command(flatten)]
    preflight: Preflight,
    /// Judge this base instead of the product's: a folder, or `hub:OWNER/NAME[@REVISION]` on the Hugging Face hub, whose
    /// weights are not fetched
    #[arg(long, value_name = "BASE")]
    base: Option<Place>,
    /// Say what changes if the base is another: one BASE is compared with the product's own, several with the first
    #[arg(long, value_name = "BASE", num_args = 1.., conflicts_with = "base")]
    compare: Vec<Place>,
    /// Report as SARIF 2.1.0 on stdout
    #[arg(long, conflicts_with = "html")]
    sarif: bool,
    /// Report as one page of HTML on stdout, to be read or printed
    #[arg(long)]
    html: bool,
    /// Show the path from evidence to verdict for one fact, kind of duty or code
    #[arg(long, value_name = "TERM", conflicts_with_all = ["sarif", "html", "compare"])]
    why: Option<String>,
    /// Draft the annex of the customer's contract, as Markdown; a bundle's report.json holds its digest
    #[arg(long, conflicts_with_all = ["sarif", "html", "compare", "why"])]
    annex: bool,
    /// Judge again what was shipped: records that `pack` kept, or product folders; exit 3 where a verdict is worse or a
    /// duty new
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["folder", "sarif", "html", "compare", "why", "annex"])]
    watch: Vec<PathBuf>,
}

pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    if say.is_json() && (args.sarif || args.html) {
        return Err(Error::new(Code::Usage, "the report has one form at a time: --json, --sarif or --html")
            .with_hint("run `sealwright check` once for each form"));
    }
    if !args.watch.is_empty() {
        return super::watch::run(&args.watch, &args.preflight, say);
    }
    let product = Product::read(&args.folder)?;
    let own = args.base.clone().unwrap_or_else(|| Place::of(&product));
    let own = (args.compare.len() < 2).then_some(own);
    let bases: Vec<Place> = own.into_iter().chain(args.compare.iter().cloned()).collect();
    let policies = args.preflight.policies()?;
    let judge = |place: &Place| {
        let base = place.open(Extent::Evidence, &args.preflight.network, say)?;
        let report = args.preflight.judge(&product, &base, &policies)?.report;
        Ok(Judged { name: place.to_string(), report, base: base.folder })
    };
    let judged = bases.iter().map(judge).collect::<Result<Vec<_>>>()?;
    show(args, &product, &policies, &judged, say)?;
    let unused = judged.first().map(|j| policies.unused(j.report.judged()));
    unused
        .iter()
        .flatten()
        .for_each(|line| say.note(format!("note: a line of the policy is not used: {}", visible(line))));
    Ok(answer(judged.iter().map(|j| j.report.verdict()).max().unwrap_or(Verdict::Allow)))
}

/// The reports in the form that was asked for.
fn show(args: &Args, product: &Product, policies: &Policies, judged: &[Judged], say: &Say) -> Result<()> {
    if let Some(term) = &args.why {
        return why(term, policies, judged, say);
    }
    if let (true, [one]) = (args.annex, judged) {
        let annex = one.report.annex();
        if say.is_json() {
            say.json(&serde_json::json!({"annex": annex, "sha256": Sha256::of(annex)}));
        } else {
            say.data(annex);
        }
    } else if args.sarif {
        say.json(&report::log(judged, &Places::read(product)?));
    } else if args.html {
        say.data(&report::page(&product.product.title, judged));
    } else {
        match judged {
            [one] if say.is_json() => say.json(&one.report.to_json()),
            [one] => say.data(&report::text(one)),
            several if say.is_json() => say.json(&report::document(several)),
            several => say.data(&report::compared(several)),
        }
    }
    Ok(())
}

fn why(term: &str, policies: &Policies, judged: &[Judged], say: &Say) -> Result<()> {
    let [base] = judged else {
        return Err(Error::new(Code::Usage, "--why is about one base").with_hint("leave out --compare"));
    };
    let why = license::why(term, &base.report, policies)?;
    if say.is_json() {
        say.json(&why)
    } else {
        say.data(&report::path(&why))
    }
    Ok(())
}

/// The exit code of a verdict.
fn answer(verdict: Verdict) -> Answer {
    match verdict {
        Verdict::Allow | Verdict::AllowWithObligations => Answer::Yes,
        Verdict::NeedsReview => Answer::Review,
        Verdict::Deny => Answer::No,
    }
}

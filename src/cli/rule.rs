//! `sealwright rule`: writes a ruling on a finding for a person to sign off.

use super::Answer;
use super::base::{Extent, Place};
use super::preflight::{Judgement, Preflight};
use super::say::{Say, visible};
use sealwright::error::{Code, Error, Result};
use sealwright::license::{self, Finding, FindingCode, Policies, Ruling, Severity};
use sealwright::product::Product;
use sealwright::sign::SigningKey;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// The product folder
    folder: PathBuf,
    /// The finding's code, as `sealwright check` prints it
    code: String,
    /// The licence, where several findings have this code
    #[arg(long, value_name = "ID")]
    license: Option<String>,
    /// What the finding is about, where several have this code and licence
    #[arg(long)]
    subject: Option<String>,
    /// The role that answers for the ruling
    #[arg(long, value_name = "ROLE")]
    by: String,
    /// Why the finding may be lifted; it never leaves this folder
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The last day that the ruling holds
    #[arg(long, value_name = "DATE")]
    until: Option<jiff::civil::Date>,
    /// Sign with this private key, which the policy can demand: a PEM file, or a TOML file with `command` and `public` as
    /// in `vendor.key`
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    preflight: Preflight,
}

pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    let code: FindingCode = args.code.parse().map_err(|message: String| {
        Error::new(Code::Usage, message).with_hint("`sealwright check` prints the codes of its findings")
    })?;
    let product = Product::read(&args.folder)?;
    let base = Place::of(&product).open(Extent::Evidence, &args.preflight.network, say)?;
    let path = args.preflight.rulings(&product);
    let mut rulings = license::read_rulings(&path)?;
    let policies = args.preflight.policies()?;
    let Judgement { report, .. } = args.preflight.judge_by(&product, &base, &policies, rulings.clone())?;
    let signer = signer(args, &policies, say)?;
    let meant = |f: &&Finding| {
        f.code == code
            && (args.license.is_none() || f.license == args.license)
            && args.subject.as_ref().is_none_or(|s| *s == f.subject)
    };
    let findings: Vec<&Finding> = report.findings().iter().filter(meant).collect();
    let open: Vec<&Finding> = findings.iter().filter(|f| f.severity == Severity::Review).copied().collect();
    if open.is_empty() {
        return Err(nothing_to_rule_on(code, &findings));
    }
    let today = jiff::Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::UTC).date();
    for finding in open {
        let mut ruling = Ruling::answer(finding, report.digests(), &args.by, &args.reason, today);
        ruling.until = args.until;
        signer.as_ref().map(|key| ruling.sign(key)).transpose()?;
        // a lapsed ruling on the same finding has been answered anew
        rulings.retain(|r| !r.is_on_the_same(&ruling));
        say.note(format!("ruled on {}: {}", finding.code.name(), visible(&finding.message)));
        if let Some(question) = &finding.question {
            say.note(format!("  the question that this answers: {}", visible(question)));
        }
        rulings.push(ruling);
    }
    license::write_rulings(&path, rulings)?;
    let done = if signer.is_some() { "signed and written" } else { "written for signing off" };
    say.note(format!("{done}: {}", path.display()));
    if let Some(key) = policies.ruling_keys().first().filter(|_| signer.is_none()) {
        say.note(format!("it counts only when it is signed, with `--key`: {} asks for that", key.place));
    }
    Ok(Answer::Yes)
}

/// The key that signs; the policy must name it for the role, where it names any.
fn signer(args: &Args, policies: &Policies, say: &Say) -> Result<Option<SigningKey>> {
    let Some(path) = &args.key else { return Ok(None) };
    let key = super::key::read(path, say)?;
    let (id, keys) = (key.public().id(), policies.ruling_keys());
    if keys.is_empty() || keys.iter().any(|k| k.by == args.by && k.key.id() == id) {
        return Ok(Some(key));
    }
    let message = format!("the policy does not take rulings of {} by this key: {id}", args.by);
    let hint = keys.iter().map(|k| format!("{} ({})", k.by, k.place)).collect::<Vec<_>>().join(", ");
    Err(Error::new(Code::Usage, message).with_hint(format!("it names keys for: {hint}")))
}

fn nothing_to_rule_on(code: FindingCode, findings: &[&Finding]) -> Error {
    let name = code.name();
    match findings.first().map(|f| f.severity) {
        Some(Severity::Deny) => {
            Error::new(Code::Denied, format!("a `deny` cannot be lifted: {name}")).with_hint(findings[0].remedy.clone())
        }
        Some(_) => Error::new(Code::Usage, format!("this finding needs no ruling: {name}")),
        None => Error::new(Code::Usage, format!("the report has no such finding: {name}"))
            .with_hint("`sealwright check` prints the findings, with licence and subject"),
    }
}

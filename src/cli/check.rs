//! `sealwright check`: the pre-flight. The product file becomes the licence room's plain question, its report is shown.

use super::Answer;
use super::say::{Say, visible};
use sealwright::base::Base;
use sealwright::data::nearest;
use sealwright::error::{Code, Error, Result};
use sealwright::license::{
    self, Customer, DataOrigin, DoneBy, Finding, Grant, GrantKind, Origin, Policies, Report, Severity, Ship, Subject,
    Use, Verdict,
};
use sealwright::product::{self, Product};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// The product folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    #[command(flatten)]
    preflight: Preflight,
    /// Judge these bases instead of the product's
    #[arg(long, value_name = "DIR")]
    base: Vec<PathBuf>,
}

/// What every command that judges can be told.
#[derive(clap::Args)]
pub struct Preflight {
    /// Another folder of facts and decisions than the program's own
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// Another file of rulings than the product's `rulings.toml`
    #[arg(long, value_name = "FILE")]
    ruling: Option<PathBuf>,
}

pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    let product = Product::read(&args.folder)?;
    let own = [product.resolve(&product.base.path)];
    let bases = if args.base.is_empty() { &own[..] } else { &args.base };
    let mut worst = Verdict::Allow;
    for folder in bases {
        let report = args.preflight.judge(&product, &Base::open(folder)?)?;
        if say.is_json() {
            say.json(&report.to_json());
        } else {
            say.data(&text(&report));
        }
        worst = worst.max(report.verdict());
    }
    Ok(answer(worst))
}

impl Preflight {
    /// What the licences say of the product's use of this base.
    pub fn judge(&self, product: &Product, base: &Base) -> Result<Report> {
        let policies = Policies::load(self.policies.as_deref())?;
        if let Some(path) = self.ruling.as_ref().filter(|path| !path.is_file()) {
            return Err(Error::new(Code::Usage, format!("no rulings here: {}", path.display())));
        }
        let rulings = license::read_rulings(&self.rulings(product))?;
        let text = product.base.license_text.as_ref().map(|path| product.resolve(path));
        let subject = Subject::read(base, text.as_deref())?;
        let declared = declared(product)?;
        declared.check_words(&product.resolve(Path::new(product::FILE_NAME)), &policies)?;
        Ok(license::check(&subject, &declared, &policies, &rulings, jiff::Timestamp::now()))
    }

    /// The file that rulings stand in.
    pub fn rulings(&self, product: &Product) -> PathBuf {
        self.ruling.clone().unwrap_or_else(|| product.resolve(Path::new(license::RULINGS)))
    }
}

/// The exit code of a verdict.
fn answer(verdict: Verdict) -> Answer {
    match verdict {
        Verdict::Allow | Verdict::AllowWithObligations => Answer::Yes,
        Verdict::NeedsReview => Answer::Review,
        Verdict::Deny => Answer::No,
    }
}

/// The product file as the licence room's question.
fn declared(product: &Product) -> Result<Use> {
    let (vendor, asked) = (&product.vendor, &product.declared_use);
    let users = vendor.monthly_active_users;
    let origins = |data: &product::Data| -> Vec<DataOrigin> {
        let path = data.path.display().to_string();
        let whole = |origin: &product::Origin| DataOrigin { path: path.clone(), origin: origin_of(origin) };
        data.origin.as_slice().iter().map(whole).collect()
    };
    Ok(Use {
        vendor: vendor.name.clone(),
        vendor_country: vendor.country.clone(),
        annual_revenue: vendor.annual_revenue_usd,
        users_now: users.and_then(|u| u.now),
        users_at_release: users.and_then(|u| u.at_release),
        title: product.product.title.clone(),
        ship: match asked.ship {
            product::Ship::Adapter => Ship::Adapter,
            product::Ship::Merged => Ship::Merged,
            product::Ship::Nothing => Ship::Nothing,
        },
        terms: asked.terms.clone(),
        commercial: asked.commercial,
        purpose: asked.purpose.clone(),
        fields: asked.fields.clone(),
        territory: asked.territory.clone(),
        trains_models_on_outputs: asked.trains_models_on_outputs,
        grants: product.grants.iter().map(grant).collect::<Result<_>>()?,
        data: product.data.iter().flat_map(origins).collect(),
        customers: product
            .customers
            .iter()
            .map(|c| Customer { name: c.name.clone(), country: c.country.clone() })
            .collect(),
    })
}

fn origin_of(origin: &product::Origin) -> Origin {
    match origin {
        product::Origin::Own => Origin::Own,
        product::Origin::License(license) => Origin::License(license.clone()),
        product::Origin::GeneratedBy(model) => Origin::GeneratedBy(model.clone()),
    }
}

fn grant(grant: &product::Grant) -> Result<Grant> {
    let kind = match grant.kind.as_str() {
        "registration" => GrantKind::Registration,
        "agreement" => GrantKind::Agreement,
        other => {
            let hint = nearest(other, ["registration", "agreement"]).unwrap_or("registration or agreement");
            return Err(Error::new(Code::BadInput, format!("[[grant]] has an unknown kind: {other}"))
                .with_hint(format!("did you mean `{hint}`?")));
        }
    };
    Ok(Grant { license: grant.license.clone(), kind, date: grant.date, reference: grant.reference.clone() })
}

// ---- the report for people

fn text(report: &Report) -> String {
    let mut out = format!("verdict: {}\n", report.verdict().name());
    for customer in report.customers() {
        let _ = writeln!(out, "  for {}: {}", customer.name, customer.verdict.name());
    }
    out.push_str("\nlicences\n");
    for listed in report.licenses() {
        let how = serde_json::to_value(listed.how).ok().and_then(|v| v.as_str().map(String::from)).unwrap_or_default();
        let score = listed.score.map_or(String::new(), |s| format!(" {:.0} %", s * 100.0));
        let _ = writeln!(out, "  {}  {how}{score}: {}", listed.id.as_deref().unwrap_or("unknown"), visible(&listed.of));
    }
    for severity in [Severity::Deny, Severity::Review, Severity::Note] {
        let of: Vec<&Finding> = report.findings().iter().filter(|f| f.severity == severity).collect();
        if !of.is_empty() {
            out.push_str(match severity {
                Severity::Deny => "\nforbidden\n",
                Severity::Review => "\na person must look\n",
                _ => "\ngood to know\n",
            });
            of.iter().for_each(|f| finding(&mut out, f));
        }
    }
    obligations(&mut out, report);
    for ruling in report.rulings() {
        let _ = writeln!(out, "\nruling on {} ({}): {}", ruling.code.name(), visible(&ruling.subject), ruling.state);
    }
    let _ = writeln!(out, "\n{}", license::DISCLAIMER);
    out
}

fn finding(out: &mut String, finding: &Finding) {
    let _ = writeln!(out, "  {}: {}", finding.code.name(), visible(&finding.message));
    let clause = match (&finding.license, &finding.clause) {
        (Some(license), Some(clause)) => format!("{license}, clause {clause}; "),
        (Some(license), None) => format!("{license}; "),
        _ => String::new(),
    };
    let customer = finding.customer.as_ref().map_or(String::new(), |c| format!(", for {c} only"));
    let _ = writeln!(out, "      {clause}decided by {}{customer}", finding.policy);
    match &finding.ruled {
        Some(ruled) => {
            let _ = writeln!(out, "      lifted by a ruling of {} on {}", visible(&ruled.by), ruled.on);
        }
        None if finding.severity > Severity::Note => {
            let _ = writeln!(out, "      remedy: {}", visible(&finding.remedy));
        }
        None => {}
    }
}

fn obligations(out: &mut String, report: &Report) {
    for (done_by, title) in [
        (DoneBy::Pack, "\nduties that `sealwright pack` does\n"),
        (DoneBy::Check, "\nduties that the pre-flight checks\n"),
        (DoneBy::Vendor, "\nduties that are yours\n"),
    ] {
        let of: Vec<_> = report.obligations().iter().filter(|o| o.done_by == done_by).collect();
        if !of.is_empty() {
            out.push_str(title);
        }
        for duty in of {
            let _ = writeln!(out, "  {} ({}, clause {})\n      {}", duty.term, duty.license, duty.clause, duty.how);
            if let Some(words) = &duty.words {
                let _ = writeln!(out, "      words: {words}");
            }
            if let Some(unmet) = &duty.unmet {
                let _ = writeln!(out, "      cannot be met yet: {unmet}");
            }
        }
    }
}

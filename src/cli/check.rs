//! `sealwright check`: the pre-flight. The product file becomes the licence room's plain question, its report is shown.

use super::Answer;
use super::base::{Extent, Network, Place};
use super::report::{self, Judged, Places};
use super::say::{Say, visible};
use sealwright::base::Base;
use sealwright::digest::Sha256;
use sealwright::error::{Code, Error, Result};
use sealwright::license::{
    self, Adapter, Asked, Covered, Customer, DataOrigin, Grant, Origin, Policies, Report, Ruling, Ship, Subject, Use,
    Verdict,
};
use sealwright::product::{self, Product};
use std::path::{Path, PathBuf};

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

/// A report, and what it was asked about.
pub struct Judgement<'p> {
    pub subject: Subject,
    pub declared: Use,
    pub rulings: Vec<Ruling>,
    pub policies: &'p Policies,
    pub report: Report,
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
    #[command(flatten)]
    pub network: Network,
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

impl Preflight {
    /// What the licences say of the product's use of this base.
    pub fn judge<'p>(&self, product: &Product, base: &Base, policies: &'p Policies) -> Result<Judgement<'p>> {
        if let Some(path) = self.ruling.as_ref().filter(|path| !path.is_file()) {
            return Err(Error::new(Code::Usage, format!("no rulings here: {}", path.display())));
        }
        self.judge_by(product, base, policies, license::read_rulings(&self.rulings(product))?)
    }

    /// The same, with these rulings.
    pub fn judge_by<'p>(
        &self,
        product: &Product,
        base: &Base,
        policies: &'p Policies,
        rulings: Vec<Ruling>,
    ) -> Result<Judgement<'p>> {
        let text = product.base.license_text.as_ref().map(|path| product.resolve(path));
        let subject = Subject::read(base, text.as_deref())?.with_adapters(adapters(product)?);
        let declared = declared(product)?;
        let places = Places::read(product)?;
        declared.check_words(policies, &|table, key, value| places.path_of(table, key, value))?;
        let report = license::check(&subject, &declared, policies, &rulings, jiff::Timestamp::now());
        Ok(Judgement { subject, declared, rulings, policies, report })
    }

    /// Facts and decisions.
    pub fn policies(&self) -> Result<Policies> {
        Policies::load(self.policies.as_deref())
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

impl Judgement<'_> {
    /// What was judged, to be kept.
    pub fn asked(&self) -> Asked<'_> {
        Asked { subject: &self.subject, declared: &self.declared, rulings: &self.rulings, policies: self.policies }
    }
}

/// The product file as the licence room's question.
pub fn declared(product: &Product) -> Result<Use> {
    let (vendor, asked) = (&product.vendor, &product.declared_use);
    let users = vendor.monthly_active_users;
    Ok(Use {
        vendor: vendor.name.clone(),
        vendor_country: vendor.country.clone(),
        business: vendor.business.clone(),
        competes_with_licensor: vendor.competes_with_licensor,
        annual_revenue: vendor.annual_revenue.clone(),
        users_now: users.and_then(|u| u.now),
        users_at_release: users.and_then(|u| u.at_release),
        obtained: product.base.obtained,
        title: product.product.title.clone(),
        ship: match asked.ship {
            product::Ship::Adapter => Ship::Adapter,
            product::Ship::Merged => Ship::Merged,
            product::Ship::Nothing => Ship::Nothing,
        },
        hosting: asked.hosting,
        redistribution: asked.redistribution,
        terms: asked.terms.clone(),
        commercial: asked.commercial,
        purpose: asked.purpose.clone(),
        fields: asked.fields.clone(),
        territory: asked.territory.clone(),
        trains_models_on_outputs: asked.trains_models_on_outputs,
        grants: product.grants.iter().map(|g| grant(product, g)).collect::<Result<_>>()?,
        data: product.data.iter().flat_map(origins).collect(),
        customers: product
            .customers
            .iter()
            .map(|c| Customer { name: c.name.clone(), country: c.country.clone() })
            .collect(),
    })
}

/// What the derivative is, or begins from; a folder that is not there yet is told.
fn adapters(product: &Product) -> Result<Vec<Adapter>> {
    let init = product.train.as_ref().and_then(|train| Some((train.init.as_ref()?, train.init_own)));
    let derivative = product.derivative.as_ref().map(|derivative| (&derivative.path, derivative.own));
    let read = |(path, own): (&PathBuf, bool)| {
        let folder = product.resolve(path);
        let is_there = std::fs::read_dir(&folder).is_ok_and(|mut files| files.next().is_some());
        let subject = is_there.then(|| Subject::read(&Base::open(&folder)?, None)).transpose()?;
        Ok(Adapter { name: path.display().to_string(), own, subject })
    };
    init.into_iter().chain(derivative).map(read).collect()
}

/// One for each origin of a data file.
fn origins(data: &product::Data) -> Vec<DataOrigin> {
    let whole = |origin: &product::Origin| {
        let (origin, credit) = match origin {
            product::Origin::Own => (Origin::Own, None),
            product::Origin::License { id, credit } => (Origin::License(id.clone()), credit.clone()),
            product::Origin::GeneratedBy(model) => (Origin::GeneratedBy(model.clone()), None),
        };
        DataOrigin { path: data.path.display().to_string(), origin, credit, only_for: data.may_ship_to.clone() }
    };
    data.origin.as_slice().iter().map(whole).collect()
}

/// A grant, with the digest of its paper where that is at hand.
fn grant(product: &Product, grant: &product::Grant) -> Result<Grant> {
    let paper = grant.document.as_ref().map(|path| product.resolve(path)).filter(|path| path.is_file());
    let document = paper.map(|path| Sha256::of_file(&path)).transpose()?;
    if let Some(digest) = document.filter(|_| grant.sha256.is_none()) {
        let message = format!("the grant {} names a document and not its digest", grant.reference);
        return Err(Error::input(&product.resolve(Path::new(product::FILE_NAME)), message)
            .with_hint(format!("the file's is: sha256 = \"{digest}\"")));
    }
    let covered = |word: &product::Covered| match word {
        product::Covered::Adapter => Covered::Adapter,
        product::Covered::Merged => Covered::Merged,
        product::Covered::Hosting => Covered::Hosting,
    };
    Ok(Grant {
        license: grant.license.clone(),
        kind: grant.kind.clone(),
        grantee: grant.grantee.clone(),
        scope: grant.scope.iter().map(covered).collect(),
        date: grant.date,
        until: grant.until,
        reference: grant.reference.clone(),
        sha256: grant.sha256,
        document,
    })
}

//! The pre-flight that `check`, `rule`, `train`, `pack` and `build` share: the product file as the licence room's question.

use super::base::Network;
use super::report::Places;
use sealwright::base::Base;
use sealwright::digest::Sha256;
use sealwright::error::{Code, Error, Result};
use sealwright::license::{
    self, Adapter, Asked, Covered, Customer, DataOrigin, Grant, Origin, Policies, Report, Ruling, Ship, Subject, Use,
};
use sealwright::product::{self, Product};
use std::path::{Path, PathBuf};

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

/// A report, and what it was asked about.
pub struct Judgement<'p> {
    pub subject: Subject,
    pub declared: Use,
    pub rulings: Vec<Ruling>,
    pub policies: &'p Policies,
    pub report: Report,
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
        let place = place_of(product.resolve(path));
        let is_there = place.is_file() || std::fs::read_dir(&place).is_ok_and(|mut files| files.next().is_some());
        let subject = is_there.then(|| Subject::read(&Base::open(&place)?, None)).transpose()?;
        Ok(Adapter { name: path.display().to_string(), own, subject })
    };
    init.into_iter().chain(derivative).map(read).collect()
}

/// Where a derivative's licence is looked for: its folder, or that of its one file; a GGUF speaks for itself, too.
fn place_of(path: PathBuf) -> PathBuf {
    let speaks = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
    match path.parent() {
        Some(folder) if path.is_file() && !speaks => folder.to_owned(),
        _ => path,
    }
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

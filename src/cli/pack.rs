//! `sealwright pack`: clearance + derivative + entitlement → one bundle a customer.

use super::Answer;
use super::base::{Extent, Place};
use super::derivative::Derivative;
use super::preflight::{Judgement, Preflight};
use super::say::Say;
use super::secret::Secret;
use super::stages::{Stage, Stages, State};
use super::watch::SHIPPED;
use sealwright::base::{Base, Fingerprint};
use sealwright::bundle::{self, Content, PackPlan, Papers, ProductName, Recipient, Tail, Trust, Use};
use sealwright::digest::Sha256;
use sealwright::error::{AtPath as _, Code, Error, Result};
use sealwright::ledger::{Event, Holding, Ledger};
use sealwright::license::{Clearance, Shipped};
use sealwright::product::{Customer, Product};
use sealwright::sign::SigningKey;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Where bundles land, in the product's folder.
const DIST: &str = "dist";

#[derive(clap::Args)]
pub struct Args {
    /// The product folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    #[command(flatten)]
    preflight: Preflight,
    /// Only for this customer; may be repeated
    #[arg(long, value_name = "NAME")]
    customer: Vec<String>,
}

pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    let product = Product::read(&args.folder)?;
    let state = State::lock(&product.state_folder())?;
    let base = Place::of(&product).open(Extent::Whole, &args.preflight.network, say)?;
    let policies = args.preflight.policies()?;
    let judged = args.preflight.judge(&product, &base, &policies)?;
    let customers = chosen(&product, &args.customer)?;
    let shipment = Shipment::gather(&product, &base, customers.len(), &state, say)?;
    let mut stages = Stages::read(&state);
    let mut bundles = Vec::new();
    for customer in customers {
        let sealed = shipment.seal(&judged, customer, &mut stages)?;
        if !say.is_json() {
            say.note(sealed.line());
        }
        bundles.push(sealed);
    }
    if say.is_json() {
        say.json(&json!({ "bundles": bundles }));
    }
    Ok(Answer::Yes)
}

fn chosen<'a>(product: &'a Product, names: &[String]) -> Result<Vec<&'a Customer>> {
    if product.customers.is_empty() {
        return Err(Error::new(Code::Usage, "the product file has no [[customer]]")
            .with_hint("a bundle is made for a customer"));
    }
    let find = |name: &String| {
        product.customers.iter().find(|c| c.name == *name).ok_or_else(|| {
            let known = product.customers.iter().map(|c| c.name.as_str());
            let near = sealwright::data::nearest(name, known.clone()).map(String::from);
            let hint = near.map_or_else(|| known.collect::<Vec<_>>().join(", "), |n| format!("did you mean `{n}`?"));
            Error::new(Code::Usage, format!("no such customer: {name}")).with_hint(hint)
        })
    };
    if names.is_empty() { Ok(product.customers.iter().collect()) } else { names.iter().map(find).collect() }
}

/// A bundle that stands in `dist/`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sealed {
    /// Who gets it.
    pub customer: String,
    /// Where it lies, in the product's folder.
    pub file: PathBuf,
    /// Its last day.
    pub until: jiff::civil::Date,
    /// Size and identity.
    #[serde(flatten)]
    pub made: Made,
    /// Nothing had changed since it was made.
    pub from_before: bool,
}

/// What is remembered of a bundle.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Made {
    /// Of the file.
    pub bytes: u64,
    /// The digest of its manifest.
    pub id: Sha256,
    /// When it was made.
    pub issued: jiff::Timestamp,
}

impl Sealed {
    /// For people.
    pub fn line(&self) -> String {
        let size = indicatif::HumanBytes(self.made.bytes);
        let before = if self.from_before { "  (from before)" } else { "" };
        format!("{}  {size}  for {} until {}{before}", self.file.display(), self.customer, self.until)
    }
}

/// What every customer's bundle of a product has in common.
pub struct Shipment<'a> {
    product: &'a Product,
    base_name: String,
    fingerprint: Fingerprint,
    derivative: Derivative,
    content: Content,
    signer: SigningKey,
    ledger: Ledger,
    say: &'a Say,
}

impl<'a> Shipment<'a> {
    /// The derivative that the product file names, and the key that signs it.
    pub fn gather(product: &'a Product, base: &Base, customers: usize, state: &State, say: &'a Say) -> Result<Self> {
        let fingerprint = base.fingerprint()?;
        let derivative = Derivative::of(product, base, &fingerprint, state, say)?;
        let content = Content::new(&derivative.files, (customers > 1).then(|| state.folder()))?;
        let signer = signing_key(product, state, say)?;
        let ledger = Ledger::of(&product.folder, state.folder());
        Ok(Self { product, base_name: base.name(), fingerprint, derivative, content, signer, ledger, say })
    }

    /// The bundle of one customer, packed anew only where something changed.
    pub fn seal(&self, judged: &Judgement<'_>, customer: &Customer, stages: &mut Stages) -> Result<Sealed> {
        let clearance = &judged.report.clear_for(&customer.name)?;
        self.may_reach(customer)?;
        let ask = |question: &str| Secret::Bundle.ask(&format!("{question} of {}", customer.name), self.say);
        let recipients = customer.recipients.iter().map(|r| Recipient::parse(r, &ask)).collect::<Result<Vec<_>>>()?;
        let papers = Papers::from_clearance(clearance);
        let uses: Vec<Use> = customer.uses.iter().filter_map(|word| Use::parse(word)).collect();
        let plan = self.plan(&papers, customer, &recipients, &uses, issued()?);
        let file = Path::new(DIST).join(plan.file_name());
        let out = self.product.resolve(&file);
        let trust = Trust::in_keys([self.signer.public()], true);
        let stage = stages.run_if_needed(
            &format!("bundle {}", customer.name),
            || inputs(&plan, clearance),
            || bundle::verify(&out, &trust).map(|whole| whole.id()),
            || {
                let packed = bundle::pack(&plan, &out)?;
                // what leaves the house is looked at once as the customer will: its digests are of the bytes as they
                // were written, so nothing is hashed again
                Tail::read(&out)?.0.judge(&trust)?;
                Ok((Made { bytes: packed.size, id: packed.id, issued: plan.issued }, packed.id))
            },
        )?;
        self.ledger.record(&holding(&plan, &stage.found, file.clone()))?;
        self.keep(judged, &customer.name, &stage)?;
        let (customer, until) = (customer.name.clone(), customer.until);
        Ok(Sealed { customer, file, until, made: stage.found, from_before: stage.from_before })
    }

    /// Keeps what was judged, for `check --watch`; once for each bundle.
    fn keep(&self, judged: &Judgement<'_>, customer: &str, stage: &Stage<Made>) -> Result<()> {
        let product = format!("{}-{}", self.product.product.name, self.product.product.version);
        let folder = self.product.state_folder().join(SHIPPED);
        let path = folder.join(format!("{product}-{customer}.json"));
        if stage.from_before && path.is_file() {
            return Ok(());
        }
        Shipped::new(judged.asked(), &judged.report, product, customer, stage.found.id).write(&path)
    }

    fn plan<'p>(
        &'p self,
        papers: &'p Papers,
        customer: &'p Customer,
        recipients: &'p [Recipient],
        uses: &'p [Use],
        issued: jiff::Timestamp,
    ) -> PackPlan<'p> {
        let product = &self.product.product;
        PackPlan {
            papers,
            content: &self.content,
            active: &product.active_content,
            vendor: &self.product.vendor.name,
            product: ProductName {
                name: product.name.clone(),
                title: product.title.clone(),
                version: product.version.clone(),
            },
            terms: &self.product.declared_use.terms,
            purpose: &self.product.declared_use.purpose,
            bases: vec![bundle::Base { name: self.base_name.clone(), fingerprint: self.fingerprint.clone() }],
            recipe: self.derivative.recipe.clone(),
            data: &self.derivative.data,
            metrics: &self.derivative.metrics,
            customer: &customer.name,
            from: customer.from,
            until: customer.until,
            uses,
            machines: customer.machines.map(|n| n.get().into()),
            seats: customer.seats.map(|n| n.get().into()),
            recipients,
            issued,
            signer: &self.signer,
        }
    }

    /// One customer's data must not reach another's adapter.
    fn may_reach(&self, customer: &Customer) -> Result<()> {
        let barred =
            |d: &&sealwright::product::Data| d.may_ship_to.as_ref().is_some_and(|l| !l.contains(&customer.name));
        match self.product.data.iter().find(barred) {
            None => Ok(()),
            Some(data) => Err(Error::new(
                Code::Denied,
                format!("the adapter learnt from {}, which may not reach {}", data.path.display(), customer.name),
            )
            .with_hint(
                "`may-ship-to` of that [[data]] says so; a product of its own, without that file, serves this customer",
            )),
        }
    }
}

/// What the vendor's ledger keeps of a bundle.
fn holding(plan: &PackPlan<'_>, made: &Made, file: PathBuf) -> Event {
    Event::Packed(Holding {
        at: u64::try_from(made.issued.as_second()).unwrap_or_default(),
        bundle: made.id,
        customer: plan.customer.to_owned(),
        product: plan.product.name.clone(),
        version: plan.product.version.clone(),
        from: plan.from,
        until: plan.until,
        uses: plan.uses.iter().map(|u| u.name().to_owned()).collect(),
        key: plan.signer.public().id(),
        recipients: plan.recipients.iter().map(ToString::to_string).collect(),
        file,
        bytes: made.bytes,
    })
}

/// Everything that changes a bundle but the moment it is made at.
fn inputs(plan: &PackPlan<'_>, clearance: &Clearance) -> Result<Sha256> {
    let mut report = clearance.report_json();
    report.as_object_mut().map(|report| report.remove("judged"));
    Ok(Sha256::of_json(&json!({
        "program": env!("CARGO_PKG_VERSION"),
        "report": report,
        "texts": clearance.texts().iter().map(|(name, bytes)| (name, Sha256::of(bytes))).collect::<Vec<_>>(),
        "notice": clearance.notice_paragraphs(),
        "files": plan.content.digests()?,
        "active": plan.active,
        "vendor": plan.vendor,
        "product": plan.product,
        "terms": plan.terms,
        "purpose": plan.purpose,
        "bases": plan.bases,
        "recipe": plan.recipe,
        "data": plan.data,
        "metrics": plan.metrics,
        "customer": plan.customer,
        "from": plan.from,
        "until": plan.until,
        "uses": plan.uses,
        "machines": plan.machines,
        "seats": plan.seats,
        "recipients": plan.recipients.iter().map(ToString::to_string).collect::<Vec<_>>(),
        // a passphrase leaves nothing to compare, so its bundle is always made anew
        "anew": plan.recipients.iter().any(Recipient::is_passphrase).then_some(plan.issued.as_nanosecond().to_string()),
        "key": plan.signer.public().id(),
    })))
}

/// The key that the product file names: in a PEM file, or behind a command.
fn vendor_key(product: &Product, say: &Say) -> Result<Option<SigningKey>> {
    product.vendor.key.as_ref().map(|key| super::key::of(key, &product.folder, say)).transpose()
}

/// The vendor's key, or else a development key, made when there is none.
pub fn signing_key(product: &Product, state: &State, say: &Say) -> Result<SigningKey> {
    if let Some(key) = vendor_key(product, say)? {
        return Ok(key);
    }
    let path = state.folder().join("development.pem");
    if !path.is_file() {
        let key = SigningKey::generate(true);
        key.write(&path, None)?;
        let public = path.with_file_name("development.pub.pem");
        sealwright::data::write_atomically(&public, |f| f.write_all(key.public().to_pem().as_bytes()).at(&public))?;
        say.note(
            "no vendor.key in the product file: made a development key; its bundles say so and are not for customers",
        );
    }
    SigningKey::read(&path, &|question| Secret::Key.ask(question, say))
}

/// Now, or SOURCE_DATE_EPOCH, for a build that repeats.
pub fn issued() -> Result<jiff::Timestamp> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Err(_) => Ok(jiff::Timestamp::now()),
        Ok(text) => text
            .parse()
            .ok()
            .and_then(|s| jiff::Timestamp::from_second(s).ok())
            .ok_or_else(|| Error::new(Code::Usage, format!("SOURCE_DATE_EPOCH is no count of seconds: {text}"))),
    }
}

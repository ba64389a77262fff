//! `sealwright ledger`: who has which bundle until when; `ledger recall` takes bundles and keys back.

use super::Answer;
use super::pack::{issued, signing_key};
use super::say::{Say, visible};
use super::stages::State;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan as _};
use sealwright::bundle::{Revocations, Vendor};
use sealwright::digest::Sha256;
use sealwright::error::{AtPath as _, Code, Error, Result};
use sealwright::ledger::{Event, Held, Ledger};
use sealwright::product::Product;
use sealwright::sign::{self, PublicKey, SigningKey};
use serde_json::json;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// For how many days a revocation list is fresh, where nothing else is said.
const FRESH_DAYS: i64 = 30;
/// Digits of a bundle's digest that are shown, and the fewest that name one.
const SHORT: usize = 12;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// The product folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Only what ends within this time: 60d, 8w, 3mo
    #[arg(long, value_name = "TIME")]
    expiring: Option<Span>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Take bundles or keys back: a signed revocation list, for customers whose trust file names it
    Recall(Recall),
}

#[derive(clap::Args)]
struct Recall {
    /// Bundles by the first digits of their id, or all of a customer; with nothing named, the list is made anew
    what: Vec<String>,
    /// The product folder
    #[arg(long, value_name = "DIR", default_value = ".")]
    product: PathBuf,
    /// The public half of a key that was stolen: nothing that it signed is good but what customers pinned
    #[arg(long, value_name = "FILE")]
    compromised: Vec<PathBuf>,
    /// The public half of a key that signs no more: what it signed through today stays good
    #[arg(long, value_name = "FILE")]
    retired: Vec<PathBuf>,
    /// The last day on which the list is fresh; 30 days from now where it is left out
    #[arg(long, value_name = "DATE")]
    next: Option<Date>,
}

pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    match &args.command {
        Some(Command::Recall(recall)) => take_back(recall, say),
        None => show(args, say),
    }
}

fn show(args: &Args, say: &Say) -> Result<Answer> {
    let product = Product::read(&args.folder)?;
    let mut held = Ledger::of(&product.folder, &product.state_folder()).held()?;
    let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
    if let Some(time) = args.expiring {
        let last = today.checked_add(time).map_err(|e| Error::new(Code::Usage, format!("--expiring: {e}")))?;
        held.retain(|h| !h.recalled && (today..=last).contains(&h.valid_until));
    }
    if say.is_json() {
        say.json(&json!({ "today": today, "bundles": held }));
        return Ok(Answer::Yes);
    }
    let mut text = String::new();
    for h in &held {
        text += &line(h, today);
    }
    say.data(&visible(&text));
    let bundles = if held.len() == 1 { "1 bundle".to_owned() } else { format!("{} bundles", held.len()) };
    say.note(format!("{bundles}; what was made here: who passed one on, or opens one after its day, is not known"));
    Ok(Answer::Yes)
}

/// `acme  helpdesk 1.0.0  until 2027-12-31  b6ae3f0c12d4  key 9f0e…  recalled`
fn line(held: &Held, today: Date) -> String {
    let h = &held.holding;
    let state = match (held.recalled, held.valid_until < today) {
        (true, _) => "  recalled",
        (false, true) => "  expired",
        (false, false) => "",
    };
    let (bundle, key) = (h.bundle.to_string(), h.key.to_string());
    let (bundle, key) = (&bundle[..SHORT], &key[..SHORT]);
    let until = held.valid_until;
    format!("{:16}  {} {:8}  until {until}  {bundle}  key {key}{state}\n", h.customer, h.product, h.version)
}

fn take_back(args: &Recall, say: &Say) -> Result<Answer> {
    let product = Product::read(&args.product)?;
    let state = State::lock(&product.state_folder())?;
    let ledger = Ledger::of(&product.folder, state.folder());
    let bundles = chosen(&ledger.held()?, &args.what)?;
    let compromised = args.compromised.iter().map(|path| PublicKey::read(path)).collect::<Result<Vec<_>>>()?;
    let retired = args.retired.iter().map(|path| PublicKey::read(path)).collect::<Result<Vec<_>>>()?;
    let key = signing_key(&product, &state, say)?;
    let now = issued()?;
    let today = TimeZone::UTC.to_datetime(now).date();
    let next = args.next.unwrap_or(today.saturating_add(FRESH_DAYS.days()));

    let path = product.resolve(&product.vendor.revocations);
    // beside the program's own lock: other products of the vendor may write the same list
    let _lock = sealwright::data::lock(&path.with_extension("lock"))?;
    let vendor = Vendor { name: product.vendor.name.clone(), key: key.public().id() };
    let older: Vec<_> = compromised.iter().chain(&retired).collect();
    let mut list = before(&path, vendor, &key, &older, next)?;
    list.number += 1;
    list.issued = u64::try_from(now.as_second()).map_err(|_| Error::new(Code::Usage, "a time before 1970"))?;
    list.next = next;
    bundles.iter().for_each(|bundle| list.recall(*bundle, today));
    compromised.iter().for_each(|key| list.revoke_key(key.id(), None));
    retired.iter().for_each(|key| list.revoke_key(key.id(), Some(today)));
    let bytes = sign::sign(&list, &key)?;
    sealwright::data::write_atomically(&path, |file| file.write_all(&bytes).at(&path))?;
    for bundle in bundles {
        ledger.record(&Event::Recalled { at: list.issued, bundle })?;
    }
    if say.is_json() {
        say.json(&json!({ "list": path, "revocations": list }));
        return Ok(Answer::Yes);
    }
    say.data(&format!("{}\n", path.display()));
    let (keys, bundles) = (list.keys.len(), list.bundles.len());
    say.note(format!("number {}, fresh until {next}: {bundles} bundles and {keys} keys taken back", list.number));
    say.note("it reaches customers whose trust file names it; a copy that is open already stays open");
    Ok(Answer::Yes)
}

/// The list as it was, to be signed anew with the key of today.
fn before(path: &Path, vendor: Vendor, key: &SigningKey, older: &[&PublicKey], next: Date) -> Result<Revocations> {
    if !path.exists() {
        return Ok(Revocations::first(vendor, next));
    }
    let own = key.public();
    let keys: Vec<&PublicKey> = std::iter::once(&own).chain(older.iter().copied()).collect();
    let (list, _) = sign::open::<Revocations>(path, keys).map_err(|error| match error.code {
        Code::UnknownSigner => Error::new(error.code, error.to_string())
            .with_hint("the list was signed with an older key of yours: name its public half with `--retired`"),
        _ => error,
    })?;
    Ok(Revocations { vendor, ..list })
}

/// The bundles that these words name.
fn chosen(held: &[Held], words: &[String]) -> Result<Vec<Sha256>> {
    let mut chosen = Vec::new();
    for word in words {
        let names = |h: &&Held| {
            h.holding.customer == *word || (word.len() >= SHORT && h.holding.bundle.to_string().starts_with(word))
        };
        let found: Vec<_> = held.iter().filter(names).map(|h| h.holding.bundle).collect();
        if found.is_empty() {
            return Err(Error::new(Code::Usage, format!("no bundle and no customer in the ledger: {word}"))
                .with_hint(format!("`sealwright ledger` lists them; a bundle is named by {SHORT} digits or more")));
        }
        chosen.extend(found);
    }
    Ok(chosen)
}

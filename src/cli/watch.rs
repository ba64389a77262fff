//! `sealwright check --watch`: what was shipped, judged again by the facts, the policy and the figures of today.

use super::Answer;
use super::preflight::Preflight;
use super::report;
use super::say::Say;
use sealwright::error::{AtPath as _, Code, Error, Result};
use sealwright::license::{self, Ruling, Shipped, Use, Watched};
use sealwright::product::{self, Product};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Where `pack` keeps what it judged, in the product's state folder.
pub const SHIPPED: &str = "shipped";

/// Judges each record again; a product folder stands for all of its records.
pub fn run(paths: &[PathBuf], preflight: &Preflight, say: &Say) -> Result<Answer> {
    let policies = preflight.policies()?;
    let now = jiff::Timestamp::now();
    let mut watched = Vec::new();
    for file in paths.iter().map(|path| records(path)).collect::<Result<Vec<_>>>()?.concat() {
        let shipped = Shipped::read(&file)?;
        let (stated, rulings) = today(&file, preflight)?;
        let found = shipped.judge_again(stated.as_ref(), &rulings, &policies, now);
        watched.push((file, shipped, found));
    }
    let worse = watched.iter().any(|(_, _, found)| found.is_worse());
    if say.is_json() {
        let entry = |(file, shipped, found): &(PathBuf, Shipped, Watched)| {
            json!({
                "file": file,
                "product": shipped.product,
                "customer": shipped.customer,
                "bundle": shipped.bundle,
                "shipped": shipped.on,
                "worse": found.is_worse(),
                "unchanged": found.is_unchanged(),
                "since": found,
            })
        };
        say.json(&json!({"worse": worse, "watched": watched.iter().map(entry).collect::<Vec<_>>()}));
    } else {
        watched.iter().for_each(|(_, shipped, found)| say.data(&report::watched(shipped, found)));
    }
    Ok(if worse { Answer::Review } else { Answer::Yes })
}

/// The records that a path stands for.
fn records(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let folder = product::state_folder(path).join(SHIPPED);
    let mut files = Vec::new();
    if folder.is_dir() {
        for entry in std::fs::read_dir(&folder).at(&folder)? {
            files.extend(Some(entry.at(&folder)?.path()).filter(|p| p.extension().is_some_and(|e| e == "json")));
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Error::new(Code::Usage, format!("nothing shipped is on record here: {}", path.display()))
            .with_hint("`sealwright pack` keeps a record of what it judged; name a product folder or such a record"));
    }
    Ok(files)
}

/// What the product file beside a record says of the vendor today, and today's rulings; nothing where there is none.
fn today(record: &Path, preflight: &Preflight) -> Result<(Option<Use>, Vec<Ruling>)> {
    let folder = record.ancestors().nth(3).map(|f| if f.as_os_str().is_empty() { Path::new(".") } else { f });
    let Some(folder) = folder.filter(|f| f.join(product::FILE_NAME).is_file()) else {
        return Ok((None, Vec::new()));
    };
    let product = Product::read(folder)?;
    let rulings = license::read_rulings(&preflight.rulings(&product))?;
    Ok((Some(super::preflight::declared(&product)?), rulings))
}

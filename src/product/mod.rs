//! `sealwright.toml`: one file that describes the whole job. The cli turns it into each room's own plan.

mod base;
mod customer;
mod data;
mod declared_use;
mod train;
mod vendor;

pub use base::{Base, Quantize};
pub use customer::{Customer, USES};
pub use data::{Data, Format, Origin, Origins};
pub use declared_use::{Covered, Grant, Ship, Use};
pub use train::{Compute, Derivative, Eval, Match, Targets, Train};
pub use vendor::{Key, Name, Users, Vendor};

use crate::error::{Code, Error, Result};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The name of the product file in its folder.
pub const FILE_NAME: &str = "sealwright.toml";
/// A product file may not be larger than this.
pub const MAX_BYTES: u64 = 1 << 20;

/// The product file, checked: names are well formed, and what contradicts itself is refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Product {
    /// Who sells.
    pub vendor: Vendor,
    /// What is sold.
    pub product: Name,
    /// What it is made from.
    pub base: Base,
    /// What the vendor means to do: the question that the pre-flight answers.
    #[serde(rename = "use")]
    pub declared_use: Use,
    /// What the vendor already holds from a licensor.
    #[serde(default, rename = "grant")]
    pub grants: Vec<Grant>,
    /// What it is trained on.
    #[serde(default)]
    pub data: Vec<Data>,
    /// How it is trained; or else `derivative`.
    pub train: Option<Train>,
    /// What another trainer made; or else `train`.
    pub derivative: Option<Derivative>,
    /// Held-out questions, asked before and after training.
    pub eval: Option<Eval>,
    /// Who gets a bundle.
    #[serde(default, rename = "customer")]
    pub customers: Vec<Customer>,
    /// The folder that the product file stands in; paths in it are relative to this.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// What the program keeps of the product in this folder.
pub fn state_folder(product: &Path) -> PathBuf {
    product.join(".sealwright")
}

impl Product {
    /// Reads and checks the product file of a folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE_NAME);
        if !path.is_file() {
            return Err(Error::new(Code::Usage, format!("no product file: {}", path.display()))
                .with_hint("name a product folder, or begin one with `sealwright init`"));
        }
        let text = crate::data::read_text(&path, MAX_BYTES)?;
        let mut product: Self = crate::data::parse(&path, &text)?;
        product.folder = folder.to_owned();
        product.check(&path)?;
        Ok(product)
    }

    /// A path of the product file, as one that can be opened.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// What the program remembers of this product: checkpoints, stages, the development key.
    pub fn state_folder(&self) -> PathBuf {
        state_folder(&self.folder)
    }

    fn check(&self, path: &Path) -> Result<()> {
        self.check_names(path)?;
        self.check_data(path)?;
        self.base.check(path)?;
        self.customers.iter().try_for_each(|customer| customer.check(path))?;
        match (&self.train, &self.derivative) {
            (Some(_), Some(_)) => Err(refuse(
                path,
                "both [train] and [derivative] stand here",
                "keep [train] to make an adapter, [derivative] to ship one that was made elsewhere",
            )),
            (None, None) if self.declared_use.ship != Ship::Nothing => Err(refuse(
                path,
                "neither [train] nor [derivative] stands here",
                "add [train]; an empty one has good defaults",
            )),
            (Some(train), None) => {
                train.check(path)?;
                match self.data.is_empty() {
                    true => Err(refuse(path, "[train] has nothing to learn from", "add a [[data]] table")),
                    false => Ok(()),
                }
            }
            (None, _) => Ok(()),
        }
    }

    /// Each file once.
    fn check_data(&self, path: &Path) -> Result<()> {
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = self.data.iter().find(|d| !seen.insert(&d.path)) {
            let message = format!("two [[data]] tables name {}", twice.path.display());
            return Err(refuse(path, message, "name each file once; `origin` may be a list"));
        }
        Ok(())
    }

    fn check_names(&self, path: &Path) -> Result<()> {
        let customers = self.customers.iter().map(|c| ("customer.name", &c.name));
        for (key, name) in std::iter::once(("product.name", &self.product.name)).chain(customers) {
            if !is_name(name) {
                let message = format!("{key} must be made of a-z, 0-9 and -: {name}");
                let hint = "the name becomes part of a file name; put what people read into `title`";
                return Err(refuse(path, message, hint));
            }
        }
        if !is_version(&self.product.version) {
            let message = format!("product.version must be made of digits, letters and dots: {}", self.product.version);
            return Err(refuse(path, message, "for example 1.0.0"));
        }
        let mut seen = std::collections::BTreeSet::new();
        match self.customers.iter().find(|c| !seen.insert(&c.name)) {
            Some(twice) => Err(refuse(
                path,
                format!("two customers have the name {}", twice.name),
                "a bundle is named after its customer; give each its own name",
            )),
            None => Ok(()),
        }
    }
}

fn refuse(path: &Path, message: impl std::fmt::Display, hint: &str) -> Error {
    Error::input(path, message).with_hint(hint)
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with('-')
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

fn is_version(version: &str) -> bool {
    (1..=64).contains(&version.len())
        && version.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !version.ends_with('.')
        && version.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = r#"
[vendor]
name = "Example Works"
[product]
name = "helpdesk"
title = "Example Helpdesk"
version = "1.0.0"
[base]
path = "base"
[use]
ship = "nothing"
terms = "closed"
commercial = true
"#;

    fn read(text: &str) -> Result<Product> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE_NAME), text).unwrap();
        Product::read(dir.path())
    }

    #[test]
    fn the_smallest_product_is_read() {
        assert_eq!(read(SMALLEST).unwrap().product.name, "helpdesk");
    }

    #[test]
    fn contradictions_are_refused() {
        let customer = "[[customer]]\nname = \"acme\"\nrecipients = [\"age1x\"]\nuntil = \"2027-12-31\"\n";
        for (text, said) in [
            (SMALLEST.replace("helpdesk\"\nt", "Help Desk\"\nt"), "product.name must be"),
            (SMALLEST.replace("path = \"base\"", ""), "names no base"),
            (SMALLEST.replace("path =", "hub = \"a/b\"\npath ="), "both base.path and base.hub"),
            (SMALLEST.replace("path =", "revision = \"main\"\npath ="), "of no use with base.path"),
            (SMALLEST.replace("\"nothing\"", "\"adapter\""), "neither [train] nor [derivative]"),
            (format!("{SMALLEST}[train]\nsteps = 0\n"), "train.steps must be above 0"),
            (format!("{SMALLEST}[train]\nsteps = 1\nepochs = 1.0\n"), "both set"),
            (format!("{SMALLEST}[train]\n"), "nothing to learn from"),
            (format!("{SMALLEST}{customer}{customer}"), "two customers"),
            (format!("{SMALLEST}{customer}uses = [\"fly\"]\n"), "unknown use: fly"),
            (format!("{SMALLEST}[tran]\n"), "unknown field `tran`"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.to_string().contains(said), "{said}: {error}");
            assert!(error.hint().is_some(), "{said}: no hint");
        }
    }
}

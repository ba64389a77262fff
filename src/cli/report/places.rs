//! Where a finding can be put right: the line of the product file, or the file of the base's folder, that it rests on.
//! Addresses are as the folder was named, never absolute where that wasn't.

use sealwright::data;
use sealwright::error::Result;
use sealwright::license::Finding;
use sealwright::product::{self, Product};
use std::path::{Component, Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A file and a line in it; a whole file is pointed at by its first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A relative address, percent-encoded.
    pub uri: String,
    /// From 1.
    pub line: usize,
}

/// The product file, to be pointed into.
pub struct Places {
    path: PathBuf,
    text: String,
    data: Vec<String>,
}

/// Term of a finding → table and key of the product file that it turns on.
const KEYS: [(&str, &str, &str); 20] = [
    ("commercial-use", "use", "commercial"),
    ("register", "use", "commercial"),
    ("request-licence", "use", "commercial"),
    ("derivative-distribution", "use", "ship"),
    ("adapter-status", "use", "ship"),
    ("hosting-is-distribution", "use", "ship"),
    ("derivative-own-terms", "use", "terms"),
    ("use-flow-down", "use", "terms"),
    ("share-alike", "use", "terms"),
    ("same-licence", "use", "terms"),
    ("field-of-use", "use", "fields"),
    ("territory", "use", "territory"),
    ("output-training", "use", "trains-models-on-outputs"),
    ("limit", "vendor", "monthly-active-users"),
    ("watch-limit", "vendor", "monthly-active-users"),
    ("name-prefix", "product", "title"),
    ("country", "vendor", "country"),
    ("not-provider-kind", "vendor", "business"),
    ("no-further-limits", "use", "redistribution"),
    ("declared", "use", "ship"),
];

impl Places {
    /// Reads the product file once more, for its lines.
    pub fn read(product: &Product) -> Result<Self> {
        let path = product.resolve(Path::new(product::FILE_NAME));
        let text = data::read_text(&path, product::MAX_BYTES)?;
        Ok(Self { path, text, data: product.data.iter().map(|d| d.path.display().to_string()).collect() })
    }

    /// The places of a finding on this base, what can be changed first.
    pub fn of(&self, finding: &Finding, base: &Path) -> Vec<Place> {
        let key = KEYS.iter().find(|(term, ..)| *term == finding.term);
        let declared = match (&finding.customer, key) {
            (Some(name), _) => self.entry("customer", "name", name),
            _ if self.data.contains(&finding.subject) => self.entry("data", "path", &finding.subject),
            _ if matches!(finding.code.name(), "grant-not-applied" | "grant-unused") => {
                self.entry("grant", "reference", &finding.subject)
            }
            _ if finding.code.name() == "no-license" && finding.subject != "base" => {
                self.key("derivative", "path").or_else(|| self.key("train", "init"))
            }
            (None, Some((_, table, key))) => self.key(table, key),
            _ => None,
        };
        let declared = declared.map(|line| self.line(line));
        let places: Vec<Place> = declared
            .into_iter()
            .chain(evidence(&finding.subject, base).or_else(|| self.beside(&finding.subject)))
            .collect();
        if places.is_empty() {
            let key = self.key("base", "license-text").filter(|_| finding.code.name() == "text-vouched");
            return key
                .or_else(|| self.key("base", "path").or_else(|| self.key("base", "hub")))
                .map(|line| self.line(line))
                .into_iter()
                .collect();
        }
        places
    }

    /// The file of an adapter's folder, named from the product's.
    fn beside(&self, subject: &str) -> Option<Place> {
        evidence(subject, self.path.parent()?).filter(|_| subject.contains('/'))
    }

    /// The product file and the line of this key: in the entry of an array of tables that has this value, or in a table.
    pub fn path_of(&self, table: &str, key: &str, value: &str) -> PathBuf {
        let line = self.entry(table, key, value).or_else(|| self.key(table, key));
        line.map_or_else(|| self.path.clone(), |line| format!("{}:{line}", self.path.display()).into())
    }

    fn line(&self, line: usize) -> Place {
        Place { uri: uri(&self.path), line }
    }

    /// The line of a key; of its table where the key was left out.
    fn key(&self, table: &str, key: &str) -> Option<usize> {
        let root = DeTable::parse(&self.text).ok()?;
        let (name, value) = find(root.get_ref(), table)?;
        let inner = value.get_ref().as_table().and_then(|t| find(t, key));
        Some(self.line_at(inner.map_or(name, |(name, _)| name)))
    }

    /// The line where an entry of an array of tables has this value.
    fn entry(&self, table: &str, key: &str, value: &str) -> Option<usize> {
        let root = DeTable::parse(&self.text).ok()?;
        let (_, entries) = find(root.get_ref(), table)?;
        let named = |e: &Spanned<DeValue<'_>>| {
            let (name, found) = find(e.get_ref().as_table()?, key)?;
            (found.get_ref().as_str() == Some(value)).then(|| self.line_at(name))
        };
        entries.get_ref().as_array()?.iter().find_map(named)
    }

    fn line_at(&self, at: usize) -> usize {
        self.text[..at.min(self.text.len())].matches('\n').count() + 1
    }
}

/// Where a key begins, and its value.
fn find<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Option<(usize, &'t Spanned<DeValue<'i>>)> {
    table.iter().find(|(name, _)| name.get_ref() == key).map(|(name, value)| (name.span().start, value))
}

/// The file of the base's folder that a finding is about.
fn evidence(subject: &str, base: &Path) -> Option<Place> {
    let name = if subject == "card" { "README.md" } else { subject };
    let inside = Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
    let path = base.join(name);
    (inside && path.is_file()).then(|| Place { uri: uri(&path), line: 1 })
}

/// A path as an address: without `.` and what `..` takes back, percent-encoded.
fn uri(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir if parts.last().is_some_and(|p| p != "..") => drop(parts.pop()),
            Component::ParentDir => parts.push("..".into()),
            Component::Normal(name) => parts.push(encoded(&name.to_string_lossy())),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    let root = if path.is_absolute() { "file:///" } else { "" };
    root.to_owned() + &parts.join("/")
}

fn encoded(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_plain_and_relative() {
        assert_eq!(uri(Path::new("./shop/../shop/my base/LICENSE")), "shop/my%20base/LICENSE");
        assert_eq!(uri(Path::new("../a/./b")), "../a/b");
        assert_eq!(uri(Path::new("/a/b")), "file:///a/b");
    }

    #[test]
    fn lines_are_those_of_the_keys() {
        let text =
            "[use]\nship = \"adapter\"\ncommercial = true\n\n[[customer]]\nname = \"a\"\n[[customer]]\nname = \"b\"\n";
        let places = Places { path: "p.toml".into(), text: text.into(), data: vec![] };
        assert_eq!(places.key("use", "commercial"), Some(3));
        assert_eq!(places.key("use", "fields"), Some(1));
        assert_eq!(places.key("vendor", "country"), None);
        assert_eq!(places.entry("customer", "name", "b"), Some(8));
        assert_eq!(places.entry("customer", "name", "c"), None);
    }
}

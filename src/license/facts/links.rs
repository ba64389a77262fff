//! Where an address in a card leads: to a known licence text, to the base's own file, or to nothing that is known.
//! Nothing is fetched: a record lists the addresses of its texts, and the lineage knows the hub's models.

use crate::license::evidence::subject::Subject;
use crate::license::facts::policy::Policies;
use crate::license::facts::record::Record;

/// What stands at an address.
pub(in crate::license) enum Target<'p> {
    /// The text of one of these. `read`: was that read anywhere, or is it general knowledge?
    Records { of: Vec<&'p Record>, read: bool },
    /// A file of the base, which is judged itself.
    OwnFile,
    /// Nobody here knows; why.
    Unknown(&'static str),
}

/// Follows an address of a card, or a file's name.
pub(in crate::license) fn follow<'p>(address: &str, subject: &Subject, policies: &'p Policies) -> Target<'p> {
    let plain = plain(address);
    let is_here = |file: &str| {
        let file = file.trim_start_matches("./");
        subject.texts.iter().any(|t| t.name.eq_ignore_ascii_case(file))
    };
    let leads = |r: &&Record| r.links.contains(&plain) || r.links_unread.contains(&plain);
    let of: Vec<&Record> = policies.records().filter(leads).collect();
    if !of.is_empty() {
        let read = of.iter().any(|r| r.links.contains(&plain));
        return Target::Records { of, read };
    }
    if !address.contains("://") {
        return if is_here(address) { Target::OwnFile } else { Target::Unknown("no such file is in the folder") };
    }
    let Some((repository, file)) = on_the_hub(&plain) else { return Target::Unknown("what stands there was not read") };
    let names = subject.names();
    if names.iter().any(|name| name.eq_ignore_ascii_case(&repository)) && is_here(&file) {
        return Target::OwnFile;
    }
    let model = policies.lineage().find(&repository).filter(|model| model.is_certain());
    match model.and_then(|model| policies.record(&model.license)) {
        Some(record) => Target::Records { of: vec![record], read: true },
        None => Target::Unknown("what stands there was not read"),
    }
}

/// An address without what changes nothing: `https://www.`, a revision, the end of a text's name.
pub(in crate::license) fn plain(address: &str) -> String {
    let address = address.trim().to_lowercase();
    let rest = address.split_once("://").map_or(address.as_str(), |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or(rest).trim_start_matches("www.");
    let rest = rest.replacen("raw.githubusercontent.com/", "github.com/", 1).replacen("hf.co/", "huggingface.co/", 1);
    let mut parts: Vec<&str> = rest.trim_end_matches('/').split('/').collect();
    let of_code = matches!(parts[0], "github.com" | "huggingface.co");
    match parts.get(3).copied() {
        Some("blob" | "raw" | "resolve" | "tree") if of_code && parts.len() > 5 => drop(parts.drain(3..5)),
        Some(_) if address.contains("raw.githubusercontent.com/") && parts.len() > 4 => drop(parts.remove(3)),
        _ => {}
    }
    let rest = parts.join("/");
    let ends = [".txt", ".html", ".htm", ".md", ".php", "/legalcode", "/deed", ".en", "/legalcode.en", "/deed.en"];
    let end = ends.iter().filter(|end| rest.ends_with(**end)).max_by_key(|end| end.len());
    end.map_or(rest.clone(), |end| rest[..rest.len() - end.len()].to_owned())
}

/// `owner/name` and the file, of an address on the hub.
fn on_the_hub(plain: &str) -> Option<(String, String)> {
    let mut parts = plain.strip_prefix("huggingface.co/")?.splitn(3, '/');
    let (owner, name, file) = (parts.next()?, parts.next()?, parts.next()?);
    Some((format!("{owner}/{name}"), file.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_without_what_changes_nothing() {
        for (address, wanted) in [
            ("https://www.apache.org/licenses/LICENSE-2.0.txt", "apache.org/licenses/license-2.0"),
            ("http://creativecommons.org/licenses/by-nc/4.0/legalcode.en", "creativecommons.org/licenses/by-nc/4.0"),
            ("https://github.com/a/b/blob/main/LICENSE", "github.com/a/b/license"),
            ("https://raw.githubusercontent.com/a/b/0123/x/LICENSE.md", "github.com/a/b/x/license"),
            ("https://hf.co/a/b/resolve/main/LICENSE?download=true", "huggingface.co/a/b/license"),
            ("https://huggingface.co/a/b", "huggingface.co/a/b"),
            ("LICENSE", "license"),
            ("", ""),
        ] {
            assert_eq!(plain(address), wanted, "{address}");
        }
        assert_eq!(on_the_hub("huggingface.co/a/b/license"), Some(("a/b".into(), "license".into())));
        assert_eq!(on_the_hub("huggingface.co/a/b"), None);
    }
}

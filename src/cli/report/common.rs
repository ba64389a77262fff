//! What all forms of the report share: the order of findings and duties, and the words over them.

use super::super::say::visible;
use sealwright::license::{
    DoneBy, Finding, How, Listed, Obligation, ReadText, Reading, Report, Ruled, Severity, Standing,
};
use std::path::PathBuf;

/// A base and what was found on it.
pub struct Judged {
    /// As it was named.
    pub name: String,
    /// The folder that its evidence was read in.
    pub base: PathBuf,
    /// What the licences say.
    pub report: Report,
}

/// Digits of a digest that tell texts apart for a person.
const SHOWN: usize = 12;

/// The worst first; what the licence lays duties by stands with the duties.
const FINDINGS: [(Severity, &str); 3] =
    [(Severity::Deny, "forbidden"), (Severity::Review, "a person must look"), (Severity::Note, "good to know")];

const DUTIES: [(DoneBy, &str); 3] = [
    (DoneBy::Pack, "duties that `sealwright pack` does"),
    (DoneBy::Check, "duties that the pre-flight checks"),
    (DoneBy::Vendor, "duties that are yours"),
];

/// The findings under their titles; a title without findings is left out.
pub fn findings(report: &Report) -> impl Iterator<Item = (&'static str, Vec<&Finding>)> {
    let of = |severity| report.findings().iter().filter(|f| f.severity == severity).collect::<Vec<_>>();
    FINDINGS.into_iter().map(move |(severity, title)| (title, of(severity))).filter(|(_, of)| !of.is_empty())
}

/// The duties under their titles; a title without duties is left out.
pub fn duties(report: &Report) -> impl Iterator<Item = (&'static str, Vec<&Obligation>)> {
    let of = |done_by| report.obligations().iter().filter(|o| o.done_by == done_by).collect::<Vec<_>>();
    DUTIES.into_iter().map(move |(done_by, title)| (title, of(done_by))).filter(|(_, of)| !of.is_empty())
}

/// `1 duty is`, `3 duties are`.
pub fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// A severity as policies write it.
pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Obligation => "obligation",
        Severity::Review => "review",
        Severity::Deny => "deny",
    }
}

/// How a licence is known: `similar 93 %`.
pub fn how(listed: &Listed) -> String {
    let how = match listed.how {
        How::Text => "text",
        How::Similar => "similar",
        How::Card => "card",
        How::Lineage => "lineage",
        How::Data => "data",
    };
    listed.score.map_or(how.to_owned(), |score| format!("{how} {:.0} %", (score * 100.0).min(99.0)))
}

/// Where the licence says it: `MIT, clause 1`.
pub fn clause(finding: &Finding) -> Option<String> {
    let license = finding.license.as_ref()?;
    let said = match finding.clause.as_deref() {
        None => license.clone(),
        Some("silent") => format!("{license}, which is silent on it"),
        Some(clause) => clause_of(license, clause),
    };
    Some(if finding.path.is_empty() { said } else { format!("{said}, by {}", way(&finding.path)) })
}

/// What a licence is of; of a parent's parent, the way to it.
pub fn of(listed: &Listed) -> String {
    if listed.path.len() > 1 { way(&listed.path) } else { visible(&listed.of) }
}

/// From the base to a parent: `base -> parent -> grandparent`.
fn way(path: &[String]) -> String {
    std::iter::once("base".to_owned()).chain(path.iter().map(|name| visible(name))).collect::<Vec<_>>().join(" -> ")
}

/// A numbered clause is called one; what has a name of its own (`Attachment A`, `use policy, item 3`) is not.
pub fn clause_of(license: &str, clause: &str) -> String {
    let numbered = clause.starts_with(|c: char| c.is_ascii_digit());
    format!("{license}, {}{clause}", if numbered { "clause " } else { "" })
}

/// How a record was read, when, and from which texts; digests cut to [`SHOWN`] digits, the JSON report has them whole.
pub fn reading(reading: &Reading) -> String {
    let how = match reading.standing {
        Standing::Read => "read whole",
        Standing::ReadPart => "read in part",
        Standing::ReadmeOnly => "not read itself, a card or a repository was",
        Standing::GeneralKnowledge => "not read, general knowledge written down",
        Standing::AddressOnly => "not read, an address found",
    };
    let digest = |t: &ReadText| t.sha256.map(|digest| digest.to_string()[..SHOWN].to_owned());
    let mut texts: Vec<String> = reading.texts.iter().filter_map(digest).collect();
    texts.dedup(); // one text, from two sources
    let from = if texts.is_empty() { String::new() } else { format!(" from {}", texts.join(", ")) };
    format!("{how} on {}{from}", reading.read_on)
}

/// Who lifted a finding, and by which key.
pub fn lifted(ruled: &Ruled) -> String {
    let key = ruled.key.map_or(String::new(), |key| format!(", signed with key {key}"));
    format!("lifted by a ruling of {} on {}{key}", visible(&ruled.by), ruled.on)
}

/// The line that decided, with its reason where it gives one.
pub fn policy(finding: &Finding) -> String {
    finding
        .policy_reason
        .as_ref()
        .map_or(finding.policy.clone(), |why| format!("{} ({})", finding.policy, visible(why)))
}

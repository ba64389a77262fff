//! A contract annex, drafted out of the duties that flow down to the customer: our own words, each with its clause.
//! Where a clause wants exact words, it names the clause and the file that has them.

use crate::license::declared::{Ship, Use};
use crate::license::facts::policy::Policies;
use crate::license::facts::record::{FlowDown, LitigationEnds, MayChange, Open, Record, RemoteRestriction, Revocable};
use crate::license::rules::chain::Chain;
use crate::license::rules::obligations::Obligation;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const HEAD: &str = "Draft, made from recorded facts about licence texts. It is no legal advice: counsel fits it into the \
    contract. The words are not those of the licences; where they differ, the clause that is named decides.";

/// The whole draft. It names no customer and no day, so its digest changes only with what it says.
pub fn draft(chain: &Chain<'_>, declared: &Use, duties: &[Obligation], policies: &Policies) -> String {
    let mut records: Vec<&Record> = Vec::new();
    for member in &chain.members {
        if !records.iter().any(|r| r.id == member.record.id) {
            records.push(member.record);
        }
    }
    let mut out = format!(
        "# Annex: what the licences behind {} ask of the customer\n\n{HEAD}\n\nVendor: {}\n",
        plain(&declared.title),
        plain(&declared.vendor)
    );
    let sections = [
        ("Licences that go with the product", licences(&records, duties, declared)),
        ("Uses that are not allowed", uses(&records, duties, policies)),
        ("Handing on", handing_on(duties, declared)),
        ("Names and marks", of(duties, &NAMES)),
        ("Outputs", of(duties, &OUTPUTS)),
        ("Where", of(duties, &PLACES)),
        ("End", end(&records, duties)),
        ("Risk", of(duties, &RISK)),
        ("Open questions", questions(&records)),
    ];
    let filled = sections.iter().filter(|(_, lines)| !lines.is_empty());
    for (number, (title, lines)) in filled.enumerate() {
        let _ = writeln!(out, "\n## {}. {title}\n", number + 1);
        lines.iter().for_each(|line| out.push_str(&format!("{line}\n")));
    }
    out
}

/// A kind of duty, and what the customer is told of it.
type Lines = [(&'static str, &'static str)];

const NAMES: [(&str, &str); 4] = [
    ("name-prefix", "A name under which the customer hands on the product begins with the set word"),
    ("display-mark", "Where the customer shows the product to users, the set words are shown"),
    ("public-statement", "What the customer says of the product in public carries the set words"),
    ("no-endorsement", "The customer says nothing that suggests that the base's licensor made or approves the product"),
];

const OUTPUTS: [(&str, &str); 2] = [
    ("no-output-training", "The customer does not use outputs of the product to train or improve other models"),
    (
        "disclose-ai",
        "The customer tells those who meet outputs that a machine made them, and of dangers that are known",
    ),
];

const PLACES: [(&str, &str); 1] =
    [("limit-territory", "The customer does not use, host or hand on the product where the licence does not reach")];

const RISK: [(&str, &str); 2] = [
    ("indemnify", "What the vendor owes the licensor for the customer's use, the customer owes the vendor"),
    ("watch-limit", "The customer tells the vendor before its users or revenue reach a line that the licence draws"),
];

const ON: [(&str, &str); 8] = [
    ("ship-licence-text", "with the licence's text"),
    ("ship-use-policy", "with the use policy"),
    ("notice-file", "with NOTICE, its set words unchanged"),
    ("retain-notices", "with every notice that came with it"),
    ("state-changes", "and says what it changed, and that the vendor changed the base"),
    ("attribute-source", "and names the source"),
    ("disclaimer-words", "with the set disclaimer"),
    ("same-licence", "under the same licence"),
];

/// A line for each duty of these kinds.
fn of(duties: &[Obligation], lines: &Lines) -> Vec<String> {
    let said = |(kind, line): &(&str, &str)| {
        duties.iter().filter(|d| d.term == *kind).map(|d| bullet(line, d)).collect::<Vec<_>>()
    };
    lines.iter().flat_map(said).collect()
}

fn bullet(line: &str, duty: &Obligation) -> String {
    let words = duty.words.as_ref().map_or(String::new(), |w| format!(": “{}”", plain(w)));
    format!("- {line}{words} ({}).", cited(&duty.license, &duty.clause))
}

fn cited(license: &str, clause: &str) -> String {
    if clause == "silent" { license.to_owned() } else { format!("{license}, {}", plain(clause)) }
}

fn licences(records: &[&Record], duties: &[Obligation], declared: &Use) -> Vec<String> {
    let mut lines = vec!["The product is made from a base model under:".to_owned(), String::new()];
    for record in records {
        let file = |kind: &str| duties.iter().find(|d| d.license == record.id && d.term == kind)?.met_by.clone();
        let files: Vec<String> = ["ship-licence-text", "ship-use-policy"].into_iter().filter_map(file).collect();
        let files = if files.is_empty() { String::new() } else { format!(": {}", files.join(", ")) };
        lines.push(format!("- {} ({}){files}", record.name, record.id));
    }
    if declared.ship != Ship::Nothing {
        lines.push(String::new());
        lines.push("The files named, and NOTICE, came with the product. The customer keeps them with it.".to_owned());
    }
    lines
}

/// The restricted fields, each with the clauses that restrict it.
fn uses(records: &[&Record], duties: &[Obligation], policies: &Policies) -> Vec<String> {
    let mut fields: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for record in records {
        record.field_of_use.iter().for_each(|field| fields.entry(field).or_default().push(&record.id));
    }
    if fields.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![
        "The customer does not use the product for any of these, and lets nobody else. This is a term of the contract \
         that the vendor may enforce; on a breach the vendor may end the contract. The customer tells its users of it."
            .to_owned(),
        String::new(),
    ];
    for (field, ids) in fields {
        let meaning = policies.field_meaning(field).unwrap_or(field);
        lines.push(format!("- {meaning} (`{field}`: {})", ids.join(", ")));
    }
    lines.push(String::new());
    for record in records.iter().filter(|r| !r.field_of_use.is_empty()) {
        lines.push(format!("{} {}", record.id, flow(record, duties)));
    }
    lines
}

/// How far a licence's limits must flow, with the clauses.
fn flow(record: &Record, duties: &[Obligation]) -> String {
    let duty = duties.iter().find(|d| d.license == record.id && d.term == "flow-down-terms");
    let clause = duty.map_or_else(|| record.clause("use-flow-down"), |d| &d.clause);
    let clause = if clause == "silent" { String::new() } else { format!(" (clause {})", plain(clause)) };
    let how = match record.use_flow_down {
        FlowDown::EnforceableTerms => "wants these limits as terms that can be enforced against the customer",
        FlowDown::PolicyBindsLicensee => "binds the vendor by its use policy; handing it on is prudent",
        FlowDown::Copy => "hands its limits on with its text",
        FlowDown::None => "asks for no such term; its limits bind whoever holds it",
    };
    format!("{how}{clause}. The limits stand in clause {}.  ", plain(record.clause("field-of-use")))
}

fn handing_on(duties: &[Obligation], declared: &Use) -> Vec<String> {
    if declared.ship == Ship::Nothing {
        return Vec::new();
    }
    let mut lines = of(duties, &ON);
    if !lines.is_empty() {
        let first = "Where the contract lets the customer hand on the product or something made from it, it does so:";
        lines.splice(0..0, [first.to_owned(), String::new()]);
    }
    lines
}

/// How it ends, and what then.
fn end(records: &[&Record], duties: &[Obligation]) -> Vec<String> {
    let mut lines = of(
        duties,
        &[(
            "delete-on-termination",
            "When the base's licence ends, the customer stops using the product and deletes it",
        )],
    );
    for record in records {
        let mut say = |fact: &str, line: &str| {
            lines.push(format!("- {line} ({}).", cited(&record.id, record.clause(fact))));
        };
        match record.revocable {
            Revocable::AtWill => say("revocable", "The licensor may end the licence at any time"),
            Revocable::Revocable => say("revocable", "The text does not rule out that the licensor ends the licence"),
            Revocable::Irrevocable | Revocable::OnBreach => {}
        }
        match record.litigation_ends {
            LitigationEnds::None => {}
            LitigationEnds::PatentOnly => say("litigation-ends", "Patent rights end for whoever sues over patents"),
            LitigationEnds::AllRights => say("litigation-ends", "All rights end for whoever sues the licensor over it"),
            LitigationEnds::CopyrightOrPatent => {
                say("litigation-ends", "Rights end for whoever sues over copyright or patents");
            }
        }
        if record.remote_restriction == RemoteRestriction::Yes {
            say("remote-restriction", "The licensor may restrict the model from afar; the customer follows it");
        }
        if record.licensor_may_change_terms != MayChange::No {
            say(
                "licensor-may-change-terms",
                "The licensor may change terms; the customer takes what the vendor hands on",
            );
        }
    }
    lines
}

/// What law or text leaves open and answers with different effect.
fn questions(records: &[&Record]) -> Vec<String> {
    let open = |r: &&Record| {
        let of = r.questions.iter().filter(|q| q.open == Open::Review);
        of.map(|q| format!("- {} ({})", plain(&q.text), r.id)).collect::<Vec<_>>()
    };
    records.iter().flat_map(open).collect()
}

/// Text of a record or a product file, on one line and without markup.
fn plain(text: &str) -> String {
    let markup = |c: char| matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|');
    let mut out = String::new();
    for c in text.split_whitespace().collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()) {
        if markup(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn no_text_is_markup() {
        assert_eq!(plain("a\n# b <i>*x*</i>"), "a \\# b \\<i\\>\\*x\\*\\</i\\>");
    }
}

//! The licence texts of a folder: what each is, and what binds by it.

use crate::license::evidence::subject::{Claim, Subject, TextFile};
use crate::license::facts::identify::{Identity, differences, identify};
use crate::license::facts::policy::Policies;
use crate::license::facts::record::Role;
use crate::license::finding::FindingCode as F;
use crate::license::rules::chain::Chain;
use crate::license::rules::claims::confirmed;
use crate::license::rules::judge::Judge;
use crate::license::rules::member::How;
use crate::license::text::clauses::Difference;
use crate::license::text::expression;

/// A finding names no more differences of one text than this.
const MAX_TOLD: usize = 5;

/// Identifies one file; findings on it go to `judge`.
pub fn read<'p>(chain: &mut Chain<'p>, file: &TextFile, subject: &Subject, judge: &mut Judge<'p>) {
    let Some(text) = file.text() else {
        judge.evidence(
            F::TextUnreadable,
            &file.name,
            format!("not a UTF-8 text: {}", file.name),
            "put a plain text of the licence beside it and rule on this file",
        );
        return;
    };
    let identity = identify(text, judge.policies);
    if file.vouched && !confirmed(identity.ids(), &file.name, subject, judge) {
        judge.evidence(
            F::TextVouched,
            &file.name,
            format!("the vendor vouches that {} is the base's licence, and nothing else says so", file.name),
            "keep a record of where the text came from, and rule on it",
        );
    }
    match identity {
        Identity::Known(known) => add_known(chain, known, file, judge.policies),
        Identity::Several(known, rest) => {
            let ids = known.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(" and ");
            similar(judge, file, format!("{} holds the texts of {ids}, and other words: \"{rest}\"", file.name), &ids);
            add_known(chain, known, file, judge.policies);
        }
        Identity::Similar(id, role, score) => {
            let what = if role == Role::UsePolicy { "the use policy of " } else { "" };
            let told = told(&differences(text, &id, role, judge.policies));
            // an altered word in a long text is a difference, however few are
            let alike = (score * 100.0).min(99.0);
            let message = format!("{} resembles {what}{id} ({alike:.0} %) but is not its text{told}", file.name);
            similar(judge, file, message, &id);
            chain.list(Some(&id), &file.name, How::Similar, Some((score * 1000.0).round() / 1000.0));
            if role == Role::UsePolicy {
                chain.use_policies.push((vec![id], file.clone()));
            } else {
                chain.add(&id, &file.name, How::Similar, Some(file.bytes.clone()), judge.policies);
            }
        }
        Identity::Unknown => match expression::header(text) {
            Some(named) => chain.headers.push(Claim { license: named.to_owned(), by: "licence file" }),
            None => {
                judge.evidence(
                    F::TextUnknown,
                    &file.name,
                    format!("{} is like no text that is known", file.name),
                    "have a lawyer read it; add a record to the policies, or rule on it",
                );
                chain.list(None, &file.name, How::Text, None);
            }
        },
    }
}

/// Whole known texts: each licence binds, each use policy is at hand.
fn add_known<'p>(chain: &mut Chain<'p>, known: Vec<(String, Role)>, file: &TextFile, policies: &'p Policies) {
    for (id, role) in &known {
        // terms that are known by their policy alone: it stands beside a licence with a record of its own
        let alone = policies.record(id).is_some_and(|r| r.texts.iter().all(|t| t.role != Role::Licence));
        if *role == Role::UsePolicy && !alone {
            continue;
        }
        // a page that names the licence is not its text
        let text = matches!(role, Role::Licence | Role::UsePolicy).then(|| file.bytes.clone());
        chain.list(Some(id), &file.name, How::Text, None);
        chain.add(id, &file.name, How::Text, text, policies);
    }
    let of = known.into_iter().filter(|(_, role)| *role == Role::UsePolicy).map(|(id, _)| id).collect::<Vec<_>>();
    if !of.is_empty() {
        chain.use_policies.push((of, file.clone()));
    }
}

fn similar(judge: &mut Judge<'_>, file: &TextFile, message: String, original: &str) {
    let remedy = "compare it with the original; if the difference states no term, rule on it";
    judge.evidence(F::TextSimilar, &file.name, message, remedy);
    judge.asks_about(original);
}

/// The first differences, and how many there are besides.
fn told(differences: &[Difference]) -> String {
    let first: Vec<String> = differences.iter().take(MAX_TOLD).map(Difference::to_string).collect();
    let more = match differences.len().saturating_sub(MAX_TOLD) {
        0 => String::new(),
        more => format!("; {more} more"),
    };
    if first.is_empty() { String::new() } else { format!(": {}{more}", first.join("; ")) }
}

//! The papers that travel with a derivative: licence texts, use policies and the paragraphs of `NOTICE`; and which of
//! them meets which duty.

use crate::license::declared::{Ship, Use};
use crate::license::evidence::subject::Subject;
use crate::license::facts::policy::{DoneBy, Policies};
use crate::license::report::annex;
use crate::license::rules::chain::Chain;
use crate::license::rules::obligations::Obligation;

/// The folder of texts in a bundle.
const LICENSES: &str = "LICENSES/";
/// The file of notices in a bundle.
const NOTICE: &str = "NOTICE";

/// What travels with the derivative.
#[derive(Debug, Clone, Default)]
pub struct Papers {
    /// Names for `LICENSES/`, and exact bytes.
    pub texts: Vec<(String, Vec<u8>)>,
    /// The paragraphs of `NOTICE`.
    pub notice: Vec<String>,
    /// The draft of a contract annex, Markdown.
    pub annex: String,
}

/// Says which paper meets each duty that is `pack`'s. What is hosted is not packed: there the vendor meets them.
pub fn meet(duties: &mut [Obligation], chain: &Chain<'_>, declared: &Use, policies: &Policies) {
    for duty in duties.iter_mut().filter(|d| d.done_by == DoneBy::Pack) {
        if declared.ship == Ship::Nothing {
            duty.done_by = DoneBy::Vendor;
            duty.how = policies.duty(&duty.term).meaning.clone();
            continue;
        }
        duty.met_by = paper(duty, chain);
        if duty.met_by.is_none() && duty.unmet.is_none() {
            duty.unmet = Some(format!("`pack` has nothing that meets {}", duty.term));
        }
    }
}

/// The paper that meets a duty; none where it is not at hand.
fn paper(duty: &Obligation, chain: &Chain<'_>) -> Option<String> {
    let text = || chain.members.iter().any(|m| m.record.id == duty.license && m.text.is_some());
    let policy = || chain.use_policies.iter().find(|(ids, _)| ids.contains(&duty.license));
    match duty.term.as_str() {
        _ if duty.unmet.is_some() => None,
        "ship-use-policy" if policy().is_some() => policy().map(|(ids, _)| LICENSES.to_owned() + &policy_name(ids)),
        // a licence may hold its policy in itself
        "ship-licence-text" | "ship-use-policy" => text().then(|| LICENSES.to_owned() + &text_name(&duty.license)),
        "notice-file" | "disclaimer-words" => duty.words.is_some().then(|| NOTICE.to_owned()),
        "retain-notices" | "state-changes" | "attribute-source" => Some(NOTICE.to_owned()),
        _ => None,
    }
}

fn text_name(id: &str) -> String {
    format!("{id}.txt")
}

fn policy_name(ids: &[String]) -> String {
    format!("{}-use-policy.txt", ids[0])
}

impl Papers {
    /// Gathers them; each text once.
    pub fn collect(
        chain: &Chain<'_>,
        subject: &Subject,
        declared: &Use,
        duties: &[Obligation],
        policies: &Policies,
    ) -> Self {
        let mut texts: Vec<(String, Vec<u8>)> = Vec::new();
        let mut put = |name: String, bytes: &[u8]| {
            if !texts.iter().any(|(n, _)| *n == name) {
                texts.push((name, bytes.to_vec()));
            }
        };
        for member in &chain.members {
            if let Some(text) = &member.text {
                put(text_name(&member.record.id), text);
            }
        }
        for (ids, file) in &chain.use_policies {
            put(policy_name(ids), &file.bytes);
        }
        // a text that a person ruled on has no name of its own
        for (i, file) in subject.with_parts().flat_map(|part| &part.texts).enumerate() {
            if !texts.iter().any(|(_, bytes)| *bytes == file.bytes) {
                texts.push((format!("license-file-{}.txt", i + 1), file.bytes.clone()));
            }
        }
        let notice = notice(chain, subject, declared, duties);
        Self { texts, notice, annex: annex::draft(chain, declared, duties, policies) }
    }
}

/// The paragraphs: what was changed, under which licences, set words, and the base's own notices, unchanged.
fn notice(chain: &Chain<'_>, subject: &Subject, declared: &Use, duties: &[Obligation]) -> Vec<String> {
    let made = match declared.ship {
        Ship::Adapter => "a low-rank adapter",
        Ship::Merged => "merged weights",
        Ship::Nothing => "a hosted derivative",
    };
    let base = &subject.name;
    let mut origin = format!("{} changed the base model {base}: fine-tuned into {made}.", declared.vendor);
    for member in &chain.members {
        let record = member.record;
        origin += &format!("\n{base} stands under {} ({}); the text is in LICENSES/.", record.name, record.id);
    }
    let mut paragraphs = vec![origin];
    for duty in duties.iter().filter(|d| matches!(d.term.as_str(), "notice-file" | "disclaimer-words")) {
        paragraphs.extend(duty.words.clone().filter(|words| !paragraphs.contains(words)));
    }
    for (credit, record) in &chain.credits {
        paragraphs.push(format!("The derivative learned from: {credit}, under {} ({}).", record.name, record.id));
    }
    for (part, file) in subject.with_parts().flat_map(|part| part.notices.iter().map(move |file| (part, file))) {
        let base = &part.name;
        paragraphs.push(format!("{} of {base}:\n\n{}", file.name, String::from_utf8_lossy(&file.bytes)));
    }
    paragraphs
}

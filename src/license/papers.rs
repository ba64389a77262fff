//! The papers that travel with a derivative: licence texts, use policies and the paragraphs of `NOTICE`.

use super::chain::Chain;
use super::declared::{Ship, Use};
use super::obligations::Obligation;
use super::subject::Subject;

/// What travels with the derivative.
#[derive(Debug, Clone, Default)]
pub struct Papers {
    /// Names for `LICENSES/`, and exact bytes.
    pub texts: Vec<(String, Vec<u8>)>,
    /// The paragraphs of `NOTICE`.
    pub notice: Vec<String>,
}

impl Papers {
    /// Gathers them; each text once.
    pub fn collect(chain: &Chain<'_>, subject: &Subject, declared: &Use, duties: &[Obligation]) -> Self {
        let mut texts: Vec<(String, Vec<u8>)> = Vec::new();
        let mut put = |name: String, bytes: &[u8]| {
            if !texts.iter().any(|(n, b)| *n == name || b == bytes) {
                texts.push((name, bytes.to_vec()));
            }
        };
        for member in &chain.members {
            if let Some(text) = &member.text {
                put(format!("{}.txt", member.record.id), text);
            }
        }
        for (ids, file) in &chain.use_policies {
            put(format!("{}-use-policy.txt", ids[0]), &file.bytes);
        }
        // a text that a person ruled on has no name of its own
        for (i, file) in subject.texts.iter().enumerate() {
            put(format!("license-file-{}.txt", i + 1), &file.bytes);
        }
        Self { texts, notice: notice(chain, subject, declared, duties) }
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
    for file in &subject.notices {
        paragraphs.push(format!("{} of {base}:\n\n{}", file.name, String::from_utf8_lossy(&file.bytes)));
    }
    paragraphs
}

//! Signs that no licence text holds: well-known data sets (`policies/datasets.toml`), phrases in a card's prose and
//! tokens that betray a family (`policies/signs.toml`).

use crate::data::Folder;
use crate::error::{Error, Result};
use crate::license::facts::record::Standing;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

const DATA_SETS: &str = "datasets.toml";
const SIGNS: &str = "signs.toml";
/// The files that [`Signs::read`] reads.
pub(in crate::license) const FILES: [&str; 2] = [DATA_SETS, SIGNS];
/// Words before a phrase in which one that turns it around counts.
const BEFORE: usize = 3;

/// What is known of data sets, phrases and tokenizers.
pub struct Signs {
    data_sets: Vec<DataSet>,
    phrases: Vec<Phrase>,
    negation: Negation,
    tokenizers: Vec<TokenizerFamily>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DataSetsFile {
    #[serde(rename = "data-set")]
    data_sets: Vec<DataSet>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignsFile {
    #[serde(rename = "phrase")]
    phrases: Vec<Phrase>,
    negation: Negation,
    #[serde(rename = "tokenizer")]
    tokenizers: Vec<TokenizerFamily>,
}

/// A well-known data set.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DataSet {
    /// As cards call it; compared without case.
    pub ids: Vec<String>,
    /// An SPDX id, or `LicenseRef-…`; there need be no record of it.
    pub license: String,
    /// Models that wrote it, by names that the lineage finds.
    #[serde(default)]
    pub generated_by: Vec<String>,
    /// How the licence is known.
    pub standing: Standing,
    /// Where it is known from.
    pub source: String,
}

impl DataSet {
    /// How its licence is known.
    pub fn basis(&self) -> String {
        self.standing.basis(&self.source)
    }
}

/// What a card's prose may say of its terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// No use that earns.
    NonCommercial,
    /// Research alone.
    ResearchOnly,
    /// Somebody must be asked or told first.
    Registration,
}

impl Condition {
    /// As the data names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NonCommercial => "non-commercial",
            Self::ResearchOnly => "research-only",
            Self::Registration => "registration",
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Phrase {
    says: Condition,
    words: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Negation {
    unless: BTreeSet<String>,
}

/// A family's tokenizer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerFamily {
    /// What people call it.
    pub family: String,
    /// Special tokens that it has, all of them.
    tokens: BTreeSet<String>,
    /// What llama.cpp calls its rules.
    pre: Vec<String>,
    /// What its models stand under.
    pub licenses: Vec<String>,
    /// How it is known that these tokens are the family's.
    standing: Standing,
    source: String,
}

impl TokenizerFamily {
    /// How it is known.
    pub fn basis(&self) -> String {
        self.standing.basis(&self.source)
    }
}

/// A phrase that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it says.
    pub condition: Condition,
    /// As the data has it.
    pub phrase: String,
    /// Lines after the first one.
    pub line: usize,
}

impl Signs {
    /// Refuses a name that stands twice, a phrase that is not as it is looked for, and a licence without a record.
    pub(in crate::license) fn read(files: &Folder, is_recorded: impl Fn(&str) -> bool) -> Result<Self> {
        let DataSetsFile { data_sets } = files.parse(DATA_SETS)?;
        let SignsFile { phrases, negation, tokenizers } = files.parse(SIGNS)?;
        let mut names = BTreeSet::new();
        for set in &data_sets {
            if let Some(twice) = set.ids.iter().find(|id| !names.insert(id.to_lowercase())) {
                return Err(refuse(DATA_SETS, format!("two data sets are called {twice}")));
            }
            let is_id = set.license.starts_with("LicenseRef-") || spdx::license_id(&set.license).is_some();
            if !is_id && !is_recorded(&set.license) {
                return Err(refuse(DATA_SETS, format!("no SPDX id: {}", set.license))
                    .with_hint("a licence that SPDX does not list is called `LicenseRef-…`"));
            }
        }
        if let Some(phrase) = phrases.iter().flat_map(|p| &p.words).find(|p| Prose::of(p).text.trim() != p.as_str()) {
            return Err(refuse(SIGNS, format!("a phrase is not in lower case with single spaces: {phrase}")));
        }
        if let Some(unknown) = tokenizers.iter().flat_map(|t| &t.licenses).find(|id| !is_recorded(id)) {
            return Err(refuse(SIGNS, format!("no record of the licence {unknown}")));
        }
        Ok(Self { data_sets, phrases, negation, tokenizers })
    }

    /// A well-known data set by the name that a card gives it.
    pub fn data_set(&self, name: &str) -> Option<&DataSet> {
        self.data_sets.iter().find(|set| set.ids.iter().any(|id| id.eq_ignore_ascii_case(name.trim())))
    }

    /// The family whose tokenizer has these special tokens, or these rules by llama.cpp's name.
    pub fn tokenizer(&self, tokens: &BTreeSet<String>, pre: &str) -> Option<&TokenizerFamily> {
        let by_tokens = |t: &&TokenizerFamily| !t.tokens.is_empty() && t.tokens.is_subset(tokens);
        self.tokenizers.iter().find(|t| by_tokens(t) || t.pre.iter().any(|rules| rules == pre))
    }

    /// The first phrase of each condition in a card's prose.
    pub fn conditions(&self, prose: &str) -> Vec<Found> {
        let prose = Prose::of(prose);
        let found = self.phrases.iter().filter_map(|phrase| {
            let places = phrase.words.iter().flat_map(|words| prose.places(words).map(move |at| (at, words)));
            let (at, words) = places.filter(|(at, _)| !self.is_turned(&prose.text[..*at])).min()?;
            Some(Found { condition: phrase.says, phrase: words.clone(), line: prose.line(at) })
        });
        found.collect()
    }

    /// Do the last words before a phrase turn it around?
    fn is_turned(&self, before: &str) -> bool {
        let sentence = before.rsplit(['.', '!', '?', '。', '|', ';']).next().unwrap_or(before);
        let mut last = sentence.split_whitespace().rev().take(BEFORE);
        last.any(|word| self.negation.unless.contains(word.trim_matches(|c: char| c.is_ascii_punctuation())))
    }
}

/// A card's prose in lower case, with what marks words and lines up as single spaces.
struct Prose {
    text: String,
    /// Where each line begins in `text`.
    lines: Vec<usize>,
}

impl Prose {
    fn of(prose: &str) -> Self {
        let (mut text, mut lines) = (String::with_capacity(prose.len()), Vec::new());
        for line in prose.split('\n') {
            lines.push(text.len());
            for c in line.chars().flat_map(char::to_lowercase).chain([' ']) {
                match c {
                    '’' => text.push('\''),
                    '-' | '_' | '*' | '`' | '"' | '‑' | '–' | '“' | '”' => space(&mut text),
                    c if c.is_whitespace() => space(&mut text),
                    c => text.push(c),
                }
            }
        }
        Self { text, lines }
    }

    /// Where the words stand, whole.
    fn places<'a>(&'a self, words: &'a str) -> impl Iterator<Item = usize> + 'a {
        let is_letter = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        self.text.match_indices(words).map(|(at, _)| at).filter(move |at| {
            let (before, after) = (&self.text[..*at], &self.text[at + words.len()..]);
            !words.is_ascii() || (!is_letter(before.chars().next_back()) && !is_letter(after.chars().next()))
        })
    }

    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at).saturating_sub(1)
    }
}

fn space(text: &mut String) {
    if !text.ends_with(' ') {
        text.push(' ');
    }
}

fn refuse(file: &str, message: String) -> Error {
    Error::input(Path::new(file), message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::license::Policies;

    #[test]
    fn phrases_are_found_across_lines_and_negations_are_minded() {
        let policies = Policies::load(None).unwrap();
        let found = |prose: &str| {
            let found = policies.signs().conditions(prose);
            found.into_iter().map(|f| (f.condition.name(), f.line)).collect::<Vec<_>>()
        };
        assert_eq!(found("# T\n\nFor **non-commercial**\nuse.\n"), [("non-commercial", 2)]);
        assert_eq!(found("The weights are for research\nuse only."), [("research-only", 0)]);
        assert_eq!(found("Not for\ncommercial use!"), [("non-commercial", 0)]);
        assert_eq!(found("本模型仅供研究使用"), [("research-only", 0)]);
        assert_eq!(found("You must register first. No commercial use."), [("non-commercial", 0), ("registration", 0)]);
        for free in [
            "It is not limited to research, and not restricted to non-commercial use.",
            "Free for research and commercial use.",
            "Unlike non-commercial models, take it.",
            "A noncommercially minded text",
        ] {
            assert_eq!(found(free), [], "{free}");
        }
        // a negation in the sentence before says nothing of this one
        assert_eq!(found("It is not. Non-commercial use only."), [("non-commercial", 0)]);
    }

    #[test]
    fn sets_and_tokenizers_are_known_by_their_names() {
        let policies = Policies::load(None).unwrap();
        let signs = policies.signs();
        assert_eq!(signs.data_set("TATSU-lab/alpaca").unwrap().license, "CC-BY-NC-4.0");
        assert!(signs.data_set("example/alpaca").is_none());
        // every model that wrote one is known, and every source told
        for set in &signs.data_sets {
            assert!(!set.source.is_empty() && set.standing <= Standing::Read);
            let unknown = set.generated_by.iter().find(|model| policies.lineage().find(model).is_none());
            assert_eq!(unknown, None, "{:?}", set.ids);
        }
        let tokens = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<BTreeSet<_>>();
        let gemma = tokens(&["<bos>", "<start_of_turn>", "<end_of_turn>", "<x>"]);
        assert_eq!(signs.tokenizer(&gemma, "").unwrap().family, "Gemma");
        assert_eq!(signs.tokenizer(&tokens(&[]), "llama-bpe").unwrap().family, "Llama 3");
        assert!(signs.tokenizer(&tokens(&["<bos>"]), "default").is_none());
    }
}

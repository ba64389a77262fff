//! Real licence texts, where `SEALWRIGHT_LICENSE_TEXTS` names a folder of them: each is what `tests/licenses/texts.toml`
//! says, however it is laid out, and stops being it with one altered word, which the difference of clauses then names.

use crate::cases::{self, Draw, POLICIES};
use crate::corpus::aloud;
use sealwright::license::{Identity, Role, differences, identify};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Seeds the generated changes; another number makes others.
const SEED: u64 = 20_261_124;

struct Known {
    file: String,
    text: String,
    id: String,
    role: Role,
}

/// File name → `ID`, `ID use-policy`, `page of ID`, or `none: what it is`.
fn expectations() -> BTreeMap<String, String> {
    toml::from_str(&std::fs::read_to_string(cases::folder().join("texts.toml")).unwrap()).unwrap()
}

/// The real texts that have a record.
fn known_texts() -> Vec<Known> {
    let expected = expectations();
    let known = cases::real_texts().into_iter().filter_map(|(file, text)| {
        let expected = expected.get(&file)?;
        let (id, role) = match expected.strip_suffix(" use-policy") {
            Some(id) => (id, Role::UsePolicy),
            None => (expected.as_str(), Role::Licence),
        };
        let terms = !expected.starts_with("none: ") && !expected.starts_with("page of ");
        terms.then(|| Known { file, text, id: id.into(), role })
    });
    known.collect()
}

fn is_known(text: &str, known: &Known) -> bool {
    matches!(identify(text, &POLICIES), Identity::Known(found) if found.contains(&(known.id.clone(), known.role)))
}

/// Over all texts, on some threads.
fn over_texts(texts: &[Known], judged: impl Fn(&Known) -> Vec<String> + Sync) -> Vec<String> {
    let complaints = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for part in 0..threads {
            let (complaints, judged) = (&complaints, &judged);
            let own = texts.iter().skip(part).step_by(threads);
            scope.spawn(move || own.for_each(|text| complaints.lock().unwrap().extend(judged(text))));
        }
    });
    complaints.into_inner().unwrap()
}

#[test]
fn every_real_text_is_what_it_is() {
    let texts = cases::real_texts();
    let expected = expectations();
    let mut counts = [0; 3];
    for (file, text) in &texts {
        let expected = expected.get(file).unwrap_or_else(|| panic!("texts.toml says nothing of {file}"));
        let found = match identify(text, &POLICIES) {
            Identity::Known(known) => known.iter().map(|(id, role)| named(id, *role)).collect(),
            _ => Vec::new(),
        };
        match expected.strip_prefix("none: ") {
            Some(what) => assert!(found.is_empty(), "{file} ({what}) passes for {found:?}"),
            None => assert!(found.contains(expected), "{file} is {expected}, found: {found:?}"),
        }
        counts[if found.is_empty() { 2 } else { usize::from(expected.ends_with(" use-policy")) }] += 1;
    }
    let [licences, policies, others] = counts;
    aloud(&format!("real texts: {licences} licences, {policies} use policies, {others} without a record"));
    assert!(texts.is_empty() || (licences >= 80 && policies >= 8 && others == 0), "{counts:?}");
}

fn named(id: &str, role: Role) -> String {
    match role {
        Role::Licence => id.to_owned(),
        Role::UsePolicy => format!("{id} use-policy"),
        _ => format!("page of {id}"),
    }
}

// ---- reformatting keeps the identity

type Form = (&'static str, fn(&str) -> String);

const FORMS: [Form; 12] = [
    ("one line", |t| t.split_whitespace().collect::<Vec<_>>().join(" ")),
    // no shorter: a placeholder may go over three lines
    ("narrow lines", |t| {
        let words: Vec<&str> = t.split_whitespace().collect();
        words.chunks(10).map(|line| line.join(" ") + "\n").collect()
    }),
    ("CR LF and a byte-order mark", |t| format!("\u{feff}{}", t.replace("\r\n", "\n").replace('\n', "\r\n"))),
    ("typographer's quotes and dashes", |t| {
        let t = if t.contains("<span") { t.to_owned() } else { t.replace('"', "\u{201d}").replace('-', "\u{2013}") };
        t.replace('\'', "\u{2019}").replace(" - ", " \u{2014} ")
    }),
    ("plain quotes and dashes", |t| {
        t.replace(['\u{2018}', '\u{2019}'], "'")
            .replace(['\u{201c}', '\u{201d}'], "\"")
            .replace(['\u{2013}', '\u{2014}'], "-")
    }),
    ("capitals", |t| t.to_uppercase()),
    ("indented, trailing spaces, empty lines", |t| t.lines().map(|l| format!("    {l}  \t\n\n")).collect()),
    ("paragraphs in HTML", |t| {
        let text = t.replace('&', "&amp;");
        let paragraphs = text.split("\n\n").map(|p| format!("<p>{p}</p>\n"));
        format!("<!doctype html>\n<html><body>\n{}</body></html>\n", paragraphs.collect::<String>()).replacen(
            "<!doctype html>\n",
            "",
            1,
        )
    }),
    ("a block of code", |t| format!("```text\n{t}\n```\n")),
    ("headings and quote marks", |t| {
        let plain = |l: &str| l.trim_start().starts_with(char::is_alphabetic);
        t.split_inclusive('\n').map(|l| if plain(l) { format!("> {}", l.trim_start()) } else { l.to_owned() }).collect()
    }),
    ("words in bold and in italics", |t| {
        let mut count = 0;
        let bold = |w: &str| w.len() > 4 && w.bytes().all(|b| b.is_ascii_alphabetic());
        t.split_inclusive(' ')
            .map(|w| {
                count += 1;
                let (word, space) = w.split_at(w.trim_end_matches(' ').len());
                if count % 7 == 0 && bold(word) { format!("**{word}**{space}") } else { w.to_owned() }
            })
            .collect()
    }),
    ("other spaces and ligatures", |t| {
        t.replace("fi", "\u{fb01}").replace(", ", ",\u{2003}").replace(". ", ".\u{a0} ")
    }),
];

#[test]
fn another_layout_keeps_the_identity() {
    let texts = known_texts();
    let complaints = over_texts(&texts, |known| {
        let lost = FORMS.iter().filter(|(_, form)| !is_known(&form(&known.text), known));
        lost.map(|(name, _)| format!("{}: {name}", known.file)).collect()
    });
    aloud(&format!("layouts: {} texts, {} each", texts.len(), FORMS.len()));
    assert!(complaints.is_empty(), "{} lost their identity\n{}", complaints.len(), complaints.join("\n"));
}

// ---- an altered word loses it, and is named

/// A change of terms: what was done, the text, and a word that the difference must show.
struct Change {
    done: String,
    text: String,
    shows: Option<String>,
}

/// Byte ranges of the words, white space apart.
fn words(text: &str) -> Vec<(usize, &str)> {
    text.split_whitespace().map(|w| (w.as_ptr() as usize - text.as_ptr() as usize, w)).collect()
}

/// What a text itself leaves open, by beginnings of lines: a change in it is none of terms.
fn is_open(known: &Known, at: usize) -> bool {
    let share = at as f64 / known.text.len() as f64;
    let appendix = ["APPENDIX", "How to Apply", "How to apply", "Acceptable Use Policy"];
    let tail = appendix.iter().filter_map(|a| known.text.rfind(a)).any(|tail| share > 0.3 && at >= tail);
    let line_start = known.text[..at].rfind('\n').map_or(0, |n| n + 1);
    let line = &known.text[line_start..];
    let line = &line[..line.find('\n').unwrap_or(line.len())];
    let names = ["Neither the name", "THE AUTHOR", "Franklin Street"];
    let holder = line.to_lowercase().contains("copyright") || names.iter().any(|name| line.contains(name));
    (share < 0.15 && known.text.len() < 4000) || tail || holder
}

fn splice(text: &str, at: usize, length: usize, with: &str) -> String {
    [&text[..at], with, &text[at + length..]].concat()
}

fn changes(known: &Known, draw: &mut Draw) -> Vec<Change> {
    let text = known.text.as_str();
    let all = words(text);
    let plain: Vec<(usize, &str)> = all
        .iter()
        .copied()
        .filter(|(at, w)| w.len() > 3 && w.bytes().all(|b| b.is_ascii_alphabetic()) && !is_open(known, *at))
        .collect();
    let mut out = Vec::new();
    let mut push = |done: String, text: String, shows: Option<&str>| {
        out.push(Change { done, text, shows: shows.map(String::from) });
    };
    for _ in 0..3 {
        let (at, word) = plain[draw.below(plain.len())];
        push(format!("{word} altered at {at}"), splice(text, at, word.len(), "zebra"), Some("zebra"));
    }
    for _ in 0..2 {
        let (at, word) = plain[draw.below(plain.len())];
        push(format!("{word} left out at {at}"), splice(text, at, word.len(), ""), None);
    }
    for term in ["non-commercial ", "not ", "only in Freedonia ", "never "] {
        let (at, word) = plain[draw.below(plain.len())];
        let shows = term.split([' ', '-']).next().unwrap().to_lowercase();
        push(format!("{term}before {word} at {at}"), splice(text, at, 0, term), Some(&shows));
    }
    let (at, word) = plain[draw.below(plain.len())];
    push(format!("hidden word at {at} before {word}"), splice(text, at, 0, "<!-- not --> "), Some("comment"));
    push(format!("struck word at {at}"), splice(text, at, word.len(), &format!("~~{word}~~")), Some("struck"));
    for _ in 0..2 {
        let permits: Vec<_> = all
            .iter()
            .filter(|(at, w)| matches!(*w, "may" | "shall" | "must" | "is") && !is_open(known, *at))
            .collect();
        if let Some((at, word)) = permits.get(draw.below(permits.len())) {
            push(format!("{word} not at {at}"), splice(text, at + word.len(), 0, " not"), Some("not"));
        }
    }
    let numbers: Vec<_> = all
        .iter()
        .filter(|(at, w)| w.len() > 1 && w.bytes().all(|b| b.is_ascii_digit()) && !is_open(known, *at))
        .collect();
    if let Some((at, number)) = numbers.get(draw.below(numbers.len())) {
        push(format!("{number} altered at {at}"), splice(text, *at, number.len(), "77"), Some("77"));
    }
    let paragraphs: Vec<(usize, &str)> = text
        .split("\n\n")
        .map(|p| (p.as_ptr() as usize - text.as_ptr() as usize, p))
        .filter(|(at, p)| {
            p.split_whitespace().count() > 12 && p.len() * 3 < text.len() && !is_open(known, *at) && *at > 0
        })
        .collect();
    for _ in 0..2 {
        if let Some((at, paragraph)) = paragraphs.get(draw.below(paragraphs.len())) {
            let begins: String = paragraph.chars().take(30).collect();
            push(format!("without {begins:?} at {at}"), splice(text, *at, paragraph.len(), ""), None);
            let added = "Zebras that graze by night may not run the model for any reason.\n\n";
            push(format!("a clause before {begins:?} at {at}"), splice(text, *at, 0, added), Some("zebras"));
        }
    }
    push("a clause at the end".into(), format!("{text}\n\nZebras may not run the model.\n"), Some("zebras"));
    push("a clause at the start".into(), format!("Zebras may not run the model.\n\n{text}"), Some("zebras"));
    let cut = text.char_indices().map(|(at, _)| at).filter(|at| *at * 10 > text.len() * 5 && !is_open(known, *at));
    let cut: Vec<usize> = cut.filter(|at| *at * 10 < text.len() * 9).collect();
    if !cut.is_empty() {
        let at = cut[draw.below(cut.len())];
        push(format!("cut at {at}"), text[..at].to_owned(), None);
    }
    out
}

#[test]
fn one_altered_word_loses_the_identity_and_is_named() {
    let texts = known_texts();
    let count = Mutex::new([0; 3]);
    let complaints = over_texts(&texts, |known| {
        let seed = known.file.bytes().fold(SEED, |seed, b| (seed ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let changes = changes(known, &mut Draw(seed | 1));
        let complain = |c: &Change| against(known, c).map(|what| format!("{}: {}: {what}", known.file, c.done));
        count.lock().unwrap()[0] += changes.len();
        changes.iter().filter_map(complain).collect()
    });
    let [tried, ..] = *count.lock().unwrap();
    aloud(&format!("changes of terms: {} texts, {tried} changes", texts.len()));
    assert!(complaints.is_empty(), "{} of {tried}\n{}", complaints.len(), complaints.join("\n"));
}

/// A text with one paragraph more than another, altered in that paragraph.
const TWINS: [(&str, &str); 2] = [("LicenseRef-moonshot-modified-mit", "MIT"), ("BSD-3-Clause", "BSD-2-Clause")];

/// Two ids of one text, or twins.
fn is_twin(known: &Known, id: &str) -> bool {
    let shared =
        || matches!(identify(&known.text, &POLICIES), Identity::Known(all) if all.iter().any(|(i, _)| i == id));
    TWINS.contains(&(known.id.as_str(), id)) || shared()
}

/// Llama 3's licence file ends with its use policy, which is known whole or not at all: a difference in it is only placed.
fn is_in_a_policy(known: &Known, text: &str) -> bool {
    let policy = |text: &str| text.find("\nMeta Llama 3 Acceptable Use Policy").map(|at| text[..at].to_owned());
    known.file == "llama-3-community" && policy(&known.text) == policy(text)
}

/// What is wrong with how a change was taken.
fn against(known: &Known, change: &Change) -> Option<String> {
    let (id, role) = match identify(&change.text, &POLICIES) {
        Identity::Known(found) | Identity::Several(found, _) => return Some(format!("passes for {found:?}")),
        Identity::Unknown => return Some("is like nothing".into()),
        Identity::Similar(id, role, _) => (id, role),
    };
    if (&id, role) != (&known.id, known.role) && !is_twin(known, &id) {
        return Some(format!("resembles {}", named(&id, role)));
    }
    let told = differences(&change.text, &id, role, &POLICIES);
    if told.is_empty() {
        return Some("no difference is named".into());
    }
    let shows = is_in_a_policy(known, &change.text)
        || change.shows.as_ref().is_none_or(|word| told.iter().any(|d| d.words.contains(word.as_str())));
    (!shows).then(|| format!("the difference doesn't show it: {told:?}"))
}

// ---- dirty files

/// Two whole licences in one file are both, whatever their order; a third text, another word or a clause beside them is
/// told.
#[test]
fn whole_texts_in_one_file_are_all_of_them() {
    let (mit, apache) = (cases::text("MIT").unwrap(), cases::text("Apache-2.0").unwrap());
    let bsd = cases::text("BSD-3-Clause").unwrap();
    let of = |ids: &[&str]| ids.iter().map(|id| ((*id).to_owned(), Role::Licence)).collect::<Vec<_>>();
    for (text, ids) in [
        (format!("{mit}\n\n{apache}"), &["MIT", "Apache-2.0"][..]),
        (format!("{apache}\n\n{mit}"), &["Apache-2.0", "MIT"]),
        (format!("{bsd}\n{mit}\n* * *\n{apache}"), &["BSD-3-Clause", "MIT", "Apache-2.0"]),
        (format!("{mit}\n{mit}"), &["MIT"]),
    ] {
        assert_eq!(identify(&text, &POLICIES), Identity::Known(of(ids)), "{ids:?}");
    }
    let rider = "Neither may be used to earn money.";
    for text in
        [format!("{mit}\n{rider}\n{apache}"), format!("{mit}\n{apache}\n{rider}"), format!("{rider}\n{apache}\n{mit}")]
    {
        let Identity::Several(known, rest) = identify(&text, &POLICIES) else { panic!("not both: {text}") };
        assert_eq!((known.len(), rest.as_str()), (2, "neither may be used to earn money"));
    }
    let altered = format!("{}\n{apache}", mit.replace("without restriction", "without much restriction"));
    assert!(matches!(identify(&altered, &POLICIES), Identity::Similar(..)));
}

/// The real texts by twos: what is known alone is known beside another, too.
#[test]
fn real_texts_by_twos_are_both() {
    let texts: Vec<(Vec<(String, Role)>, String)> = cases::real_texts()
        .into_iter()
        .filter_map(|(_, text)| match identify(&text, &POLICIES) {
            Identity::Known(known) if known.iter().any(|(_, role)| *role == Role::Licence) => Some((known, text)),
            _ => None,
        })
        .collect();
    let mut both = 0;
    for pair in texts.chunks_exact(2) {
        let text = format!("{}\n\n{}", pair[0].1, pair[1].1);
        let (Identity::Known(found) | Identity::Several(found, _)) = identify(&text, &POLICIES) else { continue };
        both += usize::from(pair.iter().all(|(known, _)| known.iter().any(|k| found.contains(k))));
    }
    aloud(&format!("real texts by twos: {both} of {} pairs are both", texts.len() / 2));
    assert!(both * 10 >= texts.len() / 2 * 9, "{both} of {}", texts.len() / 2);
}

/// Words before a licence or after it, half of one: never known, and what else stands there is shown.
#[test]
fn a_dirty_file_is_never_taken_for_a_licence() {
    let (mit, apache) = (cases::text("MIT").unwrap(), cases::text("Apache-2.0").unwrap());
    for (text, shows) in [
        (format!("The weights and nothing else stand under this licence.\n\n{mit}"), "weights and nothing else"),
        (format!("{apache}\n\nTHIS SOFTWARE IS FOR FRIENDS.\n"), "for friends"),
        (apache[..apache.len() / 2].to_owned(), ""),
    ] {
        let Identity::Similar(id, role, _) = identify(&text, &POLICIES) else { panic!("{shows}: not similar") };
        let told = differences(&text, &id, role, &POLICIES);
        assert!(told.iter().any(|d| d.words.contains(shows)), "{shows}: {told:?}");
    }
}

/// A licence in two languages is known whole; one of them alone is not it.
#[test]
fn one_language_of_two_is_another_text() {
    for (file, text) in cases::real_texts().iter().filter(|(file, _)| file.starts_with("chatglm")) {
        let chinese = text.find(|c: char| ('\u{4e00}'..='\u{9fff}').contains(&c)).unwrap();
        assert!(matches!(identify(text, &POLICIES), Identity::Known(_)), "{file}");
        for part in [&text[..chinese], &text[chinese..]] {
            assert!(!matches!(identify(part, &POLICIES), Identity::Known(_)), "{file}");
        }
    }
}

/// Whose it is and since when the licence leaves open; what may be done with it, it doesn't.
#[test]
fn a_filled_in_holder_keeps_the_identity() {
    let heads = ["MIT", "ISC", "BSD-2-Clause", "BSD-3-Clause", "LicenseRef-moonshot-modified-mit"];
    let texts = known_texts();
    for known in texts.iter().filter(|k| heads.contains(&k.id.as_str())) {
        let begins = known.text.find("Permission").or_else(|| known.text.find("Redistribution")).unwrap();
        let with = |holder: &str| is_known(&format!("{holder}\n\n{}", &known.text[begins..]), known);
        for holder in [
            "Copyright (c) 2025 Example Works",
            "Copyright \u{a9} 2019-2025, Example Works and others. All rights reserved.",
            "(c) 2024 Example Works\nCopyright 2025 Sample Labs",
        ] {
            assert!(with(holder), "{}: {holder}", known.file);
        }
        for term in
            ["Copyright (c) 2025 Example Works, for research only", "Not for sale.\nCopyright 2025 Example Works"]
        {
            assert!(!with(term), "{}: {term}", known.file);
        }
    }
    let apache = cases::text("Apache-2.0").unwrap();
    let filled = apache.replacen("[yyyy] [name of copyright owner]", "2025 Example Works", 1);
    assert!(filled != apache && matches!(identify(&filled, &POLICIES), Identity::Known(_)));
    let limited = apache.replacen("[yyyy] [name of copyright owner]", "2025 Example Works, research only", 1);
    assert!(!matches!(identify(&limited, &POLICIES), Identity::Known(_)));
}

//! Does a record agree with itself? Facts and duties say the same thing twice, for the judging and for the papers: where
//! they differ one of them was misread, so such a record is refused. It reads no text.

use crate::license::facts::record::*;
use crate::license::facts::words::value;

/// What of a record contradicts something else in it.
pub(in crate::license) fn contradictions(record: &Record) -> Vec<String> {
    let broken = pairs(record).into_iter().filter(|(holds, _)| !holds).map(|(_, what)| what.to_owned());
    let mut found: Vec<String> = broken.chain(clauses(record)).chain(words(record)).collect();
    found.extend(record.limits.iter().filter_map(limit).map(String::from));
    found
}

/// What must hold of facts and duties together.
fn pairs(record: &Record) -> Vec<(bool, &'static str)> {
    use CommercialUse as C;
    use OutputTraining as O;
    let has = |kind: &'static str| record.duties(kind).next().is_some();
    let use_is = |words: &[C]| record.commercial_use.iter().any(|w| words.contains(w));
    let outputs_are = |words: &[O]| record.output_training.iter().any(|w| words.contains(w));
    let own_terms = |words: &[OwnTerms]| words.contains(&record.derivative_own_terms);
    let flow = |words: &[FlowDown]| words.contains(&record.use_flow_down);
    let strong = matches!(record.share_alike, ShareAlike::Strong | ShareAlike::Network);
    let lasting = record.limits.iter().any(|l| l.when != Counted::MonthBeforeRelease);
    let ends = record.limits.iter().any(|l| matches!(l.effect, Effect::RequestLicence | Effect::Ends));
    let marks = record.limits.iter().any(|l| l.effect == Effect::DisplayMark);
    let alike = record.derivative_own_terms == OwnTerms::SameLicence || record.share_alike != ShareAlike::None;
    vec![
        (has("same-licence") == alike, "the duty `same-licence` against derivative-own-terms or share-alike"),
        (
            !strong || own_terms(&[OwnTerms::SameLicence, OwnTerms::Forbidden]),
            "share-alike against derivative-own-terms",
        ),
        (
            record.share_alike != ShareAlike::Weak || !own_terms(&[OwnTerms::Allowed, OwnTerms::FlowDown]),
            "share-alike `weak` against derivative-own-terms",
        ),
        (
            !own_terms(&[OwnTerms::SameLicence]) || record.share_alike != ShareAlike::None,
            "derivative-own-terms `same-licence` against share-alike `none`",
        ),
        (
            record.derivative_distribution != DerivativeDistribution::Forbidden
                || !own_terms(&[OwnTerms::Allowed, OwnTerms::FlowDown]),
            "derivatives may not be handed over, yet may have own terms",
        ),
        (
            flow(&[FlowDown::EnforceableTerms]) == has("flow-down-terms"),
            "the duty `flow-down-terms` against use-flow-down",
        ),
        (
            !flow(&[FlowDown::Copy]) || has("ship-licence-text") || has("ship-use-policy"),
            "use-flow-down `copy` without a duty to hand on a text",
        ),
        (
            !flow(&[FlowDown::PolicyBindsLicensee, FlowDown::EnforceableTerms]) || has("follow-use-policy"),
            "a use policy binds, without the duty `follow-use-policy`",
        ),
        (use_is(&[C::Registration]) == has("register"), "the duty `register` against commercial-use"),
        (
            !use_is(&[C::ResearchOnly, C::No, C::Permission]) || !use_is(&[C::Yes, C::Threshold, C::Registration]),
            "commercial-use says yes and no",
        ),
        (!use_is(&[C::Permission]) || has("request-licence"), "commercial-use `permission` without `request-licence`"),
        (!use_is(&[C::Threshold]) || !record.limits.is_empty(), "commercial-use `threshold` without a limit"),
        (!ends || !use_is(&[C::Yes, C::No]), "a limit ends rights, against commercial-use"),
        (!lasting || has("watch-limit"), "a lasting limit without the duty `watch-limit`"),
        (!has("watch-limit") || !record.limits.is_empty(), "the duty `watch-limit` without a limit"),
        (!marks || has("display-mark"), "a limit asks for a mark, without the duty `display-mark`"),
        (record.territories.is_empty() != has("limit-territory"), "the duty `limit-territory` against the territory"),
        (
            !outputs_are(&[O::Forbidden, O::SameFamilyOnly, O::NoCompetingModel, O::NoFoundationModel])
                || has("no-output-training"),
            "output-training is barred, without the duty `no-output-training`",
        ),
        (
            !has("no-output-training") || !outputs_are(&[O::Free, O::FreeWithName, O::Silent]),
            "the duty `no-output-training` against output-training",
        ),
        (
            !outputs_are(&[O::FreeWithName]) || has("name-prefix") || has("display-mark"),
            "output-training `free-with-name` without a name or a mark",
        ),
        (
            !outputs_are(&[O::Free, O::Silent]) || record.output_training.len() == 1,
            "output-training is free or silent, and something else",
        ),
        (
            !(has("name-prefix") || has("display-mark")) || record.trademark != Trademark::None,
            "a name or a mark is asked for, against trademark `none`",
        ),
        (!has("offer-source") || record.share_alike != ShareAlike::None, "the duty `offer-source` without share-alike"),
    ]
}

/// A fact that says something rests on a clause, unless the record was made from general knowledge.
fn clauses(record: &Record) -> Vec<String> {
    if record.standing <= Standing::GeneralKnowledge {
        return Vec::new();
    }
    const NOTHING: [&str; 5] = ["silent", "none", "no", "unsettled", "none named"];
    let says = |fact: &str| value(record, fact).is_some_and(|value| !NOTHING.contains(&value.as_str()));
    let bare = FACTS.into_iter().filter(|fact| says(fact) && !record.clause.contains_key(*fact));
    bare.map(|fact| format!("{fact} has no clause")).collect()
}

/// Facts that need a clause. The law that governs is cited where it says something to a judge.
#[rustfmt::skip]
const FACTS: [&str; 15] = [
    "commercial-use", "derivative-distribution", "derivative-own-terms", "adapter-status", "hosting-is-distribution",
    "output-training", "use-flow-down", "share-alike", "patent-grant", "litigation-ends", "revocable",
    "licensor-may-change-terms", "remote-restriction", "trademark", "field-of-use",
];

/// Duties that need set words, and the texts behind a record that was read.
fn words(record: &Record) -> Vec<String> {
    let set = ["notice-file", "name-prefix", "display-mark", "public-statement"];
    let bare = record.obligations.iter().filter(|d| set.contains(&d.kind.as_str()) && d.words.is_none());
    let mut found: Vec<String> = bare.map(|d| format!("the duty `{}` has no words", d.kind)).collect();
    let read = record.texts.iter().filter(|t| t.sha256.is_some()).map(|t| t.standing).min();
    if record.standing == Standing::Read && read != Some(Standing::Read) {
        found.push("standing `read` without a text that was read".into());
    }
    let unread = record.texts.iter().any(|t| t.standing == Standing::AddressOnly);
    if unread && record.questions.is_empty() {
        found.push("a text known only by its address raises no question".into());
    }
    found
}

fn limit(limit: &Limit) -> Option<&'static str> {
    let revenue = matches!(limit.kind, LimitKind::AnnualRevenue | LimitKind::MonthlyRevenue);
    if revenue != limit.currency.is_some() {
        return Some("a limit of revenue has a currency, and no other limit has");
    }
    let once = limit.when == Counted::MonthBeforeRelease;
    (once != limit.release.is_some())
        .then_some("a limit that is counted before the release has its day, and no other has")
}

#[cfg(test)]
mod tests {
    use crate::data::{POLICIES, parse};
    use std::path::Path;

    fn said(file: &str, from: &str, to: &str) -> Vec<String> {
        let text = POLICIES.get_file(file).unwrap().contents_utf8().unwrap();
        assert!(text.contains(from), "{from}");
        super::contradictions(&parse(Path::new(file), &text.replacen(from, to, 1)).unwrap())
    }

    #[test]
    fn the_programs_records_agree_with_themselves() {
        let files = POLICIES.get_dir("licenses").unwrap().files();
        let told = files.flat_map(|f| {
            let record = parse(f.path(), f.contents_utf8().unwrap()).unwrap();
            super::contradictions(&record).into_iter().map(move |what| format!("{}: {what}", f.path().display()))
        });
        assert_eq!(told.collect::<Vec<_>>(), Vec::<String>::new());
    }

    #[test]
    fn a_record_that_contradicts_itself_is_told() {
        for (file, from, to, what) in [
            ("licenses/mit.toml", "commercial-use = [\"yes\"]", "commercial-use = [\"registration\"]", "`register`"),
            ("licenses/mit.toml", "share-alike = \"none\"", "share-alike = \"strong\"", "`same-licence`"),
            ("licenses/mit.toml", "standing = \"read\"", "standing = \"read-part\"", ""),
            ("licenses/llama-2.toml", "kind = \"no-output-training\"", "kind = \"indemnify\"", "`no-output-training`"),
            ("licenses/llama-2.toml", "release = ", "currency = \"USD\" #", "currency"),
            ("licenses/hunyuan-large.toml", "kind = \"limit-territory\"", "kind = \"indemnify\"", "territory"),
            ("licenses/qwen-2024.toml", "litigation-ends = \"6.c\"", "", "litigation-ends has no clause"),
            ("licenses/qwen-2024.toml", "words = \"Built with Qwen\"", "", "has no words"),
            ("licenses/falcon-180b.toml", "standing = \"general-knowledge\"", "standing = \"read\"", "without a text"),
        ] {
            let said = said(file, from, to);
            assert!(
                what.is_empty() == said.is_empty() && said.iter().any(|s| s.contains(what)) != what.is_empty(),
                "{to}: {said:?}"
            );
        }
    }
}

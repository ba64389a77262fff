//! Everything that binds the derivative by its base: the base's own texts and claims, and its parents. Each member is
//! judged alone; what speaks against the evidence itself is a finding here.

use super::clauses::Difference;
use super::expression::{self, Named};
use super::facts::{Record, Role};
use super::finding::FindingCode as F;
use super::identify::{Identity, differences, identify};
use super::judge::Judge;
use super::lineage::Model;
use super::member::{How, Listed, Member};
use super::policy::Policies;
use super::subject::{Adapter, Claim, Subject, TextFile};
use jiff::civil::Date;
use std::ops::Range;

/// The subject of a finding on the base as a whole.
pub const BASE: &str = "base";
/// A finding names no more models of one shape than this.
const MAX_ALIKE: usize = 4;
/// A base that names more parents than this is not followed further.
const MAX_PARENTS: usize = 64;
/// Nor more differences of one text.
const MAX_TOLD: usize = 5;

/// What binds, what is listed, and the use policies at hand by the licences that they belong to.
#[derive(Default)]
pub struct Chain<'p> {
    pub members: Vec<Member<'p>>,
    pub listed: Vec<Listed>,
    pub use_policies: Vec<(Vec<String>, TextFile)>,
    /// Whom to credit for data, and under which licence.
    pub credits: Vec<(String, &'p Record)>,
    /// Licences that a licence file names without their texts.
    headers: Vec<Claim>,
}

impl<'p> Chain<'p> {
    /// Follows the evidence; findings on it go to `judge`.
    pub fn follow(subject: &Subject, judge: &mut Judge<'p>) -> Self {
        let mut chain = Self::default();
        for file in &subject.texts {
            chain.read_text(file, subject, judge);
        }
        let claims = subject.claims();
        chain.compare_claims(&claims, 0, "", subject, judge);
        if subject.texts.is_empty() && claims.is_empty() {
            judge.evidence(
                F::NoLicense,
                BASE,
                "nothing in the base's folder names its licence".into(),
                "put the licence's text into the folder, or name one with `[base] license-text`",
            );
        }
        chain.read_parents(subject, judge);
        for adapter in &subject.adapters {
            chain.read_adapter(adapter, subject, judge);
        }
        chain.compare_shape(subject, judge);
        let mut ids: Vec<&str> = chain.members.iter().map(|m| m.record.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() > 1 {
            judge.evidence(
                F::SeveralLicenses,
                BASE,
                format!("these bind together: {}", ids.join(", ")),
                "the strictest of their terms holds",
            );
        }
        chain
    }

    /// The licences of the base itself: by its texts, or else by its card.
    pub fn own(&self) -> impl Iterator<Item = &Member<'p>> {
        self.members.iter().filter(|m| m.is_of_base())
    }

    fn read_text(&mut self, file: &TextFile, subject: &Subject, judge: &mut Judge<'p>) {
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
        let list = |id: Option<&str>, how, score| Listed {
            id: id.map(String::from),
            of: file.name.clone(),
            how,
            score,
            path: Vec::new(),
        };
        match identity {
            Identity::Known(known) => {
                for (id, role) in &known {
                    // terms that are known by their policy alone: it stands beside a licence with a record of its own
                    let alone =
                        judge.policies.record(id).is_some_and(|r| r.texts.iter().all(|t| t.role != Role::Licence));
                    if *role == Role::UsePolicy && !alone {
                        continue;
                    }
                    // a page that names the licence is not its text
                    let text = matches!(role, Role::Licence | Role::UsePolicy).then(|| file.bytes.clone());
                    self.listed.push(list(Some(id), How::Text, None));
                    self.add(id, &file.name, How::Text, text, judge.policies);
                }
                let policies = known.into_iter().filter(|(_, role)| *role == Role::UsePolicy).map(|(id, _)| id);
                let policies: Vec<String> = policies.collect();
                if !policies.is_empty() {
                    self.use_policies.push((policies, file.clone()));
                }
            }
            Identity::Similar(id, role, score) => {
                let what = if role == Role::UsePolicy { "use policy of " } else { "" };
                judge.evidence(
                    F::TextSimilar,
                    &file.name,
                    format!(
                        "{} resembles the {what}{id} ({:.0} %) but is not its text{}",
                        file.name,
                        score * 100.0,
                        told(&differences(text, &id, role, judge.policies))
                    ),
                    "compare it with the original; if the difference states no term, rule on it",
                );
                let score = (score * 1000.0).round() / 1000.0;
                self.listed.push(list(Some(&id), How::Similar, Some(score)));
                if role == Role::UsePolicy {
                    self.use_policies.push((vec![id], file.clone()));
                } else {
                    self.add(&id, &file.name, How::Similar, Some(file.bytes.clone()), judge.policies);
                }
            }
            Identity::Unknown if expression::header(text).is_some() => {
                let license = expression::header(text).unwrap_or_default().to_owned();
                self.headers.push(Claim { license, by: "licence file" });
            }
            Identity::Unknown => {
                judge.evidence(
                    F::TextUnknown,
                    &file.name,
                    format!("{} is like no text that is known", file.name),
                    "have a lawyer read it; add a record to the policies, or rule on it",
                );
                self.listed.push(list(None, How::Text, None));
            }
        }
    }

    /// The card comes last: it agrees with the texts, which begin at member `from`, or it is a finding. `of`: the folder.
    fn compare_claims(&mut self, claims: &[Claim], from: usize, of: &str, subject: &Subject, judge: &mut Judge<'p>) {
        let texts = from..self.members.len();
        let headers = std::mem::take(&mut self.headers);
        for claim in headers.iter().chain(claims) {
            let by = format!("{of}{}", claim.by);
            let Named::All(terms) = expression::read(&claim.license) else {
                judge.evidence(
                    F::LicenseChoice,
                    &by,
                    format!("the {by} offers a choice: {}", claim.license),
                    "pick one, put its text into the base's folder, and rule on the choice",
                );
                continue;
            };
            for term in terms {
                if let Some(exception) = &term.exception {
                    judge.evidence(
                        F::ClaimUnknown,
                        &by,
                        format!(
                            "the {by} names {exception}, of which there is no record; {} is judged without it",
                            term.license
                        ),
                        "read what the exception permits, and rule on it",
                    );
                }
                self.compare_claim(&term.license, &by, texts.clone(), subject, judge);
            }
        }
    }

    fn compare_claim(&mut self, named: &str, by: &str, texts: Range<usize>, subject: &Subject, judge: &mut Judge<'p>) {
        let candidates = named_by(named, judge.policies);
        if candidates.iter().any(|c| self.members[texts.clone()].iter().any(|m| m.record.id == c.id)) {
            return;
        }
        if !texts.is_empty() && !matches!(named, "other" | "unknown") {
            let found: Vec<&str> = self.members[texts.clone()].iter().map(|m| m.record.id.as_str()).collect();
            judge.evidence(
                F::CardAndTextDiffer,
                by,
                format!("the {by} says {named}, the text is {}", found.join(", ")),
                "ask the licensor which one holds; until then both bind",
            );
        }
        let [record] = candidates.as_slice() else {
            if texts.is_empty() {
                judge.evidence(
                    F::ClaimUnknown,
                    by,
                    format!("the {by} names a licence that is not known: {named}"),
                    "put the licence's text into the folder, or name one with `[base] license-text`",
                );
                self.listed.push(Listed { id: None, of: by.into(), how: How::Card, score: None, path: Vec::new() });
            }
            return;
        };
        let text = listed_text(&record.id);
        if texts.is_empty() && !confirmed([record.id.as_str()], by, subject, judge) {
            judge.about(
                record,
                F::ClaimedWithoutText,
                by,
                format!("the {by} names {}, but its text is not in the base's folder", record.id),
                if text.is_some() {
                    "the text of the SPDX list will travel; put the base's own copy beside the card, or rule on it"
                } else {
                    "put the base's own copy into its folder, or name one with `[base] license-text`"
                },
            );
        }
        self.listed.push(Listed {
            id: Some(record.id.clone()),
            of: by.into(),
            how: How::Card,
            score: None,
            path: Vec::new(),
        });
        self.add(&record.id, by, How::Card, text, judge.policies);
    }

    /// An adapter that was made elsewhere is a parent with a licence of its own.
    fn read_adapter(&mut self, adapter: &Adapter, base: &Subject, judge: &mut Judge<'p>) {
        let (members, listed) = (self.members.len(), self.listed.len());
        let name = &adapter.name;
        if let Some(subject) = &adapter.subject {
            for file in &subject.texts {
                let file = TextFile { name: format!("{name}/{}", file.name), ..file.clone() };
                self.read_text(&file, subject, judge);
            }
            self.compare_claims(&subject.claims(), members, &format!("{name}/"), subject, judge);
            self.read_parents(&subject.without_parents(|parent| base.is_called(parent)), judge);
        }
        if self.listed.len() == listed && !adapter.own {
            let what =
                if adapter.subject.is_some() { "nothing in its folder names a licence" } else { "it is not at hand" };
            judge.evidence(
                F::NoLicense,
                name,
                format!("the derivative comes from {name}, and {what}"),
                "put its licence beside it; or state that it is your own work: `own = true` in [derivative], `init-own = \
                 true` in [train]",
            );
        }
        self.members[members..].iter_mut().for_each(|member| member.path.insert(0, name.clone()));
        self.listed[listed..].iter_mut().for_each(|listed| listed.path.insert(0, name.clone()));
    }

    fn read_parents(&mut self, subject: &Subject, judge: &mut Judge<'p>) {
        let (parents, names) = (subject.parents(), subject.names());
        let lineage = judge.policies.lineage();
        // a name in its config may be a parent's
        let own = lineage.find(&subject.name).filter(|_| !names.contains(&subject.name.as_str()));
        if parents.len() > MAX_PARENTS {
            let many = parents.len();
            let message = format!("the base names {many} parents, of which {MAX_PARENTS} are judged");
            judge.evidence(F::ParentUnknown, BASE, message, "have the others judged, and rule on it");
        }
        let named = parents.iter().map(|p| (*p, true));
        let also = names.iter().filter(|name| !parents.contains(name)).map(|p| (*p, false));
        for (parent, certain) in named.chain(also).take(MAX_PARENTS) {
            let line = lineage.paths(parent);
            // a service's weights are nobody's base: the name only begins like one
            if !certain && line.first().is_some_and(|(_, model)| !model.begins.is_empty()) {
                continue;
            }
            if line.is_empty() && certain {
                judge.evidence(
                    F::ParentUnknown,
                    parent,
                    format!("the base was made from {parent}, whose licence is not known here"),
                    "read its licence; add it to policies/lineage.toml, or rule on it",
                );
            }
            if line.iter().skip(1).any(|(_, model)| own.is_some_and(|own| std::ptr::eq(own, *model))) {
                judge.evidence(
                    F::ParentCycle,
                    parent,
                    format!("{} was made from {parent}, which was made from {0}", subject.name),
                    "find out which of them is wrong; correct the card or the lineage, or rule on it",
                );
            }
            for (at, (path, model)) in line.into_iter().enumerate() {
                let path: Vec<String> = path.into_iter().map(String::from).collect();
                self.add_parent(&path, model, certain, judge);
                // the base's own name: the product file says when it was had
                let obtained = judge.declared.obtained.filter(|_| !certain && at == 0);
                self.add_earlier(&path, model, obtained, judge);
            }
        }
    }

    /// `path`: from the base to it. `certain`: the base names the first of them as its parent.
    fn add_parent(&mut self, path: &[String], model: &Model, certain: bool, judge: &mut Judge<'p>) {
        let (id, parent) = (model.license.as_str(), &path[path.len() - 1]);
        let listed =
            Listed { id: Some(id.to_owned()), of: parent.clone(), how: How::Lineage, score: None, path: path.to_vec() };
        self.listed.push(listed);
        let bound = self.members.iter_mut().find(|m| m.record.id == id);
        if !model.is_certain() && bound.as_ref().is_none_or(|m| m.how != How::Text) {
            judge.evidence(
                F::ParentUnknown,
                parent,
                format!("{parent}, which the base was made from, is said to stand under {id}, {}", model.doubt()),
                "read its card and its licence; complete policies/lineage.toml, or rule on it",
            );
        }
        let certain = certain && model.is_certain();
        // the same licence binds once; the strongest evidence is already there
        match bound {
            Some(member) if member.how == How::Lineage => member.certain |= certain,
            Some(_) => {}
            None => self.add_from(id, path, certain, judge.policies),
        }
    }

    /// The licence that a model stood under before, unless the copy was had later; of a parent nobody knows when.
    fn add_earlier(&mut self, path: &[String], model: &Model, obtained: Option<Date>, judge: &mut Judge<'p>) {
        let of = &path[path.len() - 1];
        let Some(record) = model.earlier.as_deref().and_then(|id| judge.policies.record(id)) else { return };
        let Some(replaced) = &record.replaced else { return };
        if obtained.is_some_and(|day| day >= replaced.on) || self.members.iter().any(|m| m.record.id == record.id) {
            return;
        }
        let when = obtained.map_or("when the copy was had is not known".to_owned(), |day| format!("had on {day}"));
        judge.about(
            record,
            F::TextReplaced,
            of,
            format!("{of} stood under {} until {} came on {}; {when}", record.id, replaced.by, replaced.on),
            "both bind; state `[base] obtained` where it is the base's own name",
        );
        let id = Some(record.id.clone());
        self.listed.push(Listed { id, of: of.clone(), how: How::Lineage, score: None, path: path.to_vec() });
        self.add_from(&record.id, path, false, judge.policies);
    }

    /// Dimensions of a known model whose licence is not among those found.
    fn compare_shape(&self, subject: &Subject, judge: &mut Judge<'p>) {
        let Some(shape) = &subject.shape else { return };
        let alike = judge.policies.lineage().of_shape(shape);
        let found = |id: &str| self.listed.iter().any(|l| l.id.as_deref() == Some(id) && l.how != How::Data);
        if alike.is_empty() || alike.iter().any(|model| found(&model.license)) {
            return;
        }
        let mut models: Vec<String> = alike.iter().map(|m| format!("{} ({})", m.ids[0], m.license)).collect();
        models.truncate(MAX_ALIKE);
        let mut ids: Vec<&str> = self.listed.iter().filter_map(|l| l.id.as_deref()).collect();
        ids.dedup();
        let found = if ids.is_empty() { "no licence was found".into() } else { format!("found: {}", ids.join(", ")) };
        judge.evidence(
            F::ShapeResembles,
            BASE,
            format!("the base has the dimensions of {}; {found}", models.join(", ")),
            "find out what it was made from and name it as `base_model` in the card, or rule on it",
        );
    }

    fn add(&mut self, id: &str, of: &str, how: How, text: Option<Vec<u8>>, policies: &'p Policies) {
        // two copies of one text bind once
        let twice = how == How::Text && self.members.iter().any(|m| m.how == How::Text && m.record.id == id);
        if let Some(record) = policies.record(id).filter(|_| !twice) {
            self.members.push(Member { record, of: of.to_owned(), how, path: Vec::new(), certain: true, text });
        }
    }

    /// A licence that binds by a parent.
    fn add_from(&mut self, id: &str, path: &[String], certain: bool, policies: &'p Policies) {
        if let Some(record) = policies.record(id) {
            let (of, path) = (path[path.len() - 1].clone(), path.to_vec());
            self.members.push(Member { record, of, how: How::Lineage, path, certain, text: listed_text(id) });
        }
    }
}

/// Does the lineage know the base by its name, with one of these licences and in these dimensions? Then it says so.
fn confirmed<'i>(
    ids: impl IntoIterator<Item = &'i str>,
    about: &str,
    subject: &Subject,
    judge: &mut Judge<'_>,
) -> bool {
    let lineage = judge.policies.lineage();
    let parents = subject.parents();
    let ids: Vec<&str> = ids.into_iter().collect();
    let fits = |name: &str| {
        let known = lineage.with_ancestors(name).into_iter().find_map(|(_, model)| model.shape);
        let norms = lineage.find(name).and_then(|model| model.norms.as_ref());
        known.zip(subject.shape).is_none_or(|(known, shape)| shape.resembles(&known))
            && norms.zip(subject.norms.as_ref()).is_none_or(|(known, norms)| norms.resembles(known).is_some())
    };
    let names = subject.names().into_iter().filter(|name| !parents.contains(name));
    let known = names.filter_map(|name| Some((name, lineage.find(name)?)));
    let confirming =
        |(name, model): &(&str, &Model)| model.is_certain() && ids.contains(&model.license.as_str()) && fits(name);
    let Some((name, model)) = known.into_iter().find(confirming) else { return false };
    judge.evidence(
        F::LineageConfirms,
        about,
        format!("{name} is known to stand under {}: {}", model.license, model.source),
        "keep the source at hand",
    );
    true
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

/// The records that a card or a data set may mean by this name: an id, a card tag, or a `license_name`.
pub fn named_by<'p>(named: &str, policies: &'p Policies) -> Vec<&'p Record> {
    let named = named.trim();
    let is = |id: &str| id.eq_ignore_ascii_case(named);
    if let Some(record) = policies.records().find(|r| is(&r.id) || r.id.strip_prefix("LicenseRef-").is_some_and(is)) {
        return vec![record];
    }
    if matches!(named, "other" | "unknown") {
        return Vec::new();
    }
    policies.records().filter(|r| r.card_tags.iter().any(|tag| is(tag))).collect()
}

/// The text of a licence on the SPDX list.
fn listed_text(id: &str) -> Option<Vec<u8>> {
    spdx::license_id(id).map(|l| l.text().as_bytes().to_vec())
}

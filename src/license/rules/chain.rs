//! What binds the derivative: the licences of the base and of its parents, and how each is known. Only the state; it is
//! filled by `follow.rs` and those that it calls.

use crate::license::evidence::subject::{Claim, TextFile};
use crate::license::facts::policy::Policies;
use crate::license::facts::record::Record;
use crate::license::rules::member::{How, Listed, Member};

/// The subject of a finding on the base as a whole.
pub const BASE: &str = "base";

/// What binds, what is listed, and the use policies at hand by the licences that they belong to.
#[derive(Default)]
pub struct Chain<'p> {
    pub members: Vec<Member<'p>>,
    pub listed: Vec<Listed>,
    pub use_policies: Vec<(Vec<String>, TextFile)>,
    /// Whom to credit for data, and under which licence.
    pub credits: Vec<(String, &'p Record)>,
    /// Licences that a licence file names without their texts.
    pub headers: Vec<Claim>,
}

impl<'p> Chain<'p> {
    /// The licences of the base itself: by its texts, or else by its card.
    pub fn own(&self) -> impl Iterator<Item = &Member<'p>> {
        self.members.iter().filter(|m| m.is_of_base())
    }

    /// Lists what a file or a claim of the base led to.
    pub fn list(&mut self, id: Option<&str>, of: &str, how: How, score: Option<f64>) {
        self.listed.push(Listed {
            id: id.map(String::from),
            of: of.to_owned(),
            how,
            score,
            basis: None,
            path: Vec::new(),
        });
    }

    /// A licence of the base itself.
    pub fn add(&mut self, id: &str, of: &str, how: How, text: Option<Vec<u8>>, policies: &'p Policies) {
        // two copies of one text bind once
        let twice = how == How::Text && self.members.iter().any(|m| m.how == How::Text && m.record.id == id);
        if let Some(record) = policies.record(id).filter(|_| !twice) {
            self.members.push(Member { record, of: of.to_owned(), how, path: Vec::new(), certain: true, text });
        }
    }

    /// A licence that binds by a parent.
    pub fn add_from(&mut self, id: &str, path: &[String], certain: bool, policies: &'p Policies) {
        if let Some(record) = policies.record(id) {
            let (of, path) = (path[path.len() - 1].clone(), path.to_vec());
            self.members.push(Member { record, of, how: How::Lineage, path, certain, text: listed_text(id) });
        }
    }
}

/// The text of a licence on the SPDX list.
pub fn listed_text(id: &str) -> Option<Vec<u8>> {
    spdx::license_id(id).map(|l| l.text().as_bytes().to_vec())
}

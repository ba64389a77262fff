//! What a clearance gives a bundle: the only way from the licence room into the artifact.

use crate::digest::Sha256;
use crate::error::{Code, Error, Result};
use crate::license::{Clearance, How};
use std::collections::BTreeSet;

/// What a clearance gives a bundle. Only a clearance makes one.
pub struct Papers {
    /// `allow` or `allow-with-obligations`.
    pub(super) verdict: String,
    /// The licences that the derivative's bases stand under, by id.
    pub(super) licenses: Vec<String>,
    /// What must be done, and by whom it is.
    pub(super) duties: Vec<Duty>,
    /// Licence texts: file name under `LICENSES/`, bytes.
    pub(super) texts: Vec<(String, Vec<u8>)>,
    /// Paragraphs that NOTICE must hold.
    pub(super) notice: Vec<String>,
    /// The public part of the report.
    pub(super) report: serde_json::Value,
    /// Of the policy that cleared it.
    pub(super) policy: Sha256,
}

impl Papers {
    /// The papers that a clearance asks for.
    pub fn from_clearance(clearance: &Clearance) -> Self {
        let duties = clearance.obligations().iter().map(|o| Duty {
            license: o.license.clone(),
            term: o.term.clone(),
            clause: o.clause.clone(),
            done_by: o.done_by.name().to_owned(),
            words: o.words.clone(),
            met_by: o.met_by.clone(),
            unmet: o.unmet.clone(),
            how: o.how.clone(),
        });
        // a licence may be known by its text and by its card; those of data sets are not the base's
        let of_base = clearance.licenses().iter().filter(|l| l.how != How::Data);
        let licenses: BTreeSet<_> = of_base.filter_map(|l| l.id.clone()).collect();
        Self {
            verdict: clearance.verdict().name().to_owned(),
            licenses: licenses.into_iter().collect(),
            duties: duties.collect(),
            texts: clearance.texts().to_vec(),
            notice: clearance.notice_paragraphs().to_vec(),
            report: clearance.report_json(),
            policy: clearance.policy_digest(),
        }
    }
}

impl Papers {
    /// Refuses while a duty of the packer's stands open: one that can't be met, or whose paper lacks what it must hold.
    pub(super) fn check(&self, papers: &[(String, Vec<u8>)]) -> Result<()> {
        for duty in &self.duties {
            let open = duty.unmet.clone().or_else(|| duty.lacks(papers));
            if let Some(why) = open {
                let message = format!("{}, {}: {}: {why}", duty.license, duty.clause, duty.term);
                return Err(Error::new(Code::UnmetObligation, message).with_hint(duty.how.clone()));
            }
        }
        Ok(())
    }
}

impl Duty {
    /// What its paper lacks.
    fn lacks(&self, papers: &[(String, Vec<u8>)]) -> Option<String> {
        let name = self.met_by.as_ref()?;
        let Some((_, bytes)) = papers.iter().find(|(n, _)| n == name) else {
            return Some(format!("the bundle has no {name}"));
        };
        let words = self.words.as_ref()?;
        let missing = !String::from_utf8_lossy(bytes).contains(words.trim());
        missing.then(|| format!("{name} lacks its words: {words}"))
    }
}

/// One obligation of a licence.
#[derive(Debug, Clone)]
pub struct Duty {
    /// The licence's id.
    pub license: String,
    /// The word of the vocabulary.
    pub term: String,
    /// Where the licence says so.
    pub clause: String,
    /// Who or what fulfils it.
    pub done_by: String,
    /// Set words.
    pub words: Option<String>,
    /// The paper that does, where `pack` does.
    pub met_by: Option<String>,
    /// Why it can't be met now.
    pub unmet: Option<String>,
    /// What would meet it.
    pub how: String,
}

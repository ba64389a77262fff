//! What licences say: records of `policies/licenses/*.toml`, every word out of a closed list, every fact with its
//! clause. Never what anybody decides about it. Meanings of the words: `policies/vocabulary.toml`.

#![allow(missing_docs)] // the words' meanings stand in the vocabulary

use crate::digest::Sha256;
use crate::license::text::clauses::Clause;
use crate::license::text::sketch::Sketch;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One licence: `policies/licenses/NAME.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Record {
    /// An SPDX id, or `LicenseRef-…`.
    pub id: String,
    pub spdx_listed: bool,
    pub name: String,
    pub version: Option<String>,
    /// Models known under it, for people.
    pub models: Vec<String>,
    /// What model cards call it.
    pub card_tags: Vec<String>,
    /// Where its text is found, as cards link to it: without what an address may vary in (`links.rs`).
    #[serde(default)]
    pub links: Vec<String>,
    /// Where it was read that its text is there, and when; with `links`.
    pub links_source: Option<String>,
    /// The same by general knowledge: such an address clears nothing.
    #[serde(default)]
    pub links_unread: Vec<String>,
    pub standing: Standing,
    pub read_on: jiff::civil::Date,
    pub commercial_use: Vec<CommercialUse>,
    pub derivative_distribution: DerivativeDistribution,
    pub derivative_own_terms: OwnTerms,
    pub adapter_status: Vec<AdapterStatus>,
    pub hosting_is_distribution: Hosting,
    pub output_training: Vec<OutputTraining>,
    pub use_flow_down: FlowDown,
    pub share_alike: ShareAlike,
    pub patent_grant: PatentGrant,
    pub litigation_ends: LitigationEnds,
    pub revocable: Revocable,
    pub licensor_may_change_terms: MayChange,
    pub remote_restriction: RemoteRestriction,
    pub trademark: Trademark,
    /// Restricted fields of use, tags of the vocabulary.
    pub field_of_use: Vec<String>,
    pub governing_law: Option<String>,
    #[serde(default)]
    pub notes: Vec<String>,
    /// Where its licensor put another in its place.
    pub replaced: Option<Replaced>,
    /// Fact → where the licence says it.
    #[serde(default)]
    pub clause: BTreeMap<String, String>,
    #[serde(default, rename = "text")]
    pub texts: Vec<KnownText>,
    #[serde(default, rename = "limit")]
    pub limits: Vec<Limit>,
    #[serde(default, rename = "territory")]
    pub territories: Vec<Territory>,
    #[serde(default, rename = "question")]
    pub questions: Vec<Question>,
    #[serde(default, rename = "obligation")]
    pub obligations: Vec<Duty>,
}

impl Record {
    /// The clause of a fact; "silent" where the text has none.
    pub fn clause(&self, fact: &str) -> &str {
        self.clause.get(fact).map_or("silent", String::as_str)
    }

    /// Its duties of one kind.
    pub fn duties<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Duty> {
        self.obligations.iter().filter(move |d| d.kind == kind)
    }

    /// Is there any limit on training models on its outputs? A name that they must then bear is none.
    pub fn limits_outputs(&self) -> bool {
        let free = |word: &OutputTraining| matches!(word, OutputTraining::Free | OutputTraining::FreeWithName);
        !self.output_training.iter().all(free)
    }

    /// Must a derivative stay under this licence?
    pub fn is_share_alike(&self) -> bool {
        self.derivative_own_terms == OwnTerms::SameLicence
            || self.derivative_distribution == DerivativeDistribution::SameLicence
            || matches!(self.share_alike, ShareAlike::Strong | ShareAlike::Network | ShareAlike::Adaptations)
    }
}

/// How a record or a text was read, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    AddressOnly,
    GeneralKnowledge,
    ReadmeOnly,
    ReadPart,
    Read,
}

impl Standing {
    /// What such a standing says of a source, in words.
    pub fn basis(self, source: &str) -> String {
        let how = match self {
            Self::AddressOnly => "an address, not read: ",
            Self::GeneralKnowledge if source.starts_with("general knowledge") => "",
            Self::GeneralKnowledge => "general knowledge, not looked up: ",
            Self::ReadmeOnly => "",
            Self::ReadPart => "read in part: ",
            Self::Read => "read whole: ",
        };
        format!("{how}{source}")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommercialUse {
    Yes,
    No,
    ResearchOnly,
    Registration,
    Threshold,
    Permission,
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DerivativeDistribution {
    Allowed,
    Conditional,
    SameLicence,
    ResearchOnly,
    Forbidden,
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnTerms {
    Allowed,
    FlowDown,
    BaseStillBound,
    SameLicence,
    Forbidden,
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdapterStatus {
    Named,
    BroadDefinition,
    DerivativeWorks,
    Unsettled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hosting {
    Yes,
    ProductOrService,
    No,
    Forbidden,
    Silent,
    NetworkSource,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputTraining {
    Free,
    SameFamilyOnly,
    FreeWithName,
    MakesDerivative,
    NoCompetingModel,
    NoFoundationModel,
    Forbidden,
    PurposeBound,
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowDown {
    None,
    Copy,
    EnforceableTerms,
    PolicyBindsLicensee,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShareAlike {
    None,
    Weak,
    Strong,
    Network,
    Adaptations,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PatentGrant {
    Yes,
    No,
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LitigationEnds {
    None,
    PatentOnly,
    AllRights,
    CopyrightOrPatent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(clippy::enum_variant_names)] // the vocabulary's words
pub enum Revocable {
    Irrevocable,
    OnBreach,
    Revocable,
    AtWill,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MayChange {
    No,
    PolicyOnly,
    Yes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemoteRestriction {
    No,
    Yes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trademark {
    None,
    DescriptiveOnly,
    RequiredMarkOnly,
    Silent,
}

/// A text that the record was read from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KnownText {
    pub role: Role,
    pub standing: Standing,
    /// Of its token stream, open spans cut.
    pub sha256: Option<Sha256>,
    /// Tokens in that stream.
    pub words: Option<usize>,
    /// Where it was had.
    pub source: Option<String>,
    /// Where it can be had, when it was not read.
    pub address: Option<String>,
    /// What similar texts are recognised by.
    pub sketch: Option<Sketch>,
    /// What tells which clause of a similar text is another.
    #[serde(default)]
    pub clauses: Vec<Clause>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Licence,
    UsePolicy,
    Readme,
    Notice,
    ModelCard,
}

/// A line of users or revenue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limit {
    pub kind: LimitKind,
    pub count: u64,
    pub currency: Option<String>,
    pub op: Op,
    pub whose: Whose,
    pub when: Counted,
    pub release: Option<jiff::civil::Date>,
    pub effect: Effect,
    pub clause: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitKind {
    MonthlyActiveUsers,
    DailyActiveUsers,
    AnnualRevenue,
    MonthlyRevenue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    Over,
    AtLeast,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whose {
    Licensee,
    LicenseeGroup,
    Product,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counted {
    MonthBeforeRelease,
    AnyMonth,
    AnyDay,
    AnyYear,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    RequestLicence,
    DisplayMark,
    Ends,
}

/// Where the licence does not reach.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Territory {
    /// ISO 3166-1 alpha-2, or `EU`.
    pub excluded: Vec<String>,
    pub binds: Binds,
    pub scope: Scope,
    pub clause: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binds {
    LicenseeSeat,
    PlaceOfUse,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    All,
    Multimodal,
}

/// What law or the text leaves open.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Question {
    pub text: String,
    /// Facts or kinds of obligation.
    pub bears_on: Vec<String>,
    /// Where it stands, if that is not the clause of what it bears on.
    pub clause: Option<String>,
    pub uses: Vec<QuestionUse>,
    pub open: Open,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuestionUse {
    Adapter,
    Merged,
    Hosted,
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Open {
    Review,
    Note,
}

/// Copies that were had before that day stay under the old text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Replaced {
    /// The first day of the new one.
    pub on: jiff::civil::Date,
    /// Its id.
    pub by: String,
    /// Where that is known from.
    pub source: String,
}

/// Something that must be done.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Duty {
    /// A kind of the vocabulary.
    pub kind: String,
    pub clause: String,
    /// Set words.
    pub words: Option<String>,
    /// Kinds of company that are shut out, words of the vocabulary.
    #[serde(default)]
    pub companies: Vec<String>,
    pub when: Option<When>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    Always,
    HandingOver,
    /// Only where the base's own weights are in what is handed over.
    Merged,
    Hosting,
    AboveLimit,
    OutputsTrainAModel,
    OwnNoticesAdded,
}

//! Findings: one fact met by one use, with a code that `sealwright explain` has a page on. The list is closed.

use crate::digest::Sha256;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// How bad a finding is; the worst one makes the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Good to know.
    Note,
    /// Allowed, with duties.
    Obligation,
    /// A person must look.
    Review,
    /// The licence forbids it.
    Deny,
}

/// One fact met by one use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// What kind.
    pub code: FindingCode,
    /// How bad, by the organisation's policy and what is known of the licence.
    pub severity: Severity,
    /// The fact or duty at issue, a word of the vocabulary.
    pub term: String,
    /// The licence, where one is known.
    pub license: Option<String>,
    /// Where the licence says it.
    pub clause: Option<String>,
    /// The line of the policy that decided: `org/default.toml:12`.
    pub policy: String,
    /// Why it decided so, where it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_reason: Option<String>,
    /// What was found.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// What it is about: a file, a model, a data file.
    pub subject: String,
    /// From the base to the parent that it came from, where it did not come from the base: `parent`, `grandparent`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<String>,
    /// The customer that it concerns; all where `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// Who lifted it, where a ruling did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ruled: Option<Ruled>,
}

/// A ruling that lifted a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruled {
    /// The role that answers for it.
    pub by: String,
    /// When it was given.
    pub on: jiff::civil::Date,
    /// The key that signed it, where the policy asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Sha256>,
}

macro_rules! findings {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $term:literal, $floor:ident;)+) => {
        /// Every kind of finding.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum FindingCode { $($(#[doc = $doc])+ $variant,)+ }

        impl FindingCode {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [FindingCode] = &[$(FindingCode::$variant,)+];

            /// The name that reports, rulings and policies use.
            pub fn name(self) -> &'static str {
                match self { $(FindingCode::$variant => $name,)+ }
            }

            /// The fact, duty or piece of evidence that it is about.
            pub fn term(self) -> &'static str {
                match self { $(FindingCode::$variant => $term,)+ }
            }

            /// No policy may rate it milder than this.
            pub fn floor(self) -> Severity {
                match self { $(FindingCode::$variant => Severity::$floor,)+ }
            }
        }
    };
}

findings! {
    /// Nothing in the base's folder says under which licence it stands.
    NoLicense = "no-license", "text", Review;
    /// A licence file is close to a known text, but not equal to it.
    TextSimilar = "text-similar", "text", Review;
    /// A licence file is like no known text.
    TextUnknown = "text-unknown", "text", Review;
    /// A licence file could not be read as text.
    TextUnreadable = "text-unreadable", "text", Review;
    /// The text is not in the base's folder: the vendor alone vouches for it.
    TextVouched = "text-vouched", "text", Review;
    /// A licensor put another licence in the place of this one.
    TextReplaced = "text-replaced", "text", Note;
    /// Which of two licences binds turns on when the base was had, and that was not stated.
    ObtainedNotStated = "obtained-not-stated", "text", Review;
    /// The card names a licence, and its text is not there.
    ClaimedWithoutText = "claimed-without-text", "text", Review;
    /// The lineage knows this model with the licence that the card or the vendor names.
    LineageConfirms = "lineage-confirms", "lineage", Note;
    /// The card names a licence that there is no record of.
    ClaimUnknown = "claim-unknown", "text", Review;
    /// The card names another licence than the text.
    CardAndTextDiffer = "card-and-text-differ", "text", Review;
    /// The card's prose holds a condition that no licence states.
    CardRestricts = "card-restricts", "commercial-use", Review;
    /// The hub asks to accept terms before it hands the base out.
    AcceptanceAsked = "acceptance-asked", "text", Note;
    /// The card offers a choice of licences.
    LicenseChoice = "license-choice", "text", Review;
    /// Several licences bind the base together.
    SeveralLicenses = "several-licenses", "text", Note;
    /// Two statements of the product file contradict each other.
    StatementsContradict = "statements-contradict", "declared", Review;
    /// The record of this licence was not made from its whole text.
    RecordNotRead = "record-not-read", "standing", Review;
    /// The base was made from a model whose licence is not known.
    ParentUnknown = "parent-unknown", "lineage", Review;
    /// A model is said to be among its own ancestors.
    ParentCycle = "parent-cycle", "lineage", Review;
    /// The base has the shape of a model under another licence.
    ShapeResembles = "shape-resembles", "lineage", Review;
    /// The weights' norms are those of a model under another licence.
    WeightsResemble = "weights-resemble", "lineage", Review;
    /// The tokenizer is a family's, and no licence of that family was found.
    TokenizerResembles = "tokenizer-resembles", "lineage", Note;
    /// Card, configs and weights name different models that the base was made from.
    ParentsDiffer = "parents-differ", "lineage", Review;
    /// What the card says of how the base was made does not fit what is there.
    RelationDiffers = "relation-differs", "lineage", Review;
    /// The base calls itself by another licence than its parent's, which stays.
    Relicensed = "relicensed", "derivative-own-terms", Review;
    /// Neither a config nor a GGUF says what the base is.
    ConfigMissing = "config-missing", "lineage", Note;
    /// A text that must travel is not at hand.
    TextNotAtHand = "text-not-at-hand", "ship-licence-text", Review;
    /// Two licences ask for what cannot be done together.
    IncompatibleDuties = "incompatible-duties", "same-licence", Review;
    /// The use is commercial and the licence forbids that.
    CommercialUseForbidden = "commercial-use-forbidden", "commercial-use", Review;
    /// The licence does not say whether the use may be commercial.
    CommercialUseSilent = "commercial-use-silent", "commercial-use", Review;
    /// The licence is for research, or for uses that earn nothing, and only a person can say whether this is one.
    ResearchOnly = "research-only", "commercial-use", Review;
    /// Commercial use needs a registration that no grant names.
    RegistrationMissing = "registration-missing", "register", Review;
    /// Something that the licensor gave apart from the licence is relied on.
    GrantReliedOn = "grant-relied-on", "request-licence", Note;
    /// A stated grant does not cover this use.
    GrantNotApplied = "grant-not-applied", "declared", Note;
    /// A stated grant answers nothing.
    GrantUnused = "grant-unused", "declared", Note;
    /// A line of users or revenue is crossed.
    LimitCrossed = "limit-crossed", "limit", Review;
    /// A line of users or revenue is crossed under one reading of the clause.
    LimitReadingOpen = "limit-reading-open", "limit", Review;
    /// A figure that a line of users or revenue is counted by was not stated.
    LimitFigureMissing = "limit-figure-missing", "limit", Review;
    /// A line of users or revenue is kept today.
    LimitKept = "limit-kept", "watch-limit", Note;
    /// The licence forbids handing over a changed model.
    DerivativeForbidden = "derivative-forbidden", "derivative-distribution", Review;
    /// The licence does not say whether a changed model may be handed over.
    DerivativeSilent = "derivative-silent", "derivative-distribution", Review;
    /// The derivative must stay under the base's licence, and other terms are declared.
    SameTermsRequired = "same-terms-required", "derivative-own-terms", Review;
    /// The licence forbids own terms for the derivative.
    OwnTermsForbidden = "own-terms-forbidden", "derivative-own-terms", Review;
    /// The licence does not say whether the derivative may have own terms.
    OwnTermsSilent = "own-terms-silent", "derivative-own-terms", Review;
    /// Own terms can cover your own part only.
    BaseStillBound = "base-still-bound", "derivative-own-terms", Note;
    /// Own terms are allowed, and some of the base's must be in them.
    TermsFlowDown = "terms-flow-down", "use-flow-down", Note;
    /// It is unsettled whether an adapter alone is a derivative; it is treated as one.
    AdapterUnsettled = "adapter-unsettled", "adapter-status", Note;
    /// The licence forbids hosting.
    HostingForbidden = "hosting-forbidden", "hosting-is-distribution", Review;
    /// The licence does not say whether hosting counts as handing over.
    HostingSilent = "hosting-silent", "hosting-is-distribution", Review;
    /// The licence has terms on hosting and the product file does not say whether that is meant.
    HostingNotStated = "hosting-not-stated", "hosting-is-distribution", Review;
    /// Customers may not hand it on, and the licence suffers no further limits.
    FurtherLimits = "further-limits", "no-further-limits", Review;
    /// The licence suffers no further limits and the product file does not say whether customers may hand it on.
    RedistributionNotStated = "redistribution-not-stated", "no-further-limits", Review;
    /// The product touches a field that the licence and the policy forbid.
    FieldForbidden = "field-forbidden", "field-of-use", Review;
    /// The product touches a field that the licence restricts.
    FieldRestricted = "field-restricted", "field-of-use", Review;
    /// The licence restricts fields of use and the product file does not say which it touches.
    FieldsNotStated = "fields-not-stated", "field-of-use", Review;
    /// The licence restricts those who compete with its licensor, and whether the vendor does was not stated.
    CompetitionNotStated = "competition-not-stated", "field-of-use", Review;
    /// The licence shuts out companies of the vendor's kind.
    BusinessExcluded = "business-excluded", "not-provider-kind", Review;
    /// The licence shuts out kinds of company, and the vendor's was not stated.
    BusinessNotStated = "business-not-stated", "not-provider-kind", Review;
    /// The licence does not reach a country where the product goes.
    TerritoryExcluded = "territory-excluded", "territory", Review;
    /// The licence leaves out countries, and one that counts was not stated.
    CountryNotStated = "country-not-stated", "territory", Review;
    /// Outputs are to train models, and the licence forbids that.
    OutputTrainingForbidden = "output-training-forbidden", "output-training", Review;
    /// Outputs are to train models, and the licence allows that within limits.
    OutputTrainingLimited = "output-training-limited", "output-training", Review;
    /// The licence limits training on outputs and the product file does not say whether that is meant.
    OutputTrainingNotStated = "output-training-not-stated", "output-training", Review;
    /// The product's title does not begin with the word that the licence demands.
    NamePrefixMissing = "name-prefix-missing", "name-prefix", Review;
    /// The licensor reserves to restrict use from afar.
    RemoteRestriction = "remote-restriction", "remote-restriction", Note;
    /// The licensor may end the licence without a breach.
    RevocableLicense = "revocable-license", "revocable", Note;
    /// The licensor may change the terms.
    TermsMayChange = "terms-may-change", "licensor-may-change-terms", Note;
    /// Training data stands under a licence that there is no record of.
    DataLicenseUnknown = "data-license-unknown", "data", Review;
    /// Training data stands under a share-alike licence.
    DataShareAlike = "data-share-alike", "share-alike", Review;
    /// Training data must be credited, and nothing says to whom.
    AttributionMissing = "attribution-missing", "attribute-source", Review;
    /// Training data was written by a model whose terms are not known.
    GeneratorUnknown = "generator-unknown", "output-training", Review;
    /// Training data was written by a model whose terms limit training on its outputs.
    GeneratedDataLimited = "generated-data-limited", "output-training", Review;
    /// The base learnt from a data set that is limited.
    DataSetLimited = "data-set-limited", "data", Note;
    /// A question that law or the text leaves open, whose answers differ in effect.
    OpenQuestion = "open-question", "question", Review;
    /// A question that law or the text leaves open; the duties are the same either way.
    NotedQuestion = "noted-question", "question", Note;
    /// The licence lays duties on this use.
    DutiesApply = "duties-apply", "obligations", Obligation;
}

impl FindingCode {
    /// The duty by which a grant of the licensor can answer it.
    pub(super) fn answered_by(self) -> Option<&'static str> {
        use FindingCode as F;
        Some(match self {
            F::RegistrationMissing => "register",
            F::CommercialUseForbidden | F::DerivativeForbidden | F::LimitCrossed | F::LimitReadingOpen => {
                "request-licence"
            }
            F::SameTermsRequired => "same-licence",
            F::FurtherLimits => "no-further-limits",
            F::FieldForbidden | F::FieldRestricted => "follow-use-policy",
            F::TerritoryExcluded => "limit-territory",
            F::OutputTrainingForbidden | F::OutputTrainingLimited => "no-output-training",
            F::NamePrefixMissing => "name-prefix",
            F::BusinessExcluded => "not-provider-kind",
            _ => return None,
        })
    }
}

impl FromStr for FindingCode {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|c| c.name() == name).ok_or_else(|| format!("no such finding: {name}"))
    }
}

impl Serialize for FindingCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for FindingCode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

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
    /// What a person is asked who has to look, where one has; to be answered with yes or no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// How what it rests on is known, where that is no licence text: a model's licence, a data set's, a tokenizer's family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<String>,
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
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $term:literal, $floor:ident, $question:literal;)+) => {
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

            /// What a person is asked who has to look, to be answered with yes or no. `{license}` and `{subject}` are the
            /// finding's, `{what}` is what else it turns on.
            pub fn question(self) -> &'static str {
                match self { $(FindingCode::$variant => $question,)+ }
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
    NoLicense = "no-license", "text", Review,
        "Is it known from elsewhere under which licence {subject} stands, and does that one allow this use?";
    /// A licence file is close to a known text, but not equal to it.
    TextSimilar = "text-similar", "text", Review,
        "Was {subject} compared with the original of {what}, and does no difference change a term?";
    /// A licence file is like no known text.
    TextUnknown = "text-unknown", "text", Review,
        "Has a lawyer read {subject}, and does it allow this use?";
    /// A licence file could not be read as text.
    TextUnreadable = "text-unreadable", "text", Review,
        "Was {subject} read by other means, and does it allow this use?";
    /// The text is not in the base's folder: the vendor alone vouches for it.
    TextVouched = "text-vouched", "text", Review,
        "Is it proven that {subject} is the text under which the base was given out?";
    /// A licensor put another licence in the place of this one.
    TextReplaced = "text-replaced", "text", Note,
        "Was the copy had before {what}?";
    /// Which of two licences binds turns on when the base was had, and that was not stated.
    ObtainedNotStated = "obtained-not-stated", "text", Review,
        "Was the base had before {what}?";
    /// The card names a licence, and its text is not there.
    ClaimedWithoutText = "claimed-without-text", "text", Review,
        "Does the licensor itself say that the base stands under {license}?";
    /// The lineage knows this model with the licence that the card or the vendor names.
    LineageConfirms = "lineage-confirms", "lineage", Note,
        "Is the base the model that it is called after?";
    /// The card names a licence that there is no record of.
    ClaimUnknown = "claim-unknown", "text", Review,
        "Was {what}, which the {subject} names, read, and does it allow this use?";
    /// The card points to an address for its licence, and what stands there was not read.
    LinkNotRead = "link-not-read", "text", Note,
        "Was what stands at {what} read, and does it allow this use?";
    /// The card names another licence than the text, or its link leads to another.
    CardAndTextDiffer = "card-and-text-differ", "text", Review,
        "Has the licensor said which of them holds, and does that one allow this use?";
    /// The card's prose holds a condition that no licence states.
    CardRestricts = "card-restricts", "commercial-use", Review,
        "Has the licensor said that \"{what}\" in the card does not bar this use?";
    /// The hub asks to accept terms before it hands the base out.
    AcceptanceAsked = "acceptance-asked", "text", Note,
        "Has somebody who may bind the company read and accepted what the hub asks for?";
    /// The card offers a choice of licences.
    LicenseChoice = "license-choice", "text", Review,
        "Was one of these picked, and is its text in the base's folder: {what}?";
    /// Several licences bind the base together.
    SeveralLicenses = "several-licenses", "text", Note,
        "Can all of these licences be kept together?";
    /// The vendor states that what the derivative comes from is its own work.
    OwnWorkStated = "own-work-stated", "declared", Note,
        "Did the vendor make {subject} itself, from nothing but this base and the data stated?";
    /// Two statements of the product file contradict each other.
    StatementsContradict = "statements-contradict", "declared", Review,
        "Is it settled which of the two statements is true, and is the product file corrected?";
    /// The record of this licence was not made from its whole text.
    RecordNotRead = "record-not-read", "standing", Review,
        "Has somebody read the whole of {license}, and does it allow this use?";
    /// The base was made from a model whose licence is not known.
    ParentUnknown = "parent-unknown", "lineage", Review,
        "Was the licence of {what} read, and does it allow this use?";
    /// A model is said to be among its own ancestors.
    ParentCycle = "parent-cycle", "lineage", Review,
        "Is it settled which of the two was made from the other?";
    /// The base has the shape of a model under another licence.
    ShapeResembles = "shape-resembles", "lineage", Review,
        "Is it proven that the base was not made from {what}?";
    /// The weights' norms are those of a model under another licence.
    WeightsResemble = "weights-resemble", "lineage", Review,
        "Is it proven that the base was not made from {what}?";
    /// The tokenizer is a family's, and no licence of that family was found.
    TokenizerResembles = "tokenizer-resembles", "lineage", Note,
        "Is it proven that the base has {what}'s tokenizer alone, and none of its weights?";
    /// The weights' tensors have other dimensions than the config names.
    DimensionsDiffer = "dimensions-differ", "lineage", Review,
        "Is it known whose weights these are, and is the config that belongs to them at hand?";
    /// Card, configs and weights name different models that the base was made from.
    ParentsDiffer = "parents-differ", "lineage", Review,
        "Is it settled what the base was made from, and are the licences of all of it judged here?";
    /// What the card says of how the base was made does not fit what is there.
    RelationDiffers = "relation-differs", "lineage", Review,
        "Is it settled how the base was made from its parent?";
    /// The base calls itself by another licence than its parent's, which stays.
    Relicensed = "relicensed", "derivative-own-terms", Review,
        "Had the base's maker the right to give it out under another licence than {license}?";
    /// Neither a config nor a GGUF says what the base is.
    ConfigMissing = "config-missing", "lineage", Note,
        "Is it known by other means which model the base is?";
    /// A text that must travel is not at hand.
    TextNotAtHand = "text-not-at-hand", "ship-licence-text", Review,
        "Will a copy of what {license} wants handed over be at hand before the product ships?";
    /// Two licences ask for what cannot be done together.
    IncompatibleDuties = "incompatible-duties", "same-licence", Review,
        "Has a lawyer found that these duties can be met together?";
    /// The use is commercial and the licence forbids that.
    CommercialUseForbidden = "commercial-use-forbidden", "commercial-use", Review,
        "Has the licensor agreed in writing to commercial use beyond {license}?";
    /// The licence does not say whether the use may be commercial.
    CommercialUseSilent = "commercial-use-silent", "commercial-use", Review,
        "Has the licensor said, or a lawyer found, that {license} allows commercial use?";
    /// The licence is for research, or for uses that earn nothing, and only a person can say whether this is one.
    ResearchOnly = "research-only", "commercial-use", Review,
        "Is this use research, or one that earns nothing, as {license} means it?";
    /// Commercial use needs a registration that no grant names.
    RegistrationMissing = "registration-missing", "register", Review,
        "Is the vendor registered with the licensor of {license}?";
    /// Something that the licensor gave apart from the licence is relied on.
    GrantReliedOn = "grant-relied-on", "request-licence", Note,
        "Is the paper of the grant at hand, and does it say what is stated?";
    /// A stated grant does not cover this use.
    GrantNotApplied = "grant-not-applied", "declared", Note,
        "Is there a grant for this vendor and this use that holds today?";
    /// A stated grant answers nothing.
    GrantUnused = "grant-unused", "declared", Note,
        "Is the grant meant for another licence or another duty?";
    /// A line of users or revenue is crossed.
    LimitCrossed = "limit-crossed", "limit", Review,
        "Has the licensor agreed in writing, beyond {license}, to figures above its line: {what}?";
    /// A line of users or revenue is crossed under one reading of the clause.
    LimitReadingOpen = "limit-reading-open", "limit", Review,
        "As the licensor or a lawyer reads the clause of {license}, {what}?";
    /// A figure that a line of users or revenue is counted by was not stated.
    LimitFigureMissing = "limit-figure-missing", "limit", Review,
        "By the figures of the whole group, {what}?";
    /// A line of users or revenue is kept today.
    LimitKept = "limit-kept", "watch-limit", Note,
        "By the figures of the whole group, {what}?";
    /// The licence forbids handing over a changed model.
    DerivativeForbidden = "derivative-forbidden", "derivative-distribution", Review,
        "Has the licensor agreed in writing that a changed model is handed over, beyond {license}?";
    /// The licence does not say whether a changed model may be handed over.
    DerivativeSilent = "derivative-silent", "derivative-distribution", Review,
        "Has the licensor said, or a lawyer found, that a changed model may be handed over under {license}?";
    /// The derivative must stay under the base's licence, and other terms are declared.
    SameTermsRequired = "same-terms-required", "derivative-own-terms", Review,
        "Has a lawyer found that what ships need not stand under {license}?";
    /// The licence forbids own terms for the derivative.
    OwnTermsForbidden = "own-terms-forbidden", "derivative-own-terms", Review,
        "Has the licensor agreed in writing to own terms for the derivative, beyond {license}?";
    /// The licence does not say whether the derivative may have own terms.
    OwnTermsSilent = "own-terms-silent", "derivative-own-terms", Review,
        "Has the licensor said, or a lawyer found, that the derivative may have own terms under {license}?";
    /// Own terms can cover your own part only.
    BaseStillBound = "base-still-bound", "derivative-own-terms", Note,
        "Does the contract say that the base's part stays under {license}?";
    /// Own terms are allowed, and some of the base's must be in them.
    TermsFlowDown = "terms-flow-down", "use-flow-down", Note,
        "Does the contract with the customer hold the limits of {license}?";
    /// It is unsettled whether an adapter alone is a derivative; it is treated as one.
    AdapterUnsettled = "adapter-unsettled", "adapter-status", Note,
        "Are the duties of {license} done as if the adapter were a derivative?";
    /// The licence forbids hosting.
    HostingForbidden = "hosting-forbidden", "hosting-is-distribution", Review,
        "Has the licensor agreed in writing to hosting, beyond {license}?";
    /// The licence does not say whether hosting counts as handing over.
    HostingSilent = "hosting-silent", "hosting-is-distribution", Review,
        "Has the licensor said, or a lawyer found, that the model may be served to others under {license}?";
    /// The licence has terms on hosting and the product file does not say whether that is meant.
    HostingNotStated = "hosting-not-stated", "hosting-is-distribution", Review,
        "Will anybody serve the product to others over a network?";
    /// Customers may not hand it on, and the licence suffers no further limits.
    FurtherLimits = "further-limits", "no-further-limits", Review,
        "Has a lawyer found that the limits on customers leave what stands under {license} free?";
    /// The licence suffers no further limits and the product file does not say whether customers may hand it on.
    RedistributionNotStated = "redistribution-not-stated", "no-further-limits", Review,
        "May customers hand the product on?";
    /// The product touches a field that the licence and the policy forbid.
    FieldForbidden = "field-forbidden", "field-of-use", Review,
        "Has a lawyer found that the product is outside of what {license} forbids: {what}?";
    /// The product touches a field that the licence restricts.
    FieldRestricted = "field-restricted", "field-of-use", Review,
        "Does the product keep to what {license} allows: {what}?";
    /// The licence restricts fields of use and the product file does not say which it touches.
    FieldsNotStated = "fields-not-stated", "field-of-use", Review,
        "Does the product touch one of these, which {license} restricts: {what}?";
    /// The licence restricts those who compete with its licensor, and whether the vendor does was not stated.
    CompetitionNotStated = "competition-not-stated", "field-of-use", Review,
        "Does the company or an affiliate compete with the licensor of {license}?";
    /// The licence shuts out companies of the vendor's kind.
    BusinessExcluded = "business-excluded", "not-provider-kind", Review,
        "Has the licensor of {license} agreed in writing to a company of this kind: {what}?";
    /// The licence shuts out kinds of company, and the vendor's was not stated.
    BusinessNotStated = "business-not-stated", "not-provider-kind", Review,
        "Is the company one of these, which {license} shuts out: {what}?";
    /// The licence does not reach a country where the product goes.
    TerritoryExcluded = "territory-excluded", "territory", Review,
        "Has the licensor said, or a lawyer found, that {license} allows this use in {what}?";
    /// The licence leaves out countries, and one that counts was not stated.
    CountryNotStated = "country-not-stated", "territory", Review,
        "Is {what}?";
    /// Outputs are to train models, and the licence forbids that.
    OutputTrainingForbidden = "output-training-forbidden", "output-training", Review,
        "Has the licensor agreed in writing that outputs train models, beyond {license}?";
    /// Outputs are to train models, and the licence allows that within limits.
    OutputTrainingLimited = "output-training-limited", "output-training", Review,
        "Does the plan for the outputs keep to what {license} allows: {what}?";
    /// The licence limits training on outputs and the product file does not say whether that is meant.
    OutputTrainingNotStated = "output-training-not-stated", "output-training", Review,
        "Will outputs of the product train models?";
    /// The product's title does not begin with the word that the licence demands.
    NamePrefixMissing = "name-prefix-missing", "name-prefix", Review,
        "Will the product's name begin with {what}?";
    /// The licensor reserves to restrict use from afar.
    RemoteRestriction = "remote-restriction", "remote-restriction", Note,
        "Can the product live with a licensor who may restrict it from afar?";
    /// The licensor may end the licence without a breach.
    RevocableLicense = "revocable-license", "revocable", Note,
        "Can the product live with a licence that may end without a breach?";
    /// The licensor may change the terms.
    TermsMayChange = "terms-may-change", "licensor-may-change-terms", Note,
        "Were the licensor's newest terms read for this release?";
    /// Training data stands under a licence that there is no record of.
    DataLicenseUnknown = "data-license-unknown", "data", Review,
        "Was the licence of {subject} read, and does it allow to train this product?";
    /// Training data stands under a share-alike licence.
    DataShareAlike = "data-share-alike", "share-alike", Review,
        "Has a lawyer found that a model trained on {subject} is no adaptation of it?";
    /// Training data must be credited, and nothing says to whom.
    AttributionMissing = "attribution-missing", "attribute-source", Review,
        "Is it known whom to credit for {subject}?";
    /// Training data was written by a model whose terms are not known.
    GeneratorUnknown = "generator-unknown", "output-training", Review,
        "Were the terms on outputs of the model that wrote {subject} read, and do they allow to train this product?";
    /// Training data was written by a model whose terms limit training on its outputs.
    GeneratedDataLimited = "generated-data-limited", "output-training", Review,
        "Has the licensor said, or a lawyer found, that {license} lets {subject} train this product?";
    /// The base learnt from a data set that is limited.
    DataSetLimited = "data-set-limited", "data", Note,
        "Has a lawyer found that the limits on {subject} do not bind weights that learnt from it?";
    /// A question that law or the text leaves open, whose answers differ in effect.
    OpenQuestion = "open-question", "question", Review,
        "Has this been judged so that the use may go on: {what}?";
    /// A question that law or the text leaves open; the duties are the same either way.
    NotedQuestion = "noted-question", "question", Note,
        "Has this been judged: {what}?";
    /// The licence lays duties on this use.
    DutiesApply = "duties-apply", "obligations", Obligation,
        "Will all of these duties be met?";
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

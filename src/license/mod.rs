//! The law: what the licences of base, parents and data say of a declared use. No tensors, no network; the clock is
//! an argument.
//!
//! [`Subject::read`] gathers the evidence of a base's folder, [`check`] meets the facts of every licence that binds
//! with the declared [`Use`], [`Report::clear`] makes the [`Clearance`] without which nothing is packed.

mod agreement;
mod annex;
mod chain;
mod claims;
mod clauses;
mod compare;
mod countries;
mod dates;
mod declared;
mod doubts;
mod evidence;
mod expression;
mod facts;
mod fields;
mod finding;
mod follow;
mod grants;
mod handing;
mod identify;
mod incompatible;
mod judge;
mod labels;
mod limits;
mod lineage;
mod links;
mod markup;
mod member;
mod norms;
mod obligations;
mod org;
mod origins;
mod papers;
mod parents;
mod parts;
mod policy;
mod reading;
mod rules;
mod ruling;
mod says;
mod scan;
mod shape;
mod shipped;
mod signs;
mod sketch;
mod spans;
mod statements;
mod subject;
mod tensors;
mod text;
mod texts;
mod verdict;
mod why;
mod words;

pub use clauses::{Change, Clause, Difference};
pub use compare::{Account, Changes, CustomerStep, Part, Sameness, Step};
pub use declared::{Covered, Customer, DataOrigin, Grant, Origin, Ship, Use};
pub use evidence::{Evidence, Topic};
pub use facts::{DerivativeDistribution, Record, Role, Standing};
pub use finding::{Finding, FindingCode, Ruled, Severity};
pub use identify::{Identity, clauses, differences, fingerprint, identify};
pub use member::{How, Listed};
pub use norms::{NormPrint, Norms};
pub use obligations::Obligation;
pub use org::Decision;
pub use policy::{DoneBy, ObligationWord, Policies};
pub use reading::{ReadText, Reading};
pub use ruling::{
    Digests, FILE_NAME as RULINGS, Ruling, RulingKey, RulingSignature, RulingState, read as read_rulings,
    write as write_rulings,
};
pub use says::{Clauses, Said, clauses_behind};
pub use shape::Shape;
pub use shipped::{Asked, FactChange, Shipped, Watched};
pub use sketch::Sketch;
pub use subject::{Adapter, Claim, MAX_FILES, Subject, TextFile, is_evidence_name};
pub use text::{MAX_BYTES, tokens};
pub use verdict::{Clearance, CustomerVerdict, DISCLAIMER, Report, Verdict, check};
pub use why::{Possible, Trace, Why, why};

//! The law: what the licences of base, parents and data say of a declared use. No tensors, no network; the clock is
//! an argument.
//!
//! [`Subject::read`] gathers the evidence of a base's folder, [`check`] meets the facts of every licence that binds
//! with the declared [`Use`], [`Report::clear`] makes the [`Clearance`] without which nothing is packed.

mod declared;
mod evidence;
mod facts;
mod finding;
mod report;
mod rules;
mod ruling;
mod text;
mod verdict;

pub use declared::{Covered, Customer, DataOrigin, Grant, Origin, Ship, Use};
pub use evidence::norms::{NormPrint, Norms};
pub use evidence::piece::{Evidence, Topic};
pub use evidence::shape::Shape;
pub use evidence::subject::{Adapter, Claim, MAX_FILES, Subject, TextFile, is_evidence_name};
pub use facts::identify::{Identity, clauses, differences, fingerprint, identify};
pub use facts::org::Decision;
pub use facts::policy::{DoneBy, ObligationWord, Policies};
pub use facts::reading::{ReadText, Reading};
pub use facts::record::{DerivativeDistribution, Record, Role, Standing};
pub use finding::{Finding, FindingCode, Ruled, Severity};
pub use report::compare::{Account, Changes, CustomerStep, Part, Sameness, Step};
pub use report::says::{Clauses, Said, clauses_behind};
pub use report::shipped::{Asked, FactChange, Shipped, Watched};
pub use report::why::{Possible, Trace, Why, why};
pub use rules::member::{How, Listed};
pub use rules::obligations::Obligation;
pub use ruling::{
    Digests, FILE_NAME as RULINGS, Ruling, RulingKey, RulingSignature, RulingState, read as read_rulings,
    write as write_rulings,
};
pub use text::clauses::{Change, Clause, Difference};
pub use text::sketch::Sketch;
pub use text::stream::{MAX_BYTES, tokens};
pub use verdict::{Clearance, CustomerVerdict, DISCLAIMER, Report, Verdict, check};

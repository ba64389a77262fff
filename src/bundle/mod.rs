//! The bundle: the file that ships. `FORMAT.md` is its specification; each file here names its section.
//!
//! [`pack`] writes one out of what a clearance gives; [`verify`] and [`signed`] are the only ways to a [`Signed`],
//! which [`Signed::open`] and [`Signed::open_into`] turn into the derivative when an identity, the clock, the base and
//! the use agree with the entitlement.

mod active;
mod admission;
mod bom;
mod content;
mod derivative;
mod entitlement;
mod frames;
mod gather;
mod inspect;
mod keys;
mod layout;
pub mod limits;
mod manifest;
mod model_sig;
mod notices;
mod open;
mod opening;
mod papers;
mod plan;
mod renewal;
mod revocations;
mod ring;
mod seal;
mod sealing;
mod seen;
mod sign;
mod stream;
mod tail;
mod trust;
mod verify;
mod walk;

#[cfg(test)]
mod tests;

pub use active::{Active, active_content};
pub use admission::{Admission, Licence, Report, Verdict};
pub use content::Content;
pub use derivative::SourceFile;
pub use entitlement::{Base, Entitlement, Use};
#[doc(hidden)]
pub use frames::read_frames;
pub use gather::{Gathered, gather};
pub use inspect::{Inspected, inspect};
pub use keys::{Identities, Nobody, Person, Recipient, write_new_identity};
pub use manifest::{Entry, Manifest, Payload, ProductName, Recipe, Vendor};
pub use model_sig::NAME as MODEL_SIG;
pub use open::{Opened, Request};
pub use papers::{Duty, Papers};
pub use plan::PackPlan;
pub use renewal::Renewal;
pub use revocations::{Revocations, RevokedBundle, RevokedKey};
pub use seal::{Packed, pack};
pub use seen::Seen;
pub use tail::Tail;
pub use trust::Trust;
pub use verify::{Signed, signed, verify};
pub use walk::is_paper;

/// Where a bundle's renewal is looked for: `shop-1.0.0-acme.renewal` beside `shop-1.0.0-acme.sealed`.
pub fn renewal_beside(bundle: &std::path::Path) -> std::path::PathBuf {
    bundle.with_extension("renewal")
}

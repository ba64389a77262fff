//! The last mile of an open-weights model: fine-tune it, clear its licence, seal it for a customer.
//!
//! The rooms, from the ground up: [`base`] reads the open model, [`kernels`] are the arithmetic, [`model`]
//! is the network, [`adapter`] the derivative on disk, [`train`] the learning, [`license`] the law, [`bundle`]
//! the artifact, [`net`] the way out. No arrow runs back up: see `ARCHITECTURE.md`.
//!
//! The whole walk. Its two gates are values that one room alone can make: without a [`license::Clearance`] there are
//! no [`bundle::Papers`] to pack, and only [`bundle::signed`] and [`bundle::verify`] give a [`bundle::Signed`] to open.
//!
//! ```no_run
//! # #[cfg(feature = "ml")]
//! # mod example {
//! use sealwright::{Result, base::Base, bundle, license, train};
//! use std::{path::Path, sync::atomic::AtomicBool};
//!
//! // The vendor: what may I do, learn, seal.
//! fn vendor(base: &Base, asked: &license::Use, plan: &train::Plan, out: &Path) -> Result<()> {
//!     let policies = license::Policies::load(None)?;
//!     let subject = license::Subject::read(base, None)?;
//!     let report = license::check(&subject, asked, &policies, &[], jiff::Timestamp::now());
//!     let papers = bundle::Papers::from_clearance(&report.clear()?);
//!     let trained = train::run(base, plan, &mut |_event| {}, &AtomicBool::new(false))?;
//!     let files = bundle::gather(&trained.folder, None)?.files;
//!     let content = bundle::Content::new(&files, None)?;
//!     bundle::pack(&shipment(&papers, &content), out).map(|_| ())
//! }
//!
//! // The customer: whose is it, may I, and then the derivative, in memory.
//! fn customer(bundle: &Path, trust: &bundle::Trust, request: &bundle::Request) -> Result<bundle::Opened> {
//!     bundle::signed(bundle, trust)?.open(request)
//! }
//! # fn shipment<'a>(_: &'a bundle::Papers, _: &'a bundle::Content) -> bundle::PackPlan<'a> { loop {} }
//! # }
//! ```

#![forbid(clippy::print_stdout, clippy::print_stderr)]
#![warn(missing_docs)]

#[cfg(test)]
extern crate self as sealwright; // so that unit tests share what the integration tests are made of

pub mod adapter;
pub mod base;
pub mod bundle;
pub mod data;
pub mod digest;
pub mod error;
#[cfg(feature = "ml")]
pub mod kernels;
pub mod ledger;
pub mod license;
#[cfg(feature = "ml")]
pub mod model;
#[cfg(feature = "net")]
pub mod net;
mod partial;
pub mod product;
pub mod sign;
#[cfg(feature = "ml")]
pub mod train;

pub use error::{Code, Error, Result};

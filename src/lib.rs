//! The last mile of an open-weights model: fine-tune it, clear its licence, seal it for a customer.
//!
//! The rooms, from the ground up: [`base`] reads the open model, [`kernels`] are the arithmetic, [`model`]
//! is the network, [`adapter`] the derivative on disk, [`train`] the learning, [`license`] the law, [`bundle`]
//! the artifact. No arrow runs back up: see `ARCHITECTURE.md`.

#![forbid(clippy::print_stdout, clippy::print_stderr)]
#![warn(missing_docs)]

pub mod adapter;
pub mod base;
pub mod bundle;
pub mod data;
pub mod digest;
pub mod error;
#[cfg(feature = "ml")]
pub mod kernels;
pub mod license;
#[cfg(feature = "ml")]
pub mod model;
pub mod product;
#[cfg(feature = "ml")]
pub mod train;

pub use error::{Code, Error, Result};

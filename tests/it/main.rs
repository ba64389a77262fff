//! The integration tests: one binary, a file a room.

mod admission;
mod attacks;
mod bundle;
mod cases;
mod commands;
mod corpus;
mod duties;
mod evidence;
mod fuzzing;
mod hearsay;
mod house;
mod license;
mod license_chain;
mod license_use;
mod pack;
mod policies;
mod properties;
mod reports;
mod rulings;
mod texts;
mod trust;
mod watch;

#[cfg(feature = "net")]
mod net;

#[cfg(feature = "ml")]
mod engine;
#[cfg(feature = "ml")]
mod gguf;
#[cfg(feature = "ml")]
mod memory;
#[cfg(feature = "ml")]
mod templates;
#[cfg(feature = "ml")]
mod tokenizers;
#[cfg(feature = "ml")]
mod train;
#[cfg(feature = "ml")]
mod walk;

//! The integration tests: one binary, a file a room.

mod attacks;
mod bundle;
mod cases;
mod commands;
mod corpus;
mod house;
mod license;
mod license_use;
mod pack;
mod policies;
mod reports;
mod trust;

#[cfg(feature = "net")]
mod net;

#[cfg(feature = "ml")]
mod engine;
#[cfg(feature = "ml")]
mod train;
#[cfg(feature = "ml")]
mod walk;

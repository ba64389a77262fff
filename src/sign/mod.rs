//! Keys that sign, and what they sign: DSSE envelopes, one payload type for each kind of statement.
//!
//! A [`SigningKey`] is a PEM file, with or without a passphrase, or a command that has the key elsewhere. A
//! [`Statement`] is a document that is signed on its own: [`sign`] makes its file, [`open`] is the way back.

mod command;
mod dsse;
mod key;
mod pem;
mod public;

pub use dsse::{Envelope, Signature, Statement, open, pae, parse_canonical, sign, unproven};
pub use key::SigningKey;
pub use public::PublicKey;

/// Bytes of a key file.
pub const MAX_KEY_BYTES: u64 = 64 << 10;
/// Bytes of a statement's file.
pub const MAX_STATEMENT_BYTES: u64 = 8 << 20;

/// Asks a person, or whoever stands in for one, for the secret that is named.
pub type Ask<'a> = &'a dyn Fn(&str) -> crate::Result<secrecy::SecretString>;

//! The network: what this program fetches and sends, and how little it believes of what it gets. Nothing else in the
//! house opens a connection.
//!
//! [`hub`] fetches bases from the Hugging Face hub, [`oci`] sends bundles to registries and fetches them. Sizes, names, counts and redirects of a server are limited, a file
//! has its final name only when its digest is right, and a secret goes to the host that it is for and to no other.

mod download;
mod http;
pub mod hub;
pub mod oci;
mod url;

pub use http::Client;
pub use url::Url;

/// What happens while files come or go, for whoever shows progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A file begins.
    Begin {
        /// Its name.
        name: &'a str,
        /// Its bytes.
        size: u64,
        /// Bytes of it that were there before.
        have: u64,
    },
    /// So many more bytes of it.
    Bytes(u64),
    /// The connection was lost; the next try goes on at this byte of the file.
    Again(u64),
    /// The file is whole.
    End,
}

/// Whoever is told.
pub type Listener<'a> = dyn FnMut(Event<'_>) + 'a;

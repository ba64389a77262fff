//! OCI registries: a bundle goes as an artifact of several blobs, and comes back byte for byte.
//!
//! Its last blob is small and holds manifest and signature: [`offer`] fetches it alone, so that signer, dates and size
//! are judged before [`Offer::fetch`] lets the rest come. Both ways go on where they were cut off.

mod artifact;
mod credentials;
mod pull;
mod push;
mod reference;
mod session;

pub use pull::{Offer, Pulled, offer};
pub use push::{Pushed, push};
pub use reference::{Reference, Target};

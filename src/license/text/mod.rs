//! The words: a licence text becomes a stream of tokens, its clauses, and fingerprints of both.

pub(in crate::license) mod clauses;
pub(in crate::license) mod expression;
pub(in crate::license) mod labels;
pub(in crate::license) mod markup;
pub(in crate::license) mod scan;
pub(in crate::license) mod sketch;
pub(in crate::license) mod spans;
pub(in crate::license) mod stream;

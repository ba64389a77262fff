//! The evidence: what a base's folder holds and claims. Gathered, not judged.

pub(in crate::license) mod norms;
pub(in crate::license) mod piece;
pub(in crate::license) mod shape;
pub(in crate::license) mod subject;
pub(in crate::license) mod tensors;

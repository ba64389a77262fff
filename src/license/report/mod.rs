//! What is made of a judgement: why, what changed, papers and annex.

pub(in crate::license) mod annex;
pub(in crate::license) mod compare;
pub(in crate::license) mod papers;
pub(in crate::license) mod says;
pub(in crate::license) mod shipped;
pub(in crate::license) mod why;

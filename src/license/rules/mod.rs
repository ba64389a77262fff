//! The rules: the facts of each licence that binds, met by the declared use.

pub(in crate::license) mod chain;
pub(in crate::license) mod claims;
pub(in crate::license) mod dates;
pub(in crate::license) mod doubts;
pub(in crate::license) mod fields;
pub(in crate::license) mod follow;
pub(in crate::license) mod grants;
pub(in crate::license) mod handing;
pub(in crate::license) mod incompatible;
pub(in crate::license) mod judge;
pub(in crate::license) mod limits;
pub(in crate::license) mod member;
pub(in crate::license) mod obligations;
pub(in crate::license) mod origins;
pub(in crate::license) mod parents;
pub(in crate::license) mod statements;
pub(in crate::license) mod terms;
pub(in crate::license) mod texts;

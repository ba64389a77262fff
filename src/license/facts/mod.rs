//! What is known: records of licences, models, data sets, and what an organisation decided; and which text is which.

pub(in crate::license) mod agreement;
pub(in crate::license) mod countries;
pub(in crate::license) mod identify;
pub(in crate::license) mod lineage;
pub(in crate::license) mod links;
pub(in crate::license) mod org;
pub(in crate::license) mod parts;
pub(in crate::license) mod policy;
pub(in crate::license) mod reading;
pub(in crate::license) mod record;
pub(in crate::license) mod signs;
pub(in crate::license) mod words;

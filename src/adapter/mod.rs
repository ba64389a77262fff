//! The derivative on disk: what was adapted and how (recipe), the PEFT folder, and the provenance of one training.
//!
//! No tensor library: an auditor's build reads adapters too. With `ml` also the merge.

#[cfg(feature = "ml")]
mod merge;
mod peft;
mod recipe;
mod record;

#[cfg(feature = "ml")]
pub use merge::{MERGED, merge};
pub use peft::{Adapter, CONFIG_FILE, MAX_TENSOR_BYTES, Module, TENSOR_FILE, read, write};
pub use recipe::{MAX_CONFIG_BYTES, MAX_RANK, Recipe};
pub use record::{DataFile, HeldOut, RECORD_FILE, RunRecord, StepLoss};

/// Where a product's own adapter lies, in its state folder.
pub const FOLDER: &str = "adapter";

//! Cards by NVIDIA: the kernels as sources inside the program, compiled for the card at hand and kept on disk; the
//! libraries looked for at run time, so that a machine without any starts as before.
//!
//! Every kernel runs unchanged on a CPU in tests (`tests/shim`), held to the operations beside this folder.

mod attend;
mod cache;
mod card;
mod compile;
mod cubin;
mod driver;
#[cfg(test)]
mod emulator;
mod launch;
mod library;
mod nccl;
mod ops;
mod packed;
mod source;
#[cfg(test)]
mod tests;

pub use attend::{CardScores, Tiles};
pub use cache::kernels_of;
pub use card::{Buffer, Card};
pub use compile::{Code, TARGETS, compile, nvrtc_version};
pub use cubin::{Usage, usage};
pub use launch::Transpose;
pub use library::{Library, Probe};
pub use nccl::CardRanks;
pub use ops::{Blocks, Norm, Packed, Part, Rows};
pub use packed::Weight;
pub use source::{Element, Unit};

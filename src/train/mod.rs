//! Learning: plan, data, template, batch, schedule, optimiser, checkpoint, evaluation, and the loop over them.
//!
//! Everything that changes the result is in the [`Plan`]; the same plan gives the same adapter, byte for byte, on
//! the same device, whatever the number of threads and however often it was stopped.

pub mod batch;
pub mod checkpoint;
pub mod curve;
pub mod data;
mod device;
mod draw;
pub mod eval;
mod event;
pub mod lora;
pub mod machine;
mod material;
pub mod memory;
mod optim;
mod plan;
mod ranks;
mod run;
mod schedule;
pub mod template;

#[cfg(feature = "cuda")]
pub use device::CardForecast;
pub use device::Device;
pub use event::{Event, Step, Trained};
pub use material::{Counts, Material};
pub use plan::{Format, Identity, Length, Matching, Plan, Questions, Source};
pub use ranks::{Launch, Ranks};
pub use run::{finished, forget, run, run_together};
pub use schedule::Schedule;

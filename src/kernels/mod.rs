//! The arithmetic, over plain f32 slices: every operation fast on the CPU, with its backward beside it.
//!
//! No file here knows of a model. Each operation is held to its slow truth in f64 (`reference`, tests only) and
//! each backward to finite differences. Results have the same bits whatever the number of threads: work is split
//! by the shapes alone, and every sum runs in a fixed order. Between sets of vector instructions (`isa`) only what is
//! multiplied differs.

mod activation;
mod adamw;
mod attention;
mod bf16;
mod cross_entropy;
#[cfg(feature = "cuda")]
pub mod cuda;
mod exp;
mod frozen;
mod ggml;
mod int8;
mod isa;
mod lanes;
mod matmul;
mod nf4;
mod norm;
#[cfg(test)]
pub(crate) mod reference;
mod rope;
mod route;
mod tanh;

pub use activation::{Activation, Curve};
pub use adamw::AdamW;
pub use attention::{AttentionGrad, Heads, Scores, attention, attention_backward, attention_cached};
pub use bf16::Compute;
pub use cross_entropy::{CrossEntropy, cap_logits, linear_cross_entropy};
pub use exp::exp;
pub use frozen::{Bytes, Format, Frozen, PANEL_BYTES};
pub use ggml::blocks;
pub use int8::Int8;
pub use isa::Isa;
pub use lanes::dot;
pub use matmul::{Mat, MatMut, Threads, add_rows, matmul};
pub use nf4::{Nf4, Nf4Parts};
pub use norm::{Centre, HeadNorm, head_norm, head_norm_backward, norm, norm_backward, norm_with};
pub use rope::{Pairs, Rope, Scaling, rope, rope_backward};
pub use route::{Among, route, route_backward};
pub use tanh::tanh;

/// Rows that one task of an elementwise operation takes.
const ROWS: usize = 16;

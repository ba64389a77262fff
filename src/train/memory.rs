//! What a run will need, told before the weights are read: it fits the memory at hand, or it says what would.

use super::machine;
use super::plan::Plan;
use crate::base::Base;
use crate::base::family::Family;
use crate::base::weights::Tensors;
use crate::error::{Code, Error, Result};
use crate::kernels::Compute;
use crate::model::{Keep, Memory, Quantize, Shape, weight_bytes};

/// The share of the memory at hand that a run may plan for; the rest is for the data, the program and the system.
const USABLE: f64 = 0.9;

/// What a run will hold, and what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// Bytes that the program holds already: itself, the tokenizer, the data.
    pub program: u64,
    /// Bytes to come, by what they are for.
    pub needed: Memory,
    /// Bytes that all of it may take: what the plan says, or what can be had without swapping; unknown where neither
    /// tells.
    pub room: Option<u64>,
    /// What the forward keeps: as much as fits, for speed. The result is the same.
    pub keep: Keep,
    /// L
    pub layers: usize,
    /// Rows that go through the network at a time.
    pub micro_batch: usize,
    /// In what numbers the base's matrices are multiplied.
    pub compute: Compute,
}

impl Forecast {
    /// Blocks whose activations stay until the backward.
    pub fn blocks_kept(&self) -> usize {
        match self.keep {
            Keep::All => self.layers,
            Keep::Blocks(blocks) => blocks,
            Keep::Inputs => 0,
        }
    }

    /// The process's peak (`VmHWM`).
    pub fn total(&self) -> u64 {
        self.program + self.needed.total() as u64
    }
}

/// Plans what is kept and what is made again, or refuses at once and names the smallest change that would fit.
pub fn forecast(base: &Base, plan: &Plan, targets: &[String]) -> Result<Forecast> {
    let family = Family::of(&base.config)?;
    let shape = Shape::of(&base.config, &family)?;
    if let Some(longest) = shape.longest.filter(|longest| plan.sequence > *longest) {
        return Err(Error::new(
            Code::UnsupportedBase,
            format!("rows of {} tokens; the engine reads this base up to {longest}", plan.sequence),
        )
        .with_hint(format!("train.sequence = {longest}")));
    }
    let tensors = Tensors::of(base)?;
    let sides = adapted_sides(&tensors, targets);
    let program = machine::resident();
    let room = match plan.memory {
        Some(memory) => Some(memory),
        None => machine::memory_available().map(|free| program + (free as f64 * USABLE) as u64),
    };
    let can_quantize = plan.quantize.is_none() && !tensors.is_gguf;
    Judge { plan, program, room, layers: shape.layers, can_quantize }.judge(|plan, keep| {
        let weights = weight_bytes(&tensors, &family, plan.quantize);
        shape.memory(weights, plan.micro_batch() * plan.sequence, plan.rank, plan.rank * sides, keep)
    })
}

/// What data take by their size on disk: their text while it is read, and four bytes a token.
const DATA_SHARE: u64 = 3;

/// Refuses data that would fill the memory before any planning: they are held as tokens, all of them.
pub(super) fn data_fits(plan: &Plan) -> Result<()> {
    let sizes = plan.data.iter().map(|source| source.path.metadata().map_or(0, |file| file.len()));
    let needed = DATA_SHARE * sizes.sum::<u64>();
    let room = plan.memory.map(|memory| memory.saturating_sub(machine::resident())).or_else(machine::memory_available);
    match room {
        Some(room) if needed > (room as f64 * USABLE) as u64 => Err(Error::new(
            Code::OutOfMemory,
            format!("the data take about {} MiB when they are read, and {} MiB are free", needed >> 20, room >> 20),
        )
        .with_hint(format!(
            "split them into files of at most {} MiB and learn from one after the other: `train.init` goes on from an \
             adapter",
            ((room as f64 * USABLE) as u64 / DATA_SHARE) >> 20
        ))),
        _ => Ok(()),
    }
}

/// Σ (in + out) over the adapted projections: so many values a rank.
fn adapted_sides(tensors: &Tensors, targets: &[String]) -> usize {
    let is_adapted = |name: &str| {
        let module = name.strip_suffix(".weight").unwrap_or_default();
        targets.iter().any(|t| module.rsplit('.').next() == Some(t))
    };
    tensors.list.iter().filter(|t| t.shape.len() == 2 && is_adapted(&t.name)).flat_map(|t| &t.shape).sum()
}

/// What a plan is judged by.
struct Judge<'a> {
    plan: &'a Plan,
    program: u64,
    room: Option<u64>,
    layers: usize,
    can_quantize: bool,
}

impl Judge<'_> {
    fn judge(&self, need: impl Fn(&Plan, Keep) -> Memory) -> Result<Forecast> {
        let total = |plan: &Plan, keep| self.program + need(plan, keep).total() as u64;
        let fits = |plan: &Plan, keep| self.room.is_none_or(|room| total(plan, keep) <= room);
        let fewer_and_fewer = (1..self.layers).rev().map(Keep::Blocks);
        let keeps = [Keep::All].into_iter().chain(fewer_and_fewer).chain([Keep::Inputs]);
        if let Some(keep) = keeps.into_iter().find(|keep| fits(self.plan, *keep)) {
            let Self { program, room, layers, .. } = *self;
            let (needed, micro_batch) = (need(self.plan, keep), self.plan.micro_batch());
            return Ok(Forecast { program, needed, room, keep, layers, micro_batch, compute: self.plan.compute });
        }
        let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
        let error = Error::new(
            Code::OutOfMemory,
            format!(
                "this training needs {} MiB, and {} MiB are there to plan with",
                mebibytes(total(self.plan, Keep::Inputs)),
                self.room.unwrap_or(u64::MAX) >> 20
            ),
        );
        Err(match self.smaller().into_iter().find(|(_, smaller)| fits(smaller, Keep::Inputs)) {
            Some((change, plan)) => {
                error.with_hint(format!("{change} would need {} MiB", mebibytes(total(&plan, Keep::Inputs))))
            }
            None => error.with_hint(format!(
                "the weights alone take {} MiB; use a machine with more memory, or a smaller base",
                mebibytes(need(self.plan, Keep::Inputs).weights as u64)
            )),
        })
    }

    /// Smaller plans, the least felt change first: fewer rows at a time, then fewer bits of the base, then shorter rows.
    fn smaller(&self) -> Vec<(String, Plan)> {
        let plan = self.plan;
        let fewer = (1..plan.micro_batch())
            .rev()
            .map(|n| (format!("train.micro-batch = {n}"), Plan { micro_batch: Some(n), ..plan.clone() }));
        let with_one_row = if plan.micro_batch() > 1 { " with train.micro-batch = 1" } else { "" };
        let quantized = |(word, quantize)| {
            let change = format!("base.quantize = \"{word}\"{with_one_row}");
            (change, Plan { quantize: Some(quantize), micro_batch: Some(1), ..plan.clone() })
        };
        let fewer_bits = [("int8", Quantize::Int8), ("nf4", Quantize::Nf4)].map(quantized);
        let shorter = std::iter::successors(Some(plan.sequence / 2), |s| Some(s / 2)).take_while(|s| *s >= 16);
        let shorter = shorter.map(|s| {
            let change = format!("train.sequence = {s} with train.micro-batch = 1");
            (change, Plan { sequence: s, micro_batch: Some(1), ..plan.clone() })
        });
        fewer.chain(fewer_bits.into_iter().filter(|_| self.can_quantize)).chain(shorter).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Length, Plan};

    fn plan() -> Plan {
        Plan {
            data: vec![],
            questions: None,
            base_name: "b".into(),
            quantize: None,
            compute: Default::default(),
            rank: 8,
            alpha: 8.0,
            targets: vec![],
            length: Length::Steps(1),
            batch: 4,
            micro_batch: Some(4),
            sequence: 128,
            learning_rate: 1e-3,
            warmup: None,
            weight_decay: 0.0,
            clip: 1.0,
            seed: 1,
            validation: 0.0,
            checkpoint_every: 1,
            init: None,
            memory: None,
            folder: "f".into(),
        }
    }

    /// 1000 MiB of weights; 10 MiB a token and four layers when all is kept, 1 when nothing is.
    fn need(plan: &Plan, keep: Keep) -> Memory {
        let tokens = plan.micro_batch() * plan.sequence;
        let kept = match keep {
            Keep::All => 10 * tokens,
            Keep::Blocks(blocks) => tokens + 2 * blocks * tokens,
            Keep::Inputs => tokens,
        };
        let weights = match plan.quantize {
            None => 1000,
            Some(Quantize::Int8) => 500,
            Some(Quantize::Nf4) => 250,
        };
        Memory { weights: weights << 20, adapter: 0, kept: kept << 20, shared: 0 }
    }

    /// 100 MiB are held already.
    fn judged(plan: &Plan, mebibytes: Option<u64>, can_quantize: bool) -> Result<Forecast> {
        let room = mebibytes.map(|m| m << 20);
        Judge { plan, program: 100 << 20, room, layers: 4, can_quantize }.judge(need)
    }

    #[test]
    fn what_fits_keeps_as_much_as_it_can() {
        for (mebibytes, keep) in
            [(6220, Keep::All), (6219, Keep::Blocks(3)), (2700, Keep::Blocks(1)), (2635, Keep::Inputs)]
        {
            let forecast = judged(&plan(), Some(mebibytes), true).unwrap();
            assert_eq!(forecast.keep, keep);
            assert!(forecast.total() <= mebibytes << 20);
        }
        assert_eq!(judged(&plan(), None, true).unwrap().keep, Keep::All);
    }

    #[test]
    fn what_does_not_fit_hears_the_smallest_change_and_that_fits() {
        let change = |said: &str, plan: Plan| match said {
            "train.micro-batch = 3 would need 1484 MiB" => Plan { micro_batch: Some(3), ..plan },
            "train.micro-batch = 1 would need 1228 MiB" => Plan { micro_batch: Some(1), ..plan },
            "base.quantize = \"int8\" with train.micro-batch = 1 would need 728 MiB" => {
                Plan { micro_batch: Some(1), quantize: Some(Quantize::Int8), ..plan }
            }
            "base.quantize = \"nf4\" with train.micro-batch = 1 would need 478 MiB" => {
                Plan { micro_batch: Some(1), quantize: Some(Quantize::Nf4), ..plan }
            }
            "train.sequence = 64 with train.micro-batch = 1 would need 1164 MiB" => {
                Plan { micro_batch: Some(1), sequence: 64, ..plan }
            }
            other => panic!("{other}"),
        };
        for (mebibytes, can_quantize) in [(1611, true), (1230, true), (1200, true), (500, true), (1200, false)] {
            let error = judged(&plan(), Some(mebibytes), can_quantize).unwrap_err();
            assert_eq!(error.code, Code::OutOfMemory);
            let smaller = change(error.hint().unwrap(), plan());
            judged(&smaller, Some(mebibytes), can_quantize).unwrap();
        }
        let error = judged(&plan(), Some(1000), false).unwrap_err();
        assert!(error.hint().unwrap().starts_with("the weights alone take 1000 MiB"), "{error}");
    }
}

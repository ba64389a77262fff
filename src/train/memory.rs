//! What a run will need, told before the weights are read: it fits the memory at hand, or it says what would.

use super::machine;
use super::plan::Plan;
use crate::base::Base;
use crate::base::family::Family;
use crate::base::weights::Tensors;
use crate::error::{Code, Error, Result};
use crate::model::{Keep, Memory, Shape, weight_bytes};

/// The share of the memory at hand that a run may plan for; the rest is for the data, the program and the system.
const USABLE: f64 = 0.9;

/// What a run will hold, and what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// Bytes, by what they are for.
    pub needed: Memory,
    /// Bytes that can be had without swapping; unknown where the system doesn't tell.
    pub available: Option<u64>,
    /// What the forward keeps: all where it fits, for speed. The result is the same.
    pub keep: Keep,
    /// Rows that go through the network at a time.
    pub micro_batch: usize,
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
    let weights = weight_bytes(&tensors, &family, plan.quantize);
    judge(plan, machine::memory_available(), |plan, keep| {
        shape.memory(weights, plan.micro_batch() * plan.sequence, plan.rank, plan.rank * sides, keep)
    })
}

/// Σ (in + out) over the adapted projections: so many values a rank.
fn adapted_sides(tensors: &Tensors, targets: &[String]) -> usize {
    let is_adapted = |name: &str| {
        let module = name.strip_suffix(".weight").unwrap_or_default();
        targets.iter().any(|t| module.rsplit('.').next() == Some(t))
    };
    tensors.list.iter().filter(|t| t.shape.len() == 2 && is_adapted(&t.name)).flat_map(|t| &t.shape).sum()
}

fn judge(plan: &Plan, available: Option<u64>, need: impl Fn(&Plan, Keep) -> Memory) -> Result<Forecast> {
    let room = available.map_or(u64::MAX, |a| (a as f64 * USABLE) as u64);
    let fits = |plan: &Plan, keep| need(plan, keep).total() as u64 <= room;
    if let Some(keep) = [Keep::All, Keep::Inputs].into_iter().find(|keep| fits(plan, *keep)) {
        return Ok(Forecast { needed: need(plan, keep), available, keep, micro_batch: plan.micro_batch() });
    }
    let mebibytes = |bytes: usize| bytes >> 20;
    let needed = need(plan, Keep::Inputs);
    let error = Error::new(
        Code::OutOfMemory,
        format!("this training needs {} MiB, and {} MiB are free to plan with", mebibytes(needed.total()), room >> 20),
    );
    Err(match smaller(plan).into_iter().find(|(_, smaller)| fits(smaller, Keep::Inputs)) {
        Some((change, plan)) => {
            error.with_hint(format!("{change} would need {} MiB", mebibytes(need(&plan, Keep::Inputs).total())))
        }
        None => error.with_hint(format!(
            "the weights alone take {} MiB; use a machine with more memory, or a smaller base",
            mebibytes(needed.weights)
        )),
    })
}

/// Smaller plans, the least felt change first: fewer rows at a time, then shorter rows.
fn smaller(plan: &Plan) -> Vec<(String, Plan)> {
    let fewer = (1..plan.micro_batch())
        .rev()
        .map(|n| (format!("train.micro-batch = {n}"), Plan { micro_batch: Some(n), ..plan.clone() }));
    let shorter = std::iter::successors(Some(plan.sequence / 2), |s| Some(s / 2)).take_while(|s| *s >= 16).map(|s| {
        let change = format!("train.sequence = {s} with train.micro-batch = 1");
        (change, Plan { sequence: s, micro_batch: Some(1), ..plan.clone() })
    });
    fewer.chain(shorter).collect()
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
            folder: "f".into(),
        }
    }

    /// 1000 bytes of weights; 10 bytes a token when all is kept, 1 when not.
    fn need(plan: &Plan, keep: Keep) -> Memory {
        let tokens = plan.micro_batch() * plan.sequence;
        let kept = if keep == Keep::All { 10 * tokens } else { tokens };
        Memory { weights: 1000 << 20, adapter: 0, kept: kept << 20, shared: 0 }
    }

    fn judged(mebibytes: u64) -> Result<Forecast> {
        judge(&plan(), Some(((mebibytes << 20) as f64 / USABLE) as u64 + 2), need)
    }

    #[test]
    fn what_fits_keeps_as_much_as_it_can() {
        assert_eq!(judged(6120).unwrap().keep, Keep::All);
        assert_eq!(judged(6119).unwrap().keep, Keep::Inputs);
        assert_eq!(judge(&plan(), None, need).unwrap().keep, Keep::All);
    }

    #[test]
    fn what_does_not_fit_hears_the_smallest_change() {
        for (mebibytes, said) in [
            (1511, "train.micro-batch = 3 would need 1384 MiB"),
            (1130, "train.micro-batch = 1 would need 1128 MiB"),
            (1100, "train.sequence = 64 with train.micro-batch = 1 would need 1064 MiB"),
            (900, "the weights alone take 1000 MiB"),
        ] {
            let error = judged(mebibytes).unwrap_err();
            assert_eq!(error.code, Code::OutOfMemory);
            assert!(error.hint().unwrap().starts_with(said), "{mebibytes}: {:?}", error.hint());
        }
    }
}

//! Ranks: processes that share each optimiser step, started together by `--gpus`, `torchrun`, `mpirun` or `srun`.
//!
//! Each takes its part of a step's rows; the gradients are added up in the order of the ranks, so a run repeats bit for bit
//! with the same number of them, and with another number it differs by the rounding of those sums alone. The first rank
//! writes, measures and speaks. Ranks of one machine meet over its loopback; those of several over MPI (feature `mpi`).

mod launch;
mod loopback;
#[cfg(feature = "mpi")]
mod mpi;
mod place;

pub use launch::Launch;

use crate::error::{Code, Error, Result};
use launch::Meeting;
use loopback::Loopback;
use place::Placed;
use std::ops::Range;

/// Numbers that are exchanged at once: their copies stay small beside the gradient.
const PIECE: usize = 1 << 18;

/// This process among those that train together.
pub struct Ranks {
    rank: usize,
    count: usize,
    local: usize,
    joined: Joined,
}

/// How it reaches the others.
enum Joined {
    Alone,
    Loopback(Loopback),
    #[cfg(feature = "mpi")]
    Mpi(mpi::World),
}

impl Ranks {
    /// The only one.
    pub fn alone() -> Self {
        Self { rank: 0, count: 1, local: 0, joined: Joined::Alone }
    }

    /// As the launcher says; alone where there is none.
    ///
    /// # Errors
    /// `Usage` for variables that make no sense or name another machine; `Ranks` where the others do not come, or are not
    /// those that were started with this one; `NotBuilt` where MPI would be needed.
    pub fn of_environment() -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        match place::placed(variable)? {
            None | Some(Placed { count: 1, .. }) => Ok(Self::alone()),
            Some(placed) if placed.launcher == place::TORCHRUN => {
                let meeting = Meeting::of(variable)?;
                let Placed { rank, count, local, .. } = placed;
                let joined = Joined::Loopback(Loopback::join(rank, count, meeting.port, &meeting.token)?);
                Ok(Self { rank, count, local, joined })
            }
            Some(placed) => Self::over_mpi(placed),
        }
    }

    /// Whether a launcher started this process as one of several.
    ///
    /// # Errors
    /// `Usage` for variables that make no sense.
    pub fn started() -> Result<bool> {
        Ok(place::placed(|name| std::env::var(name).ok())?.is_some_and(|placed| placed.count > 1))
    }

    #[cfg(not(feature = "mpi"))]
    fn over_mpi(Placed { launcher, rank, count, .. }: Placed) -> Result<Self> {
        let message = format!("{launcher} started this as rank {rank} of {count}; this program was built without MPI");
        Err(Error::new(Code::NotBuilt, message).with_hint(
            "build it with `--features mpi`; on one machine `--gpus N` needs none, and threads use all its cores",
        ))
    }

    #[cfg(feature = "mpi")]
    fn over_mpi(placed: Placed) -> Result<Self> {
        let Placed { rank, count, local, .. } = placed;
        Ok(Self { rank, count, local, joined: Joined::Mpi(mpi::World::join(placed)?) })
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Its number, from 0.
    #[cfg(feature = "cuda")]
    pub(super) fn rank(&self) -> usize {
        self.rank
    }

    /// Its number among those of its machine: one process a card.
    pub fn local(&self) -> usize {
        self.local
    }

    /// The one that writes, measures and speaks.
    pub fn leads(&self) -> bool {
        self.rank == 0
    }

    /// This rank's part of so many rows: neighbours, and as evenly as can be.
    pub(super) fn part(&self, rows: usize) -> Range<usize> {
        part(rows, self.rank, self.count)
    }

    /// Rows at a time for parts of a step of `batch` rows, where one rank alone would take so many.
    pub(super) fn micro_batch(&self, alone: usize, batch: usize) -> usize {
        alone.min(batch.div_ceil(self.count))
    }

    /// Each number becomes the sum over all ranks, in their order; the same bits on all of them.
    pub(super) fn add_up(&self, values: &mut [f32]) -> Result<()> {
        match &self.joined {
            Joined::Alone => Ok(()),
            Joined::Loopback(others) => values.chunks_mut(PIECE).try_for_each(|piece| others.add_up(piece)),
            #[cfg(feature = "mpi")]
            Joined::Mpi(world) => {
                values.chunks_mut(PIECE).for_each(|piece| world.add_up(piece));
                Ok(())
            }
        }
    }

    /// The same for a step's counts and its loss.
    pub(super) fn add_up_counts<const N: usize>(&self, mut counts: [f64; N]) -> Result<[f64; N]> {
        match &self.joined {
            Joined::Alone => {}
            Joined::Loopback(others) => others.add_up(&mut counts)?,
            #[cfg(feature = "mpi")]
            Joined::Mpi(world) => world.add_up(&mut counts),
        }
        Ok(counts)
    }

    /// The first rank's bytes, on all of them.
    #[cfg(feature = "cuda")]
    pub(super) fn of_first<const N: usize>(&self, bytes: [u8; N]) -> Result<[u8; N]> {
        let of_this = bytes.map(|byte| if self.leads() { f64::from(byte) } else { 0.0 });
        Ok(self.add_up_counts(of_this)?.map(|byte| byte as u8))
    }

    /// What this rank alone did, once all ranks are here: where one of them failed, none goes on.
    ///
    /// # Errors
    /// This rank's own, or another's.
    pub fn all_well<T>(&self, outcome: Result<T>) -> Result<T> {
        if matches!(self.joined, Joined::Loopback(_)) && outcome.is_err() {
            return outcome; // the others read of it in the place of what they wait for: `leave`
        }
        let failed = self.any(outcome.is_err());
        let value = outcome?;
        match failed? {
            false => Ok(value),
            true => Err(Error::new(Code::Ranks, "another rank stopped, and says why")),
        }
    }

    /// What every rank does, the others once the first has done it, since they find then what it brought.
    ///
    /// # Errors
    /// As [`Ranks::all_well`].
    pub fn first_alone<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.leads() {
            true => self.all_well(work()),
            false => self.all_well(Ok(())).and_then(|()| work()),
        }
    }

    /// Whether any rank says yes: the same answer on all of them.
    pub(super) fn any(&self, yes: bool) -> Result<bool> {
        Ok(self.add_up_counts([f64::from(u8::from(yes))])?[0] > 0.0)
    }

    /// Tells the others why this rank ends. True where the first rank says it, so that this one has nothing to add.
    pub fn leave(&self, why: &Error) -> bool {
        match &self.joined {
            Joined::Loopback(others) => others.leave(why) && !self.leads(),
            _ => false,
        }
    }
}

fn part(rows: usize, rank: usize, count: usize) -> Range<usize> {
    rows * rank / count..rows * (rank + 1) / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_whole_and_even() {
        for (rows, count) in [(0, 1), (1, 2), (5, 2), (7, 3), (64, 8), (3, 5)] {
            let parts: Vec<_> = (0..count).map(|rank| part(rows, rank, count)).collect();
            assert_eq!(parts.iter().cloned().flatten().collect::<Vec<_>>(), (0..rows).collect::<Vec<_>>());
            let sizes = parts.iter().map(Range::len);
            assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }
    }

    #[test]
    fn one_rank_changes_nothing() {
        let (ranks, mut values) = (Ranks::alone(), [1.0, f32::MIN_POSITIVE, -0.0]);
        ranks.add_up(&mut values).unwrap();
        assert_eq!(values.map(f32::to_bits), [1.0, f32::MIN_POSITIVE, -0.0].map(f32::to_bits));
        assert_eq!(ranks.add_up_counts([1.0, 2.0]).unwrap(), [1.0, 2.0]);
        assert!(ranks.leads() && !ranks.any(false).unwrap() && ranks.any(true).unwrap());
        assert_eq!((ranks.part(7), ranks.micro_batch(3, 4)), (0..7, 3));
        assert!(!ranks.leave(&Error::new(Code::Io, "x")));
    }
}

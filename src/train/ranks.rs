//! Ranks: processes that share each optimiser step, started together by `mpirun` or `srun` (feature `mpi`).
//!
//! Each takes its part of a step's rows; the gradients are added up in the order of the ranks, so a run repeats bit for bit
//! with the same number of them, and with another number it differs by the rounding of those sums alone. The first rank
//! writes, measures and speaks.

use crate::error::{Code, Error, Result};
use std::ops::Range;

/// What launchers tell a process of its place: rank, count, and its number among those of its machine.
const LAUNCHERS: [(&str, &str, &str, &str); 4] = [
    ("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("mpiexec", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
    ("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
    ("torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK"),
];

/// A process's place: by whom it was started, and the three numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Placed {
    launcher: &'static str,
    rank: usize,
    count: usize,
    /// 0 where the launcher does not say.
    local: usize,
}

/// Numbers that are exchanged at once: their copies, one a rank, stay small beside the gradient.
#[cfg(feature = "mpi")]
const PIECE: usize = 1 << 18;

/// This process among those that train together.
pub struct Ranks {
    rank: usize,
    count: usize,
    local: usize,
    #[cfg(feature = "mpi")]
    world: Option<mpi::environment::Universe>,
}

impl Ranks {
    /// The only one.
    pub fn alone() -> Self {
        Self {
            rank: 0,
            count: 1,
            local: 0,
            #[cfg(feature = "mpi")]
            world: None,
        }
    }

    /// As the launcher says; alone where there is none.
    ///
    /// # Errors
    /// `NotBuilt` where several were started and this program cannot join them.
    pub fn of_environment() -> Result<Self> {
        match placed(|name| std::env::var(name).ok())? {
            None | Some(Placed { count: 1, .. }) => Ok(Self::alone()),
            Some(placed) => Self::join(placed),
        }
    }

    #[cfg(not(feature = "mpi"))]
    fn join(Placed { launcher, rank, count, .. }: Placed) -> Result<Self> {
        let message =
            format!("{launcher} started this as rank {rank} of {count}; this program was built without ranks");
        Err(Error::new(Code::NotBuilt, message)
            .with_hint("build it with `--features mpi`, or start it alone: threads use the whole machine"))
    }

    #[cfg(feature = "mpi")]
    fn join(Placed { launcher, rank, count, local }: Placed) -> Result<Self> {
        use mpi::traits::Communicator as _;
        let world = mpi::initialize()
            .ok_or_else(|| Error::new(Code::NotBuilt, format!("{launcher}: MPI was begun twice in this process")))?;
        let (of_mpi, ranks) = (world.world().rank() as usize, world.world().size() as usize);
        if (of_mpi, ranks) != (rank, count) {
            let message = format!("{launcher} started rank {rank} of {count}, MPI finds rank {of_mpi} of {ranks}");
            return Err(
                Error::new(Code::Usage, message).with_hint("on machines without cards, start it with mpirun or srun")
            );
        }
        Ok(Self { rank, count, local, world: Some(world) })
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.count
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
    #[cfg_attr(not(feature = "mpi"), allow(unused_variables, clippy::unused_self))]
    pub(super) fn add_up(&self, values: &mut [f32]) {
        #[cfg(feature = "mpi")]
        if let Some(world) = &self.world {
            use mpi::traits::CommunicatorCollectives as _;
            let mut all = vec![0.0f32; PIECE.min(values.len()) * self.count];
            for piece in values.chunks_mut(PIECE) {
                let all = &mut all[..piece.len() * self.count];
                world.world().all_gather_into(&*piece, all);
                let length = piece.len();
                for (i, sum) in piece.iter_mut().enumerate() {
                    *sum = all[i..].iter().step_by(length).fold(0.0, |sum, x| sum + x);
                }
            }
        }
    }

    /// The same for a step's counts and its loss.
    #[cfg_attr(not(feature = "mpi"), allow(clippy::unused_self))]
    pub(super) fn add_up_counts<const N: usize>(&self, counts: [f64; N]) -> [f64; N] {
        #[cfg(feature = "mpi")]
        if let Some(world) = &self.world {
            use mpi::traits::CommunicatorCollectives as _;
            let mut all = vec![0.0f64; N * self.count];
            world.world().all_gather_into(&counts[..], &mut all[..]);
            return std::array::from_fn(|n| all[n..].iter().step_by(N).sum());
        }
        counts
    }

    /// What this rank alone did, once all ranks are here: where one of them failed, none goes on.
    ///
    /// # Errors
    /// This rank's own, or `Interrupted` where it was another's.
    pub fn all_well<T>(&self, outcome: Result<T>) -> Result<T> {
        let failed = self.any(outcome.is_err());
        outcome.and_then(|value| match failed {
            false => Ok(value),
            true => Err(Error::new(Code::Interrupted, "another rank stopped, and says why")),
        })
    }

    /// Whether any rank says yes: the same answer on all of them.
    pub(super) fn any(&self, yes: bool) -> bool {
        self.add_up_counts([f64::from(u8::from(yes))])[0] > 0.0
    }
}

/// What the launcher says, if there is one.
fn placed(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Placed>> {
    for (launcher, rank_name, count_name, local_name) in LAUNCHERS {
        let Some((rank, count)) = variable(rank_name).zip(variable(count_name)) else { continue };
        let numbers = rank.parse().ok().zip(count.parse().ok()).filter(|(rank, count): &(usize, usize)| rank < count);
        let (rank, count) = numbers.ok_or_else(|| {
            let message =
                format!("{launcher}'s variables are no rank of a count: {rank_name}={rank}, {count_name}={count}");
            Error::new(Code::Usage, message)
        })?;
        let local = match variable(local_name) {
            None => 0,
            Some(text) => text.parse().ok().filter(|local| *local <= rank).ok_or_else(|| {
                Error::new(
                    Code::Usage,
                    format!("{launcher}'s variable is no rank among a machine's: {local_name}={text}"),
                )
            })?,
        };
        return Ok(Some(Placed { launcher, rank, count, local }));
    }
    Ok(None)
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
    fn every_launcher_is_heard() {
        let of = |set: &[(&str, &str)]| {
            let set = set.to_vec();
            placed(move |name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
        };
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(
            of(&[("RANK", "1"), ("WORLD_SIZE", "4")]).unwrap(),
            Some(Placed { launcher: "torchrun", rank: 1, count: 4, local: 0 })
        );
        for (launcher, rank, count, local) in LAUNCHERS {
            let placed = |local| Some(Placed { launcher, rank: 2, count: 3, local });
            assert_eq!(of(&[(rank, "2"), (count, "3")]).unwrap(), placed(0));
            assert_eq!(of(&[(rank, "2"), (count, "3"), (local, "1")]).unwrap(), placed(1));
            for wrong in ["3", "-1", "x", ""] {
                assert_eq!(of(&[(rank, "2"), (count, "3"), (local, wrong)]).unwrap_err().code, Code::Usage);
            }
            assert_eq!(of(&[(rank, "2")]).unwrap(), None);
            for wrong in [[(rank, "3"), (count, "3")], [(rank, "-1"), (count, "3")], [(rank, ""), (count, "x")]] {
                assert_eq!(of(&wrong).unwrap_err().code, Code::Usage);
            }
        }
        // a job script's own process is none of a step's
        assert_eq!(of(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8")]).unwrap(), None);
    }

    #[test]
    fn one_rank_changes_nothing() {
        let (ranks, mut values) = (Ranks::alone(), [1.0, f32::MIN_POSITIVE, -0.0]);
        ranks.add_up(&mut values);
        assert_eq!(values.map(f32::to_bits), [1.0, f32::MIN_POSITIVE, -0.0].map(f32::to_bits));
        assert_eq!(ranks.add_up_counts([1.0, 2.0]), [1.0, 2.0]);
        assert!(ranks.leads() && !ranks.any(false) && ranks.any(true));
        assert_eq!((ranks.part(7), ranks.micro_batch(3, 4)), (0..7, 3));
    }
}

//! Ranks over MPI (feature `mpi`): on several machines, or wherever `mpirun` or `srun` started them.

use super::place::Placed;
use crate::error::{Code, Error, Result};
use mpi::environment::Universe;
use mpi::traits::{Communicator as _, CommunicatorCollectives as _, Equivalence};
use std::ops::Add;

/// All processes that MPI started together.
pub struct World {
    universe: Universe,
    count: usize,
}

impl World {
    /// # Errors
    /// `Usage` where MPI finds another place for this process than its launcher.
    pub fn join(Placed { launcher, rank, count, .. }: Placed) -> Result<Self> {
        let universe = mpi::initialize()
            .ok_or_else(|| Error::new(Code::NotBuilt, format!("{launcher}: MPI was begun twice in this process")))?;
        let world = universe.world();
        let (of_mpi, ranks) = (world.rank() as usize, world.size() as usize);
        if (of_mpi, ranks) != (rank, count) {
            let message = format!("{launcher} started rank {rank} of {count}, MPI finds rank {of_mpi} of {ranks}");
            return Err(
                Error::new(Code::Usage, message).with_hint("start it with the mpirun of the MPI it was built with")
            );
        }
        Ok(Self { universe, count })
    }

    /// Each number becomes the sum over all ranks, in their order.
    pub fn add_up<T: Equivalence + Copy + Default + Add<Output = T>>(&self, values: &mut [T]) {
        let mut all = vec![T::default(); values.len() * self.count];
        self.universe.world().all_gather_into(&*values, &mut all[..]);
        let length = values.len();
        for (i, sum) in values.iter_mut().enumerate() {
            *sum = all[i..].iter().step_by(length).fold(T::default(), |sum, x| sum + *x);
        }
    }
}

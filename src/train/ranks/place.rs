//! A process's place among those that train together, as its launcher tells it in the environment.

use crate::error::{Code, Error, Result};

/// The launcher that says where its ranks meet. `--gpus` sets the same variables.
pub const TORCHRUN: &str = "torchrun";

/// That `--gpus` started this process, whose standard input is its launcher's line to it.
pub const LAUNCHED: &str = "SEALWRIGHT_LAUNCHED";

/// What launchers tell a process of its place: rank, count, and its number among those of its machine.
const LAUNCHERS: [(&str, &str, &str, &str); 4] = [
    ("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("mpiexec", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
    ("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
    (TORCHRUN, "RANK", "WORLD_SIZE", "LOCAL_RANK"),
];

/// A process's place: by whom it was started, and the three numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    pub launcher: &'static str,
    pub rank: usize,
    pub count: usize,
    /// 0 where the launcher does not say.
    pub local: usize,
}

/// What the launcher says, if there is one; of several, the one whose process this is.
pub fn placed(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Placed>> {
    let launched = variable(LAUNCHED).is_some();
    for (launcher, rank_name, count_name, local_name) in LAUNCHERS {
        if launched && launcher != TORCHRUN {
            continue; // `srun` may have started `--gpus`, which started this
        }
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

#[cfg(test)]
mod tests {
    use super::*;

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
        // the innermost launcher counts
        let both = [("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "1"), ("RANK", "1"), ("WORLD_SIZE", "2")];
        assert_eq!(of(&both).unwrap().unwrap().launcher, "srun");
        assert_eq!(of(&[&both[..], &[(LAUNCHED, "1")]].concat()).unwrap().unwrap().launcher, TORCHRUN);
        // a job script's own process is none of a step's
        assert_eq!(of(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8")]).unwrap(), None);
    }
}

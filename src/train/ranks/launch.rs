//! Where the ranks of one machine meet: `torchrun`'s variables, read by a rank, and made by who starts them.

use super::loopback;
use super::place::LAUNCHED;
use crate::data;
use crate::error::{Code, Error, Result};

const ADDRESS: &str = "MASTER_ADDR";
const PORT: &str = "MASTER_PORT";
/// What a rank must hold to be let in; only its owner can read a process's environment.
const TOKEN: &str = "SEALWRIGHT_RANKS_TOKEN";
/// Names of this machine for itself.
const HERE: [&str; 2] = ["127.0.0.1", "localhost"];
/// A token's letters: fewer could be guessed.
const TOKEN_LETTERS: std::ops::RangeInclusive<usize> = 32..=256;

/// Where to meet, and what to show there.
#[derive(Debug)]
pub struct Meeting {
    pub port: u16,
    pub token: String,
}

impl Meeting {
    /// As the environment says.
    ///
    /// # Errors
    /// `Usage` where it says no port of this machine, or no token.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let usage = |message: String, hint: String| Err(Error::new(Code::Usage, message).with_hint(hint));
        let need = |name: &str| {
            variable(name).ok_or_else(|| {
                Error::new(Code::Usage, format!("this is one of several ranks, and {name} is not set"))
                    .with_hint("`sealwright train --gpus N` sets all that its ranks need")
            })
        };
        let address = need(ADDRESS)?;
        if !HERE.contains(&address.as_str()) {
            return usage(
                format!(
                    "{ADDRESS}={address}: without MPI, ranks meet on one machine only: what they exchange is private and is not encrypted"
                ),
                format!(
                    "{ADDRESS}={} for the ranks of one machine; for several, a program built with `--features mpi`, started by mpirun or srun",
                    HERE[0]
                ),
            );
        }
        let port = need(PORT)?;
        let Some(port) = port.parse().ok().filter(|port| *port != 0) else {
            return usage(format!("{PORT}={port} is no port"), "a free port from 1024 to 65535".into());
        };
        let token = variable(TOKEN).unwrap_or_default();
        if !TOKEN_LETTERS.contains(&token.len()) {
            let (least, most) = TOKEN_LETTERS.into_inner();
            return usage(
                format!("{TOKEN} has {} letters; ranks show each other one of {least} to {most}", token.len()),
                format!("the same new one for all ranks of a training: {TOKEN}=$(openssl rand -hex 32)"),
            );
        }
        Ok(Self { port, token })
    }
}

/// Processes of one machine that are about to be started as ranks, one a card.
pub struct Launch {
    count: usize,
    meeting: Meeting,
}

impl Launch {
    /// So many, who will meet at a port that is free now, with a token that nobody has seen.
    ///
    /// # Errors
    /// `Io` where the system gives neither.
    pub fn new(count: usize) -> Result<Self> {
        let mut bytes = [0; 32];
        data::random(&mut bytes)?;
        let token = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { count, meeting: Meeting { port: loopback::free_port()?, token } })
    }

    /// What one of them finds in its environment.
    pub fn environment(&self, rank: usize) -> [(&'static str, String); 7] {
        [
            ("RANK", rank.to_string()),
            ("WORLD_SIZE", self.count.to_string()),
            ("LOCAL_RANK", rank.to_string()),
            (ADDRESS, HERE[0].into()),
            (PORT, self.meeting.port.to_string()),
            (TOKEN, self.meeting.token.clone()),
            (LAUNCHED, "1".into()),
        ]
    }

    /// Whether this process was started so.
    pub fn launched() -> bool {
        std::env::var_os(LAUNCHED).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::super::place::{Placed, placed};
    use super::*;

    fn meeting(set: &[(&str, &str)]) -> Result<Meeting> {
        Meeting::of(|name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn what_a_launcher_sets_its_ranks_read() {
        let launch = Launch::new(3).unwrap();
        for rank in 0..3 {
            let environment = launch.environment(rank);
            let variable = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone());
            let place = placed(variable).unwrap();
            assert_eq!(place, Some(Placed { launcher: "torchrun", rank, count: 3, local: rank }));
            let read = Meeting::of(variable).unwrap();
            assert_eq!((read.port, read.token), (launch.meeting.port, launch.meeting.token.clone()));
        }
        assert_ne!(Launch::new(3).unwrap().meeting.token, launch.meeting.token);
    }

    #[test]
    fn another_machine_is_refused_and_mpi_is_named() {
        let token = "t".repeat(32);
        let at = |address| meeting(&[(ADDRESS, address), (PORT, "29500"), (TOKEN, &token)]);
        assert_eq!(at("localhost").unwrap().port, 29500);
        for far in ["10.0.0.7", "node-1", "0.0.0.0", ""] {
            let error = at(far).unwrap_err();
            assert_eq!(error.code, Code::Usage);
            assert!(error.hint().unwrap().contains("mpirun"), "{error}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let token = "t".repeat(32);
        for (set, said) in [
            (vec![(PORT, "29500"), (TOKEN, token.as_str())], ADDRESS),
            (vec![(ADDRESS, "localhost"), (TOKEN, &token)], PORT),
            (vec![(ADDRESS, "localhost"), (PORT, "0"), (TOKEN, &token)], PORT),
            (vec![(ADDRESS, "localhost"), (PORT, "65536"), (TOKEN, &token)], PORT),
            (vec![(ADDRESS, "localhost"), (PORT, "29500")], TOKEN),
            (vec![(ADDRESS, "localhost"), (PORT, "29500"), (TOKEN, "short")], TOKEN),
        ] {
            let error = meeting(&set).unwrap_err();
            assert_eq!(error.code, Code::Usage);
            assert!(error.to_string().contains(said) && error.hint().is_some(), "{error}");
            assert!(!error.to_string().contains("short"), "a token is not shown: {error}");
        }
    }
}

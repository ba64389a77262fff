//! `--gpus N`: starts this command N times, as the ranks of one training, a card each, and ends them together.

use super::Answer;
use super::say::Say;
use sealwright::error::{Code, Error, Result};
use sealwright::product::Product;
use sealwright::train::{Device, Launch, Ranks};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Once a rank has failed, the others get so long to end by themselves: the first one says why, or saves the state.
const GRACE: Duration = Duration::from_secs(60);
/// Between two looks at the ranks.
const LOOK: Duration = Duration::from_millis(20);
/// What the launcher writes to its ranks for each Ctrl-C.
const PRESSED: [u8; 1] = [3];

/// Whether this machine has so many cards, and the product trains on cards.
///
/// # Errors
/// `Usage`, `NoDevice`, with what to do instead.
pub fn allowed(product: &Product, count: u16) -> Result<()> {
    const THREADS: &str = "`train.device = \"cpu\"` without `--gpus` trains with all threads of one process";
    if Ranks::started()? {
        return Err(Error::new(
            Code::Usage,
            "`--gpus` starts the ranks itself; this process is one of several already",
        )
        .with_hint("leave `--gpus` out where torchrun, mpirun or srun starts the ranks"));
    }
    if let Some(train) = &product.train
        && train.device != "auto"
    {
        return Err(Error::new(Code::Usage, format!("`--gpus {count}` with train.device = \"{}\"", train.device))
            .with_hint("\"auto\" gives each rank a card of its own; \"cpu\" uses threads of one process"));
    }
    match Device::cards() {
        Ok(cards) if cards >= count.into() => Ok(()),
        Ok(cards) => {
            Err(Error::new(Code::NoDevice, format!("`--gpus {count}`: this machine has {cards} cards"))
                .with_hint(THREADS))
        }
        Err(why) => Err(Error::new(why.code, format!("`--gpus {count}`: {why}")).with_hint(match why.hint() {
            Some(hint) => format!("{hint}; {THREADS}"),
            None => THREADS.into(),
        })),
    }
}

/// Starts the ranks and waits for them all.
///
/// # Errors
/// `Io` where one cannot be started.
pub fn launch(count: usize, say: &Say) -> Result<Answer> {
    static PRESSES: AtomicUsize = AtomicUsize::new(0);
    // the ranks hear of it by their standard input alone: `own_group`
    let pressed = || {
        PRESSES.fetch_add(1, Ordering::Relaxed);
    };
    ctrlc::set_handler(pressed).map_err(|e| Error::new(Code::Io, format!("no handler for Ctrl-C: {e}")))?;
    let launch = Launch::new(count)?;
    let mut ranks = Started(Vec::new());
    for rank in 0..count {
        ranks.0.push(start(&launch, rank, count)?);
    }
    let ends = ranks.wait(&PRESSES, GRACE, say);
    let Some((rank, status)) = ends.iter().find(|(_, status)| !status.success()) else { return Ok(Answer::Yes) };
    let first_is_well = ends.iter().any(|(rank, status)| *rank == 0 && status.success());
    // else the first rank has said why, or the one that it did not hear
    if status.code().is_none() || first_is_well {
        say.note(format!("rank {rank} ended: {status}"));
    }
    let stopped = PRESSES.load(Ordering::Relaxed) > 0;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).filter(|_| !stopped);
    Ok(Answer::Said(code.unwrap_or(if stopped { Code::Interrupted } else { Code::Ranks }.exit())))
}

fn start(launch: &Launch, rank: usize, count: usize) -> Result<Child> {
    let program = std::env::current_exe().map_err(|e| Error::new(Code::Io, format!("this program's own file: {e}")))?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).envs(launch.environment(rank)).stdin(Stdio::piped());
    if rank > 0 {
        command.stdout(Stdio::null()); // the first rank speaks
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = (cores / count).max(1).to_string();
    // NCCL's sockets stay on this machine, as the ranks' own do
    for (name, value) in [("RAYON_NUM_THREADS", share.as_str()), ("NCCL_SOCKET_IFNAME", "lo")] {
        if std::env::var_os(name).is_none() {
            command.env(name, value);
        }
    }
    own_group(&mut command);
    command.spawn().map_err(|e| Error::new(Code::Io, format!("rank {rank} cannot be started: {e}")))
}

/// Keeps a terminal's Ctrl-C from the ranks: what the launcher forwards would be the second, which ends them at once.
fn own_group(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(windows)]
    std::os::windows::process::CommandExt::creation_flags(command, 0x200); // CREATE_NEW_PROCESS_GROUP
}

/// Ranks that were started; those that still run are killed when it is dropped.
struct Started(Vec<Child>);

impl Started {
    /// Waits until all have ended, forwards Ctrl-C, and kills those that do not end after another failed. How they
    /// ended, the first that did first.
    fn wait(mut self, presses: &AtomicUsize, grace: Duration, say: &Say) -> Vec<(usize, ExitStatus)> {
        let (mut heard, mut failed, mut ends) = (0, None::<Instant>, Vec::new());
        while ends.len() < self.0.len() {
            for (rank, child) in self.0.iter_mut().enumerate() {
                if ends.iter().any(|(ended, _)| *ended == rank) {
                    continue;
                }
                if let Ok(Some(status)) = child.try_wait() {
                    // after Ctrl-C the first rank takes the time that saving takes
                    let ill = !status.success() && status.code() != Some(Code::Interrupted.exit().into());
                    failed = failed.or_else(|| ill.then(Instant::now));
                    ends.push((rank, status));
                }
            }
            let pressed = presses.load(Ordering::Relaxed);
            if pressed > heard {
                // the second ends them at once, also those that do not listen yet
                if pressed > 1 {
                    self.kill()
                } else {
                    self.tell()
                }
                heard = pressed;
            }
            if failed.is_some_and(|when| when.elapsed() > grace) {
                say.note(format!(
                    "a rank ended, and others were still at work {} s later: they are killed",
                    grace.as_secs()
                ));
                self.kill();
                failed = None;
            }
            std::thread::sleep(LOOK);
        }
        ends
    }

    fn tell(&mut self) {
        for input in self.0.iter_mut().filter_map(|child| child.stdin.as_mut()) {
            let _ = input.write_all(&PRESSED); // one that has ended needs no word
        }
    }

    fn kill(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill(); // it may have ended
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.kill();
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}

/// Hears, in a rank, each Ctrl-C that its launcher forwards; the launcher's own end is one, too.
pub fn hear(pressed: impl Fn()) {
    let mut input = std::io::stdin().lock();
    let mut byte = [0; 1];
    while input.read_exact(&mut byte).is_ok() {
        pressed();
    }
    pressed();
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// Shell commands as ranks.
    fn started(scripts: &[&str]) -> Started {
        let start = |script: &&str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdin(Stdio::piped());
            own_group(&mut command);
            command.spawn().unwrap()
        };
        Started(scripts.iter().map(start).collect())
    }

    fn ends(scripts: &[&str], presses: usize) -> Vec<(usize, Option<i32>)> {
        let (presses, grace) = (AtomicUsize::new(presses), Duration::from_millis(200));
        let ends = started(scripts).wait(&presses, grace, &Say::new(false).silent());
        ends.into_iter().map(|(rank, status)| (rank, status.code())).collect()
    }

    #[test]
    fn where_one_fails_the_others_end() {
        assert_eq!(ends(&["exit 0", "sleep 0.2"], 0), [(0, Some(0)), (1, Some(0))]);
        assert_eq!(ends(&["exec sleep 600", "exit 3"], 0), [(1, Some(3)), (0, None)], "the first that failed is first");
    }

    #[test]
    fn ctrl_c_is_forwarded_and_twice_ends_at_once() {
        let listens = "head -c 1 > /dev/null; sleep 0.4; exit 130";
        let mut stopped = ends(&[listens, "head -c 1 > /dev/null; exit 130"], 1);
        stopped.sort_unstable();
        assert_eq!(stopped, [(0, Some(130)), (1, Some(130))], "none is hurried while it saves");
        assert_eq!(ends(&["exec sleep 600"], 2), [(0, None)]);
    }

    #[test]
    fn ranks_do_not_outlive_their_launcher() {
        let started = started(&["exec sleep 600"]);
        let id = started.0[0].id().to_string();
        drop(started);
        assert!(!Command::new("kill").args(["-0", &id]).stderr(Stdio::null()).status().unwrap().success());
    }
}

//! Ranks of one machine: real processes of the program that train one product together over its loopback.

use super::tiny;
use crate::commands::{command, stderr};
use sealwright::adapter::{self, TENSOR_FILE};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const TOKEN: &str = "SEALWRIGHT_RANKS_TOKEN";
const SHORT: &str = "rank = 4\nsteps = 12\nbatch = 4\nmicro-batch = 2\nsequence = 128\ndevice = \"cpu\"";
/// Not done before a test has seen its first checkpoint.
const LONG: &str = "rank = 4\nsteps = 120\nbatch = 4\nsequence = 128\ncheckpoint-every = 5\ndevice = \"cpu\"";

/// Where two ranks of one product meet.
struct Pair<'a> {
    folder: &'a Path,
    port: u16,
    token: String,
}

impl<'a> Pair<'a> {
    fn of(folder: &'a Path) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Self { folder, port: free.local_addr().unwrap().port(), token: "a token of thirty-two or more letters".into() }
    }

    /// A rank that is about to be started, with `torchrun`'s variables.
    fn rank(&self, rank: usize) -> Command {
        let mut command = command(self.folder, &["train", "--threads", "1"]);
        command.envs([("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1"), (TOKEN, self.token.as_str())]);
        command.env("RANK", rank.to_string()).env("LOCAL_RANK", rank.to_string());
        command.env("MASTER_PORT", self.port.to_string());
        command
    }

    fn start(&self) -> [Child; 2] {
        [0, 1].map(|rank| self.rank(rank).spawn().unwrap())
    }
}

fn product(train: &str) -> TempDir {
    let (dir, _) = tiny::place();
    tiny::product(dir.path(), train);
    dir
}

fn ends(children: [Child; 2]) -> [Output; 2] {
    children.map(|child| child.wait_with_output().unwrap())
}

fn adapter_folder(folder: &Path) -> PathBuf {
    folder.join(".sealwright").join(adapter::FOLDER)
}

fn bytes(folder: &Path) -> Vec<u8> {
    std::fs::read(adapter_folder(folder).join(TENSOR_FILE)).unwrap()
}

fn wait_for_checkpoint(folder: &Path) {
    let (checkpoint, begun) = (folder.join(".sealwright/checkpoint.safetensors"), Instant::now());
    while !checkpoint.exists() {
        assert!(begun.elapsed() < Duration::from_secs(120), "no checkpoint");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Trains with two ranks, which must both end well.
fn together(dir: &TempDir) {
    for (rank, output) in ends(Pair::of(dir.path()).start()).iter().enumerate() {
        assert!(output.status.success(), "rank {rank}: {}", stderr(output));
        assert_eq!(output.stdout.is_empty() && output.stderr.is_empty(), rank == 1, "the first rank alone speaks");
    }
}

#[test]
fn two_ranks_make_what_one_makes_and_the_same_bytes_each_time() {
    let [one, two, again] = [SHORT; 3].map(product);
    assert!(command(one.path(), &["train"]).output().unwrap().status.success());
    together(&two);
    together(&again);
    assert_eq!(bytes(two.path()), bytes(again.path()));

    let [one, two] = [&one, &two].map(|dir| adapter::read(&adapter_folder(dir.path())).unwrap());
    let values = |adapter: &adapter::Adapter| -> Vec<f32> {
        adapter.modules.iter().flat_map(|m| m.a.iter().chain(&m.b).copied().collect::<Vec<_>>()).collect()
    };
    let worst = values(&one).iter().zip(values(&two)).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
    assert!(worst <= 1e-6, "{worst}");
}

#[test]
fn a_rank_that_dies_ends_the_other_and_nothing_is_half_written() {
    let whole = product(LONG);
    together(&whole);
    for killed in [0, 1] {
        let dir = product(LONG);
        let mut ranks = Pair::of(dir.path()).start();
        wait_for_checkpoint(dir.path());
        ranks[killed].kill().unwrap();
        let other = &ends(ranks)[1 - killed];
        assert_eq!(other.status.code(), Some(2), "{}", stderr(other));
        let said = stderr(other);
        assert!(said.contains(&format!("error[ranks]: rank {killed} is gone")) && said.contains("hint:"), "{said}");
        assert!(!adapter_folder(dir.path()).exists());

        together(&dir);
        assert_eq!(bytes(dir.path()), bytes(whole.path()), "it goes on from a whole checkpoint");
        let left = std::fs::read_dir(dir.path().join(".sealwright")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().path()).collect();
        assert!(left.iter().all(|path| path.extension().is_none_or(|e| e != "partial")), "{left:?}");
    }
}

#[test]
fn why_a_rank_fails_the_first_says() {
    let dir = product(SHORT);
    let pair = Pair::of(dir.path());
    let first = pair.rank(0).spawn().unwrap();
    // this rank alone is given a policy that is not there
    let second = pair.rank(1).args(["--policies", "nowhere"]).spawn().unwrap();
    let [first, second] = ends([first, second]);
    assert_eq!((first.status.code(), second.status.code()), (Some(2), Some(2)));
    assert!(stderr(&first).contains("rank 1: ") && stderr(&first).contains("nowhere"), "{}", stderr(&first));
    assert_eq!(stderr(&second), "");
    assert!(!adapter_folder(dir.path()).exists());
}

#[test]
fn a_peer_without_the_token_is_refused_and_the_ranks_still_meet() {
    let dir = product(SHORT);
    let pair = Pair::of(dir.path());
    let first = pair.rank(0).spawn().unwrap();
    let stranger = pair.rank(1).env(TOKEN, "another token of as many letters as it takes").output().unwrap();
    assert_eq!(stranger.status.code(), Some(2));
    assert!(stderr(&stranger).contains("does not hold the token"), "{}", stderr(&stranger));
    let second = pair.rank(1).spawn().unwrap();
    assert!(ends([first, second]).iter().all(|output| output.status.success()));
}

#[test]
fn a_launchers_word_stops_all_ranks_and_they_go_on_to_the_same_bytes() {
    let [stopped, whole] = [LONG; 2].map(product);
    together(&whole);
    let pair = Pair::of(stopped.path());
    let mut ranks =
        [0, 1].map(|rank| pair.rank(rank).env("SEALWRIGHT_LAUNCHED", "1").stdin(Stdio::piped()).spawn().unwrap());
    wait_for_checkpoint(stopped.path());
    // a launcher that ends, however it does, closes its ranks' standard input
    ranks.iter_mut().for_each(|rank| drop(rank.stdin.take()));
    let [first, second] = ends(ranks);
    assert_eq!((first.status.code(), second.status.code()), (Some(130), Some(130)));
    assert!(stderr(&first).contains("the state is saved"), "{}", stderr(&first));
    assert_eq!(stderr(&second), "");
    together(&stopped);
    assert_eq!(bytes(stopped.path()), bytes(whole.path()));
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_done() {
    let dir = product(SHORT);
    let pair = Pair::of(dir.path());
    let refused = |mut command: Command, words: &[&str]| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        for word in words {
            assert!(stderr(&output).contains(word), "{word}: {}", stderr(&output));
        }
    };
    let with = |name: &str, value: &str| {
        let mut command = pair.rank(0);
        command.env(name, value);
        command
    };
    refused(with("MASTER_ADDR", "10.0.0.7"), &["MASTER_ADDR=10.0.0.7", "not encrypted", "mpirun"]);
    refused(with(TOKEN, ""), &[TOKEN, "openssl rand"]);
    refused(with("RANK", "2"), &["RANK=2"]);
    let mut twice = pair.rank(0);
    twice.args(["--gpus", "2"]);
    refused(twice, &["one of several already", "torchrun"]);
    let cards = |train: &str| {
        tiny::product(dir.path(), train);
        command(dir.path(), &["train", "--gpus", "65535"])
    };
    refused(cards("device = \"cpu\""), &["train.device = \"cpu\"", "threads of one process"]);
    refused(cards("rank = 4"), &["`--gpus 65535`", "`train.device = \"cpu\"`"]);
    assert!(!dir.path().join(".sealwright").exists());
}

//! Sealing and opening beside `tar | zstd -3 -T0 | age` and back: `cargo bench --bench seal`. One file of weights and a
//! folder of small files, interleaved, with the files in the page cache; the final sync of each timed apart. Wants
//! `age`, `zstd`, `tar`, `bash` and `strace`, which times our syncs.
//!
//! `SEALWRIGHT_BENCH_MIB` is the size of the file, 1024 unless set; TMPDIR is where it all happens.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const ROUNDS: usize = 3;
/// Customers of one product; what each after the first takes is the mean over them.
const CUSTOMERS: usize = 4;
const SMALL_FILES: usize = 200;

fn main() -> Result<()> {
    for tool in ["age", "zstd", "tar", "bash", "strace"] {
        if Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            return Err(format!("not on PATH: {tool}; `apt-get install age zstd tar bash strace` brings them").into());
        }
    }
    let mib = std::env::var("SEALWRIGHT_BENCH_MIB").ok().and_then(|m| m.parse().ok()).unwrap_or(1024);
    println!(
        "{} cores; load {}",
        std::thread::available_parallelism()?,
        std::fs::read_to_string("/proc/loadavg")?.trim()
    );
    let dir = tempfile::tempdir()?;
    let bench = Bench::new(dir.path())?;
    bench
        .compare(&format!("one file of {mib} MiB, bf16 of a bell curve"), |folder| write_weights(folder, mib << 20))?;
    bench.compare(&format!("{SMALL_FILES} files of 16 to 64 KiB"), write_small_files)
}

/// A base, keys, and a place.
struct Bench<'d> {
    root: &'d Path,
    recipient: String,
}

/// What a command took.
#[derive(Clone, Copy)]
struct Cost {
    /// Without syncs.
    wall: f64,
    sync: f64,
    /// Of it and its children.
    cpu: f64,
    /// Bytes; none where it was not watched.
    peak: u64,
}

impl<'d> Bench<'d> {
    fn new(root: &'d Path) -> Result<Self> {
        let base = root.join("base");
        std::fs::create_dir(&base)?;
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/01-helpdesk/base");
        for entry in std::fs::read_dir(example)? {
            let entry = entry?;
            std::fs::copy(entry.path(), base.join(entry.file_name()))?;
        }
        let bench = Self { root, recipient: String::new() };
        let said = bench.sealwright(&["keygen", "identity", "--out", "identity.txt"]).output()?;
        bench.sealwright(&["keygen", "vendor", "--out", "vendor.pem"]).output()?;
        Ok(Self { recipient: String::from_utf8(said.stdout)?.trim().to_owned(), ..bench })
    }

    fn sealwright(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealwright"));
        command.args(args).current_dir(self.root).env("SEALWRIGHT_STATE", self.root.join("seen"));
        command
    }

    /// The rounds of one product, and their medians.
    fn compare(&self, what: &str, write: impl Fn(&Path) -> Result<()>) -> Result<()> {
        println!("\n## {what}");
        let product = self.root.join("product");
        std::fs::create_dir_all(product.join("theirs"))?;
        write(&product.join("theirs"))?;
        std::fs::write(product.join("sealwright.toml"), self.product_file())?;
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            touch_memory()?;
            rounds.push(self.round(&product)?);
            println!("round {}: {}", round + 1, rounds[round].words());
        }
        let median = |of: &dyn Fn(&Round) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        println!(
            "times the peer's throughput, median: sealing {:.2} (by CPU time {:.2}), a further customer {:.2} ({:.2}), \
             opening {:.2} ({:.2})",
            median(&|r| r.peer_seal.wall / r.seal.wall),
            median(&|r| r.peer_seal.cpu / r.seal.cpu),
            median(&|r| r.peer_seal.wall / r.further.wall),
            median(&|r| r.peer_seal.cpu / r.further.cpu),
            median(&|r| r.peer_open.wall / r.open.wall),
            median(&|r| r.peer_open.cpu / r.open.cpu),
        );
        std::fs::remove_dir_all(&product)?;
        Ok(())
    }

    fn product_file(&self) -> String {
        let mut text = "[vendor]\nname = \"Example Works\"\nkey = \"../vendor.pem\"\n[product]\nname = \"shop\"\ntitle = \"Example Shop\"\n\
            version = \"1.0.0\"\n[base]\npath = \"../base\"\n[use]\nship = \"merged\"\nterms = \"closed\"\ncommercial = true\nfields = []\n\
            trains-models-on-outputs = false\n[derivative]\npath = \"theirs\"\nown = true\n"
            .to_owned();
        for n in 0..CUSTOMERS {
            text.push_str(&format!(
                "[[customer]]\nname = \"customer-{n}\"\nrecipients = [\"{}\"]\nuntil = \"2099-12-31\"\n",
                self.recipient
            ));
        }
        text
    }

    fn round(&self, product: &Path) -> Result<Round> {
        let (archive, bundle) = (self.root.join("peer.age"), product.join("dist/shop-1.0.0-customer-0.sealed"));
        let pack = |more: &[&str]| {
            for made in ["dist", ".sealwright"] {
                let _ = std::fs::remove_dir_all(product.join(made));
            }
            self.ours(&[&["pack", "product"], more].concat())
        };
        let peer_seal = self
            .peer(&format!("tar -C product/theirs -cf - . | zstd -q -3 -T0 | age -r {} > peer.age", self.recipient))?;
        let start = Instant::now();
        File::open(&archive)?.sync_all()?;
        let peer_seal = Cost { sync: start.elapsed().as_secs_f64(), ..peer_seal };
        let seal = pack(&["--customer", "customer-0"])?;
        let bundle_size = bundle.metadata()?.len();
        let all = pack(&[])?;
        let share = |all: f64, one: f64| (all - one) / (CUSTOMERS - 1) as f64;
        let further = Cost {
            wall: share(all.wall, seal.wall),
            sync: share(all.sync, seal.sync),
            cpu: share(all.cpu, seal.cpu),
            peak: all.peak,
        };
        for name in ["peer-opened", "opened"] {
            let _ = std::fs::remove_dir_all(self.root.join(name));
        }
        std::fs::create_dir(self.root.join("peer-opened"))?;
        let peer_open = self.peer("age -d -i identity.txt peer.age | zstd -q -d | tar -C peer-opened -xf -")?;
        let bundle_name = bundle.display().to_string();
        let open = self.ours(&[
            "open",
            &bundle_name,
            "--trust",
            "vendor.pub.pem",
            "--identity",
            "identity.txt",
            "--out",
            "opened",
        ])?;
        Ok(Round { peer_seal, seal, further, peer_open, open, sizes: [archive.metadata()?.len(), bundle_size] })
    }

    /// A pipeline, which syncs nothing.
    fn peer(&self, pipeline: &str) -> Result<Cost> {
        let (start, cpu) = (Instant::now(), children()?);
        let status = Command::new("bash")
            .args(["-c", &format!("set -e -o pipefail; {pipeline}")])
            .current_dir(self.root)
            .status()?;
        if !status.success() {
            return Err(format!("failed: {pipeline}").into());
        }
        Ok(Cost { wall: start.elapsed().as_secs_f64(), sync: 0.0, cpu: children()? - cpu, peak: 0 })
    }

    /// Our program; strace stops it at syncs alone.
    fn ours(&self, args: &[&str]) -> Result<Cost> {
        let log = self.root.join("syncs");
        let (start, cpu) = (Instant::now(), children()?);
        let mut command = Command::new("strace");
        command.args(["-f", "--seccomp-bpf", "-qq", "-T", "-e", "trace=fsync,fdatasync", "-o"]).arg(&log);
        command.arg(env!("CARGO_BIN_EXE_sealwright")).args(args);
        command.current_dir(self.root).env("SEALWRIGHT_STATE", self.root.join("seen"));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut peak = 0;
        let status = loop {
            peak = peak.max(peak_below(child.id()).unwrap_or(0));
            match child.try_wait()? {
                Some(status) => break status,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let wall = start.elapsed().as_secs_f64();
        if !status.success() {
            let mut said = String::new();
            child.stderr.take().map(|mut e| std::io::Read::read_to_string(&mut e, &mut said)).transpose()?;
            return Err(format!("failed: {args:?}: {said}").into());
        }
        let seconds = |line: &str| line.rsplit_once('<')?.1.strip_suffix('>')?.parse::<f64>().ok();
        let sync = std::fs::read_to_string(&log)?.lines().filter_map(seconds).sum::<f64>();
        Ok(Cost { wall: wall - sync, sync, cpu: children()? - cpu, peak })
    }
}

struct Round {
    peer_seal: Cost,
    seal: Cost,
    further: Cost,
    peer_open: Cost,
    open: Cost,
    /// Of the peer's archive and of the bundle.
    sizes: [u64; 2],
}

impl Round {
    fn words(&self) -> String {
        let cost = |name: &str, c: &Cost| {
            let peak = if c.peak > 0 { format!(", peak {} MiB", c.peak >> 20) } else { String::new() };
            format!("{name} {:.2} s + {:.2} s sync, {:.2} CPU-s{peak}", c.wall, c.sync, c.cpu)
        };
        [
            cost("peer seals", &self.peer_seal),
            cost("we seal", &self.seal),
            cost("a further customer", &self.further),
            cost("peer opens", &self.peer_open),
            cost("we open", &self.open),
            format!("{} bytes, peer {}", self.sizes[1], self.sizes[0]),
        ]
        .join("; ")
    }
}

/// A virtual machine may get its memory from the host page by page, when it is first written to: that would be paid by
/// whoever writes files next. So half of what is free is written to before, and given back.
fn touch_memory() -> Result<()> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let free = text.lines().find_map(|l| l.strip_prefix("MemFree:")?.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    let touched = vec![1u8; free.ok_or("no MemFree in /proc/meminfo")? << 9];
    assert_eq!(std::hint::black_box(&touched)[touched.len() / 2], 1);
    Ok(())
}

/// CPU seconds of all children that were waited for: fields 16 and 17 of `/proc/self/stat`, in hundredths.
fn children() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit_once(')').ok_or("no such line")?.1.split_whitespace().collect();
    Ok((fields[13].parse::<f64>()? + fields[14].parse::<f64>()?) / 100.0)
}

/// The most that a process's child has held so far.
fn peak_below(parent: u32) -> Option<u64> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", children.split_whitespace().next()?)).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

/// xorshift64: the same numbers on every machine.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Of a bell curve of width 0.02, as weights have it (Box and Muller).
    fn weight(&mut self) -> half::bf16 {
        let mut unit = || ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let (radius, angle) = ((-2.0 * unit().ln()).sqrt(), std::f64::consts::TAU * unit());
        half::bf16::from_f64(0.02 * radius * angle.cos())
    }
}

fn write_safetensors(path: &Path, name: &str, bytes: usize, draw: &mut Draw) -> Result<()> {
    let numbers = bytes / 2;
    let header = serde_json::json!({name: {"dtype": "BF16", "shape": [numbers], "data_offsets": [0, 2 * numbers]}});
    let header = header.to_string();
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    for _ in 0..numbers {
        file.write_all(&draw.weight().to_le_bytes())?;
    }
    Ok(file.flush()?)
}

fn write_weights(folder: &Path, bytes: usize) -> Result<()> {
    write_safetensors(&folder.join("model.safetensors"), "model.embed_tokens.weight", bytes, &mut Draw(1))
}

/// Half of them weights, half of them text.
fn write_small_files(folder: &Path) -> Result<()> {
    let mut draw = Draw(2);
    for n in 0..SMALL_FILES / 2 {
        let kib = 16 + (draw.next() % 49) as usize;
        write_safetensors(&folder.join(format!("part-{n:03}.safetensors")), &format!("w{n}"), kib << 10, &mut draw)?;
        let words: Vec<String> = (0..(kib << 10) / 8).map(|_| format!("word{:03}", draw.next() % 997)).collect();
        std::fs::write(folder.join(format!("words-{n:03}.json")), serde_json::to_string(&words)?)?;
    }
    Ok(())
}

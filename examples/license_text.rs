//! Prints the `[[text]]` table of a licence's record: `cargo run --release --example license_text -- ID FILE`. With
//! `--clauses TEXTS POLICIES` it writes the clauses' fingerprints into the records of a policies folder, from the texts of
//! another folder. No text enters the project, only digests, sketches and hashes of spans. `--time TEXTS` says how long
//! normalisation and identification take; `--identify FILE...` says what each is, `--tokens FILE...` the digest and the
//! length of each stream as normalisation leaves it. `--listed FOLDER` writes the SPDX list's texts of recorded licences.

use sealwright::digest::Sha256;
use sealwright::license::{Clause, Identity, Policies, clauses, fingerprint, identify, tokens};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--clauses", texts, policies] => write_clauses(Path::new(texts), Path::new(policies)),
        ["--time", texts] => time(Path::new(texts)),
        ["--identify", ref files @ ..] => identify_all(files),
        ["--tokens", ref files @ ..] => digest_all(files),
        ["--listed", folder] => write_listed(Path::new(folder)),
        [id, file] => print_table(id, file),
        _ => {
            Err("usage: license_text ID FILE | --clauses TEXTS POLICIES | --time TEXTS | --identify FILE... | --tokens FILE... | --listed FOLDER"
                .into())
        }
    }
}

fn print_table(id: &str, file: &str) -> Result<()> {
    let text = std::fs::read_to_string(file)?;
    let policies = Policies::load(None)?;
    let (digest, words, sketch) = fingerprint(&text, id, &policies);
    let sketch = String::from(sketch);
    println!("[[text]]\nrole = \"licence\"\nstanding = \"read\"\nsha256 = \"{digest}\"\nwords = {words}");
    println!("sketch = \"{sketch}\"\n{}", line(clauses(&text, id, &policies)));
    Ok(())
}

fn identify_all(files: &[&str]) -> Result<()> {
    let policies = Policies::load(None)?;
    for file in files {
        let what = match identify(&read(file)?, &policies) {
            Identity::Known(known) => known.into_iter().map(|(id, _)| id).collect::<Vec<_>>().join(" "),
            Identity::Several(known, _) => {
                format!("similar to {}", known.into_iter().map(|(id, _)| id).collect::<Vec<_>>().join(" "))
            }
            Identity::Similar(id, ..) => format!("similar to {id}"),
            Identity::Unknown => "unknown".into(),
        };
        println!("{file}\t{what}");
    }
    Ok(())
}

fn digest_all(files: &[&str]) -> Result<()> {
    for file in files {
        let stream = tokens(&read(file)?);
        println!("{} {} {file}", Sha256::of(stream.join(" ").as_bytes()), stream.len());
    }
    Ok(())
}

fn write_listed(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for listed in Policies::load(None)?.records().filter_map(|r| spdx::license_id(&r.id)) {
        std::fs::write(folder.join(format!("{}.txt", listed.name)), listed.text())?;
    }
    Ok(())
}

/// As the definition reads it: a byte that is no UTF-8 becomes a sign that says so.
fn read(file: &str) -> Result<String> {
    Ok(String::from_utf8_lossy(&std::fs::read(file)?).into_owned())
}

/// As it stands in a record.
fn line(clauses: Vec<Clause>) -> String {
    let quoted: Vec<String> = clauses.into_iter().map(|c| format!("\"{}\"", String::from(c))).collect();
    format!("clauses = [{}]", quoted.join(", "))
}

fn write_clauses(texts: &Path, folder: &Path) -> Result<()> {
    let policies = Policies::load(Some(folder))?;
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut all = files(texts, "txt")?.iter().map(std::fs::read_to_string).collect::<std::io::Result<Vec<_>>>()?;
    all.extend(policies.records().filter_map(|r| spdx::license_id(&r.id)).map(|listed| listed.text().to_owned()));
    for text in all {
        for record in policies.records() {
            let digest = fingerprint(&text, &record.id, &policies).0;
            if record.texts.iter().any(|t| t.sha256 == Some(digest)) {
                known.entry(digest.to_string()).or_insert_with(|| line(clauses(&text, &record.id, &policies)));
            }
        }
    }
    for path in files(&folder.join("licenses"), "toml")? {
        let (mut digest, mut lines) = (String::new(), Vec::new());
        let record = std::fs::read_to_string(&path)?;
        for line in record.lines().filter(|l| !l.starts_with("clauses = ")) {
            lines.push(line);
            if let Some(found) = line.strip_prefix("sha256 = ") {
                found.trim_matches('"').clone_into(&mut digest);
            }
            if line.starts_with("sketch = ") {
                lines.extend(known.get(&digest).map(String::as_str));
            }
        }
        std::fs::write(&path, lines.join("\n") + "\n")?;
    }
    println!("{} texts", known.len());
    Ok(())
}

/// The shortest of 25 runs of each file: what else the machine does then counts least.
fn time(folder: &Path) -> Result<()> {
    let policies = Policies::load(None)?;
    let texts = files(folder, "txt")?.iter().map(std::fs::read_to_string).collect::<std::io::Result<Vec<_>>>()?;
    let shortest = |run: &dyn Fn(&str)| {
        let once = |text: &String| {
            let start = Instant::now();
            run(text);
            start.elapsed().as_secs_f64() * 1e3
        };
        texts.iter().map(|text| (0..25).map(|_| once(text)).fold(f64::MAX, f64::min)).collect::<Vec<f64>>()
    };
    let tell = |what: &str, times: Vec<f64>| {
        let worst = times.iter().copied().fold(0.0, f64::max);
        println!("{what}: mean {:.3} ms a file, worst {worst:.3} ms", times.iter().sum::<f64>() / times.len() as f64);
    };
    println!("{} files, {} bytes", texts.len(), texts.iter().map(String::len).sum::<usize>());
    tell("normalise", shortest(&|text| drop(tokens(text))));
    tell("identify", shortest(&|text| drop(identify(text, &policies))));
    Ok(())
}

fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?.map(|e| e.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>()?;
    let mut paths: Vec<PathBuf> =
        entries.into_iter().filter(|p| p.extension().is_some_and(|e| e == extension)).collect();
    paths.sort();
    Ok(paths)
}

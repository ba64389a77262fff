//! The entries of a bundle, FORMAT.md section 2: a few seeks over bytes that nobody has signed yet.

use super::layout::{self, BLOCK, Head, Names, TRAILER};
use super::limits;
use super::manifest::Entry;
use crate::digest::Sha256;
use crate::error::{AtPath, Code, Error, Result};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// The public part of the pre-flight.
pub const REPORT: &str = "report.json";
/// The encrypted part.
pub const PAYLOAD: &str = "payload.tar.zst.age";
/// What is signed.
pub const MANIFEST: &str = "manifest.json";
/// Its signature.
pub const SIGNATURE: &str = "manifest.sig";
/// Papers that every bundle has, besides its licence texts.
pub const PAPERS: [&str; 4] = ["MODEL_CARD.md", "NOTICE", "bom.cdx.json", REPORT];
/// The folder of licence texts.
pub const LICENSES: &str = "LICENSES/";

/// An entry and where its data lies.
#[derive(Debug)]
pub struct Placed {
    /// Name and size.
    pub head: Head,
    /// The first byte of its data in the file.
    pub start: u64,
}

/// A bundle whose layout is right; nothing in it is proven yet.
pub struct Walked {
    /// Where it was found.
    pub path: PathBuf,
    /// Open, so that what is checked is what is used.
    pub file: File,
    /// Every entry before the manifest.
    pub entries: Vec<Placed>,
    /// The bytes of `manifest.json`.
    pub manifest: Vec<u8>,
    /// The bytes of `manifest.sig`.
    pub signature: Vec<u8>,
}

impl Walked {
    /// Reads all headers, the manifest and its signature.
    pub fn read(path: &Path) -> Result<Self> {
        let mut file = File::open(path).at(path)?;
        let meta = file.metadata().at(path)?;
        if !meta.is_file() {
            return Err(
                Error::new(Code::Io, format!("not a file: {}", path.display())).with_hint("name a .sealed file")
            );
        }
        let mut placed = walk(&mut file, meta.len()).map_err(|e| at(path, e))?;
        let (signature, manifest) = (placed.pop().expect("order held"), placed.pop().expect("order held"));
        let manifest = read(&mut file, path, &manifest)?;
        let signature = read(&mut file, path, &signature)?;
        Ok(Self { path: path.to_owned(), file, entries: placed, manifest, signature })
    }
}

/// The same error, its path before it.
pub fn at(path: &Path, error: Error) -> Error {
    let named = Error::new(error.code, format!("{}: {error}", path.display()));
    match error.hint() {
        Some(hint) => named.with_hint(hint),
        None => named,
    }
}

/// Is it the name of a paper?
pub fn is_paper(name: &str) -> bool {
    PAPERS.contains(&name) || name.strip_prefix(LICENSES).is_some_and(|rest| !rest.contains('/'))
}

/// A paper as its signed entry describes it, by name.
pub fn paper(file: &mut File, path: &Path, entries: &[Entry], name: &str) -> Result<Vec<u8>> {
    let mut start = 0;
    for entry in entries {
        let head = Head { name: entry.name.clone(), size: entry.size };
        start += BLOCK as u64;
        if entry.name == name && entry.size <= limits::MAX_PAPER_BYTES {
            let bytes = read(file, path, &Placed { head, start })?;
            return match Sha256::of(&bytes) == entry.sha256 {
                true => Ok(bytes),
                false => Err(Error::new(Code::Damaged, format!("{name}: not the bytes that were signed"))),
            };
        }
        start += head.size + head.padding() as u64;
    }
    Err(bad(format!("an entry is missing: {name}")))
}

fn read(file: &mut File, path: &Path, entry: &Placed) -> Result<Vec<u8>> {
    let mut bytes = vec![0; entry.head.size as usize]; // limited by `check_size`
    file.seek(SeekFrom::Start(entry.start)).at(path)?;
    layout::fill(file, &mut bytes)?;
    Ok(bytes)
}

fn walk(file: &mut File, length: u64) -> Result<Vec<Placed>> {
    let (mut entries, mut names, mut offset) = (Vec::<Placed>::new(), Names::default(), 0u64);
    while entries.last().is_none_or(|e| e.head.name != SIGNATURE) {
        let mut block = [0; BLOCK];
        file.seek(SeekFrom::Start(offset)).map_err(|e| layout::read_error(&e))?;
        layout::fill(file, &mut block)?;
        let head = Head::parse(&block)?.ok_or_else(|| {
            Error::new(Code::Truncated, "the bundle ends before its manifest")
                .with_hint("it was never finished; ask for a whole one")
        })?;
        names.add(&head.name)?;
        check_order(entries.last().map(|e| e.head.name.as_str()), &head.name)?;
        check_size(&head)?;
        let start = offset + BLOCK as u64;
        let end = start.checked_add(head.size).filter(|end| *end <= length).ok_or_else(|| {
            Error::new(Code::Truncated, format!("the bundle ends inside {}", head.name))
                .with_hint("copy or download it again, and compare the size with the sender's")
        })?;
        offset = end + head.padding() as u64;
        zeros(file, end, head.padding())?;
        entries.push(Placed { head, start });
        if entries.len() > limits::MAX_ENTRIES {
            return Err(bad(format!("more than {} entries", limits::MAX_ENTRIES)));
        }
    }
    zeros(file, offset, TRAILER)?;
    if length != offset + TRAILER as u64 {
        return Err(bad("something stands after the end of the tar"));
    }
    check_whole(&entries)?;
    Ok(entries)
}

/// Papers ascending, then the payload, the manifest, its signature.
fn check_order(before: Option<&str>, name: &str) -> Result<()> {
    let right = match name {
        PAYLOAD => before.is_some_and(is_paper),
        MANIFEST => before == Some(PAYLOAD),
        SIGNATURE => before == Some(MANIFEST),
        _ => is_paper(name) && before.is_none_or(|b| is_paper(b) && b < name),
    };
    if right { Ok(()) } else { Err(bad(format!("an entry that may not stand here: {name}"))) }
}

fn check_size(head: &Head) -> Result<()> {
    let limit = match head.name.as_str() {
        PAYLOAD => limits::MAX_INTEGER,
        MANIFEST => limits::MAX_MANIFEST_BYTES,
        SIGNATURE => limits::MAX_SIGNATURE_BYTES,
        _ => limits::MAX_PAPER_BYTES,
    };
    if head.size <= limit {
        return Ok(());
    }
    Err(bad(format!("{} is larger than {limit} bytes: {}", head.name, head.size)))
}

fn check_whole(entries: &[Placed]) -> Result<()> {
    let has = |name: &str| entries.iter().any(|e| e.head.name == name);
    if let Some(missing) = PAPERS.into_iter().find(|name| !has(name)) {
        return Err(bad(format!("an entry is missing: {missing}")));
    }
    if !entries.iter().any(|e| e.head.name.starts_with(LICENSES)) {
        return Err(bad("no licence text under LICENSES/"));
    }
    Ok(())
}

fn zeros(file: &mut File, start: u64, count: usize) -> Result<()> {
    let mut padding = [0; TRAILER];
    file.seek(SeekFrom::Start(start)).map_err(|e| layout::read_error(&e))?;
    layout::fill(&mut file.take(count as u64), &mut padding[..count])?;
    if padding.iter().any(|b| *b != 0) {
        return Err(bad("a byte that must be zero is not, after an entry or at the end"));
    }
    Ok(())
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(Code::BadBundle, message)
}

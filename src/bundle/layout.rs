//! The strict ustar that bundle and payload share, FORMAT.md section 1: every byte follows from names and sizes.

use super::limits;
use crate::error::{Code, Error, Result};
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};

/// Headers, and what data is padded to.
pub const BLOCK: usize = 512;
/// Zero bytes after the last entry.
pub const TRAILER: usize = 2 * BLOCK;

/// One entry's name and size, out of a header whose every byte was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Relative, with `/`, following the rules for names.
    pub name: String,
    /// Bytes of data, without padding.
    pub size: u64,
}

impl Head {
    /// The one header that this name and size have.
    pub fn to_bytes(&self) -> [u8; BLOCK] {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..self.name.len()].copy_from_slice(self.name.as_bytes());
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(self.size);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Regular);
        let ustar = header.as_ustar_mut().expect("made as ustar");
        ustar.set_device_major(0);
        ustar.set_device_minor(0);
        header.set_cksum();
        *header.as_bytes()
    }

    /// Reads a header; `None` for a block of zeros.
    pub fn parse(block: &[u8; BLOCK]) -> Result<Option<Self>> {
        if block.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let header = tar::Header::from_byte_slice(block);
        let bytes = header.path_bytes();
        let name = std::str::from_utf8(&bytes).map_err(|_| bad("an entry's name is not ASCII"))?;
        check_name(name)?;
        let size = header.size().map_err(|_| bad(format!("{name}: its header has no size")))?;
        let head = Self { name: name.to_owned(), size };
        if head.to_bytes() != *block {
            return Err(bad(format!("{name}: its header is not the one that its name and size have")));
        }
        Ok(Some(head))
    }

    /// Header, data and padding.
    pub fn entry_bytes(&self) -> u64 {
        BLOCK as u64 + self.size + self.padding() as u64
    }

    /// Zeros after the data.
    pub fn padding(&self) -> usize {
        (BLOCK - (self.size % BLOCK as u64) as usize) % BLOCK
    }
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(Code::BadBundle, message)
}

/// Holds the rules for one name.
pub fn check_name(name: &str) -> Result<()> {
    let fits = name.len() <= limits::MAX_NAME_BYTES && name.split('/').count() <= limits::MAX_NAME_DEPTH;
    if fits && name.split('/').all(is_component) {
        return Ok(());
    }
    Err(bad(format!("a name that a bundle can't hold: {}", name.escape_debug()))
        .with_hint("names are made of A-Z a-z 0-9 _ . = + @ , - and are not those of devices; FORMAT.md, section 1"))
}

fn is_component(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"_.=+@,-".contains(&b);
    let first = text.as_bytes().first().copied().unwrap_or(0);
    (first.is_ascii_alphanumeric() || first == b'_')
        && text.bytes().all(inner)
        && !text.ends_with('.')
        && !is_device(text)
}

/// Windows opens these as devices, whatever stands after the first dot.
fn is_device(text: &str) -> bool {
    let stem = text.split('.').next().unwrap_or(text).to_ascii_lowercase();
    let port = |prefix| stem.strip_prefix(prefix).is_some_and(|n: &str| matches!(n.as_bytes(), [b'0'..=b'9']));
    matches!(stem.as_str(), "con" | "prn" | "aux" | "nul") || port("com") || port("lpt")
}

/// The names seen so far, so that no two mean the same file on any system.
#[derive(Default)]
pub struct Names {
    /// Folded path → its spelling, and whether it is a file.
    seen: BTreeMap<String, (String, bool)>,
}

impl Names {
    /// Adds a name that follows the rules.
    pub fn add(&mut self, name: &str) -> Result<()> {
        let clash = || Err(bad(format!("two names are the same file on some systems: {name}")));
        for (end, _) in name.match_indices('/') {
            let folder = &name[..end];
            let entry = self.seen.entry(folder.to_ascii_lowercase()).or_insert((folder.to_owned(), false));
            if entry.1 || entry.0 != folder {
                return clash();
            }
        }
        match self.seen.insert(name.to_ascii_lowercase(), (name.to_owned(), true)) {
            None => Ok(()),
            Some(_) => clash(),
        }
    }
}

/// Writes a tar as a stream.
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// One entry, its data out of `data`, which must have exactly `head.size` bytes left.
    pub fn entry(&mut self, head: &Head, data: impl Read) -> io::Result<()> {
        self.out.write_all(&head.to_bytes())?;
        let mut data = data.take(head.size.saturating_add(1));
        if io::copy(&mut data, &mut self.out)? != head.size {
            return Err(io::Error::other("the file changed while it was read"));
        }
        self.out.write_all(&[0; BLOCK][..head.padding()])
    }

    /// The end of the tar, and what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; TRAILER])?;
        Ok(self.out)
    }

    /// What is written to, for an entry whose size is not known yet.
    pub fn inner(&mut self) -> &mut W {
        &mut self.out
    }
}

/// Reads a tar as a stream: for each entry `next`, then `data`.
pub struct Reader<R> {
    input: R,
    names: Names,
}

impl<R: BufRead> Reader<R> {
    /// Reads from `input`.
    pub fn new(input: R) -> Self {
        Self { input, names: Names::default() }
    }

    /// The next entry's head; `None` at the end, when its 1024 zeros have been read.
    pub fn next_head(&mut self) -> Result<Option<Head>> {
        let mut block = [0; BLOCK];
        fill(&mut self.input, &mut block)?;
        match Head::parse(&block)? {
            Some(head) => {
                self.names.add(&head.name)?;
                Ok(Some(head))
            }
            None => {
                self.zeros(BLOCK)?;
                Ok(None)
            }
        }
    }

    /// Copies the data of the entry that `next_head` told.
    pub fn data(&mut self, head: &Head, sink: &mut dyn Write) -> Result<()> {
        let mut left = head.size;
        while left > 0 {
            let part = match self.input.fill_buf() {
                Ok(part) => &part[..part.len().min(usize::try_from(left).unwrap_or(usize::MAX))],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(read_error(&error)),
            };
            if part.is_empty() {
                return Err(read_error(&io::ErrorKind::UnexpectedEof.into()));
            }
            sink.write_all(part).map_err(|e| write_error(&head.name, &e))?;
            let count = part.len();
            left -= count as u64;
            self.input.consume(count);
        }
        self.zeros(head.padding())
    }

    /// What was read from.
    pub fn into_inner(self) -> R {
        self.input
    }

    fn zeros(&mut self, count: usize) -> Result<()> {
        let mut padding = [0; BLOCK];
        fill(&mut self.input, &mut padding[..count])?;
        if padding.iter().any(|b| *b != 0) {
            return Err(bad("a byte that must be zero is not, after an entry or at the end"));
        }
        Ok(())
    }
}

/// A destination that took no more bytes.
fn write_error(name: &str, error: &io::Error) -> Error {
    Error::io(std::path::Path::new(name), error)
}

/// Reads exactly as many bytes: `truncated` when there are fewer, our own error where a layer below has one.
pub fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<()> {
    input.read_exact(buffer).map_err(|error| read_error(&error))
}

/// The error of a layer of readers: ours, where one of ours stands inside it.
pub fn read_error(error: &io::Error) -> Error {
    if let Some(ours) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        return ours.clone();
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::new(Code::Truncated, "the bundle ends too early")
            .with_hint("copy or download it again, and compare the size with the sender's"),
        io::ErrorKind::InvalidData => Error::new(Code::BadBundle, format!("the payload can't be read: {error}")),
        _ => Error::new(Code::Io, format!("reading the bundle: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(name: &str, size: u64) -> Head {
        Head { name: name.into(), size }
    }

    #[test]
    fn a_header_has_one_form() {
        for (name, size) in
            [("NOTICE", 0), ("a/b", 511), (&"n".repeat(100), (8 << 30) - 1), ("big", 8 << 30), ("x", 4 << 40)]
        {
            let bytes = head(name, size).to_bytes();
            assert_eq!(Head::parse(&bytes).unwrap().unwrap(), head(name, size));
            for i in 0..BLOCK * 8 {
                let mut flipped = bytes;
                flipped[i / 8] ^= 1 << (i % 8);
                assert!(Head::parse(&flipped).is_err(), "{name}: bit {i}");
            }
        }
        assert_eq!(
            head("a", 8).to_bytes()[100..148],
            *b"0000644\x000000000\x000000000\x0000000000010\x0000000000000\0"
        );
    }

    #[test]
    fn names_that_escape_or_confuse_are_refused() {
        for name in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a/",
            ".hidden",
            "-rf",
            "a\\b",
            "a b",
            "é",
            "nul",
            "NUL.txt",
            "sub/Com1.json",
            "lpt9",
            "x.",
            "a:b",
            "1/2/3/4/5/6/7/8/9",
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_name(&"n".repeat(101)).is_err());
        for name in ["console.txt", "com10", "_x", "a-1.0+b=c@d,e_f.json", "1/2/3/4/5/6/7/8"] {
            check_name(name).unwrap();
        }
    }

    #[test]
    fn names_that_meet_on_some_system_are_refused() {
        for pair in [["a", "a"], ["a", "A"], ["a", "a/b"], ["a/b", "a"], ["a/b", "A/c"], ["x/A", "x/a"]] {
            let mut names = Names::default();
            names.add(pair[0]).unwrap();
            assert!(names.add(pair[1]).is_err(), "{pair:?}");
        }
        let mut names = Names::default();
        ["a/b", "a/c", "ab", "b/a/b"].iter().for_each(|n| names.add(n).unwrap());
    }

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::new(Vec::new());
        writer.entry(&head("a", 3), &b"abc"[..]).unwrap();
        writer.entry(&head("b", 0), &b""[..]).unwrap();
        assert!(writer.entry(&head("c", 2), &b"abc"[..]).is_err(), "a longer file");
        let mut writer = Writer::new(Vec::new());
        writer.entry(&head("a", 3), &b"abc"[..]).unwrap();
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes.len(), 1024 + TRAILER);
        for length in 0..bytes.len() {
            assert_eq!(read_all(&bytes[..length]).unwrap_err().code, Code::Truncated, "{length}");
        }
        assert_eq!(read_all(&bytes).unwrap(), b"abc");
        let mut dirty = bytes.clone();
        dirty[515] = 1;
        assert_eq!(read_all(&dirty).unwrap_err().code, Code::BadBundle);
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<u8>> {
        let (mut reader, mut out) = (Reader::new(bytes), Vec::new());
        while let Some(head) = reader.next_head()? {
            reader.data(&head, &mut out)?;
        }
        Ok(out)
    }
}

//! SHA-256 as a value, and streams that hash what passes through them.

use crate::error::{AtPath, Error, Result};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::io::{Read, Write};
use std::path::Path;
use std::{fmt, fs::File, str::FromStr};

/// Bytes that are asked for at once where a stream is hashed.
const READ_BYTES: usize = 256 << 10;

/// A SHA-256 digest; shown and stored as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The digest of these bytes.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The digest of a file's content, read as a stream.
    pub fn of_file(path: &Path) -> Result<Self> {
        let mut hasher = Hasher::default();
        hasher.read_all(File::open(path).at(path)?).at(path)?;
        Ok(hasher.finish())
    }

    /// The digest of the canonical JSON (RFC 8785) of a value.
    ///
    /// # Panics
    /// When `value` does not serialise: a map with keys that are no strings.
    pub fn of_json<T: Serialize + ?Sized>(value: &T) -> Self {
        let mut hasher = Hasher::default();
        serde_json_canonicalizer::to_writer(&value, &mut hasher).expect("our own values serialise");
        hasher.finish()
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

impl FromStr for Sha256 {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("not a SHA-256 digest of 64 lower-case hex digits: {text}");
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 64 || !text.bytes().all(hex) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Sha256 {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Sha256> for String {
    fn from(digest: Sha256) -> String {
        digest.to_string()
    }
}

/// A sink that hashes and counts what is written to it.
#[derive(Default, Clone)]
pub struct Hasher {
    inner: sha2::Sha256,
    bytes: u64,
}

impl Hasher {
    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.inner.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Takes in a stream to its end. Large reads: `io::copy` asks for 8 KiB at a time.
    pub fn read_all(&mut self, mut input: impl Read) -> std::io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match input.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => self.update(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// How many bytes were taken in.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The digest of all of them.
    pub fn finish(self) -> Sha256 {
        Sha256(self.inner.finalize().into())
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A reader or writer that hashes what passes.
pub struct Hashing<S> {
    stream: S,
    hasher: Hasher,
}

impl<S> Hashing<S> {
    /// Watches `stream`.
    pub fn new(stream: S) -> Self {
        Self { stream, hasher: Hasher::default() }
    }

    /// How many bytes have passed.
    pub fn bytes(&self) -> u64 {
        self.hasher.bytes()
    }

    /// The stream, and what has passed through it.
    pub fn finish(self) -> (S, Sha256, u64) {
        let bytes = self.hasher.bytes();
        (self.stream, self.hasher.finish(), bytes)
    }
}

impl<S: Read> Read for Hashing<S> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

impl<S: Write> Write for Hashing<S> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.stream.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

/// The digest of a folder: SHA-256 over the sorted lines `DIGEST SIZE NAME\n` of its regular files.
///
/// Links and special files are refused; names are relative, with `/`.
pub fn folder(path: &Path) -> Result<Sha256> {
    let mut lines = Vec::new();
    collect(path, path, &mut lines)?;
    lines.sort();
    Ok(Sha256::of(lines.concat()))
}

fn collect(root: &Path, folder: &Path, lines: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder).at(folder)? {
        let path = entry.at(folder)?.path();
        let kind = path.symlink_metadata().at(&path)?.file_type();
        if kind.is_dir() {
            collect(root, &path, lines)?;
        } else if kind.is_file() {
            let name = path.strip_prefix(root).expect("walked from the root").to_string_lossy().replace('\\', "/");
            let mut hasher = Hasher::default();
            hasher.read_all(File::open(&path).at(&path)?).at(&path)?;
            let bytes = hasher.bytes();
            lines.push(format!("{} {bytes} {name}\n", hasher.finish()));
        } else {
            return Err(Error::input(&path, "neither a regular file nor a folder")
                .with_hint("replace the link by what it points at"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer() {
        // FIPS 180-2, B.1
        let abc = Sha256::of("abc");
        assert_eq!(abc.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(abc.to_string().parse(), Ok(abc));
        assert!("BA7816".parse::<Sha256>().is_err());
    }

    #[test]
    fn a_folder_digest_sees_names_and_contents() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("sub/a"), "1").unwrap();
        let one = folder(dir.path()).unwrap();
        std::fs::write(dir.path().join("sub/a"), "2").unwrap();
        assert_ne!(folder(dir.path()).unwrap(), one);
        std::fs::write(dir.path().join("sub/a"), "1").unwrap();
        assert_eq!(folder(dir.path()).unwrap(), one);
        std::fs::rename(dir.path().join("sub/a"), dir.path().join("sub/b")).unwrap();
        assert_ne!(folder(dir.path()).unwrap(), one);
    }
}

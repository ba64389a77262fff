//! One file off a server: goes on where an earlier try ended, and is believed when its digest is right.

use super::http::{Answer, Ask, Client};
use super::url::Url;
use super::{Event, Listener};
use crate::digest::{Hasher, Sha256};
use crate::error::{AtPath, Code, Error, Result};
use sha1::Digest as _;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;
use zeroize::Zeroizing;

/// Connections in a row that may be lost without [`PROGRESS`].
const MAX_CUTS: u32 = 5;
/// Bytes after which a lost connection counts as the first one again.
const PROGRESS: u64 = 1 << 20;
/// Bytes that are read at a time.
const BUFFER: usize = 256 << 10;

/// What a file's bytes must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256 of the bytes.
    Sha256(Sha256),
    /// Git's name of a blob: SHA-1 of `blob SIZE NUL` and the bytes.
    Git([u8; 20]),
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() != 40 {
            return text.parse().map(Self::Sha256);
        }
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        let wrong = || format!("not a digest: {}", text.escape_debug());
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).ok().filter(|_| pair.iter().all(|b| hex(*b))).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self::Git(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => digest.fmt(f),
            Self::Git(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

/// A file that is wanted.
pub struct Wanted<'a> {
    /// For messages.
    pub name: &'a str,
    /// Where it is.
    pub url: &'a Url,
    /// `Authorization` for that host.
    pub secret: Option<&'a Zeroizing<String>>,
    /// Its bytes, exactly.
    pub size: u64,
    /// What they must be.
    pub digest: Digest,
}

/// Where it goes: a part of an open file, which nothing follows.
pub struct Place<'a> {
    /// For messages.
    pub path: &'a Path,
    /// Open for reading and writing.
    pub file: &'a mut File,
    /// Its first byte in the file; what stands from there on is from an earlier try, and more of it may follow.
    pub start: u64,
}

impl Wanted<'_> {
    /// Fetches what is missing. An earlier try that turns out to be wrong is fetched anew, once.
    pub fn fetch(&self, client: &Client, place: &mut Place<'_>, listen: &mut Listener<'_>) -> Result<()> {
        let mut running = self.begin(place)?;
        listen(Event::Begin { name: self.name, size: self.size, have: running.have });
        let resumed = running.have > 0;
        self.fetch_rest(client, place, &mut running, listen)?;
        if resumed && running.digest() != self.digest {
            running = self.anew(place)?;
            listen(Event::Again(0));
            self.fetch_rest(client, place, &mut running, listen)?;
        }
        if running.digest() != self.digest {
            self.anew(place)?;
            return Err(Error::new(Code::WrongDigest, format!("{}: not the bytes that were promised", self.name))
                .with_hint("run the command again; if it stays so, the server or something before it changes files"));
        }
        listen(Event::End);
        Ok(())
    }

    /// Hashes what an earlier try has left.
    fn begin(&self, place: &mut Place<'_>) -> Result<Running> {
        let there = place.file.metadata().at(place.path)?.len().saturating_sub(place.start).min(self.size);
        let mut running = Running::new(self);
        place.file.seek(SeekFrom::Start(place.start)).at(place.path)?;
        let mut buffer = vec![0; BUFFER];
        while running.have < there {
            let part = (there - running.have).min(BUFFER as u64) as usize;
            place.file.read_exact(&mut buffer[..part]).at(place.path)?;
            running.update(&buffer[..part]);
        }
        Ok(running)
    }

    fn anew(&self, place: &mut Place<'_>) -> Result<Running> {
        place.file.set_len(place.start).at(place.path)?;
        place.file.seek(SeekFrom::Start(place.start)).at(place.path)?;
        Ok(Running::new(self))
    }

    fn fetch_rest(
        &self,
        client: &Client,
        place: &mut Place<'_>,
        running: &mut Running,
        listen: &mut Listener<'_>,
    ) -> Result<()> {
        let (mut cuts, mut since) = (0, running.have);
        while running.have < self.size {
            let cut = self.fetch_once(client, place, running, listen)?;
            if running.have < self.size {
                cuts = if running.have.saturating_sub(since) >= PROGRESS { 0 } else { cuts + 1 };
                since = running.have;
                if cuts >= MAX_CUTS {
                    return Err(cut.unwrap_or_else(|| self.lost("the connection ends too early")));
                }
                std::thread::sleep(Duration::from_secs(u64::from(cuts.saturating_sub(1))));
                listen(Event::Again(running.have));
            }
        }
        Ok(())
    }

    /// As much as one connection gives; what cut it short, where something did.
    fn fetch_once(
        &self,
        client: &Client,
        place: &mut Place<'_>,
        running: &mut Running,
        listen: &mut Listener<'_>,
    ) -> Result<Option<Error>> {
        let range = format!("bytes={}-", running.have);
        let headers = [("range", range.as_str()), ("accept-encoding", "identity")];
        let headers = if running.have > 0 { &headers[..] } else { &headers[1..] };
        let answer = client.get(self.url, Ask { headers, secret: self.secret })?;
        match answer.status {
            206 => self.check_range(&answer, running.have)?,
            200 | 416 if running.have > 0 => {
                *running = self.anew(place)?; // the server can't go on in the middle
                listen(Event::Again(0));
                if answer.status == 416 {
                    return Ok(None);
                }
            }
            200 => {}
            _ => return Err(answer.refused(self.name)),
        }
        if answer.length().is_some_and(|length| length != self.size - running.have) {
            return Err(self.lost("the server sends another size than it promised"));
        }
        let mut body = answer.reader().take(self.size - running.have);
        let mut buffer = vec![0; BUFFER];
        loop {
            match body.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(read) => {
                    place.file.write_all(&buffer[..read]).at(place.path)?;
                    running.update(&buffer[..read]);
                    listen(Event::Bytes(read as u64));
                }
                Err(error) => return Ok(Some(self.lost(&error.to_string()))),
            }
        }
    }

    /// `Content-Range: bytes FIRST-LAST/SIZE` must be what was asked for.
    fn check_range(&self, answer: &Answer, have: u64) -> Result<()> {
        let wanted = format!("bytes {have}-{}/{}", self.size - 1, self.size);
        match answer.own_header("content-range") {
            Some(range) if range == wanted => Ok(()),
            _ => Err(self.lost("the server sends another part than it was asked for")),
        }
    }

    fn lost(&self, why: &str) -> Error {
        Error::new(Code::Network, format!("{} from {}: {why}", self.name, self.url.authority()))
            .with_hint("run the same command again: it goes on where it stopped")
    }
}

/// The digest of what is there so far.
struct Running {
    have: u64,
    hasher: Either,
}

#[derive(Clone)]
enum Either {
    Sha256(Hasher),
    Git(sha1::Sha1),
}

impl Running {
    fn new(wanted: &Wanted<'_>) -> Self {
        let hasher = match wanted.digest {
            Digest::Sha256(_) => Either::Sha256(Hasher::default()),
            Digest::Git(_) => {
                let mut hasher = sha1::Sha1::new();
                hasher.update(format!("blob {}\0", wanted.size));
                Either::Git(hasher)
            }
        };
        Self { have: 0, hasher }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.have += bytes.len() as u64;
        match &mut self.hasher {
            Either::Sha256(hasher) => hasher.update(bytes),
            Either::Git(hasher) => hasher.update(bytes),
        }
    }

    fn digest(&self) -> Digest {
        match self.hasher.clone() {
            Either::Sha256(hasher) => Digest::Sha256(hasher.finish()),
            Either::Git(hasher) => Digest::Git(hasher.finalize().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        for text in [&"0a".repeat(20), &"fe".repeat(32)] {
            assert_eq!(text.parse::<Digest>().unwrap().to_string(), **text);
        }
        for wrong in ["", "0A", &"0A".repeat(20), &"zz".repeat(32), &"é".repeat(20), &"0a".repeat(21)] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
    }
}

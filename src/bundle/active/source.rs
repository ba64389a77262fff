//! Bytes of a file or of a part of one, read at any place through a small buffer: nothing is held whole.

use std::io::{self, Read, Seek, SeekFrom};

/// What a window looks into.
pub trait Source: Read + Seek {}
impl<T: Read + Seek> Source for T {}

/// Why a reader of a form stopped.
#[derive(Debug)]
pub enum Stop {
    /// The bytes are not of this form: a loader stops here, too.
    Not,
    /// More than a limit allows.
    Limit,
    /// They could not be read.
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A part of a source.
pub struct Window<'a> {
    source: &'a mut dyn Source,
    start: u64,
    /// Its bytes.
    pub length: u64,
}

impl<'a> Window<'a> {
    /// All of it.
    pub fn whole(source: &'a mut dyn Source) -> io::Result<Self> {
        let length = source.seek(SeekFrom::End(0))?;
        Ok(Self { source, start: 0, length })
    }

    /// A part of it, cut where it ends.
    pub fn part(&mut self, at: u64, length: u64) -> Window<'_> {
        let at = at.min(self.length);
        Window { source: self.source, start: self.start + at, length: length.min(self.length - at) }
    }

    /// At most `count` bytes from `at` on; fewer at the end.
    pub fn read_at(&mut self, at: u64, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader_at(at)?.take(count as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// What stands from `at` on, as a stream.
    pub fn reader_at(&mut self, at: u64) -> io::Result<impl Read + '_> {
        let at = at.min(self.length);
        self.source.seek(SeekFrom::Start(self.start + at))?;
        Ok((&mut self.source).take(self.length - at))
    }
}

/// Bytes that a reader looks ahead.
const BUFFER: usize = 64 << 10;

/// A place in a window that moves on.
pub struct Cursor<'w, 'a> {
    window: &'w mut Window<'a>,
    /// The next byte.
    pub at: u64,
    /// Where the buffer begins.
    from: u64,
    buffer: Vec<u8>,
}

impl<'w, 'a> Cursor<'w, 'a> {
    pub fn new(window: &'w mut Window<'a>) -> Self {
        Self { window, at: 0, from: 0, buffer: Vec::new() }
    }

    /// Bytes of the window.
    pub fn length(&self) -> u64 {
        self.window.length
    }

    /// The next byte, or none at the end.
    pub fn next(&mut self) -> Result<Option<u8>, Stop> {
        let offset = self.at.wrapping_sub(self.from);
        if self.at < self.from || offset >= self.buffer.len() as u64 {
            self.buffer = self.window.read_at(self.at, BUFFER)?;
            self.from = self.at;
            if self.buffer.is_empty() {
                return Ok(None);
            }
        }
        let byte = self.buffer[(self.at - self.from) as usize];
        self.at += 1;
        Ok(Some(byte))
    }

    /// The next byte; a form that ends here is none.
    pub fn byte(&mut self) -> Result<u8, Stop> {
        self.next()?.ok_or(Stop::Not)
    }

    /// The next `N` bytes.
    pub fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte()?;
        }
        Ok(bytes)
    }

    /// So many bytes, none of which matters.
    pub fn skip(&mut self, count: u64) -> Result<(), Stop> {
        self.at = self.at.checked_add(count).filter(|end| *end <= self.window.length).ok_or(Stop::Not)?;
        Ok(())
    }

    /// So many bytes; only the first `keep` of them are held.
    pub fn text(&mut self, count: u64, keep: usize) -> Result<Vec<u8>, Stop> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.window.length).ok_or(Stop::Not)?;
        let mut text = Vec::new();
        while self.at < end && text.len() < keep {
            text.push(self.byte()?);
        }
        self.at = end;
        Ok(text)
    }

    /// Up to the next line feed; only the first `keep` bytes are held.
    pub fn line(&mut self, keep: usize) -> Result<Vec<u8>, Stop> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return Ok(line),
                byte if line.len() < keep => line.push(byte),
                _ => {}
            }
        }
    }
}

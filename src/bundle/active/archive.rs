//! What files are packed in: zip, tar, gzip, zlib, zstd. Each member is looked at like a file; what cannot be unpacked
//! here, or not within the limits, is `unread`. Memory holds one unpacked member a level.

use super::source::{Cursor, Stop, Window};
use super::{Active, Found, look as look_at, magic, words};
use std::io::{self, Cursor as Bytes, Read};

/// Members of one archive.
const MAX_MEMBERS: usize = 1 << 16;
/// Bytes of a member that is unpacked to be looked at.
const MAX_UNPACKED: u64 = 64 << 20;
/// Bytes that are unpacked of one file, all its members together.
pub const MAX_UNPACKED_OF_A_FILE: u64 = 2 << 30;
/// Ends of a central directory that are tried: a comment may hold another one.
const MAX_ENDS: usize = 4;
/// The end of a central directory with the longest comment, and what zip64 puts before it.
const MAX_END: u64 = 22 + 65_535 + 76;
/// The longest window that a zstd frame may ask for, as a power of two.
const MAX_WINDOW_LOG: u32 = 27;
/// Bytes of a member's name.
const MAX_NAME: usize = 1024;
/// Bytes of a tar's header.
const BLOCK: u64 = 512;

/// Compressions and archives that are not read here.
const OTHERS: [(&[u8], &str); 9] = [
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"ZF0x", "joblib's old compression"),
    (b"MSCF\0\0\0\0", "cab"),
    (b"LZIP", "lzip"),
    (b"hsqs", "squashfs"),
];

/// A stream that is one compressed file.
#[derive(Clone, Copy)]
enum Stream {
    Gzip,
    Zlib,
    Zstd,
}

/// Is it anything that holds files?
pub fn is_one(head: &[u8], window: &mut Window<'_>) -> io::Result<bool> {
    Ok(other(head).is_some() || stream(head).is_some() || is_tar(head) || !directories(head, window)?.is_empty())
}

/// Looks into it.
pub fn look(found: &mut Found, name: &str, head: &[u8], window: &mut Window<'_>, depth: u32) -> io::Result<()> {
    if let Some(what) = other(head) {
        found.add(Active::Unread, name, what);
    }
    if let Some(stream) = stream(head) {
        unpack(found, name, window, depth, |packed| stream.unpacked(packed))?;
    }
    if is_tar(head) {
        tar(found, name, window, depth)?;
    }
    for directory in directories(head, window)? {
        zip(found, name, window, depth, directory)?;
    }
    Ok(())
}

fn other(head: &[u8]) -> Option<&'static str> {
    // lzma alone has no magic number: properties, a dictionary's size, and the size or all ones
    let sizes = |d: &[u8], s: &[u8]| d[..2] == [0, 0] && d[2..] != [0, 0] && (s == [0xff; 8] || s[5..] == [0; 3]);
    if head.len() > 13 && head[0] == 0x5d && sizes(&head[1..5], &head[5..13]) {
        return Some("lzma");
    }
    let bzip2 = || head.get(4..10).is_some_and(|block| block == b"1AY&SY");
    let named = |magic: &[u8]| head.starts_with(magic) && (magic != b"BZh" || bzip2());
    OTHERS.iter().find(|(magic, _)| named(magic)).map(|(_, what)| *what)
}

fn stream(head: &[u8]) -> Option<Stream> {
    match head {
        [0x1f, 0x8b, 8, ..] => Some(Stream::Gzip),
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => Some(Stream::Zlib),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Stream::Zstd),
        _ => None,
    }
}

impl Stream {
    fn unpacked<'r>(self, packed: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
        Ok(match self {
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(packed)),
            Self::Zlib => Box::new(flate2::read::ZlibDecoder::new(packed)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(packed)?;
                decoder.window_log_max(MAX_WINDOW_LOG)?;
                Box::new(decoder)
            }
        })
    }
}

/// Unpacks what is packed as one stream, and looks at it; a stream that breaks is looked at as far as it came.
fn unpack(
    found: &mut Found,
    name: &str,
    packed: &mut Window<'_>,
    depth: u32,
    unpacked: impl for<'r> FnOnce(Box<dyn Read + 'r>) -> io::Result<Box<dyn Read + 'r>>,
) -> io::Result<()> {
    let room = MAX_UNPACKED.min(MAX_UNPACKED_OF_A_FILE.saturating_sub(found.unpacked));
    let mut bytes = Vec::new();
    // an error of the stream ends it; one of the disk shows when the file is read again
    let _ = unpacked(Box::new(packed.reader_at(0)?))?.take(room + 1).read_to_end(&mut bytes);
    found.unpacked += bytes.len() as u64;
    if bytes.len() as u64 > room && !magic::is_plain(&bytes) {
        found.add(Active::Unread, name, "more than is unpacked here");
    }
    look_at(found, name, &mut Window::whole(&mut Bytes::new(bytes))?, depth + 1)
}

/// By a header's checksum: the oldest tars have no magic number.
fn is_tar(head: &[u8]) -> bool {
    let Some(block) = head.get(..BLOCK as usize).filter(|block| block[0] != 0) else { return false };
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    let field = &block[148..156];
    octal(field).is_some_and(|said| said > 0 && said == sum - field.iter().map(|b| u64::from(*b)).sum::<u64>() + 8 * 32)
}

fn octal(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let low = field.last_chunk::<8>()?;
        return Some(u64::from_be_bytes(*low) & (u64::MAX >> 1));
    }
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches(|c| c == ' ' || c == '\0'), 8).ok()
}

/// Every member of a tar, links and long names by their content, too.
fn tar(found: &mut Found, name: &str, window: &mut Window<'_>, depth: u32) -> io::Result<()> {
    let mut at = 0;
    for _ in 0..MAX_MEMBERS {
        let head = window.read_at(at, BLOCK as usize)?;
        if !is_tar(&head) {
            return Ok(());
        }
        let member = String::from_utf8_lossy(head[..100].split(|b| *b == 0).next().unwrap_or_default()).into_owned();
        let Some(size) = octal(&head[124..136]) else {
            found.add(Active::Unread, name, "a tar with a size that is no number");
            return Ok(());
        };
        let mut data = window.part(at + BLOCK, size);
        if matches!(head[156], b'L' | b'x') {
            let long = data.read_at(0, 4096)?;
            words::name(found, &format!("{name}!{}", String::from_utf8_lossy(&long).trim_end_matches(['\0', '\n'])));
        } else {
            look_at(found, &format!("{name}!{member}"), &mut data, depth + 1)?;
        }
        at = match size.checked_next_multiple_of(BLOCK).and_then(|s| s.checked_add(at + BLOCK)) {
            Some(next) => next,
            None => return Ok(()),
        };
    }
    found.add(Active::Unread, name, "more members than are looked at");
    Ok(())
}

/// Where a zip's central directory is, and by how much its offsets are moved; `None` where none can be found.
type Directory = Option<(u64, u64)>;

/// Every central directory that some reader would find.
fn directories(head: &[u8], window: &mut Window<'_>) -> io::Result<Vec<Directory>> {
    let begins = head.starts_with(b"PK\x03\x04");
    let from = window.length.saturating_sub(MAX_END);
    let tail = window.read_at(from, MAX_END as usize)?;
    let mut all: Vec<Directory> = Vec::new();
    let ends = tail.windows(4).enumerate().filter(|(_, w)| *w == b"PK\x05\x06").map(|(at, _)| at);
    for at in ends.collect::<Vec<_>>().into_iter().rev().take(MAX_ENDS) {
        for directory in directory_of(&tail, at, from, window)? {
            if !all.contains(&Some(directory)) {
                all.push(Some(directory));
            }
        }
    }
    if begins && all.is_empty() {
        all.push(None);
    }
    Ok(all)
}

/// By its size, as Python finds it, and by its offset, as others do.
fn directory_of(tail: &[u8], at: usize, from: u64, window: &mut Window<'_>) -> io::Result<Vec<(u64, u64)>> {
    let Some(end) = tail.get(at..at + 22) else { return Ok(Vec::new()) };
    let (mut stands, mut size, mut offset) = (from + at as u64, u64::from(u32_at(end, 12)), u64::from(u32_at(end, 16)));
    if let Some(locator) = at.checked_sub(20).map(|l| &tail[l..at]).filter(|l| l.starts_with(b"PK\x06\x07")) {
        for place in [u64_at(locator, 8), stands.saturating_sub(76)] {
            let end = window.read_at(place, 56)?;
            if end.len() == 56 && end.starts_with(b"PK\x06\x06") {
                (stands, size, offset) = (place, u64_at(&end, 40), u64_at(&end, 48));
            }
        }
    }
    let mut found = Vec::new();
    for start in [stands.checked_sub(size), Some(offset)].into_iter().flatten() {
        if window.read_at(start, 4)? == b"PK\x01\x02" {
            found.push((start, start.wrapping_sub(offset)));
        }
    }
    Ok(found)
}

/// A member of a zip.
struct Member {
    name: String,
    flags: u16,
    method: u16,
    packed: u64,
    header: u64,
}

fn zip(found: &mut Found, name: &str, window: &mut Window<'_>, depth: u32, directory: Directory) -> io::Result<()> {
    let Some((start, moved)) = directory else {
        found.add(Active::Unread, name, "a zip without a directory");
        return Ok(());
    };
    let members = match members(window, start) {
        Ok(members) => members,
        Err(Stop::Io(error)) => return Err(error),
        Err(_) => {
            found.add(Active::Unread, name, "a zip with a broken or too large directory");
            return Ok(());
        }
    };
    for member in members {
        let name = format!("{name}!{}", member.name);
        let header = member.header.wrapping_add(moved);
        let local = window.read_at(header, 30)?;
        if local.len() < 30 || !local.starts_with(b"PK\x03\x04") {
            found.add(Active::Unread, &name, "a zip whose member is not where its directory says");
            continue;
        }
        let skip = 30 + u64::from(u16_at(&local, 26)) + u64::from(u16_at(&local, 28));
        let mut data = window.part(header.saturating_add(skip), member.packed);
        let before = found.places.len();
        match member.method {
            0 => look_at(found, &name, &mut data, depth + 1)?,
            8 => {
                words::name(found, &name);
                unpack(found, &name, &mut data, depth, |packed| {
                    Ok(Box::new(flate2::read::DeflateDecoder::new(packed)))
                })?;
            }
            _ => found.add(Active::Unread, &name, "a zip's member in a compression that is not read here"),
        }
        // some loaders don't mind the flag; for those that do it cannot be looked into
        if member.flags & 1 != 0 && found.places.len() == before {
            found.add(Active::Unread, &name, "a zip's member that is encrypted");
        }
    }
    Ok(())
}

/// The members that a central directory names.
fn members(window: &mut Window<'_>, start: u64) -> Result<Vec<Member>, Stop> {
    let mut cursor = Cursor::new(window);
    cursor.at = start;
    let mut members = Vec::new();
    while let Ok(head) = cursor.bytes::<46>() {
        if !head.starts_with(b"PK\x01\x02") {
            break;
        }
        let lengths = [28, 30, 32].map(|at| u64::from(u16_at(&head, at)));
        let name = cursor.text(lengths[0], MAX_NAME + 1)?;
        let extra = cursor.text(lengths[1], usize::MAX)?;
        cursor.skip(lengths[2])?;
        let [size, packed, header] = wide(&extra, [24, 20, 42].map(|at| u32_at(&head, at)));
        // a stored member has one size; where the two differ, the larger one is looked at
        let (method, stored) = (u16_at(&head, 10), packed.max(size));
        let packed = if method == 0 { stored } else { packed };
        members.push(Member {
            name: String::from_utf8_lossy(&name).into_owned(),
            flags: u16_at(&head, 8),
            method,
            packed,
            header,
        });
        if members.len() > MAX_MEMBERS || name.len() > MAX_NAME {
            return Err(Stop::Limit);
        }
    }
    Ok(members)
}

/// The three numbers of a member; zip64 keeps those that don't fit in its extra field, in this order.
fn wide(extra: &[u8], narrow: [u32; 3]) -> [u64; 3] {
    let (mut rest, mut field) = (extra, &[][..]);
    while let [a, b, c, d, more @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*c, *d])).min(more.len());
        if [*a, *b] == [1, 0] {
            field = &more[..length];
        }
        rest = &more[length..];
    }
    narrow.map(|number| match field.split_first_chunk::<8>() {
        Some((wide, rest)) if number == u32::MAX => {
            field = rest;
            u64::from_le_bytes(*wide)
        }
        _ => u64::from(number),
    })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

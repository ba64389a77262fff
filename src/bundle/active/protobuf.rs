//! Protocol Buffers' wire format, as far as a walk over fields needs it: nothing is held, long fields are skipped.

use super::source::{Cursor, Stop};
use std::ops::Range;

/// Fields of one file that are looked at.
pub const MAX_FIELDS: u64 = 1 << 24;
/// Messages in messages: the limit of the official readers.
pub const MAX_DEPTH: u32 = 100;

/// The value of a field.
pub enum Value {
    /// An integer.
    Number,
    /// A text, bytes or a message: where it lies.
    Bytes(Range<u64>),
    /// Of a fixed length, or a group.
    Other,
}

/// Fields that were looked at in one file.
#[derive(Default)]
pub struct Budget(u64);

/// What is done with each field: its number and value; the cursor may be moved.
pub type On<'f> = dyn FnMut(&mut Cursor<'_, '_>, &mut Budget, u64, Value) -> Result<(), Stop> + 'f;

/// Gives each field of the message at `range` to `on`, which may move the cursor; `Not` where it is no message.
pub fn fields(
    cursor: &mut Cursor<'_, '_>,
    range: Range<u64>,
    budget: &mut Budget,
    on: &mut On<'_>,
) -> Result<(), Stop> {
    cursor.at = range.start;
    while cursor.at < range.end {
        budget.spend()?;
        let (number, wire) = key(cursor)?;
        let value = match wire {
            0 => varint(cursor).map(|_| Value::Number)?,
            1 => cursor.skip(8).map(|()| Value::Other)?,
            5 => cursor.skip(4).map(|()| Value::Other)?,
            3 => group(cursor, budget, number, 0).map(|()| Value::Other)?,
            2 => {
                let length = varint(cursor)?;
                let end = cursor.at.checked_add(length).filter(|end| *end <= range.end).ok_or(Stop::Not)?;
                Value::Bytes(cursor.at..end)
            }
            _ => return Err(Stop::Not),
        };
        let end = if let Value::Bytes(range) = &value { range.end } else { cursor.at };
        on(cursor, budget, number, value)?;
        cursor.at = end;
    }
    if cursor.at == range.end { Ok(()) } else { Err(Stop::Not) }
}

/// A short text.
pub fn text(cursor: &mut Cursor<'_, '_>, range: Range<u64>, keep: usize) -> Result<String, Stop> {
    cursor.at = range.start;
    let bytes = cursor.text(range.end - range.start, keep)?;
    String::from_utf8(bytes).map_err(|_| Stop::Not)
}

impl Budget {
    fn spend(&mut self) -> Result<(), Stop> {
        self.0 += 1;
        if self.0 <= MAX_FIELDS { Ok(()) } else { Err(Stop::Limit) }
    }
}

fn key(cursor: &mut Cursor<'_, '_>) -> Result<(u64, u64), Stop> {
    let key = varint(cursor)?;
    if (1..1 << 29).contains(&(key >> 3)) { Ok((key >> 3, key & 7)) } else { Err(Stop::Not) }
}

fn varint(cursor: &mut Cursor<'_, '_>) -> Result<u64, Stop> {
    let mut value = 0u64;
    for at in 0..10 {
        let byte = cursor.byte()?;
        value |= u64::from(byte & 0x7f).checked_shl(7 * at).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Stop::Not)
}

/// A group, to its end: an old form that readers still skip.
fn group(cursor: &mut Cursor<'_, '_>, budget: &mut Budget, opened: u64, depth: u32) -> Result<(), Stop> {
    if depth > MAX_DEPTH {
        return Err(Stop::Not);
    }
    loop {
        budget.spend()?;
        match key(cursor)? {
            (_, 0) => drop(varint(cursor)?),
            (_, 1) => cursor.skip(8)?,
            (_, 5) => cursor.skip(4)?,
            (_, 2) => {
                let length = varint(cursor)?;
                cursor.skip(length)?;
            }
            (number, 3) => group(cursor, budget, number, depth + 1)?,
            (number, 4) if number == opened => return Ok(()),
            _ => return Err(Stop::Not),
        }
    }
}

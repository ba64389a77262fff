//! Python pickles: their opcodes are walked, none is carried out. What a loader would import or call is found, also where
//! the pickle breaks afterwards: by then it has run.

use super::source::{Cursor, Stop, Window};

/// Opcodes of one file; a pickle with more is not judged harmless.
const MAX_OPCODES: u64 = 1 << 26;
/// Marks that are open at the same time.
const MAX_MARKS: usize = 1 << 20;
/// Bytes of a name that are looked at.
const MAX_NAME: usize = 256;
/// NumPy's magic number; where the header says `object`, a pickle follows.
const NPY: &[u8] = b"\x93NUMPY";
/// Bytes of NumPy's header that are looked at; its own limit is 10 000.
const MAX_NPY: usize = 64 << 10;

/// What it would import or call; nothing where it is no pickle, or one of plain values.
pub fn look(window: &mut Window<'_>) -> Result<Option<String>, Stop> {
    if let Some(why) = npy(window)? {
        return Ok(Some(why));
    }
    let mut pickle = Pickle::new(Cursor::new(window));
    loop {
        match pickle.one()? {
            Some(why) => return Ok(Some(why)),
            // legacy checkpoints and joblib write one after the other
            None if pickle.cursor.at < pickle.cursor.length() => {}
            None => return Ok(None),
        }
    }
}

/// An array of Python objects.
fn npy(window: &mut Window<'_>) -> Result<Option<String>, Stop> {
    let head = window.read_at(0, MAX_NPY)?;
    if !head.starts_with(NPY) {
        return Ok(None);
    }
    let (start, length) = match head.get(6..12) {
        Some([1, _, a, b, ..]) => (10, usize::from(u16::from_le_bytes([*a, *b]))),
        Some([_, _, a, b, c, d]) => (12, u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        _ => return Ok(None),
    };
    let header = head.get(start..).unwrap_or_default();
    let header = &header[..length.min(header.len())];
    let is_object = |word: &[u8]| {
        let word = word.strip_prefix(b"|").or_else(|| word.strip_prefix(b"<")).unwrap_or(word);
        word.first() == Some(&b'O') && word[1..].iter().all(u8::is_ascii_digit) || word == b"object"
    };
    let objects = header.split(|b| matches!(b, b'\'' | b'"')).any(is_object) || length > MAX_NPY;
    Ok(objects.then(|| "a NumPy array of Python objects".into()))
}

/// A pickle while it is walked. The stack is counted and not kept; where a loader is stricter, this one goes on.
struct Pickle<'w, 'a> {
    cursor: Cursor<'w, 'a>,
    opcodes: u64,
    depth: u64,
    marks: Vec<u64>,
    /// It says its protocol: no text begins so.
    is_marked: bool,
    /// Short texts that could name something, for STACK_GLOBAL.
    names: u64,
    last: String,
    /// What it imports.
    imports: Option<String>,
}

impl<'w, 'a> Pickle<'w, 'a> {
    fn new(cursor: Cursor<'w, 'a>) -> Self {
        let marks = Vec::new();
        let last = String::new();
        Self { cursor, opcodes: 0, depth: 0, marks, is_marked: false, names: 0, last, imports: None }
    }

    /// One pickle, to its STOP. Text may begin like one of protocol 0, so that an import alone says nothing there until
    /// it is called or the pickle ends well.
    fn one(&mut self) -> Result<Option<String>, Stop> {
        (self.depth, self.is_marked, self.names, self.imports) = (0, false, 0, None);
        self.marks.clear();
        loop {
            self.opcodes += 1;
            if self.opcodes > MAX_OPCODES || self.marks.len() > MAX_MARKS {
                return Err(Stop::Limit);
            }
            let opcode = self.cursor.byte()?;
            let calls = self.step(opcode)?;
            match &self.imports {
                Some(name) if calls || self.is_marked || opcode == b'.' => return Ok(Some(format!("calls {name}"))),
                None if calls && self.is_marked => return Ok(Some("calls what it was given".into())),
                _ if opcode == b'.' => return Ok(None),
                _ => {}
            }
        }
    }

    /// One opcode; does it call something?
    fn step(&mut self, opcode: u8) -> Result<bool, Stop> {
        match opcode {
            0x80 => {
                self.is_marked = self.cursor.byte()? <= 5;
                if !self.is_marked {
                    return Err(Stop::Not);
                }
            }
            0x95 => self.cursor.skip(8)?, // FRAME
            b'(' => self.marks.push(self.depth),
            b'0' => match self.marks.last() {
                Some(mark) if *mark == self.depth => drop(self.marks.pop()),
                _ => self.moves(1, 0)?,
            },
            b'1' => self.down_to_mark(0)?,
            b'2' => self.again(0).and_then(|()| self.moves(1, 2))?,
            b'N' | b')' | b']' | b'}' | 0x88 | 0x89 | 0x8f | 0x97 => self.moves(0, 1)?,
            b'p' | b'I' | b'L' | b'F' => self.number(opcode)?,
            b'g' => self.again(0).and_then(|()| self.number(opcode))?,
            b'S' | b'V' | b'P' => self.text_line(opcode)?,
            b'K' => self.sized(1)?,
            b'h' => self.again(1)?,
            b'M' => self.sized(2)?,
            b'J' => self.sized(4)?,
            b'j' => self.again(4)?,
            b'G' => self.sized(8)?,
            b'q' => self.cursor.skip(1)?,
            b'r' => self.cursor.skip(4)?,
            0x94 | 0x98 => self.moves(1, 1)?,
            0x8a | b'U' | b'C' | 0x8c => self.counted(1, opcode)?,
            0x8b | b'T' | b'B' | b'X' => self.counted(4, opcode)?,
            0x8d | 0x8e | 0x96 => self.counted(8, opcode)?,
            b'Q' => self.moves(1, 1)?,
            b't' | b'l' | b'd' | 0x91 => self.down_to_mark(1)?,
            0x85 => self.moves(1, 1)?,
            0x86 => self.moves(2, 1)?,
            0x87 => self.moves(3, 1)?,
            b'a' => self.moves(2, 1)?,
            b's' => self.moves(3, 1)?,
            b'e' | b'u' | 0x90 => self.down_to_mark(0)?,
            b'c' => self.names_line()?,
            0x93 => self.stack_global()?,
            0x82 => self.extension(1)?,
            0x83 => self.extension(2)?,
            0x84 => self.extension(4)?,
            b'R' | b'b' | 0x81 => return self.moves(2, 1).map(|()| true),
            0x92 => return self.moves(3, 1).map(|()| true),
            b'o' => return self.down_to_mark(1).map(|()| true),
            b'i' => {
                self.names_line()?;
                return self.down_to_mark(1).map(|()| true);
            }
            b'.' => self.moves(1, 0)?,
            _ => return Err(Stop::Not),
        }
        Ok(false)
    }

    /// Takes so many off the stack and puts so many on it.
    fn moves(&mut self, takes: u64, puts: u64) -> Result<(), Stop> {
        self.depth = self.depth.checked_sub(takes).ok_or(Stop::Not)? + puts;
        Ok(())
    }

    /// Everything down to the last mark goes, `puts` come.
    fn down_to_mark(&mut self, puts: u64) -> Result<(), Stop> {
        self.depth = self.marks.pop().ok_or(Stop::Not)?.min(self.depth) + puts;
        Ok(())
    }

    fn sized(&mut self, bytes: u64) -> Result<(), Stop> {
        self.cursor.skip(bytes)?;
        self.moves(0, 1)
    }

    /// A value after its length, which has so many bytes.
    fn counted(&mut self, bytes: u32, opcode: u8) -> Result<(), Stop> {
        let mut length = 0u64;
        for at in 0..bytes {
            length |= u64::from(self.cursor.byte()?) << (8 * at);
        }
        let text = self.cursor.text(length, MAX_NAME + 1)?;
        if matches!(opcode, b'U' | b'T' | b'X' | 0x8c | 0x8d) {
            self.keep_name(&text);
        }
        self.moves(0, 1)
    }

    fn keep_name(&mut self, text: &[u8]) {
        // an escape may stand for any letter
        if is_name(text) || text.contains(&b'\\') {
            self.names += 1;
            let before = std::mem::replace(&mut self.last, String::from_utf8_lossy(text).into_owned());
            if self.names > 1 {
                self.last = format!("{}.{}", before.rsplit('.').next().unwrap_or_default(), self.last);
            }
        }
    }

    /// DUP and GET bring a name once more; a binary GET has so many bytes, the others move the stack themselves.
    fn again(&mut self, bytes: u64) -> Result<(), Stop> {
        self.names += u64::from(self.names > 0);
        if bytes > 0 { self.sized(bytes) } else { Ok(()) }
    }

    /// PUT, GET, INT, LONG and FLOAT are lines of decimal text.
    fn number(&mut self, opcode: u8) -> Result<(), Stop> {
        let line = self.cursor.line(MAX_NAME)?;
        let fits = |b: &u8| b.is_ascii_hexdigit() || b"xXoO+-_.lLinftyINFTY \t\r".contains(b);
        if line.is_empty() || !line.iter().all(fits) {
            return Err(Stop::Not);
        }
        if opcode == b'p' { Ok(()) } else { self.moves(0, 1) }
    }

    fn text_line(&mut self, opcode: u8) -> Result<(), Stop> {
        let line = self.cursor.line(MAX_NAME + 2)?;
        match (opcode, line.trim_ascii()) {
            (b'S', [b'\'', text @ .., b'\''] | [b'"', text @ .., b'"']) => self.keep_name(text),
            (b'S', _) if line.len() <= MAX_NAME => return Err(Stop::Not),
            (b'V', text) => self.keep_name(text),
            _ => {}
        }
        self.moves(0, 1)
    }

    /// GLOBAL and INST: a module's line and a name's.
    fn names_line(&mut self) -> Result<(), Stop> {
        let (module, name) = (self.cursor.line(MAX_NAME)?, self.cursor.line(MAX_NAME)?);
        let fits = is_name(&module) && is_name(&name);
        if !fits && !self.is_marked {
            return Err(Stop::Not);
        }
        let said = format!("{}.{}", String::from_utf8_lossy(&module), String::from_utf8_lossy(&name));
        self.imports.get_or_insert(said);
        self.moves(0, 1)
    }

    fn stack_global(&mut self) -> Result<(), Stop> {
        self.moves(2, 1)?;
        if !self.is_marked && self.names < 2 {
            return Err(Stop::Not);
        }
        self.imports.get_or_insert_with(|| self.last.clone());
        Ok(())
    }

    /// EXT1, EXT2 and EXT4 name what was registered by number.
    fn extension(&mut self, bytes: u64) -> Result<(), Stop> {
        if self.is_marked {
            self.imports.get_or_insert_with(|| "what is registered by number".into());
        }
        self.sized(bytes)
    }
}

/// Could Python import this? Letters of any script, digits, `_`, dots and hyphens.
fn is_name(text: &[u8]) -> bool {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    (1..=MAX_NAME).contains(&text.len()) && std::str::from_utf8(text).is_ok_and(|text| text.chars().all(fits))
}

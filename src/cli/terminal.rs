//! A line from the terminal that is not shown while it is typed.

use sealwright::error::{AtPath as _, Code, Error, Result};
use secrecy::SecretString;
use std::path::Path;
use zeroize::Zeroizing;

/// Bytes of a line.
const MAX_BYTES: usize = 4096;

/// Reads a line from the terminal that shows nothing of it. Ctrl-C is read, too: killed here, it would stay mute.
#[cfg(unix)]
pub fn read_silently() -> Result<SecretString> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    use std::io::Read as _;
    let path = Path::new("/dev/tty");
    let tty = std::fs::File::open(path).at(path)?;
    let fail = |e: rustix::io::Errno| Error::io(path, &e.into());
    let shown = tcgetattr(&tty).map_err(fail)?;
    let mut silent = shown.clone();
    silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    tcsetattr(&tty, OptionalActions::Flush, &silent).map_err(fail)?;
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_BYTES)); // never grows: no copy is left behind
    let mut byte = Zeroizing::new([0]);
    let read = loop {
        match (&tty).read(&mut *byte) {
            Ok(1) => match take(byte[0], &mut line) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            },
            Ok(_) => break Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => break Err(Error::io(path, &e)),
        }
    };
    tcsetattr(&tty, OptionalActions::Flush, &shown).map_err(fail)?;
    read?;
    let text = std::str::from_utf8(&line).map_err(|_| Error::new(Code::Usage, "the passphrase is not UTF-8"))?;
    Ok(SecretString::from(text))
}

/// One key press; false when the line has ended.
fn take(key: u8, line: &mut Vec<u8>) -> Result<bool> {
    const CTRL_C: u8 = 3;
    const CTRL_D: u8 = 4;
    const BACKSPACE: [u8; 2] = [8, 127];
    const CTRL_U: u8 = 21;
    match key {
        b'\n' | b'\r' | CTRL_D => return Ok(false),
        CTRL_C => return Err(Error::new(Code::Interrupted, "stopped at the passphrase")),
        CTRL_U => line.clear(),
        // a character of several bytes goes whole
        key if BACKSPACE.contains(&key) => while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
        _ if line.len() == MAX_BYTES => return Ok(false),
        key => line.push(key),
    }
    Ok(true)
}

/// No terminal is known here.
#[cfg(not(unix))]
pub fn read_silently() -> Result<SecretString> {
    Err(Error::new(Code::Usage, "a passphrase can't be asked for on this system").with_hint("set the variable"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_be_mended_and_left() {
        let typed = |keys: &[u8]| {
            let mut line = Vec::new();
            for key in keys {
                match take(*key, &mut line) {
                    Ok(true) => {}
                    Ok(false) => return Ok(String::from_utf8(line).unwrap()),
                    Err(error) => return Err(error.code),
                }
            }
            panic!("the line has no end");
        };
        assert_eq!(typed(b"five words\n"), Ok("five words".into()));
        assert_eq!(typed("fü\u{7f}\u{7f}\u{7f}ab\u{8}\r".as_bytes()), Ok("a".into()));
        assert_eq!(typed(b"wrong\x15right\x04"), Ok("right".into()));
        assert_eq!(typed(b"five\x03"), Err(Code::Interrupted));
    }
}

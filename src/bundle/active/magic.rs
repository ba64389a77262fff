//! What a file's first bytes tell: programs, libraries and scripts; and the formats that hold nothing but data.

use super::source::Window;
use super::{Active, Found};
use std::io;

/// Bytes of a file's head that are looked at.
pub const HEAD: usize = 4096;
/// A safetensors header may not be longer than this.
const MAX_SAFETENSORS_HEADER: u64 = 100_000_000;

/// What begins a program, a library, or machine code for a card.
const NATIVE: [(&[u8], &str); 14] = [
    (b"\x7fELF", "an ELF program or library"),
    (b"\xfe\xed\xfa\xce", "a Mach-O program or library"),
    (b"\xfe\xed\xfa\xcf", "a Mach-O program or library"),
    (b"\xce\xfa\xed\xfe", "a Mach-O program or library"),
    (b"\xcf\xfa\xed\xfe", "a Mach-O program or library"),
    (b"\xca\xfe\xba\xbe", "a Mach-O library or a Java class"),
    (b"\xca\xfe\xba\xbf", "a Mach-O library"),
    (b"\0asm", "a WebAssembly program"),
    (b"!<arch>\n", "a static library"),
    (b"BC\xc0\xde", "LLVM bitcode"),
    (b"dex\n", "an Android program"),
    (b"ftrt", "a TensorRT engine"),
    (b"ptrt", "a TensorRT engine"),
    (b"L\0\0\0\x01\x14\x02\0", "a Windows shortcut"),
];

/// Programs and scripts by their first bytes.
pub fn look(found: &mut Found, name: &str, head: &[u8], window: &mut Window<'_>) -> io::Result<()> {
    if let Some((_, what)) = NATIVE.iter().find(|(magic, _)| head.starts_with(magic)) {
        found.add(Active::Native, name, what);
    }
    if head.starts_with(b"MZ") && is_windows(head, window)? {
        found.add(Active::Native, name, "a Windows program or library");
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    if text.starts_with(b"#!") {
        found.add(Active::Script, name, "it begins with #!");
    }
    Ok(())
}

/// `MZ` alone may be a text: a second header follows where the first one says.
fn is_windows(head: &[u8], window: &mut Window<'_>) -> io::Result<bool> {
    let Some(at) = head.get(0x3c..0x40) else { return Ok(false) };
    let at = u32::from_le_bytes([at[0], at[1], at[2], at[3]]);
    let second = window.read_at(u64::from(at), 4)?;
    Ok([&b"PE\0\0"[..], b"NE", b"LE", b"LX"].iter().any(|magic| second.starts_with(magic)))
}

/// Numbers after a header: safetensors, GGUF, NumPy. They have readers that run nothing.
pub fn is_plain(head: &[u8]) -> bool {
    let safetensors = head.first_chunk::<8>().is_some_and(|length| {
        u64::from_le_bytes(*length) <= MAX_SAFETENSORS_HEADER && head.get(8).is_some_and(|b| *b == b'{')
    });
    safetensors || head.starts_with(b"GGUF") || head.starts_with(b"\x93NUMPY")
}

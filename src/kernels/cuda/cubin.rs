//! What a kernel takes of a card, read from its machine code: an ELF file, as NVIDIA lays it out.
//!
//! A kernel K is the section `.text.K`, whose `info` has its symbol below and up to sm_89 its registers in the upper byte;
//! `.nv.shared.K` is as long as its static shared memory; `.nv.info` tells each symbol's registers, and the bytes of its
//! stack: spills, and arrays with a moving index.

use std::collections::BTreeMap;

/// What one kernel takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// As the source names it.
    pub kernel: String,
    /// A thread's.
    pub registers: u32,
    /// Bytes of a thread's stack: 0 where nothing spills.
    pub stack: u32,
    /// Bytes of a block's shared memory, without what the launch adds.
    pub shared: u64,
}

/// Attributes of `.nv.info` with a symbol and a size.
const FRAME_SIZE: u8 = 0x11;
const MIN_STACK_SIZE: u8 = 0x12;
/// The format of an attribute whose value follows it, as long as it says.
const SIZED: u8 = 4;
/// Likewise, with registers in place of a size.
const REGISTERS: u8 = 0x2f;

/// Of every kernel of a module, by name; `None` where the bytes are no such file.
pub fn usage(cubin: &[u8]) -> Option<Vec<Usage>> {
    let sections = sections(cubin)?;
    let noted = noted(cubin, &sections)?;
    let mut all = Vec::new();
    for section in &sections {
        let Some(kernel) = section.name.strip_prefix(".text.") else { continue };
        let shared = sections.iter().find(|s| s.name.strip_prefix(".nv.shared.") == Some(kernel));
        let noted = noted.get(&(section.info & 0x00ff_ffff)).copied().unwrap_or_default();
        all.push(Usage {
            kernel: kernel.into(),
            registers: noted.registers.max(section.info >> 24),
            stack: noted.stack,
            shared: shared.map_or(0, |s| s.size),
        });
    }
    // functions that a kernel calls have a text, too, and no constants of their own
    all.retain(|u| sections.iter().any(|s| s.name.strip_prefix(".nv.constant0.") == Some(&u.kernel)));
    all.sort_by(|a, b| a.kernel.cmp(&b.kernel));
    Some(all)
}

struct Section {
    name: String,
    offset: u64,
    size: u64,
    info: u32,
}

fn number<const N: usize>(bytes: &[u8], at: u64) -> Option<[u8; N]> {
    let at = usize::try_from(at).ok()?;
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: u64) -> Option<u16> {
    number(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: u64) -> Option<u32> {
    number(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: u64) -> Option<u64> {
    number(bytes, at).map(u64::from_le_bytes)
}

/// The section table of a 64-bit little-endian ELF file.
fn sections(bytes: &[u8]) -> Option<Vec<Section>> {
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, size, count, names) = (u64_at(bytes, 40)?, u16_at(bytes, 58)?, u16_at(bytes, 60)?, u16_at(bytes, 62)?);
    let header = |n: u16| table.checked_add(u64::from(n) * u64::from(size));
    let names = u64_at(bytes, header(names)?.checked_add(24)?)?;
    let one = |n: u16| {
        let at = header(n)?;
        let name = usize::try_from(names.checked_add(u32_at(bytes, at)?.into())?).ok()?;
        let name = bytes.get(name..)?.split(|b| *b == 0).next()?;
        Some(Section {
            name: String::from_utf8_lossy(name).into_owned(),
            offset: u64_at(bytes, at.checked_add(24)?)?,
            size: u64_at(bytes, at.checked_add(32)?)?,
            info: u32_at(bytes, at.checked_add(44)?)?,
        })
    };
    (0..count).map(one).collect()
}

/// What `.nv.info` says of a symbol.
#[derive(Clone, Copy, Default)]
struct Noted {
    registers: u32,
    stack: u32,
}

/// By symbol.
fn noted(bytes: &[u8], sections: &[Section]) -> Option<BTreeMap<u32, Noted>> {
    let mut all = BTreeMap::new();
    let Some(info) = sections.iter().find(|s| s.name == ".nv.info") else { return Some(all) };
    let (mut at, end) = (info.offset, info.offset.checked_add(info.size)?);
    while at < end {
        let [format, attribute] = number(bytes, at)?;
        let size = u64::from(u16_at(bytes, at + 2)?);
        at += 4;
        if format == SIZED {
            if matches!(attribute, FRAME_SIZE | MIN_STACK_SIZE | REGISTERS) {
                let (symbol, value) = (u32_at(bytes, at)?, u32_at(bytes, at + 4)?);
                let noted: &mut Noted = all.entry(symbol).or_default();
                let known = if attribute == REGISTERS { &mut noted.registers } else { &mut noted.stack };
                *known = value.max(*known);
            }
            at += size;
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one kernel: 40 registers, in its section or noted as Hopper has it, 16 bytes of stack, 36 bytes shared.
    fn file(is_noted: bool) -> Vec<u8> {
        let names = b"\0.text.k\0.nv.shared.k\0.nv.info\0.nv.constant0.k\0";
        let note =
            |attribute, value: u32| [&[SIZED, attribute, 8, 0][..], &7u32.to_le_bytes(), &value.to_le_bytes()].concat();
        let (in_section, noted) = if is_noted { (0, 40) } else { (40, 0) };
        let info = [note(FRAME_SIZE, 16), note(REGISTERS, noted)].concat();
        let (names_at, info_at, table) = (64u64, 64 + names.len() as u64, 256u64);
        let mut bytes = vec![0; 256];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[40..48].copy_from_slice(&table.to_le_bytes());
        for (at, value) in [(58, 64u16), (60, 5), (62, 0)] {
            bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        bytes[64..64 + names.len()].copy_from_slice(names);
        bytes[info_at as usize..][..info.len()].copy_from_slice(&info);
        let at = |name: &str| names.windows(name.len()).position(|w| w == name.as_bytes()).unwrap() as u32;
        let sections = [
            (0, names_at, names.len() as u64, 0u32),
            (at(".text.k"), 0, 0, in_section << 24 | 7),
            (at(".nv.shared.k"), 0, 36, 0),
            (at(".nv.info"), info_at, info.len() as u64, 0),
            (at(".nv.constant0.k"), 0, 0, 0),
        ];
        for (name, offset, size, info) in sections {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[24..32].copy_from_slice(&offset.to_le_bytes());
            header[32..40].copy_from_slice(&size.to_le_bytes());
            header[44..48].copy_from_slice(&info.to_le_bytes());
            bytes.extend(header);
        }
        bytes
    }

    #[test]
    fn a_kernel_is_read_and_no_cut_or_change_panics() {
        let read = Usage { kernel: "k".into(), registers: 40, stack: 16, shared: 36 };
        assert_eq!(usage(&file(false)), Some(vec![read.clone()]));
        let file = file(true);
        assert_eq!(usage(&file), Some(vec![read]));
        for end in 0..file.len() {
            usage(&file[..end]);
        }
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 0xff;
            usage(&changed);
        }
        assert_eq!(usage(b"no such file"), None);
    }
}

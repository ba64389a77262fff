//! NVRTC: a unit's source becomes machine code for one kind of card, or text for all later ones. No card is needed.

use super::library::{Library, Probe};
use super::source::Unit;
use crate::error::{Code as ErrorCode, Error, Result};
use cudarc::nvrtc::{result, sys};
use std::ffi::{CStr, CString};

/// Every kind of card that the kernels are compiled for in tests: Ampere, Ada, Hopper, and both kinds of Blackwell.
pub const TARGETS: [&str; 5] = ["80", "89", "90a", "100a", "120a"];

/// Options that change the code; part of the cache's key.
pub(super) const OPTIONS: [&str; 2] = ["--std=c++17", "-default-device"];

/// What comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Text that a driver compiles for cards of this kind and later.
    Ptx,
    /// Machine code for this kind alone.
    Cubin,
}

/// Major and minor version of the compiler.
///
/// # Errors
/// `NoDevice` where there is none.
pub fn nvrtc_version() -> Result<(u32, u32)> {
    let probe = Probe::machine();
    probe.need(&[Library::Nvrtc])?;
    // `need` was content, so it is there
    Ok(probe.version(Library::Nvrtc).unwrap_or_default())
}

/// Compiles a unit for cards of a kind (`90a`).
///
/// # Errors
/// `NoDevice` without a compiler; `BadInput` with the compiler's own words.
pub fn compile(unit: Unit, target: &str, code: Code) -> Result<Vec<u8>> {
    nvrtc_version()?;
    let says = |what: String| Error::new(ErrorCode::BadInput, format!("{} for {target}: {what}", unit.name()));
    let [text, name] = [unit.text(), unit.name()].map(|text| CString::new(text).expect("sources have no zero bytes"));
    let program = result::create_program(&text, Some(&name)).map_err(|e| says(format!("{e:?}")))?;
    let architecture = match code {
        Code::Ptx => format!("--gpu-architecture=compute_{target}"),
        Code::Cubin => format!("--gpu-architecture=sm_{target}"),
    };
    let options: Vec<&str> = std::iter::once(architecture.as_str()).chain(OPTIONS).collect();
    // SAFETY: `program` was made above and is destroyed below, once, on every path; nothing else holds it.
    let done = unsafe { result::compile_program(program, &options) };
    let out = match done {
        Err(_) => Err(says(log(program))),
        Ok(()) => read(program, code).map_err(|e| says(format!("{e:?}"))),
    };
    // SAFETY: as above.
    unsafe { result::destroy_program(program) }.map_err(|e| says(format!("{e:?}")))?;
    out
}

/// What the compiler said.
fn log(program: sys::nvrtcProgram) -> String {
    // SAFETY: `program` is alive; the log ends with a zero byte, which NVRTC counts in.
    let log = unsafe { result::get_program_log(program) }.unwrap_or_default();
    let bytes: Vec<u8> = log.into_iter().map(|c| c as u8).collect();
    CStr::from_bytes_until_nul(&bytes).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}

fn read(program: sys::nvrtcProgram, code: Code) -> Result<Vec<u8>, result::NvrtcError> {
    match code {
        // SAFETY: `program` is alive and was compiled.
        Code::Ptx => unsafe { result::get_ptx(program) }.map(|text| text.into_iter().map(|c| c as u8).collect()),
        Code::Cubin => {
            let mut size = 0;
            // SAFETY: `program` is alive and was compiled for machine code; NVRTC writes one number.
            unsafe { sys::nvrtcGetCUBINSize(program, &mut size) }.result()?;
            let mut bytes = vec![0u8; size];
            // SAFETY: the buffer is as long as NVRTC just said.
            unsafe { sys::nvrtcGetCUBIN(program, bytes.as_mut_ptr().cast()) }.result()?;
            Ok(bytes)
        }
    }
}

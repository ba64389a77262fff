//! Compiles every kernel for every kind of card, without a card: to machine code and to PTX. Prints registers, stack
//! (spills) and shared memory of each, and fails on a spill that the head of its source does not own up to.
//!
//! `cargo run --release --example cuda_kernels [-- TARGET…]` needs NVRTC alone. Where `SEALWRIGHT_CUDA_CACHE` names a folder,
//! the machine code stays there, to be carried to a machine whose card has no compiler beside it.

use sealwright::kernels::cuda::{Code, TARGETS, Unit, compile, kernels_of, nvrtc_version, usage};
use std::io::Write as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let named: Vec<String> = std::env::args().skip(1).collect();
    let keep = std::env::var_os("SEALWRIGHT_CUDA_CACHE").is_some();
    let targets: Vec<&str> =
        if named.is_empty() { TARGETS.to_vec() } else { named.iter().map(String::as_str).collect() };
    let mut out = std::io::stdout().lock();
    let (major, minor) = nvrtc_version()?;
    writeln!(out, "NVRTC {major}.{minor}; registers and stack a thread, shared memory a block without the launch's")?;
    let (mut kernels, mut refused) = (0, 0);
    for unit in Unit::all() {
        for target in &targets {
            compile(unit, target, Code::Ptx)?;
            let code = if keep { kernels_of(unit, target)? } else { compile(unit, target, Code::Cubin)? };
            for of in usage(&code).ok_or("machine code that cannot be read")? {
                let owned = unit.spills_owned(&of.kernel);
                let verdict = match of.stack {
                    0 => "",
                    stack if stack <= owned => "  owned up to",
                    _ => "  SPILLS, and the source's head does not say so",
                };
                (kernels, refused) = (kernels + 1, refused + usize::from(of.stack > owned));
                writeln!(
                    out,
                    "sm_{target:<5} {:24} {:24} {:4} registers {:5} stack {:6} shared{verdict}",
                    unit.name(),
                    of.kernel,
                    of.registers,
                    of.stack,
                    of.shared
                )?;
            }
        }
    }
    writeln!(out, "{kernels} kernels compiled, {refused} refused")?;
    if refused > 0 { Err("a kernel spills".into()) } else { Ok(()) }
}

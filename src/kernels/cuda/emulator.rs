//! A card for tests: the kernels' own sources as a C++ library (`tests/shim`), and multiplies by the CPU's.

use super::launch::{Argument, Launch, Product, Transpose};
use super::source::{Element, Unit};
use crate::error::{Code, Error, Result};
use crate::kernels::{Mat, MatMut, Threads, matmul};
use half::bf16;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

// SAFETY: to be called as shim.cpp declares them; only this file does.
type LaunchFn =
    unsafe extern "C" fn(*const c_char, c_uint, c_uint, c_uint, c_uint, c_uint, *mut *mut c_void, c_uint) -> c_int;

type AllocFn = unsafe extern "C" fn(usize) -> *mut c_void;
type FreeFn = unsafe extern "C" fn(*mut c_void, usize);

struct Shim {
    launch: LaunchFn,
    alloc: AllocFn,
    free: FreeFn,
    /// One block runs at a time.
    turn: Mutex<()>,
}

/// The library, built by the C++ compiler of this machine; `None` where it has none.
fn shim() -> Option<&'static Shim> {
    static SHIM: OnceLock<Option<Shim>> = OnceLock::new();
    SHIM.get_or_init(build).as_ref()
}

fn build() -> Option<Shim> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // tests that were carried to a card's machine have their sources elsewhere
    root.join("tests/shim").is_dir().then_some(())?;
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("libshim.so");
    let compiler = std::env::var("CXX").unwrap_or("c++".into());
    let built = Command::new(compiler)
        .args(["-std=c++17", "-O1", "-shared", "-fPIC", "-U_FORTIFY_SOURCE", "-I"])
        .args([root.join("src/kernels/cuda"), root.join("tests/shim/shim.cpp"), "-o".into(), out.clone()])
        .output()
        .ok()?;
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    // SAFETY: our own library, just built; the three functions have these signatures (shim.cpp) and outlive the tests.
    unsafe {
        let library = libloading::Library::new(&out).unwrap();
        let shim = Shim {
            launch: *library.get(b"shim_launch\0").unwrap(),
            alloc: *library.get(b"shim_alloc\0").unwrap(),
            free: *library.get(b"shim_free\0").unwrap(),
            turn: Mutex::new(()),
        };
        std::mem::forget(library);
        Some(shim)
    }
}

/// A card on this CPU, whose threads run in one of several orders.
pub(in crate::kernels) struct Emulator {
    shim: &'static Shim,
    order: u32,
    /// Bytes that are allocated, and how often that was asked.
    taken: AtomicUsize,
    asked: AtomicUsize,
}

/// What a stand-in says it has.
const MEMORY: u64 = 1 << 30;

impl Emulator {
    /// 0 runs a block's threads forwards, 1 backwards, others in an order drawn from that number.
    pub fn new(order: u32) -> Option<Self> {
        shim().map(|shim| Self { shim, order, taken: AtomicUsize::new(0), asked: AtomicUsize::new(0) })
    }

    pub fn name(&self) -> &str {
        "a CPU that stands in for a card"
    }

    pub fn memory(&self) -> Result<(u64, u64)> {
        Ok((MEMORY - self.taken.load(Ordering::Relaxed) as u64, MEMORY))
    }

    pub fn allocations(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    pub fn alloc(&self, bytes: usize) -> Result<u64> {
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        self.asked.fetch_add(1, Ordering::Relaxed);
        // SAFETY: plain memory of our own library.
        let at = unsafe { (self.shim.alloc)(bytes) };
        if at.is_null() { Err(Error::new(Code::OutOfMemory, "the emulator")) } else { Ok(at as u64) }
    }

    pub fn free(&self, at: u64, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
        // SAFETY: `at` came from `alloc` with as many bytes.
        unsafe { (self.shim.free)(at as *mut c_void, bytes) }
    }

    pub fn wait(&self) -> Result<()> {
        Ok(())
    }

    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        // SAFETY: the caller checked that the buffer is as long.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()) };
        Ok(())
    }

    pub fn read(&self, at: u64, out: &mut [u8]) -> Result<()> {
        // SAFETY: as in `write`.
        unsafe { std::ptr::copy_nonoverlapping(at as *const u8, out.as_mut_ptr(), out.len()) };
        Ok(())
    }

    pub fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<()> {
        // SAFETY: as in `write`; the caller checked both buffers.
        unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }

    pub fn clear(&self, at: u64, bytes: usize) -> Result<()> {
        // SAFETY: as in `write`.
        unsafe { std::ptr::write_bytes(at as *mut u8, 0, bytes) };
        Ok(())
    }

    /// All kernels are in the library.
    pub fn prepare(&self, _unit: Unit) -> Result<()> {
        Ok(())
    }

    pub fn launch(&self, unit: Unit, kernel: &str, launch: Launch, arguments: &[Argument]) -> Result<()> {
        let name = CString::new(format!("{} {kernel}", unit.variant())).unwrap();
        let mut values: Vec<[u8; 8]> = arguments.iter().map(|a| a.bytes()).collect();
        let mut pointers: Vec<*mut c_void> = values.iter_mut().map(|v| v.as_mut_ptr().cast()).collect();
        let [x, y, z] = launch.grid;
        let _turn = self.shim.turn.lock().unwrap();
        // SAFETY: as in the driver's; memory past a buffer's end faults.
        let done = unsafe {
            let arguments = pointers.as_mut_ptr();
            (self.shim.launch)(name.as_ptr(), x, y, z, launch.threads, launch.shared, arguments, self.order)
        };
        assert_eq!(done, 0, "{name:?}: 1 unknown, 2 other threads, 3 a barrier that not all reach");
        Ok(())
    }

    pub fn multiply(&self, p: Product) -> Result<()> {
        let [operand, result] = p.elements;
        let side = |rows: usize, cols: usize, (at, stride, turned): (u64, usize, Transpose)| -> Side {
            let (rows, cols) = if turned == Transpose::Yes { (cols, rows) } else { (rows, cols) };
            let mut bytes = vec![0; ((rows.max(1) - 1) * stride + cols) * operand.size()];
            self.read(at, &mut bytes).unwrap();
            (floats(&bytes, operand), rows, cols, stride, turned)
        };
        let (a, b) = (side(p.rows, p.inner, p.a), side(p.inner, p.cols, p.b));
        let there = |(at, stride): (u64, usize)| -> Result<Vec<f32>> {
            let mut there = vec![0; ((p.rows - 1) * stride + p.cols) * result.size()];
            self.read(at, &mut there)?;
            Ok(floats(&there, result))
        };
        let mut c = there(p.c)?;
        if let Some(onto) = p.onto {
            let onto = (there(onto)?, onto.1);
            for (to, from) in c.chunks_mut(p.c.1).zip(onto.0.chunks(onto.1)) {
                to[..p.cols].copy_from_slice(&from[..p.cols]);
            }
        }
        let out = MatMut::strided(&mut c, p.rows, p.cols, p.c.1);
        matmul(out, p.onto.is_some(), p.scale, view(&a), view(&b), Threads::One);
        self.write(p.c.0, &bytes(&c, result))
    }
}

/// Numbers, the rows and columns that lie there, the stride, and whether they are meant turned over.
type Side = (Vec<f32>, usize, usize, usize, Transpose);

fn view((data, rows, cols, stride, turned): &Side) -> Mat<'_> {
    let lies = Mat::strided(data, *rows, *cols, *stride);
    if *turned == Transpose::Yes { lies.t() } else { lies }
}

/// Bytes as numbers of a type.
pub(in crate::kernels) fn floats(bytes: &[u8], element: Element) -> Vec<f32> {
    match element {
        Element::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Element::Bf16 => bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
    }
}

/// Numbers as bytes of a type.
pub(in crate::kernels) fn bytes(values: &[f32], element: Element) -> Vec<u8> {
    match element {
        Element::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Element::Bf16 => values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
    }
}

//! A card through NVIDIA's driver and cublasLt. Every function called here was asked for by [`Probe`] first.

use super::cache::kernels_of;
use super::launch::{Argument, Launch, Product, Transpose};
use super::library::{Library, Probe};
use super::source::{Element, Unit};
use crate::error::{Code, Error, Result};
use cudarc::cublaslt::{result as lt, sys as lt_sys};
use cudarc::driver::{result as cuda, sys};
use std::collections::BTreeMap;
use std::ffi::{CString, c_void};
use std::sync::Mutex;

/// What cublasLt may use besides its operands.
const WORKSPACE: usize = 32 << 20;
/// Shared memory that a block has without being asked for more.
const PLAIN_SHARED: u32 = 48 << 10;

/// One card's context, stream, modules and multiply.
pub(super) struct Driver {
    name: String,
    target: String,
    context: sys::CUcontext,
    stream: sys::CUstream,
    multiply: lt_sys::cublasLtHandle_t,
    workspace: u64,
    modules: Mutex<BTreeMap<Unit, Module>>,
    functions: Mutex<BTreeMap<(Unit, String), Function>>,
    algorithms: Mutex<BTreeMap<Shape, lt_sys::cublasLtMatmulAlgo_t>>,
}

#[derive(Clone, Copy)]
struct Module(sys::CUmodule);

#[derive(Clone, Copy)]
struct Function(sys::CUfunction);

// SAFETY: handles of the driver and of cublasLt may be used from any thread, one at a time or at once (CUDA C Programming
// Guide, "Multi-threading"; cublasLt's handle is read-only after its creation). `current` names the context first.
unsafe impl Send for Driver {}
// SAFETY: as above; the tables stand behind locks.
unsafe impl Sync for Driver {}
// SAFETY: a module is never unloaded, and its handle belongs to the context, not to a thread.
unsafe impl Send for Module {}
// SAFETY: a function's handle is valid as long as its module, which is never unloaded.
unsafe impl Send for Function {}

/// What the choice of an algorithm depends on: sizes, strides, how a and b lie, the types, and what addresses divide by.
type Shape = ([usize; 7], [Transpose; 2], [Element; 2], [u32; 4]);

/// The largest power of two that an address is a multiple of, as far as cublasLt asks: 256.
fn alignment(at: u64) -> u32 {
    1 << at.trailing_zeros().min(8)
}

fn failed(what: &str, error: cuda::DriverError) -> Error {
    let code = match error.0 {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Code::OutOfMemory,
        _ => Code::NoDevice,
    };
    Error::new(code, format!("{what}: {:?}", error.0))
}

fn multiply_failed(error: lt::CublasError) -> Error {
    Error::new(Code::NoDevice, format!("multiply on the card: {error:?}"))
}

impl Driver {
    /// How many cards there are.
    pub fn count() -> Result<usize> {
        Probe::machine().need(&[Library::Driver, Library::CublasLt])?;
        cuda::init().map_err(|e| failed("the driver does not start", e))?;
        let count = cuda::device::get_count().map_err(|e| failed("no list of cards", e))?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    pub fn open(ordinal: usize) -> Result<Self> {
        let count = Self::count()?;
        let number = i32::try_from(ordinal).ok().filter(|_| ordinal < count).ok_or_else(|| {
            Error::new(Code::NoDevice, format!("cuda:{ordinal}: this machine has {count} cards"))
                .with_hint("the first is cuda:0; CUDA_VISIBLE_DEVICES hides cards")
        })?;
        let device = cuda::device::get(number).map_err(|e| failed("the card cannot be used", e))?;
        let attribute = |attribute| {
            // SAFETY: `device` was given by the driver.
            unsafe { cuda::device::get_attribute(device, attribute) }.map_err(|e| failed("the card does not tell", e))
        };
        let major = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let name = cuda::device::get_name(device).map_err(|e| failed("the card has no name", e))?;
        if major < 8 {
            return Err(Error::new(Code::NoDevice, format!("{name}: compute capability {major}.{minor}"))
                .with_hint("cards from 8.0 on (Ampere) have the bf16 arithmetic that is needed; train on the CPU"));
        }
        // SAFETY: `device` was given by the driver; its primary context lives as long as the process.
        let context = unsafe {
            let context = cuda::primary_ctx::retain(device).map_err(|e| failed("no context on the card", e))?;
            cuda::ctx::set_current(context).map_err(|e| failed("no context on the card", e))?;
            context
        };
        let stream = cuda::stream::create(cuda::stream::StreamKind::NonBlocking).map_err(|e| failed("no stream", e))?;
        // SAFETY: the context is current; the workspace is never freed, since the driver lives as long as its user.
        let workspace = unsafe { cuda::malloc_sync(WORKSPACE) }.map_err(|e| failed("no room to multiply in", e))?;
        Ok(Self {
            name,
            target: format!("{major}{minor}{}", if major >= 9 { "a" } else { "" }),
            context,
            stream,
            multiply: lt::create_handle().map_err(multiply_failed)?,
            workspace,
            modules: Mutex::default(),
            functions: Mutex::default(),
            algorithms: Mutex::default(),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stream that all is launched in; valid as long as the driver.
    pub fn stream(&self) -> sys::CUstream {
        self.stream
    }

    pub fn current(&self) -> Result<()> {
        // SAFETY: the context was retained when the card was opened.
        unsafe { cuda::ctx::set_current(self.context) }.map_err(|e| failed("the card is gone", e))
    }

    pub fn memory(&self) -> Result<(u64, u64)> {
        self.current()?;
        let (free, all) = cuda::mem_get_info().map_err(|e| failed("the card does not tell its memory", e))?;
        Ok((free as u64, all as u64))
    }

    pub fn alloc(&self, bytes: usize) -> Result<u64> {
        self.current()?;
        // SAFETY: the context is current; who asked frees it.
        unsafe { cuda::malloc_sync(bytes) }.map_err(|e| failed(&format!("{bytes} bytes on the card"), e))
    }

    pub fn free(&self, at: u64, _bytes: usize) {
        // an address that cannot be freed is a card that is gone: nothing is left to do
        if self.current().is_ok() && self.wait().is_ok() {
            // SAFETY: `at` came from `alloc`, nothing that was launched still uses it, and its one owner drops it.
            let _ = unsafe { cuda::free_sync(at) };
        }
    }

    pub fn wait(&self) -> Result<()> {
        // SAFETY: the stream lives as long as the driver.
        unsafe { cuda::stream::synchronize(self.stream) }.map_err(|e| failed("what was launched on the card failed", e))
    }

    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.current()?;
        // in the stream: a plain copy may return while the card is still taking it, and our stream waits for no other
        // SAFETY: the caller checked that the buffer at `at` is as long; `bytes` lives until all is done.
        unsafe { cuda::memcpy_htod_async(at, bytes, self.stream) }.map_err(|e| failed("copying to the card", e))?;
        self.wait()
    }

    pub fn read(&self, at: u64, out: &mut [u8]) -> Result<()> {
        self.current()?;
        self.wait()?;
        if out.is_empty() {
            return Ok(());
        }
        // SAFETY: the caller checked that the buffer at `at` is as long; nothing that was launched still writes to it.
        unsafe { cuda::memcpy_dtoh_sync(out, at) }.map_err(|e| failed("copying from the card", e))
    }

    pub fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<()> {
        self.current()?;
        // SAFETY: the caller checked that both buffers are as long; the stream keeps the order.
        unsafe { cuda::memcpy_dtod_async(to, from, bytes, self.stream) }.map_err(|e| failed("copying on the card", e))
    }

    pub fn clear(&self, at: u64, bytes: usize) -> Result<()> {
        self.current()?;
        // SAFETY: the buffer at `at` is as long, and the stream keeps the order.
        unsafe { cuda::memset_d8_async(at, 0, bytes, self.stream) }.map_err(|e| failed("clearing on the card", e))
    }

    pub fn launch(&self, unit: Unit, kernel: &str, launch: Launch, arguments: &[Argument]) -> Result<()> {
        self.current()?;
        let function = self.function(unit, kernel, launch.shared)?;
        let mut values: Vec<[u8; 8]> = arguments.iter().map(|a| a.bytes()).collect();
        let mut pointers: Vec<*mut c_void> = values.iter_mut().map(|v| v.as_mut_ptr().cast()).collect();
        let [x, y, z] = launch.grid;
        // SAFETY: `ops` gives each kernel the arguments that its source declares and buffers as long as they must be. The
        // driver copies the arguments before it returns.
        unsafe {
            cuda::launch_kernel(
                function.0,
                (x, y, z),
                (launch.threads, 1, 1),
                launch.shared,
                self.stream,
                &mut pointers,
            )
        }
        .map_err(|e| failed(kernel, e))
    }

    /// Compiles and loads a unit.
    pub fn prepare(&self, unit: Unit) -> Result<()> {
        self.current()?;
        self.module(unit).map(|_| ())
    }

    /// A unit, which is compiled and loaded when it is first asked for.
    fn module(&self, unit: Unit) -> Result<Module> {
        let mut modules = self.modules.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(known) = modules.get(&unit) {
            return Ok(*known);
        }
        let code = kernels_of(unit, &self.target)?;
        // SAFETY: the context is current, and `code` is a whole module, which the driver checks; it is never unloaded.
        let module = unsafe { cuda::module::load_data(code.as_ptr().cast()) }
            .map_err(|e| failed(&format!("{} on {}", unit.name(), self.name), e))?;
        modules.insert(unit, Module(module));
        Ok(Module(module))
    }

    /// A kernel of a unit.
    fn function(&self, unit: Unit, kernel: &str, shared: u32) -> Result<Function> {
        let mut functions = self.functions.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let key = (unit, kernel.to_owned());
        if let Some(known) = functions.get(&key) {
            return Ok(*known);
        }
        let module = self.module(unit)?;
        let name = CString::new(kernel).expect("kernels' names have no zero bytes");
        let says = |e| failed(&format!("{} on {}", unit.name(), self.name), e);
        // SAFETY: the module was loaded by the driver and is never unloaded.
        let function = unsafe { cuda::module::get_function(module.0, name) }.map_err(says)?;
        if shared > PLAIN_SHARED {
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function was given by the driver; a size beyond the card's is an error, which is passed on.
            unsafe { cuda::function::set_function_attribute(function, attribute, shared as i32) }.map_err(says)?;
        }
        functions.insert(key, Function(function));
        Ok(Function(function))
    }

    /// cublasLt counts columns first: what lies row by row is its transpose there, and cᵀ = bᵀ · aᵀ.
    pub fn multiply(&self, p: Product) -> Result<()> {
        self.current()?;
        let kind = |element| match element {
            Element::F32 => lt_sys::cudaDataType::CUDA_R_32F,
            Element::Bf16 => lt_sys::cudaDataType::CUDA_R_16BF,
        };
        let layout = |rows: usize, cols: usize, stride: usize, element| {
            lt::create_matrix_layout(kind(element), cols as u64, rows as u64, stride as i64).map_err(multiply_failed)
        };
        let [operand, result] = p.elements;
        let sides = |rows, cols, (_, stride, turned): (u64, usize, Transpose)| match turned {
            Transpose::No => layout(rows, cols, stride, operand),
            Transpose::Yes => layout(cols, rows, stride, operand),
        };
        let single = lt_sys::cudaDataType::CUDA_R_32F;
        let precise = lt_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        let description = Owned::new(lt::create_matmul_desc(precise, single).map_err(multiply_failed)?, |d| {
            // SAFETY: made above, destroyed once.
            let _ = unsafe { lt::destroy_matmul_desc(d) };
        });
        let destroy = |l| {
            // SAFETY: made here, destroyed once.
            let _ = unsafe { lt::destroy_matrix_layout(l) };
        };
        let a = Owned::new(sides(p.rows, p.inner, p.a)?, destroy);
        let b = Owned::new(sides(p.inner, p.cols, p.b)?, destroy);
        let c = Owned::new(layout(p.rows, p.cols, p.c.1, result)?, destroy);
        let onto = p.onto.unwrap_or(p.c);
        let added = Owned::new(layout(p.rows, p.cols, onto.1, result)?, destroy);
        // b comes first, see above
        for (attribute, turned) in [
            (lt_sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA, p.b.2),
            (lt_sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSB, p.a.2),
        ] {
            let turned = i32::from(turned == Transpose::Yes);
            // SAFETY: the attribute is an int32 (cublasLt.h), read before the call returns.
            unsafe { lt::set_matmul_desc_attribute(description.0, attribute, (&raw const turned).cast(), 4) }
                .map_err(multiply_failed)?;
        }
        let algorithm = self.algorithm(&p, description.0, [b.0, a.0, added.0, c.0])?;
        let (scale, keep) = (p.scale, if p.onto.is_some() { 1.0f32 } else { 0.0 });
        // SAFETY: `ops` checked that each matrix lies within its buffer; the layouts say the same shapes. The two factors
        // are read before the call returns, and what is added may be what is written, as cublasLt allows.
        unsafe {
            lt::matmul(
                self.multiply,
                description.0,
                (&raw const scale).cast(),
                (&raw const keep).cast(),
                p.b.0 as *const c_void,
                b.0,
                p.a.0 as *const c_void,
                a.0,
                onto.0 as *const c_void,
                added.0,
                p.c.0 as *mut c_void,
                c.0,
                &raw const algorithm,
                self.workspace as *mut c_void,
                WORKSPACE,
                self.stream.cast(),
            )
        }
        .map_err(multiply_failed)
    }

    /// The algorithm for a shape, chosen when it is first met: the same from then on.
    fn algorithm(
        &self,
        p: &Product,
        description: lt_sys::cublasLtMatmulDesc_t,
        [b, a, added, c]: [lt_sys::cublasLtMatrixLayout_t; 4],
    ) -> Result<lt_sys::cublasLtMatmulAlgo_t> {
        let onto = p.onto.unwrap_or(p.c);
        let sizes = [p.rows, p.cols, p.inner, p.a.1, p.b.1, p.c.1, onto.1];
        let aligned = [p.b.0, p.a.0, onto.0, p.c.0].map(alignment);
        let shape = (sizes, [p.a.2, p.b.2], p.elements, aligned);
        let mut known = self.algorithms.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(algorithm) = known.get(&shape) {
            return Ok(*algorithm);
        }
        let preference = Owned::new(lt::create_matmul_pref().map_err(multiply_failed)?, |p| {
            // SAFETY: made here, destroyed once.
            let _ = unsafe { lt::destroy_matmul_pref(p) };
        });
        let room = WORKSPACE;
        use lt_sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let most = Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
        let divided = [
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
            Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
        ];
        // SAFETY: the first attribute is a uint64, the others are uint32 (cublasLt.h), read before the calls return; the
        // handles are alive.
        let found = unsafe {
            lt::set_matmul_pref_attribute(preference.0, most, (&raw const room).cast(), size_of::<usize>())
                .map_err(multiply_failed)?;
            for (attribute, bytes) in divided.into_iter().zip(&aligned) {
                // without it cublasLt takes 256 for granted, and columns of a wider matrix begin elsewhere
                lt::set_matmul_pref_attribute(preference.0, attribute, (&raw const *bytes).cast(), size_of::<u32>())
                    .map_err(multiply_failed)?;
            }
            lt::get_matmul_algo_heuristic(self.multiply, description, b, a, added, c, preference.0)
        }
        .map_err(multiply_failed)?;
        known.insert(shape, found.algo);
        Ok(found.algo)
    }
}

/// A handle that is destroyed once.
struct Owned<T: Copy, F: Fn(T)>(T, F);

impl<T: Copy, F: Fn(T)> Owned<T, F> {
    fn new(handle: T, destroy: F) -> Self {
        Self(handle, destroy)
    }
}

impl<T: Copy, F: Fn(T)> Drop for Owned<T, F> {
    fn drop(&mut self) {
        (self.1)(self.0);
    }
}

//! CUDA's libraries: where they were looked for, which were found, and which versions they are. Never a panic.

use crate::error::{Code, Error, Result};
use std::ffi::c_int;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Folders that are searched before all others, as `PATH` lists them.
const FOLDERS: &str = "SEALWRIGHT_CUDA_LIBS";
/// No folder of Python packages has more.
const MAX_PACKAGES: usize = 256;

// SAFETY: to be called as cuda.h, nvrtc.h, cublasLt.h and nccl.h declare them; `version` does.
type OneNumber = unsafe extern "C" fn(*mut c_int) -> c_int;
type TwoNumbers = unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int;
type Size = unsafe extern "C" fn() -> usize;

/// A library of CUDA that the engine calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// The driver's own: a card can be used.
    Driver,
    /// The compiler of kernels.
    Nvrtc,
    /// The multiply.
    CublasLt,
    /// Exchange between cards; asked for by ranks alone.
    Nccl,
}

impl Library {
    /// What one card takes.
    const OF_A_CARD: [Self; 3] = [Self::Driver, Self::Nvrtc, Self::CublasLt];

    fn stem(self) -> &'static str {
        match self {
            Self::Driver => "cuda",
            Self::Nvrtc => "nvrtc",
            Self::CublasLt => "cublasLt",
            Self::Nccl => "nccl",
        }
    }

    /// File names, the newest first. By these names cudarc asks for it, too, once it is open.
    fn files(self) -> Vec<String> {
        let stem = self.stem();
        match (self, cfg!(windows)) {
            (Self::Driver, true) => vec!["nvcuda.dll".into()],
            (Self::Nccl, _) => vec![format!("lib{stem}.so.2")], // its own version, not CUDA's; there is none for Windows
            (_, true) => vec![format!("{stem}64_13.dll"), format!("{stem}64_12.dll"), format!("{stem}64_130_0.dll")],
            (Self::Driver, false) => vec![format!("lib{stem}.so.1")],
            (_, false) => vec![format!("lib{stem}.so.13"), format!("lib{stem}.so.12"), format!("lib{stem}.so")],
        }
    }

    /// The functions that the engine calls: a library without one of them is refused, since cudarc would panic.
    fn functions(self) -> &'static [&'static str] {
        match self {
            Self::Driver => &[
                "cuInit",
                "cuGetErrorName",
                "cuGetErrorString",
                "cuDeviceGet",
                "cuDeviceGetCount",
                "cuDeviceGetName",
                "cuDeviceGetAttribute",
                "cuDevicePrimaryCtxRetain",
                "cuCtxSetCurrent",
                "cuMemGetInfo_v2",
                "cuMemAlloc_v2",
                "cuMemFree_v2",
                "cuMemcpyHtoDAsync_v2",
                "cuMemcpyDtoH_v2",
                "cuMemcpyDtoDAsync_v2",
                "cuMemsetD8Async",
                "cuModuleLoadData",
                "cuModuleGetFunction",
                "cuFuncSetAttribute",
                "cuLaunchKernel",
                "cuStreamCreate",
                "cuStreamSynchronize",
            ],
            Self::Nvrtc => &[
                "nvrtcCreateProgram",
                "nvrtcCompileProgram",
                "nvrtcDestroyProgram",
                "nvrtcGetProgramLogSize",
                "nvrtcGetProgramLog",
                "nvrtcGetPTXSize",
                "nvrtcGetPTX",
                "nvrtcGetCUBINSize",
                "nvrtcGetCUBIN",
            ],
            Self::CublasLt => &[
                "cublasLtCreate",
                "cublasLtMatmul",
                "cublasLtMatmulAlgoGetHeuristic",
                "cublasLtMatmulDescCreate",
                "cublasLtMatmulDescDestroy",
                "cublasLtMatmulDescSetAttribute",
                "cublasLtMatrixLayoutCreate",
                "cublasLtMatrixLayoutDestroy",
                "cublasLtMatmulPreferenceCreate",
                "cublasLtMatmulPreferenceDestroy",
                "cublasLtMatmulPreferenceSetAttribute",
            ],
            Self::Nccl => {
                &["ncclGetUniqueId", "ncclCommInitRank", "ncclAllGather", "ncclCommDestroy", "ncclGetErrorString"]
            }
        }
    }

    /// Where it comes from.
    fn source(self) -> &'static str {
        match self {
            Self::Driver => "NVIDIA's driver",
            Self::Nvrtc => "the CUDA toolkit, or `pip install nvidia-cuda-nvrtc`",
            Self::CublasLt => "the CUDA toolkit, or `pip install nvidia-cublas`",
            Self::Nccl => "NVIDIA's packages, or `pip install nvidia-nccl-cu13`",
        }
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.files()[0])
    }
}

/// A library that is open, and stays so.
#[derive(Debug, Clone)]
struct Open {
    library: Library,
    /// The file; `None` where the system's loader knew it.
    path: Option<PathBuf>,
    /// Major and minor.
    version: (u32, u32),
}

/// What this machine has of CUDA.
#[derive(Debug, Clone, Default)]
pub struct Probe {
    open: Vec<Open>,
    /// Library and why it cannot be used.
    refused: Vec<(Library, String)>,
    folders: Vec<PathBuf>,
}

impl Probe {
    /// Looks once; later calls answer the same.
    pub fn machine() -> &'static Self {
        static PROBE: OnceLock<Probe> = OnceLock::new();
        PROBE.get_or_init(|| Self::over(&Library::OF_A_CARD, folders(|name| std::env::var_os(name))))
    }

    /// The same for what several cards take together: a large library, which one card alone does not wait for.
    pub fn together() -> &'static Self {
        static PROBE: OnceLock<Probe> = OnceLock::new();
        PROBE.get_or_init(|| Self::over(&[Library::Nccl], folders(|name| std::env::var_os(name))))
    }

    fn over(libraries: &[Library], folders: Vec<PathBuf>) -> Self {
        let mut probe = Self { folders, ..Self::default() };
        for library in libraries.iter().copied() {
            match open(library, &probe.folders) {
                Ok(open) => probe.open.push(open),
                Err(why) => probe.refused.push((library, why)),
            }
        }
        probe
    }

    /// Major and minor version of a library that can be called.
    pub fn version(&self, library: Library) -> Option<(u32, u32)> {
        self.open.iter().find(|o| o.library == library).map(|o| o.version)
    }

    /// A library to look functions up in that this probe asked for.
    ///
    /// # Errors
    /// `NoDevice`, as [`Probe::need`].
    pub(super) fn library(&self, library: Library) -> Result<libloading::Library> {
        self.need(&[library])?;
        let open = self.open.iter().find(|o| o.library == library);
        let path = open.and_then(|o| o.path.clone()).unwrap_or_else(|| library.to_string().into());
        load(&path).map_err(|e| Error::new(Code::NoDevice, format!("{}: {e}", path.display())))
    }

    /// Whether all of these can be called.
    ///
    /// # Errors
    /// `NoDevice`, with what is missing and where it was looked for.
    pub fn need(&self, libraries: &[Library]) -> Result<()> {
        let lacking: Vec<_> = self.refused.iter().filter(|(library, _)| libraries.contains(library)).collect();
        let Some((first, _)) = lacking.first() else { return Ok(()) };
        let each: Vec<String> = lacking.iter().map(|(library, why)| format!("{library} ({why})")).collect();
        let folders: Vec<String> = self.folders.iter().map(|f| f.display().to_string()).collect();
        let looked = if folders.is_empty() { String::new() } else { format!(", then in {}", folders.join(", ")) };
        let message = format!("cannot be opened: {}; looked where the system's loader looks{looked}", each.join(", "));
        Err(Error::new(Code::NoDevice, message)
            .with_hint(format!("{first} comes with {}; {FOLDERS} names a folder that has it", first.source())))
    }
}

/// One line a library: its version and file, or why not.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Open { library, path, version: (major, minor) } in &self.open {
            let place = path.as_deref().map_or("by the system's loader".into(), |p| p.display().to_string());
            writeln!(f, "{library} {major}.{minor}: {place}")?;
        }
        for (library, why) in &self.refused {
            writeln!(f, "{library}: {why}")?;
        }
        Ok(())
    }
}

/// Folders to look in, the named ones first, then the toolkit's, then those of Python packages.
fn folders(environment: impl Fn(&str) -> Option<std::ffi::OsString>) -> Vec<PathBuf> {
    let named = environment(FOLDERS).map(|list| std::env::split_paths(&list).collect::<Vec<_>>()).unwrap_or_default();
    let toolkits = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(&environment).map(PathBuf::from);
    let toolkits = toolkits.chain([PathBuf::from("/usr/local/cuda")]).map(|root| root.join("lib64"));
    let pythons = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(&environment).map(PathBuf::from);
    let local = environment("HOME").map(|home| PathBuf::from(home).join(".local"));
    let pythons = pythons.chain(local).chain([PathBuf::from("/usr/local"), PathBuf::from("/usr")]);
    let all = named.into_iter().chain(toolkits).chain(pythons.flat_map(|root| wheels(&root)));
    all.filter(|folder| folder.is_dir()).collect()
}

/// `lib/python3*/{site,dist}-packages/nvidia/*/lib` under a Python's root.
fn wheels(root: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let read = std::fs::read_dir(folder).into_iter().flatten();
        let mut found: Vec<PathBuf> = read.flatten().take(MAX_PACKAGES).map(|e| e.path()).collect();
        found.sort();
        found
    };
    let named = |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("python3"));
    let pythons = entries(&root.join("lib")).into_iter().filter(named);
    let packages = pythons.flat_map(|python| ["site-packages", "dist-packages"].map(|p| python.join(p).join("nvidia")));
    packages.flat_map(|nvidia| entries(&nvidia)).map(|package| package.join("lib")).collect()
}

/// Opens a library for good: in the named order, then by the system's loader.
fn open(library: Library, folders: &[PathBuf]) -> Result<Open, String> {
    let mut why = String::from("not found");
    let files = library.files();
    let by_loader = files.iter().map(|file| (PathBuf::from(file), false));
    let in_folders = folders.iter().flat_map(|folder| files.iter().map(move |file| (folder.join(file), true)));
    let (named, others): (Vec<_>, Vec<_>) = in_folders.filter(|(path, _)| path.is_file()).partition(|(path, _)| {
        let first =
            std::env::var_os(FOLDERS).map(|l| std::env::split_paths(&l).collect::<Vec<_>>()).unwrap_or_default();
        path.parent().is_some_and(|parent| first.iter().any(|f| f == parent))
    });
    for (path, is_file) in named.into_iter().chain(by_loader).chain(others) {
        match load(&path) {
            Err(reason) if is_file => why = format!("{}: {reason}", path.display()),
            Err(_) => {}
            Ok(handle) => match version(library, &handle) {
                Err(reason) => why = format!("{}: {reason}", path.display()),
                Ok(version) => {
                    if library == Library::Nvrtc && is_file {
                        open_builtins(&path, version)?;
                    }
                    // closing it would take the functions away that cudarc looked up
                    std::mem::forget(handle);
                    return Ok(Open { library, path: is_file.then_some(path), version });
                }
            },
        }
    }
    Err(why)
}

/// NVRTC asks for its built-in functions by name, and a wheel's folder is none where the system's loader looks; what is
/// open already is found.
fn open_builtins(nvrtc: &Path, (major, minor): (u32, u32)) -> Result<(), String> {
    let beside = nvrtc.with_file_name(format!("libnvrtc-builtins.so.{major}.{minor}"));
    if beside.is_file() {
        std::mem::forget(load(&beside)?);
    }
    Ok(())
}

fn load(path: &Path) -> Result<libloading::Library, String> {
    // SAFETY: opening runs the library's own start-up code. The names are those of CUDA's libraries, in folders that the
    // system or the user named for it.
    unsafe { libloading::Library::new(path) }.map_err(|e| e.to_string())
}

/// Asks a library for its version, and refuses those older than CUDA 12 (they know neither sm_90a nor its driver calls)
/// and than the first NCCL that was made for it.
fn version(library: Library, handle: &libloading::Library) -> Result<(u32, u32), String> {
    let oldest = if library == Library::Nccl { (2, 18) } else { (12, 0) };
    for name in library.functions() {
        // SAFETY: only whether the symbol is there is asked; nothing is called by this type.
        if unsafe { handle.get::<unsafe extern "C" fn()>(name.as_bytes()) }.is_err() {
            return Err(format!("it has no {name}"));
        }
    }
    // SAFETY: the four functions have these signatures in every version (cuda.h, nvrtc.h, cublasLt.h, nccl.h); they
    // write two integers that live here, or nothing.
    let version = unsafe {
        match library {
            Library::Driver => {
                let get: libloading::Symbol<'_, OneNumber> =
                    handle.get(b"cuDriverGetVersion\0").map_err(|e| e.to_string())?;
                let mut number = 0;
                match get(&mut number) {
                    0 => thousands(number as usize),
                    code => return Err(format!("cuDriverGetVersion gives error {code}")),
                }
            }
            Library::Nvrtc => {
                let get: libloading::Symbol<'_, TwoNumbers> =
                    handle.get(b"nvrtcVersion\0").map_err(|e| e.to_string())?;
                let (mut major, mut minor) = (0, 0);
                match get(&mut major, &mut minor) {
                    0 => (major as u32, minor as u32),
                    code => return Err(format!("nvrtcVersion gives error {code}")),
                }
            }
            Library::CublasLt => {
                let get: libloading::Symbol<'_, Size> =
                    handle.get(b"cublasLtGetVersion\0").map_err(|e| e.to_string())?;
                ten_thousands(get())
            }
            Library::Nccl => {
                let get: libloading::Symbol<'_, OneNumber> =
                    handle.get(b"ncclGetVersion\0").map_err(|e| e.to_string())?;
                let mut number = 0;
                match get(&mut number) {
                    0 => ten_thousands(number as usize),
                    code => return Err(format!("ncclGetVersion gives error {code}")),
                }
            }
        }
    };
    match version {
        (major, minor) if (major, minor) < oldest => {
            let (least, of_it) = oldest;
            Err(format!("version {major}.{minor}, {least}.{of_it} is the oldest that will do"))
        }
        version => Ok(version),
    }
}

/// 13010 → 13.1
fn thousands(number: usize) -> (u32, u32) {
    ((number / 1000) as u32, (number % 1000 / 10) as u32)
}

/// 130002 → 13.0
fn ten_thousands(number: usize) -> (u32, u32) {
    ((number / 10_000) as u32, (number % 10_000 / 100) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_in_their_order_and_only_where_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let wheel = at("venv/lib/python3.12/site-packages/nvidia/cu13/lib");
        for folder in [&at("named"), &at("toolkit/lib64"), &wheel] {
            std::fs::create_dir_all(folder).unwrap();
        }
        let found = folders(|name| match name {
            FOLDERS => Some(std::env::join_paths([at("named"), at("nowhere")]).unwrap()),
            "CUDA_HOME" => Some(at("toolkit").into()),
            "VIRTUAL_ENV" => Some(at("venv").into()),
            _ => None,
        });
        let ours: Vec<_> = found.into_iter().filter(|f| f.starts_with(dir.path())).collect();
        assert_eq!(ours, [at("named"), at("toolkit/lib64"), wheel]);
    }

    #[test]
    fn a_file_that_is_no_library_is_named_and_nothing_panics() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("libcublasLt.so.13"), "no library").unwrap();
        let probe = Probe::over(&Library::OF_A_CARD, vec![dir.path().into()]);
        if probe.version(Library::CublasLt).is_none() {
            let error = probe.need(&[Library::CublasLt]).unwrap_err();
            assert_eq!(error.code, Code::NoDevice);
            let said = error.to_string();
            assert!(said.contains(&dir.path().display().to_string()) && said.contains("libcublasLt.so.13"), "{said}");
        }
    }

    #[test]
    fn what_several_cards_take_is_found_in_its_wheel_and_refused_where_it_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = dir.path().join("lib/python3.12/site-packages/nvidia/nccl/lib");
        std::fs::create_dir_all(&wheel).unwrap();
        std::fs::write(wheel.join("libnccl.so.2"), "no library").unwrap();
        let probe = Probe::over(&[Library::Nccl], wheels(dir.path()));
        if probe.version(Library::Nccl).is_none() {
            let error = probe.library(Library::Nccl).err().unwrap();
            assert_eq!(error.code, Code::NoDevice);
            assert!(error.to_string().contains("nvidia/nccl/lib/libnccl.so.2"), "{error}");
            assert!(error.hint().unwrap().contains("nvidia-nccl"));
        }
    }

    #[test]
    fn versions_read_as_cuda_writes_them() {
        assert_eq!((thousands(13010), thousands(12040)), ((13, 1), (12, 4)));
        assert_eq!((ten_thousands(130_002), ten_thousands(22_703)), ((13, 0), (2, 27)));
    }
}

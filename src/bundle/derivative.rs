//! The files that go into a payload: a folder that ours or another trainer made, read by name, never run.

use super::layout::{Names, check_name};
use super::walk::{LICENSES, PAPERS};
use super::{limits, model_sig};
use crate::digest::{Hasher, Sha256};
use crate::error::{AtPath, Code, Error, Result};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Data that loaders parse; everything else in a model folder can run code, or does not belong to it.
const ALLOWED: [&str; 8] = ["safetensors", "json", "txt", "md", "jinja", "model", "tiktoken", "svg"];
/// What loaders unpickle or import.
const ACTIVE: [&str; 11] = ["bin", "pt", "pth", "pkl", "pickle", "ckpt", "joblib", "npy", "npz", "py", "so"];

/// One file of the derivative.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Its name in the payload.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
}

/// A file, measured and digested before it is sealed.
pub(super) struct Measured {
    pub name: String,
    pub path: PathBuf,
    pub size: u64,
    pub sha256: Sha256,
}

/// All files of a folder, in the payload's order. Links, active content and names that a bundle can't hold are refused.
pub fn gather(folder: &Path) -> Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    collect(folder, folder, &mut files)?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    check(&files)?;
    Ok(files)
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) -> Result<()> {
    for entry in std::fs::read_dir(folder).at(folder)? {
        let path = entry.at(folder)?.path();
        let kind = path.symlink_metadata().at(&path)?.file_type();
        if kind.is_dir() {
            collect(root, &path, files)?;
        } else if kind.is_file() {
            let name = path.strip_prefix(root).expect("walked from the root").to_string_lossy().replace('\\', "/");
            files.push(SourceFile { name, path });
        } else {
            return Err(Error::input(&path, "neither a regular file nor a folder")
                .with_hint("replace the link by what it points at"));
        }
        if files.len() as u64 >= limits::MAX_FILES {
            return Err(Error::input(root, format!("more than {} files", limits::MAX_FILES)));
        }
    }
    Ok(())
}

/// The rules for what may be sealed.
pub(super) fn check(files: &[SourceFile]) -> Result<()> {
    let mut names = Names::default();
    PAPERS.into_iter().chain([model_sig::NAME]).for_each(|name| names.add(name).expect("our own names differ"));
    for SourceFile { name, path } in files {
        if name.to_ascii_uppercase().starts_with(LICENSES) {
            return Err(Error::input(path, "LICENSES/ is the bundle's own").with_hint("rename or remove the folder"));
        }
        check_name(name).and_then(|()| names.add(name)).map_err(|e| {
            Error::input(path, &e)
                .with_hint("rename or remove it; the bundle has papers of its own, and rules for names")
        })?;
        check_kind(name, path)?;
    }
    if files.iter().any(|f| f.name.ends_with(".safetensors")) {
        return Ok(());
    }
    Err(Error::new(Code::BadInput, "the derivative has no *.safetensors")
        .with_hint("name the folder with adapter_config.json and adapter_model.safetensors"))
}

fn check_kind(name: &str, path: &Path) -> Result<()> {
    let extension = Path::new(name).extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if ALLOWED.contains(&extension.as_str()) {
        return Ok(());
    }
    let (what, hint) = if ACTIVE.contains(&extension.as_str()) {
        ("can run code when it is loaded and is not sealed", "save weights as safetensors, and remove this file")
    } else {
        (
            "is not a kind of file that belongs to a derivative",
            "remove it; weights, configs, tokenizers and templates are sealed",
        )
    };
    Err(Error::input(path, format!("a .{extension} file {what}")).with_hint(hint))
}

impl SourceFile {
    pub(super) fn measure(&self) -> Result<Measured> {
        let mut hasher = Hasher::default();
        std::io::copy(&mut File::open(&self.path).at(&self.path)?, &mut hasher).at(&self.path)?;
        let size = hasher.bytes();
        Ok(Measured { name: self.name.clone(), path: self.path.clone(), size, sha256: hasher.finish() })
    }
}

/// The derivative's digest, FORMAT.md section 2: over the lines `HEX SIZE NAME`.
pub(super) fn digest(files: &[Measured]) -> Sha256 {
    let mut hasher = Hasher::default();
    files.iter().for_each(|f| hasher.update(format!("{} {} {}\n", f.sha256, f.size, f.name).as_bytes()));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_data_is_gathered() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str| std::fs::write(dir.path().join(name), "x").unwrap();
        put("adapter_config.json");
        assert!(gather(dir.path()).unwrap_err().to_string().contains("no *.safetensors"));
        put("adapter_model.safetensors");
        let names: Vec<_> = gather(dir.path()).unwrap().into_iter().map(|f| f.name).collect();
        assert_eq!(names, ["adapter_config.json", "adapter_model.safetensors"]);
        for name in [
            "training_args.bin",
            "modeling.py",
            ".hidden.json",
            "NOTICE",
            "model.sig",
            "x.exe",
            "a b.json",
            "REPORT.JSON",
        ] {
            put(name);
            assert!(gather(dir.path()).is_err(), "{name}");
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
    }
}

//! Weights of other frameworks, known by the names of their files: digested for a base's fingerprint, never loaded.

use super::Base;
use crate::digest::{Hasher, Sha256};
use crate::error::{AtPath, Error, Result};
use std::path::{Path, PathBuf};

/// How the names end in which other frameworks keep weights, in lower case.
const ENDS: [&str; 25] = [
    "bin",
    "ckpt",
    "engine",
    "h5",
    "hdf5",
    "index",
    "keras",
    "mlmodel",
    "msgpack",
    "nemo",
    "npz",
    "onnx",
    "onnx_data",
    "ot",
    "params",
    "pb",
    "pdiparams",
    "pdmodel",
    "pdparams",
    "pkl",
    "plan",
    "pt",
    "pt2",
    "pth",
    "tflite",
];
/// A TensorFlow checkpoint's: `variables.data-00000-of-00001`.
const SHARD: &str = "data-";
/// Folders in folders: `variables/` in a SavedModel.
const MAX_DEPTH: usize = 4;
/// Files of a folder that are looked at.
const MAX_FILES: usize = 65_536;

/// Over the sorted lines `NAME SHA256-OF-FILE\n` of a folder's weights; `None` where it has none.
pub fn weights(base: &Base) -> Result<Option<Sha256>> {
    if !base.headers.tensors.is_empty() || !base.gguf.is_empty() {
        return Ok(None);
    }
    let mut files = Vec::new();
    collect(&base.folder, MAX_DEPTH, &mut files)?;
    let mut lines = Vec::new();
    for path in &files {
        let name = path.strip_prefix(&base.folder).unwrap_or(path).to_string_lossy().replace('\\', "/");
        lines.push(format!("{name} {}\n", Sha256::of_file(path)?));
    }
    lines.sort();
    let mut all = Hasher::default();
    lines.iter().for_each(|line| all.update(line.as_bytes()));
    Ok((!lines.is_empty()).then(|| all.finish()))
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).at(folder)? {
        let path = entry.at(folder)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        if name.starts_with('.') {
            continue;
        } else if path.is_dir() && depth > 1 {
            collect(&path, depth - 1, files)?;
        } else if path.is_file() && is_weights(&name) {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            return Err(Error::input(folder, format!("more than {MAX_FILES} files of weights")));
        }
    }
    Ok(())
}

fn is_weights(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, end)| ENDS.contains(&end) || end.starts_with(SHARD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_of_another_framework_has_a_fingerprint_of_its_files() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("variables")).unwrap();
        std::fs::write(dir.path().join("LICENSE"), "text").unwrap();
        let of = || Base::open(dir.path()).unwrap().fingerprint();
        assert!(of().unwrap_err().to_string().contains("no weights"), "a licence is no weights");
        let mut seen = Vec::new();
        for (name, text) in [
            ("saved_model.pb", "graph"),
            ("variables/variables.data-00000-of-00001", "numbers"),
            ("variables/variables.data-00000-of-00001", "other numbers"),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
            seen.push(of().unwrap().weights);
        }
        let line = format!("saved_model.pb {}\n", Sha256::of("graph"));
        assert_eq!(seen[0], Sha256::of(line));
        assert!(seen[1] != seen[0] && seen[2] != seen[1]);
        std::fs::write(dir.path().join("README.md"), "a card").unwrap();
        assert_eq!(of().unwrap().weights, seen[2], "a card is no weights");
    }
}

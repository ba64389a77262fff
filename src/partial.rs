//! A file or folder under a temporary name beside its final one. It is removed when it is not finished, and where the
//! process was killed by the next one that writes into the same folder.

use std::fs::File;
use std::io;
use std::path::Path;
use tempfile::{NamedTempFile, TempDir};

const PREFIX: &str = ".sealwright-";
const SUFFIX: &str = ".partial";

/// A new file in `folder`, readable by its owner alone or by whom the umask allows.
pub fn file(folder: &Path, is_secret: bool) -> io::Result<NamedTempFile> {
    sweep(folder);
    loop {
        let mut builder = named();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(if is_secret { 0o600 } else { 0o666 }));
        let file = builder.tempfile_in(folder)?;
        if is_held(file.as_file(), file.path()) {
            return Ok(file);
        }
    }
}

/// A new folder in `folder` that its owner alone can look into (0700), and what holds it: drop that when it is done.
pub fn folder(folder: &Path) -> io::Result<(TempDir, Option<File>)> {
    sweep(folder);
    loop {
        let mut builder = named();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let made = builder.tempdir_in(folder)?;
        if !cfg!(unix) {
            return Ok((made, None)); // a folder can't be opened there, nor held
        }
        let handle = File::open(made.path())?;
        if is_held(&handle, made.path()) {
            return Ok((made, Some(handle)));
        }
    }
}

fn named() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    builder
}

/// Takes the lock that tells a living process's file from one that was left. Another process may have swept it between
/// its making and this lock; then it is made again.
fn is_held(file: &File, path: &Path) -> bool {
    match file.try_lock() {
        Ok(()) => path.symlink_metadata().is_ok(),
        Err(std::fs::TryLockError::WouldBlock) => false,
        Err(std::fs::TryLockError::Error(_)) => true, // a disk without locks, where nothing is swept either
    }
}

/// Removes what killed processes left: whatever has our temporary name, and whose lock nobody holds. What can't be
/// removed stays; it is in nobody's way.
fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|n| n.starts_with(PREFIX) && n.ends_with(SUFFIX)) else { continue };
        let (path, Ok(kind)) = (folder.join(name), entry.file_type()) else { continue };
        if kind.is_symlink() {
            continue;
        }
        let Ok(file) = File::open(&path) else { continue };
        if file.try_lock().is_ok() {
            let _ = if kind.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn what_nobody_holds_is_swept_and_what_is_held_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (held, (folder, lock)) = (file(dir.path(), true).unwrap(), folder(dir.path()).unwrap());
        std::fs::write(folder.path().join("x"), "1").unwrap();
        std::fs::write(dir.path().join(".sealwright-left.partial"), "1").unwrap();
        std::fs::create_dir(dir.path().join(".sealwright-left-too.partial")).unwrap();
        std::fs::write(dir.path().join(".sealwright-left-too.partial/y"), "1").unwrap();
        std::fs::write(dir.path().join("mine.partial"), "1").unwrap();
        drop(file(dir.path(), false).unwrap());
        assert!(held.path().exists() && dir.path().join("mine.partial").exists());
        if cfg!(unix) {
            assert!(folder.path().join("x").exists());
        }
        assert!(!dir.path().join(".sealwright-left.partial").exists());
        assert!(!dir.path().join(".sealwright-left-too.partial").exists());
        drop((held, folder, lock));
        assert_eq!(names(dir.path()), 1);
    }

    #[test]
    fn many_at_once_do_not_sweep_each_other() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for n in 0..16 {
                let root = dir.path();
                scope.spawn(move || {
                    for round in 0..20 {
                        let made = file(root, false).unwrap();
                        made.persist(root.join(format!("{n}-{round}"))).unwrap();
                    }
                });
            }
        });
        assert_eq!(names(dir.path()), 16 * 20);
    }
}

//! Data that people maintain: TOML folders, embedded in the program or read from one that `--policies` names.
//!
//! Unknown keys are refused; an error names file, line and column, and the nearest known word.

use crate::digest::Sha256;
use crate::error::{AtPath, Code, Error, Result};
use crate::partial;
use include_dir::{Dir, include_dir};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;

/// Licence facts, vocabulary, lineage and decisions, as shipped.
pub static POLICIES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/policies");
/// Base families, as shipped.
pub static ADAPTERS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/adapters");

/// A data file may not be larger than this.
pub const MAX_FILE_BYTES: u64 = 8 << 20;

/// The files of one data folder, by name relative to it, sorted.
pub struct Folder {
    files: BTreeMap<String, String>,
}

impl Folder {
    /// The `.toml` files of an embedded folder.
    pub fn embedded(dir: &Dir<'_>) -> Self {
        let mut files = BTreeMap::new();
        gather_embedded(dir, &mut files);
        Self { files }
    }

    /// The `.toml` files of a folder on disk.
    pub fn on_disk(root: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        gather_on_disk(root, root, &mut files)?;
        if files.is_empty() {
            return Err(Error::input(root, "no .toml file in this folder"));
        }
        Ok(Self { files })
    }

    /// Names and texts under `prefix` (`"licenses/"`), in order.
    pub fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix))
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// One file, parsed.
    pub fn parse<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let text = self.files.get(name).ok_or_else(|| Error::input(Path::new(name), "this data file is missing"))?;
        parse(Path::new(name), text)
    }

    /// One digest over every name and text.
    pub fn digest(&self) -> Sha256 {
        Sha256::of_json(&self.files)
    }
}

fn gather_embedded(dir: &Dir<'_>, files: &mut BTreeMap<String, String>) {
    for file in dir.files().filter(|f| f.path().extension().is_some_and(|e| e == "toml")) {
        let text = file.contents_utf8().expect("our own data is UTF-8");
        files.insert(file.path().to_string_lossy().replace('\\', "/"), text.to_owned());
    }
    dir.dirs().for_each(|sub| gather_embedded(sub, files));
}

fn gather_on_disk(root: &Path, folder: &Path, files: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in std::fs::read_dir(folder).at(folder)? {
        let path = entry.at(folder)?.path();
        if path.is_dir() {
            gather_on_disk(root, &path, files)?;
        } else if path.extension().is_some_and(|e| e == "toml") {
            let name = path.strip_prefix(root).expect("walked from the root").to_string_lossy().replace('\\', "/");
            files.insert(name, read_text(&path, MAX_FILE_BYTES)?);
        }
    }
    Ok(())
}

/// A text file of at most `limit` bytes; UTF-8 or an error.
pub fn read_text(path: &Path, limit: u64) -> Result<String> {
    let bytes = read_bytes(path, limit)?;
    String::from_utf8(bytes)
        .map_err(|e| Error::input(path, format!("not UTF-8 at byte {}", e.utf8_error().valid_up_to())))
}

/// A file of at most `limit` bytes.
pub fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path).at(path)?.take(limit + 1).read_to_end(&mut bytes).at(path)?;
    if bytes.len() as u64 > limit {
        return Err(Error::input(path, format!("larger than {limit} bytes, the most that is read here")));
    }
    Ok(bytes)
}

/// TOML text as a value; the error shows the line and the nearest known key.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    toml::from_str(text).map_err(|error| toml_error(path, text, &error))
}

fn toml_error(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let place = error.span().map_or(String::new(), |span| {
        let before = &text[..span.start.min(text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        format!(":{line}:{column}")
    });
    let message = error.message().lines().next().unwrap_or("not valid TOML");
    let error = Error::new(Code::BadInput, format!("{}{place}: {message}", path.display()));
    match nearest_in_message(message) {
        Some(word) => error.with_hint(format!("did you mean `{word}`?")),
        None => error,
    }
}

/// serde says "unknown field `x`, expected one of `a`, `b`": which of them is meant?
fn nearest_in_message(message: &str) -> Option<&str> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let wrong = quoted.next().filter(|_| message.starts_with("unknown"))?;
    nearest(wrong, quoted)
}

/// The known word that `wrong` was probably meant to be.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (strsim::jaro_winkler(wrong, word), word))
        .filter(|(score, _)| *score > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// Writes a file under its final name only when it is whole: temporary name, sync, rename, sync of the folder.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut std::fs::File) -> Result<()>) -> Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).at(parent)?;
    let mut file = partial::file(parent, false).at(parent)?;
    write(file.as_file_mut())?;
    file.as_file().sync_all().at(path)?;
    file.persist(path).map_err(|e| Error::io(path, &e.error))?;
    sync_folder(parent)
}

/// Writes a secret under a name that is not taken; other users can't read it at any moment (0600).
pub fn write_secret(path: &Path, text: &str) -> Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).at(parent)?;
    let mut file = partial::file(parent, true).at(parent)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).at(path)?;
    file.as_file().sync_all().at(path)?;
    file.persist_noclobber(path).map_err(|e| match e.error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::new(Code::Usage, format!("a file is there already: {}", path.display()))
                .with_hint("a key that is lost can't be made again; give another name")
        }
        _ => Error::io(path, &e.error),
    })?;
    sync_folder(parent)
}

/// Fills a buffer from the system's randomness.
pub fn random(buffer: &mut [u8]) -> Result<()> {
    getrandom::fill(buffer).map_err(|e| Error::new(Code::Io, format!("the system gives no random bytes: {e}")))
}

/// Waits until nobody else holds the lock of this file, and holds it; the lock goes with the value.
pub fn lock(path: &Path) -> Result<std::fs::File> {
    let file = std::fs::File::options().create(true).append(true).open(path).at(path)?;
    file.lock().at(path)?;
    Ok(file)
}

/// Makes a folder that its owner alone can read (0700), where there is none yet.
pub fn private_folder(folder: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).at(folder)
}

/// How many bytes the disk of a folder has left; none where the system doesn't say.
pub fn free_space(folder: &Path) -> Result<Option<u64>> {
    #[cfg(unix)]
    {
        let disk = rustix::fs::statvfs(folder).map_err(|e| Error::io(folder, &e.into()))?;
        Ok(Some(disk.f_bavail.saturating_mul(disk.f_frsize)))
    }
    #[cfg(not(unix))]
    Ok(None)
}

/// Makes a rename in `folder` last through a power cut.
pub fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        std::fs::File::open(folder).and_then(|f| f.sync_all()).at(folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Example {
        #[allow(dead_code)]
        learning_rate: f64,
    }

    #[test]
    fn an_unknown_key_is_shown_with_its_line_and_the_nearest_one() {
        let error = parse::<Example>(Path::new("p.toml"), "\nlerning_rate = 1.0\n").unwrap_err();
        assert!(error.to_string().starts_with("p.toml:2:1: unknown field `lerning_rate`"), "{error}");
        assert_eq!(error.hint(), Some("did you mean `learning_rate`?"));
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_atomically(&path, |_| Err(Error::new(Code::Io, "no"))).unwrap_err();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        write_atomically(&path, |f| std::io::Write::write_all(f, b"x").at(&path)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
    }
}

//! A private key that signs, wherever it is: in a PEM file, or behind a command. For the vendor's key and for those of
//! rulings.

use super::say::Say;
use super::secret::Secret;
use sealwright::data;
use sealwright::error::Result;
use sealwright::product::Key;
use sealwright::sign::{MAX_KEY_BYTES, SigningKey};
use std::path::Path;

/// The key that a product file names, relative to its folder.
pub fn of(key: &Key, folder: &Path, say: &Say) -> Result<SigningKey> {
    match key {
        Key::File(path) => SigningKey::read(&folder.join(path), &|question| Secret::Key.ask(question, say)),
        Key::Elsewhere { command, public } => SigningKey::elsewhere(command, folder, &folder.join(public)),
    }
}

/// The key that a flag names: a PEM file, or a `.toml` file that says as `vendor.key` does what signs in its place.
pub fn read(path: &Path, say: &Say) -> Result<SigningKey> {
    if path.extension().is_none_or(|end| end != "toml") {
        return of(&Key::File(path.to_owned()), Path::new(""), say);
    }
    let key: Key = data::parse(path, &data::read_text(path, MAX_KEY_BYTES)?)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    of(&key, folder, say)
}

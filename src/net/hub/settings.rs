//! How this user reaches the hub: the same variables and files that the hub's own programs read.

use crate::data;
use crate::error::{Code, Error, Result};
use crate::net::Url;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// The hub, unless `HF_ENDPOINT` names another.
const ENDPOINT: &str = "https://huggingface.co";
/// Bytes of a token's file.
const MAX_TOKEN_BYTES: u64 = 4096;

/// Where the hub is, who asks, and where its files are kept.
pub struct Settings {
    /// The hub or a mirror of it.
    pub endpoint: Url,
    /// The value of `Authorization`.
    pub(super) secret: Option<Zeroizing<String>>,
    /// The cache's folder.
    pub cache: PathBuf,
    /// Never open a connection.
    pub offline: bool,
}

impl Settings {
    /// Those that the environment names: `HF_ENDPOINT`; `HF_TOKEN` or the token's file (`HF_TOKEN_PATH`, else
    /// `$HF_HOME/token`); `HF_HUB_CACHE`, else `$HF_HOME/hub`; `HF_HUB_OFFLINE`.
    pub fn of_user(offline: bool) -> Result<Self> {
        Self::from_variables(offline, &|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
    }

    /// These and no others.
    pub fn new(endpoint: &str, token: Option<&str>, cache: PathBuf, offline: bool) -> Result<Self> {
        let secret = token.map(bearer).transpose()?;
        Ok(Self { endpoint: Url::parse(endpoint)?, secret, cache, offline })
    }

    fn from_variables(offline: bool, get: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let path = |name: &str| get(name).map(PathBuf::from);
        let home = path("HF_HOME")
            .or_else(|| path("XDG_CACHE_HOME").map(|p| p.join("huggingface")))
            .or_else(|| path("HOME").map(|p| p.join(".cache/huggingface")))
            .ok_or_else(|| Error::new(Code::Usage, "no folder for the hub's cache").with_hint("set HF_HOME to one"))?;
        let token = match get("HF_TOKEN") {
            Some(token) => Some(Zeroizing::new(token)),
            None => token_in(&path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token")))?,
        };
        let endpoint = get("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into());
        let cache = path("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub"));
        let set = |name: &str| {
            get(name).is_some_and(|v| !matches!(v.to_ascii_lowercase().as_str(), "0" | "false" | "no" | "off"))
        };
        Self::new(&endpoint, token.as_ref().map(|t| t.as_str()), cache, offline || set("HF_HUB_OFFLINE"))
            .map_err(|e| if e.code == Code::Network { Error::new(Code::Usage, format!("HF_ENDPOINT: {e}")) } else { e })
    }
}

fn token_in(path: &std::path::Path) -> Result<Option<Zeroizing<String>>> {
    if path.is_file() { data::read_text(path, MAX_TOKEN_BYTES).map(|t| Some(Zeroizing::new(t))) } else { Ok(None) }
}

fn bearer(token: &str) -> Result<Zeroizing<String>> {
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Error::new(Code::Usage, "the hub's token is empty or holds more than one word")
            .with_hint("HF_TOKEN, or the token's file, holds one line: `hf_…`"));
    }
    Ok(Zeroizing::new(format!("Bearer {token}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings> {
        let get = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string());
        Settings::from_variables(false, &get)
    }

    #[test]
    fn the_hubs_own_variables_hold() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap();
        std::fs::write(dir.path().join("token"), "hf_file\n").unwrap();
        let plain = settings(&[("HF_HOME", home)]).unwrap();
        assert_eq!(plain.cache, dir.path().join("hub"));
        assert_eq!(plain.endpoint.to_string(), "https://huggingface.co/");
        assert_eq!(plain.secret.unwrap().as_str(), "Bearer hf_file");
        let own = [("HF_HOME", home), ("HF_TOKEN", "hf_own"), ("HF_HUB_CACHE", "/c"), ("HF_HUB_OFFLINE", "1")];
        let own = settings(&own).unwrap();
        assert!(own.offline && own.cache == std::path::Path::new("/c"));
        assert_eq!(own.secret.unwrap().as_str(), "Bearer hf_own");
        assert!(settings(&[("HF_HOME", home), ("HF_TOKEN", "two words")]).is_err());
        assert!(settings(&[("HF_HOME", home), ("HF_ENDPOINT", "http://mirror.example")]).is_err());
        assert!(settings(&[]).is_err());
    }
}

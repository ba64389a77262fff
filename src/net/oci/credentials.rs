//! Who asks a registry: what `docker login`, `podman login` or `skopeo login` has left for this host.

use crate::data;
use crate::error::{Code, Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use zeroize::Zeroizing;

/// Bytes of a file of credentials, and of a helper's answer.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    auths: BTreeMap<String, Auth>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    /// base64 of `USER:PASSWORD`.
    #[serde(deserialize_with = "secret")]
    auth: Zeroizing<String>,
}

/// What a credential helper says.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    #[serde(deserialize_with = "secret")]
    secret: Zeroizing<String>,
}

/// A text that is wiped when it is dropped.
pub(super) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

/// The value of `Authorization` for a registry, out of the first file that has one for it:
/// `$REGISTRY_AUTH_FILE`; `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`;
/// `$XDG_RUNTIME_DIR/containers/auth.json`; `~/.config/containers/auth.json`.
pub fn of_user(host: &str) -> Result<Option<Zeroizing<String>>> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = |rest: &str| set("HOME").map(|home| home.join(rest));
    let files = [
        set("REGISTRY_AUTH_FILE"),
        set("DOCKER_CONFIG").map(|folder| folder.join("config.json")).or_else(|| home(".docker/config.json")),
        set("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json")),
        home(".config/containers/auth.json"),
    ];
    for path in files.into_iter().flatten().filter(|path| path.is_file()) {
        let bytes = Zeroizing::new(data::read_bytes(&path, MAX_BYTES)?);
        // what serde says of a value may hold the value
        let config: Config = serde_json::from_slice(&bytes)
            .map_err(|e| Error::input(&path, format!("not a file of credentials, at line {}", e.line())))?;
        if let Some(found) = config.of(host)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

impl Config {
    fn of(&self, host: &str) -> Result<Option<Zeroizing<String>>> {
        let keys = spellings(host);
        if let Some(helper) = keys.iter().find_map(|key| self.cred_helpers.get(key)).or(self.creds_store.as_ref()) {
            return ask_helper(helper, &keys[0]);
        }
        let auth = keys.iter().find_map(|key| self.auths.get(key)).filter(|auth| !auth.auth.is_empty());
        auth.map(|auth| basic(&auth.auth, host)).transpose()
    }
}

/// How a host is written in these files; the first is what a helper is asked for.
fn spellings(host: &str) -> Vec<String> {
    match host {
        "docker.io" => vec!["https://index.docker.io/v1/".into(), "docker.io".into(), "index.docker.io".into()],
        _ => vec![host.into(), format!("https://{host}"), format!("https://{host}/"), format!("https://{host}/v1/")],
    }
}

fn basic(auth: &str, host: &str) -> Result<Zeroizing<String>> {
    let decoded = BASE64.decode(auth).ok().map(Zeroizing::new);
    if !decoded.is_some_and(|bytes| bytes.contains(&b':')) {
        return Err(Error::new(
            Code::BadInput,
            format!("the credentials for {host} are not base64 of user and password"),
        )
        .with_hint("log in again with docker, podman or skopeo"));
    }
    Ok(Zeroizing::new(format!("Basic {auth}")))
}

/// `docker-credential-NAME get`: the host on stdin, JSON on stdout.
fn ask_helper(name: &str, server: &str) -> Result<Option<Zeroizing<String>>> {
    let failed = |why: &dyn std::fmt::Display| {
        Error::new(Code::Io, format!("docker-credential-{}: {why}", name.escape_debug()))
            .with_hint("the docker config names it as a credential helper; log in without one, or install it")
    };
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)) {
        return Err(failed(&"not the name of a helper"));
    }
    let mut child = Command::new(format!("docker-credential-{name}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| failed(&e))?;
    if let Some(mut stdin) = child.stdin.take() {
        // a helper that does not read the host answers all the same, or fails
        let _ = stdin.write_all(server.as_bytes());
    }
    let mut answer = Zeroizing::new(Vec::new());
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_BYTES).read_to_end(&mut answer).map_err(|e| failed(&e))?;
    }
    if !child.wait().map_err(|e| failed(&e))?.success() {
        return Ok(None); // it knows nothing of this host
    }
    let helped: Helped = serde_json::from_slice(&answer).map_err(|_| failed(&"its answer can't be read"))?;
    if helped.username == "<token>" {
        return Err(failed(&"it gives an identity token, which is not understood yet"));
    }
    let pair = Zeroizing::new(format!("{}:{}", helped.username, helped.secret.as_str()));
    Ok(Some(Zeroizing::new(format!("Basic {}", BASE64.encode(pair.as_bytes())))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, host: &str) -> Result<Option<String>> {
        let config: Config = serde_json::from_str(text).unwrap();
        config.of(host).map(|found| found.map(|f| f.to_string()))
    }

    #[test]
    fn credentials_belong_to_their_host() {
        let text = r#"{"auths":{"registry.example:5000":{"auth":"dTpw"},"https://other.example/v1/":{"auth":"eDp5"},
            "https://index.docker.io/v1/":{"auth":"ZDpk","email":"x"},"empty.example":{}},"HttpHeaders":{}}"#;
        assert_eq!(of(text, "registry.example:5000").unwrap().unwrap(), "Basic dTpw");
        assert_eq!(of(text, "other.example").unwrap().unwrap(), "Basic eDp5");
        assert_eq!(of(text, "docker.io").unwrap().unwrap(), "Basic ZDpk");
        for none in ["registry.example", "registry.example:5001", "empty.example", "evil.example"] {
            assert_eq!(of(text, none).unwrap(), None, "{none}");
        }
        for wrong in ["dTpw!", "dXA="] {
            let error = of(&format!(r#"{{"auths":{{"a.example":{{"auth":"{wrong}"}}}}}}"#), "a.example").unwrap_err();
            assert!(!error.to_string().contains(wrong), "{error}");
        }
    }

    #[test]
    fn a_helper_is_a_plain_name() {
        for name in ["../evil", "a b", "", "a/b"] {
            let text = serde_json::json!({"credsStore": name}).to_string();
            assert!(of(&text, "a.example").is_err(), "{name}");
        }
    }
}

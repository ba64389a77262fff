//! A key that is elsewhere, in an HSM or a key service: a command of the vendor's signs.
//!
//! It gets the bytes to sign on stdin, and writes an ECDSA signature with SHA-256 in DER to stdout:
//! `openssl dgst -sha256 -sign KEY` is one. Its stderr is the user's, so that it can ask for a PIN.

use super::PublicKey;
use crate::error::{Code, Error, Result};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a command may take: somebody may have to touch a token.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How often a command that closed its stdout is asked whether it has ended.
const TICK: Duration = Duration::from_millis(5);
/// Bytes of a signature in DER, with room to see that one is too long.
const MAX_SIGNATURE_BYTES: u64 = 256;

/// A command that signs, and the public half of its key.
pub struct Signer {
    program: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
    public: PublicKey,
    timeout: Duration,
}

impl Signer {
    /// The command is run in `folder`; a program with a path is found from there.
    pub fn new(command: &[String], folder: &Path, public: PublicKey) -> Result<Self> {
        let [program, arguments @ ..] = command else {
            return Err(Error::new(Code::BadInput, "the signing command is empty")
                .with_hint("command = [\"program\", \"argument\"]"));
        };
        let program = PathBuf::from(program);
        let program = if program.components().count() > 1 { folder.join(program) } else { program };
        // what is run in `folder` must not be looked for from there a second time
        let program = if program.is_relative() && program.components().count() > 1 {
            std::path::absolute(&program)
        } else {
            Ok(program)
        }
        .map_err(|e| Error::io(folder, &e))?;
        Ok(Self { program, arguments: arguments.to_vec(), folder: folder.to_owned(), public, timeout: TIMEOUT })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A signature in DER, s in the lower half, checked against the public key before anybody uses it.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let der = self.run(message)?;
        let signature = p256::ecdsa::Signature::from_der(&der)
            .map_err(|_| self.failed("it wrote no ECDSA signature in DER to stdout"))?;
        let low = signature.normalize_s().unwrap_or(signature).to_der().as_bytes().to_vec();
        if self.public.verifies(message, &low, true) {
            return Ok(low);
        }
        Err(self.failed("its signature is not by the public key that stands beside it"))
    }

    fn run(&self, message: &[u8]) -> Result<Vec<u8>> {
        let end = Instant::now() + self.timeout;
        let folder = if self.folder.as_os_str().is_empty() { Path::new(".") } else { &self.folder };
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| self.failed(format!("it can't be run: {e}")))?;
        let answer = self.talk(&mut child, message, end);
        if answer.is_err() {
            let _ = child.kill(); // it may have ended by itself
        }
        let _ = child.wait();
        answer
    }

    /// Both pipes have a thread, so that neither a full one nor one that somebody else holds open can stop us.
    fn talk(&self, child: &mut Child, message: &[u8], end: Instant) -> Result<Vec<u8>> {
        let (mut stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let message = message.to_vec();
        std::thread::spawn(move || {
            let _ = stdin.write_all(&message); // one that does not read is told by its answer
        });
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.take(MAX_SIGNATURE_BYTES).read_to_end(&mut bytes).map(|_| bytes);
            let _ = send.send(read); // nobody waits any more after the timeout
        });
        let late = || self.failed(format!("no answer in {} seconds", self.timeout.as_secs()));
        let left = end.saturating_duration_since(Instant::now());
        let bytes = receive.recv_timeout(left).map_err(|_| late())?;
        let bytes = bytes.map_err(|e| self.failed(format!("its stdout can't be read: {e}")))?;
        loop {
            match child.try_wait().map_err(|e| self.failed(e))? {
                Some(status) if status.success() => return Ok(bytes),
                Some(status) => return Err(self.failed(status)),
                None if Instant::now() >= end => return Err(late()),
                None => std::thread::sleep(TICK),
            }
        }
    }

    fn failed(&self, why: impl std::fmt::Display) -> Error {
        Error::new(Code::SignerFailed, format!("the signing command failed: {}: {why}", self.program.display()))
            .with_hint(
                "it gets the bytes to sign on stdin, and writes an ECDSA P-256/SHA-256 signature in DER to stdout",
            )
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::super::SigningKey;
    use super::*;

    fn code(script: &str) -> (Code, String) {
        let public = SigningKey::generate(false).public();
        let command = ["sh", "-c", script].map(String::from);
        let mut signer = Signer::new(&command, Path::new("."), public).unwrap();
        signer.timeout = Duration::from_millis(300);
        let error = signer.sign(b"message").unwrap_err();
        (error.code, error.to_string())
    }

    #[test]
    fn a_command_that_does_not_sign_is_told_why() {
        for (script, said) in [
            ("cat", "no ECDSA signature"),
            ("head -c 100000 /dev/zero; true", "no ECDSA signature"),
            ("exit 3", "exit status: 3"),
            ("sleep 60", "no answer"),
            ("exec >&-; sleep 60", "no answer"),
            ("sleep 60 & echo x", "no answer"),
        ] {
            let (code, message) = code(script);
            assert_eq!(code, Code::SignerFailed, "{script}");
            assert!(message.contains(said), "{script}: {message}");
        }
        // somebody else's signature, in place of ours
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("sig"), SigningKey::generate(false).sign(b"message").unwrap()).unwrap();
        let (code, message) = code(&format!("cat {}", dir.path().join("sig").display()));
        assert!(code == Code::SignerFailed && message.contains("not by the public key"), "{message}");
        let public = SigningKey::generate(false).public();
        let missing = Signer::new(&["no-such-program-here".into()], Path::new("."), public.clone()).unwrap();
        assert_eq!(missing.sign(b"").unwrap_err().code, Code::SignerFailed);
        assert_eq!(Signer::new(&[], Path::new("."), public).err().unwrap().code, Code::BadInput);
    }

    #[test]
    fn a_high_s_is_made_low_and_the_program_is_found_from_the_folder() {
        let (dir, key) = (tempfile::tempdir().unwrap(), SigningKey::generate(false));
        let low = p256::ecdsa::Signature::from_der(&key.sign(b"message").unwrap()).unwrap();
        let (r, s) = low.split_scalars();
        let high = p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
        std::fs::write(dir.path().join("sig"), high.to_der().as_bytes()).unwrap();
        let script = dir.path().join("hsm");
        std::fs::write(&script, "#!/bin/sh\n[ \"$(cat)\" = message ] && cat sig\n").unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let signer = Signer::new(&["./hsm".into()], dir.path(), key.public()).unwrap();
        assert_eq!(signer.sign(b"message").unwrap(), low.to_der().as_bytes());
        assert_eq!(signer.sign(b"another").unwrap_err().code, Code::SignerFailed);
    }
}

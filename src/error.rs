//! The one error of the program: what happened, with path and value, and apart from it what to do.

use std::fmt;
use std::path::Path;

/// A `Result` whose error is ours.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What happened (`Display`), its code for machines, and a hint at what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Stable name of the kind of failure; `sealwright explain CODE` has a page on it.
    pub code: Code,
    message: String,
    hint: Option<String>,
}

impl Error {
    /// An error that says `message`; values come after a colon, no full stop at the end.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// Adds what the reader can do about it.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A file or folder that could not be read or written.
    pub fn io(path: &Path, source: &std::io::Error) -> Self {
        let error = Self::new(Code::Io, format!("{}: {source}", path.display()));
        match source.kind() {
            std::io::ErrorKind::NotFound => error.with_hint("check the path"),
            std::io::ErrorKind::StorageFull => {
                error.with_hint("free some space and run the same command again; nothing was lost")
            }
            std::io::ErrorKind::PermissionDenied => error.with_hint("check the permissions of the path"),
            _ => error,
        }
    }

    /// A file whose content is not what it must be.
    pub fn input(path: &Path, message: impl fmt::Display) -> Self {
        Self::new(Code::BadInput, format!("{}: {message}", path.display()))
    }

    /// What to do, if there is something to say.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Makes an I/O error that names its path: `File::open(p).at(p)?`.
pub trait AtPath<T> {
    /// Names the path in the error.
    fn at(self, path: &Path) -> Result<T>;
}

impl<T> AtPath<T> for std::io::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|source| Error::io(path, &source))
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $exit:literal;)+) => {
        /// Every kind of failure, with its name and exit code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code { $($(#[doc = $doc])+ $variant,)+ }

        impl Code {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)+];

            /// The name that reports, `--json` and `explain` use.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)+ }
            }

            /// 1: the answer is no. 2: could not tell. 3: a person must look. 130: stopped by Ctrl-C.
            pub fn exit(self) -> u8 {
                match self { $(Code::$variant => $exit,)+ }
            }
        }
    };
}

codes! {
    /// A command line that doesn't make sense.
    Usage = "usage", 2;
    /// A file or folder could not be read or written.
    Io = "io", 2;
    /// A file says something that it must not say.
    BadInput = "bad-input", 2;
    /// This part of the program is not built yet.
    NotBuilt = "not-built", 2;
    /// The base's family, or a feature of it, is not known to the engine.
    UnsupportedBase = "unsupported-base", 2;
    /// The device asked for is not there, lacks a library, or failed.
    NoDevice = "no-device", 2;
    /// The run would need more memory than there is.
    OutOfMemory = "out-of-memory", 2;
    /// The loss became infinite or not a number.
    Diverged = "diverged", 2;
    /// A server could not be reached, or answered what it must not.
    Network = "network", 2;
    /// A server wants a permission that was not given.
    AccessDenied = "access-denied", 2;
    /// A server has no such thing.
    NotFound = "not-found", 2;
    /// It would have to be fetched, and `--offline` forbids that.
    Offline = "offline", 2;
    /// What was fetched is not what was promised.
    WrongDigest = "wrong-digest", 1;
    /// The ranks of a training did not meet, or one of them ended.
    Ranks = "ranks", 2;
    /// Another process uses the product folder.
    Locked = "locked", 2;
    /// Stopped by Ctrl-C; what was done is saved.
    Interrupted = "interrupted", 130;
    /// The licence forbids the declared use.
    Denied = "denied", 1;
    /// A person must look at the findings first.
    NeedsReview = "needs-review", 3;
    /// An obligation of the licence could not be met.
    UnmetObligation = "unmet-obligation", 1;
    /// The bundle breaks a rule of FORMAT.md.
    BadBundle = "bad-bundle", 1;
    /// The bundle ends too early.
    Truncated = "truncated", 1;
    /// Some bytes are not those that were signed.
    Damaged = "damaged", 1;
    /// The signature is not one by the key it names.
    BadSignature = "bad-signature", 1;
    /// A whole bundle, signed by a key that nobody here trusts.
    UnknownSigner = "unknown-signer", 3;
    /// A whole bundle, signed with a development key.
    DevelopmentKey = "development-key", 3;
    /// The model signature inside names another key or other files than the bundle.
    InnerSignerDiffers = "inner-signer-differs", 1;
    /// The command that signs with a key kept elsewhere failed, or gave no signature by that key.
    SignerFailed = "signer-failed", 2;
    /// A signed file (a renewal, a revocation list) breaks a rule of FORMAT.md.
    BadStatement = "bad-statement", 1;
    /// The renewal is for another bundle.
    WrongBundle = "wrong-bundle", 1;
    /// A newer renewal or revocation list was seen before.
    OlderStatement = "older-statement", 1;
    /// The key that signed was stolen, had retired, or may not have signed on that day.
    RevokedKey = "revoked-key", 1;
    /// The vendor recalled this bundle.
    RevokedBundle = "revoked-bundle", 1;
    /// The revocation list is past its day.
    StaleRevocations = "stale-revocations", 3;
    /// This machine's clock is before a moment that has passed.
    ClockSetBack = "clock-set-back", 3;
    /// The bundle's format version is newer than this program.
    UnsupportedVersion = "unsupported-version", 2;
    /// No identity given opens this bundle.
    WrongCustomer = "wrong-customer", 1;
    /// The entitlement has ended.
    Expired = "expired", 1;
    /// The entitlement has not begun.
    NotYetValid = "not-yet-valid", 1;
    /// The entitlement doesn't grant this use.
    UseNotGranted = "use-not-granted", 1;
    /// The base at hand is not the one that the entitlement names.
    WrongBase = "wrong-base", 1;
    /// A newer bundle of this product was seen before.
    OlderBundle = "older-bundle", 1;
    /// The derivative holds what can run when it is loaded, and nobody allowed that.
    ActiveContent = "active-content", 1;
    /// The payload holds what can run when it is loaded, and the manifest does not say so.
    UndeclaredContent = "undeclared-content", 1;
    /// The bundle breaks the customer's own rule.
    NotAdmitted = "not-admitted", 1;
    /// Opening would need more than a limit or the disk allows.
    TooLarge = "too-large", 1;
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn names_are_unique_and_kebab_case() {
        let names: std::collections::BTreeSet<_> = Code::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        assert!(names.iter().all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
    }
}

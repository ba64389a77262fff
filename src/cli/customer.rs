//! What the customer's commands share: a bundle, whose it may be, and the keys that open it.

use super::say::{Say, visible};
use super::secret::Secret;
use sealwright::bundle::{self, Active, Admission, Identities, Person, Seen, Signed, Trust, renewal_beside};
use sealwright::error::{Code, Error, Result};
use secrecy::SecretString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whose bundles are taken; `verify`, `open` and `run` share it.
#[derive(clap::Args)]
pub struct TrustArgs {
    /// A vendor's public key (PEM) that you trust, or a trust file; may be given more than once
    #[arg(long = "trust", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Take a bundle that a development key signed, to try things out
    #[arg(long)]
    allow_development: bool,
    /// A rule of yours that the bundle must keep, too (docs/admission.md)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl TrustArgs {
    /// The rule, where there is one.
    pub fn rule(&self) -> Result<Option<Admission>> {
        self.policy.as_deref().map(Admission::read).transpose()
    }

    pub fn read(&self) -> Result<Trust> {
        Trust::read(&self.files, self.allow_development, jiff::Timestamp::now(), &Seen::of_user()?)
    }
}

/// A bundle and whose it may be.
#[derive(clap::Args)]
pub struct BundleArgs {
    /// The bundle
    bundle: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
    /// A renewal of the bundle; one that lies beside it (NAME.renewal) is found
    #[arg(long, value_name = "FILE")]
    renewal: Option<PathBuf>,
}

impl BundleArgs {
    /// The bundle, whole, from a vendor that is trusted and let in by the rule, with its renewal where there is one.
    pub fn verified(&self, say: &Say) -> Result<Signed> {
        self.taken(bundle::verify, say)
    }

    fn taken(&self, read: Read, say: &Say) -> Result<Signed> {
        let rule = self.trust.rule()?;
        let mut signed = self.trusted(read, say)?;
        rule.map_or(Ok(()), |rule| signed.admit(&rule, jiff::Timestamp::now()))?;
        Ok(signed)
    }

    fn trusted(&self, read: Read, say: &Say) -> Result<Signed> {
        let trust = self.trust.read()?;
        let signed = read(&self.bundle, &trust)?;
        if let Some(path) = &self.renewal {
            return signed.renew(path, &trust);
        }
        let beside = renewal_beside(&self.bundle);
        if !beside.is_file() {
            return Ok(signed);
        }
        match signed.renew(&beside, &trust) {
            // one of an older bundle may still lie there
            Err(error) if error.code == Code::WrongBundle => {
                say.note(visible(&format!("not used: {error}")));
                read(&self.bundle, &trust)
            }
            renewed => renewed,
        }
    }
}

/// How a bundle is read: hashed now, or while it is opened.
type Read = fn(&Path, &Trust) -> Result<Signed>;

#[derive(clap::Args)]
pub struct CustomerArgs {
    #[command(flatten)]
    bundle: BundleArgs,
    /// The customer's identity: an age identity file, a plugin's too, or an ssh-ed25519 private key; a bundle that is
    /// sealed with a passphrase needs none
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Take a bundle whose manifest states this kind of content that can run when it is loaded; may be repeated
    #[arg(long, value_name = "KIND", value_parser = active)]
    allow_active: Vec<Active>,
}

fn active(word: &str) -> Result<Active, String> {
    let known = || Active::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
    Active::parse(word).ok_or_else(|| format!("one of {}", known()))
}

impl CustomerArgs {
    /// The bundle, from a vendor that is trusted, with its renewal where there is one; what opens it finds out whether it is
    /// whole.
    pub fn signed(&self, say: &Say) -> Result<Signed> {
        Ok(self.bundle.taken(bundle::signed, say)?.allow_active(self.allow_active.iter().copied()))
    }

    /// What opens it: the identity that was given, or else the passphrase that it is sealed with.
    pub fn identities(&self, signed: &Signed, say: &Say) -> Result<Identities> {
        match &self.identity {
            Some(path) => Identities::read(path, Arc::new(AtTerminal(*say))),
            None if signed.manifest().entitlement.wants_passphrase() => {
                Secret::Bundle.ask("passphrase of the bundle", say).map(Identities::passphrase)
            }
            None => Err(Error::new(Code::Usage, "the bundle is sealed for a key, and no `--identity` was given")
                .with_hint("give the file that `sealwright keygen identity` made, or an ssh-ed25519 private key")),
        }
    }
}

/// Whoever sits at the terminal answers an age plugin.
struct AtTerminal(Say);

impl Person for AtTerminal {
    fn tell(&self, message: &str) {
        self.0.note(visible(message));
    }

    fn ask(&self, question: &str) -> Option<String> {
        self.0.ask(&visible(question), "no").ok()
    }

    fn ask_secret(&self, question: &str) -> Option<SecretString> {
        Secret::Bundle.ask(question, &self.0).ok()
    }
}

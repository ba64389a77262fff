//! `sealwright keygen`: a vendor's signing key, or a customer's identity. Secrets go to files, never to a terminal.

use super::Answer;
use super::say::Say;
use super::secret::Secret;
use clap::Subcommand;
use sealwright::bundle::write_new_identity;
use sealwright::data::write_atomically;
use sealwright::error::{AtPath as _, Code, Error, Result};
use sealwright::sign::SigningKey;
use std::io::Write as _;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Subcommand)]
enum Kind {
    /// A signing key (P-256, PKCS#8 PEM, under a passphrase), and its public half beside it as NAME.pub.pem
    Vendor {
        /// Where to write the private key
        #[arg(long, value_name = "FILE", default_value = "vendor.pem")]
        out: PathBuf,
        /// A key for trying things out: `verify` says so of everything it signs
        #[arg(long)]
        development: bool,
    },
    /// A customer's identity (age, X25519); prints the recipient line to tell the vendor
    Identity {
        /// Where to write the identity
        #[arg(long, value_name = "FILE", default_value = "identity.txt")]
        out: PathBuf,
    },
}

pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    match &args.kind {
        Kind::Vendor { out, development } => vendor(out, *development, say),
        Kind::Identity { out } => identity(out, say),
    }
}

fn vendor(out: &Path, development: bool, say: &Say) -> Result<Answer> {
    let public_path = public_path(out);
    if public_path.symlink_metadata().is_ok() {
        return Err(Error::new(Code::Usage, format!("a file is there already: {}", public_path.display()))
            .with_hint("give another name"));
    }
    let passphrase = match development {
        true => None, // it protects nothing, and `build` makes one with nobody there
        false => Secret::Key.make("passphrase for the key (empty for none)", say)?,
    };
    let key = SigningKey::generate(development);
    key.write(out, passphrase.as_ref())?;
    let public = key.public();
    write_atomically(&public_path, |file| file.write_all(public.to_pem().as_bytes()).at(&public_path))?;
    if say.is_json() {
        say.json(
            &serde_json::json!({"key": out, "public": public_path, "keyid": public.id(), "development": development,
                "encrypted": passphrase.is_some()}),
        );
        return Ok(Answer::Yes);
    }
    say.data(&format!("{}\n", public_path.display()));
    say.note(format!("key id: {}\nkeep the private key to yourself: {}", public.id(), out.display()));
    if passphrase.is_none() && !development {
        say.note("no passphrase protects it: `openssl pkcs8 -topk8 -v2 aes-256-cbc` adds one");
    }
    say.note("give customers the public one by a way that they trust");
    Ok(Answer::Yes)
}

/// `vendor.pem` → `vendor.pub.pem`.
fn public_path(private: &Path) -> PathBuf {
    private.with_extension("pub.pem")
}

fn identity(out: &Path, say: &Say) -> Result<Answer> {
    let recipient = write_new_identity(out)?.to_string();
    if say.is_json() {
        say.json(&serde_json::json!({"identity": out, "recipient": recipient}));
        return Ok(Answer::Yes);
    }
    say.data(&format!("{recipient}\n"));
    say.note(format!("tell the vendor the line above; keep to yourself: {}", out.display()));
    Ok(Answer::Yes)
}

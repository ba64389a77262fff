//! Packing: papers, then the payload, then manifest and signature. FORMAT.md.
//!
//! The file has a temporary name until it is whole and on the disk. Memory is flat in the size of the derivative, which
//! is read, hashed and compressed once for all bundles that are made of it (`content.rs`).

use super::derivative::{self, Measured};
use super::entitlement::{Entitlement, salted};
use super::layout::{BLOCK, Head, Writer};
use super::manifest::{Entry, Manifest, Payload, ProductName, Vendor};
use super::plan::PackPlan;
use super::sealing;
use super::walk::{LICENSES, MANIFEST, PAYLOAD, SIGNATURE};
use super::{bom, limits, model_sig, notices, sign};
use crate::data;
use crate::digest::{Hasher, Sha256};
use crate::error::{AtPath, Code, Error, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// A bundle that was written.
#[derive(Debug)]
pub struct Packed {
    /// What was signed.
    pub manifest: Manifest,
    /// Its identity: the digest of the manifest.
    pub id: Sha256,
    /// Bytes of the file.
    pub size: u64,
}

/// Writes the bundle to `out`. There is no way here without a clearance: it alone makes the papers.
///
/// # Errors
/// `unmet-obligation`; `bad-input` for a file that changed meanwhile or recipients that don't go together; `too-large`
/// and `bad-bundle` for what no reader would take; `io`. Nothing stands under the name `out` then.
pub fn pack(plan: &PackPlan<'_>, out: &Path) -> Result<Packed> {
    let found = plan.content.found()?;
    found.demand(plan.active)?;
    let mut manifest = Manifest { active: found.kinds().collect(), ..draft(plan)? };
    let mut packed = None;
    data::write_atomically(out, |file| {
        packed = Some(write(plan, out, file, &mut manifest)?);
        Ok(())
    })?;
    let (id, size) = packed.expect("written above");
    Ok(Packed { manifest, id, size })
}

/// Everything but what is known after writing.
fn draft(plan: &PackPlan<'_>) -> Result<Manifest> {
    let issued = u64::try_from(plan.issued.as_second())
        .map_err(|_| Error::new(Code::BadInput, format!("a time before 1970: {}", plan.issued)))?;
    let key = plan.signer.public().id();
    let salt = recipient_salt(&key, &plan.product, plan.customer, issued);
    let mut recipients: Vec<_> = plan.recipients.iter().map(|r| salted(&salt, r)).collect();
    recipients.sort();
    recipients.dedup();
    let mut uses = plan.uses.to_vec();
    uses.sort();
    uses.dedup();
    let (from, until, customer) = (plan.from, plan.until, plan.customer.to_owned());
    let (machines, seats) = (plan.machines, plan.seats);
    Ok(Manifest {
        format: limits::format(),
        development: plan.signer.is_development(),
        vendor: Vendor { name: plan.vendor.to_owned(), key },
        product: plan.product.clone(),
        issued,
        serial: issued,
        bases: plan.bases.clone(),
        active: Vec::new(),
        recipe: plan.recipe.clone(),
        policy: plan.papers.policy,
        entitlement: Entitlement { customer, from, until, uses, machines, seats, salt, recipients },
        payload: Payload { size: 0, files: 0, header: Sha256::of("") },
        entries: Vec::new(),
    })
}

fn recipient_salt(key: &Sha256, product: &ProductName, customer: &str, serial: u64) -> Sha256 {
    let mut hasher = Hasher::default();
    hasher.update(b"sealwright/1 recipient salt\0");
    serde_json_canonicalizer::to_writer(&(key, &product.name, &product.version, customer, serial), &mut hasher)
        .expect("our own values serialise");
    hasher.finish()
}

type Paper = (Head, Vec<u8>);

/// The papers, in the order of the bundle.
fn papers(plan: &PackPlan<'_>, manifest: &Manifest, derivative: Sha256) -> Result<Vec<Paper>> {
    let mut papers: Vec<(String, Vec<u8>)> =
        plan.papers.texts.iter().map(|(name, text)| (format!("{LICENSES}{name}"), text.clone())).collect();
    papers.push(("MODEL_CARD.md".into(), notices::model_card(plan).into_bytes()));
    papers.push(("NOTICE".into(), notices::notice(plan).into_bytes()));
    papers.push(("bom.cdx.json".into(), bom::bom(plan, manifest, derivative)));
    papers.push(("report.json".into(), notices::report(plan.papers)));
    papers.sort();
    let mut names = super::layout::Names::default();
    for (name, text) in &papers {
        super::layout::check_name(name).and_then(|()| names.add(name))?;
        if text.len() as u64 > limits::MAX_PAPER_BYTES {
            return Err(Error::new(Code::TooLarge, format!("{name} is larger than {} bytes", limits::MAX_PAPER_BYTES)));
        }
    }
    plan.papers.check(&papers)?;
    if plan.papers.texts.is_empty() {
        return Err(Error::new(Code::UnmetObligation, "the clearance has no licence text to hand on"));
    }
    Ok(papers.into_iter().map(|(name, text)| (Head { name, size: text.len() as u64 }, text)).collect())
}

/// Writes the whole file; completes the manifest, and returns its digest and the file's size.
fn write(plan: &PackPlan<'_>, path: &Path, file: &mut File, manifest: &mut Manifest) -> Result<(Sha256, u64)> {
    let mut out = Writer::new(BufWriter::with_capacity(1 << 20, file));
    // the papers name the derivative's digest, which is known when the files have been read: any other is as long
    let room: u64 = papers(plan, manifest, Sha256::of(""))?.iter().map(|(head, _)| head.entry_bytes()).sum();
    out.inner().seek(SeekFrom::Start(room + BLOCK as u64)).at(path)?;
    let (papers, sealed) = seal(plan, manifest, |bytes| out.inner().write_all(bytes).at(path))?;
    let head = Head { name: PAYLOAD.into(), size: sealed.size };
    out.inner().write_all(&[0; BLOCK][..head.padding()]).at(path)?;
    out.inner().rewind().at(path)?;
    for (head, text) in &papers {
        out.entry(head, &text[..]).at(path)?;
    }
    if out.inner().stream_position().at(path)? != room {
        return Err(Error::new(Code::Io, "the papers are not as long as there was room for").with_hint("pack again"));
    }
    out.inner().write_all(&head.to_bytes()).at(path)?;
    out.inner().seek(SeekFrom::End(0)).at(path)?;
    manifest.entries.push(sealed);

    let bytes = manifest.to_bytes();
    Manifest::parse(&bytes)?; // what we would refuse to read is not written
    let signature = sign::sign(&bytes, plan.signer)?;
    for (name, data) in [(MANIFEST, &bytes), (SIGNATURE, &signature)] {
        out.entry(&Head { name: name.into(), size: data.len() as u64 }, &data[..]).at(path)?;
    }
    let mut out = out.finish().at(path)?;
    out.flush().at(path)?;
    Ok((Sha256::of(&bytes), out.stream_position().at(path)?))
}

/// Writes the payload. States it and the papers, which are made on the way, in the manifest.
fn seal(
    plan: &PackPlan<'_>,
    manifest: &mut Manifest,
    write: impl FnMut(&[u8]) -> Result<()>,
) -> Result<(Vec<Paper>, Entry)> {
    let (files, size) = plan.content.size();
    let (mut written, mut length) = (Vec::new(), 0);
    let entry = |(head, text): &Paper| Entry { name: head.name.clone(), size: head.size, sha256: Sha256::of(text) };
    let sealed = plan.content.pieces(|pieces| {
        let tail = |files: &[Measured]| {
            written = papers(plan, manifest, derivative::digest(files))?;
            manifest.entries = written.iter().map(entry).collect();
            let tail = tail(plan, manifest, files, &written)?;
            length = tail.len() as u64;
            Ok(tail)
        };
        sealing::seal(pieces, tail, plan.recipients, write)
    })?;
    manifest.payload = Payload { size: size + length, files: files + written.len() as u64 + 1, header: sealed.header };
    Ok((written, Entry { name: PAYLOAD.into(), size: sealed.size, sha256: sealed.sha256 }))
}

/// What follows the files in the payload's tar: the papers, which are the manifest's entries, `model.sig` and its end.
fn tail(plan: &PackPlan<'_>, manifest: &Manifest, files: &[Measured], papers: &[Paper]) -> Result<Vec<u8>> {
    let files = files.iter().map(|file| (file.name.clone(), file.sha256));
    let papers_too = manifest.entries.iter().map(|entry| (entry.name.clone(), entry.sha256));
    let digests: BTreeMap<String, Sha256> = files.chain(papers_too).collect();
    let signed = model_sig::sign(&manifest.subject(), &digests, plan.signer)?;
    let mut tail = Writer::new(Vec::new());
    for (head, text) in papers {
        tail.entry(head, &text[..]).expect("written to memory");
    }
    let head = Head { name: model_sig::NAME.into(), size: signed.len() as u64 };
    tail.entry(&head, &signed[..]).expect("written to memory");
    Ok(tail.finish().expect("written to memory"))
}

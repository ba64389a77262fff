//! Packing: papers, then the payload as one stream tar → zstd frames → age, then manifest and signature. FORMAT.md.
//!
//! The file has a temporary name until it is whole and on the disk. Memory is flat in the size of the derivative.

use super::active::Found;
use super::derivative::{self, Measured, SourceFile};
use super::entitlement::{Entitlement, salted};
use super::layout::{BLOCK, Head, Writer};
use super::manifest::{Entry, Manifest, Payload, ProductName, Vendor};
use super::plan::PackPlan;
use super::walk::{LICENSES, MANIFEST, PAYLOAD, SIGNATURE};
use super::{bom, frames, keys, limits, model_sig, notices, sign};
use crate::data;
use crate::digest::{Hasher, Hashing, Sha256};
use crate::error::{AtPath, Code, Error, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write};
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
pub fn pack(plan: &PackPlan<'_>, out: &Path) -> Result<Packed> {
    derivative::check(plan.files)?;
    let mut files = plan.files.iter().map(SourceFile::measure).collect::<Result<Vec<_>>>()?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let found = Found::in_files(plan.files)?;
    found.demand(plan.active)?;
    let mut manifest = Manifest { active: found.kinds().collect(), ..draft(plan)? };
    let papers = papers(plan, &manifest, derivative::digest(&files))?;
    let mut packed = None;
    data::write_atomically(out, |file| {
        packed = Some(write(file, plan, &papers, &files, &mut manifest).map_err(|e| match e {
            Failed::Ours(error) => error,
            Failed::Io(source) => Error::io(out, &source),
        })?);
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
        payload: Payload { size: 0, files: 0 },
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

type Paper = (String, Vec<u8>);

/// The papers, in the order of the bundle.
fn papers(plan: &PackPlan<'_>, manifest: &Manifest, derivative: Sha256) -> Result<Vec<Paper>> {
    let mut papers: Vec<Paper> =
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
    Ok(papers)
}

/// Why writing stopped.
enum Failed {
    Ours(Error),
    Io(io::Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Writes the whole file; completes the manifest, and returns its digest and the file's size.
fn write(
    file: &mut File,
    plan: &PackPlan<'_>,
    papers: &[Paper],
    files: &[Measured],
    manifest: &mut Manifest,
) -> Result<(Sha256, u64), Failed> {
    let mut out = Writer::new(BufWriter::with_capacity(1 << 20, file));
    for (name, text) in papers {
        let head = Head { name: name.clone(), size: text.len() as u64 };
        out.entry(&head, &text[..])?;
        manifest.entries.push(Entry { name: head.name, size: head.size, sha256: Sha256::of(text) });
    }
    let header_at = out.inner().stream_position()?;
    out.inner().write_all(&[0; BLOCK])?; // a file that was never finished ends here
    let sealed = seal(out.inner(), plan, papers, files, manifest)?;
    let head = Head { name: PAYLOAD.into(), size: sealed.size };
    out.inner().write_all(&[0; BLOCK][..head.padding()])?;
    out.inner().seek(SeekFrom::Start(header_at))?;
    out.inner().write_all(&head.to_bytes())?;
    out.inner().seek(SeekFrom::End(0))?;
    manifest.entries.push(sealed);

    let bytes = manifest.to_bytes();
    Manifest::parse(&bytes)?; // what we would refuse to read is not written
    let signature = sign::sign(&bytes, plan.signer)?;
    for (name, data) in [(MANIFEST, &bytes), (SIGNATURE, &signature)] {
        out.entry(&Head { name: name.into(), size: data.len() as u64 }, &data[..])?;
    }
    let mut out = out.finish()?;
    out.flush()?;
    Ok((Sha256::of(&bytes), out.stream_position()?))
}

/// Writes the payload; states its size and count in the manifest.
fn seal(
    out: &mut impl Write,
    plan: &PackPlan<'_>,
    papers: &[Paper],
    files: &[Measured],
    manifest: &mut Manifest,
) -> Result<Entry, Failed> {
    let encrypted = keys::encryptor(plan.recipients)?.wrap_output(Hashing::new(out))?;
    let mut tar = Writer::new(frames::Writer::new(encrypted)?);
    let digests = write_files(&mut tar, papers, files)?;
    let signed = model_sig::sign(&manifest.subject(), &digests, plan.signer)?;
    tar.entry(&Head { name: model_sig::NAME.into(), size: signed.len() as u64 }, &signed[..])?;
    let (encrypted, size) = tar.finish()?.finish()?;
    manifest.payload = Payload { size, files: digests.len() as u64 + 1 };
    let (_, sha256, size) = encrypted.finish()?.finish();
    Ok(Entry { name: PAYLOAD.into(), size, sha256 })
}

/// Derivative and papers, merged in the order of their names; returns their digests.
fn write_files<W: Write>(
    tar: &mut Writer<W>,
    papers: &[Paper],
    files: &[Measured],
) -> Result<BTreeMap<String, Sha256>, Failed> {
    let mut digests = BTreeMap::new();
    let mut files = files.iter().peekable();
    let mut papers = papers.iter().peekable();
    loop {
        let file_first = match (files.peek(), papers.peek()) {
            (None, None) => return Ok(digests),
            (Some(file), Some(paper)) => file.name < paper.0,
            (file, _) => file.is_some(),
        };
        if let Some(file) = files.next_if(|_| file_first) {
            let head = Head { name: file.name.clone(), size: file.size };
            let mut data = Hashing::new(File::open(&file.path).at(&file.path)?);
            tar.entry(&head, &mut data)?;
            if data.finish().1 != file.sha256 {
                return Err(Error::input(&file.path, "it changed while it was packed").with_hint("pack again").into());
            }
            digests.insert(head.name, file.sha256);
        } else if let Some((name, text)) = papers.next() {
            tar.entry(&Head { name: name.clone(), size: text.len() as u64 }, &text[..])?;
            digests.insert(name.clone(), Sha256::of(text));
        }
    }
}

//! Base and adapter as one: each adapted matrix W becomes W + scale · B · A, reckoned in f32 from the original shards.
//!
//! A merged shard has its original's header and layout: only the numbers of adapted matrices differ, rounded once, to
//! the nearest, into the type that they had.

use super::peft::{Adapter, Module};
use crate::base::family::{Family, Matrices};
use crate::base::weights::Weights;
use crate::base::{Base, Dtype, Files, TensorHeader};
use crate::error::{AtPath, Code, Error, Result};
use half::{bf16, f16};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Where a product's own merged weights lie, in its state folder.
pub const MERGED: &str = "merged";

/// Files of the base that go along: what a loader reads besides the weights.
const ALONG: [&str; 5] = ["json", "txt", "model", "jinja", "tiktoken"];

/// Writes the merged model into the new folder `out`, which has its name only when it is whole.
///
/// `on_bytes` hears how many bytes of weights were written, of how many.
pub fn merge(base: &Base, adapter: &Adapter, out: &Path, on_bytes: &mut dyn FnMut(u64, u64)) -> Result<()> {
    if out.symlink_metadata().is_ok() {
        return Err(Error::new(Code::Usage, format!("something is there already: {}", out.display()))
            .with_hint("name a folder that does not exist yet"));
    }
    if let Files::Gguf(gguf) = base.files()? {
        let message = format!("a GGUF is not merged into: {}", gguf.path.display());
        return Err(Error::new(Code::UnsupportedBase, message).with_hint(
            "merge with base.path at the original weights, which the adapter fits too: rounding twice changes what was \
             learnt",
        ));
    }
    let modules = Modules::of(base, adapter)?;
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let work = tempfile::Builder::new().prefix(".merge-").tempdir_in(parent).at(parent)?;
    let weights = Weights::map(base)?;
    let total = base.headers.tensors.iter().map(|t| t.end - t.start).sum();
    let mut done = 0;
    for (n, file) in base.headers.files.iter().enumerate() {
        let name = file.file_name().ok_or_else(|| Error::input(file, "a weight file without a name"))?;
        let shard = Shard { base, weights: &weights, file: n };
        shard.write(&work.path().join(name), &modules, &mut |bytes| {
            done += bytes;
            on_bytes(done, total);
        })?;
    }
    copy_along(base, work.path())?;
    write_card(base, work.path())?;
    crate::data::sync_folder(work.path())?;
    let work = work.keep();
    std::fs::rename(&work, out).at(out)?;
    crate::data::sync_folder(parent)
}

/// The adapted matrices by the names of their tensors.
struct Modules<'a> {
    by_tensor: BTreeMap<String, &'a Module>,
    /// Does the checkpoint have them as `[in, out]`?
    turned: bool,
    rank: usize,
    scale: f32,
}

impl<'a> Modules<'a> {
    fn of(base: &Base, adapter: &'a Adapter) -> Result<Self> {
        let (family, rank) = (Family::of(&base.config)?, adapter.recipe.rank);
        let turned = family.switches.matrices == Matrices::InOut;
        let mut by_tensor = BTreeMap::new();
        for module in &adapter.modules {
            let long = format!("{}.weight", module.name);
            let short = long.strip_prefix(&family.weights.prefix).unwrap_or(&long);
            let found = base.headers.get(&long).or_else(|| base.headers.get(short));
            let header = found.ok_or_else(|| {
                Error::new(Code::BadInput, format!("the adapter's {} is not a matrix of this base", module.name))
                    .with_hint("merge with the base that the adapter was trained on")
            })?;
            let wanted = if turned { [module.inputs, module.outputs] } else { [module.outputs, module.inputs] };
            if header.shape != wanted {
                let message = format!("the adapter's {}: {wanted:?}, the base has {:?}", module.name, header.shape);
                return Err(Error::new(Code::BadInput, message)
                    .with_hint("merge with the base that the adapter was trained on"));
            }
            if !matches!(header.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
                let message = format!("tensor {} is quantised: its numbers are {}", header.name, header.dtype);
                return Err(Error::new(Code::UnsupportedBase, message)
                    .with_hint("merge into the original weights: rounding twice changes what was learnt"));
            }
            by_tensor.insert(header.name.clone(), module);
        }
        Ok(Self { by_tensor, turned, rank, scale: adapter.recipe.plain_alpha() / rank as f32 })
    }
}

/// One weight file on its way into the merged folder.
struct Shard<'a> {
    base: &'a Base,
    weights: &'a Weights,
    file: usize,
}

impl Shard<'_> {
    fn write(&self, out: &Path, modules: &Modules<'_>, on_bytes: &mut dyn FnMut(u64)) -> Result<()> {
        let mut tensors: Vec<&TensorHeader> =
            self.base.headers.tensors.iter().filter(|t| t.file == self.file && t.end > t.start).collect();
        tensors.sort_by_key(|t| t.start);
        let file = File::create_new(out).at(out)?;
        let mut writer = BufWriter::with_capacity(1 << 20, &file);
        let whole = self.weights.file(self.file);
        let mut at = 0;
        for tensor in tensors {
            let (start, end) = (tensor.start as usize, tensor.end as usize);
            // the header, or a gap that somebody's writer left
            writer.write_all(&whole[at..start.max(at)]).at(out)?;
            match modules.by_tensor.get(&tensor.name) {
                None => writer.write_all(&whole[start.max(at)..end]).at(out)?,
                Some(module) => writer.write_all(&merged(&whole[start..end], tensor, module, modules)).at(out)?,
            }
            at = end;
            on_bytes(tensor.end - tensor.start);
        }
        writer.write_all(&whole[at..]).at(out)?;
        writer.flush().at(out)?;
        drop(writer);
        file.sync_all().at(out)
    }
}

/// The bytes of W + scale · B · A in the type of W.
fn merged(bytes: &[u8], tensor: &TensorHeader, module: &Module, modules: &Modules<'_>) -> Vec<u8> {
    let rows = if modules.turned { module.inputs } else { module.outputs };
    let row_bytes = bytes.len() / rows;
    let mut out = bytes.to_vec();
    out.par_chunks_mut(row_bytes).enumerate().for_each(|(row, bytes)| {
        let update = update(module, row, modules);
        match tensor.dtype {
            Dtype::F32 => add(bytes, &update, f32::from_le_bytes, |x| x.to_le_bytes()),
            Dtype::F16 => add(bytes, &update, |b| f16::from_le_bytes(b).to_f32(), |x| f16::from_f32(x).to_le_bytes()),
            _ => add(bytes, &update, |b| bf16::from_le_bytes(b).to_f32(), |x| bf16::from_f32(x).to_le_bytes()),
        }
    });
    out
}

/// One row of scale · B · A, or one of its columns where the checkpoint has that as a row.
fn update(module: &Module, row: usize, modules: &Modules<'_>) -> Vec<f32> {
    if modules.turned {
        let a = |r: usize| modules.scale * module.a[r * module.inputs + row];
        let of = |b: &[f32]| b.iter().enumerate().map(|(r, b)| a(r) * b).sum();
        return module.b.chunks(modules.rank).map(of).collect();
    }
    let mut update = vec![0.0; module.inputs];
    let b = &module.b[row * modules.rank..][..modules.rank];
    for (a, b) in module.a.chunks(module.inputs).zip(b) {
        let factor = modules.scale * b;
        update.iter_mut().zip(a).for_each(|(u, a)| *u += factor * a);
    }
    update
}

fn add<const N: usize>(
    bytes: &mut [u8],
    update: &[f32],
    read: impl Fn([u8; N]) -> f32,
    write: impl Fn(f32) -> [u8; N],
) {
    let (numbers, _) = bytes.as_chunks_mut::<N>();
    numbers.iter_mut().zip(update).for_each(|(number, u)| *number = write(read(*number) + u));
}

fn copy_along(base: &Base, out: &Path) -> Result<()> {
    for entry in std::fs::read_dir(&base.folder).at(&base.folder)? {
        let path = entry.at(&base.folder)?.path();
        let wanted = path.extension().is_some_and(|e| ALONG.iter().any(|along| e == *along));
        let is_adapter = path.file_name().is_some_and(|n| n == super::CONFIG_FILE);
        if let Some(name) = path.file_name().filter(|_| wanted && !is_adapter && path.is_file()) {
            std::fs::copy(&path, out.join(name)).at(&path)?;
        }
    }
    Ok(())
}

/// Whose child it is, where a pre-flight looks.
fn write_card(base: &Base, out: &Path) -> Result<()> {
    let Some(name) = base.hub_name() else { return Ok(()) };
    let path = out.join("README.md");
    std::fs::write(&path, format!("---\nbase_model: {name}\nbase_model_relation: finetune\n---\n")).at(&path)
}

//! `sealwright probe`: logits, loss and adapter gradients of given token ids, to hold the engine against another.

use super::Answer;
use super::say::Say;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use sealwright::adapter;
use sealwright::base::Base;
use sealwright::data;
use sealwright::error::{AtPath as _, Error, Result};
use sealwright::model::{Batch, Keep, Lora, Model};
use sealwright::train::lora;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// What the command line says.
#[derive(clap::Args)]
pub struct Args {
    /// The base: a folder in the Hugging Face layout
    #[arg(long, value_name = "DIR")]
    base: PathBuf,
    /// An adapter: a folder in the PEFT layout
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// safetensors with input_ids, attention_mask and labels, int64 [rows, positions]
    #[arg(long, value_name = "FILE")]
    inputs: PathBuf,
    /// The safetensors to write: base_logits, base_loss, adapter_logits, adapter_loss, grad.<adapter tensor>
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// The inputs may not be larger than this.
const MAX_INPUT_BYTES: u64 = 1 << 28;
/// A label that bears no loss.
const IGNORED: i64 = -100;

/// Runs the network over the inputs, with the adapter and without.
pub fn run(args: &Args, say: &Say) -> Result<Answer> {
    let inputs = Inputs::read(&args.inputs)?;
    let model = Model::load(&Base::open(&args.base)?, None)?;
    let batch = inputs.batch();
    model.accepts(&batch)?;
    let mut results = Results::new(&inputs, model.shape().vocab);
    let mut work = model.workspace(Keep::All);
    results.push_logits("base_logits", &model.logits(None, &batch));
    results.push_loss("base_loss", model.loss(None, &batch, &mut work), &batch);
    if let Some(folder) = &args.adapter {
        let lora = lora::from_adapter(&model, &adapter::read(folder)?)?;
        let mut grad = vec![0.0; lora.values.len()];
        results.push_logits("adapter_logits", &model.logits(Some(&lora), &batch));
        results.push_loss("adapter_loss", model.train_step(&lora, &batch, &mut grad, &mut work), &batch);
        results.push_gradients(&lora, &grad, &batch);
    }
    results.write(&args.out)?;
    say.note(format!("{} tokens of {} documents: {}", batch.tokens.len(), inputs.rows, args.out.display()));
    Ok(Answer::Yes)
}

/// [rows, positions] of ids, mask and labels.
struct Inputs {
    rows: usize,
    positions: usize,
    ids: Vec<i64>,
    mask: Vec<i64>,
    labels: Vec<i64>,
}

impl Inputs {
    fn read(path: &Path) -> Result<Self> {
        let bytes = data::read_bytes(path, MAX_INPUT_BYTES)?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| Error::input(path, e))?;
        let (shape, ids) = integers(path, &tensors, "input_ids")?;
        let [rows, positions] = shape[..] else {
            return Err(Error::input(path, format!("input_ids has the shape {shape:?}, not [rows, positions]")));
        };
        let same = |name: &str| match integers(path, &tensors, name)? {
            (other, values) if other == shape => Ok(values),
            (other, _) => Err(Error::input(path, format!("{name} has the shape {other:?}, input_ids {shape:?}"))),
        };
        let (mask, labels) = (same("attention_mask")?, same("labels")?);
        let inputs = Self { rows, positions, ids, mask, labels };
        inputs.check(path)?;
        Ok(inputs)
    }

    fn check(&self, path: &Path) -> Result<()> {
        let holes = |row: &[i64]| row.windows(2).filter(|w| w[0] == 0 && w[1] != 0).count() > usize::from(row[0] == 0);
        if let Some(row) = self.mask.chunks(self.positions.max(1)).position(holes) {
            return Err(Error::input(path, format!("attention_mask has a hole in row {row}")));
        }
        match self.ids.iter().chain(&self.labels).find(|id| **id != IGNORED && u32::try_from(**id).is_err()) {
            Some(id) => Err(Error::input(path, format!("not a token id: {id}"))),
            None => Ok(()),
        }
    }

    /// The places of what the mask lets through, a row each.
    fn places(&self) -> impl Iterator<Item = Vec<usize>> + '_ {
        let row = |row: usize| row * self.positions..(row + 1) * self.positions;
        (0..self.rows).map(move |r| row(r).filter(|at| self.mask[*at] != 0).collect())
    }

    /// A document a row, without what the mask hides; each position predicts the label of the next.
    fn batch(&self) -> Batch {
        let mut batch = Batch { bounds: vec![0], ..Batch::default() };
        for places in self.places().filter(|p| !p.is_empty()) {
            let next = places.iter().skip(1).map(|at| self.labels[*at]).chain([IGNORED]);
            for (at, label) in places.iter().zip(next) {
                batch.tokens.push(self.ids[*at] as u32);
                batch.targets.push(label.max(0) as u32);
                batch.loss.push(label != IGNORED);
            }
            batch.bounds.push(batch.tokens.len());
        }
        batch
    }
}

fn integers(path: &Path, tensors: &SafeTensors<'_>, name: &str) -> Result<(Vec<usize>, Vec<i64>)> {
    let view = tensors.tensor(name).map_err(|e| Error::input(path, format!("{name}: {e}")))?;
    if view.dtype() != Dtype::I64 {
        return Err(Error::input(path, format!("{name} is of type {:?}, not I64", view.dtype())));
    }
    let values = view.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect();
    Ok((view.shape().to_vec(), values))
}

/// Named tensors to write.
struct Results<'a> {
    inputs: &'a Inputs,
    vocab: usize,
    tensors: Vec<(String, Vec<usize>, Vec<u8>)>,
}

impl<'a> Results<'a> {
    fn new(inputs: &'a Inputs, vocab: usize) -> Self {
        Self { inputs, vocab, tensors: Vec::new() }
    }

    fn push(&mut self, name: impl Into<String>, shape: Vec<usize>, values: &[f32]) {
        self.tensors.push((name.into(), shape, values.iter().flat_map(|x| x.to_le_bytes()).collect()));
    }

    /// `[T, V]` back to [rows, positions, V]; zero where the mask hides.
    fn push_logits(&mut self, name: &str, logits: &[f32]) {
        let (rows, positions, vocab) = (self.inputs.rows, self.inputs.positions, self.vocab);
        let mut padded = vec![0.0; rows * positions * vocab];
        for (at, row) in self.inputs.places().flatten().zip(logits.chunks(vocab)) {
            padded[at * vocab..][..vocab].copy_from_slice(row);
        }
        self.push(name, vec![rows, positions, vocab], &padded);
    }

    /// The mean over the tokens that bear loss.
    fn push_loss(&mut self, name: &str, sum: f64, batch: &Batch) {
        self.push(name, vec![1], &[(sum / loss_tokens(batch)) as f32]);
    }

    /// The gradients of that mean, under the names of PEFT's files.
    fn push_gradients(&mut self, lora: &Lora, grad: &[f32], batch: &Batch) {
        let mean = |range: &std::ops::Range<usize>| -> Vec<f32> {
            grad[range.clone()].iter().map(|g| (f64::from(*g) / loss_tokens(batch)) as f32).collect()
        };
        for m in &lora.modules {
            let name = |half: &str| format!("grad.base_model.model.{}.{half}.weight", m.name);
            self.push(name("lora_A"), vec![lora.rank, m.inputs], &mean(&m.a));
            self.push(name("lora_B"), vec![m.outputs, lora.rank], &mean(&m.b));
        }
    }

    fn write(&self, path: &Path) -> Result<()> {
        let views = self.tensors.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("bytes made from the shape");
            (name, view)
        });
        let bytes = serialize(views, None).map_err(|e| Error::input(path, e))?;
        data::write_atomically(path, |file| file.write_all(&bytes).at(path))
    }
}

fn loss_tokens(batch: &Batch) -> f64 {
    batch.loss.iter().filter(|loss| **loss).count() as f64
}

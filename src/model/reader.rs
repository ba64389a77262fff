//! Tensors of the mapped checkpoint by the names of the data, brought into one layout; what is missing, misshapen or left
//! over is an error. Nothing is copied but what lies another way round, and that in the format of the file.

use super::Shape;
use super::linear::{Linear, Part};
use super::quantize::Quantize;
use crate::base::Base;
use crate::base::family::{self, Family, Gain, Matrices};
use crate::base::weights::{Encoding, Weights};
use crate::error::{Code, Error, Result};
use crate::kernels::{Bytes, Format, Frozen, blocks};
use memmap2::Mmap;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// What a normalised row is multiplied by, and what is added then.
pub(super) struct Norm {
    /// `[width]`
    pub gain: Vec<f32>,
    /// `[width]`
    pub bias: Option<Vec<f32>>,
}

/// Projections that share an input, before they are one [`Linear`].
pub(super) struct Projected<'a> {
    pub names: &'a [String],
    pub inputs: usize,
    /// Outputs of each, also where one tensor holds all.
    pub rows: &'a [usize],
    pub bias: bool,
    /// Where the outputs of the one tensor go, if not in their order; see `SharedQkv`.
    pub order: Option<Vec<Range<usize>>>,
}

/// Reads one base.
pub(super) struct Reader<'a> {
    pub base: &'a Base,
    pub family: &'a Family,
    pub shape: &'a Shape,
    quantize: Option<Quantize>,
    weights: Weights,
    read: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    /// Maps the weights.
    pub fn new(base: &'a Base, family: &'a Family, shape: &'a Shape, quantize: Option<Quantize>) -> Result<Self> {
        let weights = Weights::map(base)?;
        if quantize.is_some() && weights.tensors.is_gguf {
            let message = format!("{}: a GGUF is trained on as it lies", weights.tensors.files[0].display());
            return Err(Error::new(Code::Usage, message).with_hint("leave base.quantize out, or take another GGUF"));
        }
        Ok(Self { base, family, shape, quantize, weights, read: BTreeSet::new() })
    }

    /// Projections of one input as one matrix, their rows one after the other: a tensor each, or one for all.
    pub fn linear(&mut self, of: Projected<'_>, layer: usize) -> Result<Linear> {
        let whole = [of.rows.iter().sum()];
        let rows = if of.names.len() == 1 { &whole } else { of.rows };
        let (mut weights, mut biases, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        let mut outputs = 0;
        for (name, rows) in of.names.iter().zip(rows) {
            let name = family::at_layer(name, layer);
            weights.extend(self.matrix(&format!("{name}.weight"), *rows, of.inputs, of.order.as_deref())?);
            if of.bias {
                biases.extend(self.tensor(&format!("{name}.bias"), &[*rows])?);
            }
            let columns = outputs..outputs + rows;
            parts.push(Part { name, pieces: of.order.clone().unwrap_or_else(|| vec![columns]) });
            outputs += rows;
        }
        if let Some(order) = of.order.as_ref().filter(|_| of.bias) {
            biases = sources(order)
                .into_iter()
                .flat_map(|(from, piece)| biases[from..from + piece.len()].to_vec())
                .collect();
        }
        if let Some(quantize) = self.quantize {
            weights = weights.iter().map(|matrix| quantize.matrix(matrix)).collect();
            of.names.iter().for_each(|name| self.release(&format!("{}.weight", family::at_layer(name, layer))));
        }
        let (weight, bias) = (Frozen::stack(weights), of.bias.then_some(biases));
        Ok(Linear { inputs: of.inputs, outputs, weight, multiplier: 1.0, bias, parts })
    }

    /// What was copied is not held a second time.
    fn release(&self, name: &str) {
        if let Some(tensor) = self.weights.tensors.get(self.called(name)) {
            self.weights.release(tensor);
        }
    }

    pub fn single(&mut self, name: &String, layer: usize, [inputs, rows]: [usize; 2], bias: bool) -> Result<Linear> {
        let names = std::slice::from_ref(name);
        self.linear(Projected { names, inputs, rows: &[rows], bias, order: None }, layer)
    }

    /// A layer's experts out of one tensor `[experts, in, out]` and its `…_bias`, their outputs in this order.
    pub fn stacked(&mut self, name: &str, layer: usize, shape: [usize; 3], order: &[usize]) -> Result<Vec<Linear>> {
        let ([experts, inputs, outputs], name) = (shape, family::at_layer(name, layer));
        let stored = self.stored(&name, &shape)?;
        let biases = self.tensor(&format!("{name}_bias"), &[experts, outputs])?;
        let of_one = |(expert, bias): (usize, &[f32])| Linear {
            inputs,
            outputs,
            weight: stored.gather(outputs, inputs, |out, i| (expert * inputs + i) * outputs + order[out]),
            multiplier: 1.0,
            bias: Some(order.iter().map(|out| bias[*out]).collect()),
            parts: Vec::new(),
        };
        Ok(biases.chunks(outputs).enumerate().map(of_one).collect())
    }

    /// A projection's matrix `[rows, columns]`, whichever way the checkpoint has it: in one piece, or in those of `order`.
    fn matrix(&mut self, name: &str, rows: usize, cols: usize, order: Option<&[Range<usize>]>) -> Result<Vec<Frozen>> {
        let matrices = if self.weights.tensors.is_gguf { Matrices::OutIn } else { self.family.switches.matrices };
        match (matrices, order) {
            (Matrices::InOut, _) => {
                let stored = self.stored(name, &[cols, rows])?;
                let matrix = stored.gather(rows, cols, |row, col| col * rows + row);
                self.release(name);
                Ok(vec![matrix])
            }
            (Matrices::OutIn, None) => Ok(vec![self.table(name, rows, cols)?]),
            (Matrices::OutIn, Some(order)) => {
                let stored = self.stored(name, &[rows, cols])?;
                Ok(sources(order)
                    .into_iter()
                    .map(|(from, piece)| stored.rows(from..from + piece.len(), cols))
                    .collect())
            }
        }
    }

    /// A matrix as it lies.
    pub fn table(&mut self, name: &str, rows: usize, cols: usize) -> Result<Frozen> {
        let stored = self.stored(name, &[rows, cols])?;
        let matrix = stored.rows(0..rows, cols);
        if stored.turned.is_some() {
            self.release(name);
        }
        Ok(matrix)
    }

    /// A tensor of a layer, where the data names it and the layer has it.
    pub fn at_layer(&mut self, name: &Option<String>, layer: usize, shape: &[usize]) -> Result<Option<Vec<f32>>> {
        let name = name.as_ref().filter(|name| layer > 0 || !name.contains("{before}"));
        name.map(|name| self.tensor(&family::at_layer(name, layer), shape)).transpose()
    }

    pub fn layer_norm(&mut self, name: &Option<String>, layer: usize) -> Result<Option<Norm>> {
        let name = name.as_ref().filter(|name| layer > 0 || !name.contains("{before}"));
        name.map(|name| self.norm(&family::at_layer(name, layer), self.shape.hidden)).transpose()
    }

    pub fn norm(&mut self, name: &str, width: usize) -> Result<Norm> {
        let bias = match self.shape.biases.norms {
            false => None,
            true => Some(self.tensor(&name.replace(".weight", ".bias"), &[width])?),
        };
        let weight = self.tensor(name, &[width])?;
        Ok(Norm { gain: self.gain(weight), bias })
    }

    pub fn gain(&self, mut weight: Vec<f32>) -> Vec<f32> {
        if self.family.switches.gain == Gain::OnePlusWeight && !self.weights.tensors.is_gguf {
            weight.iter_mut().for_each(|g| *g += 1.0);
        }
        weight
    }

    /// What the checkpoint calls a tensor of the data: without the prefix where it leaves that out.
    fn called<'n>(&self, name: &'n str) -> &'n str {
        let short = name.strip_prefix(&self.family.weights.prefix).unwrap_or(name);
        let tensors = &self.weights.tensors;
        if tensors.get(name).is_none() && tensors.get(short).is_some() { short } else { name }
    }

    /// The numbers of a small tensor.
    pub fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let mut values = vec![0.0; shape.iter().product()];
        let stored = self.stored(name, shape)?;
        Stored { turned: None, ..stored.clone() }.rows(0..1, values.len()).read(0, &mut values);
        Ok(match stored.turned {
            None => values,
            Some(dim) => (0..values.len()).map(|row| values[turned_row(row, dim)]).collect(),
        })
    }

    fn stored(&mut self, name: &str, shape: &[usize]) -> Result<Stored> {
        let name = self.called(name);
        let (tensor, map) = self.weights.get(name)?;
        let wrong = |what: String| {
            let file = self.weights.tensors.files[tensor.file].display();
            Error::new(Code::UnsupportedBase, format!("{file}: tensor {name} cannot be read: its numbers are {what}"))
        };
        if tensor.shape != shape {
            return Err(Error::input(
                &self.weights.tensors.files[tensor.file],
                format!("tensor {name} has the shape {:?}, the config says {shape:?}", tensor.shape),
            ));
        }
        match tensor.encoding {
            Encoding::Other(dtype) => {
                return Err(wrong(dtype.to_string()).with_hint("the engine reads F32, F16 and BF16"));
            }
            Encoding::Blocks(kind) if blocks(kind.name).is_none() => {
                return Err(wrong(kind.name.to_owned())
                    .with_hint("the engine reads F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K to Q6_K"));
            }
            _ => {}
        }
        let turned = tensor.turned.then_some(self.shape.heads.dim);
        let stored = Stored { map, range: tensor.bytes.clone(), encoding: tensor.encoding, turned };
        self.read.insert(name.to_owned());
        Ok(stored)
    }

    /// A tensor that nothing read would mean another network than this one.
    pub fn nothing_left(&self, head: &str) -> Result<()> {
        let ignored = &self.family.weights.ignored;
        let known = |name: &str| {
            name == head
                || name.ends_with("rotary_emb.inv_freq")
                || ignored.iter().any(|end| name.ends_with(end))
                || self.read.contains(name)
        };
        match self.weights.tensors.list.iter().find(|t| !known(&t.name)) {
            None => Ok(()),
            Some(tensor) => Err(Error::new(
                Code::UnsupportedBase,
                format!("{}: the engine has no use for tensor {}", self.base.folder.display(), tensor.name),
            )
            .with_hint("config.json and weights may belong to different models")),
        }
    }
}

impl Norm {
    pub fn multiply(&mut self, factor: f32) {
        multiply(&mut self.gain, factor);
        self.bias.iter_mut().for_each(|bias| multiply(bias, factor));
    }
}

/// Every value times the factor.
pub(super) fn multiply(values: &mut [f32], factor: f32) {
    if factor != 1.0 {
        values.iter_mut().for_each(|x| *x *= factor);
    }
}

/// Where a checkpoint's rows lie for each piece of our order, first to last: its first row there, and the piece.
fn sources(order: &[Range<usize>]) -> Vec<(usize, Range<usize>)> {
    let mut from = 0;
    let mut sources: Vec<(usize, Range<usize>)> = order
        .iter()
        .map(|piece| {
            from += piece.len();
            (from - piece.len(), piece.clone())
        })
        .collect();
    sources.sort_by_key(|(_, piece)| piece.start);
    sources
}

/// Where a file whose rows are turned holds row `row` of heads of `dim`: i and i + D/2 lie there at 2i and 2i + 1.
fn turned_row(row: usize, dim: usize) -> usize {
    let (head, at, half) = (row / dim, row % dim, dim / 2);
    head * dim + 2 * (at % half) + at / half
}

/// A tensor in its mapped file.
#[derive(Clone)]
struct Stored {
    map: Arc<Mmap>,
    range: Range<usize>,
    encoding: Encoding,
    /// D, where its rows are turned.
    turned: Option<usize>,
}

/// Why bytes and shape agree: the headers' readers check it of every tensor.
const LIES: &str = "a header's bytes are as many as its shape says";

impl Stored {
    /// These rows of `cols` numbers: as they lie, or copied in the same format where they lie in another order.
    fn rows(&self, rows: Range<usize>, cols: usize) -> Frozen {
        let width = self.encoding.row(cols);
        let bytes = match self.turned {
            None => {
                let at = |row: usize| self.range.start + row * width;
                Bytes::new(self.map.clone(), at(rows.start)..at(rows.end)).expect(LIES)
            }
            Some(dim) => {
                let all = &self.map[self.range.clone()];
                let row = |row| &all[turned_row(row, dim) * width..][..width];
                owned(rows.clone().flat_map(row).copied().collect())
            }
        };
        Frozen::new(rows.len(), cols, format(self.encoding, bytes)).expect(LIES)
    }

    /// A copy in the same format whose number at (row, column) is the tensor's number `of(row, column)`; of no blocks.
    fn gather(&self, rows: usize, cols: usize, of: impl Fn(usize, usize) -> usize) -> Frozen {
        let (bytes, size) = (&self.map[self.range.clone()], self.encoding.row(1));
        let mut copy = Vec::with_capacity(rows * cols * size);
        for row in 0..rows {
            (0..cols).for_each(|col| copy.extend_from_slice(&bytes[of(row, col) * size..][..size]));
        }
        let format = match self.encoding {
            Encoding::F32 => Format::Own(copy.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
            encoding => format(encoding, owned(copy)),
        };
        Frozen::new(rows, cols, format).expect("rows times columns")
    }
}

fn owned(copy: Vec<u8>) -> Bytes {
    let length = copy.len();
    Bytes::new(Arc::new(copy), 0..length).expect("all of it")
}

fn format(encoding: Encoding, bytes: Bytes) -> Format {
    match encoding {
        Encoding::F32 => Format::F32(bytes),
        Encoding::F16 => Format::F16(bytes),
        Encoding::Bf16 => Format::Bf16(bytes),
        Encoding::Blocks(kind) => Format::Ggml(blocks(kind.name).expect("`stored` refuses others"), bytes),
        Encoding::Other(_) => unreachable!("`stored` refuses others"),
    }
}

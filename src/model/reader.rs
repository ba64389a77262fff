//! Tensors of the mapped checkpoint by the names of the data, brought into one layout; what is missing, misshapen or left
//! over is an error. Nothing is copied but what lies another way round, and that in the format of the file.

use super::Shape;
use super::linear::{Linear, Part};
use super::quantize::Quantize;
use crate::base::family::{self, Family, Gain, Matrices};
use crate::base::weights::Weights;
use crate::base::{Base, Dtype};
use crate::error::{Code, Error, Result};
use crate::kernels::{Bytes, Format, Frozen};
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
    weights: Weights<'a>,
    read: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    /// Maps the weights.
    pub fn new(base: &'a Base, family: &'a Family, shape: &'a Shape, quantize: Option<Quantize>) -> Result<Self> {
        Ok(Self { base, family, shape, quantize, weights: Weights::map(base)?, read: BTreeSet::new() })
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
        }
        let (weight, bias) = (Frozen::stack(weights), of.bias.then_some(biases));
        Ok(Linear { inputs: of.inputs, outputs, weight, multiplier: 1.0, bias, parts })
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
        match (self.family.switches.matrices, order) {
            (Matrices::InOut, _) => {
                let stored = self.stored(name, &[cols, rows])?;
                Ok(vec![stored.gather(rows, cols, |row, col| col * rows + row)])
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
        Ok(self.stored(name, &[rows, cols])?.rows(0..rows, cols))
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
        if self.family.switches.gain == Gain::OnePlusWeight {
            weight.iter_mut().for_each(|g| *g += 1.0);
        }
        weight
    }

    /// What the checkpoint calls a tensor of the data: without the prefix where it leaves that out.
    fn called<'n>(&self, name: &'n str) -> &'n str {
        let short = name.strip_prefix(&self.family.weights.prefix).unwrap_or(name);
        if self.base.headers.get(name).is_none() && self.base.headers.get(short).is_some() { short } else { name }
    }

    /// The numbers of a small tensor.
    pub fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let mut values = vec![0.0; shape.iter().product()];
        self.stored(name, shape)?.rows(0..1, values.len()).read(0, &mut values);
        Ok(values)
    }

    fn stored(&mut self, name: &str, shape: &[usize]) -> Result<Stored> {
        let name = self.called(name);
        let (header, map, range) = self.weights.get(name)?;
        if header.shape != shape {
            return Err(Error::input(
                &self.base.headers.files[header.file],
                format!("tensor {name} has the shape {:?}, the config says {shape:?}", header.shape),
            ));
        }
        let kind = match header.dtype {
            Dtype::F32 => Kind::F32,
            Dtype::F16 => Kind::F16,
            Dtype::BF16 => Kind::Bf16,
            other => {
                let message = format!("tensor {name} cannot be read: its numbers are {other}");
                return Err(Error::new(Code::UnsupportedBase, message).with_hint("the engine reads F32, F16 and BF16"));
            }
        };
        self.read.insert(name.to_owned());
        Ok(Stored { map, range, kind })
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
        match self.base.headers.tensors.iter().find(|t| !known(&t.name)) {
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

#[derive(Clone, Copy)]
enum Kind {
    F32,
    F16,
    Bf16,
}

impl Kind {
    fn bytes(self) -> usize {
        if matches!(self, Self::F32) { 4 } else { 2 }
    }

    fn format(self, bytes: Bytes) -> Format {
        match self {
            Self::F32 => Format::F32(bytes),
            Self::F16 => Format::F16(bytes),
            Self::Bf16 => Format::Bf16(bytes),
        }
    }
}

/// A tensor in its mapped file.
struct Stored {
    map: Arc<Mmap>,
    range: Range<usize>,
    kind: Kind,
}

/// Why bytes and shape agree: [`crate::base::Headers`] checks it of every tensor.
const LIES: &str = "a header's bytes are as many as its shape says";

impl Stored {
    /// These rows of `cols` numbers, as they lie.
    fn rows(&self, rows: Range<usize>, cols: usize) -> Frozen {
        let at = |row: usize| self.range.start + row * cols * self.kind.bytes();
        let bytes = Bytes::new(self.map.clone(), at(rows.start)..at(rows.end)).expect(LIES);
        Frozen::new(rows.len(), cols, self.kind.format(bytes)).expect(LIES)
    }

    /// A copy in the same format whose number at (row, column) is the tensor's number `of(row, column)`.
    fn gather(&self, rows: usize, cols: usize, of: impl Fn(usize, usize) -> usize) -> Frozen {
        let (bytes, size) = (&self.map[self.range.clone()], self.kind.bytes());
        let mut copy = Vec::with_capacity(rows * cols * size);
        for row in 0..rows {
            (0..cols).for_each(|col| copy.extend_from_slice(&bytes[of(row, col) * size..][..size]));
        }
        let format = match self.kind {
            Kind::F32 => Format::Own(copy.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
            Kind::F16 | Kind::Bf16 => {
                let length = copy.len();
                self.kind.format(Bytes::new(Arc::new(copy), 0..length).expect("all of it"))
            }
        };
        Frozen::new(rows, cols, format).expect("rows times columns")
    }
}

//! The frozen weights as the mapped checkpoint has them; projections with one input are rows of one matrix.

use super::Shape;
use super::linear::{Linear, Part};
use crate::base::family::{self, Family, Gain};
use crate::base::weights::Weights;
use crate::base::{Base, Dtype};
use crate::error::{Code, Error, Result};
use crate::kernels::{Bytes, Format, Frozen};
use std::collections::BTreeSet;

/// Everything that is frozen.
pub(super) struct Network {
    /// `[V, C]`
    pub embedding: Frozen,
    /// The blocks.
    pub layers: Vec<Layer>,
    /// `[C]` gain of the last norm, times what the family multiplies logits by.
    pub norm: Vec<f32>,
    /// `[V, C]`; `None` where it is the embedding.
    head: Option<Frozen>,
}

/// One block; a norm that is `None` is one that the family lacks.
pub(super) struct Layer {
    /// `[C]`
    pub attention_norm: Option<Vec<f32>>,
    /// C → (H + 2K)·D: q, k and v.
    pub qkv: Linear,
    /// Gains for queries and keys.
    pub heads_norm: Option<[Vec<f32>; 2]>,
    /// H·D → C
    pub o: Linear,
    /// `[C]`, of what attention gives.
    pub after_attention: Option<Vec<f32>>,
    /// `[C]`
    pub ffn_norm: Option<Vec<f32>>,
    /// C → 2F: gate and up.
    pub gate_up: Linear,
    /// F → C
    pub down: Linear,
    /// `[C]`, of what feed-forward gives.
    pub after_ffn: Option<Vec<f32>>,
}

impl Layer {
    /// Its four multiplies, in the order of the network.
    pub fn linears(&self) -> [&Linear; 4] {
        [&self.qkv, &self.o, &self.gate_up, &self.down]
    }
}

impl Network {
    /// `[V, C]`
    pub fn head(&self) -> &Frozen {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// Reads all of a base's weights; a tensor that is missing, of another shape, or unknown is an error.
    pub fn read(base: &Base, family: &Family, shape: &Shape) -> Result<Self> {
        let mut reader = Reader { base, family, shape, weights: Weights::map(base)?, read: BTreeSet::new() };
        let names = &family.weights;
        let head = match shape.tied {
            true => None,
            false => Some(reader.matrix(&names.head, shape.vocab, shape.hidden)?),
        };
        let mut network = Self {
            embedding: reader.matrix(&names.embedding, shape.vocab, shape.hidden)?,
            layers: (0..shape.layers).map(|n| reader.layer(n)).collect::<Result<_>>()?,
            norm: reader.gain(&names.final_norm, shape.hidden)?,
            head,
        };
        multiply(&mut network.norm, shape.multipliers.logits);
        reader.nothing_left(&names.head)?;
        Ok(network)
    }
}

struct Reader<'a> {
    base: &'a Base,
    family: &'a Family,
    shape: &'a Shape,
    weights: Weights<'a>,
    read: BTreeSet<String>,
}

impl Reader<'_> {
    fn layer(&mut self, n: usize) -> Result<Layer> {
        let (family, shape) = (self.family, self.shape);
        let (p, w, heads, biases) = (&family.projections, &family.weights, shape.heads, shape.biases);
        let (q, kv) = (heads.query * heads.dim, heads.kv * heads.dim);
        let (hidden, ffn, residual) = (shape.hidden, shape.ffn, shape.multipliers.residual);
        let mut layer = Layer {
            attention_norm: self.norm(&w.attention_norm, n, hidden)?,
            qkv: self.linear(&p.qkv, n, hidden, &[q, kv, kv], biases.qkv)?,
            heads_norm: self.heads_norm(n)?,
            o: self.linear(std::slice::from_ref(&p.o), n, q, &[hidden], biases.o)?,
            after_attention: self.norm(&w.after_attention_norm, n, hidden)?,
            ffn_norm: self.norm(&w.feed_forward_norm, n, hidden)?,
            gate_up: self.linear(&p.gate_up, n, hidden, &[ffn, ffn], biases.gate_up)?,
            down: self.linear(std::slice::from_ref(&p.down), n, ffn, &[hidden], biases.down)?,
            after_ffn: self.norm(&w.after_feed_forward_norm, n, hidden)?,
        };
        scale_branch(&mut layer.o, &mut layer.after_attention, residual);
        scale_branch(&mut layer.down, &mut layer.after_ffn, residual);
        Ok(layer)
    }

    /// Projections of one input as one matrix, their rows one after the other: a tensor each, or one for all.
    fn linear(&mut self, names: &[String], layer: usize, inputs: usize, rows: &[usize], bias: bool) -> Result<Linear> {
        let whole = [rows.iter().sum()];
        let rows = if names.len() == 1 { &whole } else { rows };
        let (mut weights, mut biases, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        let mut outputs = 0;
        for (name, rows) in names.iter().zip(rows) {
            let name = family::at_layer(name, layer);
            weights.push(self.matrix(&format!("{name}.weight"), *rows, inputs)?);
            if bias {
                biases.extend(self.tensor(&format!("{name}.bias"), &[*rows])?);
            }
            parts.push(Part { name, columns: outputs..outputs + rows });
            outputs += rows;
        }
        let weight = Frozen::stack(weights);
        Ok(Linear { inputs, outputs, weight, multiplier: 1.0, bias: bias.then_some(biases), parts })
    }

    fn norm(&mut self, name: &Option<String>, layer: usize, width: usize) -> Result<Option<Vec<f32>>> {
        name.as_ref().map(|name| self.gain(&family::at_layer(name, layer), width)).transpose()
    }

    fn heads_norm(&mut self, layer: usize) -> Result<Option<[Vec<f32>; 2]>> {
        let widths = self.shape.head_norm_groups().map(|groups| groups.map(|(_, width)| width));
        let names = &self.family.weights;
        let Some([q, k]) = widths else { return Ok(None) };
        let gains = self.norm(&names.query_norm, layer, q)?.zip(self.norm(&names.key_norm, layer, k)?);
        Ok(gains.map(|(q, k)| [q, k]))
    }

    fn gain(&mut self, name: &str, width: usize) -> Result<Vec<f32>> {
        let mut gain = self.tensor(name, &[width])?;
        if self.family.switches.gain == Gain::OnePlusWeight {
            gain.iter_mut().for_each(|g| *g += 1.0);
        }
        Ok(gain)
    }

    /// A matrix as it lies in the checkpoint.
    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Frozen> {
        self.frozen(name, &[rows, cols], rows, cols)
    }

    /// The numbers of a vector.
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let elements = shape.iter().product();
        let mut values = vec![0.0; elements];
        self.frozen(name, shape, 1, elements)?.read(0, &mut values);
        Ok(values)
    }

    fn frozen(&mut self, name: &str, shape: &[usize], rows: usize, cols: usize) -> Result<Frozen> {
        let (header, map, range) = self.weights.get(name)?;
        if header.shape != shape {
            return Err(Error::input(
                &self.base.headers.files[header.file],
                format!("tensor {name} has the shape {:?}, the config says {shape:?}", header.shape),
            ));
        }
        let lies = "a header's bytes are as many as its shape says";
        let bytes = Bytes::new(map, range).expect(lies);
        let format = match header.dtype {
            Dtype::F32 => Format::F32(bytes),
            Dtype::F16 => Format::F16(bytes),
            Dtype::BF16 => Format::Bf16(bytes),
            other => {
                let message = format!("tensor {name} cannot be read: its numbers are {other}");
                return Err(Error::new(Code::UnsupportedBase, message).with_hint("the engine reads F32, F16 and BF16"));
            }
        };
        self.read.insert(name.to_owned());
        Ok(Frozen::new(rows, cols, format).expect(lies))
    }

    /// A tensor that nothing read would mean another network than this one.
    fn nothing_left(&self, head: &str) -> Result<()> {
        let known = |name: &str| name == head || name.ends_with("rotary_emb.inv_freq") || self.read.contains(name);
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

/// Multiplies what a branch adds to the residual stream: its last operation takes the factor in.
fn scale_branch(linear: &mut Linear, after: &mut Option<Vec<f32>>, factor: f32) {
    match after {
        Some(gain) => multiply(gain, factor),
        None => {
            linear.bias.iter_mut().for_each(|bias| multiply(bias, factor));
            linear.multiplier = factor;
        }
    }
}

fn multiply(values: &mut [f32], factor: f32) {
    if factor != 1.0 {
        values.iter_mut().for_each(|x| *x *= factor);
    }
}

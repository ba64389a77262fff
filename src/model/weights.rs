//! The frozen weights as f32, read from the mapped checkpoint once; projections with one input lie in one matrix.

use super::Shape;
use super::linear::{Linear, Part};
use crate::base::family::{self, Family};
use crate::base::weights::Weights;
use crate::base::{Base, Dtype};
use crate::error::{Code, Error, Result};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use std::collections::BTreeSet;

/// Everything that is frozen.
pub(super) struct Network {
    /// `[V, C]`
    pub embedding: Vec<f32>,
    /// The blocks.
    pub layers: Vec<Layer>,
    /// `[C]` gain of the last norm.
    pub norm: Vec<f32>,
    /// `[V, C]`; `None` where it is the embedding.
    head: Option<Vec<f32>>,
}

/// One block.
pub(super) struct Layer {
    /// `[C]`
    pub attention_norm: Vec<f32>,
    /// C → (H + 2K)·D: q, k and v.
    pub qkv: Linear,
    /// H·D → C
    pub o: Linear,
    /// `[C]`
    pub ffn_norm: Vec<f32>,
    /// C → 2F: gate and up.
    pub gate_up: Linear,
    /// F → C
    pub down: Linear,
}

impl Layer {
    /// Its four multiplies, in the order of the network.
    pub fn linears(&self) -> [&Linear; 4] {
        [&self.qkv, &self.o, &self.gate_up, &self.down]
    }
}

impl Network {
    /// `[V, C]`
    pub fn head(&self) -> &[f32] {
        self.head.as_deref().unwrap_or(&self.embedding)
    }

    /// Reads all of a base's weights; a tensor that is missing, of another shape, or unknown is an error.
    pub fn read(base: &Base, family: &Family, shape: &Shape) -> Result<Self> {
        let mut reader = Reader { base, weights: Weights::map(base)?, read: BTreeSet::new() };
        let names = &family.weights;
        let head = match shape.tied {
            true => None,
            false => Some(reader.tensor(&names.head, &[shape.vocab, shape.hidden])?),
        };
        let network = Self {
            embedding: reader.tensor(&names.embedding, &[shape.vocab, shape.hidden])?,
            layers: (0..shape.layers).map(|n| reader.layer(family, shape, n)).collect::<Result<_>>()?,
            norm: reader.tensor(&names.final_norm, &[shape.hidden])?,
            head,
        };
        reader.nothing_left(&names.head)?;
        Ok(network)
    }
}

struct Reader<'a> {
    base: &'a Base,
    weights: Weights<'a>,
    read: BTreeSet<String>,
}

impl Reader<'_> {
    fn layer(&mut self, family: &Family, shape: &Shape, n: usize) -> Result<Layer> {
        let (p, heads) = (&family.projections, shape.heads);
        let (q, kv) = (heads.query * heads.dim, heads.kv * heads.dim);
        let (hidden, ffn) = (shape.hidden, shape.ffn);
        let name = |of: &str| family::at_layer(of, n);
        let qkv = [(name(&p.q), q), (name(&p.k), kv), (name(&p.v), kv)];
        let gate_up = [(name(&p.gate), ffn), (name(&p.up), ffn)];
        Ok(Layer {
            attention_norm: self.tensor(&name(&family.weights.attention_norm), &[hidden])?,
            qkv: self.linear(&qkv, hidden, shape.attention_bias)?,
            o: self.linear(&[(name(&p.o), hidden)], q, shape.attention_bias)?,
            ffn_norm: self.tensor(&name(&family.weights.feed_forward_norm), &[hidden])?,
            gate_up: self.linear(&gate_up, hidden, shape.mlp_bias)?,
            down: self.linear(&[(name(&p.down), hidden)], ffn, shape.mlp_bias)?,
        })
    }

    /// Projections of one input as one matrix, their rows one after the other.
    fn linear(&mut self, projections: &[(String, usize)], inputs: usize, bias: bool) -> Result<Linear> {
        let (mut weight, mut biases, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        let mut outputs = 0;
        for (name, rows) in projections {
            weight.extend(self.tensor(&format!("{name}.weight"), &[*rows, inputs])?);
            if bias {
                biases.extend(self.tensor(&format!("{name}.bias"), &[*rows])?);
            }
            parts.push(Part { name: name.clone(), columns: outputs..outputs + rows });
            outputs += rows;
        }
        Ok(Linear { inputs, outputs, weight, bias: bias.then_some(biases), parts })
    }

    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let (header, bytes) = self.weights.get(name)?;
        if header.shape != shape {
            return Err(Error::input(
                &self.base.headers.files[header.file],
                format!("tensor {name} has the shape {:?}, the config says {shape:?}", header.shape),
            ));
        }
        self.read.insert(name.to_owned());
        as_f32(bytes, header.dtype, header.shape.iter().product()).map_err(|e| {
            Error::new(Code::UnsupportedBase, format!("tensor {name} cannot be read as f32 from {}: {e}", header.dtype))
                .with_hint("the engine reads F32, F16, BF16 and F64")
        })
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

/// The numbers of a tensor, whatever floating-point type they have.
fn as_f32(bytes: &[u8], dtype: Dtype, elements: usize) -> candle_core::Result<Vec<f32>> {
    if dtype == Dtype::F32 {
        return Ok(bytes.as_chunks().0.par_iter().with_min_len(1 << 14).map(|b| f32::from_le_bytes(*b)).collect());
    }
    let tensor = Tensor::from_raw_buffer(bytes, DType::try_from(dtype)?, &[elements], &Device::Cpu)?;
    if !tensor.dtype().is_float() {
        candle_core::bail!("not a floating-point type");
    }
    tensor.to_dtype(DType::F32)?.to_vec1()
}

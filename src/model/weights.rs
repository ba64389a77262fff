//! The frozen weights as the mapped checkpoint has them; projections with one input are rows of one matrix.

use super::Shape;
use super::experts::Experts;
use super::linear::Linear;
use super::quantize::Quantize;
use super::reader::{Norm, Projected, Reader, multiply};
use crate::base::Base;
use crate::base::family::{Family, QueryKeyNorm, SharedQkv};
use crate::error::{Code, Error, Result};
use crate::kernels::{Compute, Frozen};

/// Everything that is frozen.
pub(super) struct Network {
    /// `[V, C]`
    pub embedding: Frozen,
    /// `[P, C]`, added to embeddings; `None` where the family lacks it.
    pub positions: Option<Vec<f32>>,
    /// The blocks.
    pub layers: Vec<Layer>,
    /// The last norm, times what the family multiplies logits by.
    pub norm: Norm,
    /// `[V, C]`; `None` where it is the embedding.
    head: Option<Frozen>,
}

/// One block; what is `None` is what the family lacks, or this layer.
pub(super) struct Layer {
    /// `[C]`
    pub attention_norm: Option<Norm>,
    /// C → (H + 2K)·D: q, k and v.
    pub qkv: Linear,
    /// Gains for queries and keys.
    pub heads_norm: Option<[Vec<f32>; 2]>,
    /// `[H]` scores of a position without a value.
    pub sinks: Option<Vec<f32>>,
    /// H·D → C
    pub o: Linear,
    /// `[C]`, of what attention gives.
    pub after_attention: Option<Norm>,
    /// `[C]`
    pub ffn_norm: Option<Norm>,
    pub ffn: FeedForward,
    /// `[C]`, of what feed-forward gives.
    pub after_ffn: Option<Norm>,
}

/// The second half of a block.
pub(super) enum FeedForward {
    Dense {
        /// C → F·1 or 2: up alone, or gate and up.
        gate_up: Linear,
        /// F → C
        down: Linear,
    },
    Experts(Experts),
}

impl Layer {
    /// Its multiplies that an adapter may adapt, each in its place: qkv, o, gate and up, down.
    pub fn linears(&self) -> [Option<&Linear>; 4] {
        let (gate_up, down) = match &self.ffn {
            FeedForward::Dense { gate_up, down } => (Some(gate_up), Some(down)),
            FeedForward::Experts(_) => (None, None),
        };
        [Some(&self.qkv), Some(&self.o), gate_up, down]
    }
}

impl Network {
    /// From now on every matrix is multiplied in these numbers.
    pub fn multiply_in(&mut self, compute: Compute) {
        for layer in &mut self.layers {
            layer.qkv.weight.multiply_in(compute);
            layer.o.weight.multiply_in(compute);
            match &mut layer.ffn {
                FeedForward::Experts(experts) => experts.multiply_in(compute),
                FeedForward::Dense { gate_up, down } => {
                    gate_up.weight.multiply_in(compute);
                    down.weight.multiply_in(compute);
                }
            }
        }
        self.head.as_mut().unwrap_or(&mut self.embedding).multiply_in(compute);
    }

    /// `[V, C]`
    pub fn head(&self) -> &Frozen {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// Reads all of a base's weights; a tensor that is missing, of another shape, or unknown is an error.
    pub fn read(base: &Base, family: &Family, shape: &Shape, quantize: Option<Quantize>) -> Result<Self> {
        let mut reader = Reader::new(base, family, shape, quantize)?;
        let names = &family.weights;
        let head = match shape.tied {
            true => None,
            false => Some(reader.table(&names.head, shape.vocab, shape.hidden)?),
        };
        let positions = names.positions.as_ref().map(|name| reader.tensor(name, &[shape.positions, shape.hidden]));
        let final_norm = names.final_norm.replace("{last}", &(shape.layers - 1).to_string());
        let mut network = Self {
            embedding: reader.table(&names.embedding, shape.vocab, shape.hidden)?,
            positions: positions.transpose()?,
            layers: (0..shape.layers).map(|n| reader.layer(n)).collect::<Result<_>>()?,
            norm: reader.norm(&final_norm, shape.hidden)?,
            head,
        };
        network.norm.multiply(shape.multipliers.logits);
        reader.nothing_left(&names.head)?;
        Ok(network)
    }
}

impl Reader<'_> {
    fn layer(&mut self, n: usize) -> Result<Layer> {
        let (family, shape) = (self.family, self.shape);
        let (p, w, heads) = (&family.projections, &family.weights, shape.heads);
        let (q, kv, hidden) = (heads.query * heads.dim, heads.kv * heads.dim, shape.hidden);
        let by_head = p.qkv.len() == 1 && family.switches.shared_qkv == SharedQkv::ByHead;
        let order = by_head.then(|| heads.by_head());
        let qkv = Projected { names: &p.qkv, inputs: hidden, rows: &[q, kv, kv], bias: shape.biases.qkv, order };
        let mut layer = Layer {
            attention_norm: self.layer_norm(&w.attention_norm, n)?,
            qkv: self.linear(qkv, n)?,
            heads_norm: self.heads_norm(n)?,
            sinks: self.at_layer(&w.sinks, n, &[heads.query])?,
            o: self.single(&p.o, n, [q, hidden], shape.biases.o)?,
            after_attention: self.layer_norm(&w.after_attention_norm, n)?,
            ffn_norm: self.layer_norm(&w.feed_forward_norm, n)?,
            ffn: self.feed_forward(n)?,
            after_ffn: self.layer_norm(&w.after_feed_forward_norm, n)?,
        };
        scale_branch(&mut layer.o, &mut layer.after_attention, shape.multipliers.residual);
        if let FeedForward::Dense { down, .. } = &mut layer.ffn {
            scale_branch(down, &mut layer.after_ffn, shape.multipliers.residual);
        }
        Ok(layer)
    }

    fn feed_forward(&mut self, n: usize) -> Result<FeedForward> {
        let (family, shape) = (self.family, self.shape);
        if let Some((names, routing)) = family.experts.as_ref().zip(shape.routing) {
            return Experts::read(self, names, routing, n).map(FeedForward::Experts);
        }
        let (p, biases, columns) = (&family.projections, shape.biases, shape.activation.columns(shape.ffn));
        let down = p.down.as_ref().ok_or_else(|| self.data_lacks("projections.down"))?;
        let halves = vec![shape.ffn; columns / shape.ffn];
        let gate_up =
            Projected { names: &p.gate_up, inputs: shape.hidden, rows: &halves, bias: biases.gate_up, order: None };
        Ok(FeedForward::Dense {
            gate_up: self.linear(gate_up, n)?,
            down: self.single(down, n, [shape.ffn, shape.hidden], biases.down)?,
        })
    }

    fn heads_norm(&mut self, layer: usize) -> Result<Option<[Vec<f32>; 2]>> {
        let names = &self.family.weights;
        let Some([q, k]) = self.shape.head_norm_groups() else { return Ok(None) };
        let each = self.shape.heads_norm == QueryKeyNorm::LayerHeads;
        let shape = |(groups, width)| if each { vec![groups, width] } else { vec![width] };
        let gains = self.at_layer(&names.query_norm, layer, &shape(q))?.zip(self.at_layer(
            &names.key_norm,
            layer,
            &shape(k),
        )?);
        Ok(gains.map(|(q, k)| [self.gain(q), self.gain(k)]))
    }

    fn data_lacks(&self, key: &str) -> Error {
        Error::new(Code::UnsupportedBase, format!("adapters/*.toml says nothing of {key} for {}", self.family.name))
    }
}

/// Multiplies what a branch adds to the residual stream: its last operation takes the factor in.
fn scale_branch(linear: &mut Linear, after: &mut Option<Norm>, factor: f32) {
    match after {
        Some(norm) => norm.multiply(factor),
        None => {
            linear.bias.iter_mut().for_each(|bias| multiply(bias, factor));
            linear.multiplier = factor;
        }
    }
}

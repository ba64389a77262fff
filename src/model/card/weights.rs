//! The frozen weights on a card: copied there once, projections in the format of their files where a kernel reads it.

use crate::error::Result;
use crate::kernels::cuda::{Buffer, Card, Element, Weight};
use crate::model::linear;
use crate::model::reader;
use crate::model::weights::{self, FeedForward};

/// Everything that is frozen.
pub(super) struct Network {
    /// `[V, C]`
    pub embedding: Weight,
    /// f32 `[P, C]`
    pub positions: Option<Buffer>,
    pub layers: Vec<Layer>,
    pub norm: Norm,
    /// `[V, C]`; `None` where it is the embedding.
    head: Option<Weight>,
    /// The matrix that is multiplied, where it is kept in another format.
    pub spare: Buffer,
}

/// One block.
pub(super) struct Layer {
    pub attention_norm: Option<Norm>,
    /// Gains for queries and keys: f32 `[gains, width]`, and how many.
    pub heads_norm: Option<[(Buffer, usize); 2]>,
    /// f32 `[H]`
    pub sinks: Option<Buffer>,
    pub after_attention: Option<Norm>,
    pub ffn_norm: Option<Norm>,
    pub after_ffn: Option<Norm>,
    /// qkv, o, gate and up, down.
    pub linears: [Linear; 4],
}

/// f32 `[width]` each.
pub(super) struct Norm {
    pub gain: Buffer,
    pub bias: Option<Buffer>,
}

/// y = x · weightᵀ + bias.
pub(super) struct Linear {
    /// `[out, in]`
    pub weight: Weight,
    /// As in the CPU's: of the weight and of an update.
    pub multiplier: f32,
    /// f32 `[out]`
    pub bias: Option<Buffer>,
    /// Its projections come after so many of its block.
    pub before: usize,
}

impl Network {
    /// `[V, C]`
    pub fn head(&self) -> &Weight {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// Bytes that [`Network::upload`] takes.
    pub fn bytes(of: &weights::Network, element: Element) -> usize {
        let table = |matrix: &crate::kernels::Frozen| matrix.rows() * matrix.cols() * element.size();
        let norm = |norm: &reader::Norm| 4 * (norm.gain.len() + norm.bias.as_ref().map_or(0, Vec::len));
        let layer = |layer: &weights::Layer| {
            let norms = [&layer.attention_norm, &layer.after_attention, &layer.ffn_norm, &layer.after_ffn];
            let heads = layer.heads_norm.iter().flatten().map(Vec::len).sum::<usize>();
            let linear =
                |l: &linear::Linear| Weight::bytes_of(&l.weight, element) + 4 * l.bias.as_ref().map_or(0, Vec::len);
            norms.into_iter().flatten().map(norm).sum::<usize>()
                + 4 * (heads + layer.sinks.as_ref().map_or(0, Vec::len))
                + layer.linears().into_iter().flatten().map(linear).sum::<usize>()
        };
        let head = if std::ptr::eq(of.head(), &of.embedding) { 0 } else { table(of.head()) };
        table(&of.embedding)
            + head
            + 4 * of.positions.as_ref().map_or(0, Vec::len)
            + norm(&of.norm)
            + of.layers.iter().map(layer).sum::<usize>()
            + spare(of, element)
    }

    /// Copies all of it to a card. Blocks of experts must have been refused.
    pub fn upload(card: &Card, of: &weights::Network, element: Element) -> Result<Self> {
        let tied = std::ptr::eq(of.head(), &of.embedding);
        Ok(Self {
            embedding: Weight::whole(card, &of.embedding, element)?,
            positions: of.positions.as_deref().map(|table| singles(card, table)).transpose()?,
            layers: of.layers.iter().map(|layer| Layer::upload(card, layer, element)).collect::<Result<_>>()?,
            norm: Norm::upload(card, &of.norm)?,
            head: if tied { None } else { Some(Weight::whole(card, of.head(), element)?) },
            spare: card.alloc(spare(of, element))?,
        })
    }
}

/// Bytes of the largest matrix that is kept in another format than it is multiplied in.
fn spare(of: &weights::Network, element: Element) -> usize {
    let linears = of.layers.iter().flat_map(weights::Layer::linears).flatten();
    linears.map(|linear| Weight::spare_of(&linear.weight, element)).max().unwrap_or(0)
}

fn singles(card: &Card, values: &[f32]) -> Result<Buffer> {
    card.upload(bytemuck::cast_slice(values))
}

impl Norm {
    fn upload(card: &Card, norm: &reader::Norm) -> Result<Self> {
        let bias = norm.bias.as_deref().map(|bias| singles(card, bias)).transpose()?;
        Ok(Self { gain: singles(card, &norm.gain)?, bias })
    }
}

impl Layer {
    fn upload(card: &Card, layer: &weights::Layer, element: Element) -> Result<Self> {
        let norm = |norm: &Option<reader::Norm>| norm.as_ref().map(|norm| Norm::upload(card, norm)).transpose();
        let FeedForward::Dense { gate_up, down } = &layer.ffn else {
            unreachable!("experts are refused before anything is copied");
        };
        let mut before = 0;
        let mut linear = |linear: &linear::Linear| {
            let first = before;
            before += linear.parts.len();
            Ok::<_, crate::error::Error>(Linear {
                weight: Weight::packed(card, &linear.weight, element)?,
                multiplier: linear.multiplier,
                bias: linear.bias.as_deref().map(|bias| singles(card, bias)).transpose()?,
                before: first,
            })
        };
        let heads_norm = match &layer.heads_norm {
            Some([q, k]) => Some([(singles(card, q)?, q.len()), (singles(card, k)?, k.len())]),
            None => None,
        };
        Ok(Self {
            linears: [linear(&layer.qkv)?, linear(&layer.o)?, linear(gate_up)?, linear(down)?],
            attention_norm: norm(&layer.attention_norm)?,
            heads_norm,
            sinks: layer.sinks.as_deref().map(|sinks| singles(card, sinks)).transpose()?,
            after_attention: norm(&layer.after_attention)?,
            ffn_norm: norm(&layer.ffn_norm)?,
            after_ffn: norm(&layer.after_ffn)?,
        })
    }
}

//! A batch on its way through the network on a card: embedding, blocks, fused head and cross entropy, and back.

use super::CardKeep;
use super::adapter::CardLora;
use super::room::{Kept, LOGITS, Room};
use super::weights::Network;
use crate::error::Result;
use crate::kernels::cuda::{Buffer, Card, Element, Rows, Tiles, Transpose::No, Transpose::Yes};
use crate::model::Shape;

/// All that a pass needs; its tokens are on the card already.
pub(super) struct Pass<'a> {
    pub card: &'a Card,
    pub shape: &'a Shape,
    pub network: &'a Network,
    pub room: &'a Room<Buffer>,
    pub tiles: &'a Tiles,
    /// None for the base alone.
    pub lora: Option<&'a CardLora>,
    pub element: Element,
    pub keep: CardKeep,
    /// T
    pub tokens: usize,
    /// Tokens that there is room for.
    pub capacity: usize,
    /// N, the rows that bear loss.
    pub bearing: usize,
}

impl<'a> Pass<'a> {
    /// Runs the blocks, each input in its own buffer where `train`; where the last block's output lies.
    pub fn blocks(&self, train: bool) -> Result<&'a Buffer> {
        let inputs = &self.room.inputs;
        let input = |n: usize| &inputs[if train { n } else { n % 2 }];
        self.embed(input(0))?;
        for layer in 0..self.shape.layers {
            let kept = if train { self.kept(layer) } else { &self.room.kept[0] };
            self.forward(layer, input(layer), kept, input(layer + 1))?;
        }
        Ok(input(self.shape.layers))
    }

    /// What a block keeps, or all of them in turn.
    pub fn kept(&self, layer: usize) -> &'a Kept<Buffer> {
        &self.room.kept[layer.min(self.room.kept.len() - 1)]
    }

    fn embed(&self, x: &Buffer) -> Result<()> {
        let (network, ids) = (self.network, &self.room.ids);
        let table = network.embedding.multiplied(self.card, &network.spare)?;
        let places = network.positions.as_ref().map(|table| (table, &ids.positions));
        let (factor, width) = (self.shape.multipliers.embedding, self.shape.hidden);
        let (table, x) = (table.part(self.element, 0), x.part(self.element, 0));
        self.card.embed(table, &ids.tokens, places, factor, self.tokens, width, x)
    }

    /// Σ losses over the rows of x that bear loss; with `gradient`, the stream's gradient begins with theirs.
    pub fn head(&self, x: &Buffer, gradient: bool) -> Result<f64> {
        let (rows, width, shared) = (self.bearing, self.shape.hidden, &self.room.shared);
        let part = |b: &'a Buffer| b.part(self.element, 0);
        self.card.gather(x.part(self.element, 0), &self.room.ids.rows, rows, width, part(&shared.half))?;
        self.last_norm(&shared.half, rows)?;
        for from in (0..rows).step_by(LOGITS) {
            self.chunk(from, LOGITS.min(rows - from), gradient)?;
        }
        if gradient {
            let by = self.whole_rows(&self.network.norm);
            let [x, dn] = [&shared.half, &shared.dn].map(|b| self.rows(b, width));
            self.card.norm_backward(by, x, &self.room.head.rstd, rows, dn, dn, false)?;
            self.card.scatter(part(&shared.dn), &self.room.ids.places, self.tokens, width, part(&shared.d))?;
        }
        let mut losses = vec![0; 4 * rows];
        self.card.read(&self.room.head.losses, &mut losses)?;
        Ok(losses.as_chunks().0.iter().map(|loss| f64::from(f32::from_le_bytes(*loss))).sum())
    }

    /// n of `rows` rows of x.
    fn last_norm(&self, x: &Buffer, rows: usize) -> Result<()> {
        let (by, eps, width) = (&self.network.norm, self.shape.eps, self.shape.hidden);
        let [x, n] = [x, &self.room.shared.n].map(|b| self.rows(b, width));
        self.card.norm(self.whole_rows(by), x, by.bias.as_ref(), eps, rows, n, &self.room.head.rstd, None, false)
    }

    /// Logits f32 `[count, V]` of rows of n.
    fn logits(&self, from: usize, count: usize) -> Result<()> {
        let (vocab, width, network) = (self.shape.vocab, self.shape.hidden, self.network);
        let n = Rows { part: self.room.shared.n.part(self.element, from * width), stride: width };
        let head = network.head().multiplied(self.card, &network.spare)?;
        let logits = Rows { part: Self::singles(&self.room.head.logits, 0), stride: vocab };
        let head = self.rows(&head, width);
        self.card.matmul(logits, None, 1.0, (n, No), (head, Yes), [count, vocab, width])
    }

    /// Losses of some rows, and the gradient of their n.
    fn chunk(&self, from: usize, count: usize, gradient: bool) -> Result<()> {
        let (vocab, width, head) = (self.shape.vocab, self.shape.hidden, &self.room.head);
        self.logits(from, count)?;
        let targets = self.room.ids.targets.slice(4 * from, 4 * count);
        let d = gradient.then(|| head.dlogits.part(self.element, 0));
        let losses = Self::singles(&head.losses, from);
        let cap = self.shape.logit_cap;
        self.card.cross_entropy(&head.logits, &targets, cap, count, vocab, losses, self.element, d)?;
        if !gradient {
            return Ok(());
        }
        let dn = Rows { part: self.room.shared.dn.part(self.element, from * width), stride: width };
        let (d, matrix) =
            (self.rows(&head.dlogits, vocab), self.network.head().multiplied(self.card, &self.network.spare)?);
        self.card.matmul(dn, None, 1.0, (d, No), (self.rows(&matrix, width), No), [count, width, vocab])
    }

    /// The logits of every position before their cap, `[T, V]`: for comparisons.
    #[cfg(test)]
    pub fn all_logits(&self, x: &Buffer) -> Result<Vec<f32>> {
        self.last_norm(x, self.tokens)?;
        let mut all = Vec::new();
        for from in (0..self.tokens).step_by(LOGITS) {
            let count = LOGITS.min(self.tokens - from);
            self.logits(from, count)?;
            let mut logits = vec![0.0f32; count * self.shape.vocab];
            self.card.read(&self.room.head.logits, bytemuck::cast_slice_mut(&mut logits))?;
            all.extend(logits);
        }
        Ok(all)
    }
}

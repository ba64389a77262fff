//! A linear layer on a card, forward and backward: the base's multiply, and LoRA's thin ones added onto what it gives.

use super::adapter::{CardLora, Stacked};
use super::pass::Pass;
use super::room::Kept;
use super::weights::Linear;
use crate::error::Result;
use crate::kernels::cuda::{Buffer, Element, Part, Rows, Transpose::No, Transpose::Yes};

impl<'a> Pass<'a> {
    /// The adapted projections of a linear layer.
    fn stacked(&self, layer: usize, which: usize) -> Option<(&'a CardLora, &'a Stacked)> {
        let lora = self.lora?;
        Some((lora, &lora.places[layer][which])).filter(|(_, stacked)| stacked.count > 0)
    }

    fn linear_of(&self, layer: usize, which: usize) -> &'a Linear {
        &self.network.layers[layer].linears[which]
    }

    /// Where x · Aᵀ of a linear layer lies among a block's.
    fn thin_of(&self, linear: &Linear, kept: &Kept<Buffer>, lora: &CardLora, stacked: &Stacked) -> Buffer {
        let size = self.element.size() * lora.rank;
        let capacity = self.capacity * size;
        kept.thin.slice(linear.before * capacity, stacked.count * self.tokens * size)
    }

    /// Matrices of the adapter as they are multiplied.
    fn adapter_part(&self, at: usize) -> Part<'a> {
        let trained = &self.room.trained;
        match self.element {
            Element::F32 => trained.values.part(Element::F32, at),
            narrow => trained.copy.part(narrow, at),
        }
    }

    /// y `[T, out]` = `onto` + x · Wᵀ + bias + the adapter's part; keeps x · Aᵀ.
    pub fn linear(
        &self,
        (layer, which): (usize, usize),
        x: &Buffer,
        kept: &Kept<Buffer>,
        y: &Buffer,
        onto: Option<&Buffer>,
    ) -> Result<()> {
        let (card, tokens, linear) = (self.card, self.tokens, self.linear_of(layer, which));
        let (outputs, inputs) = (linear.weight.rows(), linear.weight.cols());
        let weight = linear.weight.multiplied(card, &self.network.spare)?;
        let [x, w] = [x, &weight].map(|b| self.rows(b, inputs));
        let (to, onto) = (self.rows(y, outputs), onto.map(|onto| self.rows(onto, outputs)));
        card.matmul(to, onto, linear.multiplier, (x, No), (w, Yes), [tokens, outputs, inputs])?;
        if let Some(bias) = &linear.bias {
            card.add_row(to.part, bias, tokens, outputs)?;
        }
        self.thin((layer, which), x.part, kept)?;
        let Some((lora, stacked)) = self.stacked(layer, which) else { return Ok(()) };
        let (thin, width) = (self.thin_of(linear, kept, lora, stacked), stacked.count * lora.rank);
        for piece in &stacked.b {
            let to = Rows { part: y.part(self.element, piece.columns.start), stride: outputs };
            let thin = Rows { part: thin.part(self.element, piece.place * lora.rank), stride: width };
            let b = Rows { part: self.adapter_part(piece.at), stride: lora.rank };
            let shape = [tokens, piece.columns.len(), lora.rank];
            card.matmul(to, Some(to), lora.scale * linear.multiplier, (thin, No), (b, Yes), shape)?;
        }
        Ok(())
    }

    /// x · Aᵀ of a linear layer's adapted projections, side by side.
    pub fn thin(&self, (layer, which): (usize, usize), x: Part<'_>, kept: &Kept<Buffer>) -> Result<()> {
        let Some((lora, stacked)) = self.stacked(layer, which) else { return Ok(()) };
        let linear = self.linear_of(layer, which);
        let (inputs, width) = (linear.weight.cols(), stacked.count * lora.rank);
        let thin = self.thin_of(linear, kept, lora, stacked);
        let a = Rows { part: self.adapter_part(stacked.a), stride: inputs };
        let x = Rows { part: x, stride: inputs };
        self.card.matmul(self.rows(&thin, width), None, 1.0, (x, No), (a, Yes), [self.tokens, width, inputs])
    }

    /// Adds the gradients of A and B, and gives that of x in `dx` where it is wanted; `x` is what the forward had.
    pub fn linear_backward(
        &self,
        (layer, which): (usize, usize),
        x: &Buffer,
        kept: &Kept<Buffer>,
        dy: &Buffer,
        dx: Option<&Buffer>,
    ) -> Result<()> {
        let (card, tokens, linear) = (self.card, self.tokens, self.linear_of(layer, which));
        let (outputs, inputs) = (linear.weight.rows(), linear.weight.cols());
        if let Some(dx) = dx {
            let weight = linear.weight.multiplied(card, &self.network.spare)?;
            let (to, w, dy) = (self.rows(dx, inputs), self.rows(&weight, inputs), self.rows(dy, outputs));
            card.matmul(to, None, linear.multiplier, (dy, No), (w, No), [tokens, inputs, outputs])?;
        }
        let Some((lora, stacked)) = self.stacked(layer, which) else { return Ok(()) };
        let width = stacked.count * lora.rank;
        self.gradients_of_b((layer, which), kept, dy)?;
        let dthin = self.rows(&self.room.shared.dthin, width);
        let grad = Rows { part: self.room.trained.grad.part(Element::F32, stacked.a), stride: inputs };
        card.matmul(grad, Some(grad), 1.0, (dthin, Yes), (self.rows(x, inputs), No), [width, inputs, tokens])?;
        let Some(dx) = dx else { return Ok(()) };
        let (to, a) = (self.rows(dx, inputs), Rows { part: self.adapter_part(stacked.a), stride: inputs });
        card.matmul(to, Some(to), 1.0, (dthin, No), (a, No), [tokens, inputs, width])
    }

    /// Adds those of B, and leaves the gradient of x · Aᵀ in the shared buffer.
    fn gradients_of_b(&self, (layer, which): (usize, usize), kept: &Kept<Buffer>, dy: &Buffer) -> Result<()> {
        let Some((lora, stacked)) = self.stacked(layer, which) else { return Ok(()) };
        let (card, tokens, linear, rank) = (self.card, self.tokens, self.linear_of(layer, which), lora.rank);
        let (outputs, width, scale) = (linear.weight.rows(), stacked.count * rank, lora.scale * linear.multiplier);
        let thin = self.thin_of(linear, kept, lora, stacked);
        let mut last = None;
        for piece in &stacked.b {
            let columns = piece.columns.len();
            let dy = Rows { part: dy.part(self.element, piece.columns.start), stride: outputs };
            let thin = Rows { part: thin.part(self.element, piece.place * rank), stride: width };
            let grad = Rows { part: self.room.trained.grad.part(Element::F32, piece.at), stride: rank };
            card.matmul(grad, Some(grad), scale, (dy, Yes), (thin, No), [columns, rank, tokens])?;
            let part = self.room.shared.dthin.part(self.element, piece.place * rank);
            let (to, b) = (Rows { part, stride: width }, Rows { part: self.adapter_part(piece.at), stride: rank });
            // the pieces of a projection follow each other
            let onto = (last == Some(piece.place)).then_some(to);
            card.matmul(to, onto, scale, (dy, No), (b, No), [tokens, rank, columns])?;
            last = Some(piece.place);
        }
        Ok(())
    }
}

//! The network on a card: the same blocks as the CPU's, their weights copied once, every buffer of a step in one
//! allocation, adapter and optimiser beside them. Nothing is allocated in a step.

mod adapter;
mod block;
mod linear;
mod memory;
mod pass;
mod room;
#[cfg(test)]
mod tests;
mod weights;

pub use memory::{CardKeep, CardMemory, CardStep, CardWeights};

use super::{Batch, Lora, Model, Shape};
use crate::error::{Code, Error, Result};
use crate::kernels::AdamW;
use crate::kernels::cuda::{Buffer, Card, CardRanks, Element, Tiles, Unit};
use adapter::CardLora;
use pass::Pass;
use room::Room;
use weights::Network;

/// What to do where the engine for cards lacks something.
const ON_CPU: &str = "train.device = \"cpu\" trains it on this machine's processor";

/// A base on a card.
pub struct CardModel<'a> {
    model: &'a Model,
    card: Card,
    element: Element,
    network: Network,
}

/// Steps of one adapter: buffers, the adapter itself and its optimiser's means.
pub struct CardTraining<'a> {
    of: &'a CardModel<'a>,
    lora: CardLora,
    room: Room<Buffer>,
    tiles: Tiles,
    keep: CardKeep,
    /// Tokens that there is room for.
    capacity: usize,
}

impl Shape {
    /// Whether the engine for cards has all that this network needs; `family` names it.
    ///
    /// # Errors
    /// `UnsupportedBase` with what it lacks.
    pub fn fits_cards(&self, family: &str, element: Element) -> Result<()> {
        let refuse = |what: String| Err(Error::new(Code::UnsupportedBase, what).with_hint(ON_CPU));
        if self.routing.is_some() {
            return refuse(format!("{family}: blocks of experts are not built for cards"));
        }
        match Unit::of_heads(self.heads.dim, element) {
            None => refuse(format!("{family}: heads of {} columns are too wide for cards", self.heads.dim)),
            Some(_) => Ok(()),
        }
    }
}

impl Model {
    /// Bytes that the weights take on a card.
    pub fn bytes_on_card(&self, element: Element) -> usize {
        Network::bytes(&self.weights, element)
    }
}

impl<'a> CardModel<'a> {
    /// Copies a base's weights to a card. Before it, every kernel is compiled that a step will ask for.
    ///
    /// # Errors
    /// As [`Shape::fits_cards`]; `NoDevice`, `OutOfMemory`.
    pub fn load(model: &'a Model, family: &str, card: &Card, element: Element) -> Result<Self> {
        model.shape.fits_cards(family, element)?;
        card.prepare(&Unit::of_step(model.shape.heads.dim, element))?;
        let network = Network::upload(card, &model.weights, element)?;
        Ok(Self { model, card: card.clone(), element, network })
    }

    /// Room for steps of at most so many tokens, with an adapter as the host has it and means of zero.
    ///
    /// # Errors
    /// `OutOfMemory`.
    ///
    /// # Panics
    /// On an adapter that [`Model::accepts_lora`] refuses.
    pub fn training(&'a self, lora: &Lora, tokens: usize, keep: CardKeep) -> Result<CardTraining<'a>> {
        let of = CardLora::new(self.model, lora);
        let step = CardStep { weights: 0, element: self.element, tokens, rank: lora.rank, values: of.values };
        let room = Room::on(&self.card, &self.model.shape, step, keep)?;
        let mut ropes = self.model.shape.ropes();
        for (rope, buffer) in ropes.iter_mut().zip(&room.shared.ropes) {
            rope.reach(tokens);
            self.card.write(buffer, bytemuck::cast_slice(rope.table()))?;
        }
        let training = CardTraining {
            tiles: Tiles::within(room.ids.tiles.clone()),
            of: self,
            lora: of,
            room,
            keep,
            capacity: tokens,
        };
        let zeros = vec![0.0; lora.values.len()];
        training.set(&lora.values, &zeros, &zeros)?;
        training.clear_gradient()?;
        Ok(training)
    }
}

impl CardTraining<'_> {
    /// Adds d(Σ token losses)/d(values) to the gradient on the card and returns Σ token losses (natural logarithm).
    ///
    /// # Errors
    /// `BadInput` for a batch that there is no room for; `NoDevice` when the card fails.
    ///
    /// # Panics
    /// On a batch that [`Model::accepts`] refuses.
    pub fn train_step(&mut self, batch: &Batch) -> Result<f64> {
        let Some(lowest) = self.lora.lowest() else { return self.loss(true, batch) };
        let bearing = self.place(batch)?;
        let pass = self.pass(true, batch, bearing);
        let output = pass.blocks(true)?;
        let loss = pass.head(output, true)?;
        for layer in (lowest..pass.shape.layers).rev() {
            pass.backward(layer, &self.room.inputs[layer], pass.kept(layer), layer == lowest)?;
        }
        Ok(loss)
    }

    /// Σ token losses (natural logarithm), with the adapter or without.
    ///
    /// # Errors
    /// As [`CardTraining::train_step`].
    pub fn loss(&mut self, adapted: bool, batch: &Batch) -> Result<f64> {
        let bearing = self.place(batch)?;
        let pass = self.pass(adapted, batch, bearing);
        pass.head(pass.blocks(false)?, false)
    }

    fn pass(&self, adapted: bool, batch: &Batch, bearing: usize) -> Pass<'_> {
        Pass {
            card: &self.of.card,
            shape: self.shape(),
            network: &self.of.network,
            room: &self.room,
            tiles: &self.tiles,
            lora: adapted.then_some(&self.lora),
            element: self.of.element,
            keep: self.keep,
            tokens: batch.tokens.len(),
            capacity: self.capacity,
            bearing,
        }
    }

    fn shape(&self) -> &Shape {
        &self.of.model.shape
    }

    /// Copies a batch's whole numbers to the card; how many rows bear loss.
    fn place(&mut self, batch: &Batch) -> Result<usize> {
        let tokens = batch.tokens.len();
        if tokens > self.capacity {
            let message = format!("a batch of {tokens} tokens on a card with room for {}", self.capacity);
            return Err(Error::new(Code::BadInput, message).with_hint("lower train.micro-batch or train.sequence"));
        }
        let rows: Vec<usize> = (0..tokens).filter(|i| batch.loss[*i]).collect();
        let mut places = vec![-1; tokens];
        rows.iter().enumerate().for_each(|(n, row)| places[*row] = n as i32);
        let positions = batch.bounds.windows(2).flat_map(|d| 0..(d[1] - d[0]) as i32).collect();
        let (card, ids) = (&self.of.card, &self.room.ids);
        let write = |to: &Buffer, numbers: Vec<i32>| card.write(to, bytemuck::cast_slice(&numbers));
        write(&ids.tokens, batch.tokens.iter().map(|id| *id as i32).collect())?;
        write(&ids.positions, positions)?;
        write(&ids.targets, rows.iter().map(|row| batch.targets[*row] as i32).collect())?;
        write(&ids.places, places)?;
        let bearing = rows.len();
        write(&ids.rows, rows.into_iter().map(|row| row as i32).collect())?;
        self.tiles.cut(card, &batch.bounds)?;
        Ok(bearing)
    }

    /// Numbers of the adapter.
    pub fn values(&self) -> usize {
        self.lora.values
    }

    /// Zero, before a step's first micro-batch.
    pub fn clear_gradient(&self) -> Result<()> {
        self.of.card.clear(&self.room.trained.grad)
    }

    /// The gradient becomes the sum over the cards of all ranks.
    pub fn add_up(&self, others: &CardRanks) -> Result<()> {
        others.add_up(&self.room.trained.grad, self.lora.values)
    }

    /// The length of the gradient.
    pub fn gradient_norm(&self) -> Result<f64> {
        let trained = &self.room.trained;
        Ok(self.of.card.squares(&trained.grad, self.lora.values, &trained.sums)?.sqrt())
    }

    /// One update of the adapter by gradient · scale; `step` counts from 1.
    pub fn update(&self, adam: &AdamW, step: u64, scale: f32) -> Result<()> {
        let (trained, n, element) = (&self.room.trained, self.lora.values, self.of.element);
        let copy = (element != Element::F32).then(|| trained.copy.part(element, 0));
        let means = [&trained.first, &trained.second];
        self.of.card.adamw(adam, step, &trained.values, &trained.grad, scale, means, n, copy)
    }

    /// Puts a state of the host's in place of the card's: values, and the optimiser's two means.
    pub fn set(&self, values: &[f32], first: &[f32], second: &[f32]) -> Result<()> {
        let trained = &self.room.trained;
        for (to, numbers) in [(&trained.values, values), (&trained.first, first), (&trained.second, second)] {
            self.of.card.write(to, bytemuck::cast_slice(&self.lora.to_card(numbers)))?;
        }
        match self.of.element {
            Element::F32 => Ok(()),
            narrow => self.of.card.narrow(&trained.values, self.lora.values, trained.copy.part(narrow, 0)),
        }
    }

    /// Copies the state to the host.
    pub fn get(&self, values: &mut [f32], first: &mut [f32], second: &mut [f32]) -> Result<()> {
        let trained = &self.room.trained;
        let pairs = [(&trained.values, values), (&trained.first, first), (&trained.second, second)];
        pairs.into_iter().try_for_each(|(from, to)| self.read(from, to))
    }

    /// Copies the gradient to the host.
    pub fn gradient(&self, grad: &mut [f32]) -> Result<()> {
        self.read(&self.room.trained.grad, grad)
    }

    /// Puts the host's gradient in place of the card's.
    pub fn set_gradient(&self, grad: &[f32]) -> Result<()> {
        self.of.card.write(&self.room.trained.grad, bytemuck::cast_slice(&self.lora.to_card(grad)))
    }

    fn read(&self, from: &Buffer, to: &mut [f32]) -> Result<()> {
        let mut there = vec![0.0f32; self.lora.values];
        self.of.card.read(from, bytemuck::cast_slice_mut(&mut there))?;
        self.lora.to_host(&there, to);
        Ok(())
    }

    /// Logits of every position, `[T, V]`, before their cap.
    #[cfg(test)]
    fn logits(&mut self, adapted: bool, batch: &Batch) -> Result<Vec<f32>> {
        let bearing = self.place(batch)?;
        let pass = self.pass(adapted, batch, bearing);
        pass.all_logits(pass.blocks(false)?)
    }
}

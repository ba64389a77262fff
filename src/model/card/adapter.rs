//! The trainable matrices as they lie on a card: all A of a linear layer are rows of one matrix, so that x · Aᵀ of its
//! projections is one multiply. The host's order is `Lora`'s.

use crate::model::linear::{LayerPlaces, Place};
use crate::model::{Lora, Model};
use std::ops::Range;

/// Where a network's matrices lie on a card.
pub(super) struct CardLora {
    /// R
    pub rank: usize,
    /// alpha / R
    pub scale: f32,
    /// The adapted projections of each block's four linear layers.
    pub places: Vec<[Stacked; 4]>,
    /// The same numbers in the host's order, piece by piece: where they are there, and where they begin here.
    order: Vec<(Range<usize>, usize)>,
    /// Numbers in all.
    pub values: usize,
}

/// The adapted projections of one linear layer.
pub(super) struct Stacked {
    /// Where A `[count · R, in]` begins.
    pub a: usize,
    /// Adapted projections.
    pub count: usize,
    /// B, piece by piece.
    pub b: Vec<Piece>,
}

/// Rows of a B, and what they add to.
pub(super) struct Piece {
    /// Which of the linear layer's adapted projections.
    pub place: usize,
    /// Outputs among those of the linear layer.
    pub columns: Range<usize>,
    /// Where its rows `[columns, R]` begin.
    pub at: usize,
}

impl CardLora {
    pub fn new(model: &Model, lora: &Lora) -> Self {
        let mut order = Order { pieces: Vec::new(), end: 0 };
        let places = model.places(lora);
        let places = places.iter().map(|layer: &LayerPlaces| layer.each_ref().map(|places| order.stack(places)));
        let places = places.collect();
        Self { rank: lora.rank, scale: lora.alpha / lora.rank as f32, places, values: order.end, order: order.pieces }
    }

    /// The first block with an adapted projection: no gradient is needed below it.
    pub fn lowest(&self) -> Option<usize> {
        self.places.iter().position(|layer| layer.iter().any(|linear| linear.count > 0))
    }

    /// Numbers in the host's order as they lie on the card.
    pub fn to_card(&self, host: &[f32]) -> Vec<f32> {
        let mut there = vec![0.0; self.values];
        for (from, at) in &self.order {
            there[*at..*at + from.len()].copy_from_slice(&host[from.clone()]);
        }
        there
    }

    /// And back.
    pub fn to_host(&self, card: &[f32], host: &mut [f32]) {
        for (to, at) in &self.order {
            host[to.clone()].copy_from_slice(&card[*at..*at + to.len()]);
        }
    }
}

struct Order {
    pieces: Vec<(Range<usize>, usize)>,
    end: usize,
}

impl Order {
    fn put(&mut self, from: &Range<usize>) -> usize {
        let at = self.end;
        self.pieces.push((from.clone(), at));
        self.end += from.len();
        at
    }

    fn stack(&mut self, places: &[Place]) -> Stacked {
        let a = self.end;
        places.iter().for_each(|place| {
            self.put(&place.a);
        });
        let mut b = Vec::new();
        for (n, place) in places.iter().enumerate() {
            for (columns, rows) in &place.b {
                b.push(Piece { place: n, columns: columns.clone(), at: self.put(rows) });
            }
        }
        Stacked { a, count: places.len(), b }
    }
}

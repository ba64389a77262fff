//! Documents packed into rows without padding, and rows taken in a shuffled order, epoch after epoch.
//!
//! Which documents share a row is drawn once; each epoch shuffles the rows. So the data cursor is one number: how
//! many rows were taken.

use super::draw::{Purpose, shuffle, stream};
use super::plan::{Length, Plan};
use super::template::Document;
use crate::model::Batch;

/// Rows that still take documents. More would pack a little tighter and cost time for each document.
const OPEN_ROWS: usize = 64;

/// What there is to learn from, in rows.
#[derive(Debug, Clone)]
pub struct Rows {
    documents: Vec<Document>,
    rows: Vec<Vec<usize>>,
    seed: u64,
}

/// What fitting the documents to the sequence did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cuts {
    /// Documents that lost their end.
    pub truncated: u64,
    /// Documents left out, since what remained bore no loss.
    pub left_out: u64,
}

/// Fits documents to `sequence` tokens; what is cut is counted.
pub fn fit(documents: Vec<Document>, sequence: usize) -> (Vec<Document>, Cuts) {
    let mut cuts = Cuts::default();
    let mut fitted = Vec::with_capacity(documents.len());
    for document in documents {
        cuts.truncated += u64::from(!document.running && document.tokens.len() > sequence);
        for piece in document.fitted(sequence) {
            match piece.tokens.is_empty() {
                true => cuts.left_out += 1,
                false => fitted.push(piece),
            }
        }
    }
    (fitted, cuts)
}

impl Rows {
    /// Packs documents of at most `sequence` tokens: first fit over the rows that are still open, in an order drawn
    /// from the seed.
    pub fn pack(documents: Vec<Document>, sequence: usize, seed: u64) -> Self {
        let mut order: Vec<usize> = (0..documents.len()).collect();
        shuffle(&mut stream(seed, Purpose::Pack), &mut order);
        let mut rows: Vec<Vec<usize>> = Vec::new();
        let mut open: Vec<(usize, usize)> = Vec::new(); // row, room
        for document in order {
            let length = documents[document].tokens.len();
            match open.iter_mut().find(|(_, room)| *room >= length) {
                Some((row, room)) => {
                    rows[*row].push(document);
                    *room -= length;
                }
                None => {
                    if open.len() == OPEN_ROWS {
                        let fullest = (0..open.len()).min_by_key(|i| open[*i].1).expect("some rows are open");
                        open.remove(fullest);
                    }
                    open.push((rows.len(), sequence.saturating_sub(length)));
                    rows.push(vec![document]);
                }
            }
        }
        Self { documents, rows, seed }
    }

    /// How many rows an epoch has.
    pub fn len(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Nothing to learn from?
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Every document.
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// Tokens of an epoch.
    pub fn tokens(&self) -> u64 {
        self.documents.iter().map(|d| d.tokens.len() as u64).sum()
    }

    /// How many rows a whole run takes.
    pub fn wanted(&self, plan: &Plan) -> u64 {
        match plan.length {
            Length::Epochs(epochs) => ((epochs * self.len() as f64).ceil() as u64).max(1),
            Length::Steps(steps) => steps.saturating_mul(plan.batch as u64),
        }
    }

    /// The rows of the run from `from` to below `to`, each a list of documents.
    pub fn take(&self, from: u64, to: u64) -> Vec<Vec<&Document>> {
        let mut taken = Vec::with_capacity((to - from) as usize);
        let (mut epoch, mut order) = (u64::MAX, Vec::new());
        for position in from..to {
            if position / self.len() != epoch {
                epoch = position / self.len();
                order = (0..self.rows.len()).collect();
                shuffle(&mut stream(self.seed, Purpose::Order(epoch)), &mut order);
            }
            let row = &self.rows[order[(position % self.len()) as usize]];
            taken.push(row.iter().map(|d| &self.documents[*d]).collect());
        }
        taken
    }
}

/// Documents end to end, as the network takes them: the last token of each is only ever a target.
pub fn batch<'a>(documents: impl IntoIterator<Item = &'a Document>) -> Batch {
    let mut batch = Batch { bounds: vec![0], ..Batch::default() };
    for document in documents {
        let inputs = document.tokens.len() - 1;
        batch.tokens.extend(&document.tokens[..inputs]);
        batch.targets.extend(&document.tokens[1..]);
        batch.loss.extend(&document.loss[1..]);
        batch.bounds.push(batch.tokens.len());
    }
    batch
}

/// Positions of a batch that bear loss.
pub fn loss_tokens(batch: &Batch) -> u64 {
    batch.loss.iter().filter(|l| **l).count() as u64
}

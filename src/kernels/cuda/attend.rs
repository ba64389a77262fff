//! Attention on a card: its tiles, its scores, and how its kernels are cut.

use super::card::{Buffer, Card};
use super::launch::Argument::{self, Float, Int, Long, Pointer};
use super::launch::Launch;
use super::ops::{Part, blocks, whole};
use super::source::{Element, Unit};
use crate::error::{Code, Error, Result};
use crate::kernels::{Heads, Scores};

/// Rows of a tile.
const TILE: usize = 64;

/// The tiles of attention: at most 64 rows each, none over a document's end. Cut anew for each batch.
pub struct Tiles {
    tiles: Buffer,
    count: usize,
    tokens: usize,
}

impl Tiles {
    /// Bytes for the tiles of any batch of so many tokens.
    pub fn room(tokens: usize) -> usize {
        // where each token is a document there is a tile a token
        16 * tokens
    }

    /// None yet, in memory of [`Tiles::room`] bytes.
    pub fn within(tiles: Buffer) -> Self {
        Self { tiles, count: 0, tokens: 0 }
    }

    /// Of documents at `bounds` = `[0, …, T]`.
    pub fn new(card: &Card, bounds: &[usize]) -> Result<Self> {
        let mut tiles = Self::within(card.alloc(Self::room(bounds.last().copied().unwrap_or(0)))?);
        tiles.cut(card, bounds)?;
        Ok(tiles)
    }

    /// Those of documents at `bounds` in place of what was there.
    ///
    /// # Panics
    /// When there is no room for them.
    pub fn cut(&mut self, card: &Card, bounds: &[usize]) -> Result<()> {
        let tiles = bounds.windows(2).flat_map(|d| {
            let document = [d[0], d[1]];
            (d[0]..d[1]).step_by(TILE).map(move |row| [row, (row + TILE).min(document[1]), document[0], document[1]])
        });
        let bytes: Vec<u8> = tiles.flatten().flat_map(|n| (n as i32).to_le_bytes()).collect();
        (self.count, self.tokens) = (bytes.len() / 16, bounds.last().copied().unwrap_or(0));
        card.write(&self.tiles, &bytes)
    }
}

impl Card {
    /// out `[T, H·D]` and lse f32 `[T, H]` from qkv `[T, (H + 2K)·D]`; `sinks` is f32 `[H]`.
    pub fn attention(
        &self,
        qkv: Part<'_>,
        heads: Heads,
        scores: CardScores<'_>,
        tiles: &Tiles,
        out: Part<'_>,
        lse: &Buffer,
    ) -> Result<()> {
        let (unit, shape) = Shape::of(heads, qkv.element)?;
        let tokens = tiles.tokens;
        let launch = Launch {
            grid: [tiles.count as u32, heads.query as u32, 1],
            threads: 128,
            shared: shape.shared(TILE + 2 * shape.forward_keys),
        };
        let buffers = [
            out.holding(tokens * heads.query * heads.dim),
            lse.part(Element::F32, 0).holding(tokens * heads.query),
            qkv.holding(tokens * heads.stride()),
            Pointer(tiles.tiles.at()),
            scores.sinks.map_or(Pointer(0), |sinks| sinks.part(Element::F32, 0).holding(heads.query)),
        ];
        self.launch(unit, "attention", launch, &[&buffers[..], &scores.arguments(heads)].concat())
    }

    /// dqkv from dout `[T, H·D]` and what the forward saw and gave; `delta` f32 `[T, H]` is room to work in.
    #[allow(clippy::too_many_arguments)] // all of the operation's data
    pub fn attention_backward(
        &self,
        qkv: Part<'_>,
        heads: Heads,
        scores: CardScores<'_>,
        tiles: &Tiles,
        out: Part<'_>,
        lse: &Buffer,
        dout: Part<'_>,
        delta: &Buffer,
        dqkv: Part<'_>,
    ) -> Result<()> {
        let (unit, shape) = Shape::of(heads, qkv.element)?;
        let (tokens, rows) = (tiles.tokens, tiles.tokens * heads.query);
        let [delta, lse] = [delta, lse].map(|b| b.part(Element::F32, 0).holding(rows));
        let [dout, out] = [dout, out].map(|b| b.holding(rows * heads.dim));
        let launch = Launch { grid: blocks(rows, 4), threads: 128, shared: 0 };
        self.launch(unit, "attention_delta", launch, &[delta, dout, out, Long(rows as i64), whole(heads.dim)])?;
        let [dqkv, qkv] = [dqkv, qkv].map(|b| b.holding(tokens * heads.stride()));
        let buffers = [dqkv, dout, lse, delta, qkv, Pointer(tiles.tiles.at())];
        let arguments = [&buffers[..], &scores.arguments(heads)].concat();
        let launch = |across: usize, rows: usize, slices: usize| Launch {
            grid: [tiles.count as u32, across as u32, slices as u32],
            threads: 128,
            shared: shape.shared(2 * TILE + 2 * rows),
        };
        self.launch(unit, "attention_backward_q", launch(heads.query, shape.backward_keys, 1), &arguments)?;
        self.launch(unit, "attention_backward_kv", launch(heads.kv, shape.queries, shape.slices), &arguments)
    }
}

/// [`Scores`], their sinks on the card.
#[derive(Clone, Copy)]
pub struct CardScores<'a> {
    /// What q·k is multiplied by.
    pub scale: f32,
    /// As in [`Scores`].
    pub cap: Option<f32>,
    /// As in [`Scores`].
    pub window: Option<usize>,
    /// f32 `[H]`
    pub sinks: Option<&'a Buffer>,
}

impl<'a> CardScores<'a> {
    /// The same scores.
    pub fn of(scores: Scores<'_>, sinks: Option<&'a Buffer>) -> Self {
        Self { scale: scores.scale, cap: scores.cap, window: scores.window, sinks }
    }

    fn arguments(self, heads: Heads) -> [Argument; 6] {
        let window = self.window.map_or(0, |n| i32::try_from(n).unwrap_or(i32::MAX / 2));
        let shape = [heads.query, heads.kv, heads.dim].map(whole);
        [shape[0], shape[1], shape[2], Float(self.scale), Float(self.cap.unwrap_or(0.0)), Int(window)]
    }
}

/// How attention's kernels are cut: the constants at the head of attention.cu.
struct Shape {
    head: usize,
    element: Element,
    forward_keys: usize,
    backward_keys: usize,
    queries: usize,
    slices: usize,
}

impl Shape {
    fn of(heads: Heads, element: Element) -> Result<(Unit, Self)> {
        let unit = Unit::of_heads(heads.dim, element).ok_or_else(|| {
            Error::new(Code::UnsupportedBase, format!("heads of {} columns on a card", heads.dim))
                .with_hint("train.device = \"cpu\" has no such limit")
        })?;
        let head = unit.head().unwrap_or(heads.dim);
        let wide = element == Element::F32;
        let (backward_keys, queries) = match (head, wide) {
            (64, false) => (64, 64),
            (64, true) => (32, 32),
            (128, false) => (64, 32),
            _ => (16, 16),
        };
        let forward_keys = if wide || head == 256 { 32 } else { 64 };
        Ok((unit, Self { head, element, forward_keys, backward_keys, queries, slices: head.div_ceil(128) }))
    }

    /// Bytes of so many rows, each 16 bytes longer than a head.
    fn shared(&self, rows: usize) -> u32 {
        (rows * (self.head * self.element.size() + 16)) as u32
    }
}

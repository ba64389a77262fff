//! What a step on a card works in: every buffer out of one allocation. The planner carves the same without a card, so that
//! what it says is what will be asked for.

use super::{CardKeep, CardStep};
use crate::kernels::cuda::{Buffer, Card, Tiles};
use crate::model::Shape;

/// Rows whose logits are held at once.
pub(super) const LOGITS: usize = 512;
/// Every buffer begins at a multiple of this: what cublasLt's fastest kernels ask for.
const ALIGNMENT: usize = 256;
const F32: usize = 4;
const I32: usize = 4;

/// What bytes are for.
#[derive(Clone, Copy)]
pub(super) enum Use {
    Adapter,
    Kept,
    Shared,
    Head,
}

/// What the backward of one block needs besides its input; empty where the family lacks it.
pub(super) struct Kept<B> {
    /// f32 `[T]` of x
    pub rstd1: B,
    /// `[T, (H + 2K)·D]` after the turn
    pub qkv: B,
    /// Queries and keys before their norm, apart.
    pub heads: [Before<B>; 2],
    /// `[T, H·D]`
    pub out: B,
    /// f32 `[T, H]`
    pub lse: B,
    /// What attention gives, before its norm.
    pub attention: Before<B>,
    /// `[T, C]`
    pub h: B,
    /// f32 `[T]` of h
    pub rstd2: B,
    /// `[T, 2F]`, or `[T, F]` without a gate; all blocks share it where it is multiplied again
    pub gu: B,
    /// What feed-forward gives, before its norm.
    pub ffn: Before<B>,
    /// x · Aᵀ of the four linear layers, one after the other: `[T, projections · R]` in all
    pub thin: B,
}

/// What a norm saw.
pub(super) struct Before<B> {
    pub raw: B,
    /// f32, one a group
    pub rstd: B,
}

/// Buffers that all blocks share.
pub(super) struct Shared<B> {
    /// `[T, C]` n₁, n₂
    pub n: B,
    /// `[T, F]`
    pub act: B,
    /// `[T, C]` gradient of n
    pub dn: B,
    /// `[T, F]`
    pub dact: B,
    /// `[T, 2F]`
    pub dgu: B,
    /// `[T, H·D]`
    pub dout: B,
    /// `[T, (H + 2K)·D]`
    pub dqkv: B,
    /// f32 `[T, H]`, the attention's
    pub delta: B,
    /// `[T, projections · R]`
    pub dthin: B,
    /// `[T, C]` gradient of what a half gives, before its norm; and the head's rows
    pub half: B,
    /// `[T, C]` gradient of x by way of the feed-forward, where the halves are parallel
    pub aside: B,
    /// `[T, C]` the gradient that runs down the residual stream
    pub d: B,
    /// f32 `[T, R/2, 2]` for each turn
    pub ropes: Vec<B>,
}

/// A batch's whole numbers, i32 `[T]` each, and the tiles.
pub(super) struct Ids<B> {
    pub tokens: B,
    /// Positions inside documents.
    pub positions: B,
    /// The rows that bear loss.
    pub rows: B,
    /// Their targets.
    pub targets: B,
    /// Where a token's row is among those that bear loss, or -1.
    pub places: B,
    pub tiles: B,
}

/// The head's own.
pub(super) struct Head<B> {
    /// f32 `[N]`
    pub rstd: B,
    /// f32 `[LOGITS, V]`
    pub logits: B,
    /// `[LOGITS, V]`
    pub dlogits: B,
    /// f32 `[N]`
    pub losses: B,
}

/// The adapter and its optimiser, flat, f32.
pub(super) struct Trained<B> {
    pub values: B,
    /// The values in the type that is multiplied; empty where that is f32.
    pub copy: B,
    pub grad: B,
    pub first: B,
    pub second: B,
    /// Room for the sum of squares.
    pub sums: B,
}

/// All of a step's buffers.
pub(super) struct Room<B> {
    /// `[T, C]` the input of each block, and the output of the last
    pub inputs: Vec<B>,
    /// One a block, or one for all.
    pub kept: Vec<Kept<B>>,
    pub shared: Shared<B>,
    pub ids: Ids<B>,
    pub head: Head<B>,
    pub trained: Trained<B>,
}

impl<B: Clone> Room<B> {
    /// Asks `take` for each buffer in its order.
    pub fn carve(shape: &Shape, step: CardStep, keep: CardKeep, take: &mut impl FnMut(Use, usize) -> B) -> Self {
        let (tokens, size) = (step.tokens, step.element.size());
        let row = tokens * shape.hidden * size;
        let gate_up = tokens * shape.activation.columns(shape.ffn) * size;
        let inputs = (0..=shape.layers).map(|_| take(Use::Kept, row)).collect();
        let again = (keep != CardKeep::Rows).then(|| take(Use::Shared, gate_up));
        let blocks = if keep == CardKeep::Inputs { 1 } else { shape.layers };
        let kept = (0..blocks).map(|_| {
            let gu = again.clone().unwrap_or_else(|| take(Use::Kept, gate_up));
            kept(shape, step, gu, &mut |bytes| take(Use::Kept, bytes))
        });
        Self {
            inputs,
            kept: kept.collect(),
            shared: shared(shape, step, &mut |bytes| take(Use::Shared, bytes)),
            ids: ids(tokens, &mut |bytes| take(Use::Shared, bytes)),
            head: head(shape, step, &mut |bytes| take(Use::Head, bytes)),
            trained: trained(step, &mut |bytes| take(Use::Adapter, bytes)),
        }
    }
}

impl Room<Buffer> {
    /// In memory of a card, with what else it is divided into; `total` is the planner's sum.
    pub fn on(card: &Card, shape: &Shape, step: CardStep, keep: CardKeep) -> crate::error::Result<Self> {
        let total: usize = bytes(shape, step, keep).iter().sum();
        let (arena, mut at) = (card.alloc(total)?, 0);
        Ok(Self::carve(shape, step, keep, &mut |_, bytes| {
            let buffer = arena.slice(at, bytes);
            at += bytes.next_multiple_of(ALIGNMENT);
            buffer
        }))
    }
}

/// Bytes by what they are for, in the order of [`Use`].
pub(super) fn bytes(shape: &Shape, step: CardStep, keep: CardKeep) -> [usize; 4] {
    let mut sums = [0; 4];
    Room::carve(shape, step, keep, &mut |what, bytes| sums[what as usize] += bytes.next_multiple_of(ALIGNMENT));
    sums
}

fn kept<B>(shape: &Shape, step: CardStep, gu: B, take: &mut impl FnMut(usize) -> B) -> Kept<B> {
    let (tokens, size, norms) = (step.tokens, step.element.size(), shape.norms);
    let singles = |there: bool| if there { tokens * F32 } else { 0 };
    let row = |there: bool| if there { tokens * shape.hidden * size } else { 0 };
    let groups = shape.head_norm_groups().unwrap_or([(0, 0); 2]);
    Kept {
        rstd1: take(singles(norms.before_attention)),
        qkv: take(tokens * shape.heads.stride() * size),
        heads: groups.map(|(groups, width)| Before {
            raw: take(tokens * groups * width * size),
            rstd: take(tokens * groups * F32),
        }),
        out: take(tokens * shape.heads.query * shape.heads.dim * size),
        lse: take(tokens * shape.heads.query * F32),
        attention: Before { raw: take(row(norms.after_attention)), rstd: take(singles(norms.after_attention)) },
        h: take(row(true)),
        rstd2: take(singles(norms.before_ffn)),
        gu,
        ffn: Before { raw: take(row(norms.after_ffn)), rstd: take(singles(norms.after_ffn)) },
        thin: take(tokens * shape.projections * step.rank * size),
    }
}

fn shared<B>(shape: &Shape, step: CardStep, take: &mut impl FnMut(usize) -> B) -> Shared<B> {
    let (tokens, size, heads) = (step.tokens, step.element.size(), shape.heads);
    let row = tokens * shape.hidden * size;
    let parallel = shape.residual == crate::base::family::Residual::Parallel;
    Shared {
        n: take(row),
        act: take(tokens * shape.ffn * size),
        dn: take(row),
        dact: take(tokens * shape.ffn * size),
        dgu: take(tokens * shape.activation.columns(shape.ffn) * size),
        dout: take(tokens * heads.query * heads.dim * size),
        dqkv: take(tokens * heads.stride() * size),
        delta: take(tokens * heads.query * F32),
        dthin: take(tokens * shape.projections * step.rank * size),
        half: take(row),
        aside: take(if parallel { row } else { 0 }),
        d: take(row),
        ropes: shape.turns.iter().map(|_| take(tokens * shape.pairs.rotated * F32)).collect(),
    }
}

fn ids<B>(tokens: usize, take: &mut impl FnMut(usize) -> B) -> Ids<B> {
    let mut each = || take(tokens * I32);
    Ids {
        tokens: each(),
        positions: each(),
        rows: each(),
        targets: each(),
        places: each(),
        tiles: take(Tiles::room(tokens)),
    }
}

fn head<B>(shape: &Shape, step: CardStep, take: &mut impl FnMut(usize) -> B) -> Head<B> {
    let numbers = LOGITS.min(step.tokens) * shape.vocab;
    Head {
        rstd: take(step.tokens * F32),
        logits: take(numbers * F32),
        dlogits: take(numbers * step.element.size()),
        losses: take(step.tokens * F32),
    }
}

fn trained<B>(step: CardStep, take: &mut impl FnMut(usize) -> B) -> Trained<B> {
    let singles = step.values * F32;
    let narrow = step.element.size() < F32;
    Trained {
        values: take(singles),
        copy: take(if narrow { step.values * step.element.size() } else { 0 }),
        grad: take(singles),
        first: take(singles),
        second: take(singles),
        sums: take(Card::squares_room(step.values)),
    }
}

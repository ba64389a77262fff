//! A frozen linear layer of one or several projections, with LoRA on any of them; forward and backward.

use super::Lora;
use crate::kernels::{Frozen, Mat, MatMut, Threads, add_rows, matmul};
use std::borrow::Cow;
use std::ops::Range;

/// y = x · weightᵀ + bias, whose outputs are those of one or more projections side by side.
pub(super) struct Linear {
    /// in
    pub inputs: usize,
    /// out
    pub outputs: usize,
    /// `[out, in]`
    pub weight: Frozen,
    /// What the whole is multiplied by: already in the bias, still to come in the weight and in an update.
    pub multiplier: f32,
    /// `[out]`
    pub bias: Option<Vec<f32>>,
    /// The projections, in the order of their outputs.
    pub parts: Vec<Part>,
}

/// One projection of a [`Linear`].
pub(super) struct Part {
    /// As the checkpoint names it, without `.weight`.
    pub name: String,
    /// Its outputs, piece by piece in the checkpoint's order: in one piece, but where heads lie by turns.
    pub pieces: Vec<Range<usize>>,
}

impl Part {
    /// out
    pub fn outputs(&self) -> usize {
        self.pieces.iter().map(Range::len).sum()
    }
}

/// One adapted projection, seen from its linear layer.
#[derive(Debug)]
pub(super) struct Place {
    /// A in the flat values.
    pub a: Range<usize>,
    /// B, piece by piece: outputs among those of the linear layer, and where their rows lie in the flat values.
    pub b: Vec<(Range<usize>, Range<usize>)>,
}

impl Place {
    /// Of a projection whose matrices lie there.
    pub fn new(part: &Part, a: Range<usize>, b: Range<usize>, rank: usize) -> Self {
        let mut at = b.start;
        let piece = |columns: &Range<usize>| {
            let rows = at..at + columns.len() * rank;
            at = rows.end;
            (columns.clone(), rows)
        };
        Self { a, b: part.pieces.iter().map(piece).collect() }
    }
}

/// The places of a block's four linear layers.
pub(super) type LayerPlaces = [Vec<Place>; 4];

/// The adapted projections of one [`Linear`]; none where there is no adapter.
#[derive(Clone, Copy)]
pub(super) struct Adapted<'a> {
    pub values: &'a [f32],
    pub rank: usize,
    pub scale: f32,
    pub places: &'a [Place],
}

impl<'a> Adapted<'a> {
    /// No adapter.
    pub const NONE: Adapted<'static> = Adapted { values: &[], rank: 0, scale: 0.0, places: &[] };

    /// The places of one linear layer.
    pub fn new(lora: &'a Lora, places: &'a [Place]) -> Self {
        Self { values: &lora.values, rank: lora.rank, scale: lora.alpha / lora.rank as f32, places }
    }

    /// Columns of x · Aᵀ over all places.
    pub fn thin(&self) -> usize {
        self.rank * self.places.len()
    }

    /// `[places · R, in]` every A, one after the other: one product over the input that they share, in place of several.
    fn a(&self) -> Cow<'a, [f32]> {
        match self.places {
            [place] => Cow::Borrowed(&self.values[place.a.clone()]),
            places => places.iter().flat_map(|place| &self.values[place.a.clone()]).copied().collect(),
        }
    }

    fn b(&self, outputs: usize, rows: &Range<usize>) -> Mat<'a> {
        Mat::new(&self.values[rows.clone()], outputs, self.rank)
    }
}

impl Linear {
    /// y `[T, out]` from x `[T, in]`, or y + that where `add`; `thin` keeps x · Aᵀ of each place, [T, places · R].
    pub fn forward(&self, x: &[f32], lora: Adapted<'_>, thin: &mut Vec<f32>, y: &mut [f32], add: bool) {
        let tokens = y.len() / self.outputs;
        self.weight.forward(x, self.multiplier, add, y);
        if let Some(bias) = &self.bias {
            add_rows(y, bias);
        }
        self.thin(x, tokens, lora, thin);
        for (n, place) in lora.places.iter().enumerate() {
            let thin = Mat::strided(&thin[n * lora.rank..], tokens, lora.rank, lora.thin());
            for (columns, rows) in &place.b {
                let out = MatMut::strided(&mut y[columns.start..], tokens, columns.len(), self.outputs);
                let b = lora.b(columns.len(), rows);
                matmul(out, true, lora.scale * self.multiplier, thin, b.t(), Threads::All);
            }
        }
    }

    /// x · Aᵀ of each place.
    pub fn thin(&self, x: &[f32], tokens: usize, lora: Adapted<'_>, thin: &mut Vec<f32>) {
        thin.resize(tokens * lora.thin(), 0.0);
        if !lora.places.is_empty() {
            let a = lora.a();
            let (x, a) = (Mat::new(x, tokens, self.inputs), Mat::new(&a, lora.thin(), self.inputs));
            matmul(MatMut::new(thin, tokens, lora.thin()), false, 1.0, x, a.t(), Threads::All);
        }
    }

    /// Adds the gradients of A and B to `grad`, and gives that of x in `dx` where it is wanted.
    ///
    /// `x` and `thin` are what the forward had; `spare` is a buffer.
    #[allow(clippy::too_many_arguments)] // all of the operation's data
    pub fn backward(
        &self,
        x: &[f32],
        thin: &[f32],
        dy: &[f32],
        lora: Adapted<'_>,
        spare: &mut Vec<f32>,
        grad: &mut [f32],
        mut dx: Option<&mut [f32]>,
    ) {
        let (tokens, rank, scale) = (dy.len() / self.outputs, lora.rank, lora.scale * self.multiplier);
        if let Some(dx) = dx.as_deref_mut() {
            self.weight.backward(dy, self.multiplier, dx);
        }
        if lora.places.is_empty() {
            return;
        }
        spare.resize(tokens * lora.thin(), 0.0);
        for (n, place) in lora.places.iter().enumerate() {
            let thin = Mat::strided(&thin[n * rank..], tokens, rank, lora.thin());
            for (piece, (columns, rows)) in place.b.iter().enumerate() {
                let outputs = columns.len();
                let dy = Mat::strided(&dy[columns.start..], tokens, outputs, self.outputs);
                let db = MatMut::new(&mut grad[rows.clone()], outputs, rank);
                matmul(db, true, scale, dy.t(), thin, Threads::All);
                let dthin = MatMut::strided(&mut spare[n * rank..], tokens, rank, lora.thin());
                matmul(dthin, piece > 0, scale, dy, lora.b(outputs, rows), Threads::All);
            }
        }
        let dthin = Mat::new(spare, tokens, lora.thin());
        let mut da = vec![0.0; lora.thin() * self.inputs];
        let sums = MatMut::new(&mut da, lora.thin(), self.inputs);
        matmul(sums, false, 1.0, dthin.t(), Mat::new(x, tokens, self.inputs), Threads::All);
        for (place, da) in lora.places.iter().zip(da.chunks(rank * self.inputs)) {
            grad[place.a.clone()].iter_mut().zip(da).for_each(|(sum, d)| *sum += d);
        }
        if let Some(dx) = dx {
            let a = lora.a();
            let a = Mat::new(&a, lora.thin(), self.inputs);
            matmul(MatMut::new(dx, tokens, self.inputs), true, 1.0, dthin, a, Threads::All);
        }
    }
}

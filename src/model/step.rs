//! A training step's arithmetic: embedding, blocks, fused head and cross entropy, and all the way back.

use super::block::{Block, Kept, Shared};
use super::linear::{Adapted, LayerPlaces};
use super::{Batch, Lora, Model, Shape};
use crate::kernels::{CrossEntropy, Rope, add_rows, cap_logits, linear_cross_entropy, norm, norm_backward};
use rayon::prelude::*;

/// What the forward of a training step keeps for the backward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// All that it needs: fastest.
    All,
    /// All that the last so many blocks need, and the input of each other one, whose rest is made again.
    Blocks(usize),
    /// Each block's input; the rest is made again, block by block: about a third more work, a fraction of the memory.
    Inputs,
}

impl Keep {
    /// How many of `layers` blocks, the last ones, keep all that they need.
    pub(super) fn whole(self, layers: usize) -> usize {
        match self {
            Self::All => layers,
            Self::Blocks(blocks) => blocks.min(layers),
            Self::Inputs => 0,
        }
    }

    /// How many blocks' activations are held: one is made again at a time.
    pub(super) fn held(self, layers: usize) -> usize {
        let whole = self.whole(layers);
        whole + usize::from(whole < layers)
    }
}

/// Buffers of one model that live from step to step: a step of known size allocates next to nothing.
pub struct Workspace {
    keep: Keep,
    ropes: Vec<Rope>,
    positions: Vec<usize>,
    /// `[T, C]` the input of each block, and the output of the last; two that alternate where nothing is kept.
    inputs: Vec<Vec<f32>>,
    /// Which of them is the output of the last.
    output: usize,
    /// One a block that keeps all, and one for all others before them.
    kept: Vec<Kept>,
    shared: Shared,
    /// `[T, C]` the gradient that runs down the residual stream
    d: Vec<f32>,
    head: Head,
}

/// The rows that bear loss, `[N, C]` each.
#[derive(Default)]
struct Head {
    rows: Vec<usize>,
    targets: Vec<u32>,
    x: Vec<f32>,
    n: Vec<f32>,
    rstd: Vec<f32>,
    dn: Vec<f32>,
    dx: Vec<f32>,
    loss: CrossEntropy,
}

impl Model {
    /// Buffers for steps of this model.
    pub fn workspace(&self, keep: Keep) -> Workspace {
        Workspace {
            keep,
            ropes: self.shape.ropes(),
            positions: Vec::new(),
            inputs: Vec::new(),
            output: 0,
            kept: Vec::new(),
            shared: Shared::default(),
            d: Vec::new(),
            head: Head::default(),
        }
    }

    /// Adds d(Σ token losses)/d(values) to `grad` and returns Σ token losses (natural logarithm).
    ///
    /// # Panics
    /// On a batch or an adapter that [`Model::accepts`] or [`Model::accepts_lora`] refuses, or a `grad` of another
    /// length than the values.
    pub fn train_step(&self, lora: &Lora, batch: &Batch, grad: &mut [f32], work: &mut Workspace) -> f64 {
        assert_eq!(grad.len(), lora.values.len(), "gradient and values differ in length");
        let places = self.places(lora);
        let Some(lowest) = places.iter().position(|layer| layer.iter().any(|p| !p.is_empty())) else {
            return self.loss(Some(lora), batch, work);
        };
        self.forward(Some((lora, &places)), batch, work, true);
        let loss = self.head(batch, work, true);
        work.head.scatter(&mut work.d, batch.tokens.len() * self.shape.hidden);
        let Workspace { keep, ropes, positions, inputs, kept, shared, d, .. } = work;
        let (layers, whole) = (self.shape.layers, keep.whole(self.shape.layers));
        for layer in (lowest..layers).rev() {
            let block = self.block(layer, Some((lora, &places)), ropes, positions, &batch.bounds);
            let x = &inputs[layer];
            let kept = &mut kept[place(layer, layers, whole)];
            if layer + whole < layers {
                block.forward_again(x, kept, shared);
            }
            block.backward(x, kept, shared, d, grad, layer == lowest);
        }
        loss
    }

    /// Σ token losses (natural logarithm), with an adapter or without.
    ///
    /// # Panics
    /// As [`Model::train_step`].
    pub fn loss(&self, lora: Option<&Lora>, batch: &Batch, work: &mut Workspace) -> f64 {
        let places = lora.map(|lora| (lora, self.places(lora)));
        self.forward(places.as_ref().map(|(l, p)| (*l, &p[..])), batch, work, false);
        self.head(batch, work, false)
    }

    /// The logits of every position, [T, V]: for comparisons; training and losses never hold them.
    ///
    /// # Panics
    /// As [`Model::train_step`].
    pub fn logits(&self, lora: Option<&Lora>, batch: &Batch) -> Vec<f32> {
        let mut work = self.workspace(Keep::Inputs);
        let places = lora.map(|lora| (lora, self.places(lora)));
        self.forward(places.as_ref().map(|(l, p)| (*l, &p[..])), batch, &mut work, false);
        self.logits_of(&work.inputs[work.output])
    }

    /// `[N, V]` from rows x `[N, C]` of the last block's output.
    pub(super) fn logits_of(&self, x: &[f32]) -> Vec<f32> {
        let (hidden, vocab) = (self.shape.hidden, self.shape.vocab);
        let rows = x.len() / hidden;
        let (mut n, mut rstd) = (vec![0.0; x.len()], vec![0.0; rows]);
        self.last_norm(x, &mut n, &mut rstd);
        let mut logits = vec![0.0; rows * vocab];
        self.weights.head().forward(&n, 1.0, false, &mut logits);
        cap_logits(&mut logits, self.shape.logit_cap);
        logits
    }

    fn last_norm(&self, x: &[f32], n: &mut [f32], rstd: &mut [f32]) {
        let by = &self.weights.norm;
        norm(self.shape.centre, x, &by.gain, self.shape.eps, n, rstd);
        by.bias.iter().for_each(|bias| add_rows(n, bias));
    }

    /// The embeddings of `tokens`, `[T, C]`, and those of their positions where the network has them.
    pub(super) fn embed(&self, tokens: &[u32], positions: &[usize], x: &mut Vec<f32>) {
        let hidden = self.shape.hidden;
        x.resize(tokens.len() * hidden, 0.0);
        for (row, id) in x.chunks_mut(hidden).zip(tokens) {
            self.weights.embedding.read(*id as usize, row);
            row.iter_mut().for_each(|x| *x *= self.shape.multipliers.embedding);
        }
        if let Some(table) = &self.weights.positions {
            for (row, position) in x.chunks_mut(hidden).zip(positions) {
                row.iter_mut().zip(&table[position * hidden..]).for_each(|(x, p)| *x += p);
            }
        }
    }

    pub(super) fn block<'a>(
        &'a self,
        layer: usize,
        adapter: Option<(&'a Lora, &'a [LayerPlaces])>,
        ropes: &'a [Rope],
        positions: &'a [usize],
        bounds: &'a [usize],
    ) -> Block<'a> {
        Block {
            layer: &self.weights.layers[layer],
            shape: &self.shape,
            scores: self.shape.scores(layer, self.weights.layers[layer].sinks.as_deref()),
            lora: adapted(adapter, layer),
            rope: self.shape.kinds[layer].turn.map(|turn| &ropes[turn]),
            positions,
            bounds,
        }
    }

    /// Runs the blocks; the last block's output is the last of `work.inputs`.
    fn forward(&self, adapter: Option<(&Lora, &[LayerPlaces])>, batch: &Batch, work: &mut Workspace, train: bool) {
        let layers = self.shape.layers;
        let size = batch.tokens.len() * self.shape.hidden;
        let whole = if train { work.keep.whole(layers) } else { 0 };
        work.place(batch);
        let (inputs, kept) = (if train { layers + 1 } else { 2 }, if train { work.keep.held(layers) } else { 1 });
        work.reach(inputs, kept);
        work.output = inputs - 1;
        let Workspace { ropes, positions, inputs, output, kept, shared, .. } = work;
        inputs[..=*output].iter_mut().for_each(|x| x.resize(size, 0.0));
        self.embed(&batch.tokens, positions, &mut inputs[0]);
        for layer in 0..layers {
            let block = self.block(layer, adapter, ropes, positions, &batch.bounds);
            let (x, y) = inputs.split_at_mut(if train { layer + 1 } else { 1 });
            block.forward(&x[x.len() - 1], &mut kept[place(layer, layers, whole)], shared, &mut y[0]);
            if !train {
                inputs.swap(0, 1);
            }
        }
        if !train {
            inputs.swap(0, 1);
        }
    }

    /// Σ losses over the rows that bear loss; with `gradient`, `work.head.dx` has theirs.
    fn head(&self, batch: &Batch, work: &mut Workspace, gradient: bool) -> f64 {
        let Workspace { inputs, output, head, .. } = work;
        head.gather(&inputs[*output], batch, self.shape.hidden);
        let (Shape { centre, logit_cap, .. }, gain) = (&self.shape, &self.weights.norm.gain);
        self.last_norm(&head.x, &mut head.n, &mut head.rstd);
        let dn = gradient.then_some(&mut head.dn[..]);
        let (targets, buffers) = (&head.targets, &mut head.loss);
        let loss = linear_cross_entropy(&head.n, self.weights.head(), *logit_cap, targets, dn, buffers);
        if gradient {
            head.dx.fill(0.0);
            norm_backward(*centre, &head.x, gain, &head.rstd, &mut head.dn, &mut head.dx);
        }
        loss
    }
}

/// Where a block's activations are held: the last `whole` blocks have their own, the others share the first place.
fn place(layer: usize, layers: usize, whole: usize) -> usize {
    let shared = usize::from(whole < layers);
    (layer + whole + shared).saturating_sub(layers)
}

/// The adapter of a block's four linear layers.
fn adapted<'a>(adapter: Option<(&'a Lora, &'a [LayerPlaces])>, layer: usize) -> [Adapted<'a>; 4] {
    match adapter {
        None => [Adapted::NONE; 4],
        Some((lora, places)) => std::array::from_fn(|n| Adapted::new(lora, &places[layer][n])),
    }
}

impl Workspace {
    /// Makes room for so many inputs and blocks; what is there already stays, since a loss comes between steps.
    fn reach(&mut self, inputs: usize, kept: usize) {
        self.inputs.resize_with(inputs.max(self.inputs.len()), Vec::new);
        self.kept.resize_with(kept.max(self.kept.len()), Kept::default);
    }

    /// Positions that restart at each document.
    fn place(&mut self, batch: &Batch) {
        self.positions.clear();
        for document in batch.bounds.windows(2) {
            self.positions.extend(0..document[1] - document[0]);
            self.ropes.iter_mut().for_each(|rope| rope.reach(document[1] - document[0]));
        }
    }
}

impl Head {
    fn gather(&mut self, x: &[f32], batch: &Batch, hidden: usize) {
        self.rows.clear();
        self.rows.extend((0..batch.loss.len()).filter(|i| batch.loss[*i]));
        self.targets.clear();
        self.targets.extend(self.rows.iter().map(|i| batch.targets[*i]));
        let size = self.rows.len() * hidden;
        for buffer in [&mut self.x, &mut self.n, &mut self.dn, &mut self.dx] {
            buffer.resize(size, 0.0);
        }
        self.rstd.resize(self.rows.len(), 0.0);
        self.x.par_chunks_mut(hidden).zip(&self.rows).for_each(|(to, row)| {
            to.copy_from_slice(&x[row * hidden..][..hidden]);
        });
    }

    /// The gradients of the rows back to where they were; zero elsewhere.
    fn scatter(&self, d: &mut Vec<f32>, size: usize) {
        d.clear();
        d.resize(size, 0.0);
        let hidden = self.dx.len() / self.rows.len().max(1);
        for (from, row) in self.dx.chunks(hidden.max(1)).zip(&self.rows) {
            d[row * hidden..][..hidden].copy_from_slice(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Base;
    use crate::base::family::Family;
    use crate::kernels::AttentionGrad;

    #[test]
    fn a_step_holds_what_the_formula_says() {
        let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        for base in std::fs::read_dir(golden).unwrap().map(|f| f.unwrap().path().join("base")).filter(|f| f.is_dir()) {
            let base = Base::open(&base).unwrap();
            let model = Model::load(&base, None).unwrap();
            let family = Family::of(&base.config).unwrap();
            let targets: Vec<String> = family.projections.targets().into_iter().map(String::from).collect();
            let lora = model.lora(3, 6.0, &targets).unwrap();
            let (targets, bounds) = (vec![8; 50], vec![0, 20, 50]);
            let batch = Batch { tokens: vec![7; 50], targets, loss: vec![true; 50], bounds };
            for keep in [Keep::All, Keep::Blocks(1), Keep::Inputs] {
                holds(&model, &lora, &batch, keep);
            }
        }
    }

    fn holds(model: &Model, lora: &Lora, batch: &Batch, keep: Keep) {
        let mut work = model.workspace(keep);
        model.train_step(lora, batch, &mut vec![0.0; lora.values.len()], &mut work);
        let said = model.shape().memory(0, 50, 3, lora.values.len(), keep);
        assert_eq!(said.kept, 4 * (lengths(&work.inputs) + work.kept.iter().map(Kept::numbers).sum::<usize>()));
        let head = [&work.head.x, &work.head.n, &work.head.rstd, &work.head.dn, &work.head.dx].map(Vec::len);
        let shared = work.shared.numbers() + work.d.len() + head.iter().sum::<usize>();
        let elsewhere = AttentionGrad::bytes(50, model.shape.heads) + CrossEntropy::bytes(50, model.shape.vocab);
        let held = 4 * shared + elsewhere;
        assert!(held <= said.shared && said.shared <= held + held / 20, "{held} held, {} said", said.shared);
    }

    fn lengths(buffers: &[Vec<f32>]) -> usize {
        buffers.iter().map(Vec::len).sum()
    }
}

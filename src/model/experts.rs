//! Routed experts: a router sends each row to a few of many gated blocks, whose results add up by its weights.
//!
//! Nothing is kept for the backward but the rows that came in: what each expert made of them is made again there.
//! Experts take their turns in order, so that every row adds up in the same order whatever the machine does.

use super::linear::{Adapted, Linear};
use super::reader::{Projected, Reader};
use super::shape::Routing;
use crate::base::family;
use crate::error::Result;
use crate::kernels::{Activation, Compute, dot, route, route_backward};

/// The experts of one block; frozen, and never adapted.
pub(super) struct Experts {
    routing: Routing,
    activation: Activation,
    /// C → E
    router: Linear,
    /// C → 2F and F → C of each.
    blocks: Vec<(Linear, Linear)>,
}

/// Buffers for T rows, each of its full size whatever the router decides.
#[derive(Debug, Default)]
pub(super) struct ExpertBuffers {
    /// `[T, E]`
    logits: Vec<f32>,
    /// `[T, E]`
    dlogits: Vec<f32>,
    /// `[T, picks]`
    ids: Vec<usize>,
    /// `[T, picks]`
    weights: Vec<f32>,
    /// `[T, picks]`
    dweights: Vec<f32>,
    /// `[T, C]` the rows that one expert gets, then their gradients
    x: Vec<f32>,
    /// `[T, C]` what it makes of them, or the gradients of that
    y: Vec<f32>,
    /// `[T, 2F]`
    gu: Vec<f32>,
    /// `[T, 2F]`
    dgu: Vec<f32>,
    /// `[T, F]`
    act: Vec<f32>,
    /// `[T, F]`
    dact: Vec<f32>,
    /// Always empty: experts have no adapter.
    thin: Vec<f32>,
}

impl ExpertBuffers {
    /// Numbers held for each of T rows.
    pub fn per_row(routing: Routing, hidden: usize, ffn: usize) -> usize {
        2 * routing.experts + 2 * routing.picks + routing.picks * size_of::<usize>() / 4 + 2 * hidden + 6 * ffn
    }

    fn resize(&mut self, rows: usize, routing: Routing, hidden: usize, ffn: usize) {
        for (buffer, width) in [
            (&mut self.logits, routing.experts),
            (&mut self.dlogits, routing.experts),
            (&mut self.weights, routing.picks),
            (&mut self.dweights, routing.picks),
            (&mut self.x, hidden),
            (&mut self.y, hidden),
            (&mut self.gu, 2 * ffn),
            (&mut self.dgu, 2 * ffn),
            (&mut self.act, ffn),
            (&mut self.dact, ffn),
        ] {
            buffer.resize(rows * width, 0.0);
        }
        self.ids.resize(rows * routing.picks, 0);
    }

    /// Where an expert was picked, as places in ids and weights.
    fn picked(&self, expert: usize) -> Vec<usize> {
        (0..self.ids.len()).filter(|at| self.ids[*at] == expert).collect()
    }

    #[cfg(test)]
    pub fn numbers(&self) -> usize {
        let Self { logits, dlogits, ids, weights, dweights, x, y, gu, dgu, act, dact, thin } = self;
        let floats = [logits, dlogits, weights, dweights, x, y, gu, dgu, act, dact, thin].map(Vec::len);
        floats.iter().sum::<usize>() + ids.len() * size_of::<usize>() / 4
    }
}

impl Experts {
    /// Those of one layer.
    pub fn read(reader: &mut Reader<'_>, names: &family::Experts, routing: Routing, layer: usize) -> Result<Self> {
        let (hidden, activation) = (reader.shape.hidden, reader.shape.activation);
        let router = Projected {
            names: std::slice::from_ref(&names.router),
            inputs: hidden,
            rows: &[routing.experts],
            bias: names.router_bias,
            order: None,
        };
        let router = reader.linear(router, layer)?;
        let blocks = match names.down.contains("{expert}") {
            true => (0..routing.experts).map(|n| Self::read_one(reader, names, layer, n)).collect::<Result<_>>()?,
            false => Self::read_together(reader, names, routing, layer)?,
        };
        Ok(Self { routing, activation, router, blocks })
    }

    fn read_one(reader: &mut Reader<'_>, names: &family::Experts, layer: usize, n: usize) -> Result<(Linear, Linear)> {
        let (hidden, ffn) = (reader.shape.hidden, reader.shape.ffn);
        let named = |name: &String| name.replace("{expert}", &n.to_string());
        let gate_up: Vec<String> = names.gate_up.iter().map(named).collect();
        let gate_up = Projected { names: &gate_up, inputs: hidden, rows: &[ffn, ffn], bias: false, order: None };
        Ok((reader.linear(gate_up, layer)?, reader.single(&named(&names.down), layer, [ffn, hidden], false)?))
    }

    /// Out of one tensor for all, whose outputs are gate and up by turns.
    fn read_together(
        reader: &mut Reader<'_>,
        names: &family::Experts,
        routing: Routing,
        layer: usize,
    ) -> Result<Vec<(Linear, Linear)>> {
        let (hidden, ffn, experts) = (reader.shape.hidden, reader.shape.ffn, routing.experts);
        let turns: Vec<usize> = (0..ffn).map(|f| 2 * f).chain((0..ffn).map(|f| 2 * f + 1)).collect();
        let gate_up = reader.stacked(&names.gate_up[0], layer, [experts, hidden, 2 * ffn], &turns)?;
        let down = reader.stacked(&names.down, layer, [experts, ffn, hidden], &(0..hidden).collect::<Vec<_>>())?;
        Ok(gate_up.into_iter().zip(down).collect())
    }

    /// The experts are multiplied in these numbers; the router, whose choices are steps, stays in f32.
    pub fn multiply_in(&mut self, compute: Compute) {
        for (gate_up, down) in &mut self.blocks {
            gate_up.weight.multiply_in(compute);
            down.weight.multiply_in(compute);
        }
    }

    /// Adds to y `[T, C]` what the experts make of n `[T, C]`.
    pub fn forward(&self, n: &[f32], buffers: &mut ExpertBuffers, y: &mut [f32]) {
        let hidden = self.router.inputs;
        self.route(n, buffers);
        for (expert, (gate_up, down)) in self.blocks.iter().enumerate() {
            let picked = buffers.picked(expert);
            if picked.is_empty() {
                continue;
            }
            self.gate(gate_up, n, &picked, buffers);
            let ExpertBuffers { act, y: out, weights, thin, .. } = &mut *buffers;
            let out = &mut out[..picked.len() * hidden];
            down.forward(&act[..picked.len() * down.inputs], Adapted::NONE, thin, out, false);
            for (at, out) in picked.iter().zip(out.chunks(hidden)) {
                add_times(weights[*at], out, &mut y[at / self.routing.picks * hidden..][..hidden]);
            }
        }
    }

    /// dn `[T, C]` from n and dy `[T, C]`.
    pub fn backward(&self, n: &[f32], dy: &[f32], buffers: &mut ExpertBuffers, dn: &mut [f32]) {
        self.route(n, buffers);
        let (hidden, routing) = (self.router.inputs, self.routing);
        let mut sum = vec![0.0; dn.len()];
        for (expert, (gate_up, down)) in self.blocks.iter().enumerate() {
            let picked = buffers.picked(expert);
            if picked.is_empty() {
                continue;
            }
            self.gate(gate_up, n, &picked, buffers);
            let (rows, ffn) = (picked.len(), down.inputs);
            let ExpertBuffers { weights, dweights, x, y, gu, dgu, act, dact, thin, .. } = &mut *buffers;
            let (dx, dy) = (&mut x[..rows * hidden], self.gather(dy, &picked, y));
            let (act, dact) = (&act[..rows * ffn], &mut dact[..rows * ffn]);
            let (gu, dgu) = (&gu[..rows * 2 * ffn], &mut dgu[..rows * 2 * ffn]);
            down.backward(&[], &[], dy, Adapted::NONE, thin, &mut [], Some(&mut *dact));
            for (i, at) in picked.iter().enumerate() {
                let (act, dact, dy) =
                    (&act[i * ffn..][..ffn], &mut dact[i * ffn..][..ffn], &dy[i * hidden..][..hidden]);
                // what the expert gave, times dy: its result itself is not needed
                dweights[*at] = dot(act, dact) + down.bias.as_ref().map_or(0.0, |bias| dot(bias, dy));
                dact.iter_mut().for_each(|d| *d *= weights[*at]);
            }
            self.activation.backward(gu, ffn, dact, dgu);
            // nothing is adapted, so nothing asks for the rows themselves
            gate_up.backward(&[], &[], dgu, Adapted::NONE, thin, &mut [], Some(&mut *dx));
            for (at, dx) in picked.iter().zip(dx.chunks(hidden)) {
                add_times(1.0, dx, &mut sum[at / routing.picks * hidden..][..hidden]);
            }
        }
        let ExpertBuffers { logits, dlogits, ids, weights, dweights, thin, .. } = buffers;
        route_backward(logits, routing.experts, routing.among, ids, weights, dweights, dlogits);
        self.router.backward(&[], &[], dlogits, Adapted::NONE, thin, &mut [], Some(dn));
        add_times(1.0, &sum, dn);
    }

    fn route(&self, n: &[f32], buffers: &mut ExpertBuffers) {
        let Routing { experts, picks, among } = self.routing;
        let (hidden, ffn) = (self.router.inputs, self.blocks[0].1.inputs);
        buffers.resize(n.len() / hidden, self.routing, hidden, ffn);
        let ExpertBuffers { logits, ids, weights, thin, .. } = buffers;
        self.router.forward(n, Adapted::NONE, thin, logits, false);
        route(logits, experts, picks, among, ids, weights);
    }

    /// What stands before an expert's last matrix, for the rows that go to it.
    fn gate(&self, gate_up: &Linear, n: &[f32], picked: &[usize], buffers: &mut ExpertBuffers) {
        let ExpertBuffers { x, gu, act, thin, .. } = buffers;
        let x = self.gather(n, picked, x);
        let (gu, ffn) = (&mut gu[..picked.len() * gate_up.outputs], gate_up.outputs / 2);
        gate_up.forward(x, Adapted::NONE, thin, gu, false);
        self.activation.forward(gu, ffn, &mut act[..picked.len() * ffn]);
    }

    fn gather<'b>(&self, from: &[f32], picked: &[usize], to: &'b mut [f32]) -> &'b [f32] {
        let hidden = self.router.inputs;
        for (at, row) in picked.iter().zip(to.chunks_mut(hidden)) {
            row.copy_from_slice(&from[at / self.routing.picks * hidden..][..hidden]);
        }
        &to[..picked.len() * hidden]
    }
}

fn add_times(factor: f32, x: &[f32], y: &mut [f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += factor * x);
}

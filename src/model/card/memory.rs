//! What a training step will hold on a card, before it starts, and what is kept, made again or moved so that it fits.
//!
//! What is counted is what will be asked for: the buffers of a step are carved (`room`) once without a card and once on it.
//! Nothing is allocated in a step, so the peak is the sum.

use super::room;
use crate::kernels::Nf4;
use crate::kernels::cuda::Element;
use crate::model::Shape;

/// How the frozen projections are kept. Embedding and head stay bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CardWeights {
    /// As they are multiplied.
    Bf16,
    /// Four bits; a matrix at a time becomes bf16 beside its multiply.
    Nf4,
    /// e4m3 with a scale a row, and once more turned over: Hopper multiplies one layout alone.
    Fp8,
}

/// What the forward leaves for the backward: each word keeps less than the one before it, and makes more again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CardKeep {
    /// All but what one pass over memory makes again: norms and the feed-forward's curve.
    Rows,
    /// Also without the feed-forward's first multiply: a fifth more work.
    Narrow,
    /// Each block's input: nearly half more work.
    Inputs,
}

impl CardKeep {
    /// From the fastest on.
    pub const ALL: [Self; 3] = [Self::Rows, Self::Narrow, Self::Inputs];
}

/// What a step is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardStep {
    /// Bytes of the frozen weights.
    pub weights: usize,
    /// The type of activations and of what is multiplied.
    pub element: Element,
    /// T
    pub tokens: usize,
    /// R on every projection.
    pub rank: usize,
    /// Numbers of the adapter.
    pub values: usize,
}

/// Bytes on the card, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardMemory {
    /// Frozen weights, and the matrix that is bf16 while it is multiplied.
    pub weights: usize,
    /// The adapter's values, gradient, means, and the copy that is multiplied.
    pub adapter: usize,
    /// What the forward leaves for the backward.
    pub kept: usize,
    /// Buffers that all blocks share, and the batch itself.
    pub shared: usize,
    /// Logits of a chunk and their gradient.
    pub head: usize,
    /// What the multiply and the driver take for themselves.
    pub workspace: usize,
}

impl CardMemory {
    /// All that is on the card.
    pub fn total(self) -> usize {
        self.weights + self.adapter + self.kept + self.shared + self.head + self.workspace
    }
}

/// The multiply's workspace, and what a context with its modules takes: a guess until it is measured on a card.
const WORKSPACE: usize = (32 << 20) + (400 << 20);
const BF16: usize = 2;

impl Shape {
    /// What such a step holds.
    pub fn card_memory(&self, step: CardStep, keep: CardKeep) -> CardMemory {
        let [adapter, kept, shared, head] = room::bytes(self, step, keep);
        CardMemory { weights: step.weights, adapter, kept, shared, head, workspace: WORKSPACE }
    }

    /// The fastest way to keep that fits so many bytes; `None` where none does.
    pub fn card_plan(&self, step: CardStep, room: usize) -> Option<(CardKeep, CardMemory)> {
        let mut all = CardKeep::ALL.into_iter().map(|keep| (keep, self.card_memory(step, keep)));
        all.find(|(_, memory)| memory.total() <= room)
    }

    /// Bytes of a network's weights without norms and biases, and of the matrix that is bf16 while it is multiplied.
    pub fn weights_on_card(&self, weights: CardWeights) -> usize {
        let (out, up) = (self.heads.query * self.heads.dim, self.activation.columns(self.ffn));
        let block = [self.heads.stride() * self.hidden, out * self.hidden, up * self.hidden, self.ffn * self.hidden];
        let projections = self.layers * block.iter().sum::<usize>();
        let tables = (if self.tied { 1 } else { 2 }) * self.vocab * self.hidden * BF16;
        let widest = block.into_iter().max().unwrap_or(0) * BF16;
        tables
            + match weights {
                CardWeights::Bf16 => projections * BF16,
                CardWeights::Nf4 => Nf4::bytes_of(projections) + widest,
                CardWeights::Fp8 => 2 * projections,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Config;
    use crate::base::family::Family;

    const RANK: usize = 16;
    const VALUES: usize = 41_943_040;

    /// Llama-3.1-8B.
    fn eight_billion() -> Shape {
        let dir = tempfile::tempdir().unwrap();
        let config = serde_json::json!({
            "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128_256, "rms_norm_eps": 1e-5,
            "max_position_embeddings": 131_072, "rope_theta": 500_000.0, "tie_word_embeddings": false,
            "hidden_act": "silu"
        });
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let config = Config::read(dir.path()).unwrap();
        Shape::of(&config, &Family::of(&config).unwrap()).unwrap()
    }

    fn step(weights: CardWeights, tokens: usize) -> CardStep {
        let weights = eight_billion().weights_on_card(weights);
        CardStep { weights, element: Element::Bf16, tokens, rank: RANK, values: VALUES }
    }

    #[track_caller]
    fn near(bytes: usize, gigabytes: f64, share: f64) {
        let got = bytes as f64 / 1e9;
        assert!((got / gigabytes - 1.0).abs() <= share, "{got} GB, {gigabytes} GB by hand");
    }

    #[test]
    fn the_eight_billion_shape_takes_what_was_worked_out_by_hand() {
        let shape = eight_billion();
        assert_eq!(RANK * shape.layers * (2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * (4096 + 14336)), VALUES);
        // 8,030 M numbers less the norms' 0.27 M
        near(shape.weights_on_card(CardWeights::Bf16), 16.06, 0.001);
        // 6,979 M at 4.127 bits, 1,051 M in bf16, and gate and up (117 M) as bf16 meanwhile
        near(shape.weights_on_card(CardWeights::Nf4), 3.600 + 2.101 + 0.235, 0.001);
        near(shape.weights_on_card(CardWeights::Fp8), 2.0 * 6.979 + 2.101, 0.001);
        let kept = |keep| shape.card_memory(step(CardWeights::Bf16, 4096), keep).kept;
        // numbers a token and block with its input: 47,104 / 18,432 / 4,096
        near(kept(CardKeep::Rows), 47_104.0 * 2.0 * 4096.0 * 32.0 / 1e9, 0.01);
        near(kept(CardKeep::Narrow), 18_432.0 * 2.0 * 4096.0 * 32.0 / 1e9, 0.02);
        // the inputs, and one block's own
        near(kept(CardKeep::Inputs), 1.07 + 14_336.0 * 2.0 * 4096.0 / 1e9, 0.05);
        // 84,080 numbers a token; delta, the batch's whole numbers and the turns' table 676 bytes
        near(
            shape.card_memory(step(CardWeights::Bf16, 4096), CardKeep::Rows).shared,
            (84_080.0 * 2.0 + 676.0) * 4096.0 / 1e9,
            0.001,
        );
    }

    #[test]
    fn the_fastest_way_that_fits_is_taken() {
        let shape = eight_billion();
        let (gib, plan) = (1usize << 30, |weights, tokens, room| shape.card_plan(step(weights, tokens), room));
        // micro-batches of 2 and 4 rows of 4096 on an 80 GB card: nothing is multiplied again
        for rows in [2, 4] {
            assert_eq!(plan(CardWeights::Bf16, rows * 4096, 78 * gib).unwrap().0, CardKeep::Rows, "{rows} rows");
        }
        // QLoRA of one row of 4096 in under 12 GiB
        let (keep, memory) = plan(CardWeights::Nf4, 4096, 12 * gib).unwrap();
        assert!(keep >= CardKeep::Narrow && memory.total() < 12 * gib, "{keep:?} {memory:?}");
        // the goal's two rows
        assert!(plan(CardWeights::Nf4, 2 * 4096, 12 * gib).is_some());
        assert_eq!(plan(CardWeights::Bf16, 4096, 16 * gib), None);
        for pair in CardKeep::ALL.windows(2) {
            let total = |keep| shape.card_memory(step(CardWeights::Bf16, 8192), keep).total();
            assert!(total(pair[0]) > total(pair[1]), "{pair:?}");
        }
    }
}

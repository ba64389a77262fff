//! A base in fewer bits: what its linear layers become when they are read.

use crate::base::family::Family;
use crate::base::weights::{Tensor, Tensors};
use crate::kernels::{Format, Frozen, Int8, Nf4};
use serde::Serialize;

/// What the linear layers of the blocks become; embeddings, norms and head stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quantize {
    /// Four bits a number ([`Nf4`]).
    Nf4,
    /// Eight bits a number ([`Int8`]).
    Int8,
}

impl Quantize {
    /// A matrix in fewer bits.
    pub(super) fn matrix(self, matrix: &Frozen) -> Frozen {
        let (rows, cols) = (matrix.rows(), matrix.cols());
        let mut values = vec![0.0; rows * cols];
        matrix.read(0, &mut values);
        let format = match self {
            Quantize::Nf4 => Format::Nf4(Nf4::quantize(&values)),
            Quantize::Int8 => Format::Int8(Int8::quantize(&values, rows)),
        };
        Frozen::new(rows, cols, format).expect("as many numbers as before")
    }
}

/// Bytes of a base's weights as the engine holds them.
pub fn weight_bytes(tensors: &Tensors, family: &Family, quantize: Option<Quantize>) -> usize {
    let names = &family.weights;
    let stays =
        |name: &str| [&names.embedding, &names.head].iter().any(|whole| name == *whole || whole.ends_with(name));
    let bytes = |tensor: &Tensor| match (quantize, &tensor.shape[..]) {
        (Some(Quantize::Nf4), [rows, cols]) if !stays(&tensor.name) => Nf4::bytes_of(rows * cols),
        (Some(Quantize::Int8), [rows, cols]) if !stays(&tensor.name) => Int8::bytes_of(rows * cols, *rows),
        _ => tensor.bytes.len(),
    };
    tensors.list.iter().map(bytes).sum()
}

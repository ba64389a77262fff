//! What is asked of a card: a kernel's launch, and a multiply.

use super::source::Element;

/// A launch's argument.
#[derive(Debug, Clone, Copy)]
pub(super) enum Argument {
    /// An address, or null.
    Pointer(u64),
    /// `i64`
    Long(i64),
    /// `int`
    Int(i32),
    /// `float`
    Float(f32),
}

impl Argument {
    /// Eight bytes that begin with it, as every machine with a card lays it out.
    pub(super) fn bytes(self) -> [u8; 8] {
        let four = |b: [u8; 4]| [b[0], b[1], b[2], b[3], 0, 0, 0, 0];
        match self {
            Self::Pointer(p) => p.to_le_bytes(),
            Self::Long(n) => n.to_le_bytes(),
            Self::Int(n) => four(n.to_le_bytes()),
            Self::Float(x) => four(x.to_le_bytes()),
        }
    }
}

/// How many blocks, of how many threads, with how many bytes of shared memory besides their own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Launch {
    pub grid: [u32; 3],
    pub threads: u32,
    pub shared: u32,
}

/// A matrix of a multiply: row by row, as it lies or turned over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transpose {
    /// As it lies.
    No,
    /// Rows and columns exchanged.
    Yes,
}

/// c `[rows, cols]` = onto + scale · a `[rows, inner]` · b `[inner, cols]`; sums are f32.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Product {
    pub rows: usize,
    pub cols: usize,
    pub inner: usize,
    /// Address, elements between rows, and whether it lies turned over.
    pub a: (u64, usize, Transpose),
    pub b: (u64, usize, Transpose),
    pub c: (u64, usize),
    /// The type of a and b, and that of c.
    pub elements: [Element; 2],
    pub scale: f32,
    /// What is added, of c's type: address, and elements between rows; it may be c.
    pub onto: Option<(u64, usize)>,
}

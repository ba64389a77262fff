//! A frozen matrix in the format in which it lies in the checkpoint or in memory, and the multiplies over it.
//!
//! A panel of rows at a time becomes f32 in a buffer, which the multiply ([`Compute`]) then reads many
//! times, once for each sequence position. So a base takes the memory of its own format and never a second, wider copy.

use super::ggml;
use super::int8::Int8;
use super::lanes::dot;
use super::matmul::{Mat, MatMut};
use super::nf4::Nf4;
use super::{Compute, Isa};
use candle_core::quantized::GgmlDType;
use rayon::prelude::*;
use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Elements of one panel: 16 MiB of f32, which the last-level cache of most machines holds.
const PANEL: usize = 1 << 22;

/// Bytes that a multiply over a matrix of another format than f32 uses besides.
pub const PANEL_BYTES: usize = 4 * PANEL;

/// Bytes that something keeps alive: a part of a mapped file.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl Bytes {
    /// A part of what `owner` holds; `None` where it is shorter.
    pub fn new(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Option<Self> {
        let whole = (*owner).as_ref().get(range.clone()).is_some();
        whole.then_some(Self { owner, range })
    }

    fn part(&self, range: Range<usize>) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()][range]
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// All of them.
    #[cfg(feature = "cuda")]
    pub(super) fn all(&self) -> &[u8] {
        self.part(0..self.len())
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.len())
    }
}

/// How the numbers of a [`Frozen`] are kept, rows end to end.
#[derive(Debug)]
pub enum Format {
    /// Numbers of our own.
    Own(Vec<f32>),
    /// f32, little-endian.
    F32(Bytes),
    /// IEEE half precision, little-endian.
    F16(Bytes),
    /// The upper half of f32, little-endian.
    Bf16(Bytes),
    /// Blocks of llama.cpp, which each row fills.
    Ggml(GgmlDType, Bytes),
    /// Eight bits a number and a scale a row.
    Int8(Int8),
    /// Four bits a number, scales a block.
    Nf4(Nf4),
}

/// A matrix `[rows, cols]` that is only read: the rows of one or more tensors, end to end.
#[derive(Debug)]
pub struct Frozen {
    rows: usize,
    cols: usize,
    parts: Vec<Part>,
    compute: Compute,
}

#[derive(Debug)]
struct Part {
    rows: usize,
    format: Format,
}

thread_local! {
    /// The panel of the thread that multiplies; kept, since a fresh one costs a page fault every 4 KiB.
    static BUFFER: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Frozen {
    /// `rows` × `cols` in a format; `None` where the format holds another count of numbers.
    pub fn new(rows: usize, cols: usize, format: Format) -> Option<Self> {
        let elements = rows.checked_mul(cols)?;
        let holds = match &format {
            Format::Own(values) => values.len() == elements,
            Format::F32(bytes) => Some(bytes.len()) == elements.checked_mul(4),
            Format::F16(bytes) | Format::Bf16(bytes) => Some(bytes.len()) == elements.checked_mul(2),
            Format::Ggml(kind, bytes) => {
                let whole_rows = cols.is_multiple_of(kind.block_size());
                whole_rows && Some(bytes.len()) == (elements / kind.block_size()).checked_mul(kind.type_size())
            }
            Format::Int8(int8) => int8.elements() == elements && int8.rows() == rows,
            Format::Nf4(nf4) => nf4.elements() == elements,
        };
        holds.then(|| Self { rows, cols, parts: vec![Part { rows, format }], compute: Compute::F32 })
    }

    /// The rows of several, end to end.
    ///
    /// # Panics
    /// When they differ in columns.
    pub fn stack(matrices: Vec<Frozen>) -> Self {
        let cols = matrices.first().map_or(0, |m| m.cols);
        assert!(matrices.iter().all(|m| m.cols == cols), "rows of different lengths");
        let rows = matrices.iter().map(|m| m.rows).sum();
        let parts = matrices.into_iter().flat_map(|m| m.parts).collect();
        Self { rows, cols, parts, compute: Compute::F32 }
    }

    /// From now on it is multiplied in these numbers; in f32 until this is said.
    ///
    /// A single row is always multiplied in f32.
    pub fn multiply_in(&mut self, compute: Compute) {
        self.compute = compute;
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes that its numbers take, in memory or in the mapped file.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.format.bytes()).sum()
    }

    /// Rows of each matrix that it is made of, and how they are kept.
    #[cfg(feature = "cuda")]
    pub(super) fn parts(&self) -> impl Iterator<Item = (usize, &Format)> {
        self.parts.iter().map(|part| (part.rows, &part.format))
    }

    /// The rows `[from, from + out.len() / cols)` as f32.
    ///
    /// # Panics
    /// When the matrix has fewer rows, or `out` ends inside one.
    pub fn read(&self, from: usize, mut out: &mut [f32]) {
        assert!(self.cols > 0 && out.len().is_multiple_of(self.cols), "a buffer that ends inside a row");
        let (mut skip, isa) = (from, Isa::here());
        for part in &self.parts {
            let here = part.rows.saturating_sub(skip).min(out.len() / self.cols);
            let (now, rest) = out.split_at_mut(here * self.cols);
            now.par_chunks_mut(self.cols).with_min_len(16).enumerate().for_each(|(n, row)| {
                isa.run(
                    #[inline(always)]
                    || part.format.read_row(skip + n, row),
                );
            });
            skip = skip.saturating_sub(part.rows);
            out = rest;
        }
        assert!(out.is_empty(), "rows past the end");
    }

    /// Calls `f` with the first row and the rows from there on as f32: tensor by tensor where they are f32 and aligned,
    /// panel by panel else.
    fn panels(&self, mut f: impl FnMut(usize, Mat<'_>)) {
        let as_they_lie: Option<Vec<&[f32]>> = self.parts.iter().map(|part| part.format.as_f32()).collect();
        if let Some(parts) = as_they_lie {
            let mut from = 0;
            for values in parts {
                let rows = values.len() / self.cols.max(1);
                f(from, Mat::new(values, rows, self.cols));
                from += rows;
            }
            return;
        }
        BUFFER.with_borrow_mut(|buffer| {
            let height = (PANEL / self.cols.max(1)).max(1);
            for from in (0..self.rows).step_by(height) {
                let rows = height.min(self.rows - from);
                if buffer.len() < rows * self.cols {
                    buffer.resize(rows * self.cols, 0.0);
                }
                let panel = &mut buffer[..rows * self.cols];
                self.read(from, panel);
                f(from, Mat::new(panel, rows, self.cols));
            }
        });
    }

    /// y `[T, rows]` = keep · y + scale · x `[T, cols]` · selfᵀ; the rows of y lie `self.rows()` apart.
    ///
    /// # Panics
    /// When the shapes don't fit together.
    pub fn forward(&self, x: &[f32], scale: f32, keep: bool, y: &mut [f32]) {
        let tokens = y.len() / self.rows;
        if tokens == 1 {
            return self.one_row(x, scale, keep, y);
        }
        self.panels(|from, panel| {
            let out = MatMut::strided(&mut y[from..], tokens, panel.rows(), self.rows);
            self.compute.multiply(out, keep, scale, Mat::new(x, tokens, self.cols), panel.t());
        });
    }

    /// A token through the matrix: bound by memory, so plain dots over each row as it lies.
    fn one_row(&self, x: &[f32], scale: f32, keep: bool, y: &mut [f32]) {
        const ROWS: usize = 64;
        let (mut y, isa) = (y, Isa::here());
        for part in &self.parts {
            let (now, rest) = y.split_at_mut(part.rows);
            now.par_chunks_mut(ROWS).enumerate().for_each_init(
                || vec![0.0; self.cols],
                |row, (n, out)| {
                    isa.run(
                        #[inline(always)]
                        || {
                            for (i, y) in out.iter_mut().enumerate() {
                                part.format.read_row(n * ROWS + i, row);
                                *y = if keep { *y } else { 0.0 } + scale * dot(x, row);
                            }
                        },
                    );
                },
            );
            y = rest;
        }
    }

    /// dx `[T, cols]` = scale · dy `[T, rows]` · self.
    ///
    /// # Panics
    /// When the shapes don't fit together.
    pub fn backward(&self, dy: &[f32], scale: f32, dx: &mut [f32]) {
        let (tokens, mut keep) = (dy.len() / self.rows, false);
        self.panels(|from, panel| {
            let dy = Mat::strided(&dy[from..], tokens, panel.rows(), self.rows);
            self.compute.multiply(MatMut::new(dx, tokens, self.cols), keep, scale, dy, panel);
            keep = true;
        });
    }
}

impl Format {
    fn bytes(&self) -> usize {
        match self {
            Format::Own(values) => 4 * values.len(),
            Format::F32(b) | Format::F16(b) | Format::Bf16(b) | Format::Ggml(_, b) => b.len(),
            Format::Int8(int8) => int8.bytes(),
            Format::Nf4(nf4) => nf4.bytes(),
        }
    }

    /// Row `row`, as long as `out`.
    #[inline(always)]
    fn read_row(&self, row: usize, out: &mut [f32]) {
        let cols = out.len();
        let of = |size: usize| row * size..(row + 1) * size;
        match self {
            Format::Own(values) => out.copy_from_slice(&values[of(cols)]),
            Format::F32(data) => each(data.part(of(4 * cols)), out, f32::from_le_bytes),
            Format::F16(data) => each(data.part(of(2 * cols)), out, f32_of_f16),
            Format::Bf16(data) => each(data.part(of(2 * cols)), out, f32_of_bf16),
            Format::Ggml(kind, data) => {
                ggml::read(*kind, data.part(of(cols / kind.block_size() * kind.type_size())), out);
            }
            Format::Int8(int8) => int8.read(row, out),
            Format::Nf4(nf4) => nf4.read(row * cols, out),
        }
    }

    /// All numbers as they lie, where they are f32 and aligned.
    fn as_f32(&self) -> Option<&[f32]> {
        match self {
            Format::Own(values) => Some(values),
            Format::F32(data) if cfg!(target_endian = "little") => {
                bytemuck::try_cast_slice(data.part(0..data.len())).ok()
            }
            _ => None,
        }
    }
}

/// The upper half of an f32.
#[inline(always)]
fn f32_of_bf16(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

/// Half precision without branches, so that loops over it become vector instructions: exponent and fraction as those of
/// an f32 that is 2¹¹² times too small.
#[inline(always)]
fn f32_of_f16(bytes: [u8; 2]) -> f32 {
    let half = u32::from(u16::from_le_bytes(bytes));
    const TWO_TO_112: f32 = f32::from_bits((127 + 112) << 23);
    let size = (f32::from_bits((half & 0x7fff) << 13) * TWO_TO_112).to_bits();
    let infinite_or_nan = if half & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(size | infinite_or_nan | (half & 0x8000) << 16)
}

/// Numbers of N bytes each, one after the other.
#[inline(always)]
fn each<const N: usize>(bytes: &[u8], out: &mut [f32], f: impl Fn([u8; N]) -> f32) {
    let (numbers, _) = bytes.as_chunks::<N>();
    out.iter_mut().zip(numbers).for_each(|(x, b)| *x = f(*b));
}

#[cfg(test)]
mod tests {
    use super::super::isa::on_each;
    use super::super::reference::{close_all, matmul_t, numbers, wide};
    use super::*;
    use half::{bf16, f16};

    fn bytes(data: Vec<u8>) -> Bytes {
        let end = data.len() + 1;
        // one byte off: a mapped file promises no alignment
        let shifted: Vec<u8> = std::iter::once(0).chain(data).collect();
        Bytes::new(Arc::new(shifted), 1..end).unwrap()
    }

    /// The same numbers in every format that keeps them to this many bits, and how far they may be off.
    fn formats(values: &[f32], rows: usize, cols: usize) -> Vec<(Format, f64)> {
        let floats = |f: &dyn Fn(f32) -> Vec<u8>| bytes(values.iter().flat_map(|x| f(*x)).collect());
        let mut formats = vec![
            (Format::Own(values.to_vec()), 0.0),
            (Format::F32(floats(&|x| x.to_le_bytes().to_vec())), 0.0),
            (Format::F16(floats(&|x| f16::from_f32(x).to_le_bytes().to_vec())), 1e-3),
            (Format::Bf16(floats(&|x| bf16::from_f32(x).to_le_bytes().to_vec())), 4e-3),
            (Format::Int8(Int8::quantize(values, rows)), 8e-3),
            (Format::Nf4(Nf4::quantize(values)), 0.2),
        ];
        for (kind, error) in [(GgmlDType::Q8_0, 8e-3), (GgmlDType::Q4_0, 0.2), (GgmlDType::Q6K, 4e-2)] {
            if cols.is_multiple_of(kind.block_size()) {
                formats.push((Format::Ggml(kind, bytes(super::super::ggml::quantize(kind, values))), error));
            }
        }
        formats
    }

    #[test]
    fn every_format_reads_back_and_multiplies_as_its_own_numbers() {
        on_each(|_| {
            for (rows, cols, tokens) in [(5, 256, 3), (70, 32, 1), (33, 7, 9), (1, 300, 4)] {
                let values = numbers(rows * cols, 1);
                let (x, dy) = (numbers(tokens * cols, 2), numbers(tokens * rows, 3));
                for (format, error) in formats(&values, rows, cols) {
                    let said = format!("{format:?}");
                    let frozen = Frozen::new(rows, cols, format).unwrap();
                    let mut read = vec![0.0; rows * cols];
                    frozen.read(0, &mut read);
                    let far = read.iter().zip(&values).map(|(x, y)| f64::from((x - y).abs())).fold(0.0, f64::max);
                    assert!(far <= error, "{said:.20}: {far}");
                    let mut y = vec![0.5; tokens * rows];
                    frozen.forward(&x, 2.0, true, &mut y);
                    let truth = matmul_t(&x, &read, tokens, rows, cols);
                    close_all(&y, &truth.iter().map(|p| 0.5 + 2.0 * p).collect::<Vec<_>>(), 1e-4);
                    let mut dx = vec![7.0; tokens * cols];
                    frozen.backward(&dy, 0.5, &mut dx);
                    let turned: Vec<f32> = (0..cols * rows).map(|i| read[i % rows * cols + i / rows]).collect();
                    let truth = matmul_t(&dy, &turned, tokens, cols, rows);
                    close_all(&dx, &truth.iter().map(|p| 0.5 * p).collect::<Vec<_>>(), 1e-4);
                }
            }
        });
    }

    #[test]
    fn panels_and_stacks_give_what_one_matrix_would() {
        let (rows, cols, tokens) = (PANEL / 1024 + 300, 1024, 3);
        let values = numbers(rows * cols, 4);
        let half = |values: &[f32]| values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect();
        let rounded: Vec<f32> = values.iter().map(|x| bf16::from_f32(*x).to_f32()).collect();
        let (x, dy) = (numbers(tokens * cols, 5), numbers(tokens * rows, 6));
        let run = |frozen: Frozen| {
            let (mut y, mut dx) = (vec![0.0; tokens * rows], vec![0.0; tokens * cols]);
            frozen.forward(&x, 1.0, false, &mut y);
            frozen.backward(&dy, 1.0, &mut dx);
            (y, dx)
        };
        let truth = run(Frozen::new(rows, cols, Format::Own(rounded)).unwrap());
        let part = |values: &[f32]| Frozen::new(values.len() / cols, cols, Format::Bf16(bytes(half(values)))).unwrap();
        let at = 100 * cols;
        for (y, dx) in [run(part(&values)), run(Frozen::stack(vec![part(&values[..at]), part(&values[at..])]))] {
            close_all(&y, &wide(&truth.0), 1e-4);
            close_all(&dx, &wide(&truth.1), 1e-4);
        }
    }

    #[test]
    fn every_half_is_the_number_it_stands_for() {
        for bits in 0..=u16::MAX {
            let (got, truth) = (f32_of_f16(bits.to_le_bytes()), f16::from_bits(bits).to_f32());
            assert!(got.to_bits() == truth.to_bits() || got.is_nan() && truth.is_nan(), "{bits:#06x}: {got}");
            let (got, truth) = (f32_of_bf16(bits.to_le_bytes()), bf16::from_bits(bits).to_f32());
            assert!(got.to_bits() == truth.to_bits() || got.is_nan() && truth.is_nan(), "{bits:#06x}: {got}");
        }
    }

    #[test]
    fn a_format_of_another_size_is_refused() {
        assert!(Frozen::new(2, 3, Format::Own(vec![0.0; 5])).is_none());
        assert!(Frozen::new(2, 3, Format::Bf16(bytes(vec![0; 13]))).is_none());
        assert!(Frozen::new(2, 16, Format::Ggml(GgmlDType::Q8_0, bytes(vec![0; 34]))).is_none());
        assert!(Bytes::new(Arc::new(vec![0u8; 3]), 1..5).is_none());
    }
}

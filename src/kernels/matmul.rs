//! The multiply: views of f32 matrices by strides, and `gemm` behind them. A transposed view costs no copy.

use rayon::prelude::*;

use super::Isa;
use super::lanes::dot;

/// A read-only matrix: `rows` × `cols`, element (i, j) at `i · row_stride + j · col_stride`.
#[derive(Debug, Clone, Copy)]
pub struct Mat<'a> {
    pub(super) data: &'a [f32],
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row_stride: usize,
    pub(super) col_stride: usize,
}

/// A matrix to write, row by row: element (i, j) at `i · stride + j`.
#[derive(Debug)]
pub struct MatMut<'a> {
    pub(super) data: &'a mut [f32],
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) stride: usize,
}

/// Who does a multiply: this thread alone (inside a parallel operation), or all of them. The bits are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// This one.
    One,
    /// Those of the rayon pool.
    All,
}

impl<'a> Mat<'a> {
    /// `rows` × `cols`, one row after the other.
    ///
    /// # Panics
    /// When `data` is shorter than that.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// `rows` × `cols` whose rows begin every `stride` elements: columns of a wider matrix.
    ///
    /// # Panics
    /// When `data` is shorter than that.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(fits(data.len(), rows, cols, stride), "a view of {rows} x {cols} (stride {stride}) of {}", data.len());
        Self { data, rows, cols, row_stride: stride, col_stride: 1 }
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Rows and columns exchanged.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            data: self.data,
        }
    }
}

impl<'a> MatMut<'a> {
    /// `rows` × `cols`, one row after the other.
    ///
    /// # Panics
    /// When `data` is shorter than that.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// `rows` × `cols` whose rows begin every `stride` elements.
    ///
    /// # Panics
    /// When `data` is shorter than that, or the rows would overlap.
    pub fn strided(data: &'a mut [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(stride >= cols && fits(data.len(), rows, cols, stride), "a view of {rows} x {cols} (stride {stride})");
        Self { data, rows, cols, stride }
    }
}

fn fits(len: usize, rows: usize, cols: usize, stride: usize) -> bool {
    rows == 0 || cols == 0 || (rows - 1).checked_mul(stride).and_then(|n| n.checked_add(cols)).is_some_and(|n| n <= len)
}

/// dst = keep · dst + scale · a · b, where `keep` is 0 (what stands in dst is not read) or 1.
///
/// # Panics
/// When the shapes don't fit together.
pub fn matmul(dst: MatMut<'_>, keep: bool, scale: f32, a: Mat<'_>, b: Mat<'_>, threads: Threads) {
    assert!(
        a.cols == b.rows && dst.rows == a.rows && dst.cols == b.cols,
        "{}x{} by {}x{} into {}x{}",
        a.rows,
        a.cols,
        b.rows,
        b.cols,
        dst.rows,
        dst.cols
    );
    let row_by_columns = dst.rows == 1 && a.col_stride == 1 && b.row_stride == 1;
    match row_by_columns {
        true if dst.cols > 0 && a.cols > 0 => one_row(dst, keep, scale, a, b, threads),
        _ => general(dst, keep, scale, a, b, threads),
    }
}

/// One row times a matrix that lies column by column (a token through a linear layer): bound by memory, so plain dots.
fn one_row(dst: MatMut<'_>, keep: bool, scale: f32, a: Mat<'_>, b: Mat<'_>, threads: Threads) {
    const PART: usize = 64;
    let (row, isa) = (&a.data[..a.cols], Isa::here());
    let part = |(n, out): (usize, &mut [f32])| {
        isa.run(
            #[inline(always)]
            || {
                for (j, y) in out.iter_mut().enumerate() {
                    let column = &b.data[(n * PART + j) * b.col_stride..][..b.rows];
                    *y = if keep { *y } else { 0.0 } + scale * dot(row, column);
                }
            },
        );
    };
    let out = &mut dst.data[..dst.cols];
    match threads {
        Threads::One => out.chunks_mut(PART).enumerate().for_each(part),
        Threads::All => out.par_chunks_mut(PART).enumerate().for_each(part),
    }
}

fn general(dst: MatMut<'_>, keep: bool, scale: f32, a: Mat<'_>, b: Mat<'_>, threads: Threads) {
    let parallelism = match threads {
        Threads::One => gemm::Parallelism::None,
        Threads::All => gemm::Parallelism::Rayon(0),
    };
    // SAFETY: the constructors of `Mat` and `MatMut` checked that every (i, j) of each view lies inside its slice,
    // and the assertion above that the three shapes fit. `dst` is borrowed mutably and its rows don't overlap, so
    // the threads of `gemm` write each element once and nothing aliases it. With `read_dst` false, the destination's
    // contents are not read. Strides are at most isize::MAX, for they lie inside slices.
    unsafe {
        gemm::gemm(
            dst.rows,
            dst.cols,
            a.cols,
            dst.data.as_mut_ptr(),
            1,
            dst.stride as isize,
            keep,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// Adds `row` to every row of `data` (a bias).
pub fn add_rows(data: &mut [f32], row: &[f32]) {
    let isa = Isa::here();
    data.par_chunks_mut(row.len() * super::ROWS).for_each(|part| {
        isa.run(
            #[inline(always)]
            || {
                for out in part.chunks_mut(row.len()) {
                    out.iter_mut().zip(row).for_each(|(y, b)| *y += b);
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::super::isa::on_each;
    use super::super::reference::{self, close, numbers};
    use super::*;

    #[test]
    fn every_shape_and_stride_equals_the_truth() {
        on_each(|_| {
            for (m, n, k) in
                [(1, 1, 1), (1, 70, 33), (3, 5, 7), (17, 31, 129), (65, 130, 70), (2, 300, 0), (130, 1, 20)]
            {
                let (a, b) = (numbers(m * (k + 3), 1), numbers(n * k.max(1), 2));
                let start = numbers(m * (n + 2), 3);
                for keep in [false, true] {
                    let mut fast = start.clone();
                    let dst = MatMut::strided(&mut fast, m, n, n + 2);
                    let left = Mat::strided(&a, m, k, k + 3);
                    matmul(dst, keep, 0.5, left, Mat::new(&b, n, k).t(), Threads::All);
                    for i in 0..m {
                        let tight: Vec<f32> = a[i * (k + 3)..][..k].to_vec();
                        let row = reference::matmul_t(&tight, &b, 1, n, k);
                        for j in 0..n {
                            let old = if keep { f64::from(start[i * (n + 2) + j]) } else { 0.0 };
                            close(fast[i * (n + 2) + j], old + 0.5 * row[j], 1e-5);
                        }
                    }
                }
            }
        });
    }

    #[test]
    fn the_same_bits_with_one_thread_and_with_two() {
        let product = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (m, n, k) = (200, 333, 700);
            let (a, b) = (numbers(m * k, 4), numbers(n * k, 5));
            let mut c = vec![0.0; m * n];
            let mut d = vec![0.0; k * n];
            pool.install(|| {
                matmul(MatMut::new(&mut c, m, n), false, 1.0, Mat::new(&a, m, k), Mat::new(&b, n, k).t(), Threads::All);
                matmul(MatMut::new(&mut d, k, n), false, 1.0, Mat::new(&a, m, k).t(), Mat::new(&c, m, n), Threads::All);
            });
            c.extend(d);
            c.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(product(1), product(2));
    }

    #[test]
    #[should_panic(expected = "a view of")]
    fn a_view_past_the_end_is_refused() {
        Mat::strided(&[0.0; 10], 3, 4, 4);
    }

    #[test]
    fn candle_agrees() {
        let (m, n, k) = (9, 21, 40);
        let (a, b) = (numbers(m * k, 6), numbers(k * n, 7));
        let mut ours = vec![0.0; m * n];
        matmul(MatMut::new(&mut ours, m, n), false, 1.0, Mat::new(&a, m, k), Mat::new(&b, k, n), Threads::One);
        let device = &candle_core::Device::Cpu;
        let tensor = |v: Vec<f32>, shape| candle_core::Tensor::from_vec(v, shape, device).unwrap();
        let theirs = tensor(a, (m, k)).matmul(&tensor(b, (k, n))).unwrap().flatten_all().unwrap();
        for (x, y) in ours.iter().zip(theirs.to_vec1::<f32>().unwrap()) {
            close(*x, f64::from(y), 1e-5);
        }
    }
}

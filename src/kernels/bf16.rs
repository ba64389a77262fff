//! The multiply of bf16 numbers with sums in f32: what AVX512-BF16 does by one instruction for a pair of products.
//!
//! Both sides are rounded to bf16 (the nearest, ties to even) and lie in pairs along the sum; a tile of [`ROWS`] ×
//! [`COLS`] sums in registers takes a pair of steps at a time. The product of two bf16 is exact in f32, and the later one
//! of a pair is added first, as the instruction does it (Intel SDM, VDPBF16PS). The portable tile does just the same,
//! number by number: slow, for tests and for machines that are to repeat what another did.

use super::Isa;
use super::matmul::{Mat, MatMut, Threads, matmul};
use rayon::prelude::*;
use serde::Serialize;
use std::cell::RefCell;

/// Rows of a tile.
const ROWS: usize = 6;
/// Columns of a tile: four vectors of sixteen.
const COLS: usize = 64;
/// Steps of the sum between two visits of the result: a tile's columns of that many (64 KiB) stay in the second cache.
const DEPTH: usize = 512;

/// In what numbers a frozen matrix is multiplied; sums are f32 in both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compute {
    /// As they are.
    #[default]
    F32,
    /// Both sides rounded to bf16: twice as fast where the machine has instructions for it, very slow elsewhere.
    Bf16,
}

impl Compute {
    /// As the product file calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// [`matmul`] by all threads, in these numbers.
    ///
    /// # Panics
    /// When the shapes don't fit together.
    pub fn multiply(self, dst: MatMut<'_>, keep: bool, scale: f32, a: Mat<'_>, b: Mat<'_>) {
        match self {
            Self::F32 => matmul(dst, keep, scale, a, b, Threads::All),
            Self::Bf16 => multiply(Tile::here(), dst, keep, scale, a, b),
        }
    }
}

/// What adds up a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tile {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Tile {
    /// The fastest that this machine has.
    fn here() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16") {
            return Self::Avx512;
        }
        Self::Portable
    }

    /// Adds to `sums` the products of a `[pairs, ROWS]` and b `[pairs, COLS]`.
    fn add(self, a: &[[u32; ROWS]], b: &[[u32; COLS]], sums: &mut [[f32; COLS]; ROWS]) {
        match self {
            Self::Portable => Isa::here().run(
                #[inline(always)]
                || portable(a, b, sums),
            ),
            // SAFETY: `here` names this tile only where the machine said that it has both features.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512(a, b, sums) },
        }
    }
}

#[inline(always)]
fn portable(a: &[[u32; ROWS]], b: &[[u32; COLS]], sums: &mut [[f32; COLS]; ROWS]) {
    let later = |pair: u32| f32::from_bits(pair & 0xffff_0000);
    let earlier = |pair: u32| f32::from_bits(pair << 16);
    for (a, b) in a.iter().zip(b) {
        for (a, sums) in a.iter().zip(&mut *sums) {
            for (b, sum) in b.iter().zip(sums) {
                *sum += later(*a) * later(*b);
                *sum += earlier(*a) * earlier(*b);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn avx512(a: &[[u32; ROWS]], b: &[[u32; COLS]], sums: &mut [[f32; COLS]; ROWS]) {
    use std::arch::x86_64::*;
    use std::array::from_fn;
    const WIDTH: usize = 16;
    const VECTORS: usize = COLS / WIDTH;
    // SAFETY: each load and store is of sixteen numbers that begin at v · 16, v < COLS / 16, in an array of COLS, and
    // needs no alignment. The transmutes are between vectors of 512 bits, of which every pattern is valid.
    unsafe {
        let mut tile: [[__m512; VECTORS]; ROWS] =
            from_fn(|r| from_fn(|v| _mm512_loadu_ps(sums[r].as_ptr().add(v * WIDTH))));
        for (a, b) in a.iter().zip(b) {
            let b: [__m512bh; VECTORS] =
                from_fn(|v| std::mem::transmute(_mm512_loadu_si512(b.as_ptr().add(v * WIDTH).cast())));
            for (a, tile) in a.iter().zip(&mut tile) {
                let a: __m512bh = std::mem::transmute(_mm512_set1_epi32(*a as i32));
                for (b, sum) in b.iter().zip(tile) {
                    *sum = _mm512_dpbf16_ps(*sum, a, *b);
                }
            }
        }
        for (tile, sums) in tile.iter().zip(sums) {
            for (v, sum) in tile.iter().enumerate() {
                _mm512_storeu_ps(sums.as_mut_ptr().add(v * WIDTH), *sum);
            }
        }
    }
}

/// The nearest bf16, ties to even, in the lower half; NaN stays NaN.
#[inline(always)]
fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if x.is_nan() { bits >> 16 | 0x40 } else { nearest }
}

/// Two neighbours along the sum, the earlier one below.
#[inline(always)]
fn pair(earlier: f32, later: f32) -> u32 {
    rounded(earlier) | rounded(later) << 16
}

thread_local! {
    /// The left side's pairs, of the thread that asks for a product.
    static LEFT: RefCell<Vec<[u32; ROWS]>> = const { RefCell::new(Vec::new()) };
    /// The right side's pairs of one tile, of each thread that multiplies.
    static RIGHT: RefCell<Vec<[u32; COLS]>> = const { RefCell::new(Vec::new()) };
}

/// dst = keep · dst + scale · a · b. A task a tile's columns: split by shape, so that the bits are always the same.
fn multiply(tile: Tile, dst: MatMut<'_>, keep: bool, scale: f32, a: Mat<'_>, b: Mat<'_>) {
    assert!(a.cols == b.rows && dst.rows == a.rows && dst.cols == b.cols, "shapes that don't fit together");
    let (steps, pairs, isa, lines) = (a.cols, a.cols.div_ceil(2), Isa::here(), b.t());
    let out = Columns { first: dst.data.as_mut_ptr(), stride: dst.stride, rows: dst.rows, cols: dst.cols };
    // taken out: while this thread waits for others, it may be given another product to do
    let mut left = LEFT.take();
    left.resize(a.rows.div_ceil(ROWS) * pairs, [0; ROWS]);
    left.par_chunks_mut(pairs.max(1)).enumerate().for_each(|(n, left)| {
        isa.run(
            #[inline(always)]
            || pack(a, n * ROWS, 0, left),
        )
    });
    (0..dst.cols.div_ceil(COLS)).into_par_iter().for_each(|n| {
        RIGHT.with_borrow_mut(|right| {
            // a sum of no steps is 0, and is written, too
            for from in (0..steps.max(1)).step_by(DEPTH) {
                right.resize(DEPTH.min(steps - from).div_ceil(2), [0; COLS]);
                isa.run(
                    #[inline(always)]
                    || pack(lines, n * COLS, from, right),
                );
                for m in 0..out.rows.div_ceil(ROWS) {
                    let mut sums = [[0.0; COLS]; ROWS];
                    tile.add(&left[m * pairs + from / 2..][..right.len()], right, &mut sums);
                    for (row, sums) in (m * ROWS..out.rows).zip(&sums) {
                        // SAFETY: this task alone has these columns, and one row of them at a time.
                        let y = unsafe { out.part(row, n * COLS) };
                        isa.run(
                            #[inline(always)]
                            || add(y, keep || from > 0, scale, sums),
                        );
                    }
                }
            }
        });
    });
    LEFT.set(left);
}

#[inline(always)]
fn add(y: &mut [f32], keep: bool, scale: f32, sums: &[f32]) {
    match keep {
        true => y.iter_mut().zip(sums).for_each(|(y, sum)| *y += scale * sum),
        false => y.iter_mut().zip(sums).for_each(|(y, sum)| *y = scale * sum),
    }
}

/// A matrix that several threads write, each its own columns.
struct Columns {
    first: *mut f32,
    stride: usize,
    rows: usize,
    cols: usize,
}

// SAFETY: the pointer is that of a `MatMut`, which is borrowed mutably for as long as this lives, and `part` asks its
// callers that no number is in two hands.
unsafe impl Sync for Columns {}

impl Columns {
    /// Up to [`COLS`] numbers of a row.
    ///
    /// # Safety
    /// No two parts that live at once overlap.
    #[allow(clippy::mut_from_ref)] // what the caller promises
    unsafe fn part(&self, row: usize, column: usize) -> &mut [f32] {
        assert!(row < self.rows && column < self.cols);
        let width = COLS.min(self.cols - column);
        // SAFETY: row and columns are inside the matrix, whose constructor checked that it lies inside its slice.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(row * self.stride + column), width) }
    }
}

/// Pairs of `WIDTH` rows of `lines` from row `first` on, along the columns from column `from` on; zero past either end.
#[inline(always)]
fn pack<const WIDTH: usize>(lines: Mat<'_>, first: usize, from: usize, out: &mut [[u32; WIDTH]]) {
    /// Pairs that are made at once, to be stored the other way round.
    const PART: usize = 16;
    let count = WIDTH.min(lines.rows - first);
    if lines.col_stride == 1 {
        for (n, out) in out.chunks_mut(PART).enumerate() {
            let mut made = [[0u32; PART]; WIDTH];
            let at = from + n * 2 * PART;
            for (made, row) in made.iter_mut().zip(first..first + count) {
                let line = &lines.data[row * lines.row_stride..][..lines.cols];
                let line = &line[at.min(lines.cols)..(at + 2 * PART).min(lines.cols)];
                let (pairs, last) = line.as_chunks();
                made.iter_mut().zip(pairs).for_each(|(made, [x, y])| *made = pair(*x, *y));
                last.iter().for_each(|x| made[pairs.len()] = pair(*x, 0.0));
            }
            for (p, out) in out.iter_mut().enumerate() {
                out.iter_mut().zip(&made).for_each(|(out, made)| *out = made[p]);
            }
        }
    } else {
        let place = |row: usize, col: usize| row * lines.row_stride + col * lines.col_stride;
        for (p, out) in out.iter_mut().enumerate() {
            let at = from + 2 * p;
            out[count..].fill(0);
            let out = &mut out[..count];
            match (lines.row_stride, at + 1 < lines.cols) {
                (1, true) => {
                    let (x, y) = (&lines.data[place(first, at)..], &lines.data[place(first, at + 1)..]);
                    out.iter_mut().zip(x).zip(y).for_each(|((out, x), y)| *out = pair(*x, *y));
                }
                (_, two) => {
                    for (row, out) in (first..).zip(out) {
                        let y = if two { lines.data[place(row, at + 1)] } else { 0.0 };
                        *out = pair(lines.data[place(row, at)], y);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::isa::on_each;
    use super::super::reference::{close, numbers};
    use super::*;
    use half::bf16;

    const SHAPES: [(usize, usize, usize); 6] =
        [(1, 1, 1), (7, 33, 70), (6, 64, 64), (13, 1100, 130), (3, 5, 200), (2, 0, 3)];

    fn tiles() -> Vec<Tile> {
        let mut tiles = vec![Tile::Portable, Tile::here()];
        tiles.dedup();
        tiles
    }

    /// 2 · a · b + the start, and a · b, over [`SHAPES`], with either side turned or not.
    fn products(tile: Tile, mut see: impl FnMut(&[f32], f64, &dyn Fn(usize, usize) -> f64)) {
        for (m, k, n) in SHAPES {
            let (a, b, start) = (numbers(m * (k + 1), 1), numbers(k * n, 2), numbers(m * (n + 3), 3));
            let wide = |x: f32| f64::from(bf16::from_f32(x).to_f32());
            for (turned, keep, scale) in [(false, true, 2.0), (true, false, 1.0)] {
                let mut y = start.clone();
                let (at_b, right) = match turned {
                    true => ([1, k], Mat::new(&b, n, k).t()),
                    false => ([n, 1], Mat::new(&b, k, n)),
                };
                let (at_a, left) = match turned {
                    true => ([1, m], Mat::new(&a[..k * m], k, m).t()),
                    false => ([k + 1, 1], Mat::strided(&a, m, k, k + 1)),
                };
                multiply(tile, MatMut::strided(&mut y, m, n, n + 3), keep, scale, left, right);
                let truth = |i: usize, j: usize| {
                    let product = |p: usize| {
                        let (a, b) = (a[i * at_a[0] + p * at_a[1]], b[p * at_b[0] + j * at_b[1]]);
                        wide(a) * wide(b)
                    };
                    let before = if keep { f64::from(start[i * (n + 3) + j]) } else { 0.0 };
                    before + f64::from(scale) * (0..k).map(product).sum::<f64>()
                };
                let inside: Vec<f32> = y.chunks(n + 3).flat_map(|row| row[..n].to_vec()).collect();
                see(&inside, 1e-5 * (k.max(1) as f64).sqrt(), &|i, j| truth(i, j));
                for (y, start) in y.chunks(n + 3).zip(start.chunks(n + 3)) {
                    assert_eq!(y[n..], start[n..], "only its own columns are written");
                }
            }
        }
    }

    #[test]
    fn every_tile_equals_the_truth_of_the_rounded_numbers() {
        on_each(|_| {
            for tile in tiles() {
                let mut shapes = SHAPES.iter().flat_map(|shape| [shape, shape]);
                products(tile, |y, tolerance, truth| {
                    let (_, _, n) = *shapes.next().unwrap();
                    y.iter().enumerate().for_each(|(at, y)| close(*y, truth(at / n, at % n), tolerance));
                });
            }
        });
    }

    #[test]
    fn the_number_of_threads_changes_no_bit_of_any_tile() {
        let bits = |tile: Tile, threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut all = Vec::new();
            pool.install(|| products(tile, |y, _, _| all.extend(y.iter().map(|y| y.to_bits()))));
            all
        };
        for tile in tiles() {
            assert!(bits(tile, 2) == bits(tile, 1), "{tile:?}");
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_and_ties_go_to_even() {
        for bits in (0..=u32::MAX).step_by(65_521).chain([0x3f80_8000, 0x3f81_8000, 0x7f7f_ffff, 0x7f80_0000]) {
            let x = f32::from_bits(bits);
            let (got, truth) = (rounded(x), u32::from(bf16::from_f32(x).to_bits()));
            assert!(got == truth || x.is_nan() && bf16::from_bits(got as u16).is_nan(), "{bits:#010x}: {got:#06x}");
        }
    }
}

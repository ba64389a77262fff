//! Eight bits a number: the row-wise format of LLM.int8() (Dettmers et al. 2022), as bitsandbytes keeps it.

use rayon::prelude::*;

/// The largest magnitude of a quantised number.
const TOP: f32 = 127.0;

/// Numbers as `round(127 · x / scale)`, `scale` being the largest magnitude of the row.
#[derive(Debug)]
pub struct Int8 {
    cols: usize,
    values: Vec<i8>,
    scales: Vec<f32>,
}

impl Int8 {
    /// Quantises `rows` rows of equal length.
    ///
    /// # Panics
    /// When the numbers don't fill the rows.
    pub fn quantize(values: &[f32], rows: usize) -> Self {
        assert!(rows > 0 && values.len().is_multiple_of(rows), "{} numbers in {rows} rows", values.len());
        let cols = values.len() / rows;
        let top = |row: &[f32]| row.iter().fold(0.0f32, |top, x| top.max(x.abs()));
        let scales: Vec<f32> = values.par_chunks(cols.max(1)).map(top).collect();
        let number =
            |x: f32, scale: f32| if scale == 0.0 { 0 } else { (x * (scale.recip() * TOP)).round_ties_even() as i8 };
        let rows = values.par_chunks(cols.max(1)).zip(&scales);
        let values = rows.flat_map_iter(|(row, scale)| row.iter().map(move |x| number(*x, *scale))).collect();
        Self { cols, values, scales }
    }

    /// The numbers, row after row, and a scale for each row.
    pub fn parts(&self) -> (&[i8], &[f32]) {
        (&self.values, &self.scales)
    }

    /// Bytes that so many numbers in so many rows take.
    pub fn bytes_of(elements: usize, rows: usize) -> usize {
        elements + 4 * rows
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.scales.len()
    }

    /// Numbers.
    pub fn elements(&self) -> usize {
        self.values.len()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        Self::bytes_of(self.values.len(), self.scales.len())
    }

    /// One row as f32.
    #[inline(always)]
    pub fn read(&self, row: usize, out: &mut [f32]) {
        let scale = self.scales[row] / TOP;
        let values = &self.values[row * self.cols..][..self.cols];
        out.iter_mut().zip(values).for_each(|(x, q)| *x = f32::from(*q) * scale);
    }
}

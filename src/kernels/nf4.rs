//! Four bits a number: NormalFloat with double quantisation (QLoRA, Dettmers et al. 2023), as bitsandbytes keeps it.
//!
//! Blocks of 64 numbers, row after row, share their largest magnitude as a scale; a number is the nearest of sixteen
//! levels times it. The scales less their mean are quantised themselves: blocks of 256, eight bits, a dynamic map.

use rayon::prelude::*;
use std::sync::LazyLock;

/// Numbers that share a scale.
const BLOCK: usize = 64;
/// Scales that share a scale of their own.
const SCALES: usize = 256;

/// The levels: quantiles of the standard normal distribution, zero among them (bitsandbytes' table).
const LEVELS: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// The 256 values of the dynamic map (Dettmers 2016): seven decades, each with twice as many fractions as the one below.
static MAP: LazyLock<[f32; 256]> = LazyLock::new(|| {
    const DECADES: i32 = 7;
    let mut map = vec![0.0, 1.0];
    for decade in 0..DECADES {
        let fractions = 1 << decade;
        let step = 0.9 / f64::from(fractions);
        for n in 0..fractions {
            let value = (10f64.powi(decade - DECADES + 1) * (0.1 + step * (f64::from(n) + 0.5))) as f32;
            map.extend([value, -value]);
        }
    }
    map.sort_by(f32::total_cmp);
    map.try_into().expect("2 + 2 · (2⁷ − 1) values")
});

/// Numbers in blocks of 64, their scales quantised, too.
#[derive(Debug)]
pub struct Nf4 {
    elements: usize,
    /// Two numbers a byte, the first in the upper half.
    levels: Vec<u8>,
    /// A block's scale as an index of the dynamic map.
    scales: Vec<u8>,
    /// What [`SCALES`] values of the map are multiplied by.
    tops: Vec<f32>,
    /// The mean of all scales.
    mean: f32,
}

/// The parts of an [`Nf4`], as they lie in memory.
#[derive(Debug, Clone, Copy)]
pub struct Nf4Parts<'a> {
    /// Two numbers a byte, the first in the upper half: places in `table`.
    pub levels: &'a [u8],
    /// One a block of 64: places in `map`.
    pub scales: &'a [u8],
    /// What 256 values of the map are multiplied by.
    pub tops: &'a [f32],
    /// Added to every scale.
    pub mean: f32,
    /// The dynamic map.
    pub map: &'a [f32; 256],
    /// The levels.
    pub table: &'a [f32; 16],
}

impl Nf4 {
    /// Quantises numbers, row after row.
    pub fn quantize(values: &[f32]) -> Self {
        let scales: Vec<f32> = values.par_chunks(BLOCK).map(largest).collect();
        let levels =
            values.par_chunks(BLOCK).zip(&scales).flat_map_iter(|(block, scale)| pack(block, *scale)).collect();
        let mean = (scales.iter().copied().map(f64::from).sum::<f64>() / scales.len().max(1) as f64) as f32;
        let centred: Vec<f32> = scales.iter().map(|s| s - mean).collect();
        let tops: Vec<f32> = centred.chunks(SCALES).map(largest).collect();
        let codes = centred.iter().enumerate().map(|(n, s)| in_map(unit(*s, tops[n / SCALES]))).collect();
        Self { elements: values.len(), levels, scales: codes, tops, mean }
    }

    /// What a card needs to read them.
    pub fn parts(&self) -> Nf4Parts<'_> {
        let Self { levels, scales, tops, mean, .. } = self;
        Nf4Parts { levels, scales, tops, mean: *mean, map: &MAP, table: &LEVELS }
    }

    /// Bytes that so many numbers take.
    pub fn bytes_of(elements: usize) -> usize {
        let scales = elements.div_ceil(BLOCK);
        elements.div_ceil(2) + scales + 4 * scales.div_ceil(SCALES)
    }

    /// Numbers.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        Self::bytes_of(self.elements)
    }

    /// The numbers from `from` on.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn read(&self, from: usize, out: &mut [f32]) {
        assert!(from + out.len() <= self.elements, "numbers past the end");
        let head = from.next_multiple_of(BLOCK).min(from + out.len()) - from;
        let (first, rest) = out.split_at_mut(head);
        if !first.is_empty() {
            self.read_within(from, first);
        }
        rest.par_chunks_mut(BLOCK).with_min_len(64).enumerate().for_each(|(n, part)| {
            self.read_within(from + head + n * BLOCK, part);
        });
    }

    /// Numbers of one block.
    fn read_within(&self, from: usize, out: &mut [f32]) {
        let scale = self.scale(from / BLOCK);
        let mut table = LEVELS;
        table.iter_mut().for_each(|level| *level *= scale);
        if from.is_multiple_of(2) {
            for (pair, byte) in out.chunks_mut(2).zip(&self.levels[from / 2..]) {
                pair[0] = table[usize::from(byte >> 4)];
                if let Some(second) = pair.get_mut(1) {
                    *second = table[usize::from(byte & 15)];
                }
            }
        } else {
            for (i, x) in out.iter_mut().enumerate() {
                let byte = self.levels[(from + i) / 2];
                *x = table[usize::from(if (from + i).is_multiple_of(2) { byte >> 4 } else { byte & 15 })];
            }
        }
    }

    fn scale(&self, block: usize) -> f32 {
        MAP[usize::from(self.scales[block])] * self.tops[block / SCALES] + self.mean
    }
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |top: f32, x| top.max(x.abs()))
}

/// A number as a share of its scale.
fn unit(x: f32, scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { x * (1.0 / scale) }
}

fn pack(block: &[f32], scale: f32) -> impl Iterator<Item = u8> + '_ {
    let level = move |x: &f32| nearest(&LEVELS, unit(*x, scale)) as u8;
    block.chunks(2).map(move |pair| level(&pair[0]) << 4 | pair.get(1).map_or(7, level))
}

fn in_map(x: f32) -> u8 {
    nearest(&*MAP, x) as u8
}

/// The index of the nearest value of a rising table.
fn nearest(table: &[f32], x: f32) -> usize {
    let above = table.partition_point(|v| *v < x).clamp(1, table.len() - 1);
    if x - table[above - 1] <= table[above] - x { above - 1 } else { above }
}

#[cfg(test)]
mod tests {
    use super::super::reference::numbers;
    use super::*;

    #[test]
    fn any_part_reads_as_the_whole() {
        for n in [1, 63, 64, 65, 1000, 64 * 300 + 5] {
            let nf4 = Nf4::quantize(&numbers(n, 1));
            let mut whole = vec![0.0; n];
            nf4.read(0, &mut whole);
            for (from, to) in [(0, n), (n / 3, n), (n / 2, n / 2 + n / 4), (n, n)] {
                let mut part = vec![9.0; to - from];
                nf4.read(from, &mut part);
                assert_eq!(part, whole[from..to]);
            }
        }
    }

    #[test]
    fn zeros_stay_zeros_and_the_largest_is_a_level() {
        let nf4 = Nf4::quantize(&[0.0; 130]);
        let mut out = [1.0; 130];
        nf4.read(0, &mut out);
        assert_eq!(out, [0.0; 130]);
        assert!(MAP.is_sorted() && MAP[0] > -1.0 && MAP[255] == 1.0 && MAP.contains(&0.0));
    }
}

//! A frozen matrix on a card: as it is multiplied, or in the format of its file, which becomes that beside the multiply.

use super::card::{Buffer, Card};
use super::ops::{Blocks, Packed};
use super::source::Element;
use crate::error::Result;
use crate::kernels::{Format, Frozen};
use candle_core::quantized::GgmlDType;
use half::bf16;
use rayon::prelude::*;

/// Numbers that are converted at once on their way to the card.
const PANEL: usize = 1 << 22;

/// A matrix `[rows, cols]`.
pub struct Weight {
    rows: usize,
    cols: usize,
    element: Element,
    held: Held,
}

enum Held {
    /// All of it, in the type that is multiplied.
    Whole(Buffer),
    /// Rows, end to end, each kept in its own way.
    Parts(Vec<(usize, Part)>),
}

enum Part {
    Whole(Buffer),
    Nf4 { levels: Buffer, scales: Buffer, tops: Buffer, map: Buffer, table: Buffer, mean: f32 },
    Int8 { values: Buffer, scales: Buffer },
    Ggml(Blocks, Buffer),
}

impl Weight {
    /// Bytes that [`Weight::packed`] will take.
    pub fn bytes_of(matrix: &Frozen, element: Element) -> usize {
        let cols = matrix.cols();
        matrix.parts().map(|(rows, format)| kept(format).unwrap_or(rows * cols * element.size())).sum()
    }

    /// Bytes of the buffer that [`Weight::multiplied`] asks for: none where the matrix lies there as it is multiplied.
    pub fn spare_of(matrix: &Frozen, element: Element) -> usize {
        let packed = matrix.parts().any(|(_, format)| kept(format).is_some());
        if packed { matrix.rows() * matrix.cols() * element.size() } else { 0 }
    }

    /// Copies a matrix to the card in its own format where a kernel reads that, else in the type that is multiplied.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn packed(card: &Card, matrix: &Frozen, element: Element) -> Result<Self> {
        if Self::spare_of(matrix, element) == 0 {
            return Self::whole(card, matrix, element);
        }
        let (mut from, mut parts) = (0, Vec::new());
        for (rows, format) in matrix.parts() {
            parts.push((rows, Part::upload(card, matrix, (from, rows), format, element)?));
            from += rows;
        }
        Ok(Self { rows: matrix.rows(), cols: matrix.cols(), element, held: Held::Parts(parts) })
    }

    /// Copies a matrix to the card in the type that is multiplied.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn whole(card: &Card, matrix: &Frozen, element: Element) -> Result<Self> {
        let (rows, cols) = (matrix.rows(), matrix.cols());
        let buffer = card.alloc(rows * cols * element.size())?;
        let mut from = 0;
        for (rows, format) in matrix.parts() {
            let part = buffer.slice(from * cols * element.size(), rows * cols * element.size());
            write_rows(card, matrix, (from, rows), format, element, &part)?;
            from += rows;
        }
        Ok(Self { rows, cols, element, held: Held::Whole(buffer) })
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The matrix as it is multiplied: where it lies, or in `spare`, until that is used again.
    pub fn multiplied(&self, card: &Card, spare: &Buffer) -> Result<Buffer> {
        let parts = match &self.held {
            Held::Whole(buffer) => return Ok(buffer.clone()),
            Held::Parts(parts) => parts,
        };
        let size = self.element.size();
        let mut from = 0;
        for (rows, part) in parts {
            let n = rows * self.cols;
            let to = spare.slice(from * size, n * size);
            match part.packed(self.cols) {
                Ok(packed) => card.dequantise(packed, 0, n, to.part(self.element, 0))?,
                Err(whole) => card.copy(whole, &to)?,
            }
            from += n;
        }
        Ok(spare.clone())
    }
}

impl Part {
    fn upload(card: &Card, matrix: &Frozen, rows: (usize, usize), format: &Format, element: Element) -> Result<Self> {
        let singles = |values: &[f32]| card.upload(bytemuck::cast_slice(values));
        Ok(match format {
            Format::Nf4(nf4) => {
                let of = nf4.parts();
                Self::Nf4 {
                    levels: card.upload(of.levels)?,
                    scales: card.upload(of.scales)?,
                    tops: singles(of.tops)?,
                    map: singles(of.map)?,
                    table: singles(of.table)?,
                    mean: of.mean,
                }
            }
            Format::Int8(int8) => {
                let (values, scales) = int8.parts();
                Self::Int8 { values: card.upload(bytemuck::cast_slice(values))?, scales: singles(scales)? }
            }
            Format::Ggml(kind, bytes) if blocks(*kind).is_some() => {
                Self::Ggml(blocks(*kind).expect("just seen"), card.upload(bytes.all())?)
            }
            _ => {
                let buffer = card.alloc(rows.1 * matrix.cols() * element.size())?;
                write_rows(card, matrix, rows, format, element, &buffer)?;
                Self::Whole(buffer)
            }
        })
    }

    /// As the kernel takes it; or what needs none.
    fn packed(&self, cols: usize) -> std::result::Result<Packed<'_>, &Buffer> {
        match self {
            Self::Whole(buffer) => Err(buffer),
            Self::Nf4 { levels, scales, tops, map, table, mean } => {
                Ok(Packed::Nf4 { levels, scales, tops, map, table, mean: *mean })
            }
            Self::Int8 { values, scales } => Ok(Packed::Int8 { values, scales, cols }),
            Self::Ggml(kind, data) => Ok(Packed::Ggml(*kind, data)),
        }
    }
}

/// Bytes of a format that stays as it is on the card; `None` where it becomes the type that is multiplied.
fn kept(format: &Format) -> Option<usize> {
    match format {
        Format::Nf4(nf4) => {
            let of = nf4.parts();
            Some(of.levels.len() + of.scales.len() + 4 * (of.tops.len() + of.map.len() + of.table.len()))
        }
        Format::Int8(int8) => Some(int8.bytes()),
        Format::Ggml(kind, bytes) => blocks(*kind).map(|_| bytes.len()),
        Format::Own(_) | Format::F32(_) | Format::F16(_) | Format::Bf16(_) => None,
    }
}

/// The blocks that a kernel reads.
fn blocks(kind: GgmlDType) -> Option<Blocks> {
    Some(match kind {
        GgmlDType::Q8_0 => Blocks::Q8_0,
        GgmlDType::Q4_0 => Blocks::Q4_0,
        GgmlDType::Q4K => Blocks::Q4_K,
        GgmlDType::Q6K => Blocks::Q6_K,
        _ => return None,
    })
}

/// Rows of a matrix as numbers of a type: as they lie where they are of it, else a panel at a time.
fn write_rows(
    card: &Card,
    matrix: &Frozen,
    (from, rows): (usize, usize),
    format: &Format,
    element: Element,
    to: &Buffer,
) -> Result<()> {
    match (format, element) {
        (Format::Bf16(bytes), Element::Bf16) | (Format::F32(bytes), Element::F32) => {
            return card.write(to, bytes.all());
        }
        _ => {}
    }
    let (cols, size) = (matrix.cols(), element.size());
    let height = (PANEL / cols.max(1)).max(1);
    let mut values = Vec::new();
    for begin in (0..rows).step_by(height) {
        let count = height.min(rows - begin) * cols;
        values.resize(count, 0.0f32);
        matrix.read(from + begin, &mut values);
        let to = to.slice(begin * cols * size, count * size);
        match element {
            Element::F32 => card.write(&to, bytemuck::cast_slice(&values))?,
            Element::Bf16 => {
                let narrow: Vec<bf16> = values.par_iter().map(|x| bf16::from_f32(*x)).collect();
                card.write(&to, bytemuck::cast_slice(&narrow))?;
            }
        }
    }
    Ok(())
}

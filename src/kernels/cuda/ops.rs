//! Every operation on a card: shapes checked, arguments in the order of the kernel's source. Names, shapes and meaning are
//! those of the operations beside this folder.

use super::card::{Buffer, Card};
use super::launch::{Argument, Launch, Product, Transpose};
use super::source::{Element, Unit};
use crate::error::Result;
use crate::kernels::{Activation, AdamW, Centre, Curve};
use Argument::{Float, Int, Long, Pointer};

/// A block's threads in the kernels that give each thread some neighbours.
const THREADS: u32 = 256;
/// Numbers that one block squares.
const PIECE: usize = 1 << 14;

/// Part of a buffer: numbers of a type from an element on.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    buffer: &'a Buffer,
    pub(super) element: Element,
    from: usize,
}

impl Buffer {
    /// Its numbers of a type, from element `from` on.
    pub fn part(&self, element: Element, from: usize) -> Part<'_> {
        Part { buffer: self, element, from }
    }
}

impl Part<'_> {
    fn at(self) -> u64 {
        self.buffer.at() + (self.from * self.element.size()) as u64
    }

    /// Its address, once it is sure to hold so many numbers.
    #[track_caller]
    pub(super) fn holding(self, numbers: usize) -> Argument {
        let room = (self.buffer.bytes() / self.element.size()).saturating_sub(self.from);
        assert!(numbers <= room, "{numbers} numbers in a buffer with room for {room}");
        Pointer(self.at())
    }
}

/// Rows of a buffer: `stride` numbers from one to the next.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// Where they begin.
    pub part: Part<'a>,
    /// How far apart.
    pub stride: usize,
}

impl Rows<'_> {
    #[track_caller]
    fn holding(self, rows: usize, width: usize) -> Argument {
        assert!(width <= self.stride, "rows of {width} numbers, {} apart", self.stride);
        self.part.holding(if rows == 0 { 0 } else { (rows - 1) * self.stride + width })
    }
}

/// What a norm is given besides its rows.
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    /// What a group is measured from.
    pub centre: Centre,
    /// f32 `[gains, width]`
    pub gain: &'a Buffer,
    /// 1, or as many as groups.
    pub gains: usize,
    /// Neighbouring groups of a row.
    pub groups: usize,
    /// Numbers of a group.
    pub width: usize,
}

/// A format that frozen weights are kept in.
#[derive(Clone, Copy)]
pub enum Packed<'a> {
    /// Levels, scales, tops, the map of 256 values, the table of 16 levels, and the mean.
    Nf4 {
        /// u8, two numbers each
        levels: &'a Buffer,
        /// u8, one a block of 64
        scales: &'a Buffer,
        /// f32, one for 256 scales
        tops: &'a Buffer,
        /// f32 `[256]`
        map: &'a Buffer,
        /// f32 `[16]`
        table: &'a Buffer,
        /// The mean of all scales.
        mean: f32,
    },
    /// i8 `[rows, cols]`, f32 `[rows]`
    Int8 {
        /// i8
        values: &'a Buffer,
        /// f32, one a row
        scales: &'a Buffer,
        /// Numbers of a row.
        cols: usize,
    },
    /// llama.cpp's blocks.
    Ggml(Blocks, &'a Buffer),
}

/// A kind of llama.cpp's blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)] // as llama.cpp names them
pub enum Blocks {
    /// 8 bits.
    Q8_0,
    /// 4 bits.
    Q4_0,
    /// 4 bits, scales in 6.
    Q4_K,
    /// 6 bits.
    Q6_K,
}

impl Blocks {
    /// Kernel, numbers and bytes of a block.
    fn shape(self) -> (&'static str, usize, usize) {
        match self {
            Self::Q8_0 => ("dequantise_q8_0", 32, 34),
            Self::Q4_0 => ("dequantise_q4_0", 32, 18),
            Self::Q4_K => ("dequantise_q4_k", 256, 144),
            Self::Q6_K => ("dequantise_q6_k", 256, 210),
        }
    }
}

pub(super) fn blocks(n: usize, of: usize) -> [u32; 3] {
    [n.div_ceil(of) as u32, 1, 1]
}

pub(super) fn whole(n: usize) -> Argument {
    Int(i32::try_from(n).expect("a width below 2^31"))
}

fn flag(yes: bool) -> Argument {
    Int(i32::from(yes))
}

fn bytes_of(buffer: &Buffer, bytes: usize) -> Argument {
    assert!(bytes <= buffer.bytes(), "{bytes} bytes in a buffer of {}", buffer.bytes());
    Pointer(buffer.at())
}

impl Card {
    fn plain(&self, unit: Unit, kernel: &str, threads: usize, arguments: &[Argument]) -> Result<()> {
        let launch = Launch { grid: blocks(threads, THREADS as usize), threads: THREADS, shared: 0 };
        self.launch(unit, kernel, launch, arguments)
    }

    /// y of `rows` rows (added to what is there where `add`), rstd f32 `[rows, groups]`; `kept` gets x, so that y may be x.
    #[allow(clippy::too_many_arguments)] // all of the operation's data
    pub fn norm(
        &self,
        norm: Norm<'_>,
        x: Rows<'_>,
        bias: Option<&Buffer>,
        eps: f32,
        rows: usize,
        y: Rows<'_>,
        rstd: &Buffer,
        kept: Option<Part<'_>>,
        add: bool,
    ) -> Result<()> {
        let Norm { centre, gain, gains, groups, width } = norm;
        let launch = Launch { grid: [(rows * groups) as u32, 1, 1], threads: 128, shared: 0 };
        let arguments = [
            y.holding(rows, groups * width),
            Long(y.stride as i64),
            kept.map_or(Pointer(0), |kept| kept.holding(rows * groups * width)),
            rstd.part(Element::F32, 0).holding(rows * groups),
            x.holding(rows, groups * width),
            Long(x.stride as i64),
            gain.part(Element::F32, 0).holding(gains * width),
            bias.map_or(Pointer(0), |bias| bias.part(Element::F32, 0).holding(gains * width)),
            Float(eps),
            whole(width),
            whole(groups),
            whole(gains),
            flag(centre == Centre::Mean),
            flag(add),
        ];
        self.launch(Unit::of("norm", x.part.element), "normalise", launch, &arguments)
    }

    /// dx (added to what is there where `add`) from dy, x and rstd; dx may be dy where it is not added to.
    #[allow(clippy::too_many_arguments)] // all of the operation's data
    pub fn norm_backward(
        &self,
        norm: Norm<'_>,
        x: Rows<'_>,
        rstd: &Buffer,
        rows: usize,
        dy: Rows<'_>,
        dx: Rows<'_>,
        add: bool,
    ) -> Result<()> {
        let Norm { centre, gain, gains, groups, width } = norm;
        let launch = Launch { grid: [(rows * groups) as u32, 1, 1], threads: 128, shared: 0 };
        let arguments = [
            dx.holding(rows, groups * width),
            Long(dx.stride as i64),
            dy.holding(rows, groups * width),
            Long(dy.stride as i64),
            x.holding(rows, groups * width),
            Long(x.stride as i64),
            rstd.part(Element::F32, 0).holding(rows * groups),
            gain.part(Element::F32, 0).holding(gains * width),
            whole(width),
            whole(groups),
            whole(gains),
            flag(centre == Centre::Mean),
            flag(add),
        ];
        self.launch(Unit::of("norm", x.part.element), "normalise_backward", launch, &arguments)
    }

    /// Turns the first `heads` heads of `dim` columns of every row by its position (i32 `[T]`); back where `back`. `table`
    /// is f32 `[positions, half, 2]`: cosine and sine.
    #[allow(clippy::too_many_arguments)] // all of the operation's data
    pub fn rope(
        &self,
        rows: Rows<'_>,
        tokens: usize,
        heads: usize,
        (dim, half, neighbours): (usize, usize, bool),
        positions: &Buffer,
        table: &Buffer,
        back: bool,
    ) -> Result<()> {
        let arguments = [
            rows.holding(tokens, heads * dim),
            Long(rows.stride as i64),
            bytes_of(positions, 4 * tokens),
            Pointer(table.at()),
            Float(if back { -1.0 } else { 1.0 }),
            whole(tokens),
            whole(heads),
            whole(dim),
            whole(half),
            flag(neighbours),
        ];
        self.plain(Unit::of("rope", rows.part.element), "rope", tokens * heads * half, &arguments)
    }

    /// a `[T, F]` from rows x `[T, columns(F)]`.
    pub fn activation(&self, of: Activation, x: Part<'_>, tokens: usize, width: usize, a: Part<'_>) -> Result<()> {
        let buffers = [a.holding(tokens * width), x.holding(tokens * of.columns(width))];
        self.curve("activation", of, &buffers, tokens, width, x.element)
    }

    /// dx `[T, columns(F)]` from x and da `[T, F]`.
    pub fn activation_backward(
        &self,
        of: Activation,
        x: Part<'_>,
        da: Part<'_>,
        tokens: usize,
        width: usize,
        dx: Part<'_>,
    ) -> Result<()> {
        let columns = tokens * of.columns(width);
        let buffers = [dx.holding(columns), x.holding(columns), da.holding(tokens * width)];
        self.curve("activation_backward", of, &buffers, tokens, width, x.element)
    }

    fn curve(
        &self,
        kernel: &str,
        of: Activation,
        buffers: &[Argument],
        tokens: usize,
        width: usize,
        element: Element,
    ) -> Result<()> {
        let kind = |curve| match curve {
            Curve::Silu => 0,
            Curve::Gelu => 1,
            Curve::GeluTanh => 2,
        };
        let (kind, gated, limit, slope) = match of {
            Activation::Gated(curve) => (kind(curve), true, 0.0, 0.0),
            Activation::Plain(curve) => (kind(curve), false, 0.0, 0.0),
            Activation::Clamped { limit, slope } => (3, true, limit, slope),
        };
        let shape = [Long(tokens as i64), whole(width), Int(kind), flag(gated), Float(limit), Float(slope)];
        let threads = tokens * width.div_ceil(8);
        self.plain(Unit::of("activation", element), kernel, threads, &[buffers, &shape].concat())
    }

    /// to `[rows, width]` = factor · `table[ids]`, and `places[positions]` where there are learned positions (f32).
    #[allow(clippy::too_many_arguments)] // all of the operation's data
    pub fn embed(
        &self,
        table: Part<'_>,
        ids: &Buffer,
        places: Option<(&Buffer, &Buffer)>,
        factor: f32,
        rows: usize,
        width: usize,
        to: Part<'_>,
    ) -> Result<()> {
        let places = places.map_or([Pointer(0); 2], |(p, at)| [Pointer(p.at()), bytes_of(at, 4 * rows)]);
        let arguments = [
            to.holding(rows * width),
            Pointer(table.at()),
            bytes_of(ids, 4 * rows),
            places[0],
            places[1],
            Float(factor),
            Long(rows as i64),
            whole(width),
        ];
        self.plain(Unit::of("rows", to.element), "embed", rows * width.div_ceil(8), &arguments)
    }

    /// to `[rows, width]` = `from[ids]` (i32 `[rows]`).
    pub fn gather(&self, from: Part<'_>, ids: &Buffer, rows: usize, width: usize, to: Part<'_>) -> Result<()> {
        self.move_rows("gather", from, ids, rows, width, to)
    }

    /// to `[rows, width]` = `from[places]`, zero where the place is negative.
    pub fn scatter(&self, from: Part<'_>, places: &Buffer, rows: usize, width: usize, to: Part<'_>) -> Result<()> {
        self.move_rows("scatter", from, places, rows, width, to)
    }

    fn move_rows(
        &self,
        kernel: &str,
        from: Part<'_>,
        ids: &Buffer,
        rows: usize,
        width: usize,
        to: Part<'_>,
    ) -> Result<()> {
        let (ids, to_at) = (bytes_of(ids, 4 * rows), to.holding(rows * width));
        let arguments = [to_at, Pointer(from.at()), ids, Long(rows as i64), whole(width)];
        self.plain(Unit::of("rows", to.element), kernel, rows * width.div_ceil(8), &arguments)
    }

    /// y `[rows, width]` += row (f32 `[width]`).
    pub fn add_row(&self, y: Part<'_>, row: &Buffer, rows: usize, width: usize) -> Result<()> {
        let row = row.part(Element::F32, 0).holding(width);
        let arguments = [y.holding(rows * width), row, Long(rows as i64), whole(width)];
        self.plain(Unit::of("rows", y.element), "add_row", rows * width.div_ceil(8), &arguments)
    }

    /// y += x, n numbers.
    pub fn add(&self, x: Part<'_>, n: usize, y: Part<'_>) -> Result<()> {
        let arguments = [y.holding(n), x.holding(n), Long(n as i64)];
        self.plain(Unit::of("rows", y.element), "add", n.div_ceil(8), &arguments)
    }

    /// n f32 as the type of `to`.
    pub fn narrow(&self, from: &Buffer, n: usize, to: Part<'_>) -> Result<()> {
        let arguments = [to.holding(n), from.part(Element::F32, 0).holding(n), Long(n as i64)];
        self.plain(Unit::of("rows", to.element), "narrow", n.div_ceil(8), &arguments)
    }

    /// n numbers as f32.
    pub fn widen(&self, from: Part<'_>, n: usize, to: &Buffer) -> Result<()> {
        let arguments = [to.part(Element::F32, 0).holding(n), from.holding(n), Long(n as i64)];
        self.plain(Unit::of("rows", from.element), "widen", n.div_ceil(8), &arguments)
    }

    /// losses f32 `[N]` from logits f32 `[N, V]` and targets i32 `[N]`; d `[N, V]` gets the logits' gradient.
    #[allow(clippy::too_many_arguments)] // all of the operation's data
    pub fn cross_entropy(
        &self,
        logits: &Buffer,
        targets: &Buffer,
        cap: Option<f32>,
        rows: usize,
        vocab: usize,
        losses: Part<'_>,
        element: Element,
        d: Option<Part<'_>>,
    ) -> Result<()> {
        let launch = Launch { grid: [rows as u32, 1, 1], threads: 512, shared: 0 };
        let arguments = [
            d.map_or(Pointer(0), |d| d.holding(rows * vocab)),
            losses.holding(rows),
            logits.part(Element::F32, 0).holding(rows * vocab),
            bytes_of(targets, 4 * rows),
            Float(cap.unwrap_or(0.0)),
            whole(vocab),
        ];
        self.launch(Unit::of("cross_entropy", element), "cross_entropy", launch, &arguments)
    }

    /// One update of `values` by `grad · scale`, all f32 `[n]`; `copy` gets the values in the type that is multiplied.
    #[allow(clippy::too_many_arguments)] // all of the operation's data
    pub fn adamw(
        &self,
        adam: &AdamW,
        step: u64,
        values: &Buffer,
        grad: &Buffer,
        scale: f32,
        [first, second]: [&Buffer; 2],
        n: usize,
        copy: Option<Part<'_>>,
    ) -> Result<()> {
        let single = |buffer: &Buffer| buffer.part(Element::F32, 0).holding(n);
        let correct = 1.0 - adam.beta1.powf(step as f64);
        let root = (1.0 - adam.beta2.powf(step as f64)).sqrt();
        let arguments = [
            single(values),
            copy.map_or(Pointer(0), |copy| copy.holding(n)),
            single(grad),
            single(first),
            single(second),
            Float(scale),
            Float(adam.beta1 as f32),
            Float(adam.beta2 as f32),
            Float((1.0 - adam.beta1) as f32),
            Float((1.0 - adam.beta2) as f32),
            Float((adam.rate / correct) as f32),
            Float((1.0 - adam.rate * adam.decay) as f32),
            Float(root as f32),
            Float(adam.eps as f32),
            Long(n as i64),
        ];
        let element = copy.map_or(Element::F32, |copy| copy.element);
        self.plain(Unit::of("adamw", element), "adamw", n, &arguments)
    }

    /// Bytes that [`Card::squares`] of n numbers works in.
    pub fn squares_room(n: usize) -> usize {
        8 * n.div_ceil(PIECE)
    }

    /// Σ x² of n f32, added up in a fixed order; `sums` is room to work in.
    pub fn squares(&self, x: &Buffer, n: usize, sums: &Buffer) -> Result<f64> {
        let room = Self::squares_room(n);
        let launch = Launch { grid: [n.div_ceil(PIECE) as u32, 1, 1], threads: THREADS, shared: 0 };
        let arguments = [bytes_of(sums, room), x.part(Element::F32, 0).holding(n), Long(n as i64)];
        self.launch(Unit::of("adamw", Element::F32), "squares", launch, &arguments)?;
        let mut bytes = vec![0; room];
        self.read(sums, &mut bytes)?;
        Ok(bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).sum())
    }

    /// sum `[n]` = Σ all `[ranks, n]`, f32, in the order of the ranks.
    pub fn add_ranks(&self, all: &Buffer, ranks: usize, n: usize, sum: &Buffer) -> Result<()> {
        let single = |buffer: &Buffer, n| buffer.part(Element::F32, 0).holding(n);
        let arguments = [single(sum, n), single(all, ranks * n), whole(ranks), Long(n as i64)];
        self.plain(Unit::of("adamw", Element::F32), "add_ranks", n, &arguments)
    }

    /// Rows x `[rows, width]` as e4m3 in `to` (u8), with a scale each (f32 `[rows]`).
    pub fn quantise_e4m3(&self, x: Part<'_>, rows: usize, width: usize, to: &Buffer, scale: &Buffer) -> Result<()> {
        let launch = Launch { grid: [rows as u32, 1, 1], threads: THREADS, shared: 0 };
        let scale = scale.part(Element::F32, 0).holding(rows);
        let arguments = [bytes_of(to, rows * width), scale, x.holding(rows * width), whole(width)];
        self.launch(Unit::of("fp8", x.element), "quantise_e4m3", launch, &arguments)
    }

    /// n numbers of a packed matrix from number `from` on.
    pub fn dequantise(&self, packed: Packed<'_>, from: usize, n: usize, to: Part<'_>) -> Result<()> {
        let (end, single) = (from + n, |buffer: &Buffer, n| buffer.part(Element::F32, 0).holding(n));
        let (kernel, mut arguments) = match packed {
            Packed::Nf4 { levels, scales, tops, map, table, mean } => {
                let scale_blocks = end.div_ceil(64);
                let buffers = [bytes_of(levels, end.div_ceil(2)), bytes_of(scales, scale_blocks)];
                let tables =
                    [single(tops, scale_blocks.div_ceil(256)), single(map, 256), single(table, 16), Float(mean)];
                ("dequantise_nf4", [&buffers[..], &tables].concat())
            }
            Packed::Int8 { values, scales, cols } => {
                let rows = end.div_ceil(cols);
                ("dequantise_int8", vec![bytes_of(values, end), single(scales, rows), whole(cols)])
            }
            Packed::Ggml(kind, data) => {
                let (kernel, numbers, bytes) = kind.shape();
                (kernel, vec![bytes_of(data, end.div_ceil(numbers) * bytes)])
            }
        };
        arguments.insert(0, to.holding(n));
        arguments.extend([Long(from as i64), Long(n as i64)]);
        self.plain(Unit::of("dequant", to.element), kernel, n, &arguments)
    }

    /// c `[rows, cols]` = onto + scale · a · b; a and b share a type, c and `onto` (which may be c) do, and a and b lie
    /// turned over where it says so.
    #[allow(clippy::too_many_arguments)] // all of the operation's data
    pub fn matmul(
        &self,
        c: Rows<'_>,
        onto: Option<Rows<'_>>,
        scale: f32,
        (a, a_turned): (Rows<'_>, Transpose),
        (b, b_turned): (Rows<'_>, Transpose),
        [rows, cols, inner]: [usize; 3],
    ) -> Result<()> {
        let lies = |m: Rows<'_>, turned, rows: usize, cols: usize| match turned {
            Transpose::No => m.holding(rows, cols),
            Transpose::Yes => m.holding(cols, rows),
        };
        lies(a, a_turned, rows, inner);
        lies(b, b_turned, inner, cols);
        c.holding(rows, cols);
        assert_eq!(a.part.element, b.part.element, "two types in one multiply");
        if let Some(onto) = onto {
            onto.holding(rows, cols);
            assert_eq!(onto.part.element, c.part.element, "a sum of two types");
        }
        self.multiply(Product {
            rows,
            cols,
            inner,
            a: (a.part.at(), a.stride, a_turned),
            b: (b.part.at(), b.stride, b_turned),
            c: (c.part.at(), c.stride),
            elements: [a.part.element, c.part.element],
            scale,
            onto: onto.map(|onto| (onto.part.at(), onto.stride)),
        })
    }
}

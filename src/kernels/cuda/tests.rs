//! One test body an operation: what a card makes is held to the CPU's operation, in f32 and bf16, at odd shapes. The card
//! is the shim of `tests/shim` in three orders of its threads, and the machine's own where there is one.

use super::attend::{CardScores, Tiles};
use super::card::{Buffer, Card};
use super::emulator::{bytes, floats};
use super::launch::Transpose;
use super::ops::{Blocks, Norm, Packed, Part, Rows};
use super::packed::Weight;
use super::source::{Element, Unit};
use crate::kernels::reference::numbers;
use crate::kernels::{
    self as cpu, Activation, AdamW, AttentionGrad, Centre, Curve, HeadNorm, Heads, Int8, Nf4, Pairs, Rope, Scaling,
    Scores,
};

const ELEMENTS: [Element; 2] = [Element::F32, Element::Bf16];

fn cards() -> Vec<Card> {
    Card::at_hand(&[0, 1, 7])
}

fn each(mut test: impl FnMut(&Card, Element)) {
    for card in cards() {
        ELEMENTS.iter().for_each(|element| test(&card, *element));
    }
}

/// Numbers that the type holds exactly, here and on the card.
fn drawn(card: &Card, n: usize, seed: u64, element: Element) -> (Vec<f32>, Buffer) {
    let bytes = bytes(&numbers(n, seed), element);
    (floats(&bytes, element), card.upload(&bytes).unwrap())
}

fn singles(card: &Card, values: &[f32]) -> Buffer {
    card.upload(&bytes(values, Element::F32)).unwrap()
}

fn integers(card: &Card, values: impl IntoIterator<Item = i32>) -> Buffer {
    card.upload(&values.into_iter().flat_map(i32::to_le_bytes).collect::<Vec<_>>()).unwrap()
}

fn room(card: &Card, n: usize, element: Element) -> Buffer {
    card.alloc(n * element.size()).unwrap()
}

fn back(card: &Card, buffer: &Buffer, n: usize, element: Element) -> Vec<f32> {
    let mut bytes = vec![0; n * element.size()];
    card.read(buffer, &mut bytes).unwrap();
    floats(&bytes, element)
}

fn rows(buffer: &Buffer, element: Element, stride: usize) -> Rows<'_> {
    Rows { part: buffer.part(element, 0), stride }
}

/// Within the type's own precision, relative to the largest number that went into it.
#[track_caller]
fn same(got: &[f32], wanted: &[f32], element: Element, what: &str) {
    let tolerance = if element == Element::F32 { 2e-5 } else { 1.2e-2 };
    assert_eq!(got.len(), wanted.len());
    let size = wanted.iter().fold(1.0f32, |m, x| m.max(x.abs()));
    for (i, (x, y)) in got.iter().zip(wanted).enumerate() {
        assert!((x - y).abs() <= tolerance * size, "{what} {element:?}: {x} is not {y} at {i}");
    }
}

#[test]
fn norms_equal_the_cpus() {
    each(|card, element| {
        for (tokens, width) in [(1, 1), (3, 7), (2, 129), (5, 576), (2, 2056)] {
            for centre in [Centre::Zero, Centre::Mean] {
                whole_rows(card, element, centre, tokens, width);
            }
        }
        heads(card, element, Centre::Zero, 6, [4, 2], [1, 1]);
        heads(card, element, Centre::Mean, 8, [4, 2], [4, 2]);
    });
}

fn whole_rows(card: &Card, element: Element, centre: Centre, tokens: usize, width: usize) {
    let n = tokens * width;
    let ((x, on_x), (old, on_y)) = (drawn(card, n, 1, element), drawn(card, n, 2, element));
    let ((gain, on_gain), (bias, on_bias)) = (drawn(card, width, 3, Element::F32), drawn(card, width, 4, Element::F32));
    let rstd = room(card, tokens, Element::F32);
    let norm = Norm { centre, gain: &on_gain, gains: 1, groups: 1, width };
    let [of_x, of_y] = [&on_x, &on_y].map(|b| rows(b, element, width));
    card.norm(norm, of_x, Some(&on_bias), 1e-5, tokens, of_y, &rstd, None, true).unwrap();
    let (mut y, mut of_rows) = (vec![0.0; n], vec![0.0; tokens]);
    cpu::norm(centre, &x, &gain, 1e-5, &mut y, &mut of_rows);
    cpu::add_rows(&mut y, &bias);
    y.iter_mut().zip(&old).for_each(|(y, old)| *y += old);
    same(&back(card, &on_y, n, element), &y, element, "norm");
    same(&back(card, &rstd, tokens, Element::F32), &of_rows, Element::F32, "rstd");

    let ((mut dy, on_dy), (mut dx, on_dx)) = (drawn(card, n, 5, element), drawn(card, n, 6, element));
    let [of_dy, of_dx] = [&on_dy, &on_dx].map(|b| rows(b, element, width));
    card.norm_backward(norm, of_x, &rstd, tokens, of_dy, of_dx, true).unwrap();
    cpu::norm_backward(centre, &x, &gain, &of_rows, &mut dy, &mut dx);
    same(&back(card, &on_dx, n, element), &dx, element, "norm backward");
}

/// Queries and keys of rows with something behind them, each a norm of its own over half the launch.
fn heads(card: &Card, element: Element, centre: Centre, width: usize, groups: [usize; 2], gains: [usize; 2]) {
    let (tokens, columns) = (3, width * (groups[0] + groups[1]));
    let stride = columns + 5;
    let ((mut x, on_x), (mut d, on_d)) =
        (drawn(card, tokens * stride, 1, element), drawn(card, tokens * stride, 2, element));
    let (mut raw, mut rstd) = (vec![0.0; tokens * columns], vec![0.0; tokens * (groups[0] + groups[1])]);
    let of_gains = [0, 1].map(|n| drawn(card, width * gains[n], 3 + n as u64, Element::F32));
    let norms = [0, 1].map(|n| HeadNorm { centre, gain: &of_gains[n].0, groups: groups[n], width });
    cpu::head_norm(&mut x, stride, norms, 1e-5, &mut raw, &mut rstd);
    cpu::head_norm_backward(&mut d, stride, norms, &raw, &rstd);
    for n in [0, 1] {
        let begin = n * groups[0] * width;
        let norm = Norm { centre, gain: &of_gains[n].1, gains: gains[n], groups: groups[n], width };
        let of = |buffer| Rows { part: Buffer::part(buffer, element, begin), stride };
        let (rstd, kept) =
            (room(card, tokens * groups[n], Element::F32), room(card, tokens * groups[n] * width, element));
        let kept_part = Some(kept.part(element, 0));
        card.norm(norm, of(&on_x), None, 1e-5, tokens, of(&on_x), &rstd, kept_part, false).unwrap();
        let kept = rows(&kept, element, groups[n] * width);
        card.norm_backward(norm, kept, &rstd, tokens, of(&on_d), of(&on_d), false).unwrap();
    }
    same(&back(card, &on_x, tokens * stride, element), &x, element, "head norm");
    same(&back(card, &on_d, tokens * stride, element), &d, element, "head norm backward");
}

#[test]
fn turns_equal_the_cpus() {
    each(|card, element| {
        for (dim, rotated, neighbours) in [(2, 2, false), (10, 6, false), (8, 8, true), (64, 32, true)] {
            let (tokens, turned, positions) = (7, 3, [0usize, 1, 2, 0, 1, 5, 9]);
            let stride = (turned + 2) * dim;
            let mut table = Rope::new(Pairs { dim, rotated, neighbours }, 1e4, &Scaling::None);
            table.reach(10);
            let on_table = singles(card, &table.table().concat());
            let on_positions = integers(card, positions.map(|p| p as i32));
            for back_turn in [false, true] {
                let (mut x, on_x) = drawn(card, tokens * stride, 1, element);
                let (of, shape) = (rows(&on_x, element, stride), (dim, rotated / 2, neighbours));
                card.rope(of, tokens, turned, shape, &on_positions, &on_table, back_turn).unwrap();
                let turn = if back_turn { cpu::rope_backward } else { cpu::rope };
                turn(&mut x, stride, turned, &positions, &table);
                same(&back(card, &on_x, tokens * stride, element), &x, element, "rope");
            }
        }
    });
}

#[test]
fn curves_equal_the_cpus() {
    let gated = [Curve::Silu, Curve::Gelu, Curve::GeluTanh].map(Activation::Gated);
    let plain = [Curve::Silu, Curve::Gelu, Curve::GeluTanh].map(Activation::Plain);
    let clamped = Activation::Clamped { limit: 0.6, slope: 1.7 };
    each(|card, element| {
        for activation in gated.into_iter().chain(plain).chain([clamped]) {
            for (tokens, width) in [(1, 1), (3, 13), (4, 24)] {
                let columns = activation.columns(width);
                let ((mut x, _), (da, on_da)) =
                    (drawn(card, tokens * columns, 1, element), drawn(card, tokens * width, 2, element));
                x.iter_mut().for_each(|x| *x *= 4.0);
                let on_x = card.upload(&bytes(&x, element)).unwrap();
                let [a, dx] = [tokens * width, tokens * columns].map(|n| room(card, n, element));
                let [of_x, of_da, of_a, of_dx] = [&on_x, &on_da, &a, &dx].map(|b| b.part(element, 0));
                card.activation(activation, of_x, tokens, width, of_a).unwrap();
                card.activation_backward(activation, of_x, of_da, tokens, width, of_dx).unwrap();
                let (mut wanted, mut slopes) = (vec![0.0; tokens * width], vec![0.0; tokens * columns]);
                activation.forward(&x, width, &mut wanted);
                activation.backward(&x, width, &da, &mut slopes);
                same(&back(card, &a, tokens * width, element), &wanted, element, "activation");
                same(&back(card, &dx, tokens * columns, element), &slopes, element, "activation backward");
            }
        }
    });
}

#[test]
fn rows_move_add_and_convert() {
    each(|card, element| {
        for (n, width) in [(1, 1), (5, 7), (4, 16)] {
            let (table, on_table) = drawn(card, 9 * width, 1, element);
            let (places, on_places) = drawn(card, 9 * width, 2, Element::F32);
            let ids: Vec<i32> = (0..n as i32).map(|i| (i * 5 + 3) % 9).collect();
            let on_ids = integers(card, ids.iter().copied());
            let out = room(card, n * width, element);
            let part = |b| Buffer::part(b, element, 0);
            let rows_of = |from: &[f32]| -> Vec<f32> {
                ids.iter().flat_map(|id| from[*id as usize * width..][..width].to_vec()).collect()
            };
            card.embed(part(&on_table), &on_ids, Some((&on_places, &on_ids)), 1.5, n, width, part(&out)).unwrap();
            let wanted: Vec<f32> = rows_of(&table).iter().zip(rows_of(&places)).map(|(x, p)| x * 1.5 + p).collect();
            same(&back(card, &out, n * width, element), &wanted, element, "embed");
            card.gather(part(&on_table), &on_ids, n, width, part(&out)).unwrap();
            assert_eq!(back(card, &out, n * width, element), rows_of(&table));
            let on_negative = integers(card, ids.iter().map(|id| if id % 2 == 0 { *id } else { -1 }));
            card.scatter(part(&on_table), &on_negative, n, width, part(&out)).unwrap();
            let kept = rows_of(&table);
            let kept = kept
                .chunks(width)
                .zip(&ids)
                .flat_map(|(r, id)| r.iter().map(move |x| if id % 2 == 0 { *x } else { 0.0 }));
            assert_eq!(back(card, &out, n * width, element), kept.collect::<Vec<_>>());

            let ((y, on_y), (x, on_x)) = (drawn(card, n * width, 3, element), drawn(card, n * width, 4, element));
            card.add_row(part(&on_y), &on_places, n, width).unwrap();
            card.add(part(&on_x), n * width, part(&on_y)).unwrap();
            let sum: Vec<f32> = (0..n * width).map(|i| y[i] + places[i % width] + x[i]).collect();
            same(&back(card, &on_y, n * width, element), &sum, element, "add");
            let wide = room(card, n * width, Element::F32);
            card.widen(part(&on_x), n * width, &wide).unwrap();
            card.narrow(&wide, n * width, part(&out)).unwrap();
            assert_eq!(
                (back(card, &wide, n * width, Element::F32), back(card, &out, n * width, element)),
                (x.clone(), x)
            );
        }
    });
}

#[test]
fn losses_equal_the_cpus() {
    each(|card, element| {
        for (n, vocab) in [(1, 2), (3, 31), (2, 1500)] {
            for cap in [None, Some(0.8)] {
                let (logits, on_logits) = drawn(card, n * vocab, 1, Element::F32);
                let targets: Vec<i32> = (0..n).map(|i| (i * 7 % vocab) as i32).collect();
                let on_targets = integers(card, targets.iter().copied());
                let (losses, d) = (room(card, n, Element::F32), room(card, n * vocab, element));
                let (of_losses, of_d) = (losses.part(Element::F32, 0), Some(d.part(element, 0)));
                card.cross_entropy(&on_logits, &on_targets, cap, n, vocab, of_losses, element, of_d).unwrap();
                // the CPU's, over logits that are x · I
                let one = cpu::Frozen::new(vocab, vocab, cpu::Format::Own(identity(vocab))).unwrap();
                for (row, target) in targets.iter().enumerate() {
                    let (z, mut dz) = (&logits[row * vocab..][..vocab], vec![0.0; vocab]);
                    let mut scratch = cpu::CrossEntropy::default();
                    let loss = cpu::linear_cross_entropy(z, &one, cap, &[*target as u32], Some(&mut dz), &mut scratch);
                    same(&back(card, &losses, n, Element::F32)[row..=row], &[loss as f32], Element::F32, "loss");
                    same(&back(card, &d, n * vocab, element)[row * vocab..][..vocab], &dz, element, "logits' gradient");
                }
            }
        }
    });
}

fn identity(n: usize) -> Vec<f32> {
    (0..n * n).map(|i| if i % (n + 1) == 0 { 1.0 } else { 0.0 }).collect()
}

#[test]
fn steps_of_adamw_equal_the_cpus() {
    let adam = AdamW { rate: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, decay: 0.1 };
    each(|card, element| {
        let n = 16384 + 301;
        let [(mut w, on_w), (mut m, on_m), (mut v, on_v)] = [1, 2, 3].map(|seed| drawn(card, n, seed, Element::F32));
        v.iter_mut().for_each(|v| *v = v.abs());
        card.write(&on_v, &bytes(&v, Element::F32)).unwrap();
        let (copy, sums) = (room(card, n, element), card.alloc(Card::squares_room(n)).unwrap());
        for step in 1..=3 {
            let (g, on_g) = drawn(card, n, 10 + step, Element::F32);
            let part = Some(copy.part(element, 0));
            card.adamw(&adam, step, &on_w, &on_g, 0.5, [&on_m, &on_v], n, part).unwrap();
            adam.step(step, &mut w, &g, 0.5, &mut m, &mut v);
            let squares: f64 = g.iter().map(|g| f64::from(*g) * f64::from(*g)).sum();
            assert!((card.squares(&on_g, n, &sums).unwrap() / squares - 1.0).abs() < 1e-12);
        }
        for (buffer, wanted) in [(&on_w, &w), (&on_m, &m), (&on_v, &v)] {
            same(&back(card, buffer, n, Element::F32), wanted, Element::F32, "AdamW");
        }
        same(&back(card, &copy, n, element), &w, element, "AdamW's copy");
    });
}

#[test]
fn ranks_add_up_on_a_card_as_on_the_host() {
    for card in cards() {
        for (ranks, n) in [(1, 1), (2, 257), (3, 1000), (8, 31)] {
            let all = numbers(ranks * n, 5);
            let sum = room(&card, n, Element::F32);
            card.add_ranks(&singles(&card, &all), ranks, n, &sum).unwrap();
            let wanted = (0..n).map(|i| all[i..].iter().step_by(n).fold(0.0f32, |sum, x| sum + x).to_bits());
            let got = back(&card, &sum, n, Element::F32).into_iter().map(f32::to_bits);
            assert!(got.eq(wanted), "{ranks} ranks of {n}: other bits");
        }
    }
}

/// Every value of the format that is finite.
fn e4m3() -> Vec<(u8, f32)> {
    let value = |code: u8| {
        let (exponent, fraction) = (i32::from(code >> 3 & 15), f32::from(code & 7) / 8.0);
        let size = if exponent == 0 { fraction * 2f32.powi(-6) } else { (1.0 + fraction) * 2f32.powi(exponent - 7) };
        if code & 0x80 == 0 { size } else { -size }
    };
    (0..=255u8).filter(|code| code & 0x7f != 0x7f).map(|code| (code, value(code))).collect()
}

#[test]
fn e4m3_rounds_to_the_nearest_ties_to_even() {
    let (all, width) = (e4m3(), 1000);
    each(|card, element| {
        let mut x: Vec<f32> = numbers(width, 1).iter().map(|x| x.powi(7)).collect();
        // ties, both signs, the smallest numbers; 448 and so a scale of 1
        let small =
            [448.0, -448.0, 2f32.powi(-10), 3.0 * 2f32.powi(-10), -2f32.powi(-10), 17.0, 19.0, -19.0, 0.0, 1.0625];
        x[..small.len()].copy_from_slice(&small);
        let x = floats(&bytes(&x, element), element);
        let on_x = card.upload(&bytes(&x, element)).unwrap();
        let (codes, scale) = (card.alloc(width).unwrap(), room(card, 1, Element::F32));
        card.quantise_e4m3(on_x.part(element, 0), 1, width, &codes, &scale).unwrap();
        assert_eq!(back(card, &scale, 1, Element::F32), [1.0]);
        let mut got = vec![0; width];
        card.read(&codes, &mut got).unwrap();
        for (x, code) in x.iter().zip(got) {
            let off = |v: f32| (f64::from(v) - f64::from(*x)).abs();
            let nearest = all.iter().map(|(_, v)| off(*v)).fold(f64::INFINITY, f64::min);
            let value = all.iter().find(|(c, _)| *c == code).map(|(_, v)| *v).expect("a finite code");
            let tie = all
                .iter()
                .filter(|(_, v)| off(*v) == nearest)
                .map(|(_, v)| v.to_bits())
                .collect::<std::collections::BTreeSet<_>>()
                .len()
                > 1
                && *x != 0.0;
            assert!(off(value) == nearest && (!tie || code & 1 == 0), "{x} became {value}");
        }
    });
}

#[test]
fn packed_weights_read_as_on_the_cpu() {
    each(|card, element| {
        let (n, cols) = (256 * 70, 256);
        let values = numbers(n, 1);
        for (from, count) in [(0, n), (64, 777), (511, 1)] {
            let out = room(card, count, element);
            let check = |packed: Packed<'_>, wanted: &[f32]| {
                card.dequantise(packed, from, count, out.part(element, 0)).unwrap();
                same(&back(card, &out, count, element), &wanted[from..from + count], element, "dequantise");
            };
            let nf4 = Nf4::quantize(&values);
            let mut wanted = vec![0.0; n];
            nf4.read(0, &mut wanted);
            let parts = nf4.parts();
            let [levels, scales] = [parts.levels, parts.scales].map(|b| card.upload(b).unwrap());
            let [tops, map, table] = [parts.tops, parts.map, parts.table].map(|v| singles(card, v));
            let mean = parts.mean;
            let packed = Packed::Nf4 { levels: &levels, scales: &scales, tops: &tops, map: &map, table: &table, mean };
            check(packed, &wanted);

            let int8 = Int8::quantize(&values, n / cols);
            wanted.chunks_mut(cols).enumerate().for_each(|(row, out)| int8.read(row, out));
            let (bytes, scales) = int8.parts();
            let (on_bytes, scales) = (card.upload(bytemuck::cast_slice(bytes)).unwrap(), singles(card, scales));
            check(Packed::Int8 { values: &on_bytes, scales: &scales, cols }, &wanted);

            use candle_core::quantized::GgmlDType as Kind;
            for (blocks, kind) in [
                (Blocks::Q8_0, Kind::Q8_0),
                (Blocks::Q4_0, Kind::Q4_0),
                (Blocks::Q4_K, Kind::Q4K),
                (Blocks::Q6_K, Kind::Q6K),
            ] {
                let data = cpu::ggml::quantize(kind, &values);
                cpu::ggml::read(kind, &data, &mut wanted);
                check(Packed::Ggml(blocks, &card.upload(&data).unwrap()), &wanted);
            }
        }
    });
}

#[test]
fn a_matrix_of_several_formats_becomes_what_the_cpu_reads() {
    use candle_core::quantized::GgmlDType as Kind;
    let (rows, cols) = (3, 256);
    let values = |seed| numbers(rows * cols, seed);
    let blocks = |kind, seed| {
        let data = cpu::ggml::quantize(kind, &values(seed));
        let end = data.len();
        cpu::Format::Ggml(kind, cpu::Bytes::new(std::sync::Arc::new(data), 0..end).unwrap())
    };
    let formats = [
        blocks(Kind::Q8_0, 1),
        cpu::Format::Own(values(2)),
        // no kernel reads these: they become the type that is multiplied
        blocks(Kind::Q5_0, 3),
        cpu::Format::Nf4(Nf4::quantize(&values(4))),
        cpu::Format::Int8(Int8::quantize(&values(5), rows)),
        blocks(Kind::Q6K, 6),
    ];
    let count = formats.len() * rows * cols;
    let matrix = cpu::Frozen::stack(formats.map(|f| cpu::Frozen::new(rows, cols, f).unwrap()).into());
    let mut wanted = vec![0.0; count];
    matrix.read(0, &mut wanted);
    each(|card, element| {
        assert_eq!(Weight::spare_of(&matrix, element), count * element.size());
        let (spare, weight) = (room(card, count, element), Weight::packed(card, &matrix, element).unwrap());
        let whole = weight.multiplied(card, &spare).unwrap();
        same(&back(card, &whole, count, element), &wanted, element, "packed matrix");
        let whole = Weight::whole(card, &matrix, element).unwrap().multiplied(card, &spare).unwrap();
        same(&back(card, &whole, count, element), &wanted, element, "whole matrix");
    });
}

#[test]
fn multiplies_equal_the_cpus() {
    each(|card, element| {
        for (m, n, k) in [(1, 1, 1), (3, 5, 7), (17, 30, 65)] {
            for (turn_a, turn_b) in
                [(Transpose::No, Transpose::Yes), (Transpose::No, Transpose::No), (Transpose::Yes, Transpose::No)]
            {
                let lies = |rows, cols, turn| if turn == Transpose::Yes { (cols, rows) } else { (rows, cols) };
                let ((ar, ac), (br, bc)) = (lies(m, k, turn_a), lies(k, n, turn_b));
                let ((a, on_a), (b, on_b)) = (drawn(card, ar * ac, 1, element), drawn(card, br * bc, 2, element));
                let (mut c, on_c) = drawn(card, m * (n + 2), 3, Element::F32);
                let of_a = (rows(&on_a, element, ac), turn_a);
                let of_b = (rows(&on_b, element, bc), turn_b);
                let of_c = rows(&on_c, Element::F32, n + 2);
                // onto what lies elsewhere, in rows of another length
                let (old, on_old) = drawn(card, m * (n + 1), 4, Element::F32);
                c.chunks_mut(n + 2).zip(old.chunks(n + 1)).for_each(|(c, old)| c[..n].copy_from_slice(&old[..n]));
                card.matmul(of_c, Some(rows(&on_old, Element::F32, n + 1)), 1.0, of_a, of_b, [m, n, k]).unwrap();
                card.matmul(of_c, Some(of_c), 0.5, of_a, of_b, [m, n, k]).unwrap();
                let view = |data, rows, cols, turn| {
                    let lies = cpu::Mat::new(data, rows, cols);
                    if turn == Transpose::Yes { lies.t() } else { lies }
                };
                let out = cpu::MatMut::strided(&mut c, m, n, n + 2);
                cpu::matmul(out, true, 1.5, view(&a, ar, ac, turn_a), view(&b, br, bc, turn_b), cpu::Threads::One);
                same(&back(card, &on_c, c.len(), Element::F32), &c, Element::F32, "multiply");
            }
        }
    });
}

#[test]
fn attention_equals_the_cpus() {
    let narrow = Heads { query: 4, kv: 2, dim: 6 };
    let cases: [(Heads, &[usize]); 5] = [
        (Heads { query: 1, kv: 1, dim: 1 }, &[0, 1]),
        (narrow, &[0, 3, 4, 100]),
        (Heads { query: 3, kv: 1, dim: 64 }, &[0, 65, 131]),
        (Heads { query: 2, kv: 1, dim: 80 }, &[0, 70]),
        (Heads { query: 1, kv: 1, dim: 136 }, &[0, 40]),
    ];
    for card in cards() {
        for element in ELEMENTS {
            for (heads, bounds) in cases {
                if Unit::of_heads(heads.dim, element).is_none() {
                    continue;
                }
                let plain = Scores::plain(heads.dim);
                attend(&card, element, heads, bounds, plain);
                if heads == narrow {
                    let capped = Scores { scale: 0.7, cap: Some(1.5), ..plain };
                    attend(&card, element, heads, bounds, capped);
                    attend(&card, element, heads, bounds, Scores { window: Some(1), ..plain });
                    attend(&card, element, heads, bounds, Scores { window: Some(70), ..capped });
                    let sinks = [0.5, -1.0, 3.0, 0.0];
                    attend(&card, element, heads, bounds, Scores { sinks: Some(&sinks), window: Some(9), ..plain });
                }
            }
        }
    }
}

fn attend(card: &Card, element: Element, heads: Heads, bounds: &[usize], scores: Scores<'_>) {
    let tokens = bounds[bounds.len() - 1];
    let (width, n) = (heads.query * heads.dim, tokens * heads.stride());
    let ((qkv, on_qkv), (dout, on_dout)) = (drawn(card, n, 1, element), drawn(card, tokens * width, 2, element));
    let (mut out, mut lse) = (vec![0.0; tokens * width], vec![0.0; tokens * heads.query]);
    cpu::attention(&qkv, heads, scores, bounds, &mut out, &mut lse);
    let tiles = Tiles::new(card, bounds).unwrap();
    let on_sinks = scores.sinks.map(|sinks| singles(card, &sinks[..heads.query]));
    let of = CardScores::of(scores, on_sinks.as_ref());
    let (on_out, on_dqkv) = (room(card, tokens * width, element), room(card, n, element));
    let [on_lse, delta] = [0, 1].map(|_| room(card, tokens * heads.query, Element::F32));
    let part = |buffer| -> Part<'_> { Buffer::part(buffer, element, 0) };
    card.attention(part(&on_qkv), heads, of, &tiles, part(&on_out), &on_lse).unwrap();
    let what = format!("{heads:?} {scores:?}");
    same(&back(card, &on_out, tokens * width, element), &out, element, &format!("attention {what}"));
    same(&back(card, &on_lse, tokens * heads.query, Element::F32), &lse, element, &format!("lse {what}"));

    let (mut dqkv, mut scratch) = (vec![0.0; n], AttentionGrad::default());
    cpu::attention_backward(&qkv, heads, scores, bounds, &out, &lse, &dout, &mut scratch, &mut dqkv);
    let (of_out, of_dout) = (part(&on_out), part(&on_dout));
    card.attention_backward(part(&on_qkv), heads, of, &tiles, of_out, &on_lse, of_dout, &delta, part(&on_dqkv))
        .unwrap();
    same(&back(card, &on_dqkv, n, element), &dqkv, element, &format!("attention backward {what}"));
}

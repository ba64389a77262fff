//! What stands between the two matrices of a feed-forward block: a gated curve (Shazeer 2020) or a plain one; forward
//! and backward.

use super::{Isa, ROWS, exp, tanh};
use rayon::prelude::*;

/// A smooth curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// x · σ(x) with σ(x) = 1 / (1 + e^-x).
    Silu,
    /// x · Φ(x), Φ the normal distribution (Hendrycks and Gimpel 2016).
    Gelu,
    /// x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))): their approximation of it.
    GeluTanh,
}

/// How a row of the first matrix becomes a row `[F]` of the second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// curve(g) · u of rows `[g | u]`.
    Gated(Curve),
    /// curve(u) of rows `[u]`.
    Plain(Curve),
    /// (1 + u') · g' · σ(slope · g') of rows `[g | u]`, with g' = min(g, limit) and u' within ± limit (gpt-oss).
    Clamped {
        /// No input goes beyond it.
        limit: f32,
        /// How steep the gate is.
        slope: f32,
    },
}

impl Activation {
    /// Columns of a row that comes in, for F = `width` that go out.
    pub fn columns(self, width: usize) -> usize {
        match self {
            Self::Plain(_) => width,
            Self::Gated(_) | Self::Clamped { .. } => 2 * width,
        }
    }

    /// a `[T, F]` from rows x `[T, columns(F)]`.
    pub fn forward(self, x: &[f32], width: usize, a: &mut [f32]) {
        match self {
            Self::Gated(Curve::Silu) => curved(x, width, a, silu),
            Self::Gated(Curve::Gelu) => curved(x, width, a, gelu),
            Self::Gated(Curve::GeluTanh) => curved(x, width, a, gelu_tanh),
            Self::Plain(Curve::Silu) => plain(x, a, silu),
            Self::Plain(Curve::Gelu) => plain(x, a, gelu),
            Self::Plain(Curve::GeluTanh) => plain(x, a, gelu_tanh),
            Self::Clamped { limit, slope } => gated(
                x,
                width,
                a,
                #[inline(always)]
                |g, u| {
                    let (g, u) = (if g > limit { limit } else { g }, u.clamp(-limit, limit));
                    (1.0 + u) * g * sigmoid(slope * g)
                },
            ),
        }
    }

    /// dx `[T, columns(F)]` from x and da `[T, F]`.
    pub fn backward(self, x: &[f32], width: usize, da: &[f32], dx: &mut [f32]) {
        match self {
            Self::Gated(Curve::Silu) => curved_backward(x, width, da, dx, silu_and_slope),
            Self::Gated(Curve::Gelu) => curved_backward(x, width, da, dx, gelu_and_slope),
            Self::Gated(Curve::GeluTanh) => curved_backward(x, width, da, dx, gelu_tanh_and_slope),
            Self::Plain(Curve::Silu) => plain_backward(x, da, dx, silu_and_slope),
            Self::Plain(Curve::Gelu) => plain_backward(x, da, dx, gelu_and_slope),
            Self::Plain(Curve::GeluTanh) => plain_backward(x, da, dx, gelu_tanh_and_slope),
            Self::Clamped { limit, slope } => gated_backward(
                x,
                width,
                da,
                dx,
                #[inline(always)]
                |g, u, d| {
                    let (inside, within) = (g <= limit, u.abs() <= limit);
                    let (g, u) = (if inside { g } else { limit }, u.clamp(-limit, limit));
                    let s = sigmoid(slope * g);
                    let dg = d * (1.0 + u) * s * (1.0 + slope * g * (1.0 - s));
                    (if inside { dg } else { 0.0 }, if within { d * g * s } else { 0.0 })
                },
            ),
        }
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

#[inline(always)]
fn silu_and_slope(x: f32) -> (f32, f32) {
    let s = sigmoid(x);
    let silu = x * s;
    (silu, s + silu * (1.0 - s))
}

/// √(2/π)
const ROOT: f32 = 0.797_884_6;
const CUBE: f32 = 0.044_715;

#[inline(always)]
fn inner(x: f32) -> f32 {
    ROOT * (x + CUBE * x * x * x)
}

#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    0.5 * x * (1.0 + tanh(inner(x)))
}

#[inline(always)]
fn gelu_tanh_and_slope(x: f32) -> (f32, f32) {
    let t = tanh(inner(x));
    let slope = ROOT * (1.0 + 3.0 * CUBE * x * x);
    (0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope)
}

/// Φ(x) = erfc(-x/√2) / 2, and erfc(z) = t · e^(-z²) · P(t) with t = 1 / (1 + z/2) for z ≥ 0. P was fitted over
/// z from 0 to 20, to 8·10⁻⁸ of the truth.
#[inline(always)]
fn gelu_and_slope(x: f32) -> (f32, f32) {
    /// 1/√(2π)
    const PEAK: f32 = 0.398_942_3;
    let t = 1.0 / (1.0 + 0.5 * std::f32::consts::FRAC_1_SQRT_2 * x.abs());
    let p = -0.056_818_035;
    let p = p * t + 0.275_053_5;
    let p = p * t - 0.470_461_5;
    let p = p * t + 0.262_231_5;
    let p = p * t - 0.017_905_628;
    let p = p * t + 0.199_868_58;
    let p = p * t + 0.243_614;
    let p = p * t + 0.282_329_86;
    let p = p * t + 0.282_087_8;
    let bell = exp(-0.5 * x * x);
    let tail = 0.5 * t * bell * p;
    let share = if x < 0.0 { tail } else { 1.0 - tail };
    (x * share, share + x * PEAK * bell)
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    gelu_and_slope(x).0
}

/// curve(g) · u
#[inline(always)]
fn curved(x: &[f32], width: usize, a: &mut [f32], curve: impl Fn(f32) -> f32 + Sync) {
    gated(
        x,
        width,
        a,
        #[inline(always)]
        |g, u| curve(g) * u,
    );
}

/// The gradients of g and u of curve(g) · u, out of the curve's value and slope.
#[inline(always)]
fn curved_backward(
    x: &[f32],
    width: usize,
    da: &[f32],
    dx: &mut [f32],
    value_and_slope: impl Fn(f32) -> (f32, f32) + Sync,
) {
    gated_backward(
        x,
        width,
        da,
        dx,
        #[inline(always)]
        |g, u, d| {
            let (value, slope) = value_and_slope(g);
            (d * u * slope, d * value)
        },
    );
}

#[inline(always)]
fn gated(x: &[f32], width: usize, a: &mut [f32], act: impl Fn(f32, f32) -> f32 + Sync) {
    let isa = Isa::here();
    a.par_chunks_mut(width * ROWS).zip(x.par_chunks(2 * width * ROWS)).for_each(|(a, x)| {
        isa.run(
            #[inline(always)]
            || {
                for (a, x) in a.chunks_mut(width).zip(x.chunks(2 * width)) {
                    let (g, u) = x.split_at(width);
                    for ((a, g), u) in a.iter_mut().zip(g).zip(u) {
                        *a = act(*g, *u);
                    }
                }
            },
        );
    });
}

/// `slopes` gives the gradients of g and u out of g, u and that of a.
#[inline(always)]
fn gated_backward(
    x: &[f32],
    width: usize,
    da: &[f32],
    dx: &mut [f32],
    slopes: impl Fn(f32, f32, f32) -> (f32, f32) + Sync,
) {
    let isa = Isa::here();
    let parts = (x.par_chunks(2 * width * ROWS), da.par_chunks(width * ROWS));
    dx.par_chunks_mut(2 * width * ROWS).zip(parts).for_each(|(dx, (x, da))| {
        isa.run(
            #[inline(always)]
            || {
                for ((dx, x), da) in dx.chunks_mut(2 * width).zip(x.chunks(2 * width)).zip(da.chunks(width)) {
                    let ((dg, du), (g, u)) = (dx.split_at_mut(width), x.split_at(width));
                    let (g, u, da) = (&g[..width], &u[..width], &da[..width]);
                    for i in 0..width {
                        (dg[i], du[i]) = slopes(g[i], u[i], da[i]);
                    }
                }
            },
        );
    });
}

/// Numbers that one task of a plain curve takes.
const PART: usize = 1 << 12;

#[inline(always)]
fn plain(x: &[f32], a: &mut [f32], act: impl Fn(f32) -> f32 + Sync) {
    let isa = Isa::here();
    a.par_chunks_mut(PART).zip(x.par_chunks(PART)).for_each(|(a, x)| {
        isa.run(
            #[inline(always)]
            || {
                for (a, x) in a.iter_mut().zip(x) {
                    *a = act(*x);
                }
            },
        );
    });
}

#[inline(always)]
fn plain_backward(x: &[f32], da: &[f32], dx: &mut [f32], curve: impl Fn(f32) -> (f32, f32) + Sync) {
    let isa = Isa::here();
    dx.par_chunks_mut(PART).zip((x.par_chunks(PART), da.par_chunks(PART))).for_each(|(dx, (x, da))| {
        isa.run(
            #[inline(always)]
            || {
                for ((dx, x), da) in dx.iter_mut().zip(x).zip(da) {
                    *dx = da * curve(*x).1;
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::super::isa::on_each;
    use super::super::reference::{self, check_gradient, close, close_all, numbers, wide};
    use super::*;

    #[test]
    fn equals_the_truth_and_finite_differences() {
        on_each(|_| {
            let curves = [Curve::Silu, Curve::Gelu, Curve::GeluTanh];
            let clamped = [Activation::Clamped { limit: 1.5, slope: 1.702 }];
            for activation in
                curves.map(Activation::Gated).into_iter().chain(curves.map(Activation::Plain)).chain(clamped)
            {
                for (rows, width) in [(1, 1), (5, 7), (37, 20)] {
                    let columns = activation.columns(width);
                    let (mut x, seed) = (numbers(rows * columns, 1), numbers(rows * width, 2));
                    x.iter_mut().for_each(|x| *x *= 3.0);
                    let (mut a, mut dx) = (vec![0.0; rows * width], vec![0.0; rows * columns]);
                    activation.forward(&x, width, &mut a);
                    close_all(&a, &reference::activation(activation, &wide(&x), width), 1e-5);
                    activation.backward(&x, width, &seed, &mut dx);
                    let truth = |x: &[f64]| reference::weigh(&reference::activation(activation, x, width), &seed);
                    check_gradient(&x, &dx, 2e-5, truth);
                }
            }
        });
    }

    #[test]
    fn the_normal_distribution_holds_far_out() {
        for i in -1200..1200 {
            let x = i as f32 * 0.01;
            let truth = reference::curve(Curve::Gelu, f64::from(x));
            close(gelu_and_slope(x).0, truth, 2e-7);
            assert!((f64::from(gelu_and_slope(x).0) - truth).abs() <= 1e-5 * truth.abs(), "gelu({x})");
        }
        assert!(
            gelu_and_slope(1e9).0 == 1e9 && gelu_and_slope(-1e9).0.abs() < 1e-20 && gelu_and_slope(f32::NAN).0.is_nan()
        );
    }
}

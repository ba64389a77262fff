//! The hyperbolic tangent out of [`exp`], with the same bits everywhere.

use super::exp;

/// tanh x to within some units in the last place: Cephes' polynomial near 0, 1 − 2 / (e^2|x| + 1) elsewhere.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let (size, z) = (x.abs(), x * x);
    let p = -5.704_988_7e-3;
    let p = p * z + 2.063_908_8e-2;
    let p = p * z - 5.373_971_6e-2;
    let p = p * z + 1.333_144_2e-1;
    let p = p * z - 3.333_328e-1;
    let near = p * z * x + x;
    let far = (1.0 - 2.0 / (exp(2.0 * size) + 1.0)).copysign(x);
    if size < 0.625 { near } else { far }
}

/// x → cap · tanh(x / cap): a number that never goes beyond ± cap.
#[inline(always)]
pub(super) fn capped(x: f32, cap: f32) -> f32 {
    cap * tanh(x / cap)
}

/// The slope of [`capped`], out of its value.
#[inline(always)]
pub(super) fn capped_slope(value: f32, cap: f32) -> f32 {
    1.0 - (value / cap) * (value / cap)
}

#[cfg(test)]
mod tests {
    #[test]
    fn close_to_the_tangent() {
        for i in -2000..2000 {
            let x = i as f32 * 0.01;
            let truth = f64::from(x).tanh();
            assert!((f64::from(super::tanh(x)) - truth).abs() <= 3e-7 * truth.abs(), "tanh({x})");
        }
        assert!(super::tanh(1e9) == 1.0 && super::tanh(f32::NEG_INFINITY) == -1.0 && super::tanh(f32::NAN).is_nan());
    }
}

//! The exponential without branches, so that loops over it become vector instructions; same bits everywhere.

/// e^x to within 2 units in the last place; below -87.3 it is about 1e-38, above 88.3 about 2e38. NaN stays NaN.
///
/// x = n·ln 2 + r with n whole (Cody and Waite's two-part ln 2); e^r by the polynomial of Cephes' `expf`.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2^23: adding it rounds to a whole number
    let x = if x < -87.3 { -87.3 } else { x };
    let x = if x > 88.3 { 88.3 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let p = 1.987_569_2e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5.0e-1;
    let e = p * r * r + r + 1.0;
    let power = (shifted.to_bits() << 23).wrapping_add(127 << 23);
    e * f32::from_bits(power)
}

#[cfg(test)]
mod tests {
    #[test]
    fn close_to_the_exponential() {
        for i in -8700..8800 {
            let x = i as f32 * 0.01;
            let truth = f64::from(x).exp();
            assert!(((f64::from(super::exp(x)) - truth) / truth).abs() < 2.5e-7, "exp({x})");
        }
        assert_eq!(super::exp(0.0), 1.0);
        assert!(super::exp(f32::NEG_INFINITY) < 2e-38 && super::exp(1e9).is_finite() && super::exp(f32::NAN).is_nan());
    }
}

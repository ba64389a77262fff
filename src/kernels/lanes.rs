//! Sums over slices in sixteen lanes: a fixed order that compilers turn into vector instructions.

const LANES: usize = 16;

/// Σ f(aᵢ, bᵢ), lane by lane, the tail last.
#[inline(always)]
pub(super) fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_parts, a_tail) = a.as_chunks::<LANES>();
    let (b_parts, b_tail) = b.as_chunks::<LANES>();
    for (x, y) in a_parts.iter().zip(b_parts) {
        for i in 0..LANES {
            lanes[i] += f(x[i], y[i]);
        }
    }
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(x, y)| f(*x, *y)).sum();
    fold(lanes, |x, y| x + y) + tail
}

/// a · b
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum2(a, b, |x, y| x * y)
}

/// The largest value; -∞ where there is none.
#[inline(always)]
pub(super) fn max(a: &[f32]) -> f32 {
    let pick = |x: f32, y: f32| if x > y { x } else { y };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (parts, tail) = a.as_chunks::<LANES>();
    for part in parts {
        for i in 0..LANES {
            lanes[i] = pick(lanes[i], part[i]);
        }
    }
    tail.iter().fold(fold(lanes, pick), |x, y| pick(x, *y))
}

/// Replaces every x by f(x) and gives the sum of what stands there then.
#[inline(always)]
pub(super) fn map_sum(a: &mut [f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (parts, tail) = a.as_chunks_mut::<LANES>();
    for part in parts {
        for i in 0..LANES {
            part[i] = f(part[i]);
            lanes[i] += part[i];
        }
    }
    let mut sum = fold(lanes, |x, y| x + y);
    for x in tail {
        *x = f(*x);
        sum += *x;
    }
    sum
}

#[inline(always)]
fn fold(mut lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = f(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    #[test]
    fn sums_and_maxima_of_any_length() {
        for n in 0..70usize {
            let a: Vec<f32> = (0..n).map(|i| i as f32 - 3.0).collect();
            assert_eq!(super::dot(&a, &a), a.iter().map(|x| x * x).sum::<f32>());
            assert_eq!(super::max(&a), a.last().copied().unwrap_or(f32::NEG_INFINITY));
            let mut b = a.clone();
            assert_eq!(super::map_sum(&mut b, |x| 2.0 * x), 2.0 * a.iter().sum::<f32>());
        }
    }
}

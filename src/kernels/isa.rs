//! Which vector instructions this machine has, asked once, and loops compiled for each set of them.
//!
//! A loop is written once, over rows or lanes of fixed width, and [`Isa::run`] compiles it for every set: wider vectors,
//! the same operations in the same order. Rust never makes one instruction of a product and a sum by itself, so what
//! runs through here has the same bits on every machine. The multiply asks for such instructions (`mul_add`) and does not.

use std::sync::LazyLock;

/// A set of vector instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// What every machine of the target has: SSE2 on x86-64, NEON on AArch64.
    Baseline,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, DQ and VL, besides.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// The widest that this machine has.
    #[cfg(not(test))]
    #[inline]
    pub fn here() -> Self {
        Self::widest()
    }

    fn widest() -> Self {
        static WIDEST: LazyLock<Isa> = LazyLock::new(|| Isa::all().pop().unwrap_or(Isa::Baseline));
        *WIDEST
    }

    /// Those that this machine has, the narrowest first.
    #[cfg(target_arch = "x86_64")]
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::Baseline];
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            all.push(Self::Avx2);
            let wide = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl");
            if wide && is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512dq") {
                all.push(Self::Avx512);
            }
        }
        all
    }

    /// Those that this machine has: NEON is part of AArch64, and elsewhere the compiler's own choice has to do.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn all() -> Vec<Self> {
        vec![Self::Baseline]
    }

    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Baseline if cfg!(target_arch = "aarch64") => "NEON",
            Self::Baseline => "baseline",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "AVX-512",
        }
    }

    /// f, compiled for this set as far as it is inlined: the closure itself and what it calls must be
    /// `#[inline(always)]`, or they are compiled once, for the baseline.
    #[inline(always)]
    pub fn run<R>(self, f: impl FnOnce() -> R) -> R {
        match self {
            Self::Baseline => f(),
            // SAFETY: `all` names this set only where the machine said that it has each of its features, and values of
            // this type come from there.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2(f) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512(f) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<R>(f: impl FnOnce() -> R) -> R {
    f()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512<R>(f: impl FnOnce() -> R) -> R {
    f()
}

#[cfg(test)]
pub use forced::on_each;

/// Tests run their bodies on every set that the machine has.
#[cfg(test)]
mod forced {
    use super::Isa;
    use std::sync::{Mutex, RwLock};

    static FORCED: RwLock<Option<Isa>> = RwLock::new(None);

    impl Isa {
        /// The widest that this machine has, or the one whose turn it is.
        pub fn here() -> Self {
            FORCED.read().unwrap().unwrap_or(Self::widest())
        }
    }

    /// Calls `f` with each set in turn, which is meanwhile what all threads use.
    pub fn on_each(mut f: impl FnMut(Isa)) {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for isa in Isa::all() {
            *FORCED.write().unwrap() = Some(isa);
            f(isa);
        }
        *FORCED.write().unwrap() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_gives_the_same_bits() {
        use super::super::lanes::{dot, map_sum, max};
        use super::super::reference::numbers;
        use super::super::{exp, tanh};
        let (a, b) = (numbers(1003, 1), numbers(1003, 2));
        let on = |isa: Isa| {
            let mut c = a.clone();
            let sums = isa.run(
                #[inline(always)]
                || [dot(&a, &b), max(&a), map_sum(&mut c, |x| exp(3.0 * x) - tanh(x))],
            );
            sums.into_iter().chain(c).map(f32::to_bits).collect::<Vec<_>>()
        };
        for isa in Isa::all() {
            assert_eq!(on(isa), on(Isa::Baseline), "{}", isa.name());
        }
    }
}

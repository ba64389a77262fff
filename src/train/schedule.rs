//! The learning rate of each step: linear warm-up, then half a cosine down to nothing.

use std::f64::consts::PI;

/// The share of a run that warms up, where the plan doesn't say.
const WARMUP_SHARE: f64 = 0.03;

/// Learning rates of a run.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    peak: f64,
    warmup: u64,
    steps: u64,
}

impl Schedule {
    /// A run of `steps` that climbs to `peak` in `warmup` steps.
    pub fn new(peak: f64, warmup: Option<u64>, steps: u64) -> Self {
        let warmup = warmup.unwrap_or((WARMUP_SHARE * steps as f64).ceil() as u64);
        Self { peak, warmup: warmup.min(steps.saturating_sub(1)), steps }
    }

    /// The rate of a step, counted from 0. No step's rate is 0: it would be work for nothing.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / (self.warmup + 1) as f64;
        }
        let done = (step - self.warmup) as f64 / (self.steps - self.warmup).max(1) as f64;
        self.peak * 0.5 * (1.0 + (PI * done.min(1.0)).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn it_climbs_and_falls() {
        let schedule = Schedule::new(1.0, Some(3), 13);
        let rates: Vec<f64> = (0..13).map(|s| schedule.rate(s)).collect();
        assert_eq!(rates[..4], [0.25, 0.5, 0.75, 1.0]);
        assert!((rates[8] - 0.5).abs() < 1e-12, "half way down");
        assert!(rates[3..].windows(2).all(|w| w[1] < w[0]) && rates[12] > 0.0);
    }

    #[test]
    fn the_shortest_runs_have_a_rate() {
        for steps in 1..4 {
            assert!((0..steps).all(|s| Schedule::new(1.0, None, steps).rate(s) > 0.0));
            assert!((0..steps).all(|s| Schedule::new(1.0, Some(99), steps).rate(s) > 0.0));
        }
    }
}

//! A ring of buffers that go through stages in order: each stage has threads of its own, memory is bounded by the number
//! of buffers, and what comes out, errors too, is the same with any number of threads.

use crate::error::{Error, Result};
use std::sync::{Condvar, Mutex, MutexGuard};

/// Buffers besides those that the cores hold: one for each stage that keeps order, and some that wait between stages.
const SPARE: usize = 4;
/// A stage has this one in its hands.
const BUSY: usize = usize::MAX;

/// How many threads a parallel stage has.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The buffers, and where each of them stands. Items are numbered from 0; item `n` lies in buffer `n % len`.
pub struct Ring<T> {
    slots: Vec<Mutex<T>>,
    state: Mutex<State>,
    moved: Condvar,
}

struct State {
    /// For each buffer, the stage that it waits for, or [`BUSY`].
    waits_for: Vec<usize>,
    /// For each stage, the item that it takes next.
    next: Vec<u64>,
    /// The first item that there is not: the input ended, or this one failed.
    end: Option<u64>,
    /// Why it ended, where it failed.
    failed: Option<Error>,
}

impl State {
    /// The earliest end holds: whatever a later item met on another thread, the outcome is that of a single thread.
    fn end_at(&mut self, item: u64, failed: Option<Error>) {
        if self.end.is_none_or(|end| item < end) {
            (self.end, self.failed) = (Some(item), failed);
        }
    }
}

impl<T> Ring<T> {
    /// A ring for this many stages; the last one is whoever calls [`Ring::take`].
    pub fn new(stages: usize, buffer: impl Fn() -> T) -> Self {
        let count = cores() + SPARE;
        let state = State { waits_for: vec![0; count], next: vec![0; stages], end: None, failed: None };
        Self {
            slots: (0..count).map(|_| Mutex::new(buffer())).collect(),
            state: Mutex::new(state),
            moved: Condvar::new(),
        }
    }

    /// Works as one thread of a stage until there are no more items. `work` says whether there is such an item, which
    /// only the first stage can deny.
    pub fn drive(&self, stage: usize, mut work: impl FnMut(&mut T) -> Result<bool>) {
        while let Some(item) = self.claim(stage) {
            let claim = Claim { ring: self, stage, item };
            let outcome = work(&mut self.slot(item));
            claim.settle(outcome);
        }
    }

    /// The last stage: hands over the next item, in order. `false` after the last one; the error that ended it, where
    /// one did.
    pub fn take(&self, work: impl FnOnce(&mut T) -> Result<()>) -> Result<bool> {
        let last = self.state().next.len() - 1;
        let Some(item) = self.claim(last) else {
            return self.state().failed.clone().map_or(Ok(false), Err);
        };
        let claim = Claim { ring: self, stage: last, item };
        let outcome = work(&mut self.slot(item));
        claim.settle(outcome.clone().map(|()| true));
        outcome.map(|()| true)
    }

    /// When dropped, nobody wants more items: every stage ends.
    pub fn stop(&self) -> Stop<'_, T> {
        Stop(self)
    }

    /// Waits for the next item of a stage.
    fn claim(&self, stage: usize) -> Option<u64> {
        let mut state = self.state();
        loop {
            let item = state.next[stage];
            if state.end.is_some_and(|end| item >= end) {
                return None;
            }
            let slot = (item % self.slots.len() as u64) as usize;
            if state.waits_for[slot] == stage {
                state.waits_for[slot] = BUSY;
                state.next[stage] += 1;
                return Some(item);
            }
            state = self.moved.wait(state).expect("no thread panics while it holds the state");
        }
    }

    fn slot(&self, item: u64) -> MutexGuard<'_, T> {
        let slot = &self.slots[(item % self.slots.len() as u64) as usize];
        slot.lock().expect("a stage that panicked has stopped the ring")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds the state")
    }
}

/// An item in a stage's hands.
struct Claim<'r, T> {
    ring: &'r Ring<T>,
    stage: usize,
    item: u64,
}

impl<T> Claim<'_, T> {
    fn settle(self, outcome: Result<bool>) {
        let mut state = self.ring.state();
        match outcome {
            Ok(true) => {
                let slot = (self.item % self.ring.slots.len() as u64) as usize;
                state.waits_for[slot] = (self.stage + 1) % state.next.len();
            }
            Ok(false) => state.end_at(self.item, None),
            Err(error) => state.end_at(self.item, Some(error)),
        }
        drop(state);
        self.ring.moved.notify_all();
        std::mem::forget(self);
    }
}

impl<T> Drop for Claim<'_, T> {
    /// Only where a stage panicked: the others must not wait for it.
    fn drop(&mut self) {
        drop(Stop(self.ring));
    }
}

/// Ends a ring.
pub struct Stop<'r, T>(&'r Ring<T>);

impl<T> Drop for Stop<'_, T> {
    fn drop(&mut self) {
        self.0.state().end_at(0, None);
        self.0.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    /// Counts to `end`, squares on several threads, which fail at some items; what the last stage saw.
    fn squares(end: u64, fails: impl Fn(u64) -> bool + Sync, stop_after: usize) -> (Vec<u64>, Result<()>) {
        let ring = Ring::new(3, || 0u64);
        let (mut count, mut seen) = (0, Vec::new());
        let outcome = std::thread::scope(|scope| {
            let _stop = ring.stop();
            scope.spawn(|| {
                ring.drive(0, |item| {
                    (*item, count) = (count, count + 1);
                    Ok(count <= end)
                })
            });
            for _ in 0..3 {
                scope.spawn(|| {
                    ring.drive(1, |item| {
                        if fails(*item) {
                            return Err(Error::new(Code::Io, item.to_string()));
                        }
                        *item *= *item;
                        Ok(true)
                    })
                });
            }
            while seen.len() < stop_after {
                let more = ring.take(|item| {
                    seen.push(*item);
                    Ok(())
                })?;
                if !more {
                    break;
                }
            }
            Ok(())
        });
        (seen, outcome)
    }

    #[test]
    fn items_come_out_in_order_and_all_of_them() {
        for end in [0, 1, 5, 1000] {
            let (seen, outcome) = squares(end, |_| false, usize::MAX);
            assert_eq!((seen, outcome), ((0..end).map(|n| n * n).collect(), Ok(())));
        }
    }

    #[test]
    fn the_first_failure_in_order_is_the_outcome() {
        for _ in 0..50 {
            let (seen, outcome) = squares(1000, |n| n >= 40 && n % 2 == 1, usize::MAX);
            assert_eq!(seen, (0..41).map(|n| n * n).collect::<Vec<_>>());
            assert_eq!(outcome.unwrap_err().to_string(), "41");
        }
    }

    #[test]
    fn whoever_takes_may_leave_early() {
        assert_eq!(squares(u64::MAX, |_| false, 3).0, [0, 1, 4]);
    }

    #[test]
    fn a_stage_that_panics_stops_the_others() {
        let caught = std::panic::catch_unwind(|| squares(1000, |n| n == 7 && panic!("on purpose"), usize::MAX));
        assert!(caught.is_err());
    }
}

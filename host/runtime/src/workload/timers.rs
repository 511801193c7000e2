//! A workload's timers. They belong to the host: a swap leaves them alone, and one that falls due during it fires late.

use std::collections::{BTreeSet, HashMap};

use host_core::time::UnixNanos;
use rustc_hash::FxBuildHasher;

use crate::bindings::types::Fired;

/// Timers by due time and by id.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_due: BTreeSet<(UnixNanos, u64)>,
    by_id: HashMap<u64, UnixNanos, FxBuildHasher>,
}

impl Timers {
    /// Sets or moves a timer. False if there is no room for a new one.
    pub(crate) fn set(&mut self, id: u64, at: UnixNanos, limit: usize) -> bool {
        if self.by_id.len() >= limit && !self.by_id.contains_key(&id) {
            return false;
        }
        if let Some(before) = self.by_id.insert(id, at) {
            self.by_due.remove(&(before, id));
        }
        self.by_due.insert((at, id));
        true
    }

    /// Cancels a timer. False if it was not set.
    pub(crate) fn cancel(&mut self, id: u64) -> bool {
        self.by_id.remove(&id).is_some_and(|at| self.by_due.remove(&(at, id)))
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<UnixNanos> {
        self.by_due.first().map(|(at, _)| *at)
    }

    /// Takes the next one that is due.
    pub(crate) fn fire(&mut self, now: UnixNanos) -> Option<Fired> {
        let (due, timer) = *self.by_due.first().filter(|(at, _)| *at <= now)?;
        self.by_due.pop_first();
        self.by_id.remove(&timer);
        Some(Fired { timer, due: due.0, late_ns: now.0 - due.0 })
    }

    /// As a checkpoint keeps them.
    pub(crate) fn list(&self) -> Vec<(u64, UnixNanos)> {
        self.by_due.iter().map(|(at, id)| (*id, *at)).collect()
    }

    /// Replaces all of them by those of a checkpoint.
    pub(crate) fn restore(&mut self, timers: &[(u64, UnixNanos)]) {
        *self = Self::default();
        for (id, at) in timers {
            self.set(*id, *at, usize::MAX);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_fires_once_in_order_and_says_how_late() {
        let mut timers = Timers::default();
        assert!(timers.set(1, UnixNanos(30), 2));
        assert!(timers.set(2, UnixNanos(20), 2));
        assert!(!timers.set(3, UnixNanos(1), 2), "no room");
        assert!(timers.set(1, UnixNanos(10), 2), "moving needs no room");
        assert!(timers.fire(UnixNanos(9)).is_none());
        let fired: Vec<_> = std::iter::from_fn(|| timers.fire(UnixNanos(25))).collect();
        assert_eq!(fired.iter().map(|fired| (fired.timer, fired.late_ns)).collect::<Vec<_>>(), [(1, 15), (2, 5)]);
        assert_eq!((timers.len(), timers.cancel(1)), (0, false));
    }

    #[test]
    fn a_checkpoint_brings_them_back() {
        let mut timers = Timers::default();
        timers.set(1, UnixNanos(30), 9);
        timers.set(2, UnixNanos(20), 9);
        let list = timers.list();
        timers.cancel(2);
        timers.set(7, UnixNanos(1), 9);
        timers.restore(&list);
        assert_eq!((timers.list(), timers.next()), (list, Some(UnixNanos(20))));
    }
}

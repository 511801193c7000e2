//! Room for sessions, over all workloads of the host.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use host_core::capacity::{Means, SessionCapacity};

/// How many sessions there are, and may be.
#[derive(Debug)]
pub(crate) struct Room {
    means: Means,
    taken: AtomicU64,
    /// What one session of the workload that needs most begins with.
    session_bytes: AtomicU64,
    /// The same of each workload.
    needs: Mutex<Needs>,
}

#[derive(Debug, Default)]
struct Needs {
    next: u64,
    each_bytes: BTreeMap<u64, u64>,
}

/// Room for one session. Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit(Arc<Room>);

/// What one session of a workload begins with. Forgotten when it is dropped.
#[derive(Debug)]
pub(super) struct Need {
    room: Arc<Room>,
    number: u64,
}

impl Room {
    pub(crate) fn new(means: Means) -> Self {
        Self { means, taken: AtomicU64::new(0), session_bytes: AtomicU64::new(0), needs: Mutex::default() }
    }

    /// How many there may be of those that run, and why not more.
    pub(crate) fn capacity(&self) -> SessionCapacity {
        SessionCapacity::of(Means { session_bytes: self.session_bytes.load(Ordering::Relaxed), ..self.means })
    }

    /// How many there may be whatever runs.
    pub(crate) fn most(&self) -> SessionCapacity {
        SessionCapacity::of(self.means)
    }

    /// Sessions there are.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub(super) fn enter(self: &Arc<Self>) -> Option<Permit> {
        let limit = self.capacity().sessions;
        let entered =
            self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| (taken < limit).then_some(taken + 1));
        entered.is_ok().then(|| Permit(self.clone()))
    }

    /// A workload whose sessions begin with so much each.
    pub(super) fn need(self: &Arc<Self>, each_bytes: u64) -> Need {
        let number = self.change(|needs| {
            needs.next += 1;
            needs.each_bytes.insert(needs.next, each_bytes);
            needs.next
        });
        Need { room: self.clone(), number }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Needs) -> T) -> T {
        let mut needs = self.needs.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut needs);
        let most = needs.each_bytes.values().max().copied().unwrap_or_default();
        self.session_bytes.store(most, Ordering::Relaxed);
        changed
    }
}

impl Need {
    /// Another release runs.
    pub(super) fn becomes(&self, each_bytes: u64) {
        self.room.change(|needs| needs.each_bytes.insert(self.number, each_bytes));
    }
}

impl Drop for Need {
    fn drop(&mut self) {
        self.room.change(|needs| needs.each_bytes.remove(&self.number));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workload_that_needs_most_bounds_it_as_long_as_it_runs() {
        let means = Means { maps: None, connections: 100, memory_bytes: 80 << 20, session_bytes: 0, wanted: None };
        let room = Arc::new(Room::new(means));
        assert_eq!(room.capacity().sessions, 100);
        let (small, large) = (room.need(1 << 20), room.need(4 << 20));
        assert_eq!((room.capacity().sessions, room.most().sessions), (10, 100));
        let permits: Vec<_> = (0..10).map(|_| room.enter().expect("room")).collect();
        assert!(room.enter().is_none());
        large.becomes(2 << 20);
        assert_eq!(room.capacity().sessions, 20);
        drop(large);
        assert_eq!(room.capacity().sessions, 40);
        drop((small, permits));
        assert_eq!((room.capacity().sessions, room.taken()), (100, 0));
    }
}

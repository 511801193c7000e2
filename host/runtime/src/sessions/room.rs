//! Room for sessions, over all workloads of the host.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use host_core::capacity::SessionCapacity;

/// How many sessions there are, and may be.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) capacity: SessionCapacity,
    taken: AtomicU64,
}

/// Room for one session. Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit(Arc<Room>);

impl Room {
    pub(crate) const fn new(capacity: SessionCapacity) -> Self {
        Self { capacity, taken: AtomicU64::new(0) }
    }

    /// Sessions there are.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub(super) fn enter(self: &Arc<Self>) -> Option<Permit> {
        let limit = self.capacity.sessions;
        let entered =
            self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| (taken < limit).then_some(taken + 1));
        entered.is_ok().then(|| Permit(self.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

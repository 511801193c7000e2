//! The linear memory of all guests together: what one may have is bounded by its limits, what many may have is bounded here.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::Purpose;

/// Share of the machine's memory that guests may have unless told otherwise: the rest is for the host itself, its queues,
/// and the system's cache.
const GUESTS_PERCENT: u64 = 75;

/// Of what guests may have, kept back for swaps and restarts: a host that is full must still be able to replace what it runs.
const KEPT_BACK_PERCENT: u64 = 10;

/// What all guests of an engine have, and may have.
#[derive(Debug)]
pub(crate) struct GuestMemory {
    limit_bytes: u64,
    taken_bytes: AtomicU64,
}

/// What one instance has of it. Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    of: Arc<GuestMemory>,
    limit_bytes: u64,
    taken_bytes: u64,
}

impl GuestMemory {
    pub(crate) fn new(limit_bytes: u64) -> Arc<Self> {
        Arc::new(Self { limit_bytes, taken_bytes: AtomicU64::new(0) })
    }

    /// What all of them may have.
    pub(crate) const fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// What of it is not kept back.
    pub(crate) const fn for_starts_bytes(&self) -> u64 {
        self.limit_bytes / 100 * (100 - KEPT_BACK_PERCENT)
    }

    /// A share of nothing yet, for an instance made for this purpose.
    pub(crate) fn share(self: &Arc<Self>, purpose: Purpose) -> Share {
        let limit_bytes = match purpose {
            Purpose::Start => self.for_starts_bytes(),
            Purpose::Replacement => self.limit_bytes,
        };
        Share { of: self.clone(), limit_bytes, taken_bytes: 0 }
    }
}

impl Share {
    /// Takes more. False if there is no more.
    pub(crate) fn take(&mut self, bytes: u64) -> bool {
        let taken = &self.of.taken_bytes;
        let fits = |taken: u64| taken.checked_add(bytes).filter(|wanted| *wanted <= self.limit_bytes);
        if taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            return false;
        }
        self.taken_bytes += bytes;
        true
    }

    /// Gives some back that was taken and not used after all.
    pub(crate) fn give_back(&mut self, bytes: u64) {
        let bytes = bytes.min(self.taken_bytes);
        self.taken_bytes -= bytes;
        self.of.taken_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// What all guests may have.
    pub(crate) fn limit_bytes(&self) -> u64 {
        self.of.limit_bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back(self.taken_bytes);
    }
}

/// What guests may have on this machine. Linux tells; elsewhere there is no limit but each instance's own.
pub(super) fn usual_bytes() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    });
    machine.map_or(u64::MAX, |kib| kib * 1024 / 100 * GUESTS_PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_it_is_for_replacements_and_what_is_dropped_comes_back() {
        let memory = GuestMemory::new(1_000);
        let mut first = memory.share(Purpose::Start);
        assert!(first.take(900) && !first.take(1), "a tenth is kept back");
        let mut replacement = memory.share(Purpose::Replacement);
        assert!(replacement.take(100) && !replacement.take(1));
        replacement.give_back(50);
        assert!(replacement.take(50));
        drop(first);
        assert!(memory.share(Purpose::Start).take(800));
        assert_eq!(memory.taken_bytes.load(Ordering::Relaxed), 100);
    }
}

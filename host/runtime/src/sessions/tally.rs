//! What is counted of a workload's sessions.

use std::sync::atomic::{AtomicU64, Ordering};

use host_core::id::BatchSeq;

/// Counts of one workload, from its start.
#[derive(Debug, Default)]
pub(super) struct Tally {
    instances: AtomicU64,
    memory_bytes: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    failed_since_switch: AtomicU64,
    dropped: AtomicU64,
    batches: AtomicU64,
}

impl Tally {
    pub(super) fn instance_made(&self) {
        self.instances.fetch_add(1, Ordering::Relaxed);
    }

    /// One is gone, if there was one, with its memory.
    pub(super) fn instance_gone(&self, there: bool, memory_bytes: usize) {
        self.instances.fetch_sub(u64::from(there), Ordering::Relaxed);
        self.memory_bytes.fetch_sub(memory_bytes as u64, Ordering::Relaxed);
    }

    /// The memory of one has changed.
    pub(super) fn memory(&self, before_bytes: usize, now_bytes: usize) {
        // Wraps both ways, so that the sum is right whatever comes first.
        self.memory_bytes.fetch_add((now_bytes as u64).wrapping_sub(before_bytes as u64), Ordering::Relaxed);
    }

    /// One failed, of the release in place or of one before.
    pub(super) fn failed(&self, current: bool) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.failed_since_switch.fetch_add(u64::from(current), Ordering::Relaxed);
    }

    /// Another release is in place.
    pub(super) fn begin_generation(&self) {
        self.failed_since_switch.store(0, Ordering::Relaxed);
    }

    pub(super) fn failures_since_switch(&self) -> u64 {
        self.failed_since_switch.load(Ordering::Relaxed)
    }

    /// A connection was refused. How many there were.
    pub(super) fn refused(&self) -> u64 {
        self.refused.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A connection ended; the host dropped it, perhaps.
    pub(super) fn closed(&self, dropped: bool) {
        self.dropped.fetch_add(u64::from(dropped), Ordering::Relaxed);
    }

    pub(super) fn instances(&self) -> u64 {
        self.instances.load(Ordering::Relaxed)
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn failures(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    pub(super) fn refusals(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// A batch was handled.
    pub(super) fn batch(&self) {
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    /// Batches of all sessions.
    pub(super) fn batches(&self) -> BatchSeq {
        BatchSeq(self.batches.load(Ordering::Relaxed))
    }

    /// Connections that ended for a reason that was neither the client's nor the workload's.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

//! Ids that are never reused: the boot epoch in the upper half, a counter in the lower.
//!
//! The epoch is persisted and raised at each start of the host, so an id from before a restart can't name a stranger's
//! connection after it.

use std::sync::atomic::{AtomicU64, Ordering};

use host_core::id::{CallId, ConnectionId};

/// Room between two boots: 2^8 times four billion ids.
pub(crate) const EPOCH_STEP_BITS: u32 = 8;

/// Gives out ids for one life of the host.
#[derive(Debug)]
pub(crate) struct Ids {
    next: AtomicU64,
}

impl Ids {
    /// Ids of this boot. Epochs are handed out in steps of 2^[`EPOCH_STEP_BITS`], so that a host which gives out more than
    /// four billion ids carries into numbers that no other boot has.
    pub(crate) fn new(boot: u32) -> Self {
        Self { next: AtomicU64::new((u64::from(boot) << (32 + EPOCH_STEP_BITS)) | 1) }
    }

    pub(crate) fn connection(&self) -> ConnectionId {
        ConnectionId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn call(&self) -> CallId {
        CallId(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

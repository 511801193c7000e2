//! What waits for all sessions of a workload together: bounded in bytes, like the mailbox of a single instance.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Events and bytes that wait.
pub(super) struct Waiting {
    limit_bytes: usize,
    events: AtomicUsize,
    bytes: AtomicUsize,
    closed: AtomicBool,
    /// Connections wait here for room.
    drained: Notify,
}

impl Waiting {
    pub(super) fn new(limit_bytes: usize) -> Self {
        let closed = AtomicBool::new(false);
        Self { limit_bytes, events: AtomicUsize::new(0), bytes: AtomicUsize::new(0), closed, drained: Notify::new() }
    }

    pub(super) fn enter(&self, bytes: usize) {
        self.events.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn leave(&self, events: usize, bytes: usize) {
        self.events.fetch_sub(events, Ordering::Relaxed);
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        // Woken at half, not at the brim: otherwise every chunk would wake everybody.
        let half = self.limit_bytes / 2;
        if before >= half && before - bytes < half {
            self.drained.notify_waiters();
        }
    }

    /// Waits for room. Cancel safe.
    pub(super) async fn room(&self) {
        loop {
            let drained = self.drained.notified();
            if self.bytes.load(Ordering::Relaxed) < self.limit_bytes || self.input_closed() {
                return;
            }
            drained.await;
        }
    }

    /// Nothing more is read from any connection.
    pub(super) fn close_input(&self) {
        self.closed.store(true, Ordering::Release);
        self.drained.notify_waiters();
    }

    pub(super) fn input_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Events and bytes that wait.
    pub(super) fn depth(&self) -> (usize, usize) {
        (self.events.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

//! A door to the journal, which is otherwise private, for the benches (`host/benches`). No promise is made about it.

use std::sync::Arc;

use host_core::{id::BatchSeq, time::UnixNanos};

use crate::{
    bindings::types::{Effect, Event},
    workload::{Base, Journal},
};

/// A journal without an instance, and the number of its next batch.
#[derive(Debug)]
pub struct BareJournal(Journal, u64);

impl BareJournal {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self(Journal::new(Arc::new(Base { seed: [0; 32], born: UnixNanos(0), state: None })), 0)
    }

    /// Records a batch, as it is done when its `handle` has returned.
    pub fn handled(&mut self, now: UnixNanos, events: &[Event], effects: &[Effect]) {
        self.1 += 1;
        self.0.handled(BatchSeq(self.1), now, events, effects);
    }

    /// What it has grown to.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

impl Default for BareJournal {
    fn default() -> Self {
        Self::new()
    }
}

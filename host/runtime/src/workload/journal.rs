//! The journal: the birth of a live instance and every call made to it since, in memory.
//!
//! ```text
//! base (init, then code-change from stored state)  →  handle, handle, snapshot, handle, health, …
//! ```
//!
//! An instance does what its birth and its calls make it do and nothing else, so that the base and the calls, made again,
//! give the same instance: that is how one that trapped is replaced without losing an event. Calls that do not change
//! what a client sees (`snapshot`, `health`) are in it all the same: they may change the guest.
//!
//! Entries are packed into segments: a retained event costs its bytes and about ten more, and the many small allocations
//! of a batch are given back as soon as it is handled. Of the effects only a hash each is kept: enough to tell whether a
//! replay did what was done.

use std::sync::Arc;

use host_core::{id::BatchSeq, time::UnixNanos};

use super::nursery::Base;
use crate::bindings::types::{Effect, Event};

mod packing;

pub(crate) use self::packing::Damaged;
use self::packing::{Reader, Writer, sum};

/// Size at which a segment is closed: what a copy of the journal has to copy is less than one.
const SEGMENT_BYTES: usize = 256 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Journal {
    base: Arc<Base>,
    closed: Vec<Arc<[u8]>>,
    open: Vec<u8>,
    closed_bytes: usize,
    batches: u64,
    events: u64,
    /// It grew over its limit and could not be given a new base: it is no use any more.
    given_up: bool,
}

/// A journal as it stood at a batch boundary. Cheap to make: closed segments are shared.
#[derive(Clone, Debug)]
pub(crate) struct JournalCopy {
    pub(crate) base: Arc<Base>,
    segments: Vec<Arc<[u8]>>,
    pub(crate) batches: u64,
    pub(crate) events: u64,
}

/// One call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Handled(Handled),
    Snapshot { now: UnixNanos, schema: u32 },
    Health { now: UnixNanos },
}

/// A batch that took hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Handled {
    pub(crate) seq: BatchSeq,
    pub(crate) now: UnixNanos,
    pub(crate) events: Vec<Event>,
    /// A hash of each effect, in order.
    pub(crate) sums: Vec<u64>,
}

impl Journal {
    /// The journal of an instance that was just born.
    pub(crate) const fn new(base: Arc<Base>) -> Self {
        Self { base, closed: Vec::new(), open: Vec::new(), closed_bytes: 0, batches: 0, events: 0, given_up: false }
    }

    pub(crate) fn handled(&mut self, seq: BatchSeq, now: UnixNanos, events: &[Event], effects: &[Effect]) {
        if self.given_up {
            return;
        }
        Writer(&mut self.open).handled(seq, now, events, effects);
        self.batches += 1;
        self.events += events.len() as u64;
        self.close_if_full();
    }

    pub(crate) fn snapshot(&mut self, now: UnixNanos, schema: u32) {
        if !self.given_up {
            Writer(&mut self.open).snapshot(now, schema);
            self.close_if_full();
        }
    }

    pub(crate) fn health(&mut self, now: UnixNanos) {
        if !self.given_up {
            Writer(&mut self.open).health(now);
            self.close_if_full();
        }
    }

    /// Keeps nothing more, and nothing of what there is: a trap from now on costs what happened since the last checkpoint.
    pub(crate) fn give_up(&mut self) {
        *self = Self { given_up: true, ..Self::new(self.base.clone()) };
    }

    fn close_if_full(&mut self) {
        if self.open.len() >= SEGMENT_BYTES {
            self.closed_bytes += self.open.len();
            self.closed.push(Arc::from(self.open.as_slice()));
            // Its memory stays: a busy workload fills it again at once.
            self.open.clear();
        }
    }

    pub(crate) const fn batches(&self) -> u64 {
        self.batches
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.closed_bytes + self.open.len()
    }

    /// A copy for a replay; none when it was given up.
    pub(crate) fn copy(&self) -> Option<JournalCopy> {
        if self.given_up {
            return None;
        }
        let mut segments = self.closed.clone();
        segments.push(Arc::from(self.open.as_slice()));
        Some(JournalCopy { base: self.base.clone(), segments, batches: self.batches, events: self.events })
    }
}

impl JournalCopy {
    /// The calls, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Result<Entry, Damaged>> {
        self.segments.iter().flat_map(|segment| Reader::new(segment))
    }
}

/// The hash of an effect, as the journal keeps it.
pub(crate) fn sum_of(effect: &Effect) -> u64 {
    sum(effect)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::types::{CloseReason, Closed, Fired, Received, Send, Start};

    fn journal() -> Journal {
        Journal::new(Arc::new(Base { seed: [1; 32], born: UnixNanos(5), state: None }))
    }

    fn events(batch: u64) -> Vec<Event> {
        vec![
            Event::Started(Start::Swapped("1.0.0".to_owned())),
            Event::Received(Received { connection: batch, data: vec![7; usize::try_from(batch % 3_000).unwrap()] }),
            Event::Fired(Fired { timer: 3, due: 4, late_ns: batch }),
            Event::Closed(Closed { connection: 9, reason: CloseReason::SetAside }),
        ]
    }

    #[test]
    fn what_was_written_is_read_over_all_segments_and_the_copy_stands_still() {
        let mut journal = journal();
        let effects = [Effect::CancelTimer(4), Effect::Send(Send { to: vec![1, 2], data: b"hello".to_vec() })];
        for batch in 0..1_000 {
            journal.handled(BatchSeq(batch), UnixNanos(batch * 2), &events(batch), &effects);
            journal.snapshot(UnixNanos(batch), 3);
            journal.health(UnixNanos(batch + 1));
        }
        assert!(!journal.closed.is_empty(), "it spans segments");
        let copy = journal.copy().unwrap();
        journal.health(UnixNanos(0));
        let entries: Vec<_> = copy.entries().collect::<Result<_, _>>().unwrap();
        assert_eq!((entries.len(), copy.batches, copy.events), (3_000, 1_000, 4_000));
        for (batch, three) in (0..).zip(entries.chunks(3)) {
            let sums = effects.iter().map(sum_of).collect();
            let handled = Handled { seq: BatchSeq(batch), now: UnixNanos(batch * 2), events: events(batch), sums };
            assert_eq!(three[0], Entry::Handled(handled));
            assert_eq!(three[1], Entry::Snapshot { now: UnixNanos(batch), schema: 3 });
            assert_eq!(three[2], Entry::Health { now: UnixNanos(batch + 1) });
        }
    }

    #[test]
    fn effects_that_differ_in_anything_have_other_sums() {
        let send = |to: &[u64], data: &[u8]| Effect::Send(Send { to: to.to_vec(), data: data.to_vec() });
        let all = [send(&[1], b"a"), send(&[1], b"b"), send(&[2], b"a"), send(&[1, 1], b"a"), Effect::CancelTimer(1)];
        let sums: std::collections::BTreeSet<_> = all.iter().map(sum_of).collect();
        assert_eq!(sums.len(), all.len());
    }

    #[test]
    fn a_segment_cut_anywhere_is_an_error_and_no_panic() {
        let mut journal = journal();
        journal.handled(BatchSeq(1), UnixNanos(2), &events(40), &[Effect::CancelTimer(4)]);
        for length in 1..journal.open.len() {
            let read: Result<Vec<_>, _> = Reader::new(&journal.open[..length]).collect();
            assert!(read.is_err(), "cut to {length}");
        }
    }
}

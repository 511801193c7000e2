//! The actor's table of connections: ids resolve here, and only to this workload's own.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use host_core::id::ConnectionId;
use rustc_hash::FxBuildHasher;

use crate::{
    bindings::types::{CloseReason, Closed, Event, Opened},
    checkpoint::ConnectionRecord,
    net::connection::{Connection, End},
};

/// Connections whose `opened` the guest was given and whose `closed` it was not.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    table: HashMap<u64, Entry, FxBuildHasher>,
    /// Those with something in `Entry::pending`.
    touched: Vec<u64>,
    /// What a checkpoint remembers of them, until one comes or goes: a pause must not pay for each connection.
    records: Option<Arc<Vec<ConnectionRecord>>>,
    /// Of those open at the last switch, how many ended since through no doing of their client or the workload.
    dropped: u64,
}

#[derive(Debug)]
struct Entry {
    connection: Arc<Connection>,
    /// Sends of the batch at hand: they leave in one write.
    pending: Vec<Bytes>,
    /// Of one that ended, and whose `closed` the guest has not handled yet.
    closed: Option<CloseReason>,
    /// What the guest hears of it.
    heard: Heard,
}

/// What the guest hears of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// Everything.
    All,
    /// Only its end: it sent what was set aside, and what follows would make no sense without it.
    End,
    /// Nothing: its `opened` was set aside.
    Nothing,
}

impl Connections {
    /// A connection came; the event tells the guest.
    pub(crate) fn open(&mut self, connection: Arc<Connection>) -> Event {
        let event = opened(&connection);
        self.records = None;
        let entry = Entry { connection, pending: Vec::new(), closed: None, heard: Heard::All };
        self.table.insert(entry.connection.id.0, entry);
        event
    }

    /// Whether what it sends reaches the guest.
    pub(crate) fn is_heard(&self, id: u64) -> bool {
        self.table.get(&id).is_none_or(|entry| entry.heard == Heard::All)
    }

    /// Its client, the network or the host ended it. Whether the guest is to be told; then it stays in the table until the
    /// guest has handled that.
    pub(crate) fn close(&mut self, id: ConnectionId, reason: CloseReason) -> bool {
        let Some(entry) = self.table.get_mut(&id.0) else { return true };
        entry.closed = Some(reason);
        let known = entry.heard != Heard::Nothing;
        if !known {
            self.forget(id.0);
        }
        known
    }

    /// Whether the guest never got its `opened`, which was set aside.
    pub(crate) fn is_unknown(&self, id: u64) -> bool {
        self.table.get(&id).is_some_and(|entry| entry.heard == Heard::Nothing)
    }

    /// Ends a connection whose event was set aside. What else it sent is dropped; a guest that `knows` of it is told of its
    /// end.
    pub(crate) fn set_aside(&mut self, id: u64, knows: bool) {
        let Some(entry) = self.table.get_mut(&id) else { return };
        entry.heard = if knows { Heard::End } else { Heard::Nothing };
        entry.connection.send(&mut entry.pending);
        entry.connection.end(End::Flush(CloseReason::SetAside));
    }

    /// The guest has handled these: of those connections whose `closed` was among them, nothing is left.
    pub(crate) fn forget_closed(&mut self, handled: &[Event]) {
        for event in handled {
            if let Event::Closed(closed) = event {
                self.forget(closed.connection);
            }
        }
    }

    /// Sends to one connection when the batch is over. False if it is not in the table.
    pub(crate) fn send(&mut self, id: u64, data: Bytes) -> bool {
        let Some(entry) = self.table.get_mut(&id) else { return false };
        if entry.pending.is_empty() {
            self.touched.push(id);
        }
        entry.pending.push(data);
        true
    }

    /// Ends one. False if it is not in the table.
    pub(crate) fn end(&mut self, id: u64, end: End) -> bool {
        let Some(entry) = self.table.get_mut(&id) else { return false };
        entry.connection.send(&mut entry.pending);
        entry.connection.end(end);
        true
    }

    /// Writes what was sent.
    pub(crate) fn flush(&mut self) {
        for id in self.touched.drain(..) {
            if let Some(entry) = self.table.get_mut(&id) {
                entry.connection.send(&mut entry.pending);
            }
        }
    }

    /// Its end is known to all: what was sent to it leaves, then the id is no more.
    pub(crate) fn forget(&mut self, id: u64) {
        let Some(mut entry) = self.table.remove(&id) else { return };
        self.records = None;
        let reason = entry.closed.unwrap_or(CloseReason::Error);
        entry.connection.send(&mut entry.pending);
        entry.connection.end(End::Flush(reason));
        self.dropped += u64::from(entry.connection.was_dropped(reason));
    }

    /// Those there are, oldest first.
    pub(crate) fn ids(&self) -> Vec<u64> {
        let mut ids: Vec<_> = self.table.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Ends these, those of them that are still there, once what they sent is answered.
    pub(crate) fn drain(&self, ids: &[u64]) {
        for entry in ids.iter().filter_map(|id| self.table.get(id)) {
            entry.connection.drain();
        }
    }

    /// Ends all of them after what was sent.
    pub(crate) fn end_all(&mut self) {
        for (_, mut entry) in self.table.drain() {
            entry.connection.send(&mut entry.pending);
            entry.connection.end(End::Flush(CloseReason::Drained));
        }
    }

    /// Begins to count those dropped.
    pub(crate) fn watch(&mut self) -> u64 {
        self.dropped = 0;
        self.table.len() as u64
    }

    /// Ended since [`watch`](Self::watch) for a reason that was neither the client's nor the workload's.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// As a checkpoint remembers them, in no order.
    pub(crate) fn records(&mut self) -> Arc<Vec<ConnectionRecord>> {
        let record = |Entry { connection, .. }: &Entry| ConnectionRecord {
            id: connection.id.0,
            listener: connection.listener.clone(),
            peer: connection.peer.clone(),
        };
        self.records.get_or_insert_with(|| Arc::new(self.table.values().map(record).collect())).clone()
    }

    /// The events that lead a state which knows `known` to the connections there are: those gone are closed, those new
    /// are opened. Ids in order, so that the same difference gives the same events.
    pub(crate) fn reconcile(&self, known: &[ConnectionRecord], gone: CloseReason) -> Vec<Event> {
        let known: BTreeSet<_> = known.iter().map(|record| record.id).collect();
        let closed = known.iter().filter(|id| !self.table.contains_key(id));
        let mut events: Vec<_> = closed.map(|id| Event::Closed(Closed { connection: *id, reason: gone })).collect();
        let mut new: Vec<_> = self.table.values().filter(|entry| !known.contains(&entry.connection.id.0)).collect();
        new.sort_unstable_by_key(|entry| entry.connection.id);
        events.extend(new.into_iter().map(|entry| opened(&entry.connection)));
        events
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}

fn opened(connection: &Connection) -> Event {
    Event::Opened(Opened {
        connection: connection.id.0,
        listener: connection.listener.to_string(),
        peer: connection.peer.to_string(),
        protocol: None,
        handshake: None,
    })
}

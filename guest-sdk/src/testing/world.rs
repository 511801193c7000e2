//! What a host holds for a workload: time, connections, timers, calls.

use std::collections::{BTreeMap, BTreeSet};

use crate::{CallId, ConnectionId, Effect, TimerId, Timestamp};

/// 2026-01-01: a time that looks like one, the same in every test.
const START: Timestamp = Timestamp::from_nanos(1_767_225_600_000_000_000);

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) open: BTreeSet<ConnectionId>,
    pub(super) timers: BTreeMap<TimerId, Timestamp>,
    pub(super) sent: BTreeMap<ConnectionId, Vec<u8>>,
    pub(super) replies: BTreeMap<CallId, Result<Vec<u8>, String>>,
    pending: BTreeSet<CallId>,
    last_id: u64,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            now: START,
            open: BTreeSet::new(),
            timers: BTreeMap::new(),
            sent: BTreeMap::new(),
            replies: BTreeMap::new(),
            pending: BTreeSet::new(),
            last_id: 0,
        }
    }

    pub(super) fn connect(&mut self) -> ConnectionId {
        let connection = ConnectionId::new(self.next_id());
        self.open.insert(connection);
        connection
    }

    pub(super) fn disconnect(&mut self, connection: ConnectionId) {
        self.open.remove(&connection);
    }

    pub(super) fn call(&mut self) -> CallId {
        let call = CallId::new(self.next_id());
        self.pending.insert(call);
        call
    }

    /// Performs effects and gives the connections that were closed by them. As with the host, an effect on an id that is not
    /// held does nothing, and the first reply counts.
    pub(super) fn apply(&mut self, effects: &[Effect]) -> Vec<ConnectionId> {
        let mut closed = Vec::new();
        for effect in effects {
            match effect {
                Effect::Send { to, data } | Effect::SendMessage { to, data, .. } => {
                    for connection in to.iter().filter(|connection| self.open.contains(connection)) {
                        self.sent.entry(*connection).or_default().extend_from_slice(data);
                    }
                }
                Effect::Close { connection, .. } => {
                    if self.open.remove(connection) {
                        closed.push(*connection);
                    }
                }
                Effect::SetTimer { timer, at } => {
                    self.timers.insert(*timer, *at);
                }
                Effect::CancelTimer { timer } => {
                    self.timers.remove(timer);
                }
                Effect::Reply { call, outcome } => {
                    if self.pending.remove(call) {
                        self.replies.insert(*call, outcome.clone());
                    }
                }
                // A test that cares looks at the effects, and delivers the events it wants in return.
                Effect::Respond { .. } | Effect::RespondBody { .. } | Effect::Fetch { .. } | Effect::Connect { .. } => {
                }
            }
        }
        closed
    }

    /// Takes the timer that is due first, if it is due by then.
    pub(super) fn next_timer(&mut self, until: Timestamp) -> Option<(TimerId, Timestamp)> {
        let (timer, due) =
            self.timers.iter().map(|(timer, due)| (*timer, *due)).min_by_key(|(timer, due)| (*due, *timer))?;
        if due > until {
            return None;
        }
        self.timers.remove(&timer);
        Some((timer, due))
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

//! When the timers of all sessions fall due: one list, so that one task waits for all of them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use host_core::{id::ConnectionId, time::UnixNanos};
use tokio::sync::Notify;

use super::session::Session;

/// One alarm for each session that has timers: that of its first.
#[derive(Default)]
pub(super) struct Alarms {
    set: Mutex<BTreeMap<(UnixNanos, ConnectionId), Arc<Session>>>,
    /// Told when an earlier one was set.
    pub(super) earlier: Notify,
}

impl Alarms {
    /// Moves a session's alarm.
    pub(super) fn move_to(&self, id: ConnectionId, from: Option<UnixNanos>, to: Option<(UnixNanos, &Arc<Session>)>) {
        if from.is_none() && to.is_none() {
            return;
        }
        let mut set = self.set();
        if let Some(from) = from {
            set.remove(&(from, id));
        }
        if let Some((at, session)) = to {
            let first = set.first_key_value().is_none_or(|((first, _), _)| at < *first);
            set.insert((at, id), session.clone());
            if first {
                self.earlier.notify_one();
            }
        }
    }

    /// When the first is due.
    pub(super) fn next(&self) -> Option<UnixNanos> {
        self.set().first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes those that are due.
    pub(super) fn due(&self, now: UnixNanos) -> Vec<Arc<Session>> {
        let mut set = self.set();
        let mut due = Vec::new();
        while let Some(entry) = set.first_entry().filter(|entry| entry.key().0 <= now) {
            due.push(entry.remove());
        }
        due
    }

    /// How many are set.
    pub(super) fn len(&self) -> usize {
        self.set().len()
    }

    fn set(&self) -> MutexGuard<'_, BTreeMap<(UnixNanos, ConnectionId), Arc<Session>>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The state of 1.0.0, copied from there: it never changes again, whatever becomes of the counter.

use std::collections::{BTreeMap, BTreeSet};

use guest_sdk::prelude::*;

use crate::rows::Row;

/// Schema 1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema, State)]
#[state(version = 1)]
pub struct Counter {
    /// How often `incr` was said.
    pub total: u64,
    /// The open connections.
    pub open: BTreeSet<ConnectionId>,
    /// Lines that are not complete yet.
    pub lines: Lines,
    /// Who waits for which timer.
    pub reminders: BTreeMap<TimerId, ConnectionId>,
    /// The number of the last timer.
    pub last_timer: u64,
    /// Ballast.
    pub rows: Vec<Row>,
}

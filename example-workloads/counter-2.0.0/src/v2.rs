//! The state of 1.1.0 and its steps, copied from there.

use std::collections::{BTreeMap, BTreeSet};

use guest_sdk::prelude::*;

use crate::rows::Row;
use crate::v1;

/// Schema 2.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema, State)]
#[state(version = 2, from = v1::Counter, to = v1::Counter)]
pub struct Counter {
    /// How often `incr` was said.
    pub total: u64,
    /// The open connections.
    pub open: BTreeSet<ConnectionId>,
    /// How often each open connection said `incr`: since it opened, or since the swap to 1.1.0.
    pub mine: BTreeMap<ConnectionId, u64>,
    /// Lines that are not complete yet.
    pub lines: Lines,
    /// Who waits for which timer.
    pub reminders: BTreeMap<TimerId, ConnectionId>,
    /// The number of the last timer.
    pub last_timer: u64,
    /// Ballast.
    pub rows: Vec<Row>,
}

impl Upgrade<v1::Counter> for Counter {
    fn upgrade(old: v1::Counter) -> Result<Self, String> {
        let v1::Counter { total, open, lines, reminders, last_timer, rows } = old;
        Ok(Self { total, open, mine: BTreeMap::new(), lines, reminders, last_timer, rows })
    }
}

impl Downgrade<v1::Counter> for Counter {
    /// 1.0.0 has no place for `mine`.
    fn downgrade(&self) -> Result<v1::Counter, String> {
        let Self { total, open, mine: _, lines, reminders, last_timer, rows } = self.clone();
        Ok(v1::Counter { total, open, lines, reminders, last_timer, rows })
    }

    fn lend(self) -> Result<(v1::Counter, impl FnOnce(v1::Counter) -> Self), (Self, String)> {
        let Self { total, open, mine, lines, reminders, last_timer, rows } = self;
        let whole = move |old| {
            let v1::Counter { total, open, lines, reminders, last_timer, rows } = old;
            Self { total, open, mine, lines, reminders, last_timer, rows }
        };
        Ok((v1::Counter { total, open, lines, reminders, last_timer, rows }, whole))
    }
}

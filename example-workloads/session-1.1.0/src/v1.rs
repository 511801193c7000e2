//! The state of 1.0.0, copied from there: it never changes again, whatever becomes of the session.

use guest_sdk::prelude::*;

/// Schema 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema, State)]
#[state(version = 1)]
pub struct Session {
    /// The connection this instance is for.
    pub connection: Option<ConnectionId>,
    /// Where the client stands.
    pub phase: Phase,
    /// Bytes of all transfers.
    pub total: u64,
    /// Their sum.
    pub sum: u64,
    /// A line that is not complete yet.
    pub rest: Vec<u8>,
}

/// Where a client stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub enum Phase {
    /// Not logged in.
    Anonymous,
    /// Logged in.
    Ready {
        /// As whom.
        name: String,
    },
    /// In a transfer.
    Receiving {
        /// As whom.
        name: String,
        /// Its bytes.
        size: u64,
        /// Those still to come.
        left: u64,
    },
}

//! The state: schema 1.

use std::collections::{BTreeMap, BTreeSet};

use guest_sdk::prelude::*;

/// Everything that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema, State)]
#[state(version = 1)]
pub struct Chat {
    /// The open connections.
    pub users: BTreeMap<ConnectionId, User>,
    /// The rooms, by name. One that nobody is in is gone, but for the lobby.
    pub rooms: BTreeMap<String, Room>,
    /// Lines that are not complete yet.
    pub lines: Lines,
    /// What newcomers read. From the config.
    #[serde(skip)]
    pub welcome: String,
}

/// Who is behind a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct User {
    /// The nickname; no two are the same.
    pub name: String,
    /// The room.
    pub room: String,
}

/// A room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Room {
    /// Who is in it.
    pub members: BTreeSet<ConnectionId>,
    /// What was said last, oldest first.
    pub history: Vec<Message>,
}

/// What somebody said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Message {
    /// The name they had then.
    pub author: String,
    /// The words.
    pub text: String,
}

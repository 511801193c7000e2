//! The state: schema 2, which knows when things happened, and the steps from and to schema 1.

use std::collections::{BTreeMap, BTreeSet};

use guest_sdk::prelude::*;

use crate::v1;

/// Everything that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema, State)]
#[state(version = 2, from = v1::Chat, to = v1::Chat)]
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
    /// When they last sent something; `None` if that was before the swap to this version.
    pub last_seen: Option<Timestamp>,
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
    /// When; `None` if that was before the swap to this version.
    pub at: Option<Timestamp>,
}

impl Upgrade<v1::Chat> for Chat {
    fn upgrade(old: v1::Chat) -> Result<Self, String> {
        let user =
            |(id, user): (ConnectionId, v1::User)| (id, User { name: user.name, room: user.room, last_seen: None });
        let message = |message: v1::Message| Message { author: message.author, text: message.text, at: None };
        let room = |(name, room): (String, v1::Room)| {
            (name, Room { members: room.members, history: room.history.into_iter().map(message).collect() })
        };
        Ok(Self {
            users: old.users.into_iter().map(user).collect(),
            rooms: old.rooms.into_iter().map(room).collect(),
            lines: old.lines,
            // `configure` follows.
            welcome: String::new(),
        })
    }
}

impl Downgrade<v1::Chat> for Chat {
    /// 1.0.0 has no place for times.
    fn downgrade(&self) -> Result<v1::Chat, String> {
        let user = |user: &User| v1::User { name: user.name.clone(), room: user.room.clone() };
        let message = |message: &Message| v1::Message { author: message.author.clone(), text: message.text.clone() };
        let room = |room: &Room| v1::Room {
            members: room.members.clone(),
            history: room.history.iter().map(message).collect(),
        };
        Ok(v1::Chat {
            users: self.users.iter().map(|(id, u)| (*id, user(u))).collect(),
            rooms: self.rooms.iter().map(|(name, r)| (name.clone(), room(r))).collect(),
            lines: self.lines.clone(),
        })
    }
}

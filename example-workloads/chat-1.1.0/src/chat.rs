//! What the chat does.

use std::collections::BTreeMap;

use guest_sdk::prelude::*;

use crate::state::{Chat, Message, Room, User};

const LOBBY: &str = "lobby";

/// What a newcomer to a room wants to read, and what 1 000 rooms may keep.
const MAX_HISTORY: usize = 50;
/// So that a client can't fill the memory with rooms that only it is in, one after the other.
const MAX_ROOMS: usize = 1000;
/// Longer names don't fit a line on a screen.
const MAX_NAME_CHARS: usize = 24;
/// A few paragraphs. Times history and rooms it bounds the state.
const MAX_LINE_BYTES: u32 = 4096;

impl Workload for Chat {
    fn init(_config: &str) -> Result<Self, String> {
        Ok(Self {
            users: BTreeMap::new(),
            rooms: BTreeMap::from([(LOBBY.to_owned(), Room::default())]),
            lines: Lines::with_limit(MAX_LINE_BYTES),
            welcome: String::new(),
        })
    }

    fn configure(&mut self, config: &str) -> Result<(), String> {
        for line in config.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
                Some(("welcome", text)) => text.clone_into(&mut self.welcome),
                _ => return Err(format!("config line {line:?} is not `welcome = TEXT`")),
            }
        }
        Ok(())
    }

    fn handle(&mut self, event: Event, out: &mut Effects) {
        match event {
            Event::Opened { connection, .. } => self.enter(connection, out),
            Event::Received { connection, data } => match self.lines.feed(connection, data) {
                Ok(mut lines) => {
                    while let Some(line) = lines.next_line() {
                        // Somebody's terminal may send anything; the others get what can be shown.
                        let line = String::from_utf8_lossy(line);
                        let line = line.trim();
                        if !line.is_empty() {
                            self.line(connection, line, out);
                        }
                    }
                }
                Err(too_long) => {
                    out.send(connection, format!("error line {too_long}\n"));
                    out.close(connection);
                }
            },
            Event::Closed { connection, .. } => {
                self.lines.forget(connection);
                self.leave_room(connection, out);
                self.users.remove(&connection);
            }
            Event::Called { call, method, .. } => match method.as_str() {
                "users" => out.reply(call, self.users.len().to_string()),
                "rooms" => out.reply(call, self.rooms.len().to_string()),
                "health" => out.reply(call, self.how_it_is()),
                other => out.fail(call, format!("no method {other:?}; there are users, rooms, health")),
            },
            _ => {}
        }
    }

    fn health(&self) -> Health {
        Health::ok().with("users", self.users.len()).with("rooms", self.rooms.len())
    }
}

impl Chat {
    /// For whoever asks by a call what `health` says, as a rollout does that is given `--health chat.health=ok`. Numbers need no
    /// escapes.
    fn how_it_is(&self) -> String {
        format!(r#"{{"status":"ok","users":{},"rooms":{}}}"#, self.users.len(), self.rooms.len())
    }

    fn enter(&mut self, connection: ConnectionId, out: &mut Effects) {
        let mut number = connection.get() % 10_000;
        while self.is_taken(&format!("guest{number}")) {
            number += 1;
        }
        let name = format!("guest{number}");
        if !self.welcome.is_empty() {
            out.send(connection, format!("* {}\n", self.welcome));
        }
        out.send(connection, format!("* you are {name} in {LOBBY}; /nick NAME changes that\n"));
        self.users.insert(connection, User { name, room: String::new(), last_seen: Some(out.now()) });
        self.join_room(connection, LOBBY, out);
    }

    fn line(&mut self, connection: ConnectionId, line: &str, out: &mut Effects) {
        if let Some(user) = self.users.get_mut(&connection) {
            user.last_seen = Some(out.now());
        }
        let (command, argument) = line.split_once(' ').unwrap_or((line, ""));
        let argument = argument.trim();
        match command {
            "/nick" => self.rename(connection, argument, out),
            "/join" => self.join(connection, argument, out),
            "/rooms" => {
                for (name, room) in &self.rooms {
                    out.send(connection, format!("* {name} ({})\n", room.members.len()));
                }
            }
            "/who" => self.who(connection, out),
            "/history" => self.history(connection, out),
            "/quit" => out.close(connection),
            _ if command.starts_with('/') => {
                out.send(connection, "error there are /nick /join /rooms /who /history /quit\n");
            }
            _ => self.say(connection, line, out),
        }
    }

    fn say(&mut self, connection: ConnectionId, text: &str, out: &mut Effects) {
        let Some((user, room)) = self.at(connection) else { return };
        let message = Message { author: user.name.clone(), text: text.to_owned(), at: Some(out.now()) };
        out.send_all(room.members.iter().copied(), format!("{}: {text}\n", message.author));
        if room.history.len() >= MAX_HISTORY {
            room.history.remove(0);
        }
        room.history.push(message);
    }

    fn who(&mut self, connection: ConnectionId, out: &mut Effects) {
        let Some(user) = self.users.get(&connection) else { return };
        for other in self.users.values().filter(|other| other.room == user.room) {
            let idle = ago(other.last_seen, out.now());
            out.send(connection, format!("* {} (seen {idle})\n", other.name));
        }
    }

    fn history(&mut self, connection: ConnectionId, out: &mut Effects) {
        let Some((_, room)) = self.at(connection) else { return };
        for message in &room.history {
            let when = ago(message.at, out.now());
            out.send(connection, format!("{}: {} ({when})\n", message.author, message.text));
        }
    }

    fn rename(&mut self, connection: ConnectionId, name: &str, out: &mut Effects) {
        if let Err(why) = check_name(name) {
            out.send(connection, why);
        } else if self.is_taken(name) {
            out.send(connection, format!("error {name} is taken\n"));
        } else if let Some((user, room)) = self.at(connection) {
            let before = std::mem::replace(&mut user.name, name.to_owned());
            out.send_all(room.members.iter().copied(), format!("* {before} is now {name}\n"));
        }
    }

    fn join(&mut self, connection: ConnectionId, room: &str, out: &mut Effects) {
        if let Err(why) = check_name(room) {
            out.send(connection, why);
        } else if !self.rooms.contains_key(room) && self.rooms.len() >= MAX_ROOMS {
            out.send(connection, "error there are too many rooms\n");
        } else {
            self.leave_room(connection, out);
            self.join_room(connection, room, out);
        }
    }

    fn join_room(&mut self, connection: ConnectionId, name: &str, out: &mut Effects) {
        let Some(user) = self.users.get_mut(&connection) else { return };
        name.clone_into(&mut user.room);
        let room = self.rooms.entry(name.to_owned()).or_default();
        room.members.insert(connection);
        out.send_all(room.members.iter().copied(), format!("* {} came to {name}\n", user.name));
    }

    fn leave_room(&mut self, connection: ConnectionId, out: &mut Effects) {
        let Some((user, room)) = self.at(connection) else { return };
        room.members.remove(&connection);
        out.send_all(room.members.iter().copied(), format!("* {} left {}\n", user.name, user.room));
        let name = user.room.clone();
        if name != LOBBY && room.members.is_empty() {
            self.rooms.remove(&name);
        }
    }

    /// Who is behind a connection, and their room.
    fn at(&mut self, connection: ConnectionId) -> Option<(&mut User, &mut Room)> {
        let user = self.users.get_mut(&connection)?;
        let room = self.rooms.get_mut(&user.room)?;
        Some((user, room))
    }

    fn is_taken(&self, name: &str) -> bool {
        self.users.values().any(|user| user.name == name)
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let fits = (1..=MAX_NAME_CHARS).contains(&name.chars().count());
    if fits && name.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_') {
        Ok(())
    } else {
        Err("error a name has 1 to 24 letters, digits, - or _\n")
    }
}

fn ago(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or_else(|| "before the swap".to_owned(), |at| format!("{} s ago", now.since(at).as_secs()))
}

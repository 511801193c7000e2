//! A total that every connection adds to, and what is known of each connection.
//!
//! Lines: `incr` answers `<version> <total> <mine>`; `remind <ms>` answers `reminded late <ms>` when the time has come; any other
//! answers `error …`. Config: `rows = N`. Calls: `total`, `rows`, `add-rows N`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use guest_sdk::prelude::*;

#[path = "../../counter-1.0.0/src/config.rs"]
pub mod config;
#[path = "../../counter-1.0.0/src/rows.rs"]
pub mod rows;

use crate::v2;
use config::Config;
use rows::Row;

/// The version a client reads in every answer.
pub const VERSION: &str = "2.0.0";

/// The state: schema 3, which knows more of a connection than its number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema, State)]
#[state(version = 3, from = v2::Counter, to = v2::Counter)]
pub struct Counter {
    /// How often `incr` was said.
    pub total: u64,
    /// The open connections.
    pub open: BTreeMap<ConnectionId, Client>,
    /// Lines that are not complete yet.
    pub lines: Lines,
    /// Who waits for which timer.
    pub reminders: BTreeMap<TimerId, ConnectionId>,
    /// The number of the last timer.
    pub last_timer: u64,
    /// Ballast.
    pub rows: Vec<Row>,
    /// Not part of the state: every instance reads it anew.
    #[serde(skip)]
    pub config: Config,
}

/// What is known of an open connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Client {
    /// How often it said `incr`: since it opened, or since the swap to a version that counts it.
    pub mine: u64,
    /// When it opened, where this version saw that.
    pub opened: Option<Timestamp>,
    /// When it last said `incr`, where this version saw that.
    pub last_incr: Option<Timestamp>,
}

/// From 1.0.0 it takes two steps: this one stands on the one that 1.1.0 brought.
impl Upgrade<v2::Counter> for Counter {
    fn upgrade(old: v2::Counter) -> Result<Self, String> {
        let v2::Counter { total, open, mut mine, lines, reminders, last_timer, rows } = old;
        let client = |id| (id, Client { mine: mine.remove(&id).unwrap_or_default(), ..Client::default() });
        let open = open.into_iter().map(client).collect();
        Ok(Self { total, open, lines, reminders, last_timer, rows, config: Config::default() })
    }
}

impl Downgrade<v2::Counter> for Counter {
    /// 1.1.0 has no place for times.
    fn downgrade(&self) -> Result<v2::Counter, String> {
        let Self { total, open, lines, reminders, last_timer, rows, config: _ } = self.clone();
        let mine = open.iter().filter(|(_, client)| client.mine > 0).map(|(id, client)| (*id, client.mine)).collect();
        let open = open.into_keys().collect();
        Ok(v2::Counter { total, open, mine, lines, reminders, last_timer, rows })
    }

    /// The rows are moved there and back, not copied; of the connections, which are few, the older form is made.
    fn lend(self) -> Result<(v2::Counter, impl FnOnce(v2::Counter) -> Self), (Self, String)> {
        let Self { total, open: clients, lines, reminders, last_timer, rows, config } = self;
        let open = clients.keys().copied().collect();
        let spoke = clients.iter().filter(|(_, client)| client.mine > 0);
        let mine = spoke.map(|(id, client)| (*id, client.mine)).collect();
        let whole = move |old| {
            let v2::Counter { total, open: _, mine: _, lines, reminders, last_timer, rows } = old;
            Self { total, open: clients, lines, reminders, last_timer, rows, config }
        };
        Ok((v2::Counter { total, open, mine, lines, reminders, last_timer, rows }, whole))
    }
}

impl Workload for Counter {
    fn init(config: &str) -> Result<Self, String> {
        Config::parse(config)?;
        Ok(Self::default())
    }

    fn configure(&mut self, config: &str) -> Result<(), String> {
        self.config = Config::parse(config)?;
        Ok(())
    }

    fn handle(&mut self, event: Event, out: &mut Effects) {
        match event {
            Event::Received { connection, data } => match self.lines.feed(connection, data) {
                Ok(mut lines) => {
                    while let Some(line) = lines.next_line() {
                        self.line(connection, line, out);
                    }
                }
                Err(too_long) => {
                    out.send(connection, format!("error line {too_long}\n"));
                    out.close(connection);
                }
            },
            Event::Opened { connection, .. } => {
                self.open.insert(connection, Client { opened: Some(out.now()), ..Client::default() });
            }
            Event::Closed { connection, .. } => {
                self.open.remove(&connection);
                self.lines.forget(connection);
                for (timer, _) in self.reminders.extract_if(.., |_, waiting| *waiting == connection) {
                    out.cancel(timer);
                }
            }
            Event::Fired { timer, late, .. } => {
                if let Some(connection) = self.reminders.remove(&timer) {
                    out.send(connection, format!("reminded late {}\n", late.as_millis()));
                }
            }
            Event::Called { call, method, payload } => match method.as_str() {
                "total" => out.reply(call, self.total.to_string()),
                "rows" => out.reply(call, self.rows.len().to_string()),
                "add-rows" => match rows::add(&mut self.rows, &payload) {
                    Ok(()) => out.reply(call, self.rows.len().to_string()),
                    Err(why) => out.fail(call, why),
                },
                other => out.fail(call, format!("no method {other:?}; there are total, rows, add-rows")),
            },
            // Not in `init`: that also runs for an instance which then takes over a state.
            Event::Started(_) if self.rows.is_empty() => rows::extend(&mut self.rows, self.config.rows),
            _ => {}
        }
    }

    fn health(&self) -> Health {
        Health::ok().with("total", self.total).with("connections", self.open.len())
    }
}

impl Counter {
    fn line(&mut self, connection: ConnectionId, line: &[u8], out: &mut Effects) {
        if line == b"incr" {
            self.total += 1;
            let client = self.open.entry(connection).or_default();
            client.mine += 1;
            client.last_incr = Some(out.now());
            let mine = client.mine;
            // A Vec takes everything, so writing to it can't fail.
            let _ = writeln!(out.buffer(connection), "{VERSION} {} {mine}", self.total);
        } else if let Some(delay) = line.strip_prefix(b"remind ").and_then(millis) {
            self.last_timer += 1;
            let timer = TimerId::new(self.last_timer);
            self.reminders.insert(timer, connection);
            out.after(timer, delay);
        } else {
            out.send(connection, "error expected `incr` or `remind <ms>`\n");
        }
    }
}

fn millis(text: &[u8]) -> Option<Duration> {
    std::str::from_utf8(text).ok()?.trim().parse().ok().map(Duration::from_millis)
}

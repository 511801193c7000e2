//! A total that every connection adds to, and what each connection added.
//!
//! Lines: `incr` answers `<version> <total> <mine>`; `remind <ms>` answers `reminded late <ms>` when the time has come; any other
//! answers `error …`. Config: `rows = N`. Calls: `total`, `rows`, `add-rows N`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::Duration;

use guest_sdk::prelude::*;

#[path = "../../counter-1.0.0/src/config.rs"]
pub mod config;
#[path = "../../counter-1.0.0/src/rows.rs"]
pub mod rows;

use crate::v1;
use config::Config;
use rows::Row;

/// The version a client reads in every answer.
pub const VERSION: &str = "1.1.0";

/// The state: schema 2, which adds `mine`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema, State)]
#[state(version = 2, from = v1::Counter, to = v1::Counter)]
pub struct Counter {
    /// How often `incr` was said.
    pub total: u64,
    /// The open connections.
    pub open: BTreeSet<ConnectionId>,
    /// How often each open connection said `incr`: since it opened, or since the swap to this version.
    pub mine: BTreeMap<ConnectionId, u64>,
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

impl Upgrade<v1::Counter> for Counter {
    fn upgrade(old: v1::Counter) -> Result<Self, String> {
        let v1::Counter { total, open, lines, reminders, last_timer, rows } = old;
        Ok(Self { total, open, lines, reminders, last_timer, rows, ..Self::default() })
    }
}

impl Downgrade<v1::Counter> for Counter {
    /// 1.0.0 has no place for `mine`.
    fn downgrade(&self) -> Result<v1::Counter, String> {
        let Self { total, open, mine: _, lines, reminders, last_timer, rows, config: _ } = self.clone();
        Ok(v1::Counter { total, open, lines, reminders, last_timer, rows })
    }

    /// A hundred thousand rows are moved there and back, not copied.
    fn lend(self) -> Result<(v1::Counter, impl FnOnce(v1::Counter) -> Self), (Self, String)> {
        let Self { total, open, mine, lines, reminders, last_timer, rows, config } = self;
        let whole = move |old| {
            let v1::Counter { total, open, lines, reminders, last_timer, rows } = old;
            Self { total, open, mine, lines, reminders, last_timer, rows, config }
        };
        Ok((v1::Counter { total, open, lines, reminders, last_timer, rows }, whole))
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
                self.open.insert(connection);
            }
            Event::Closed { connection, .. } => {
                self.open.remove(&connection);
                self.mine.remove(&connection);
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
            let mine = self.mine.entry(connection).or_default();
            *mine += 1;
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

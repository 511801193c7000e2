//! A login, transfers, a logout: a state machine per connection.
//!
//! | line | from | answers |
//! |---|---|---|
//! | `login NAME` | not logged in | `<version> hello NAME` |
//! | `put N`, then N bytes | logged in | `<version> stored N <sum>` when the last byte is there |
//! | `sum` | logged in | `<version> <bytes> <sum>` of all transfers |
//! | `logout` | logged in | `<version> bye NAME <bytes>`, and closes |
//!
//! Anything else answers `error …` and changes nothing. The sum is FNV-1a over all bytes that were put. Config:
//! `login-ms = N` closes who has not logged in by then.

use guest_sdk::prelude::*;

use crate::{
    config::Config,
    input::{self, Command, LINE_LIMIT_BYTES, SUM_START},
};

/// The version a client reads in every answer.
pub const VERSION: &str = "1.0.0";

/// Who has not logged in when this fires is sent away.
pub const LOGIN_TIMER: TimerId = TimerId::new(1);

/// The state: schema 1.
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
    /// Not part of the state: every instance reads it anew.
    #[serde(skip)]
    pub config: Config,
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

impl Workload for Session {
    fn init(config: &str) -> Result<Self, String> {
        Config::parse(config)?;
        Ok(Self {
            connection: None,
            phase: Phase::Anonymous,
            total: 0,
            sum: SUM_START,
            rest: Vec::new(),
            config: Config::default(),
        })
    }

    fn configure(&mut self, config: &str) -> Result<(), String> {
        self.config = Config::parse(config)?;
        Ok(())
    }

    fn handle(&mut self, event: Event, out: &mut Effects) {
        match event {
            Event::Opened { connection, .. } if self.connection.is_some() => {
                out.send(connection, "error this workload wants an instance for each connection\n");
                out.close(connection);
            }
            Event::Opened { connection, .. } => {
                self.connection = Some(connection);
                if let Some(within) = self.config.login_within {
                    out.after(LOGIN_TIMER, within);
                }
            }
            Event::Received { connection, data } if self.connection == Some(connection) => {
                self.received(connection, data, out);
            }
            Event::Fired { timer: LOGIN_TIMER, .. } if self.phase == Phase::Anonymous => {
                if let Some(connection) = self.connection {
                    out.send(connection, "error nobody logged in\n");
                    out.close(connection);
                }
            }
            _ => {}
        }
    }

    fn health(&self) -> Health {
        Health::ok().with("bytes", self.total)
    }
}

impl Session {
    fn received(&mut self, connection: ConnectionId, data: Vec<u8>, out: &mut Effects) {
        let data = if self.rest.is_empty() { data } else { [std::mem::take(&mut self.rest), data].concat() };
        let mut rest = data.as_slice();
        while !rest.is_empty() {
            let taken = match self.phase {
                Phase::Receiving { left, .. } => self.transfer(connection, rest, left, out),
                _ => match input::line(rest) {
                    Some((line, taken)) => {
                        self.line(connection, line, out);
                        taken
                    }
                    None if rest.len() > LINE_LIMIT_BYTES => {
                        out.send(connection, format!("error a line has at most {LINE_LIMIT_BYTES} bytes\n"));
                        out.close(connection);
                        return;
                    }
                    None => break,
                },
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
        self.rest = rest.to_vec();
    }

    /// Takes what belongs to the transfer, and says how much that was.
    fn transfer(&mut self, connection: ConnectionId, data: &[u8], left: u64, out: &mut Effects) -> usize {
        let taken = data.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.sum = input::add(self.sum, data.get(..taken).unwrap_or_default());
        self.total += taken as u64;
        if let Phase::Receiving { left, .. } = &mut self.phase {
            *left -= taken as u64;
        }
        self.end_transfer(connection, out);
        taken
    }

    /// Answers when the last byte is there.
    fn end_transfer(&mut self, connection: ConnectionId, out: &mut Effects) {
        if let Phase::Receiving { name, size, left: 0 } = &mut self.phase {
            out.send(connection, format!("{VERSION} stored {size} {:016x}\n", self.sum));
            self.phase = Phase::Ready { name: std::mem::take(name) };
        }
    }

    fn line(&mut self, connection: ConnectionId, line: &[u8], out: &mut Effects) {
        let answer = Command::parse(line).and_then(|command| self.command(connection, command, out));
        match answer {
            Ok(answer) if answer.is_empty() => {}
            Ok(answer) => out.send(connection, format!("{VERSION} {answer}\n")),
            Err(why) => out.send(connection, format!("error {why}\n")),
        }
        // One of no bytes is over at once.
        self.end_transfer(connection, out);
    }

    /// The answer; an empty one comes later.
    fn command(&mut self, connection: ConnectionId, command: Command<'_>, out: &mut Effects) -> Result<String, String> {
        match (&self.phase, command) {
            (Phase::Anonymous, Command::Login(name)) => {
                let name = name.to_owned();
                let answer = format!("hello {name}");
                self.phase = Phase::Ready { name };
                out.cancel(LOGIN_TIMER);
                Ok(answer)
            }
            (Phase::Anonymous, _) => Err("log in first".to_owned()),
            (Phase::Ready { name }, Command::Login(_)) => Err(format!("this is {name} already; log out first")),
            (Phase::Ready { name }, Command::Put(size)) => {
                self.phase = Phase::Receiving { name: name.clone(), size, left: size };
                Ok(String::new())
            }
            (Phase::Ready { .. }, Command::Sum) => Ok(format!("{} {:016x}", self.total, self.sum)),
            (Phase::Ready { name }, Command::Logout) => {
                let answer = format!("bye {name} {}", self.total);
                out.send(connection, format!("{VERSION} {answer}\n"));
                out.close(connection);
                self.phase = Phase::Anonymous;
                Ok(String::new())
            }
            // Lines are looked for only outside of transfers.
            (Phase::Receiving { .. }, _) => Ok(String::new()),
        }
    }
}

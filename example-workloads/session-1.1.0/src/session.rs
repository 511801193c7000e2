//! A login, transfers, a logout: a state machine per connection, which counts its transfers.
//!
//! The lines of 1.0.0, with one difference: `sum` answers `<version> <bytes> <sum> <transfers> <largest>`. Transfers count from
//! the swap on for sessions that were open; one that was under way counts when it ends.
//!
//! In the state, what was one phase is now a user and a transfer, so that a transfer need not know whose it is.

use guest_sdk::prelude::*;

#[path = "../../session-1.0.0/src/config.rs"]
pub mod config;
#[path = "../../session-1.0.0/src/input.rs"]
pub mod input;

use crate::v1;
use config::Config;
use input::{Command, LINE_LIMIT_BYTES, SUM_START};

/// The version a client reads in every answer.
pub const VERSION: &str = "1.1.0";

/// Who has not logged in when this fires is sent away. The timers are the host's, so its number stays that of 1.0.0.
pub const LOGIN_TIMER: TimerId = TimerId::new(1);

/// The state: schema 2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema, State)]
#[state(version = 2, from = v1::Session, to = v1::Session)]
pub struct Session {
    /// The connection this instance is for.
    pub connection: Option<ConnectionId>,
    /// Who logged in.
    pub user: Option<String>,
    /// What they are sending.
    pub transfer: Option<Transfer>,
    /// How many transfers were completed.
    pub transfers: u64,
    /// The largest of them.
    pub largest: u64,
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

/// A transfer under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Transfer {
    /// Its bytes.
    pub size: u64,
    /// Those still to come.
    pub left: u64,
}

impl Upgrade<v1::Session> for Session {
    fn upgrade(old: v1::Session) -> Result<Self, String> {
        let v1::Session { connection, phase, total, sum, rest } = old;
        let (user, transfer) = match phase {
            v1::Phase::Anonymous => (None, None),
            v1::Phase::Ready { name } => (Some(name), None),
            v1::Phase::Receiving { name, size, left } => (Some(name), Some(Transfer { size, left })),
        };
        let config = Config::default();
        Ok(Self { connection, user, transfer, transfers: 0, largest: 0, total, sum, rest, config })
    }
}

impl Downgrade<v1::Session> for Session {
    /// 1.0.0 has no place for the counts.
    fn downgrade(&self) -> Result<v1::Session, String> {
        let phase = match (&self.user, self.transfer) {
            (None, _) => v1::Phase::Anonymous,
            (Some(name), None) => v1::Phase::Ready { name: name.clone() },
            (Some(name), Some(Transfer { size, left })) => v1::Phase::Receiving { name: name.clone(), size, left },
        };
        let Self { connection, total, sum, ref rest, .. } = *self;
        Ok(v1::Session { connection, phase, total, sum, rest: rest.clone() })
    }
}

impl Workload for Session {
    fn init(config: &str) -> Result<Self, String> {
        Config::parse(config)?;
        Ok(Self {
            connection: None,
            user: None,
            transfer: None,
            transfers: 0,
            largest: 0,
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
            Event::Fired { timer: LOGIN_TIMER, .. } if self.user.is_none() => {
                if let Some(connection) = self.connection {
                    out.send(connection, "error nobody logged in\n");
                    out.close(connection);
                }
            }
            _ => {}
        }
    }

    fn health(&self) -> Health {
        Health::ok().with("bytes", self.total).with("transfers", self.transfers)
    }
}

impl Session {
    fn received(&mut self, connection: ConnectionId, data: Vec<u8>, out: &mut Effects) {
        let data = if self.rest.is_empty() { data } else { [std::mem::take(&mut self.rest), data].concat() };
        let mut rest = data.as_slice();
        while !rest.is_empty() {
            let taken = match self.transfer {
                Some(transfer) => self.continue_transfer(connection, rest, transfer, out),
                None => match input::line(rest) {
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

    /// Takes what belongs to the transfer, and says how much that was. Answers when the last byte is there.
    fn continue_transfer(
        &mut self,
        connection: ConnectionId,
        data: &[u8],
        Transfer { size, left }: Transfer,
        out: &mut Effects,
    ) -> usize {
        let taken = data.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - taken as u64;
        self.sum = input::add(self.sum, data.get(..taken).unwrap_or_default());
        self.total += taken as u64;
        self.transfer = (left > 0).then_some(Transfer { size, left });
        if self.transfer.is_none() {
            self.transfers += 1;
            self.largest = self.largest.max(size);
            out.send(connection, format!("{VERSION} stored {size} {:016x}\n", self.sum));
        }
        taken
    }

    fn line(&mut self, connection: ConnectionId, line: &[u8], out: &mut Effects) {
        let was_in = self.user.is_some();
        let answer = Command::parse(line).and_then(|command| match (self.user.clone(), command) {
            (None, Command::Login(name)) => {
                self.user = Some(name.to_owned());
                out.cancel(LOGIN_TIMER);
                Ok(format!("hello {name}"))
            }
            (None, _) => Err("log in first".to_owned()),
            (Some(name), Command::Login(_)) => Err(format!("this is {name} already; log out first")),
            (Some(_), Command::Put(size)) => {
                self.transfer = Some(Transfer { size, left: size });
                Ok(String::new())
            }
            (Some(_), Command::Sum) => {
                Ok(format!("{} {:016x} {} {}", self.total, self.sum, self.transfers, self.largest))
            }
            (Some(name), Command::Logout) => {
                self.user = None;
                Ok(format!("bye {name} {}", self.total))
            }
        });
        match answer {
            Ok(answer) if answer.is_empty() => {}
            Ok(answer) => out.send(connection, format!("{VERSION} {answer}\n")),
            Err(why) => out.send(connection, format!("error {why}\n")),
        }
        if was_in && self.user.is_none() {
            out.close(connection);
        }
        // One of no bytes is over at once.
        if let Some(transfer @ Transfer { left: 0, .. }) = self.transfer {
            self.continue_transfer(connection, b"", transfer, out);
        }
    }
}

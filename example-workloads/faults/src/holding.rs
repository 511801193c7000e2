//! A counter that holds the calls of `hold` until a client sends the line `release`.

use guest_sdk::prelude::*;

use crate::{Counter, Taken};

/// The counter, and the calls it holds.
#[derive(Default, Serialize, Deserialize, Schema, State)]
#[state(version = 2)]
pub struct Holding {
    counter: Counter,
    held: Vec<CallId>,
}

impl Workload for Holding {
    fn init(config: &str) -> Result<Self, String> {
        Ok(Self { counter: Workload::init(config)?, held: Vec::new() })
    }

    fn configure(&mut self, config: &str) -> Result<(), String> {
        self.counter.configure(config)
    }

    fn handle(&mut self, event: Event, out: &mut Effects) {
        match event {
            Event::Called { call, method, .. } if method == "hold" => self.held.push(call),
            other => self.counter.handle(other, out),
        }
    }

    fn health(&self) -> Health {
        self.counter.health()
    }
}

impl Holding {
    /// Answers the line `release`, and with it every call that is held.
    pub fn line(&mut self, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        if line != "release" {
            return Taken::No;
        }
        let held = std::mem::take(&mut self.held);
        out.send(connection, format!("1.0.0 released {}\n", held.len()));
        for call in held {
            out.reply(call, "released");
        }
        Taken::Yes
    }
}

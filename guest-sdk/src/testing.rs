//! Runs a workload natively, without a host: events in, effects out, time that a test moves.
//!
//! A [`Kit`] is one workload with its connections and timers. [`Kit::upgrade`] and [`Kit::downgrade`] put a successor or a
//! predecessor in its place the way the host does: by `describe`, `snapshot`, `init` and `code-change`, with the connections
//! open and the timers set, and with the rehearsal's check that a state which is stored, restored and stored again has the
//! same bytes. What it does not do: limits, back-pressure, traps (a panic is the test's).
//!
//! ```
//! use guest_sdk::prelude::*;
//! use guest_sdk::testing::Kit;
//! use std::time::Duration;
//!
//! #[derive(Serialize, Deserialize, Schema, State)]
//! #[state(version = 1)]
//! struct Clock {
//!     ticks: u64,
//! }
//!
//! const TICK: TimerId = TimerId::new(1);
//!
//! impl Workload for Clock {
//!     fn init(_config: &str) -> Result<Self, String> {
//!         Ok(Self { ticks: 0 })
//!     }
//!     fn handle(&mut self, event: Event, out: &mut Effects) {
//!         match event {
//!             Event::Started(_) => out.after(TICK, Duration::from_secs(1)),
//!             Event::Fired { .. } => {
//!                 self.ticks += 1;
//!                 out.after(TICK, Duration::from_secs(1));
//!             }
//!             Event::Received { connection, .. } => out.send(connection, self.ticks.to_string()),
//!             _ => {}
//!         }
//!     }
//! }
//!
//! let mut kit = Kit::<Clock>::start("")?;
//! let ann = kit.open();
//! kit.advance(Duration::from_secs(10));
//! kit.receive(ann, "how late is it?");
//! assert_eq!(kit.take_text(ann), "10");
//! # Ok::<(), String>(())
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::{CallId, CloseReason, ConnectionId, Effect, Event, Health, Instance, Start, TimerId, Timestamp, Workload};

mod swap;
mod world;

pub use swap::Refused;
use world::World;

/// A workload under test, with the connections, timers and calls that a host would hold for it.
///
/// ```
/// # use guest_sdk::prelude::*;
/// # #[derive(Serialize, Deserialize, Schema, State)]
/// # #[state(version = 1)]
/// # struct Echo {}
/// # impl Workload for Echo {
/// #     fn init(_: &str) -> Result<Self, String> { Ok(Self {}) }
/// #     fn handle(&mut self, event: Event, out: &mut Effects) {
/// #         if let Event::Received { connection, data } = event { out.send(connection, data) }
/// #     }
/// # }
/// let mut kit = guest_sdk::testing::Kit::<Echo>::start("")?;
/// let ann = kit.open();
/// let effects = kit.receive(ann, "hello");
/// assert_eq!(effects.len(), 1);
/// assert_eq!(kit.take_text(ann), "hello");
/// # Ok::<(), String>(())
/// ```
pub struct Kit<W> {
    instance: Instance<W>,
    config: String,
    version: String,
    world: World,
}

impl<W> fmt::Debug for Kit<W> {
    /// The workload itself is left out: it need not be `Debug`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kit").field("version", &self.version).field("world", &self.world).finish_non_exhaustive()
    }
}

impl<W: Workload> Kit<W> {
    /// Starts a workload that never ran: `init`, then `started(fresh)`.
    ///
    /// # Errors
    /// The workload's own.
    pub fn start(config: &str) -> Result<Self, String> {
        let mut instance = Instance::new();
        instance.init(config)?;
        let mut kit = Self { instance, config: config.to_owned(), version: "1.0.0".to_owned(), world: World::new() };
        kit.deliver(vec![Event::Started(Start::Fresh)]);
        Ok(kit)
    }

    /// Says under which version the workload was deployed; `1.0.0` unless set. Its successor is told.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// Opens a connection on `tcp://test`.
    pub fn open(&mut self) -> ConnectionId {
        self.open_on("tcp://test")
    }

    /// Opens a connection on a listener.
    pub fn open_on(&mut self, listener: &str) -> ConnectionId {
        let connection = self.world.connect();
        self.deliver(vec![Event::Opened {
            connection,
            listener: listener.to_owned(),
            peer: format!("test:{connection}"),
            protocol: None,
            handshake: None,
        }]);
        connection
    }

    /// Lets a chunk come in, as a batch of its own, and gives its effects.
    pub fn receive(&mut self, connection: ConnectionId, data: impl Into<Vec<u8>>) -> Vec<Effect> {
        self.deliver(vec![Event::Received { connection, data: data.into() }])
    }

    /// Lets the client close its connection.
    pub fn close(&mut self, connection: ConnectionId) -> Vec<Effect> {
        self.close_because(connection, CloseReason::Peer)
    }

    /// Ends a connection for any reason.
    pub fn close_because(&mut self, connection: ConnectionId, reason: CloseReason) -> Vec<Effect> {
        self.world.disconnect(connection);
        self.deliver(vec![Event::Closed { connection, reason }])
    }

    /// Calls a method and gives the reply.
    ///
    /// # Errors
    /// The workload's own, or that it has not replied yet; see [`call_later`](Self::call_later).
    pub fn call(&mut self, method: &str, payload: impl Into<Vec<u8>>) -> Result<Vec<u8>, String> {
        let call = self.call_later(method, payload);
        self.take_reply(call).unwrap_or_else(|| Err(format!("no reply to {method:?} yet")))
    }

    /// Calls a method that replies in a later batch; see [`take_reply`](Self::take_reply).
    pub fn call_later(&mut self, method: &str, payload: impl Into<Vec<u8>>) -> CallId {
        let call = self.world.call();
        self.deliver(vec![Event::Called { call, method: method.to_owned(), payload: payload.into() }]);
        call
    }

    /// The reply to a call, once.
    pub fn take_reply(&mut self, call: CallId) -> Option<Result<Vec<u8>, String>> {
        self.world.replies.remove(&call)
    }

    /// Gives the workload a batch of any events and gives its effects. Closings it asked for follow as `Closed` at once.
    ///
    /// # Panics
    /// Where the workload does.
    pub fn deliver(&mut self, events: Vec<Event>) -> Vec<Effect> {
        let effects = self.instance.handle(self.world.now, events).into_effects();
        let closed = self.world.apply(&effects);
        for connection in closed {
            self.deliver(vec![Event::Closed { connection, reason: CloseReason::Requested }]);
        }
        effects
    }

    /// Lets time pass. Timers that fall due fire in their order, each at its own moment, also those that are set meanwhile.
    pub fn advance(&mut self, duration: Duration) {
        let until = self.world.now + duration;
        while let Some((timer, due)) = self.world.next_timer(until) {
            self.world.now = self.world.now.max(due);
            self.deliver(vec![Event::Fired { timer, due, late: self.world.now.since(due) }]);
        }
        self.world.now = until;
    }

    /// Lets time pass without the workload noticing, as in a swap: timers that fall due meanwhile fire late, at the next
    /// [`advance`](Self::advance) (of zero, say).
    pub fn pause(&mut self, duration: Duration) {
        self.world.now = self.world.now + duration;
    }

    /// The time that the workload sees.
    pub fn now(&self) -> Timestamp {
        self.world.now
    }

    /// What was sent to a connection since this was last asked. A closed connection keeps it.
    pub fn take_sent(&mut self, connection: ConnectionId) -> Vec<u8> {
        self.world.sent.remove(&connection).unwrap_or_default()
    }

    /// The same as text.
    ///
    /// # Panics
    /// It is not UTF-8.
    pub fn take_text(&mut self, connection: ConnectionId) -> String {
        match String::from_utf8(self.take_sent(connection)) {
            Ok(text) => text,
            Err(error) => panic!("connection {connection} was sent what is no text: {error}"),
        }
    }

    /// Whether a connection is open.
    pub fn is_open(&self, connection: ConnectionId) -> bool {
        self.world.open.contains(&connection)
    }

    /// The timers that are set, and when they are due.
    pub fn timers(&self) -> &BTreeMap<TimerId, Timestamp> {
        &self.world.timers
    }

    /// How the workload says it is.
    pub fn health(&self) -> Health {
        self.instance.health()
    }

    /// The state.
    pub fn state(&self) -> &W {
        match self.instance.workload() {
            Some(workload) => workload,
            None => unreachable!("a kit exists only after init"),
        }
    }
}

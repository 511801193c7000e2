//! The trait a workload implements, and its word on how it is.

use crate::{Effects, Event, State};

/// A workload: a [`State`] that handles events.
///
/// The host makes an instance by [`init`](Workload::init), gives it the stored state where there is one, then
/// [`Event::Started`], then everything else.
///
/// ```
/// use guest_sdk::prelude::*;
///
/// #[derive(Serialize, Deserialize, Schema, State)]
/// #[state(version = 1)]
/// struct Echo {}
///
/// impl Workload for Echo {
///     fn init(_config: &str) -> Result<Self, String> {
///         Ok(Self {})
///     }
///     fn handle(&mut self, event: Event, out: &mut Effects) {
///         if let Event::Received { connection, data } = event {
///             out.send(connection, data);
///         }
///     }
/// }
/// # let mut kit = guest_sdk::testing::Kit::<Echo>::start("").unwrap();
/// # let a = kit.open();
/// # kit.receive(a, "x");
/// # assert_eq!(kit.take_sent(a), b"x");
/// ```
pub trait Workload: State {
    /// Makes the state of a workload that never ran. `config` is the text given at deploy, empty if none was.
    ///
    /// It runs before every [`State`] takeover too (the result is then replaced), so it should validate the config and
    /// be cheap; what is costly and belongs only to the first run can wait for [`Event::Started`].
    ///
    /// # Errors
    /// What is wrong with the config. The deploy is then refused with this text, and whatever ran goes on running.
    fn init(config: &str) -> Result<Self, String>;

    /// Derives what comes from the config and is not serialized (fields marked `#[serde(skip)]`). It runs after `init`
    /// and after every takeover of a state, before the first event.
    ///
    /// # Errors
    /// What is wrong with the config.
    fn configure(&mut self, config: &str) -> Result<(), String> {
        let _ = config;
        Ok(())
    }

    /// Handles one event.
    fn handle(&mut self, event: Event, out: &mut Effects);

    /// Handles a batch. The state and the effects take hold together when it returns; when it traps, neither does.
    ///
    /// Only to be written where a batch can be handled better than event by event.
    fn handle_batch(&mut self, events: Vec<Event>, out: &mut Effects) {
        for event in events {
            self.handle(event, out);
        }
    }

    /// How the workload is. After a swap, a health that is [`failed`](Health::failed) makes the host roll back.
    fn health(&self) -> Health {
        Health::ok()
    }

    /// The client protocols it speaks (ALPN names, WebSocket subprotocols), newest first; none if it does not negotiate.
    fn protocols() -> Vec<String> {
        Vec::new()
    }
}

/// How well a workload does.
///
/// ```
/// assert_eq!(guest_sdk::Health::ok().status, guest_sdk::HealthStatus::Ok);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthStatus {
    /// It works.
    Ok,
    /// It works, but somebody should look.
    Degraded,
    /// It does not do its work.
    Failed,
}

/// A workload's own word on how it is, with named details.
///
/// ```
/// use guest_sdk::{Health, HealthStatus};
///
/// let health = Health::degraded("the queue is long").with("queued", 12_000);
/// assert_eq!(health.status, HealthStatus::Degraded);
/// assert_eq!(health.details[1], ("queued".to_owned(), "12000".to_owned()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// How it is.
    pub status: HealthStatus,
    /// Named details, in the workload's order. They should be deterministic: they are part of what is replayed.
    pub details: Vec<(String, String)>,
}

impl Health {
    /// It works.
    pub fn ok() -> Self {
        Self { status: HealthStatus::Ok, details: Vec::new() }
    }

    /// It works, but somebody should look. `why` is the detail `reason`.
    pub fn degraded(why: impl Into<String>) -> Self {
        Self { status: HealthStatus::Degraded, details: vec![("reason".to_owned(), why.into())] }
    }

    /// It does not do its work. `why` is the detail `reason`.
    pub fn failed(why: impl Into<String>) -> Self {
        Self { status: HealthStatus::Failed, details: vec![("reason".to_owned(), why.into())] }
    }

    /// The same with one more detail.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.details.push((name.into(), value.to_string()));
        self
    }
}

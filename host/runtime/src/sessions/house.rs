//! What the sessions of one workload share: who they are, what they are made of, and what is counted of them.

use std::{
    collections::HashMap,
    fmt::Display,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use host_core::{
    id::{ConnectionId, Generation, SwapId, WorkloadName},
    time::Moment,
};
use rustc_hash::FxBuildHasher;
use tokio::sync::mpsc;

use super::{
    ahead::Ahead,
    alarms::Alarms,
    maker::Maker,
    queue::Queue,
    room::{Need, Room},
    round::{Round, Visit},
    session::Session,
    tally::Tally,
    waiting::Waiting,
};
use crate::{
    clock::Clock,
    config::HostConfig,
    events::EventBus,
    net::connection::Connection,
    telemetry::WorkloadMetrics,
    workload::{Body, Shared, checks::Pace},
};

/// Deaths that wait to be told: beyond this they are only counted, for nobody reads so many.
pub(super) const DEATHS_LIMIT: usize = 64;

/// Refusals are told once in this time, with how many there were.
const REFUSALS_TOLD_EVERY: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct House {
    pub(super) name: WorkloadName,
    pub(super) config: Arc<HostConfig>,
    pub(super) clock: Arc<Clock>,
    pub(super) events: EventBus,
    pub(super) metrics: Arc<WorkloadMetrics>,
    pub(super) shared: Arc<Shared>,
    pub(super) room: Arc<Room>,
    /// What one of its sessions begins with.
    need: Need,
    pub(super) maker: Maker,
    pub(super) queue: Queue,
    pub(super) waiting: Waiting,
    pub(super) alarms: Alarms,
    pub(super) tally: Tally,
    /// How long batches take.
    pub(super) pace: Mutex<Pace>,
    table: Mutex<HashMap<ConnectionId, Arc<Session>, FxBuildHasher>>,
    /// That of `current`, to be compared without a lock.
    generation: AtomicU64,
    current: Mutex<Arc<Current>>,
    /// The swap that is being prepared: instances that are born meanwhile have to come along.
    ahead: Mutex<Weak<Ahead>>,
    deaths: mpsc::Sender<Death>,
    refused_told: Mutex<Option<Moment>>,
    warned: AtomicBool,
}

/// What instances are made of now, and how those of the generation before become such.
pub(super) struct Current {
    pub(super) generation: Generation,
    pub(super) body: Body,
    pub(super) passage: Option<Passage>,
}

/// From one generation to the next.
pub(super) enum Passage {
    /// Each instance has a candidate of this swap, which takes its place.
    Ahead {
        swap: SwapId,
        /// The version before.
        from: String,
    },
    /// A swap is undone, each session by itself.
    Back(Arc<Back>),
}

/// The way back from a swap.
pub(super) struct Back {
    /// The generation that is left.
    pub(super) from: Generation,
    /// Its version.
    pub(super) version: String,
    /// The schema in which its state is wanted; none where it can't write the old format, so that only a state which has not
    /// changed since the switch leads back.
    pub(super) schema: Option<u32>,
    /// How long each of its calls may take: whoever waits for the rollback waits for those that don't come to an end, too.
    pub(super) limit: Duration,
    /// Sessions that had to be closed.
    pub(super) closed: AtomicU64,
}

/// An instance failed.
pub(super) struct Death {
    pub(super) session: String,
    pub(super) why: String,
}

/// What a house is made of.
pub(super) struct Plot {
    pub(super) name: WorkloadName,
    pub(super) config: Arc<HostConfig>,
    pub(super) clock: Arc<Clock>,
    pub(super) events: EventBus,
    pub(super) metrics: Arc<WorkloadMetrics>,
    pub(super) shared: Arc<Shared>,
    pub(super) room: Arc<Room>,
    pub(super) maker: Maker,
    pub(super) current: Current,
}

impl House {
    pub(super) fn new(plot: Plot) -> (Arc<Self>, mpsc::Receiver<Death>) {
        let (deaths, told) = mpsc::channel(DEATHS_LIMIT);
        let Plot { name, config, clock, events, metrics, shared, room, maker, current } = plot;
        let house = Self {
            waiting: Waiting::new(config.net.mailbox_bytes),
            name,
            config,
            clock,
            events,
            metrics,
            shared,
            need: room.need(current.body.component.memory_bytes()),
            room,
            maker,
            queue: Queue::new(),
            alarms: Alarms::default(),
            tally: Tally::default(),
            pace: Mutex::default(),
            table: Mutex::default(),
            generation: AtomicU64::new(current.generation.0),
            current: Mutex::new(Arc::new(current)),
            ahead: Mutex::default(),
            deaths,
            refused_told: Mutex::default(),
            warned: AtomicBool::new(false),
        };
        (Arc::new(house), told)
    }

    /// Makes a session of a connection, if there is room. Refused connections are counted and told.
    pub(crate) fn admit(
        self: &Arc<Self>,
        peer: SocketAddr,
        make: impl FnOnce() -> Arc<Connection>,
    ) -> Option<(Arc<Connection>, Arc<Session>)> {
        let Some(permit) = self.room.enter() else {
            let capacity = self.room.capacity();
            self.refused(&peer, || {
                format!(
                    "the host has room for {} instances with a connection each ({}); {}",
                    capacity.sessions,
                    capacity.bound_by.as_str(),
                    capacity.bound_by.remedy(),
                )
            });
            return None;
        };
        let connection = make();
        let session = Session::new(connection.clone(), self.clone(), permit);
        self.table().insert(session.id(), session.clone());
        // In this order: a stop ends those that it finds, and who comes later sees that it has begun.
        if self.waiting.input_closed() {
            session.stop();
        }
        Some((connection, session))
    }

    /// A connection is refused: counted, and told with the reason.
    pub(super) fn refused(&self, peer: &dyn Display, why: impl FnOnce() -> String) {
        let refused = self.tally.refused();
        self.metrics.refused();
        let now = self.clock.moment();
        let mut told = self.refused_told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|told| now.since(told) < REFUSALS_TOLD_EVERY) {
            return;
        }
        *told = Some(now);
        let message = format!("a connection is refused, {refused} so far: {}", why());
        tracing::warn!(workload = %self.name, %peer, "{message}");
        self.events.tell("connection.refused", Some(&self.name), None, message);
    }

    pub(super) fn forget(&self, id: ConnectionId) {
        self.table().remove(&id);
    }

    /// Those there are, in no order.
    pub(super) fn sessions(&self) -> Vec<Arc<Session>> {
        self.table().values().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.table().len()
    }

    pub(super) fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Acquire))
    }

    pub(super) fn current(&self) -> Arc<Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another release is in place. While no session runs.
    pub(super) fn set_current(&self, current: Current) {
        let generation = current.generation.0;
        self.need.becomes(current.body.component.memory_bytes());
        self.warned.store(false, Ordering::Relaxed);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
        self.generation.store(generation, Ordering::Release);
    }

    /// The swap that is being prepared, if one is.
    pub(super) fn ahead(&self) -> Option<Arc<Ahead>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    pub(super) fn set_ahead(&self, ahead: Option<&Arc<Ahead>>) {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = ahead.map(Arc::downgrade).unwrap_or_default();
    }

    /// Begins to visit all sessions while they run.
    pub(super) fn go_round(&self, sessions: Vec<Arc<Session>>, visit: Visit) -> Arc<Round> {
        let round = Round::new(sessions, visit);
        self.queue.go_round(round.clone());
        round
    }

    /// Begins to visit some before all rounds that have begun: somebody waits for their answer.
    pub(super) fn go_round_first(&self, sessions: Vec<Arc<Session>>, visit: Visit) -> Arc<Round> {
        let round = Round::new(sessions, visit);
        self.queue.go_round_first(round.clone());
        round
    }

    /// Begins to note how long batches take anew, and gives what was.
    pub(super) fn begin_pace_anew(&self) -> Pace {
        std::mem::take(&mut self.pace.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn note_batch(&self, took: Duration, handled: usize, effects: usize) {
        self.tally.batch();
        self.metrics.batch(handled as u64, effects as u64, took);
        self.metrics.set_guest_memory(self.tally.memory_bytes());
        let (events, bytes) = self.waiting.depth();
        self.metrics.set_queued(events as u64, bytes as u64);
        // One of many; the median does not miss it.
        if let Ok(mut pace) = self.pace.try_lock() {
            pace.note(took, handled);
        }
    }

    pub(super) fn died(&self, session: &Session, generation: Generation, why: &str) {
        self.tally.failed(generation == self.generation());
        self.metrics.instance_failed();
        let death = Death { session: session.name(), why: why.to_owned() };
        // Nobody could read them any more.
        drop(self.deaths.try_send(death));
    }

    /// Something a person should look at, said once: what ten thousand sessions do, they may all do.
    pub(super) fn warn_once(&self, about: &'static str, warning: impl FnOnce() -> String) {
        if self.warned.swap(true, Ordering::Relaxed) {
            return;
        }
        let warning = warning();
        tracing::warn!(workload = %self.name, "{warning}");
        self.events.tell("workload.degraded", Some(&self.name), None, warning.clone());
        self.shared.live().warnings.insert(about, warning);
    }

    fn table(&self) -> MutexGuard<'_, HashMap<ConnectionId, Arc<Session>, FxBuildHasher>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for House {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("House").field("name", &self.name).finish_non_exhaustive()
    }
}

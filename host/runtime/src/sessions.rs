//! The `per-connection` topology: an instance for each connection, thousands of them, swapped together.
//!
//! ```text
//! connection ─► session ─► queue ─► guest threads ─► instance.handle ─► effects ─► connection
//!                            ▲
//!                        director: gate, candidates, switch
//! ```
//!
//! What it promises:
//! - An instance lives as long as its connection. It is not persisted: a host that starts again has dropped the connections,
//!   and their sessions with them.
//! - An instance that fails closes its connection and no other. One that does not come to an end delays no other.
//! - A swap takes all sessions across or none. Candidates are made and migrated ahead while the old instances serve; the pause
//!   migrates those again that did something since, so it depends on how many are active, not on how many there are.
//! - Beyond what the machine has room for, connections are refused, and the others don't notice.
//!
//! What it costs: a call blocks a thread of its own kind (as many as processors), so a message takes one hop more than in the
//! single topology; and an instance has 64 MiB of memory at most.

mod ahead;
mod alarms;
mod checks;
mod director;
mod house;
mod maker;
mod offer;
mod queue;
mod room;
mod round;
mod session;
mod swap;
mod tally;
mod threads;
mod turn;
mod waiting;

use std::{io, sync::Arc};

use host_core::{
    capacity::{INSTANCES_PER_SESSION, SessionCapacity},
    id::{BatchSeq, Generation, WorkloadName},
    release::Revision,
};
use tokio::sync::mpsc;

use self::{
    director::{Beginning, Director},
    house::{Current, Plot},
    maker::Maker,
};
pub(crate) use self::{
    house::House,
    offer::{Offer, Proposal},
    room::Room,
    swap::{Move, Old},
};
use crate::{
    clock::Clock,
    config::HostConfig,
    engine::{Engine, EngineError},
    events::EventBus,
    ledger::Ledger,
    net::listener::{Bound, Door, Reception},
    telemetry::WorkloadMetrics,
    workload::{Body, CONTROL_LIMIT, Control, Shared},
};

/// Instances besides those of sessions and their candidates: one to try a release out, for each of a few deploys at once.
const SPARE_INSTANCES: u32 = 16;

/// An engine with room for so many sessions, each twice, beside the host's own engine.
///
/// # Errors
/// This machine can't run it.
pub(crate) fn engine(of: &Engine, capacity: SessionCapacity) -> Result<Engine, EngineError> {
    let instances = u32::try_from(capacity.sessions * INSTANCES_PER_SESSION).unwrap_or(u32::MAX);
    of.for_sessions(instances.saturating_add(SPARE_INSTANCES))
}

/// What the rest of the host holds of a workload's sessions.
#[derive(Clone)]
pub(crate) struct Sessions {
    pub(crate) house: Arc<House>,
    pub(crate) offers: mpsc::Sender<Offer>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.house.fmt(f)
    }
}

/// What a workload with sessions is begun with.
pub(crate) struct Foundation {
    pub(crate) name: WorkloadName,
    pub(crate) config: Arc<HostConfig>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) events: EventBus,
    pub(crate) metrics: Arc<WorkloadMetrics>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) ledger: Ledger,
    pub(crate) room: Arc<Room>,
    pub(crate) engine: Engine,
    pub(crate) body: Body,
    pub(crate) generation: Generation,
    pub(crate) predecessor: Option<Revision>,
    /// A swap whose probation goes on.
    pub(crate) active: Option<Move>,
}

/// Begins a workload: its threads, its director, its listeners.
///
/// # Errors
/// The system has no more threads.
pub(crate) fn found(
    foundation: Foundation,
    bound: Vec<Bound>,
    reception: impl FnOnce(Door) -> Reception,
) -> io::Result<(Sessions, mpsc::Sender<Control>)> {
    let Foundation {
        name,
        config,
        clock,
        events,
        metrics,
        shared,
        ledger,
        room,
        engine,
        body,
        generation,
        predecessor,
        active,
    } = foundation;
    let maker = Maker::new(engine, &config.limits, clock.clone());
    let current = Current { generation, body: body.clone(), passage: None };
    let (house, deaths) = House::new(Plot { name, config, clock, events, metrics, shared, room, maker, current });
    let staff = threads::start(&house)?;
    let reception = reception(Door::Each(house.clone()));
    let listeners = bound.into_iter().map(|bound| bound.accept(reception.clone())).collect();
    let (control, commands) = mpsc::channel(CONTROL_LIMIT);
    let (offers, offered) = mpsc::channel(1);
    let beginning = Beginning {
        house: house.clone(),
        ledger,
        reception,
        control: commands,
        offers: offered,
        deaths,
        body,
        generation,
        predecessor,
        listeners,
        active,
        staff,
    };
    tokio::spawn(Director::new(beginning).run());
    Ok((Sessions { house, offers }, control))
}

/// What `host status` shows of sessions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) instances: u64,
    pub(crate) failed: u64,
    pub(crate) refused: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) queued_events: usize,
    pub(crate) queued_bytes: usize,
    pub(crate) timers: u64,
    pub(crate) batches: BatchSeq,
}

impl Sessions {
    pub(crate) fn figures(&self) -> Figures {
        let house = &self.house;
        let (queued_events, queued_bytes) = house.waiting.depth();
        Figures {
            instances: house.tally.instances(),
            failed: house.tally.failures(),
            refused: house.tally.refusals(),
            memory_bytes: house.tally.memory_bytes(),
            queued_events,
            queued_bytes,
            timers: house.alarms.len() as u64,
            batches: house.tally.batches(),
        }
    }
}

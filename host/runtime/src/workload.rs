//! A workload: one actor, its mailbox, and what others may see of it.
//!
//! What is addressed is the workload; which instance answers is the actor's affair. Only the actor touches instances,
//! timers and calls. It listens to its control channel before its mailbox, so that a command never waits behind traffic.

pub(crate) mod actor;
mod calls;
mod checkpoints;
pub(crate) mod checks;
pub(crate) mod comparing;
pub(crate) mod connections;
mod effects;
pub(crate) mod in_call;
mod journal;
mod lane;
mod nursery;
mod rebase;
mod recorded;
mod reinstate;
mod scribe;
mod supervision;
mod suspects;
pub(crate) mod swap;
pub(crate) mod timers;
mod watcher;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use host_core::{
    history::{Check, SwapReport},
    id::{BatchSeq, Generation, SwapId, WorkloadName},
    release::Revision,
    status::{CheckpointStatus, HealthReport, RunState, SwapStatus, WorkloadStatus},
    swap::PhaseName,
    time::{Moment, UnixNanos},
};
use semver::Version;
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::{
    actor::answer,
    journal::{Entry, Journal, JournalCopy},
    lane::Lane,
    nursery::{Base, Body, Nursery, seed},
    recorded::Recorded,
    scribe::Scribe,
    supervision::passed_over,
    swap::{Active, Candidate, Offer, Old, Ticket, overtaken},
    watcher::{Watched, Watching},
};
use crate::{
    checkpoint::Checkpoint,
    clock::Clock,
    instance::GuestState,
    mailbox::Mailbox,
    sessions::{Figures, Sessions},
    telemetry::WorkloadMetrics,
};

/// Commands that wait for an actor: more than the host ever sends at once.
pub(crate) const CONTROL_LIMIT: usize = 32;

/// What the host tells an actor. Answered over the channel each carries; an actor that is gone drops it.
#[derive(Debug)]
pub(crate) enum Control {
    /// Take this candidate over the pause, if it is still on offer.
    Swap(Offer),
    /// A swap comes: do now what need not be done in its pause.
    Brace { braced: oneshot::Sender<()> },
    /// Reinstate the predecessor of the swap on probation.
    RollBack { why: String, allow_loss: bool, taken: oneshot::Sender<bool>, done: oneshot::Sender<SwapReport> },
    /// End the probation for good; none when there is none.
    Commit { done: oneshot::Sender<Option<SwapReport>> },
    /// A copy of the live state, for a rehearsal, within this time.
    Copy { schema: u32, limit: std::time::Duration, copy: oneshot::Sender<Result<Copy, String>> },
    /// The journal and the state, for a replay beside the live instance.
    Witness { witness: oneshot::Sender<Result<Witness, String>> },
    /// A copy of the live state, and from then on each batch with its effects.
    Watch { schema: u32, limit: std::time::Duration, watching: oneshot::Sender<Result<Watching, String>> },
    /// How it is.
    Health { report: oneshot::Sender<HealthReport> },
    /// The smoke check, now.
    Verify { checks: oneshot::Sender<Vec<Check>> },
    /// The open connections, oldest first.
    Connections { ids: oneshot::Sender<Vec<u64>> },
    /// End these connections, once what they sent is answered.
    Drain { ids: Vec<u64> },
    /// Make an instance again after the workload failed.
    Revive { revived: oneshot::Sender<Result<(), String>> },
    /// Handle what has come in, checkpoint, close the connections, end.
    Stop { stopped: oneshot::Sender<Result<(), String>> },
}

/// What a replay begins with and what it has to come to.
#[derive(Debug)]
pub(crate) struct Witness {
    pub(crate) body: Body,
    pub(crate) journal: JournalCopy,
    /// The live state after the last call of the journal, asked for at this time.
    pub(crate) state: Result<GuestState, String>,
    pub(crate) now: UnixNanos,
}

/// The live state, copied.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) checkpoint: Checkpoint,
    /// How long the workload stood still for it.
    pub(crate) took: std::time::Duration,
    /// The longest of the last batches: what a quiesce may have to wait for.
    pub(crate) longest_batch: std::time::Duration,
}

/// What the rest of the host holds of a workload.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) name: WorkloadName,
    pub(crate) control: mpsc::Sender<Control>,
    pub(crate) inlet: Inlet,
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: Arc<WorkloadMetrics>,
}

/// Where what is asked of a workload goes in.
#[derive(Clone, Debug)]
pub(crate) enum Inlet {
    /// The mailbox of its one instance.
    Mailbox(Arc<Mailbox>),
    /// An instance for each connection.
    Sessions(Sessions),
}

impl From<Sessions> for Inlet {
    fn from(sessions: Sessions) -> Self {
        Self::Sessions(sessions)
    }
}

/// What an actor lets others see.
#[derive(Debug)]
pub(crate) struct Shared {
    live: Mutex<Live>,
    timers: AtomicU64,
    calls: AtomicU64,
    batches: AtomicU64,
}

/// How a workload stands. Changed by its actor alone, and rarely.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) revision: Revision,
    pub(crate) generation: Generation,
    pub(crate) predecessor: Option<Revision>,
    pub(crate) run_state: RunState,
    pub(crate) restarts: u64,
    pub(crate) checkpoint: Option<CheckpointStatus>,
    pub(crate) swap: Option<LiveSwap>,
    /// By what they are about, so that one that is over can be taken back.
    pub(crate) warnings: BTreeMap<&'static str, String>,
}

/// A swap under way.
#[derive(Clone, Debug)]
pub(crate) struct LiveSwap {
    pub(crate) id: SwapId,
    pub(crate) phase: PhaseName,
    pub(crate) from: Version,
    pub(crate) to: Version,
    pub(crate) until: Option<Moment>,
}

impl Shared {
    pub(crate) fn new(live: Live) -> Self {
        Self { live: Mutex::new(live), timers: AtomicU64::new(0), calls: AtomicU64::new(0), batches: AtomicU64::new(0) }
    }

    /// How it stands. Held for a look or a small change only.
    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Batches handled.
    pub(crate) fn batches(&self) -> BatchSeq {
        BatchSeq(self.batches.load(Ordering::Relaxed))
    }

    pub(crate) fn count(&self, timers: usize, calls: usize, batches: BatchSeq) {
        self.timers.store(timers as u64, Ordering::Relaxed);
        self.calls.store(calls as u64, Ordering::Relaxed);
        self.batches.store(batches.0, Ordering::Relaxed);
    }
}

impl Workload {
    /// Its sessions, if each connection has an instance.
    pub(crate) fn sessions(&self) -> Option<&Sessions> {
        match &self.inlet {
            Inlet::Mailbox(_) => None,
            Inlet::Sessions(sessions) => Some(sessions),
        }
    }

    /// The mailbox, if all connections share an instance.
    pub(crate) fn mailbox(&self) -> Option<&Mailbox> {
        match &self.inlet {
            Inlet::Mailbox(mailbox) => Some(mailbox),
            Inlet::Sessions(_) => None,
        }
    }

    /// For `host status`.
    pub(crate) fn status(&self, clock: &Clock) -> WorkloadStatus {
        let live = self.shared.live().clone();
        let counts = self.metrics.counts();
        let figures = match &self.inlet {
            Inlet::Mailbox(mailbox) => {
                let (queued_events, queued_bytes) = mailbox.depth();
                Figures {
                    instances: u64::from(live.run_state == RunState::Running),
                    failed: 0,
                    refused: 0,
                    memory_bytes: counts.guest_memory_bytes,
                    queued_events,
                    queued_bytes,
                    timers: self.shared.timers.load(Ordering::Relaxed),
                    batches: self.shared.batches(),
                }
            }
            Inlet::Sessions(sessions) => sessions.figures(),
        };
        let release = live.revision.release;
        WorkloadStatus {
            name: self.name.clone(),
            instances: figures.instances,
            run_state: live.run_state,
            version: release.version,
            digest: release.digest,
            format: release.description.writes,
            generation: live.generation,
            listeners: live.revision.listeners,
            topology: live.revision.topology,
            restarts: live.restarts,
            connections: counts.connections,
            queued_events: figures.queued_events as u64,
            queued_bytes: figures.queued_bytes as u64,
            timers: figures.timers,
            calls: self.shared.calls.load(Ordering::Relaxed),
            batches: figures.batches,
            events: counts.events,
            unknown_ids: counts.unknown_ids,
            slow_closed: counts.slow_closed,
            instances_failed: figures.failed,
            refused: figures.refused,
            guest_memory_bytes: figures.memory_bytes,
            set_aside: counts.set_aside,
            journal_bytes: counts.journal_bytes,
            checkpoint: live.checkpoint,
            swap: live.swap.map(|swap| SwapStatus {
                id: swap.id,
                phase: swap.phase,
                from: swap.from,
                to: swap.to,
                remaining: swap.until.map(|until| until.since(clock.moment())),
            }),
            warnings: live.warnings.into_values().collect(),
        }
    }
}

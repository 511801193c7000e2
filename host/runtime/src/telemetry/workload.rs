//! What is counted for one workload.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use host_core::{
    history::{SwapKind, SwapReport},
    id::Generation,
    swap::PhaseName,
};
use host_telemetry::DurationHistogram;

use crate::bindings::types;

/// Why a connection ended, as the label `reason` has it. The cases are those of the guest's `close-reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed it.
    Peer,
    /// The network failed.
    Error,
    /// The client did not take its answers.
    TooSlow,
    /// The workload asked for it.
    Requested,
    /// The operator drained it.
    Drained,
    /// The host started again; the connection was never open in this process.
    HostRestarted,
    /// Its event made the instance fail.
    SetAside,
    /// A limit of the host was reached.
    Limit,
}

impl CloseReason {
    /// All of them, in the guest interface's order.
    pub const ALL: [Self; 8] = [
        Self::Peer,
        Self::Error,
        Self::TooSlow,
        Self::Requested,
        Self::Drained,
        Self::HostRestarted,
        Self::SetAside,
        Self::Limit,
    ];

    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Error => "error",
            Self::TooSlow => "too-slow",
            Self::Requested => "requested",
            Self::Drained => "drained",
            Self::HostRestarted => "host-restarted",
            Self::SetAside => "set-aside",
            Self::Limit => "limit",
        }
    }
}

impl From<types::CloseReason> for CloseReason {
    fn from(reason: types::CloseReason) -> Self {
        match reason {
            types::CloseReason::Peer => Self::Peer,
            types::CloseReason::Error => Self::Error,
            types::CloseReason::TooSlow => Self::TooSlow,
            types::CloseReason::Requested => Self::Requested,
            types::CloseReason::Drained => Self::Drained,
            types::CloseReason::HostRestarted => Self::HostRestarted,
            types::CloseReason::SetAside => Self::SetAside,
            types::CloseReason::Limit => Self::Limit,
        }
    }
}

/// Where machine code came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeSource {
    /// It was compiled.
    Compiled,
    /// The cache had it.
    Cache,
}

/// What was counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of `handle`.
    pub batches: u64,
    /// Events in them.
    pub events: u64,
    /// Effects that came back.
    pub effects: u64,
    /// Effects on ids that the workload does not hold.
    pub unknown_ids: u64,
    /// Connections open now.
    pub connections: u64,
    /// Connections closed because their client did not take its answers.
    pub slow_closed: u64,
    /// Instances replaced.
    pub restarts: u64,
    /// Events waiting.
    pub queued_events: u64,
    /// Bytes in them.
    pub queued_bytes: u64,
    /// The guest's memory.
    pub guest_memory_bytes: u64,
    /// Events that were set aside.
    pub set_aside: u64,
    /// Kept for a replay.
    pub journal_bytes: u64,
}

/// The places to count for one workload.
///
/// Every method but [`swap_ended`](Self::swap_ended) is a few relaxed atomic operations and may be called from any task.
/// All begins at zero when the host starts.
#[derive(Debug, Default)]
pub struct WorkloadMetrics {
    pub(super) connections: AtomicU64,
    pub(super) connections_opened: AtomicU64,
    pub(super) connections_closed: [AtomicU64; CloseReason::ALL.len()],
    pub(super) received_bytes: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) events: AtomicU64,
    pub(super) effects: AtomicU64,
    pub(super) unknown_ids: AtomicU64,
    pub(super) handle: DurationHistogram,
    pub(super) queued_events: AtomicU64,
    pub(super) queued_bytes: AtomicU64,
    pub(super) guest_memory_bytes: AtomicU64,
    pub(super) restarts: AtomicU64,
    pub(super) events_lost: AtomicU64,
    pub(super) instances_failed: AtomicU64,
    pub(super) connections_refused: AtomicU64,
    pub(super) set_aside: AtomicU64,
    pub(super) journal_bytes: AtomicU64,
    pub(super) checkpoints_written: AtomicU64,
    pub(super) checkpoints_failed: AtomicU64,
    pub(super) checkpoint: DurationHistogram,
    pub(super) checkpoint_state_bytes: AtomicU64,
    pub(super) compiled: DurationHistogram,
    pub(super) compiled_before: DurationHistogram,
    pub(super) generation: AtomicU64,
    pub(super) swap_pause: DurationHistogram,
    pub(super) swap_phases: [DurationHistogram; PhaseName::ALL.len()],
    pub(super) swap_state_bytes: AtomicU64,
    /// By kind and outcome. A lock is fine here: a swap takes it once, at its end.
    pub(super) swaps: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
}

impl WorkloadMetrics {
    /// A connection was accepted.
    pub fn connection_opened(&self) {
        add(&self.connections_opened, 1);
        add(&self.connections, 1);
    }

    /// A connection ended.
    pub fn connection_closed(&self, reason: CloseReason) {
        if let Some(count) = self.connections_closed.get(reason as usize) {
            add(count, 1);
        }
        // Those of an earlier boot are reported to the guest but were never open here.
        if reason != CloseReason::HostRestarted {
            self.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Bytes were read from a client.
    pub fn received(&self, bytes: u64) {
        add(&self.received_bytes, bytes);
    }

    /// Bytes were queued for a client.
    pub fn sent(&self, bytes: u64) {
        add(&self.sent_bytes, bytes);
    }

    /// A call of `handle` returned.
    pub fn batch(&self, events: u64, effects: u64, took: Duration) {
        add(&self.batches, 1);
        add(&self.events, events);
        add(&self.effects, effects);
        self.handle.record(took);
    }

    /// Effects named ids that the workload does not hold.
    pub fn unknown_ids(&self, count: u64) {
        add(&self.unknown_ids, count);
    }

    /// Events and bytes were queued for the instance.
    pub fn queued(&self, events: u64, bytes: u64) {
        add(&self.queued_events, events);
        add(&self.queued_bytes, bytes);
    }

    /// Events and bytes left the queue.
    pub fn unqueued(&self, events: u64, bytes: u64) {
        self.queued_events.fetch_sub(events, Ordering::Relaxed);
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// How much waits, for a queue that counts by itself.
    pub fn set_queued(&self, events: u64, bytes: u64) {
        self.queued_events.store(events, Ordering::Relaxed);
        self.queued_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The guest's memory.
    pub fn set_guest_memory(&self, bytes: u64) {
        self.guest_memory_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The generation that runs.
    pub fn set_generation(&self, generation: Generation) {
        self.generation.store(generation.0, Ordering::Relaxed);
    }

    /// An instance failed and was replaced.
    pub fn restarted(&self) {
        add(&self.restarts, 1);
    }

    /// An instance with a connection of its own failed, and closed it.
    pub fn instance_failed(&self) {
        add(&self.instances_failed, 1);
    }

    /// A connection was refused, since there was no room for another instance.
    pub fn refused(&self) {
        add(&self.connections_refused, 1);
    }

    /// The state lost the effect of this many events. Swaps count theirs through [`swap_ended`](Self::swap_ended).
    pub fn events_lost(&self, events: u64) {
        add(&self.events_lost, events);
    }

    /// An event made the instance fail and was dropped.
    pub fn set_aside(&self) {
        add(&self.set_aside, 1);
    }

    /// How much is kept for a replay.
    pub fn set_journal(&self, bytes: u64) {
        self.journal_bytes.store(bytes, Ordering::Relaxed);
    }

    /// A checkpoint is durable.
    pub fn checkpoint_written(&self, state_bytes: u64, took: Duration) {
        add(&self.checkpoints_written, 1);
        self.checkpoint_state_bytes.store(state_bytes, Ordering::Relaxed);
        self.checkpoint.record(took);
    }

    /// A checkpoint could not be made.
    pub fn checkpoint_failed(&self) {
        add(&self.checkpoints_failed, 1);
    }

    /// A component's machine code is there.
    pub fn code_ready(&self, source: CodeSource, took: Duration) {
        match source {
            CodeSource::Compiled => self.compiled.record(took),
            CodeSource::Cache => self.compiled_before.record(took),
        }
    }

    /// A deploy, rollback, rehearsal or recovery ended: counts it, its phases, its pause, its state and its cost.
    pub fn swap_ended(&self, report: &SwapReport) {
        let key = (kind(report.kind), report.verdict.as_str());
        *self.swaps.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += 1;
        for time in &report.phases {
            if let Some(histogram) = self.swap_phases.get(phase_index(time.phase)) {
                histogram.record(time.took);
            }
        }
        if let Some(pause) = report.pause {
            self.swap_pause.record(pause);
        }
        if let Some(state) = report.state {
            self.swap_state_bytes.store(state.bytes, Ordering::Relaxed);
        }
        if let Some(cost) = &report.cost {
            add(&self.events_lost, cost.events);
        }
        self.set_generation(report.generation);
    }

    /// What was counted so far, for `host status`.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let slow = self.connections_closed.get(CloseReason::TooSlow as usize);
        Counts {
            batches: read(&self.batches),
            events: read(&self.events),
            effects: read(&self.effects),
            unknown_ids: read(&self.unknown_ids),
            connections: read(&self.connections),
            slow_closed: slow.map_or(0, read),
            restarts: read(&self.restarts),
            queued_events: read(&self.queued_events),
            queued_bytes: read(&self.queued_bytes),
            guest_memory_bytes: read(&self.guest_memory_bytes),
            set_aside: read(&self.set_aside),
            journal_bytes: read(&self.journal_bytes),
        }
    }
}

pub(super) fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

/// The label `kind` of a swap.
pub(super) const fn kind(kind: SwapKind) -> &'static str {
    match kind {
        SwapKind::Start => "start",
        SwapKind::Deploy => "deploy",
        SwapKind::Rollback => "rollback",
        SwapKind::Rehearsal => "rehearsal",
        SwapKind::Replay => "replay",
        SwapKind::Recovery => "recovery",
        SwapKind::Operation => "operation",
    }
}

/// The phase's place in [`PhaseName::ALL`].
fn phase_index(phase: PhaseName) -> usize {
    PhaseName::ALL.iter().position(|other| *other == phase).unwrap_or_default()
}

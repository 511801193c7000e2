//! The one table of names.
//!
//! A metric's full name is the prefix, its name and its unit, joined by `_`; counters end in `_total` besides.

pub use host_telemetry::{Metric, PREFIX, Unit};
use host_telemetry::{counter, duration, gauge};

/// Names of spans. A swap's children bear the names of [`host_core::swap::PhaseName`].
pub mod span {
    /// A swap, from its preparation to its end. Fields: `workload`, `from`, `to`, `swap.id`, `swap.kind`, `outcome`, `why`,
    /// `pause_us`, `state_bytes`.
    pub const SWAP: &str = "swap";
    /// Making machine code of a component. Fields: `workload`, `digest`.
    pub const COMPILE: &str = "compile";
    /// Writing a checkpoint. Fields: `workload`, `batch`.
    pub const CHECKPOINT: &str = "checkpoint";
    /// Replacing an instance that failed. Fields: `workload`, `why`.
    pub const RESTART: &str = "restart";

    /// Phase: store, verify, compile, describe, plan, pre-flight, candidate made and initialised.
    pub const PREPARE: &str = "prepare";
    /// Phase: waiting for the running batch to end.
    pub const QUIESCE: &str = "quiesce";
    /// Phase: `snapshot` on the old instance.
    pub const SNAPSHOT: &str = "snapshot";
    /// Phase: `code-change` on the candidate.
    pub const CODE_CHANGE: &str = "code-change";
    /// Phase: the candidate takes its place.
    pub const SWITCH: &str = "switch";
    /// Phase: checkpoint and switch record become durable.
    pub const RECORD: &str = "record";
    /// Phase: the smoke check.
    pub const VERIFY: &str = "verify";
    /// Phase: the predecessor is kept.
    pub const PROBATION: &str = "probation";
    /// Phase: the old instance is made anew.
    pub const REBUILD: &str = "rebuild";
    /// Phase: the predecessor is reinstated.
    pub const ROLL_BACK: &str = "roll-back";
}

/// Connections that can be open at once on this host. The only metric without a workload.
pub const CONNECTION_CAPACITY: Metric =
    gauge("connection_capacity", "Connections that can be open at once on this host", Unit::None);

/// Deploys, rollbacks, rehearsals and restarts by the word they ended with.
pub const SWAPS: Metric = counter("swaps", "Deploys, rollbacks and rehearsals that ended", &["kind", "outcome"]);
/// Length of each phase of a swap.
pub const SWAP_PHASE: Metric = duration("swap_phase", "Length of a phase of a swap", &["phase"]);
/// From the batch boundary to the moment a release served again.
pub const SWAP_PAUSE: Metric = duration("swap_pause", "Pause of a swap, the host's own figure", &[]);
/// State carried by the last swap.
pub const SWAP_STATE: Metric = gauge("swap_state", "State that the last swap carried", Unit::Bytes);
/// Raised by each switch.
pub const GENERATION: Metric = gauge("generation", "Generation that runs, raised by each switch", Unit::None);

/// Connections open now.
pub const CONNECTIONS: Metric = gauge("connections", "Connections open now", Unit::None);
/// Connections accepted.
pub const CONNECTIONS_OPENED: Metric = counter("connections_opened", "Connections accepted", &[]);
/// Connections that ended, by reason; `too-slow` counts clients that did not take their answers.
pub const CONNECTIONS_CLOSED: Metric = counter("connections_closed", "Connections that ended", &["reason"]);
/// Bytes read from clients.
pub const RECEIVED: Metric =
    Metric { unit: Unit::Bytes, ..counter("received", "Bytes read from clients and given to the workload", &[]) };
/// Bytes queued for clients.
pub const SENT: Metric =
    Metric { unit: Unit::Bytes, ..counter("sent", "Bytes that the workload sent to clients", &[]) };

/// Calls of `handle`.
pub const BATCHES: Metric = counter("batches", "Batches handled", &[]);
/// Events given to the workload.
pub const EVENTS: Metric = counter("events", "Events handled", &[]);
/// Effects taken from the workload.
pub const EFFECTS: Metric = counter("effects", "Effects applied", &[]);
/// Effects on ids that the workload does not hold.
pub const UNKNOWN_IDS: Metric = counter("unknown_ids", "Effects on ids that the workload does not hold", &[]);
/// Length of a call of `handle`.
pub const HANDLE: Metric = duration("handle", "Length of a call of handle", &[]);
/// Events waiting.
pub const QUEUED_EVENTS: Metric = gauge("queued_events", "Events waiting for the instance", Unit::None);
/// Bytes in them.
pub const QUEUED: Metric = gauge("queued", "Bytes in the events waiting for the instance", Unit::Bytes);
/// Guest memory.
pub const GUEST_MEMORY: Metric = gauge("guest_memory", "Linear memory of the running instance", Unit::Bytes);

/// Instances replaced after a failure.
pub const RESTARTS: Metric = counter("restarts", "Instances replaced after they failed", &[]);
/// Instances that failed and took their connection with them.
pub const INSTANCES_FAILED: Metric =
    counter("instances_failed", "Instances with a connection of their own that failed and closed it", &[]);
/// Connections that there was no room for.
pub const CONNECTIONS_REFUSED: Metric =
    counter("connections_refused", "Connections refused, since there was no room for another instance", &[]);
/// Events whose effect on the state a restart or a rollback lost.
pub const EVENTS_LOST: Metric =
    counter("events_lost", "Events whose effect on the state was lost by a restart or a rollback", &[]);
/// Events that made an instance fail and were dropped.
pub const SET_ASIDE: Metric = counter("set_aside", "Events that made the instance fail and were set aside", &[]);
/// Calls kept for a replay.
pub const JOURNAL: Metric = gauge("journal", "Calls since the last base, kept for a replay", Unit::Bytes);
/// Checkpoints on disk.
pub const CHECKPOINTS: Metric = counter("checkpoints", "Checkpoints attempted", &["result"]);
/// Time to make one durable.
pub const CHECKPOINT: Metric = duration("checkpoint", "Time to make a checkpoint durable", &[]);
/// Guest state in the last one.
pub const CHECKPOINT_STATE: Metric = gauge("checkpoint_state", "Guest state in the last checkpoint", Unit::Bytes);
/// Time to get machine code, compiled or from the cache.
pub const COMPILE: Metric = duration("compile", "Time to get a component's machine code", &["source"]);

/// All of them, in the order of a scrape.
pub const ALL: &[Metric] = &[
    CONNECTION_CAPACITY,
    SWAPS,
    SWAP_PHASE,
    SWAP_PAUSE,
    SWAP_STATE,
    GENERATION,
    CONNECTIONS,
    CONNECTIONS_OPENED,
    CONNECTIONS_CLOSED,
    RECEIVED,
    SENT,
    BATCHES,
    EVENTS,
    EFFECTS,
    UNKNOWN_IDS,
    HANDLE,
    QUEUED_EVENTS,
    QUEUED,
    GUEST_MEMORY,
    RESTARTS,
    INSTANCES_FAILED,
    CONNECTIONS_REFUSED,
    EVENTS_LOST,
    SET_ASIDE,
    JOURNAL,
    CHECKPOINTS,
    CHECKPOINT,
    CHECKPOINT_STATE,
    COMPILE,
];

//! How a host and its workloads are.

use std::time::Duration;

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::{
    capacity::SessionCapacity,
    id::{BatchSeq, Digest, Generation, SwapId, WorkloadName},
    release::{ListenAddress, Revision, StateFormat, Topology},
    swap::PhaseName,
    time::UnixNanos,
};

/// A host, as `host status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// The host's own version.
    pub host_version: String,
    /// Its process.
    pub pid: u32,
    /// How long it has been up.
    pub uptime: Duration,
    /// How often a host has started in this data directory.
    pub boot: u32,
    /// Resident memory of the process.
    pub memory_bytes: u64,
    /// Free space where the data directory is.
    pub free_disk_bytes: u64,
    /// Connections that can be open at once, from the open-file limit at start.
    pub connection_capacity: u64,
    /// Sessions (instances with a connection each) that can be there at once, from what the machine gave at the start.
    pub session_capacity: SessionCapacity,
    /// Sessions there are, of all workloads.
    pub sessions: u64,
    /// Its workloads, by name.
    pub workloads: Vec<WorkloadStatus>,
}

/// A workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadStatus {
    /// Its name.
    pub name: WorkloadName,
    /// Whether it runs.
    pub run_state: RunState,
    /// The release in place.
    pub version: Version,
    /// Its digest.
    pub digest: Digest,
    /// The format of its state.
    pub format: StateFormat,
    /// Raised by each switch.
    pub generation: Generation,
    /// Where clients reach it.
    pub listeners: Vec<ListenAddress>,
    /// How many instances serve it.
    pub topology: Topology,
    /// Instances that serve.
    pub instances: u64,
    /// Restarts since the release was put in place.
    pub restarts: u64,
    /// Open connections.
    pub connections: u64,
    /// Events waiting for the instance.
    pub queued_events: u64,
    /// Bytes in those events.
    pub queued_bytes: u64,
    /// Timers set.
    pub timers: u64,
    /// Calls waiting for a reply.
    pub calls: u64,
    /// Batches handled.
    pub batches: BatchSeq,
    /// Events handled since the host started.
    pub events: u64,
    /// Effects on ids that the workload does not hold.
    pub unknown_ids: u64,
    /// Connections closed because their client did not take its answers.
    pub slow_closed: u64,
    /// Instances with a connection of their own that failed and took it with them.
    pub instances_failed: u64,
    /// Connections refused because the host had no room for another instance.
    pub refused: u64,
    /// Memory of the guest.
    pub guest_memory_bytes: u64,
    /// Events that made the instance fail and were set aside, since the host started.
    pub set_aside: u64,
    /// Calls kept for a replay, in bytes.
    pub journal_bytes: u64,
    /// The last checkpoint.
    pub checkpoint: Option<CheckpointStatus>,
    /// The swap that is not over.
    pub swap: Option<SwapStatus>,
    /// What makes its health degraded, as the host sees it.
    pub warnings: Vec<String>,
}

impl WorkloadStatus {
    /// Of a workload that has no actor: nothing moves.
    #[must_use]
    pub fn idle(name: WorkloadName, generation: Generation, revision: Revision, run_state: RunState) -> Self {
        Self {
            name,
            run_state,
            version: revision.release.version,
            digest: revision.release.digest,
            format: revision.release.description.writes,
            generation,
            listeners: revision.listeners,
            topology: revision.topology,
            instances: 0,
            restarts: 0,
            connections: 0,
            queued_events: 0,
            queued_bytes: 0,
            timers: 0,
            calls: 0,
            batches: BatchSeq(0),
            events: 0,
            unknown_ids: 0,
            slow_closed: 0,
            instances_failed: 0,
            refused: 0,
            guest_memory_bytes: 0,
            set_aside: 0,
            journal_bytes: 0,
            checkpoint: None,
            swap: None,
            warnings: Vec::new(),
        }
    }
}

/// Whether a workload runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum RunState {
    /// It serves.
    Running,
    /// A person stopped it; its state is kept.
    Stopped,
    /// It failed too often, or no way led back. Its connections are parked.
    Failed {
        /// Why.
        why: String,
    },
}

impl RunState {
    /// One word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Failed { .. } => "failed",
        }
    }
}

/// A checkpoint on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointStatus {
    /// When it was made.
    pub at: UnixNanos,
    /// The batch it stands after.
    pub batches: BatchSeq,
    /// Bytes of guest state in it.
    pub state_bytes: u64,
}

/// A swap under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapStatus {
    /// Which.
    pub id: SwapId,
    /// Where it stands.
    pub phase: PhaseName,
    /// The version before.
    pub from: Version,
    /// The version wanted.
    pub to: Version,
    /// What remains of the probation.
    pub remaining: Option<Duration>,
}

/// A version that is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionStatus {
    /// The label.
    pub version: Version,
    /// The bytes.
    pub digest: Digest,
    /// What it writes.
    pub format: StateFormat,
    /// Size of the component.
    pub size_bytes: u64,
    /// When it was stored.
    pub stored: UnixNanos,
    /// Where it stands.
    pub place: Place,
}

/// Where a stored version stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// It runs.
    Current,
    /// It ran before; `host rollback` goes there.
    Predecessor,
    /// It is only stored.
    Stored,
}

/// How healthy something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthStatus {
    /// Well.
    Ok,
    /// Somebody should look.
    Degraded,
    /// It does not do its work.
    Failed,
}

impl HealthStatus {
    /// One word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        }
    }
}

/// A workload's health: its own word and what the host sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// The workload.
    pub workload: WorkloadName,
    /// The worse of the two.
    pub status: HealthStatus,
    /// Named details, the workload's own first.
    pub details: Vec<(String, String)>,
}

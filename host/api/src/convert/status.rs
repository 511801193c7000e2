//! How a host and its workloads are.

use std::time::Duration;

use host_core::{
    capacity::{Bound, SessionCapacity},
    id::{BatchSeq, Generation, SwapId},
    release::ListenAddress,
    status::{
        CheckpointStatus, HealthReport, HealthStatus, HostStatus, Place, RunState, SwapStatus, VersionStatus,
        WorkloadStatus,
    },
    time::UnixNanos,
};

use super::{Invalid, digest, each, enumeration, nanos, optional, report, request, text, version, wanted};
use crate::pb;

enumeration!(read_place, write_place, pb::Place, Place, { Current, Predecessor, Stored });
enumeration!(read_bound, write_bound, pb::SessionBound, Bound, { MapCount, OpenFiles, Pool, GuestMemory, Option });
enumeration!(read_health, write_health, pb::HealthStatus, HealthStatus, { Ok, Degraded, Failed });

impl From<HostStatus> for pb::HostStatus {
    fn from(status: HostStatus) -> Self {
        Self {
            host_version: status.host_version,
            pid: status.pid,
            uptime_ns: nanos(status.uptime),
            boot: status.boot,
            memory_bytes: status.memory_bytes,
            free_disk_bytes: status.free_disk_bytes,
            connection_capacity: status.connection_capacity,
            workloads: status.workloads.into_iter().map(Into::into).collect(),
            session_capacity: status.session_capacity.sessions,
            session_bound: write_bound(status.session_capacity.bound_by),
            sessions: status.sessions,
        }
    }
}

impl TryFrom<pb::HostStatus> for HostStatus {
    type Error = Invalid;

    fn try_from(raw: pb::HostStatus) -> Result<Self, Invalid> {
        Ok(Self {
            host_version: raw.host_version,
            pid: raw.pid,
            uptime: Duration::from_nanos(raw.uptime_ns),
            boot: raw.boot,
            memory_bytes: raw.memory_bytes,
            free_disk_bytes: raw.free_disk_bytes,
            connection_capacity: raw.connection_capacity,
            workloads: each("workloads", raw.workloads)?,
            session_capacity: SessionCapacity {
                sessions: raw.session_capacity,
                bound_by: read_bound("session_bound", raw.session_bound)?,
            },
            sessions: raw.sessions,
        })
    }
}

impl From<WorkloadStatus> for pb::WorkloadStatus {
    fn from(status: WorkloadStatus) -> Self {
        Self {
            name: status.name.into(),
            run_state: Some(status.run_state.into()),
            version: status.version.to_string(),
            digest: status.digest.to_string(),
            format: Some(status.format.into()),
            generation: status.generation.0,
            listeners: status.listeners.iter().map(ListenAddress::to_string).collect(),
            instances: status.instances,
            restarts: status.restarts,
            connections: status.connections,
            queued_events: status.queued_events,
            queued_bytes: status.queued_bytes,
            timers: status.timers,
            calls: status.calls,
            batches: status.batches.0,
            events: status.events,
            unknown_ids: status.unknown_ids,
            slow_closed: status.slow_closed,
            guest_memory_bytes: status.guest_memory_bytes,
            set_aside: status.set_aside,
            journal_bytes: status.journal_bytes,
            checkpoint: status.checkpoint.map(Into::into),
            swap: status.swap.map(Into::into),
            warnings: status.warnings,
            topology: request::write_topology(status.topology),
            instances_failed: status.instances_failed,
            refused: status.refused,
        }
    }
}

impl TryFrom<pb::WorkloadStatus> for WorkloadStatus {
    type Error = Invalid;

    fn try_from(raw: pb::WorkloadStatus) -> Result<Self, Invalid> {
        Ok(Self {
            name: text("name", &raw.name)?,
            run_state: wanted("run_state", raw.run_state)?,
            version: version("version", &raw.version)?,
            digest: digest("digest", &raw.digest)?,
            format: wanted("format", raw.format)?,
            generation: Generation(raw.generation),
            listeners: raw.listeners.iter().map(|listener| text("listeners", listener)).collect::<Result<_, _>>()?,
            instances: raw.instances,
            restarts: raw.restarts,
            connections: raw.connections,
            queued_events: raw.queued_events,
            queued_bytes: raw.queued_bytes,
            timers: raw.timers,
            calls: raw.calls,
            batches: BatchSeq(raw.batches),
            events: raw.events,
            unknown_ids: raw.unknown_ids,
            slow_closed: raw.slow_closed,
            guest_memory_bytes: raw.guest_memory_bytes,
            set_aside: raw.set_aside,
            journal_bytes: raw.journal_bytes,
            checkpoint: optional("checkpoint", raw.checkpoint)?,
            swap: optional("swap", raw.swap)?,
            warnings: raw.warnings,
            topology: request::read_topology("topology", raw.topology)?,
            instances_failed: raw.instances_failed,
            refused: raw.refused,
        })
    }
}

impl From<RunState> for pb::RunState {
    fn from(state: RunState) -> Self {
        let (kind, why) = match state {
            RunState::Running => (pb::RunStateKind::Running, String::new()),
            RunState::Stopped => (pb::RunStateKind::Stopped, String::new()),
            RunState::Failed { why } => (pb::RunStateKind::Failed, why),
        };
        Self { kind: kind.into(), why }
    }
}

impl TryFrom<pb::RunState> for RunState {
    type Error = Invalid;

    fn try_from(raw: pb::RunState) -> Result<Self, Invalid> {
        match pb::RunStateKind::try_from(raw.kind) {
            Ok(pb::RunStateKind::Running) => Ok(Self::Running),
            Ok(pb::RunStateKind::Stopped) => Ok(Self::Stopped),
            Ok(pb::RunStateKind::Failed) => Ok(Self::Failed { why: raw.why }),
            Ok(pb::RunStateKind::Unspecified) => Err(Invalid::missing("kind")),
            Err(error) => Err(Invalid::new("kind", error)),
        }
    }
}

impl From<CheckpointStatus> for pb::CheckpointStatus {
    fn from(status: CheckpointStatus) -> Self {
        Self { at_unix_ns: status.at.0, batches: status.batches.0, state_bytes: status.state_bytes }
    }
}

impl TryFrom<pb::CheckpointStatus> for CheckpointStatus {
    type Error = Invalid;

    fn try_from(raw: pb::CheckpointStatus) -> Result<Self, Invalid> {
        Ok(Self { at: UnixNanos(raw.at_unix_ns), batches: BatchSeq(raw.batches), state_bytes: raw.state_bytes })
    }
}

impl From<SwapStatus> for pb::SwapStatus {
    fn from(status: SwapStatus) -> Self {
        Self {
            id: status.id.0,
            phase: report::write_phase(status.phase),
            from: status.from.to_string(),
            to: status.to.to_string(),
            remaining_ns: status.remaining.map(nanos),
        }
    }
}

impl TryFrom<pb::SwapStatus> for SwapStatus {
    type Error = Invalid;

    fn try_from(raw: pb::SwapStatus) -> Result<Self, Invalid> {
        Ok(Self {
            id: SwapId(raw.id),
            phase: report::read_phase("phase", raw.phase)?,
            from: version("from", &raw.from)?,
            to: version("to", &raw.to)?,
            remaining: raw.remaining_ns.map(Duration::from_nanos),
        })
    }
}

impl From<VersionStatus> for pb::VersionStatus {
    fn from(status: VersionStatus) -> Self {
        Self {
            version: status.version.to_string(),
            digest: status.digest.to_string(),
            format: Some(status.format.into()),
            size_bytes: status.size_bytes,
            stored_unix_ns: status.stored.0,
            place: write_place(status.place),
        }
    }
}

impl TryFrom<pb::VersionStatus> for VersionStatus {
    type Error = Invalid;

    fn try_from(raw: pb::VersionStatus) -> Result<Self, Invalid> {
        Ok(Self {
            version: version("version", &raw.version)?,
            digest: digest("digest", &raw.digest)?,
            format: wanted("format", raw.format)?,
            size_bytes: raw.size_bytes,
            stored: UnixNanos(raw.stored_unix_ns),
            place: read_place("place", raw.place)?,
        })
    }
}

impl From<HealthReport> for pb::HealthReport {
    fn from(report: HealthReport) -> Self {
        Self {
            workload: report.workload.into(),
            status: write_health(report.status),
            details: report.details.into_iter().map(|(name, value)| pb::HealthDetail { name, value }).collect(),
        }
    }
}

impl TryFrom<pb::HealthReport> for HealthReport {
    type Error = Invalid;

    fn try_from(raw: pb::HealthReport) -> Result<Self, Invalid> {
        Ok(Self {
            workload: text("workload", &raw.workload)?,
            status: read_health("status", raw.status)?,
            details: raw.details.into_iter().map(|detail| (detail.name, detail.value)).collect(),
        })
    }
}

//! Status, versions, health, events.

use std::path::Path;

use host_core::{
    event::HostEvent,
    id::WorkloadName,
    release::ListenAddress,
    status::{HealthReport, HealthStatus, HostStatus, Place, RunState, VersionStatus, WorkloadStatus},
};
use serde::Serialize;

use super::{ns, report::Format};
use crate::render::units::rfc3339;

#[derive(Serialize)]
pub(in crate::render) struct HostDocument<'a> {
    host: Host<'a>,
    workloads: Vec<Workload<'a>>,
}

#[derive(Serialize)]
struct Host<'a> {
    version: &'a str,
    pid: u32,
    /// None of a host elsewhere: where its data is concerns nobody here.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Path>,
    uptime_ns: u64,
    boot: u32,
    memory_bytes: u64,
    free_disk_bytes: u64,
    connection_capacity: u64,
    session_capacity: u64,
    session_bound: &'static str,
    sessions: u64,
}

#[derive(Serialize)]
pub(in crate::render) struct WorkloadDocument<'a> {
    workload: Workload<'a>,
}

#[derive(Serialize)]
struct Workload<'a> {
    name: &'a str,
    state: &'static str,
    why: Option<&'a str>,
    version: String,
    digest: String,
    format: Format,
    generation: u64,
    listeners: Vec<String>,
    topology: &'static str,
    instances: u64,
    restarts: u64,
    connections: u64,
    queued_events: u64,
    queued_bytes: u64,
    timers: u64,
    calls: u64,
    batches: u64,
    events: u64,
    unknown_ids: u64,
    slow_closed: u64,
    instances_failed: u64,
    refused: u64,
    guest_memory_bytes: u64,
    set_aside: u64,
    journal_bytes: u64,
    checkpoint: Option<Checkpoint>,
    swap: Option<Swap>,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct Checkpoint {
    at: String,
    batches: u64,
    state_bytes: u64,
}

#[derive(Serialize)]
struct Swap {
    swap: u64,
    phase: &'static str,
    from: String,
    to: String,
    remaining_ns: Option<u64>,
}

pub(in crate::render) fn host<'a>(status: &'a HostStatus, data: &'a Path) -> HostDocument<'a> {
    document(status, Some(data))
}

/// A host that is not asked itself: its coordinator tells what it last said.
pub(in crate::render) fn elsewhere(status: &HostStatus) -> HostDocument<'_> {
    document(status, None)
}

fn document<'a>(status: &'a HostStatus, data: Option<&'a Path>) -> HostDocument<'a> {
    HostDocument {
        host: Host {
            version: &status.host_version,
            pid: status.pid,
            data,
            uptime_ns: ns(status.uptime),
            boot: status.boot,
            memory_bytes: status.memory_bytes,
            free_disk_bytes: status.free_disk_bytes,
            connection_capacity: status.connection_capacity,
            session_capacity: status.session_capacity.sessions,
            session_bound: status.session_capacity.bound_by.as_str(),
            sessions: status.sessions,
        },
        workloads: status.workloads.iter().map(Workload::of).collect(),
    }
}

pub(in crate::render) fn one(status: &WorkloadStatus) -> WorkloadDocument<'_> {
    WorkloadDocument { workload: Workload::of(status) }
}

impl<'a> Workload<'a> {
    fn of(status: &'a WorkloadStatus) -> Self {
        Self {
            name: status.name.as_str(),
            state: status.run_state.as_str(),
            why: match &status.run_state {
                RunState::Failed { why } => Some(why),
                RunState::Running | RunState::Stopped => None,
            },
            version: status.version.to_string(),
            digest: status.digest.to_string(),
            format: Format::of(status.format),
            generation: status.generation.0,
            listeners: status.listeners.iter().map(ListenAddress::to_string).collect(),
            topology: status.topology.as_str(),
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
            instances_failed: status.instances_failed,
            refused: status.refused,
            guest_memory_bytes: status.guest_memory_bytes,
            set_aside: status.set_aside,
            journal_bytes: status.journal_bytes,
            checkpoint: status.checkpoint.map(|checkpoint| Checkpoint {
                at: rfc3339(checkpoint.at),
                batches: checkpoint.batches.0,
                state_bytes: checkpoint.state_bytes,
            }),
            swap: status.swap.as_ref().map(|swap| Swap {
                swap: swap.id.0,
                phase: swap.phase.as_str(),
                from: swap.from.to_string(),
                to: swap.to.to_string(),
                remaining_ns: swap.remaining.map(ns),
            }),
            warnings: &status.warnings,
        }
    }
}

#[derive(Serialize)]
pub(in crate::render) struct VersionsDocument<'a> {
    workload: &'a str,
    versions: Vec<Version>,
}

#[derive(Serialize)]
struct Version {
    version: String,
    digest: String,
    format: Format,
    size_bytes: u64,
    stored: String,
    place: Place,
}

pub(in crate::render) fn versions<'a>(workload: &'a WorkloadName, versions: &[VersionStatus]) -> VersionsDocument<'a> {
    let version = |status: &VersionStatus| Version {
        version: status.version.to_string(),
        digest: status.digest.to_string(),
        format: Format::of(status.format),
        size_bytes: status.size_bytes,
        stored: rfc3339(status.stored),
        place: status.place,
    };
    VersionsDocument { workload: workload.as_str(), versions: versions.iter().map(version).collect() }
}

#[derive(Serialize)]
pub(in crate::render) struct HealthDocument<'a> {
    workloads: Vec<Health<'a>>,
}

#[derive(Serialize)]
struct Health<'a> {
    name: &'a str,
    status: HealthStatus,
    details: Vec<Detail<'a>>,
}

#[derive(Serialize)]
struct Detail<'a> {
    name: &'a str,
    value: &'a str,
}

pub(in crate::render) fn health(reports: &[HealthReport]) -> HealthDocument<'_> {
    HealthDocument { workloads: reports.iter().map(Health::of).collect() }
}

impl<'a> Health<'a> {
    fn of(report: &'a HealthReport) -> Self {
        Self {
            name: report.workload.as_str(),
            status: report.status,
            details: report.details.iter().map(|(name, value)| Detail { name, value }).collect(),
        }
    }
}

#[derive(Serialize)]
pub(in crate::render) struct Event<'a> {
    seq: u64,
    at: String,
    name: &'a str,
    workload: Option<&'a str>,
    swap: Option<u64>,
    message: &'a str,
}

pub(in crate::render) fn event(event: &HostEvent) -> Event<'_> {
    Event {
        seq: event.seq,
        at: rfc3339(event.at),
        name: &event.name,
        workload: event.workload.as_ref().map(WorkloadName::as_str),
        swap: event.swap.map(|swap| swap.0),
        message: &event.message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{examples, json};

    #[test]
    fn a_status_has_the_shape_that_the_docs_show() {
        let status = examples::host_status();
        let text = json::pretty(host(&status, Path::new("/d")));
        let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            document,
            serde_json::json!({
                "schema_version": 1,
                "host": {
                    "version": "0.1.0", "pid": 4711, "data": "/d", "uptime_ns": 125_000_000_000_u64, "boot": 2,
                    "memory_bytes": 34 << 20, "free_disk_bytes": 12_u64 << 30, "connection_capacity": 9500,
                    "session_capacity": 9500, "session_bound": "open-files", "sessions": 0
                },
                "workloads": [{
                    "name": "counter", "state": "running", "why": null, "version": "1.1.0", "digest": "07".repeat(32),
                    "format": { "schema": 2, "fingerprint": "ffffffffffffffff" }, "generation": 2,
                    "listeners": ["tcp://127.0.0.1:7000"], "instances": 1, "restarts": 0, "connections": 500,
                    "queued_events": 0, "queued_bytes": 0, "timers": 1, "calls": 0, "batches": 350, "events": 12345,
                    "unknown_ids": 0, "slow_closed": 0, "topology": "single", "instances_failed": 0, "refused": 0, "guest_memory_bytes": 1 << 20,
                    "set_aside": 0, "journal_bytes": 4096,
                    "checkpoint": { "at": "2023-11-14T22:13:20Z", "batches": 300, "state_bytes": 1536 },
                    "swap": {
                        "swap": 3, "phase": "probation", "from": "1.0.0", "to": "1.1.0",
                        "remaining_ns": 7_000_000_000_u64
                    },
                    "warnings": ["its snapshot fails"]
                }]
            })
        );
    }

    #[test]
    fn an_event_is_one_line() {
        let line = json::compact(event(&examples::event()));
        assert_eq!(
            line,
            r#"{"schema_version":1,"seq":7,"at":"2023-11-14T22:13:20Z","name":"swap.phase","workload":"counter","swap":3,"message":"quiesce"}"#
        );
    }
}

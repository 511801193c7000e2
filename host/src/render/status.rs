//! A host and its workloads in words.

use std::path::Path;

use host_core::{
    release::{ListenAddress, Topology},
    status::{HostStatus, RunState, SwapStatus, WorkloadStatus},
};
use jiff::Timestamp;

use super::{
    lists::{fields, table},
    units::{ago, bytes, counted, length, long},
};

/// What a host says that has nothing to do.
pub(super) const NO_WORKLOADS: &str =
    "no workloads yet; deploy one with `host deploy FILE --version 1.0.0 --listen tcp://127.0.0.1:7000`";

/// A host and its workloads.
pub(super) fn host(status: &HostStatus, data: &Path, now: Timestamp) -> String {
    let mut text = format!(
        "host {} · pid {} · up {} · start {} · memory {} · free disk {} · up to {} connections, {} with an instance each ({}) · {}\n\n",
        status.host_version,
        status.pid,
        long(status.uptime.as_secs()),
        status.boot,
        bytes(status.memory_bytes),
        bytes(status.free_disk_bytes),
        status.connection_capacity,
        status.session_capacity.sessions,
        status.session_capacity.bound_by.as_str(),
        data.display()
    );
    if status.workloads.is_empty() {
        text.push_str(NO_WORKLOADS);
        return text;
    }
    text.push_str(&table(
        ["NAME", "STATE", "VERSION", "GENERATION", "CONNECTIONS", "QUEUED", "RESTARTS", "CHECKPOINT", "LISTENS ON"],
        status.workloads.iter().map(|workload| row(workload, now)),
    ));
    for workload in &status.workloads {
        let remarks = remarks(workload).into_iter().map(|(_, remark)| format!("\n{}: {remark}", workload.name));
        text.extend(remarks);
    }
    text
}

fn row(workload: &WorkloadStatus, now: Timestamp) -> [String; 9] {
    [
        workload.name.to_string(),
        workload.run_state.as_str().to_owned(),
        workload.version.to_string(),
        workload.generation.to_string(),
        workload.connections.to_string(),
        workload.queued_events.to_string(),
        workload.restarts.to_string(),
        match workload.checkpoint {
            Some(checkpoint) => ago(checkpoint.at, now),
            None if workload.topology == Topology::PerConnection => "not kept".to_owned(),
            None => "none".to_owned(),
        },
        listeners(workload),
    ]
}

fn listeners(workload: &WorkloadStatus) -> String {
    let texts: Vec<String> = workload.listeners.iter().map(ListenAddress::to_string).collect();
    texts.join(", ")
}

/// What a person should see first.
fn remarks(workload: &WorkloadStatus) -> Vec<(&'static str, String)> {
    let mut remarks = Vec::new();
    match &workload.run_state {
        RunState::Running => {}
        RunState::Stopped => {
            remarks.push(("stopped", format!("stopped by hand; `host start {}` starts it", workload.name)));
        }
        RunState::Failed { why } => {
            remarks.push(("failed", format!("failed: {why}; `host start {}` tries again", workload.name)));
        }
    }
    remarks.extend(workload.swap.as_ref().map(|swap| ("swap", swap_line(swap))));
    remarks.extend(workload.warnings.iter().map(|warning| ("warning", format!("warning: {warning}"))));
    remarks
}

fn swap_line(swap: &SwapStatus) -> String {
    let remaining = swap.remaining.map_or_else(String::new, |left| format!(", {} to go", length(left)));
    format!("swap {} from {} to {}: {}{remaining}", swap.id, swap.from, swap.to, swap.phase.as_str())
}

/// One workload, closely.
pub(super) fn workload(status: &WorkloadStatus, now: Timestamp) -> String {
    let checkpoint = status.checkpoint.map_or_else(
        || "none".to_owned(),
        |checkpoint| {
            let (at, size) = (ago(checkpoint.at, now), bytes(checkpoint.state_bytes));
            format!("{at}, after batch {} of {}, {size} of state", checkpoint.batches, status.batches)
        },
    );
    let mut rows = vec![
        ("release", format!("{} ({}), {}", status.version, status.digest.short(), status.format)),
        ("generation", status.generation.to_string()),
        ("listens on", listeners(status)),
        ("instances", instances(status)),
        ("connections", connections(status)),
        ("queued", format!("{} events, {}", status.queued_events, bytes(status.queued_bytes))),
        ("handled", format!("{} events since the host started, {} batches in all", status.events, status.batches)),
        ("waiting", format!("{} timers, {} calls", status.timers, status.calls)),
    ];
    if status.topology == Topology::Single {
        rows.push(("checkpoint", checkpoint));
        rows.push(("journal", format!("{} to replay, should it fail", bytes(status.journal_bytes))));
    }
    if status.set_aside > 0 {
        let what = "made it fail and were set aside, with their connections";
        rows.push(("set aside", format!("{} that {what}", counted(status.set_aside, "event", "events"))));
    }
    if status.unknown_ids > 0 {
        rows.push(("unknown ids", format!("{} effects named what the workload does not hold", status.unknown_ids)));
    }
    rows.extend(remarks(status));
    format!("{}: {}\n{}", status.name, status.run_state.as_str(), fields(&rows))
}

fn instances(status: &WorkloadStatus) -> String {
    let memory = bytes(status.guest_memory_bytes);
    match status.topology {
        Topology::Single => format!("{}, {} restarts, {memory} of memory", status.instances, status.restarts),
        Topology::PerConnection => format!(
            "{}, one for each connection, {} failed, {memory} of memory; they end with their connections",
            status.instances, status.instances_failed
        ),
    }
}

fn connections(status: &WorkloadStatus) -> String {
    let refused = if status.refused == 0 { String::new() } else { format!(", {} refused", status.refused) };
    format!("{}, {} closed as too slow{refused}", status.connections, status.slow_closed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::examples;

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_004).expect("a moment")
    }

    #[test]
    fn a_host_is_a_line_and_a_table() {
        assert_eq!(
            host(&examples::host_status(), Path::new("/d"), now()),
            "host 0.1.0 · pid 4711 · up 2 min 5 s · start 2 · memory 34 MiB · free disk 12 GiB · up to 9500 connections, 9500 with an instance each (open-files) · /d\n\
             \n\
             NAME     STATE    VERSION  GENERATION  CONNECTIONS  QUEUED  RESTARTS  CHECKPOINT  LISTENS ON\n\
             counter  running  1.1.0    2           500          0       0         4 s ago     tcp://127.0.0.1:7000\n\
             \n\
             counter: swap 3 from 1.0.0 to 1.1.0: probation, 7.00 s to go\n\
             counter: warning: its snapshot fails"
        );
    }

    #[test]
    fn a_host_without_workloads_says_how_to_deploy_one() {
        let empty = HostStatus { workloads: vec![], ..examples::host_status() };
        assert!(host(&empty, Path::new("/d"), now()).contains("no workloads yet; deploy one with `host deploy"));
    }

    #[test]
    fn a_workload_with_an_instance_for_each_connection_says_so() {
        let mut status = examples::host_status().workloads.remove(0);
        (status.topology, status.instances, status.instances_failed) = (Topology::PerConnection, 498, 2);
        (status.checkpoint, status.refused) = (None, 7);
        let text = workload(&status, now());
        for wanted in ["498, one for each connection, 2 failed", "500, 0 closed as too slow, 7 refused"] {
            assert!(text.contains(wanted), "`{wanted}` is missing:\n{text}");
        }
        assert!(!text.contains("checkpoint"), "{text}");
    }

    #[test]
    fn a_workload_that_failed_says_why_and_how_to_start_it() {
        let mut status = examples::host_status().workloads.remove(0);
        status.run_state = RunState::Failed { why: "it trapped".to_owned() };
        status.checkpoint = None;
        status.unknown_ids = 3;
        let text = workload(&status, now());
        for wanted in
            ["counter: failed\n", "it trapped; `host start counter` tries again", "checkpoint  none", "3 effects"]
        {
            assert!(text.contains(wanted), "`{wanted}` is missing:\n{text}");
        }
    }
}

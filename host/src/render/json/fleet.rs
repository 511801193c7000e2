//! A fleet's documents: what a coordinator answers, in the units that all our documents have.
//!
//! What travels between the coordinator and this program is theirs, and may change with both; what programs read is this.

use host_core::{
    fleet::{Assignment, Busy, Convergence, HostInventory, Recent, Running, WorkloadInventory},
    history::ConnectionCount,
    id::{Digest, HostId, WorkloadName},
    label::Labels,
    plan::WayBack,
    rollout::{Advice, Counts, HostSummary, Next, StateName, Summary, Verdict, Waiting, Why, command},
    status::RunState,
    time::UnixNanos,
};
use host_fleet::{
    operator::{Difference, FleetStatus, HostView, Placement, RolloutView, Told},
    store::{AuditEntry, FleetEvent, ReleaseRecord},
};
use semver::Version;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

use super::{ns, status};
use crate::render::units::rfc3339;

/// A coordinator's answer.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(in crate::render) enum Answer<'a> {
    Status { fleet: Fleet<'a> },
    Hosts { hosts: Vec<Host<'a>> },
    Where { assignment: Option<&'a Assignment>, hosts: &'a [Placement] },
    Rollout { rollout: Box<Rollout<'a>> },
    Plan { lines: &'a [String] },
    History { rollouts: Vec<Rollout<'a>> },
    Versions { releases: Vec<Release<'a>>, stable: Option<&'a Version> },
    Declared { workloads: &'a [Difference], others: &'a [WorkloadName], applied: bool },
    Token { token: &'a str, expires: String },
    AuditLog { entries: Vec<Entry<'a>>, verified: Option<&'a Result<(u64, Digest), String>> },
    Done { message: &'a str },
}

pub(in crate::render) fn answer(told: &Told) -> Answer<'_> {
    match told {
        Told::Status { fleet } => Answer::Status { fleet: Fleet::of(fleet) },
        Told::Hosts { hosts } => Answer::Hosts { hosts: hosts.iter().map(Host::of).collect() },
        Told::Where { assignment, hosts } => Answer::Where { assignment: assignment.as_deref(), hosts },
        Told::Rollout { rollout } => Answer::Rollout { rollout: Box::new(Rollout::of(rollout)) },
        Told::Plan { lines } => Answer::Plan { lines },
        Told::History { rollouts } => Answer::History { rollouts: rollouts.iter().map(Rollout::of).collect() },
        Told::Versions { releases, stable } => {
            Answer::Versions { releases: releases.iter().map(Release::of).collect(), stable: stable.as_ref() }
        }
        Told::Declared { workloads, others, applied } => Answer::Declared { workloads, others, applied: *applied },
        Told::Token { token, expires } => Answer::Token { token, expires: rfc3339(*expires) },
        Told::AuditLog { entries, verified } => {
            Answer::AuditLog { entries: entries.iter().map(Entry::of).collect(), verified: verified.as_ref() }
        }
        Told::Done { message } => Answer::Done { message },
    }
}

#[derive(Serialize)]
pub(in crate::render) struct Fleet<'a> {
    epoch: u64,
    since: String,
    hosts: usize,
    connected: usize,
    assignments: &'a [Assignment],
    rollouts: Vec<Rollout<'a>>,
}

impl<'a> Fleet<'a> {
    fn of(fleet: &'a FleetStatus) -> Self {
        Self {
            epoch: fleet.epoch.0,
            since: rfc3339(fleet.since),
            hosts: fleet.hosts,
            connected: fleet.connected,
            assignments: &fleet.assignments,
            rollouts: fleet.rollouts.iter().map(Rollout::of).collect(),
        }
    }
}

#[derive(Serialize)]
pub(in crate::render) struct Host<'a> {
    name: &'a HostId,
    labels: &'a Labels,
    connected: bool,
    since: Option<String>,
    inventory: Option<Inventory<'a>>,
    /// As `host status` has it.
    status: Option<status::HostDocument<'a>>,
    convergence: &'a [(WorkloadName, Convergence)],
    troubles: &'a [String],
}

impl<'a> Host<'a> {
    fn of(host: &'a HostView) -> Self {
        Self {
            name: &host.name,
            labels: &host.labels,
            connected: host.connected,
            since: host.since.map(rfc3339),
            inventory: host.inventory.as_ref().map(Inventory::of),
            status: host.status.as_deref().map(status::elsewhere),
            convergence: &host.convergence,
            troubles: &host.troubles,
        }
    }
}

#[derive(Serialize)]
struct Inventory<'a> {
    workloads: BTreeMap<&'a WorkloadName, Workload<'a>>,
}

impl<'a> Inventory<'a> {
    fn of(inventory: &'a HostInventory) -> Self {
        Self { workloads: inventory.workloads.iter().map(|(name, here)| (name, Workload::of(here))).collect() }
    }
}

#[derive(Serialize)]
struct Workload<'a> {
    running: Option<&'a Running>,
    run_state: Option<&'a RunState>,
    held: bool,
    busy: Option<Busy>,
    detached: bool,
    recent: Vec<Outcome<'a>>,
}

impl<'a> Workload<'a> {
    fn of(here: &'a WorkloadInventory) -> Self {
        Self {
            running: here.running.as_ref(),
            run_state: here.run_state.as_ref(),
            held: here.held,
            busy: here.busy,
            detached: here.detached,
            recent: here.recent.iter().map(Outcome::of).collect(),
        }
    }
}

#[derive(Serialize)]
struct Outcome<'a> {
    command: u64,
    epoch: u64,
    outcome: &'static str,
    why: Option<&'a str>,
    measured: Option<Measured>,
}

impl<'a> Outcome<'a> {
    fn of(recent: &'a Recent) -> Self {
        let measured = match &recent.outcome {
            command::Outcome::Switched { measured, .. } => Some(Measured::of(*measured)),
            _ => None,
        };
        Self {
            command: recent.command.0,
            epoch: recent.epoch.0,
            outcome: recent.outcome.as_str(),
            why: recent.outcome.why(),
            measured,
        }
    }
}

#[derive(Serialize)]
struct Measured {
    pause_ns: Option<u64>,
    took_ns: u64,
    connections: Option<ConnectionCount>,
}

impl Measured {
    fn of(measured: command::Measured) -> Self {
        Self { pause_ns: measured.pause.map(ns), took_ns: ns(measured.took), connections: measured.connections }
    }
}

/// A rollout.
#[derive(Serialize)]
pub(in crate::render) struct Rollout<'a> {
    id: u64,
    workload: &'a WorkloadName,
    version: &'a Version,
    by: &'a str,
    began: String,
    ended: Option<String>,
    took_ns: Option<u64>,
    plan: &'a [String],
    summary: SummaryView<'a>,
    why: WhyView<'a>,
    owed: &'a BTreeSet<HostId>,
    /// The trace's number; none where it is not traced.
    trace: Option<String>,
}

impl<'a> Rollout<'a> {
    pub(in crate::render) fn of(rollout: &'a RolloutView) -> Self {
        Self {
            id: rollout.id.0,
            workload: &rollout.workload,
            version: &rollout.version,
            by: &rollout.by,
            began: rfc3339(rollout.began),
            ended: rollout.ended.map(rfc3339),
            took_ns: took(rollout.began, rollout.ended),
            plan: &rollout.plan,
            summary: SummaryView::of(&rollout.summary),
            why: WhyView::of(&rollout.why),
            owed: &rollout.owed,
            trace: rollout.trace.map(|context| context.trace.to_string()),
        }
    }
}

fn took(began: UnixNanos, ended: Option<UnixNanos>) -> Option<u64> {
    ended.map(|ended| ns(ended.since(began)))
}

#[derive(Serialize)]
struct SummaryView<'a> {
    rollout: u64,
    workload: &'a WorkloadName,
    to: &'a Version,
    state: StateName,
    verdict: Verdict,
    why: Option<&'a str>,
    counts: Counts,
    began: String,
    ended: Option<String>,
    took_ns: Option<u64>,
    hosts: Vec<HostResult<'a>>,
}

impl<'a> SummaryView<'a> {
    fn of(summary: &'a Summary) -> Self {
        Self {
            rollout: summary.rollout.0,
            workload: &summary.workload,
            to: &summary.to,
            state: summary.state,
            verdict: summary.verdict,
            why: summary.why.as_deref(),
            counts: summary.counts,
            began: rfc3339(summary.began),
            ended: summary.ended.map(rfc3339),
            took_ns: took(summary.began, summary.ended),
            hosts: summary.hosts.iter().map(HostResult::of).collect(),
        }
    }
}

#[derive(Serialize)]
struct HostResult<'a> {
    host: &'a HostId,
    wave: Option<usize>,
    from: Option<&'a Version>,
    state: &'a str,
    why: Option<&'a str>,
    connected: Option<bool>,
    generation: Option<u64>,
    way_back: Option<WayBack>,
    measured: Option<Measured>,
    owed: Option<&'a str>,
    notes: &'a [String],
}

impl<'a> HostResult<'a> {
    fn of(host: &'a HostSummary) -> Self {
        Self {
            host: &host.host,
            wave: host.wave,
            from: host.from.as_ref(),
            state: &host.state,
            why: host.why.as_deref(),
            connected: host.connected,
            generation: host.generation.map(|generation| generation.0),
            way_back: host.way_back,
            measured: host.measured.map(Measured::of),
            owed: host.owed.as_deref(),
            notes: &host.notes,
        }
    }
}

/// What a rollout waits for.
#[derive(Serialize)]
pub(in crate::render) struct WhyView<'a> {
    rollout: u64,
    workload: &'a WorkloadName,
    state: StateName,
    since: String,
    now: String,
    because: Option<&'a str>,
    waiting_for: Vec<WaitingView<'a>>,
    next: Option<NextView<'a>>,
    advice: &'a [Advice],
}

#[derive(Serialize)]
struct WaitingView<'a> {
    host: Option<&'a HostId>,
    what: &'a str,
    since: String,
    until: Option<String>,
}

#[derive(Serialize)]
struct NextView<'a> {
    what: &'a str,
    at: Option<String>,
}

impl<'a> WhyView<'a> {
    pub(in crate::render) fn of(why: &'a Why) -> Self {
        let waiting = |waiting: &'a Waiting| WaitingView {
            host: waiting.host.as_ref(),
            what: &waiting.what,
            since: rfc3339(waiting.since),
            until: waiting.until.map(rfc3339),
        };
        Self {
            rollout: why.rollout.0,
            workload: &why.workload,
            state: why.state,
            since: rfc3339(why.since),
            now: rfc3339(why.now),
            because: why.because.as_deref(),
            waiting_for: why.waiting_for.iter().map(waiting).collect(),
            next: why.next.as_ref().map(|Next { what, at }| NextView { what, at: at.map(rfc3339) }),
            advice: &why.advice,
        }
    }
}

#[derive(Serialize)]
pub(in crate::render) struct Release<'a> {
    workload: &'a WorkloadName,
    version: &'a Version,
    digest: Digest,
    size_bytes: Option<u64>,
    from: Option<&'a str>,
    published: String,
}

impl<'a> Release<'a> {
    fn of(release: &'a ReleaseRecord) -> Self {
        Self {
            workload: &release.workload,
            version: &release.version,
            digest: release.digest,
            size_bytes: release.size_bytes,
            from: release.from.as_deref(),
            published: rfc3339(release.published),
        }
    }
}

#[derive(Serialize)]
pub(in crate::render) struct Entry<'a> {
    seq: u64,
    at: String,
    who: &'a str,
    what: &'a str,
    target: &'a str,
    result: &'a str,
    hash: Digest,
}

impl<'a> Entry<'a> {
    fn of(entry: &'a AuditEntry) -> Self {
        Self {
            seq: entry.seq,
            at: rfc3339(entry.at),
            who: &entry.who,
            what: &entry.what,
            target: &entry.target,
            result: &entry.result,
            hash: entry.hash,
        }
    }
}

#[derive(Serialize)]
pub(in crate::render) struct Event<'a> {
    seq: u64,
    at: String,
    name: &'a str,
    workload: Option<&'a WorkloadName>,
    rollout: Option<u64>,
    host: Option<&'a HostId>,
    message: &'a str,
}

pub(in crate::render) fn event(event: &FleetEvent) -> Event<'_> {
    Event {
        seq: event.seq,
        at: rfc3339(event.at),
        name: &event.name,
        workload: event.workload.as_ref(),
        rollout: event.rollout.map(|rollout| rollout.0),
        host: event.host.as_ref(),
        message: &event.message,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use host_core::{
        id::{Epoch, Generation, RolloutId},
        rollout::{Rollout as Machine, request::RolloutRequest},
    };
    use serde_json::Value;

    use super::*;
    use crate::render::{examples, json};

    const BEGAN: UnixNanos = UnixNanos(1_700_000_000_000_000_000);

    /// What serde makes of a duration by itself.
    fn has_raw_durations(value: &Value) -> bool {
        match value {
            Value::Object(fields) => {
                (fields.contains_key("secs") && fields.contains_key("nanos")) || fields.values().any(has_raw_durations)
            }
            Value::Array(values) => values.iter().any(has_raw_durations),
            _ => false,
        }
    }

    fn read(told: &Told) -> Value {
        serde_json::from_str(&json::pretty(answer(told))).expect("JSON")
    }

    fn rollout() -> RolloutView {
        let target = host_core::fleet::FleetRevision {
            id: host_core::id::RevisionId(1),
            workload: "counter".parse().expect("a name"),
            version: Version::new(1, 1, 0),
            digest: Digest::new([7; 32]),
            listeners: Vec::new(),
            config: String::new(),
            topology: host_core::release::Topology::Single,
        };
        let machine = Machine::new(RolloutId(3), RolloutRequest::new(target, "op"), Epoch(1), BEGAN);
        let mut summary = machine.summary();
        summary.ended = Some(BEGAN.after(Duration::from_millis(1500)));
        summary.hosts.push(HostSummary {
            host: "h1".parse().expect("a name"),
            wave: Some(1),
            from: Some(Version::new(1, 0, 0)),
            state: "committed".to_owned(),
            why: None,
            connected: Some(true),
            generation: Some(Generation(2)),
            way_back: Some(WayBack::Downgrade),
            measured: Some(command::Measured {
                pause: Some(Duration::from_micros(180)),
                connections: Some(ConnectionCount { before: 5, kept: 5 }),
                took: Duration::from_millis(40),
            }),
            owed: None,
            notes: Vec::new(),
        });
        RolloutView {
            id: RolloutId(3),
            workload: summary.workload.clone(),
            version: summary.to.clone(),
            by: "op".to_owned(),
            began: BEGAN,
            ended: summary.ended,
            plan: Vec::new(),
            why: machine.why(BEGAN),
            summary,
            owed: BTreeSet::new(),
            trace: None,
        }
    }

    #[test]
    fn a_rollout_has_the_units_of_all_documents() {
        let document = read(&Told::Rollout { rollout: Box::new(rollout()) });
        assert!(!has_raw_durations(&document), "{document}");
        let rollout = &document["rollout"];
        assert_eq!(
            (&rollout["began"], &rollout["took_ns"]),
            (&"2023-11-14T22:13:20Z".into(), &1_500_000_000_u64.into())
        );
        let summary = &rollout["summary"];
        assert_eq!(summary["ended"], "2023-11-14T22:13:21.5Z");
        assert_eq!(
            summary["hosts"][0]["measured"],
            serde_json::json!({ "pause_ns": 180_000, "took_ns": 40_000_000, "connections": { "before": 5, "kept": 5 } })
        );
        assert_eq!(rollout["why"]["waiting_for"][0]["until"], "2023-11-14T22:13:20Z", "{rollout}");
    }

    #[test]
    fn a_host_of_a_fleet_is_shown_as_host_status_shows_it() {
        let status = examples::host_status();
        let host = HostView {
            name: "h1".parse().expect("a name"),
            labels: Labels::default(),
            connected: true,
            since: Some(BEGAN),
            inventory: Some(HostInventory::default()),
            status: Some(Box::new(status.clone())),
            convergence: Vec::new(),
            troubles: Vec::new(),
        };
        let document = read(&Told::Hosts { hosts: vec![host] });
        assert!(!has_raw_durations(&document), "{document}");
        let host = &document["hosts"][0];
        assert_eq!(
            (&host["since"], &host["status"]["host"]["uptime_ns"]),
            (&"2023-11-14T22:13:20Z".into(), &125_000_000_000_u64.into())
        );
        let own: Value =
            serde_json::from_str(&json::pretty(status::host(&status, std::path::Path::new("/d")))).expect("JSON");
        assert_eq!(host["status"]["workloads"], own["workloads"]);
    }
}

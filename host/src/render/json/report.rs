//! Plans and reports.

use std::time::Duration;

use host_core::{
    comparison::Comparison,
    history::{InstanceCount, StateCarried, SwapKind, SwapReport, Verdict},
    plan::{Change, Direction, Plan, StatePath, SwapPlan, WayBack},
    release::StateFormat,
    swap::{Outcome, RollbackWay},
};
use serde::Serialize;

use super::ns;
use crate::render::{report::rehearsed_pause, units::rfc3339};

#[derive(Serialize)]
pub(in crate::render) struct ReportDocument<'a> {
    report: Report<'a>,
}

#[derive(Serialize)]
pub(in crate::render) struct RehearsalDocument<'a> {
    report: Report<'a>,
    /// How long the pause would have been.
    pause_ns: u64,
    pause_limit_ns: u64,
    pause_fits: bool,
}

#[derive(Serialize)]
pub(in crate::render) struct HistoryDocument<'a> {
    reports: Vec<Report<'a>>,
}

pub(in crate::render) fn of(report: &SwapReport) -> ReportDocument<'_> {
    ReportDocument { report: Report::of(report) }
}

pub(in crate::render) fn rehearsal(report: &SwapReport, pause_limit: Duration) -> RehearsalDocument<'_> {
    let pause = rehearsed_pause(report);
    let rehearsed = matches!(report.verdict, Verdict::Rehearsed);
    RehearsalDocument {
        report: Report::of(report),
        pause_ns: ns(pause),
        pause_limit_ns: ns(pause_limit),
        pause_fits: rehearsed && pause <= pause_limit,
    }
}

pub(in crate::render) fn history(reports: &[SwapReport]) -> HistoryDocument<'_> {
    HistoryDocument { reports: reports.iter().map(Report::of).collect() }
}

#[derive(Serialize)]
struct Report<'a> {
    swap: Option<u64>,
    workload: &'a str,
    kind: SwapKind,
    from: Option<String>,
    to: String,
    digest: String,
    verdict: &'static str,
    why: Option<&'a str>,
    /// How the predecessor came back.
    way: Option<RollbackWay>,
    running: Option<String>,
    generation: u64,
    began: String,
    ended: String,
    took_ns: u64,
    pause_ns: Option<u64>,
    steps: Vec<Named<'a>>,
    phases: Vec<Named<'a>>,
    plan: Option<PlanView>,
    state: Option<State>,
    cost: Option<Cost<'a>>,
    comparison: Option<&'a Comparison>,
    connections: Option<Connections>,
    instances: Option<InstanceCount>,
    checks: Vec<CheckView<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    took_ns: u64,
}

#[derive(Serialize)]
struct State {
    format: Format,
    bytes: u64,
    bytes_after: Option<u64>,
    peak_memory_bytes: Option<u64>,
}

#[derive(Serialize)]
pub(in crate::render) struct Format {
    schema: u32,
    fingerprint: String,
}

#[derive(Serialize)]
struct Cost<'a> {
    batches: u64,
    events: u64,
    checkpoint_age_ns: u64,
    why: &'a str,
}

#[derive(Serialize)]
struct Connections {
    before: u64,
    kept: u64,
}

#[derive(Serialize)]
pub(in crate::render) struct CheckView<'a> {
    name: &'a str,
    passed: bool,
    seen: &'a str,
}

#[derive(Serialize)]
struct PlanView {
    kind: &'static str,
    #[serde(flatten)]
    swap: Option<SwapPlanView>,
}

#[derive(Serialize)]
struct SwapPlanView {
    from: String,
    direction: Direction,
    state: &'static str,
    state_from: Format,
    state_to: Format,
    way_back: WayBack,
    changes: Vec<ChangeView>,
}

#[derive(Serialize)]
struct ChangeView {
    kind: &'static str,
    listener: Option<String>,
}

impl<'a> Report<'a> {
    fn of(report: &'a SwapReport) -> Self {
        let way = match &report.verdict {
            Verdict::Swap { outcome: Outcome::RolledBack { way, .. } } => Some(*way),
            _ => None,
        };
        Self {
            swap: (report.id.0 != 0).then_some(report.id.0),
            workload: report.workload.as_str(),
            kind: report.kind,
            from: report.from.as_ref().map(ToString::to_string),
            to: report.to.to_string(),
            digest: report.digest.to_string(),
            verdict: report.verdict.as_str(),
            why: report.verdict.why(),
            way,
            running: report.running.as_ref().map(ToString::to_string),
            generation: report.generation.0,
            began: rfc3339(report.began),
            ended: rfc3339(report.ended),
            took_ns: ns(report.ended.since(report.began)),
            pause_ns: report.pause.map(ns),
            steps: report.steps.iter().map(|step| Named { name: &step.name, took_ns: ns(step.took) }).collect(),
            phases: report
                .phases
                .iter()
                .map(|phase| Named { name: phase.phase.as_str(), took_ns: ns(phase.took) })
                .collect(),
            plan: report.plan.as_ref().map(PlanView::of),
            state: report.state.as_ref().map(State::of),
            cost: report.cost.as_ref().map(|cost| Cost {
                batches: cost.batches,
                events: cost.events,
                checkpoint_age_ns: ns(cost.checkpoint_age),
                why: &cost.why,
            }),
            comparison: report.comparison.as_ref(),
            connections: report.connections.map(|count| Connections { before: count.before, kept: count.kept }),
            instances: report.instances,
            checks: report
                .checks
                .iter()
                .map(|check| CheckView { name: &check.name, passed: check.passed, seen: &check.seen })
                .collect(),
            notes: &report.notes,
        }
    }
}

impl State {
    fn of(state: &StateCarried) -> Self {
        Self {
            format: Format::of(state.format),
            bytes: state.bytes,
            bytes_after: state.bytes_after,
            peak_memory_bytes: state.peak_memory_bytes,
        }
    }
}

impl Format {
    pub(in crate::render) fn of(format: StateFormat) -> Self {
        Self { schema: format.schema, fingerprint: format!("{:016x}", format.fingerprint) }
    }
}

impl PlanView {
    fn of(plan: &Plan) -> Self {
        match plan {
            Plan::Nothing => Self { kind: "nothing", swap: None },
            Plan::Start => Self { kind: "start", swap: None },
            Plan::Swap(swap) => Self { kind: "swap", swap: Some(SwapPlanView::of(swap)) },
        }
    }
}

impl SwapPlanView {
    fn of(plan: &SwapPlan) -> Self {
        let (state, from, to) = match plan.state {
            StatePath::Same { format } => ("same", format, format),
            StatePath::Upgrade { from, to } => ("upgrade", from, to),
            StatePath::Downgrade { from, to } => ("downgrade", from, to),
            StatePath::Checkpoint { from, to } => ("checkpoint", from, to),
        };
        let change = |change: &Change| match change {
            Change::Config => ChangeView { kind: "config", listener: None },
            Change::Opens { listener } => ChangeView { kind: "opens", listener: Some(listener.to_string()) },
            Change::Closes { listener } => ChangeView { kind: "closes", listener: Some(listener.to_string()) },
        };
        Self {
            from: plan.from.to_string(),
            direction: plan.direction,
            state,
            state_from: Format::of(from),
            state_to: Format::of(to),
            way_back: plan.way_back,
            changes: plan.changes.iter().map(change).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{examples, json};

    #[test]
    fn a_report_has_the_shape_that_the_docs_show() {
        let document: serde_json::Value = serde_json::from_str(&json::pretty(of(&examples::report()))).expect("JSON");
        assert_eq!(
            document,
            serde_json::json!({
                "schema_version": 1,
                "report": {
                    "swap": 3, "workload": "counter", "kind": "deploy", "from": "1.0.0", "to": "1.1.0",
                    "digest": "07".repeat(32), "verdict": "permanent", "why": null, "way": null, "running": "1.1.0",
                    "generation": 2, "began": "2023-11-14T22:13:20Z", "ended": "2023-11-14T22:13:30.25Z",
                    "took_ns": 10_250_000_000_u64, "pause_ns": 180_000,
                    "steps": [{ "name": "compile", "took_ns": 80_000_000 }],
                    "phases": [
                        { "name": "quiesce", "took_ns": 12_000 },
                        { "name": "snapshot", "took_ns": 60_000 },
                        { "name": "code-change", "took_ns": 90_000 },
                        { "name": "switch", "took_ns": 18_000 },
                        { "name": "probation", "took_ns": 10_000_000_000_u64 }
                    ],
                    "plan": {
                        "kind": "swap", "from": "1.0.0", "direction": "upgrade", "state": "upgrade",
                        "state_from": { "schema": 1, "fingerprint": "00000000000000ff" },
                        "state_to": { "schema": 2, "fingerprint": "ffffffffffffffff" },
                        "way_back": "downgrade",
                        "changes": [
                            { "kind": "config", "listener": null },
                            { "kind": "opens", "listener": "tcp://127.0.0.1:7001" }
                        ]
                    },
                    "state": {
                        "format": { "schema": 1, "fingerprint": "00000000000000ff" }, "bytes": 1536,
                        "bytes_after": 2048, "peak_memory_bytes": 3 << 20
                    },
                    "cost": null, "comparison": null,
                    "connections": { "before": 500, "kept": 500 },
                    "instances": null,
                    "checks": [{ "name": "health", "passed": true, "seen": "ok" }],
                    "notes": ["a note"]
                }
            })
        );
    }

    #[test]
    fn a_rehearsal_says_whether_the_pause_fits() {
        let rehearsed = SwapReport { verdict: Verdict::Rehearsed, pause: None, ..examples::report() };
        let fits = |report: &SwapReport, limit| rehearsal(report, Duration::from_micros(limit)).pause_fits;
        assert!(fits(&rehearsed, 180) && !fits(&rehearsed, 179));
        let refused = SwapReport { verdict: Verdict::Refused { why: String::new() }, ..rehearsed };
        assert!(!fits(&refused, 1_000_000));
    }
}

//! What the tests of this folder show.

use std::time::Duration;

use host_core::{
    capacity::{Bound, SessionCapacity},
    event::HostEvent,
    history::{Check, ConnectionCount, StateCarried, Step, SwapKind, SwapReport, Verdict},
    id::{BatchSeq, Digest, Generation, SwapId},
    plan::{Change, Direction, Plan, StatePath, SwapPlan, WayBack},
    release::{StateFormat, Topology},
    status::{CheckpointStatus, HostStatus, RunState, SwapStatus, WorkloadStatus},
    swap::{Outcome, PhaseName, PhaseTime},
    time::UnixNanos,
};

const BEGAN: UnixNanos = UnixNanos(1_700_000_000_000_000_000);
const OLD: StateFormat = StateFormat { schema: 1, fingerprint: 0xff };
const NEW: StateFormat = StateFormat { schema: 2, fingerprint: u64::MAX };

/// A deploy that went well.
pub(crate) fn report() -> SwapReport {
    let phase = |phase, us| PhaseTime { phase, took: Duration::from_micros(us) };
    SwapReport {
        id: SwapId(3),
        workload: "counter".parse().expect("a name"),
        kind: SwapKind::Deploy,
        from: Some("1.0.0".parse().expect("semver")),
        to: "1.1.0".parse().expect("semver"),
        digest: Digest::new([7; 32]),
        plan: Some(Plan::Swap(SwapPlan {
            from: "1.0.0".parse().expect("semver"),
            direction: Direction::Upgrade,
            state: StatePath::Upgrade { from: OLD, to: NEW },
            way_back: WayBack::Downgrade,
            changes: vec![
                Change::Config,
                Change::Opens { listener: "tcp://127.0.0.1:7001".parse().expect("a listener") },
            ],
        })),
        verdict: Verdict::Swap { outcome: Outcome::Permanent },
        running: Some("1.1.0".parse().expect("semver")),
        generation: Generation(2),
        began: BEGAN,
        ended: BEGAN.after(Duration::from_millis(10_250)),
        phases: vec![
            phase(PhaseName::Quiesce, 12),
            phase(PhaseName::Snapshot, 60),
            phase(PhaseName::CodeChange, 90),
            phase(PhaseName::Switch, 18),
            phase(PhaseName::Probation, 10_000_000),
        ],
        steps: vec![Step { name: "compile".to_owned(), took: Duration::from_millis(80) }],
        pause: Some(Duration::from_micros(180)),
        state: Some(StateCarried {
            format: OLD,
            bytes: 1536,
            bytes_after: Some(2048),
            peak_memory_bytes: Some(3 << 20),
        }),
        cost: None,
        comparison: None,
        connections: Some(ConnectionCount { before: 500, kept: 500 }),
        instances: None,
        checks: vec![Check { name: "health".to_owned(), passed: true, seen: "ok".to_owned() }],
        notes: vec!["a note".to_owned()],
    }
}

/// A host with one workload on probation.
pub(crate) fn host_status() -> HostStatus {
    HostStatus {
        host_version: "0.1.0".to_owned(),
        pid: 4711,
        uptime: Duration::from_secs(125),
        boot: 2,
        memory_bytes: 34 << 20,
        free_disk_bytes: 12 << 30,
        connection_capacity: 9500,
        session_capacity: SessionCapacity { sessions: 9500, bound_by: Bound::OpenFiles },
        sessions: 0,
        workloads: vec![WorkloadStatus {
            name: "counter".parse().expect("a name"),
            run_state: RunState::Running,
            version: "1.1.0".parse().expect("semver"),
            digest: Digest::new([7; 32]),
            format: NEW,
            generation: Generation(2),
            listeners: vec!["tcp://127.0.0.1:7000".parse().expect("a listener")],
            topology: Topology::Single,
            instances: 1,
            restarts: 0,
            connections: 500,
            queued_events: 0,
            queued_bytes: 0,
            timers: 1,
            calls: 0,
            batches: BatchSeq(350),
            events: 12345,
            unknown_ids: 0,
            slow_closed: 0,
            instances_failed: 0,
            refused: 0,
            guest_memory_bytes: 1 << 20,
            set_aside: 0,
            journal_bytes: 4096,
            checkpoint: Some(CheckpointStatus { at: BEGAN, batches: BatchSeq(300), state_bytes: 1536 }),
            swap: Some(SwapStatus {
                id: SwapId(3),
                phase: PhaseName::Probation,
                from: "1.0.0".parse().expect("semver"),
                to: "1.1.0".parse().expect("semver"),
                remaining: Some(Duration::from_secs(7)),
            }),
            warnings: vec!["its snapshot fails".to_owned()],
        }],
    }
}

/// A phase began.
pub(crate) fn event() -> HostEvent {
    HostEvent {
        seq: 7,
        at: BEGAN,
        name: "swap.phase".to_owned(),
        workload: Some("counter".parse().expect("a name")),
        swap: Some(SwapId(3)),
        message: "quiesce".to_owned(),
    }
}

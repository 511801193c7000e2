//! Any valid value comes back from the wire as it went, and no message makes the door panic.

use std::{net::SocketAddr, time::Duration};

use host_api::pb;
use host_core::{
    capacity::{Bound, SessionCapacity},
    comparison::{Comparison, Difference},
    event::HostEvent,
    history::{Check, ConnectionCount, Cost, InstanceCount, StateCarried, Step, SwapKind, SwapReport, Verdict},
    id::{BatchSeq, Digest, Generation, SwapId, WorkloadName},
    plan::{Change, Direction, Intent, Plan, StatePath, SwapPlan, WayBack},
    policy::{Preflight, Shadow, StateSource, SwapPolicy},
    release::{ListenAddress, StateFormat, Topology},
    request::{DeployRequest, Extent, Progress, RollbackRequest},
    status::{
        CheckpointStatus, HealthReport, HealthStatus, HostStatus, Place, RunState, SwapStatus, VersionStatus,
        WorkloadStatus,
    },
    swap::{Outcome, PhaseName, PhaseTime, RollbackWay},
    time::UnixNanos,
    trace::{SpanId, TraceContext, TraceId},
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use prost::Message;
use semver::Version;

fn name() -> impl Strategy<Value = WorkloadName> {
    "[a-z0-9][a-z0-9._-]{0,62}".prop_map(|name| name.parse().expect("a name"))
}

fn version() -> impl Strategy<Value = Version> {
    (any::<[u64; 3]>(), "(-[a-z]{1,5}(\\.[1-9][0-9]{0,3})?)?(\\+[a-z0-9]{1,5})?")
        .prop_map(|([major, minor, patch], rest)| format!("{major}.{minor}.{patch}{rest}").parse().expect("semver"))
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::new)
}

fn duration() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_nanos)
}

fn up_to(limit: Duration) -> impl Strategy<Value = Duration> {
    (1..=u64::try_from(limit.as_nanos()).expect("small")).prop_map(Duration::from_nanos)
}

fn listener() -> impl Strategy<Value = ListenAddress> {
    any::<SocketAddr>().prop_map(|mut address| {
        // A flow label and a scope are not part of what a person writes.
        if let SocketAddr::V6(v6) = &mut address {
            v6.set_flowinfo(0);
            v6.set_scope_id(0);
        }
        ListenAddress { address }
    })
}

fn format() -> impl Strategy<Value = StateFormat> {
    any::<(u32, u64)>().prop_map(|(schema, fingerprint)| StateFormat { schema, fingerprint })
}

fn phase() -> impl Strategy<Value = PhaseName> {
    select(&PhaseName::ALL[..])
}

fn policy() -> impl Strategy<Value = SwapPolicy> {
    (
        up_to(SwapPolicy::PAUSE_LIMIT_LIMIT),
        up_to(SwapPolicy::PROBATION_LIMIT),
        option::of(up_to(host_api::convert::limits::DRAIN_LIMIT)),
        any::<bool>(),
        any::<bool>(),
        select(&[StateSource::Live, StateSource::LastCheckpoint][..]),
        any::<(bool, bool)>(),
        option::of((up_to(Shadow::PERIOD_LIMIT), option::of(0_u8..=100))),
    )
        .prop_map(|(pause_limit, probation, drain, force, one_way, state_from, (hold, allow_loss), shadow)| {
            SwapPolicy {
                pause_limit,
                probation,
                hold,
                allow_loss,
                shadow: shadow.map(|(period, limit_percent)| Shadow { period, limit_percent }),
                drain,
                force,
                one_way,
                detach: one_way,
                state_from,
                preflight: Preflight::default(),
            }
        })
}

fn topology() -> impl Strategy<Value = Topology> {
    select(&[Topology::Single, Topology::PerConnection][..])
}

fn deploy() -> impl Strategy<Value = DeployRequest> {
    let listeners = vec(listener(), 0..5).prop_map(|mut listeners| {
        listeners.sort();
        listeners.dedup();
        listeners
    });
    (
        name(),
        version(),
        option::of(listeners),
        option::of(any::<String>()),
        any::<bool>(),
        policy(),
        select(&[Extent::Plan, Extent::Rehearse, Extent::Replay, Extent::Swap][..]),
        option::of(topology()),
        option::of(trace()),
    )
        .prop_map(|(workload, version, listeners, config, downgrade, policy, extent, topology, trace)| {
            DeployRequest {
                workload,
                version,
                listeners,
                config,
                topology,
                intent: Intent::Deploy { downgrade },
                policy,
                extent,
                trace,
            }
        })
}

fn trace() -> impl Strategy<Value = TraceContext> {
    (any::<[u8; 16]>(), any::<[u8; 8]>()).prop_filter_map("zero names nothing", |(trace, span)| {
        Some(TraceContext { trace: TraceId::new(trace)?, span: SpanId::new(span)? })
    })
}

fn rollback() -> impl Strategy<Value = RollbackRequest> {
    (name(), option::of(version()), policy(), option::of(trace()))
        .prop_map(|(workload, to, policy, trace)| RollbackRequest { workload, to, policy, trace })
}

fn progress() -> impl Strategy<Value = Progress> {
    prop_oneof![
        any::<String>().prop_map(|name| Progress::Step { name }),
        (any::<u64>(), phase()).prop_map(|(swap, phase)| Progress::Phase { swap: SwapId(swap), phase }),
        any::<String>().prop_map(|message| Progress::Note { message }),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let state = prop_oneof![
        format().prop_map(|format| StatePath::Same { format }),
        (format(), format()).prop_map(|(from, to)| StatePath::Upgrade { from, to }),
        (format(), format()).prop_map(|(from, to)| StatePath::Downgrade { from, to }),
        (format(), format()).prop_map(|(from, to)| StatePath::Checkpoint { from, to }),
    ];
    let change = prop_oneof![
        Just(Change::Config),
        listener().prop_map(|listener| Change::Opens { listener }),
        listener().prop_map(|listener| Change::Closes { listener }),
    ];
    let direction = select(&[Direction::Upgrade, Direction::Downgrade, Direction::Reconfigure][..]);
    let ways = [WayBack::Downgrade, WayBack::Replay, WayBack::Unchanged, WayBack::None];
    let way_back = select(ways.to_vec());
    let swap = (version(), direction, state, way_back, vec(change, 0..4))
        .prop_map(|(from, direction, state, way_back, changes)| SwapPlan { from, direction, state, way_back, changes });
    prop_oneof![Just(Plan::Nothing), Just(Plan::Start), swap.prop_map(Plan::Swap)]
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let ways = [RollbackWay::Downgrade, RollbackWay::Replay, RollbackWay::Unchanged, RollbackWay::Checkpoint];
    let way = select(ways.to_vec());
    let outcome = prop_oneof![
        Just(Outcome::Permanent),
        any::<String>().prop_map(|why| Outcome::Aborted { why }),
        (any::<String>(), way).prop_map(|(why, way)| Outcome::RolledBack { why, way }),
        any::<String>().prop_map(|why| Outcome::Stopped { why }),
    ];
    prop_oneof![
        any::<String>().prop_map(|why| Verdict::Refused { why }),
        any::<String>().prop_map(|why| Verdict::Differs { why }),
        select(
            &[Verdict::Nothing, Verdict::Started, Verdict::Rehearsed, Verdict::Done, Verdict::Held, Verdict::Replayed,]
                [..]
        ),
        outcome.prop_map(|outcome| Verdict::Swap { outcome }),
    ]
}

fn report() -> impl Strategy<Value = SwapReport> {
    let kinds = [
        SwapKind::Start,
        SwapKind::Deploy,
        SwapKind::Rollback,
        SwapKind::Rehearsal,
        SwapKind::Replay,
        SwapKind::Recovery,
        SwapKind::Operation,
    ];
    let asked = (any::<u64>(), name(), select(kinds.to_vec()), option::of(version()), version(), digest());
    let came = (option::of(plan()), verdict(), option::of(version()), any::<[u64; 3]>());
    let phases = vec((phase(), duration()).prop_map(|(phase, took)| PhaseTime { phase, took }), 0..4);
    let steps = vec((any::<String>(), duration()).prop_map(|(name, took)| Step { name, took }), 0..4);
    let state = (format(), any::<(u64, Option<u64>, Option<u64>)>()).prop_map(
        |(format, (bytes, bytes_after, peak_memory_bytes))| StateCarried {
            format,
            bytes,
            bytes_after,
            peak_memory_bytes,
        },
    );
    let cost = (any::<(u64, u64, String)>(), duration()).prop_map(|((batches, events, why), checkpoint_age)| Cost {
        batches,
        events,
        checkpoint_age,
        why,
    });
    let connections = any::<(u64, u64)>().prop_map(|(before, kept)| ConnectionCount { before, kept });
    let instances =
        any::<[u64; 4]>().prop_map(|[total, ahead, in_pause, closed]| InstanceCount { total, ahead, in_pause, closed });
    let check = any::<(String, bool, String)>().prop_map(|(name, passed, seen)| Check { name, passed, seen });
    let seen = (
        phases,
        steps,
        option::of(duration()),
        option::of(state),
        option::of(cost),
        (option::of(connections), option::of(comparison())),
        option::of(instances),
        vec(check, 0..3),
        vec(any::<String>(), 0..3),
    );
    (asked, came, seen).prop_map(|(asked, came, seen)| {
        let (id, workload, kind, from, to, digest) = asked;
        let (plan, verdict, running, [generation, began, ended]) = came;
        let (phases, steps, pause, state, cost, (connections, comparison), instances, checks, notes) = seen;
        SwapReport {
            id: SwapId(id),
            workload,
            kind,
            from,
            to,
            digest,
            plan,
            verdict,
            running,
            generation: Generation(generation),
            began: UnixNanos(began),
            ended: UnixNanos(ended),
            phases,
            steps,
            pause,
            state,
            cost,
            comparison,
            connections,
            instances,
            checks,
            notes,
        }
    })
}

fn comparison() -> impl Strategy<Value = Comparison> {
    let difference = any::<(u64, String, Option<String>, Option<String>)>()
        .prop_map(|(batch, events, expected, found)| Difference { batch: BatchSeq(batch), events, expected, found });
    (any::<[u64; 4]>(), vec(difference, 0..3)).prop_map(|([batches, events, effects, differing], examples)| {
        Comparison { batches, events, effects, differing, examples }
    })
}

fn workload_status() -> impl Strategy<Value = WorkloadStatus> {
    let run_state = prop_oneof![
        Just(RunState::Running),
        Just(RunState::Stopped),
        any::<String>().prop_map(|why| RunState::Failed { why }),
    ];
    let checkpoint = any::<[u64; 3]>().prop_map(|[at, batches, state_bytes]| CheckpointStatus {
        at: UnixNanos(at),
        batches: BatchSeq(batches),
        state_bytes,
    });
    let swap = (any::<u64>(), phase(), version(), version(), option::of(duration()))
        .prop_map(|(id, phase, from, to, remaining)| SwapStatus { id: SwapId(id), phase, from, to, remaining });
    let which = (name(), run_state, version(), digest(), format(), vec(listener(), 0..4));
    (which, any::<[u64; 17]>(), topology(), option::of(checkpoint), option::of(swap), vec(any::<String>(), 0..3))
        .prop_map(|((name, run_state, version, digest, format, listeners), n, topology, checkpoint, swap, warnings)| {
            WorkloadStatus {
                name,
                run_state,
                version,
                digest,
                format,
                generation: Generation(n[0]),
                listeners,
                topology,
                instances: n[1],
                restarts: n[2],
                connections: n[3],
                queued_events: n[4],
                queued_bytes: n[5],
                timers: n[6],
                calls: n[7],
                batches: BatchSeq(n[8]),
                events: n[9],
                unknown_ids: n[10],
                slow_closed: n[11],
                guest_memory_bytes: n[12],
                instances_failed: n[13],
                refused: n[14],
                set_aside: n[15],
                journal_bytes: n[16],
                checkpoint,
                swap,
                warnings,
            }
        })
}

fn host_status() -> impl Strategy<Value = HostStatus> {
    let bound = select(&[Bound::MapCount, Bound::OpenFiles, Bound::Pool, Bound::GuestMemory, Bound::Option][..]);
    (any::<(String, u32, u32)>(), duration(), any::<[u64; 5]>(), bound, vec(workload_status(), 0..3)).prop_map(
        |((host_version, pid, boot), uptime, n, bound_by, workloads)| {
            let [memory_bytes, free_disk_bytes, connection_capacity, sessions, capacity] = n;
            HostStatus {
                host_version,
                pid,
                uptime,
                boot,
                memory_bytes,
                free_disk_bytes,
                connection_capacity,
                session_capacity: SessionCapacity { sessions: capacity, bound_by },
                sessions,
                workloads,
            }
        },
    )
}

fn version_status() -> impl Strategy<Value = VersionStatus> {
    let place = select(&[Place::Current, Place::Predecessor, Place::Stored][..]);
    (version(), digest(), format(), any::<[u64; 2]>(), place).prop_map(
        |(version, digest, format, [size_bytes, stored], place)| VersionStatus {
            version,
            digest,
            format,
            size_bytes,
            stored: UnixNanos(stored),
            place,
        },
    )
}

fn health() -> impl Strategy<Value = HealthReport> {
    let status = select(&[HealthStatus::Ok, HealthStatus::Degraded, HealthStatus::Failed][..]);
    (name(), status, vec(any::<(String, String)>(), 0..3)).prop_map(|(workload, status, details)| HealthReport {
        workload,
        status,
        details,
    })
}

fn event() -> impl Strategy<Value = HostEvent> {
    (any::<(u64, u64, String, Option<u64>, String)>(), option::of(name())).prop_map(
        |((seq, at, name, swap, message), workload)| HostEvent {
            seq,
            at: UnixNanos(at),
            name,
            workload,
            swap: swap.map(SwapId),
            message,
        },
    )
}

/// There and back, through the bytes.
#[track_caller]
fn check<T, P>(value: &T)
where
    T: Clone + PartialEq + std::fmt::Debug + TryFrom<P, Error = host_api::convert::Invalid>,
    P: From<T> + Message + Default,
{
    let bytes = P::from(value.clone()).encode_to_vec();
    let raw = P::decode(&bytes[..]).expect("decoded");
    assert_eq!(T::try_from(raw).as_ref(), Ok(value));
}

/// The door answers damaged bytes with a value or with a named field.
fn knock<T, P>(value: T, damage: impl Fn(Vec<u8>) -> Vec<u8>)
where
    T: TryFrom<P, Error = host_api::convert::Invalid>,
    P: From<T> + Message + Default,
{
    // Not `P::from`: a message with a field of that name has a getter so called.
    let raw: P = value.into();
    if let Ok(Err(invalid)) = P::decode(&damage(raw.encode_to_vec())[..]).map(T::try_from) {
        assert!(!invalid.field.is_empty(), "{invalid}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn requests(deploy in deploy(), rollback in rollback(), progress in progress()) {
        check::<_, pb::DeployHeader>(&deploy);
        check::<_, pb::RollbackRequest>(&rollback);
        check::<_, pb::Progress>(&progress);
    }

    #[test]
    fn reports(report in report()) {
        check::<_, pb::SwapReport>(&report);
    }

    #[test]
    fn statuses(status in host_status(), version in version_status(), health in health(), event in event()) {
        check::<_, pb::HostStatus>(&status);
        check::<_, pb::VersionStatus>(&version);
        check::<_, pb::HealthReport>(&health);
        check::<_, pb::HostEvent>(&event);
    }

    /// A valid message with one byte changed is mostly still a message, and seldom a valid one.
    #[test]
    fn damaged(report in report(), status in host_status(), deploy in deploy(), at: usize, to: u8) {
        let damage = |mut bytes: Vec<u8>| {
            let at = at % bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = to;
            }
            bytes
        };
        knock::<SwapReport, pb::SwapReport>(report, damage);
        knock::<HostStatus, pb::HostStatus>(status, damage);
        knock::<DeployRequest, pb::DeployHeader>(deploy, damage);
    }
}

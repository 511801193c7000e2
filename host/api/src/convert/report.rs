//! Reports: what was done.

use std::time::Duration;

use host_core::{
    comparison::{Comparison, Difference},
    history::{Check, ConnectionCount, Cost, InstanceCount, StateCarried, Step, SwapKind, SwapReport, Verdict},
    id::{BatchSeq, Generation, SwapId},
    swap::{Outcome, PhaseName, PhaseTime, RollbackWay},
    time::UnixNanos,
};
use semver::Version;

use super::{Invalid, digest, each, enumeration, nanos, optional, optional_version, text, version, wanted};
use crate::pb;

enumeration!(read_phase, write_phase, pb::Phase, PhaseName, {
    Prepare, Quiesce, Snapshot, CodeChange, Switch, Record, Verify, Probation, Rebuild, RollBack,
});
enumeration!(read_kind, write_kind, pb::SwapKind, SwapKind, {
    Start, Deploy, Rollback, Rehearsal, Replay, Recovery, Operation,
});
enumeration!(read_way, write_way, pb::RollbackWay, RollbackWay, { Downgrade, Replay, Unchanged, Checkpoint });

impl From<SwapReport> for pb::SwapReport {
    fn from(report: SwapReport) -> Self {
        Self {
            id: report.id.0,
            workload: report.workload.into(),
            kind: write_kind(report.kind),
            from: report.from.as_ref().map(Version::to_string),
            to: report.to.to_string(),
            digest: report.digest.to_string(),
            plan: report.plan.map(Into::into),
            verdict: Some(report.verdict.into()),
            running: report.running.as_ref().map(Version::to_string),
            generation: report.generation.0,
            began_unix_ns: report.began.0,
            ended_unix_ns: report.ended.0,
            phases: report.phases.into_iter().map(Into::into).collect(),
            steps: report.steps.into_iter().map(Into::into).collect(),
            pause_ns: report.pause.map(nanos),
            state: report.state.map(Into::into),
            cost: report.cost.map(Into::into),
            connections: report.connections.map(Into::into),
            checks: report.checks.into_iter().map(Into::into).collect(),
            notes: report.notes,
            instances: report.instances.map(Into::into),
            comparison: report.comparison.map(Into::into),
        }
    }
}

impl TryFrom<pb::SwapReport> for SwapReport {
    type Error = Invalid;

    fn try_from(raw: pb::SwapReport) -> Result<Self, Invalid> {
        Ok(Self {
            id: SwapId(raw.id),
            workload: text("workload", &raw.workload)?,
            kind: read_kind("kind", raw.kind)?,
            from: optional_version("from", raw.from)?,
            to: version("to", &raw.to)?,
            digest: digest("digest", &raw.digest)?,
            plan: optional("plan", raw.plan)?,
            verdict: wanted("verdict", raw.verdict)?,
            running: optional_version("running", raw.running)?,
            generation: Generation(raw.generation),
            began: UnixNanos(raw.began_unix_ns),
            ended: UnixNanos(raw.ended_unix_ns),
            phases: each("phases", raw.phases)?,
            steps: each("steps", raw.steps)?,
            pause: raw.pause_ns.map(Duration::from_nanos),
            state: optional("state", raw.state)?,
            cost: optional("cost", raw.cost)?,
            connections: optional("connections", raw.connections)?,
            checks: each("checks", raw.checks)?,
            notes: raw.notes,
            instances: optional("instances", raw.instances)?,
            comparison: optional("comparison", raw.comparison)?,
        })
    }
}

impl From<Verdict> for pb::Verdict {
    fn from(verdict: Verdict) -> Self {
        use pb::VerdictKind as Kind;
        let (kind, why, way) = match verdict {
            Verdict::Refused { why } => (Kind::Refused, why, None),
            Verdict::Nothing => (Kind::Nothing, String::new(), None),
            Verdict::Started => (Kind::Started, String::new(), None),
            Verdict::Rehearsed => (Kind::Rehearsed, String::new(), None),
            Verdict::Done => (Kind::Done, String::new(), None),
            Verdict::Held => (Kind::Held, String::new(), None),
            Verdict::Replayed => (Kind::Replayed, String::new(), None),
            Verdict::Differs { why } => (Kind::Differs, why, None),
            Verdict::Swap { outcome } => match outcome {
                Outcome::Permanent => (Kind::Permanent, String::new(), None),
                Outcome::Aborted { why } => (Kind::Aborted, why, None),
                Outcome::RolledBack { why, way } => (Kind::RolledBack, why, Some(way)),
                Outcome::Stopped { why } => (Kind::Stopped, why, None),
            },
        };
        Self { kind: kind.into(), why, way: way.map(write_way).unwrap_or_default() }
    }
}

impl TryFrom<pb::Verdict> for Verdict {
    type Error = Invalid;

    fn try_from(raw: pb::Verdict) -> Result<Self, Invalid> {
        use pb::VerdictKind as Kind;
        let swap = |outcome| Self::Swap { outcome };
        let why = raw.why;
        Ok(match Kind::try_from(raw.kind) {
            Ok(Kind::Refused) => Self::Refused { why },
            Ok(Kind::Nothing) => Self::Nothing,
            Ok(Kind::Started) => Self::Started,
            Ok(Kind::Rehearsed) => Self::Rehearsed,
            Ok(Kind::Done) => Self::Done,
            Ok(Kind::Held) => Self::Held,
            Ok(Kind::Replayed) => Self::Replayed,
            Ok(Kind::Differs) => Self::Differs { why },
            Ok(Kind::Permanent) => swap(Outcome::Permanent),
            Ok(Kind::Aborted) => swap(Outcome::Aborted { why }),
            Ok(Kind::RolledBack) => swap(Outcome::RolledBack { why, way: read_way("way", raw.way)? }),
            Ok(Kind::Stopped) => swap(Outcome::Stopped { why }),
            Ok(Kind::Unspecified) => return Err(Invalid::missing("kind")),
            Err(error) => return Err(Invalid::new("kind", error)),
        })
    }
}

impl From<PhaseTime> for pb::PhaseTime {
    fn from(time: PhaseTime) -> Self {
        Self { phase: write_phase(time.phase), took_ns: nanos(time.took) }
    }
}

impl TryFrom<pb::PhaseTime> for PhaseTime {
    type Error = Invalid;

    fn try_from(raw: pb::PhaseTime) -> Result<Self, Invalid> {
        Ok(Self { phase: read_phase("phase", raw.phase)?, took: Duration::from_nanos(raw.took_ns) })
    }
}

impl From<Step> for pb::Step {
    fn from(step: Step) -> Self {
        Self { name: step.name, took_ns: nanos(step.took) }
    }
}

impl TryFrom<pb::Step> for Step {
    type Error = Invalid;

    fn try_from(raw: pb::Step) -> Result<Self, Invalid> {
        Ok(Self { name: raw.name, took: Duration::from_nanos(raw.took_ns) })
    }
}

impl From<StateCarried> for pb::StateCarried {
    fn from(state: StateCarried) -> Self {
        Self {
            format: Some(state.format.into()),
            bytes: state.bytes,
            bytes_after: state.bytes_after,
            peak_memory_bytes: state.peak_memory_bytes,
        }
    }
}

impl TryFrom<pb::StateCarried> for StateCarried {
    type Error = Invalid;

    fn try_from(raw: pb::StateCarried) -> Result<Self, Invalid> {
        Ok(Self {
            format: wanted("format", raw.format)?,
            bytes: raw.bytes,
            bytes_after: raw.bytes_after,
            peak_memory_bytes: raw.peak_memory_bytes,
        })
    }
}

impl From<Cost> for pb::Cost {
    fn from(cost: Cost) -> Self {
        Self {
            batches: cost.batches,
            events: cost.events,
            checkpoint_age_ns: nanos(cost.checkpoint_age),
            why: cost.why,
        }
    }
}

impl TryFrom<pb::Cost> for Cost {
    type Error = Invalid;

    fn try_from(raw: pb::Cost) -> Result<Self, Invalid> {
        Ok(Self {
            batches: raw.batches,
            events: raw.events,
            checkpoint_age: Duration::from_nanos(raw.checkpoint_age_ns),
            why: raw.why,
        })
    }
}

impl From<Comparison> for pb::Comparison {
    fn from(comparison: Comparison) -> Self {
        Self {
            batches: comparison.batches,
            events: comparison.events,
            effects: comparison.effects,
            differing: comparison.differing,
            examples: comparison.examples.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::Comparison> for Comparison {
    type Error = Invalid;

    fn try_from(raw: pb::Comparison) -> Result<Self, Invalid> {
        Ok(Self {
            batches: raw.batches,
            events: raw.events,
            effects: raw.effects,
            differing: raw.differing,
            examples: each("examples", raw.examples)?,
        })
    }
}

impl From<Difference> for pb::Difference {
    fn from(difference: Difference) -> Self {
        let Difference { batch, events, expected, found } = difference;
        Self { batch: batch.0, events, expected, found }
    }
}

impl TryFrom<pb::Difference> for Difference {
    type Error = Invalid;

    fn try_from(raw: pb::Difference) -> Result<Self, Invalid> {
        Ok(Self { batch: BatchSeq(raw.batch), events: raw.events, expected: raw.expected, found: raw.found })
    }
}

impl From<ConnectionCount> for pb::ConnectionCount {
    fn from(count: ConnectionCount) -> Self {
        Self { before: count.before, kept: count.kept }
    }
}

impl TryFrom<pb::ConnectionCount> for ConnectionCount {
    type Error = Invalid;

    fn try_from(raw: pb::ConnectionCount) -> Result<Self, Invalid> {
        Ok(Self { before: raw.before, kept: raw.kept })
    }
}

impl From<InstanceCount> for pb::InstanceCount {
    fn from(count: InstanceCount) -> Self {
        Self { total: count.total, ahead: count.ahead, in_pause: count.in_pause, closed: count.closed }
    }
}

impl TryFrom<pb::InstanceCount> for InstanceCount {
    type Error = Invalid;

    fn try_from(raw: pb::InstanceCount) -> Result<Self, Invalid> {
        Ok(Self { total: raw.total, ahead: raw.ahead, in_pause: raw.in_pause, closed: raw.closed })
    }
}

impl From<Check> for pb::Check {
    fn from(check: Check) -> Self {
        Self { name: check.name, passed: check.passed, seen: check.seen }
    }
}

impl TryFrom<pb::Check> for Check {
    type Error = Invalid;

    fn try_from(raw: pb::Check) -> Result<Self, Invalid> {
        Ok(Self { name: raw.name, passed: raw.passed, seen: raw.seen })
    }
}

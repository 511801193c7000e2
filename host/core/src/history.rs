//! What was done: the entries of a host's history.

use std::time::Duration;

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::{
    comparison::Comparison,
    id::{Digest, Generation, SwapId, WorkloadName},
    plan::{Plan, SwapPlan},
    release::StateFormat,
    swap::{Outcome, PhaseTime},
    time::UnixNanos,
};

/// What a deploy, rollback or dry run did, for the one who asked and for the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapReport {
    /// The swap; zero for what never became one.
    pub id: SwapId,
    /// The workload.
    pub workload: WorkloadName,
    /// What was asked for.
    pub kind: SwapKind,
    /// The version before; none at the first start.
    pub from: Option<Version>,
    /// The version wanted.
    pub to: Version,
    /// Its digest.
    pub digest: Digest,
    /// The plan; none when a refusal came first.
    pub plan: Option<Plan>,
    /// The verdict.
    pub verdict: Verdict,
    /// The version that runs now; none when nothing does.
    pub running: Option<Version>,
    /// The generation that runs now.
    pub generation: Generation,
    /// When it began.
    pub began: UnixNanos,
    /// When it ended.
    pub ended: UnixNanos,
    /// Each phase's length, in order.
    pub phases: Vec<PhaseTime>,
    /// The steps of `prepare`, in order.
    pub steps: Vec<Step>,
    /// The host's own figure of the pause.
    pub pause: Option<Duration>,
    /// The state that was carried.
    pub state: Option<StateCarried>,
    /// Events lost, if any, and why.
    pub cost: Option<Cost>,
    /// The same events handled twice, where that was done: by a shadow before the switch, or by the predecessor when it was
    /// reinstated by replay.
    #[serde(default)]
    pub comparison: Option<Comparison>,
    /// Open connections at the switch, and how many of those are open at the end of the smoke check.
    pub connections: Option<ConnectionCount>,
    /// Of a workload with an instance per connection: what became of them.
    #[serde(default)]
    pub instances: Option<InstanceCount>,
    /// The smoke check's five parts.
    pub checks: Vec<Check>,
    /// What a person should know besides.
    pub notes: Vec<String>,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SwapKind {
    /// The first deploy of a workload.
    Start,
    /// `host deploy`.
    Deploy,
    /// `host rollback`.
    Rollback,
    /// `host deploy --dry-run`.
    Rehearsal,
    /// `host replay`.
    Replay,
    /// The host did it by itself: a restart of the workload, a recovery at the host's start.
    Recovery,
    /// `host stop`, `host start`, `host remove`.
    Operation,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Verdict {
    /// It was refused before anything was touched.
    Refused {
        /// Why.
        why: String,
    },
    /// There was nothing to do.
    Nothing,
    /// The workload runs for the first time.
    Started,
    /// The rehearsal went through.
    Rehearsed,
    /// An operation other than a swap is done.
    Done,
    /// The new release serves on a probation that lasts until it is committed or rolled back.
    Held,
    /// A replay did what had been done, to the last effect and the last byte of state.
    Replayed,
    /// A replay did something else.
    Differs {
        /// What, in one line.
        why: String,
    },
    /// The swap ended so.
    Swap {
        /// How.
        outcome: Outcome,
    },
}

impl Verdict {
    /// One word, for tables, spans and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Nothing => "nothing",
            Self::Started => "started",
            Self::Rehearsed => "rehearsed",
            Self::Done => "done",
            Self::Held => "held",
            Self::Replayed => "replayed",
            Self::Differs { .. } => "differs",
            Self::Swap { outcome: Outcome::Permanent } => "permanent",
            Self::Swap { outcome: Outcome::Aborted { .. } } => "aborted",
            Self::Swap { outcome: Outcome::RolledBack { .. } } => "rolled-back",
            Self::Swap { outcome: Outcome::Stopped { .. } } => "stopped",
        }
    }

    /// Why, where there is something to explain.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Refused { why }
            | Self::Differs { why }
            | Self::Swap {
                outcome: Outcome::Aborted { why } | Outcome::RolledBack { why, .. } | Outcome::Stopped { why },
            } => Some(why),
            _ => None,
        }
    }
}

/// A step of `prepare` and how long it took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// `store`, `compile`, `describe`, `plan`, `pre-flight`, `instantiate`, `init`, …
    pub name: String,
    /// How long.
    pub took: Duration,
}

/// The state that crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateCarried {
    /// The format it was handed over in.
    pub format: StateFormat,
    /// Its size then.
    pub bytes: u64,
    /// Its size as the new release writes it; known after a rehearsal or the first checkpoint.
    pub bytes_after: Option<u64>,
    /// Most memory the candidate's guest had at once.
    pub peak_memory_bytes: Option<u64>,
}

/// What was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Batches whose effect on the state is gone.
    pub batches: u64,
    /// Events in them.
    pub events: u64,
    /// The age of the checkpoint that was used.
    pub checkpoint_age: Duration,
    /// In words.
    pub why: String,
}

/// Connections across a swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionCount {
    /// Open at the switch.
    pub before: u64,
    /// Of those, still open or closed by their own clients.
    pub kept: u64,
}

/// Instances across a swap of a workload that has one per connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceCount {
    /// Those there were when the pause ended.
    pub total: u64,
    /// Migrations made ahead, while the old release served.
    pub ahead: u64,
    /// Migrations made in the pause, of those that had handled something since, or were new.
    pub in_pause: u64,
    /// Closed by a rollback: no way led back for them.
    pub closed: u64,
}

/// One part of the smoke check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// `health`, `instances`, `tables`, `connections`, `latency`.
    pub name: String,
    /// Whether it passed.
    pub passed: bool,
    /// What was seen.
    pub seen: String,
}

impl SwapReport {
    /// A report that says nothing yet: a refusal without a reason.
    #[must_use]
    pub const fn blank(workload: WorkloadName, to: Version, digest: Digest, began: UnixNanos) -> Self {
        Self {
            id: SwapId(0),
            workload,
            kind: SwapKind::Operation,
            from: None,
            to,
            digest,
            plan: None,
            verdict: Verdict::Refused { why: String::new() },
            running: None,
            generation: Generation(0),
            began,
            ended: began,
            phases: Vec::new(),
            steps: Vec::new(),
            pause: None,
            state: None,
            cost: None,
            comparison: None,
            connections: None,
            instances: None,
            checks: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// For whoever asked for a rollback that is not possible: this release stays.
    #[must_use]
    pub fn stays(&self, why: String, running: Version, generation: Generation) -> Self {
        Self {
            kind: SwapKind::Rollback,
            verdict: Verdict::Refused { why },
            running: Some(running),
            generation,
            ..self.clone()
        }
    }

    /// For whoever holds the probation that this release is on, and decides from here on.
    #[must_use]
    pub fn held(&self, phases: Vec<PhaseTime>, running: Version, generation: Generation, ended: UnixNanos) -> Self {
        Self { phases, verdict: Verdict::Held, running: Some(running), generation, ended, ..self.clone() }
    }

    /// The swap's plan, if it came to one.
    #[must_use]
    pub const fn swap_plan(&self) -> Option<&SwapPlan> {
        match &self.plan {
            Some(Plan::Swap(plan)) => Some(plan),
            _ => None,
        }
    }
}

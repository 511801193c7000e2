//! The machine that takes a workload from one release to the next.
//!
//! ```text
//! prepare → quiesce → snapshot → code-change → switch → record → verify → probation → permanent
//!    │         │          │           │                    └──────┴────┬────────┘
//!    └─────────┴─ abort ──┴───────────┘                            roll back
//! ```
//!
//! [`Swap::handle`] takes what happened and gives what shall happen next; the shell performs it in order and feeds the
//! result back. The machine holds no instance, no connection and no event: it only decides. What it promises, and the
//! property tests check over random orders of failure:
//!
//! - never are two releases serving at once;
//! - whoever was paused is resumed, or stopped with a word about it: parked events are never forgotten;
//! - every swap ends, and after its end it asks for nothing more.
//!
//! Before the switch every failure is an abort: the old release goes on as if nothing had been. After it every failure is
//! a rollback.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    id::SwapId,
    plan::{StatePath, SwapPlan, WayBack},
    policy::SwapPolicy,
    time::Moment,
};

/// A phase's name, for reports, spans and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseName {
    /// Store, verify, compile, describe, plan, pre-flight, candidate made and initialised.
    Prepare,
    /// Waiting for the running batch to end.
    Quiesce,
    /// `snapshot` on the old instance.
    Snapshot,
    /// `code-change` on the candidate.
    CodeChange,
    /// The candidate takes its place.
    Switch,
    /// Checkpoint and switch record are made durable while the new release already serves.
    Record,
    /// The smoke check.
    Verify,
    /// The predecessor is kept.
    Probation,
    /// The old instance, lost in its own `snapshot`, is made anew.
    Rebuild,
    /// The predecessor is reinstated.
    RollBack,
}

impl PhaseName {
    /// All of them, in the order in which a swap can pass them.
    pub const ALL: [Self; 10] = [
        Self::Prepare,
        Self::Quiesce,
        Self::Snapshot,
        Self::CodeChange,
        Self::Switch,
        Self::Record,
        Self::Verify,
        Self::Probation,
        Self::Rebuild,
        Self::RollBack,
    ];

    /// As written for people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Quiesce => "quiesce",
            Self::Snapshot => "snapshot",
            Self::CodeChange => "code-change",
            Self::Switch => "switch",
            Self::Record => "record",
            Self::Verify => "verify",
            Self::Probation => "probation",
            Self::Rebuild => "rebuild",
            Self::RollBack => "roll-back",
        }
    }
}

/// Where a swap stands. Each phase carries what it needs and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The candidate is being made; the old release serves.
    Preparing,
    /// Waiting for the batch boundary.
    Quiescing {
        /// When the pause must be over.
        deadline: Moment,
    },
    /// Paused; `snapshot` runs.
    Snapshotting {
        /// When the pause must be over.
        deadline: Moment,
    },
    /// Paused; `code-change` runs.
    Migrating {
        /// When the pause must be over.
        deadline: Moment,
    },
    /// Paused; the candidate takes its place.
    Switching,
    /// The new release serves; the switch becomes durable.
    Recording {
        /// A rollback that a person asked for meanwhile: it waits for the verdict, for what it leaves undone may be needed yet.
        wanted: Option<Wanted>,
    },
    /// The new release serves; the smoke check runs.
    Verifying {
        /// As in `Recording`.
        wanted: Option<Wanted>,
    },
    /// The new release serves; the predecessor is kept.
    Probation {
        /// When it becomes permanent; none while somebody outside holds it.
        until: Option<Moment>,
    },
    /// Paused; the old instance is made anew after its `snapshot` failed it.
    Rebuilding {
        /// Why the swap is being aborted.
        why: String,
    },
    /// Paused; the predecessor is being reinstated.
    RollingBack {
        /// The way that is being tried.
        way: RollbackWay,
        /// Why.
        why: String,
        /// Of one that a person asked for: where to stay when no way leads back.
        asked: Option<Asked>,
    },
    /// The predecessor serves again; that becomes durable.
    RecordingRollback {
        /// The way that worked.
        way: RollbackWay,
        /// Why.
        why: String,
    },
    /// It is over.
    Ended(Outcome),
}

/// A rollback that a person asked for before the release was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    why: String,
    /// Losing what came since the switch is fine with them.
    allow_loss: bool,
}

/// A rollback that a person asked for, of a release that does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Losing what came since the switch is fine with them.
    allow_loss: bool,
    /// When the probation that was interrupted ends; none if it is held.
    until: Option<Moment>,
}

/// How the predecessor is reinstated, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RollbackWay {
    /// The new release writes the old format: nothing is lost.
    Downgrade,
    /// The checkpoint made at the switch, and on top of it the events since, handled by the predecessor: nothing is lost, but
    /// its answers to them may differ from those that were given.
    Replay,
    /// Each session by itself: one that handled nothing since the switch goes back, others are closed, and counted.
    Unchanged,
    /// The checkpoint made at the switch alone: what was written since is lost, and counted. Only where it is allowed.
    Checkpoint,
}

/// How a swap ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Outcome {
    /// The new release runs for good.
    Permanent,
    /// Nothing changed; the old release runs.
    Aborted {
        /// Why.
        why: String,
    },
    /// The predecessor runs again.
    RolledBack {
        /// Why.
        why: String,
        /// How.
        way: RollbackWay,
    },
    /// No way led back, or the old instance could not be made anew. The workload is stopped; its connections are parked.
    Stopped {
        /// Why.
        why: String,
    },
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The candidate stands ready, or does not.
    Prepared(Result<SwapPlan, String>),
    /// Every instance of the old release stands at a batch boundary.
    Quiesced,
    /// The old state is there.
    Snapshot(Result<(), CallFault>),
    /// The candidate took it over.
    CodeChanged(Result<(), CallFault>),
    /// The candidate is in place; whoever asks now reaches it.
    Switched,
    /// Checkpoint and record are durable, or can't be made so.
    Recorded(Result<(), String>),
    /// The smoke check's verdict.
    Verified(Result<(), String>),
    /// The new release failed by itself.
    Failed(String),
    /// The old instance was made anew, or can't be.
    Rebuilt(Result<(), String>),
    /// The way back worked, or did not.
    RolledBack(Result<(), NoWay>),
    /// A person asks for the predecessor.
    RollBackWanted {
        /// Why.
        why: String,
        /// Losing what came since the switch is fine with them.
        allow_loss: bool,
    },
    /// Somebody wants to go on, or commits a probation that was held: it ends now.
    MakePermanent,
    /// Look at the clock.
    Tick,
}

/// How a call into a guest failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallFault {
    /// It answered with an error; the instance is whole.
    Error(String),
    /// It trapped, or was cut off; the instance is lost.
    Lost(String),
}

/// Why a way did not lead back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoWay {
    /// It can't be gone.
    Blocked(String),
    /// It can be gone, and would cost this, which nobody allowed. Nothing has changed yet.
    Costs(String),
}

impl From<String> for NoWay {
    fn from(why: String) -> Self {
        Self::Blocked(why)
    }
}

impl From<&str> for NoWay {
    fn from(why: &str) -> Self {
        Self::Blocked(why.to_owned())
    }
}

/// Which release is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The predecessor.
    Old,
    /// The candidate.
    New,
}

/// What shall happen, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Stop at a batch boundary; answer [`Input::Quiesced`], or [`Input::Tick`] when the deadline has passed.
    Quiesce {
        /// When the pause must be over.
        deadline: Moment,
    },
    /// Call `snapshot`; answer [`Input::Snapshot`].
    Snapshot {
        /// The schema to ask for.
        schema: u32,
        /// When the call is cut off.
        deadline: Moment,
    },
    /// Read the last good checkpoint instead; answer [`Input::Snapshot`].
    LoadCheckpoint,
    /// Call `code-change` on the candidate; answer [`Input::CodeChanged`].
    CodeChange {
        /// When the call is cut off.
        deadline: Moment,
    },
    /// Put the candidate in place and raise the generation; answer [`Input::Switched`].
    Switch,
    /// This side goes on, parked events first.
    Resume(Side),
    /// Make checkpoint and switch record durable; answer [`Input::Recorded`].
    Record(Side),
    /// Run the smoke check; answer [`Input::Verified`].
    Verify,
    /// The probation is held: whoever asked for the swap is told, and decides.
    Hold,
    /// Make the old instance anew from its checkpoint; answer [`Input::Rebuilt`].
    Rebuild,
    /// Pause the new release and reinstate the predecessor; answer [`Input::RolledBack`].
    RollBack(RollbackWay),
    /// The rollback that was asked for is not possible: the new release stays, and whoever asked is told why.
    Stay(String),
    /// Throw the candidate away.
    DropCandidate,
    /// Free the predecessor and its checkpoint.
    Release,
    /// Stop the workload and keep its connections parked.
    Stop,
    /// It is over; report it.
    Finish(Outcome),
}

/// How long a phase took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseTime {
    /// Which.
    pub phase: PhaseName,
    /// How long.
    pub took: Duration,
}

/// One swap, from its preparation to its end.
///
/// Input: [`handle`](Self::handle). Getters: [`phase`](Self::phase), [`phase_name`](Self::phase_name),
/// [`times`](Self::times), [`pause`](Self::pause), [`may_lose`](Self::may_lose), [`wakes_at`](Self::wakes_at).
#[derive(Clone, Debug)]
pub struct Swap {
    id: SwapId,
    policy: SwapPolicy,
    plan: Option<SwapPlan>,
    phase: Phase,
    began: Moment,
    since: Moment,
    quiesced: Option<Moment>,
    pause: Option<Duration>,
    times: Vec<PhaseTime>,
}

impl Swap {
    /// Begins a swap: its candidate is being prepared from now on.
    #[must_use]
    pub const fn new(id: SwapId, policy: SwapPolicy, now: Moment) -> Self {
        Self {
            id,
            policy,
            plan: None,
            phase: Phase::Preparing,
            began: now,
            since: now,
            quiesced: None,
            pause: None,
            times: Vec::new(),
        }
    }

    /// Takes up a swap whose switch is durable and whose host started again, with the probation that remains. One that is
    /// held is held again.
    #[must_use]
    pub const fn resumed(id: SwapId, policy: SwapPolicy, plan: SwapPlan, now: Moment, until: Moment) -> Self {
        let phase = Phase::Probation { until: if policy.hold { None } else { Some(until) } };
        Self {
            id,
            policy,
            plan: Some(plan),
            phase,
            began: now,
            since: now,
            quiesced: None,
            pause: None,
            times: Vec::new(),
        }
    }

    /// Its number.
    #[must_use]
    pub const fn id(&self) -> SwapId {
        self.id
    }

    /// When its preparation began.
    #[must_use]
    pub const fn began(&self) -> Moment {
        self.began
    }

    /// Where it stands.
    #[must_use]
    pub const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The name of the phase it is in; none after its end.
    #[must_use]
    pub const fn phase_name(&self) -> Option<PhaseName> {
        match self.phase {
            Phase::Preparing => Some(PhaseName::Prepare),
            Phase::Quiescing { .. } => Some(PhaseName::Quiesce),
            Phase::Snapshotting { .. } => Some(PhaseName::Snapshot),
            Phase::Migrating { .. } => Some(PhaseName::CodeChange),
            Phase::Switching => Some(PhaseName::Switch),
            Phase::Recording { .. } => Some(PhaseName::Record),
            Phase::Verifying { .. } => Some(PhaseName::Verify),
            Phase::Probation { .. } => Some(PhaseName::Probation),
            Phase::Rebuilding { .. } => Some(PhaseName::Rebuild),
            Phase::RollingBack { .. } | Phase::RecordingRollback { .. } => Some(PhaseName::RollBack),
            Phase::Ended(_) => None,
        }
    }

    /// The plan, once the candidate is prepared.
    #[must_use]
    pub const fn plan(&self) -> Option<&SwapPlan> {
        self.plan.as_ref()
    }

    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &SwapPolicy {
        &self.policy
    }

    /// The phases that are over and how long each took, in order.
    #[must_use]
    pub fn times(&self) -> &[PhaseTime] {
        &self.times
    }

    /// From the batch boundary to the moment a release served again: the host's own figure of the pause.
    #[must_use]
    pub const fn pause(&self) -> Option<Duration> {
        self.pause
    }

    /// Whether the rollback under way may close sessions for which no way leads back. One that a person asked for only where
    /// they allow loss; of a release that failed they would be lost in any case.
    #[must_use]
    pub const fn may_lose(&self) -> bool {
        match self.phase {
            Phase::RollingBack { asked: Some(Asked { allow_loss, .. }), .. } => allow_loss || self.policy.allow_loss,
            _ => true,
        }
    }

    /// When it wants [`Input::Tick`].
    #[must_use]
    pub const fn wakes_at(&self) -> Option<Moment> {
        match self.phase {
            Phase::Quiescing { deadline } => Some(deadline),
            Phase::Probation { until } => until,
            _ => None,
        }
    }

    /// Takes what happened at `now` and says what shall happen. Input that the phase has no use for changes nothing.
    pub fn handle(&mut self, input: Input, now: Moment) -> Vec<Effect> {
        match (self.phase.clone(), input) {
            (Phase::Preparing, Input::Prepared(Ok(plan))) => {
                self.plan = Some(plan);
                let deadline = now.after(self.policy.pause_limit);
                self.enter(Phase::Quiescing { deadline }, now);
                vec![Effect::Quiesce { deadline }]
            }
            (Phase::Preparing, Input::Prepared(Err(why)) | Input::RollBackWanted { why, .. }) => {
                let mut effects = vec![Effect::DropCandidate];
                effects.extend(self.end(Outcome::Aborted { why }, now));
                effects
            }
            (Phase::Quiescing { deadline }, Input::Quiesced) => self.quiesced(deadline, now),
            (Phase::Quiescing { deadline }, Input::Tick) if now >= deadline => self
                .abort(format!("the running batch did not end within {:?} (--timeout)", self.policy.pause_limit), now),
            (Phase::Quiescing { .. }, Input::RollBackWanted { why, .. } | Input::Failed(why)) => self.abort(why, now),
            (Phase::Snapshotting { .. } | Phase::Migrating { .. }, input) => self.paused(input, now),
            (Phase::Switching, Input::Switched) => {
                self.pause = self.quiesced.map(|quiesced| now.since(quiesced));
                self.enter(Phase::Recording { wanted: None }, now);
                vec![Effect::Resume(Side::New), Effect::Record(Side::New)]
            }
            (Phase::Rebuilding { why }, Input::Rebuilt(result)) => self.rebuilt(why, result, now),
            (Phase::Recording { .. } | Phase::Verifying { .. } | Phase::Probation { .. }, input) => {
                self.serving(input, now)
            }
            (Phase::RollingBack { way, why, asked }, Input::RolledBack(result)) => {
                self.rolled_back(way, why, asked, result, now)
            }
            (Phase::RecordingRollback { way, why }, Input::Recorded(result)) => {
                let why = match result {
                    Ok(()) => why,
                    Err(error) => format!("{why}; and the rollback could not be recorded on disk: {error}"),
                };
                let mut effects = vec![Effect::Release];
                effects.extend(self.end(Outcome::RolledBack { why, way }, now));
                effects
            }
            // The predecessor failed right after it was reinstated: its own supervision deals with that.
            _ => Vec::new(),
        }
    }

    fn quiesced(&mut self, deadline: Moment, now: Moment) -> Vec<Effect> {
        self.quiesced = Some(now);
        let path = self.plan.as_ref().map(|plan| plan.state);
        self.enter(Phase::Snapshotting { deadline }, now);
        match path {
            Some(StatePath::Checkpoint { .. }) => vec![Effect::LoadCheckpoint],
            Some(path) => vec![Effect::Snapshot { schema: path.snapshot_schema(), deadline }],
            // Preparing always leaves a plan behind.
            None => self.abort("the swap has no plan".to_owned(), now),
        }
    }

    fn paused(&mut self, input: Input, now: Moment) -> Vec<Effect> {
        let (Phase::Snapshotting { deadline } | Phase::Migrating { deadline }) = self.phase else { return Vec::new() };
        let late = now >= deadline;
        let limit = self.policy.pause_limit;
        match input {
            Input::Snapshot(Ok(())) | Input::CodeChanged(Ok(())) if late => {
                self.abort(format!("the pause would exceed {limit:?} (--timeout)"), now)
            }
            Input::Snapshot(Ok(())) => {
                self.enter(Phase::Migrating { deadline }, now);
                vec![Effect::CodeChange { deadline }]
            }
            Input::Snapshot(Err(CallFault::Error(error))) => self.abort(format!("snapshot failed: {error}"), now),
            Input::Snapshot(Err(CallFault::Lost(error))) => {
                self.enter(Phase::Rebuilding { why: format!("snapshot failed: {error}") }, now);
                vec![Effect::DropCandidate, Effect::Rebuild]
            }
            Input::CodeChanged(Ok(())) => {
                self.enter(Phase::Switching, now);
                vec![Effect::Switch]
            }
            Input::CodeChanged(Err(CallFault::Error(error) | CallFault::Lost(error))) => {
                self.abort(format!("code-change failed: {error}"), now)
            }
            _ => Vec::new(),
        }
    }

    /// The new release serves and can still be rolled back.
    fn serving(&mut self, input: Input, now: Moment) -> Vec<Effect> {
        let one_way = self.is_one_way();
        match (&mut self.phase, input) {
            // There is nowhere to go: the new release goes on.
            (_, Input::RollBackWanted { .. }) if one_way => {
                vec![Effect::Stay("nothing leads back from this swap".to_owned())]
            }
            (_, Input::Failed(why)) => self.roll_back(why, None, now),
            (Phase::Probation { until }, Input::RollBackWanted { why, allow_loss }) => {
                let asked = Asked { allow_loss, until: *until };
                self.roll_back(why, Some(asked), now)
            }
            (Phase::Recording { wanted } | Phase::Verifying { wanted }, Input::RollBackWanted { why, allow_loss }) => {
                *wanted = Some(Wanted { why, allow_loss });
                Vec::new()
            }
            (Phase::Recording { wanted }, Input::Recorded(Ok(()))) => {
                let wanted = wanted.take();
                self.enter(Phase::Verifying { wanted }, now);
                vec![Effect::Verify]
            }
            (Phase::Recording { .. }, Input::Recorded(Err(error))) => {
                self.roll_back(format!("the switch could not be recorded on disk: {error}"), None, now)
            }
            (Phase::Verifying { wanted }, Input::Verified(verdict)) => match (verdict, wanted.take()) {
                (Err(why), _) if !self.policy.force && !one_way => {
                    self.roll_back(format!("the smoke check failed: {why}"), None, now)
                }
                _ if one_way => self.permanent(now),
                (_, Some(Wanted { why, allow_loss })) => {
                    let until = (!self.policy.hold).then(|| now.after(self.policy.probation));
                    self.roll_back(why, Some(Asked { allow_loss, until }), now)
                }
                _ if self.policy.hold => {
                    self.enter(Phase::Probation { until: None }, now);
                    vec![Effect::Hold]
                }
                _ if self.policy.probation.is_zero() => self.permanent(now),
                _ => {
                    self.enter(Phase::Probation { until: Some(now.after(self.policy.probation)) }, now);
                    Vec::new()
                }
            },
            (Phase::Probation { until: Some(until) }, Input::Tick) if now >= *until => self.permanent(now),
            (Phase::Probation { .. }, Input::MakePermanent) => self.permanent(now),
            _ => Vec::new(),
        }
    }

    /// Nothing leads back, so that a probation has nothing to fall back on.
    fn is_one_way(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.way_back == WayBack::None)
    }

    fn permanent(&mut self, now: Moment) -> Vec<Effect> {
        let mut effects = vec![Effect::Release];
        effects.extend(self.end(Outcome::Permanent, now));
        effects
    }

    fn abort(&mut self, why: String, now: Moment) -> Vec<Effect> {
        self.pause = self.quiesced.map(|quiesced| now.since(quiesced));
        let mut effects = vec![Effect::Resume(Side::Old), Effect::DropCandidate];
        effects.extend(self.end(Outcome::Aborted { why }, now));
        effects
    }

    fn rebuilt(&mut self, why: String, result: Result<(), String>, now: Moment) -> Vec<Effect> {
        self.pause = self.quiesced.map(|quiesced| now.since(quiesced));
        match result {
            Ok(()) => {
                let mut effects = vec![Effect::Resume(Side::Old)];
                effects.extend(self.end(Outcome::Aborted { why }, now));
                effects
            }
            Err(error) => {
                let why = format!("{why}; and the instance could not be made anew: {error}");
                let mut effects = vec![Effect::Stop];
                effects.extend(self.end(Outcome::Stopped { why }, now));
                effects
            }
        }
    }

    fn roll_back(&mut self, why: String, asked: Option<Asked>, now: Moment) -> Vec<Effect> {
        let way = match self.plan.as_ref().map(|plan| plan.way_back) {
            Some(WayBack::Downgrade) => RollbackWay::Downgrade,
            Some(WayBack::Unchanged) => RollbackWay::Unchanged,
            // Tried even where it can't work: whoever reads the report shall see what was tried.
            Some(WayBack::Replay | WayBack::None) | None => RollbackWay::Replay,
        };
        self.enter(Phase::RollingBack { way, why, asked }, now);
        vec![Effect::RollBack(way)]
    }

    fn rolled_back(
        &mut self,
        way: RollbackWay,
        why: String,
        asked: Option<Asked>,
        result: Result<(), NoWay>,
        now: Moment,
    ) -> Vec<Effect> {
        let error = match (result, asked) {
            (Ok(()), _) => {
                // Not entered as a phase of its own: recording belongs to the rollback's time.
                self.phase = Phase::RecordingRollback { way, why };
                return vec![Effect::Resume(Side::Old), Effect::Record(Side::Old)];
            }
            // No other way is tried: this one is open to whoever allows what it costs.
            (Err(NoWay::Costs(cost)), Some(asked)) => {
                return self.stay(asked, format!("{cost}; --allow-loss goes back all the same"), now);
            }
            (Err(NoWay::Blocked(error) | NoWay::Costs(error)), _) => error,
        };
        if let Some(way) = self.next_way(way, asked) {
            self.phase = Phase::RollingBack { way, why: format!("{why}; {error}"), asked };
            return vec![Effect::RollBack(way)];
        }
        let mut why = format!("{why}; and no way led back: {error}");
        if way == RollbackWay::Replay {
            why.push_str("; the state at the switch alone would lose what came since (--allow-loss)");
        }
        if let Some(asked) = asked {
            return self.stay(asked, why, now);
        }
        let mut effects = vec![Effect::Stop];
        effects.extend(self.end(Outcome::Stopped { why }, now));
        effects
    }

    /// Nothing is wrong with the new release but that somebody wanted another.
    fn stay(&mut self, asked: Asked, why: String, now: Moment) -> Vec<Effect> {
        self.enter(Phase::Probation { until: asked.until }, now);
        vec![Effect::Resume(Side::New), Effect::Stay(why)]
    }

    /// What is tried when this way did not lead back.
    fn next_way(&self, failed: RollbackWay, asked: Option<Asked>) -> Option<RollbackWay> {
        let allow_loss = self.policy.allow_loss || asked.is_some_and(|asked| asked.allow_loss);
        match failed {
            RollbackWay::Downgrade => Some(RollbackWay::Replay),
            RollbackWay::Replay if allow_loss => Some(RollbackWay::Checkpoint),
            RollbackWay::Replay | RollbackWay::Unchanged | RollbackWay::Checkpoint => None,
        }
    }

    fn end(&mut self, outcome: Outcome, now: Moment) -> Vec<Effect> {
        self.enter(Phase::Ended(outcome.clone()), now);
        vec![Effect::Finish(outcome)]
    }

    fn enter(&mut self, phase: Phase, now: Moment) {
        if let Some(name) = self.phase_name() {
            self.times.push(PhaseTime { phase: name, took: now.since(self.since) });
        }
        self.phase = phase;
        self.since = now;
    }
}

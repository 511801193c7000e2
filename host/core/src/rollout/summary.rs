//! How a rollout goes and went, for people and programs.

use semver::Version;
use serde::{Deserialize, Serialize};

use super::{
    EventKind, HostId, HostRecord, HostState, Link, Rollout, State, StateName, command::Measured, planner::Skipped,
};
use crate::{
    id::{Generation, RolloutId, WorkloadName},
    plan::WayBack,
    time::UnixNanos,
};

/// How a rollout went, or goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Which.
    pub rollout: RolloutId,
    /// The workload.
    pub workload: WorkloadName,
    /// The version wanted.
    pub to: Version,
    /// Where it stands.
    pub state: StateName,
    /// What it comes to.
    pub verdict: Verdict,
    /// Why, where there is something to explain.
    pub why: Option<String>,
    /// How many hosts stand where.
    pub counts: Counts,
    /// When it was made.
    pub began: UnixNanos,
    /// When it was over.
    pub ended: Option<UnixNanos>,
    /// Each host.
    pub hosts: Vec<HostSummary>,
}

/// What a rollout comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It goes on by itself.
    UnderWay,
    /// It waits for a person.
    Waiting,
    /// Every host that took part runs the target.
    Done,
    /// The target is what hosts shall run, and some of them do not yet; or a cancelled one was kept.
    Partial,
    /// Nothing has changed anywhere.
    Unchanged,
    /// Every host that had switched is back.
    RolledBack,
    /// Some host could not be put back, or has not answered.
    Incomplete,
}

impl Verdict {
    /// As written for people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnderWay => "under-way",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Partial => "partial",
            Self::Unchanged => "unchanged",
            Self::RolledBack => "rolled-back",
            Self::Incomplete => "incomplete",
        }
    }
}

/// How many hosts stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Hosts that are meant.
    pub total: usize,
    /// Run the target for good.
    pub upgraded: usize,
    /// Ran it before.
    pub already: usize,
    /// Serve it, predecessor kept, or are about to.
    pub switched: usize,
    /// Were not touched yet.
    pub waiting: usize,
    /// Could not switch.
    pub failed: usize,
    /// Are back.
    pub rolled_back: usize,
    /// Did not answer.
    pub unknown: usize,
    /// Can't go back.
    pub stuck: usize,
    /// Were changed by somebody else.
    pub drifted: usize,
    /// Were left out from the beginning.
    pub skipped: usize,
}

/// How a host did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSummary {
    /// Which.
    pub host: HostId,
    /// Its wave, counted from 1; none for one that is not switched.
    pub wave: Option<usize>,
    /// What ran before; none where the workload was not.
    pub from: Option<Version>,
    /// Where it stands: a [`HostState`]'s word, `already` or `skipped`.
    pub state: String,
    /// Why, where there is something to explain.
    pub why: Option<String>,
    /// Whether it is connected; none where nobody looks.
    pub connected: Option<bool>,
    /// Its generation.
    pub generation: Option<Generation>,
    /// How it could go back.
    pub way_back: Option<WayBack>,
    /// What its swap cost.
    pub measured: Option<Measured>,
    /// What it is still owed.
    pub owed: Option<String>,
    /// What its rehearsal showed.
    pub notes: Vec<String>,
}

impl Rollout {
    /// How it went, or goes.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            rollout: self.id,
            workload: self.workload().clone(),
            to: self.request.target.version.clone(),
            state: self.state.name(),
            verdict: self.verdict(),
            why: self.because(),
            counts: self.counts(),
            began: self.began,
            ended: self.ended,
            hosts: self.host_summaries(),
        }
    }

    /// What it comes to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let missing = |record: &HostRecord| record.state != HostState::Committed;
        match &self.state {
            State::Paused { .. } | State::Held { .. } => Verdict::Waiting,
            State::Complete if self.hosts.values().any(missing) => Verdict::Partial,
            State::Complete | State::Rehearsed => Verdict::Done,
            State::Cancelled { kept: true } => Verdict::Partial,
            State::Cancelled { kept: false } if self.hosts.values().any(|record| record.was_switched) => {
                Verdict::RolledBack
            }
            State::Cancelled { kept: false } | State::Refused { .. } | State::Failed { .. } => Verdict::Unchanged,
            State::RolledBack { .. } => Verdict::RolledBack,
            State::RollbackIncomplete { .. } => Verdict::Incomplete,
            _ => Verdict::UnderWay,
        }
    }

    /// How many hosts stand where.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let (already, skipped) = self.plan.as_ref().map_or((0, 0), |plan| (plan.already.len(), plan.skipped.len()));
        let mut counts = Counts { total: self.hosts.len() + already + skipped, already, skipped, ..Counts::default() };
        for record in self.hosts.values() {
            let count = match record.state {
                HostState::Pending | HostState::Prepared { .. } => &mut counts.waiting,
                HostState::Sent { .. } | HostState::Switched { .. } | HostState::Healthy { .. } => &mut counts.switched,
                HostState::Committed => &mut counts.upgraded,
                HostState::RolledBack { .. } => &mut counts.rolled_back,
                HostState::Failed { .. } => &mut counts.failed,
                HostState::Unknown { .. } => &mut counts.unknown,
                HostState::Stuck { .. } => &mut counts.stuck,
                HostState::Drifted { .. } => &mut counts.drifted,
            };
            *count += 1;
        }
        counts
    }

    fn host_summaries(&self) -> Vec<HostSummary> {
        let blank = |host: &HostId, state: &str| HostSummary {
            host: host.clone(),
            wave: None,
            from: None,
            state: state.to_owned(),
            why: None,
            connected: None,
            generation: None,
            way_back: None,
            measured: None,
            owed: None,
            notes: Vec::new(),
        };
        let part = self.hosts.iter().map(|(host, record)| HostSummary {
            wave: Some(record.wave + 1),
            from: record.before.as_ref().map(|running| running.version.clone()),
            why: record.state.why().map(str::to_owned),
            connected: Some(record.link == Link::Up),
            generation: Some(record.generation),
            way_back: record.way_back,
            measured: record.measured,
            owed: self.obligation(host).map(|owed| owed.as_str().to_owned()),
            notes: record.notes.clone(),
            ..blank(host, record.state.as_str())
        });
        let mut hosts: Vec<_> = part.collect();
        hosts.sort_by_key(|host| host.wave);
        if let Some(plan) = &self.plan {
            let already = plan.already.iter().map(|host| blank(host, "already"));
            hosts.extend(already.map(|host| HostSummary { from: Some(plan.to.clone()), ..host }));
            let skipped =
                |(host, why): (&HostId, &Skipped)| HostSummary { why: Some(why.to_string()), ..blank(host, "skipped") };
            hosts.extend(plan.skipped.iter().map(skipped));
        }
        hosts
    }

    /// What brought it to where it stands, where there is something to explain.
    pub(super) fn because(&self) -> Option<String> {
        match &self.state {
            State::Paused { why, .. } => Some(why.to_string()),
            State::RollingBack { cause } => Some(cause.to_string()),
            State::Refused { refusal } => Some(refusal.to_string()),
            State::Held { why }
            | State::Failed { why }
            | State::RolledBack { why }
            | State::RollbackIncomplete { why } => Some(why.clone()),
            State::Cancelled { kept: true } => Some("cancelled; what was switched is kept".to_owned()),
            _ => None,
        }
    }

    /// The event that entering the state is, its wave, and its words.
    pub(super) fn told(&self) -> (EventKind, Option<usize>, String) {
        let waves = self.plan.as_ref().map_or(0, |plan| plan.waves.len());
        let counts = self.counts();
        let name = format!("{} {}", self.workload(), self.request.target.version);
        match &self.state {
            State::Switching { wave } => (EventKind::Wave, Some(*wave), format!("wave {} of {waves} begins", wave + 1)),
            State::Verifying { wave, .. } => {
                let switched = counts.switched;
                (EventKind::State, Some(*wave), format!("{switched} switched host(s) are watched"))
            }
            State::Resting { next, .. } => {
                (EventKind::State, Some(*next), format!("wave {} waits for its delay", next + 1))
            }
            State::RollingBack { cause } => (EventKind::Rollback, None, format!("hosts are put back: {cause}")),
            State::Paused { why, .. } => (EventKind::Paused, None, format!("{why}; it waits for a person")),
            State::Held { why } => (
                EventKind::Failed,
                None,
                format!("{why}; everything is left as it is (--no-rollback), predecessors kept"),
            ),
            State::Complete => {
                let Counts { upgraded, already, total, .. } = counts;
                (EventKind::Completed, None, format!("{name} runs on {} of {total} host(s)", upgraded + already))
            }
            State::Rehearsed => {
                (EventKind::Completed, None, format!("{name} was rehearsed on every host; none was switched"))
            }
            State::Refused { refusal } => (EventKind::Failed, None, refusal.to_string()),
            State::Failed { why } => (EventKind::Failed, None, format!("{why}; no host was changed")),
            State::RolledBack { why } => {
                (EventKind::Failed, None, format!("{} host(s) run what they ran before: {why}", counts.rolled_back))
            }
            State::RollbackIncomplete { why } => {
                let open = counts.stuck + counts.unknown;
                (EventKind::Failed, None, format!("{open} host(s) are stuck or have not answered: {why}"))
            }
            State::Cancelled { kept: true } => {
                (EventKind::Cancelled, None, "cancelled; what was switched is kept".to_owned())
            }
            State::Cancelled { kept: false } => (EventKind::Cancelled, None, "cancelled".to_owned()),
            State::Scheduled { .. } | State::Discovering { .. } | State::Preparing | State::Committing => {
                (EventKind::State, None, self.state.name().to_string())
            }
        }
    }
}

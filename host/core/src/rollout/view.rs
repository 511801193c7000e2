//! What people are told of a rollout: how it went, what it waits for, and what they can do.

use std::{fmt, time::Duration};

use semver::Version;
use serde::{Deserialize, Serialize};

use super::{
    Ask, EventKind, HostId, HostRecord, HostState, Link, Rollout, State, StateName,
    command::{ActionKind, Measured},
    planner::Skipped,
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

/// What a rollout waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// Which.
    pub rollout: RolloutId,
    /// The workload.
    pub workload: WorkloadName,
    /// Where it stands.
    pub state: StateName,
    /// Since when.
    pub since: UnixNanos,
    /// When this was asked.
    pub now: UnixNanos,
    /// What brought it there, where there is something to explain.
    pub because: Option<String>,
    /// What it waits for.
    pub waiting_for: Vec<Waiting>,
    /// What happens next by itself; none when nothing does.
    pub next: Option<Next>,
    /// What a person can do.
    pub advice: Vec<Advice>,
}

/// Something that is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Of which host; none if it is not of one.
    pub host: Option<HostId>,
    /// What.
    pub what: String,
    /// Since when.
    pub since: UnixNanos,
    /// When it is no longer waited for.
    pub until: Option<UnixNanos>,
}

/// What happens next by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// What.
    pub what: String,
    /// At the latest when, where that is known.
    pub at: Option<UnixNanos>,
}

/// A command that would change something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// The command.
    pub command: String,
    /// What it would do.
    pub effect: String,
}

/// Hosts that are listed when something is waited for; the rest is counted.
const WAITING_NAMED: usize = 20;

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
    fn because(&self) -> Option<String> {
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

    /// What it waits for, since when, what happens next by itself, and what would change it.
    #[must_use]
    pub fn why(&self, now: UnixNanos) -> Why {
        Why {
            rollout: self.id,
            workload: self.workload().clone(),
            state: self.state.name(),
            since: self.since,
            now,
            because: self.because(),
            waiting_for: self.waiting_for(),
            next: self.next(),
            advice: self.advice(),
        }
    }

    fn waiting_for(&self) -> Vec<Waiting> {
        let mut waiting: Vec<_> =
            self.hosts.iter().filter_map(|(host, record)| self.waiting_for_host(host, record)).collect();
        let more = waiting.len().saturating_sub(WAITING_NAMED);
        waiting.truncate(WAITING_NAMED);
        let general = |what: String, until| Waiting { host: None, what, since: self.since, until };
        if more > 0 {
            waiting.push(general(format!("{more} more hosts"), None));
        }
        match &self.state {
            State::Scheduled { at, .. } => waiting.push(general("its time".to_owned(), Some(*at))),
            State::Discovering { waiting_for } if waiting_for.is_empty() => {
                waiting.push(general("what is known of the fleet".to_owned(), None));
            }
            State::Discovering { waiting_for } => {
                waiting.extend(waiting_for.iter().map(|host| Waiting {
                    host: Some(host.clone()),
                    ..general("to connect".to_owned(), Some(self.since.after(self.request.policy.progress_deadline)))
                }));
            }
            State::Resting { until, .. } => {
                waiting.push(general("the delay before the next wave".to_owned(), Some(*until)))
            }
            State::Paused { .. } | State::Held { .. } => waiting.push(general("a person".to_owned(), None)),
            _ => {}
        }
        waiting
    }

    fn waiting_for_host(&self, host: &HostId, record: &HostRecord) -> Option<Waiting> {
        let wait = |what: String, since, until| Some(Waiting { host: Some(host.clone()), what, since, until });
        let timeout = self.request.policy.host_timeout;
        if let HostState::Unknown { since, .. } = record.state {
            let what = if record.link == Link::Up { "an answer; it is connected" } else { "to come back" };
            return wait(what.to_owned(), since, None);
        }
        if let Some(open) = record.open {
            let doing = match open.action {
                ActionKind::Prepare => "to prepare",
                ActionKind::Switch => "to switch",
                ActionKind::Commit => "to commit",
                ActionKind::RollBack => "to go back",
            };
            return wait(doing.to_owned(), open.sent, Some(open.deadline));
        }
        if matches!(record.state, HostState::Stuck { .. }) && record.resolved.is_none() {
            return wait("a person's word: it is stuck".to_owned(), self.since, None);
        }
        if let (Link::Down { since }, false) = (record.link, self.is_over()) {
            let needed = record.is_to_do() || record.state.is_switched();
            return if needed {
                wait("to come back".to_owned(), since, Some(since.max(self.since).after(timeout)))
            } else {
                None
            };
        }
        let State::Verifying { watched, wave, promoted } = &self.state else { return None };
        let watch = watched.get(host).filter(|_| record.is_watched())?;
        let needed = self.needed(*wave, *promoted);
        if watch.has_been_well_for(needed, record.generation) {
            return None;
        }
        let asked = if matches!(watch.next, Ask::Open { .. }) { ", asked just now" } else { "" };
        match watch.well_since {
            Some((since, _)) => wait(format!("to be well for {}", Span(needed)), since, Some(since.after(needed))),
            None if watch.seen.is_empty() => wait("to say how it is".to_owned(), self.since, None),
            None => wait(format!("to be well{asked}; last seen: {}", watch.seen), self.since, None),
        }
    }

    fn next(&self) -> Option<Next> {
        let next = |what: &str, at| Some(Next { what: what.to_owned(), at });
        let after = |wave: usize| match self.plan.as_ref().map_or(0, |plan| plan.waves.len()) {
            waves if wave + 1 < waves && self.cut.is_none() => format!("wave {} of {waves}", wave + 2),
            _ => "the commit on every host".to_owned(),
        };
        match &self.state {
            State::Scheduled { at, .. } => next("it begins", Some(*at)),
            State::Discovering { .. } => next("it is planned", None),
            State::Preparing => next("the first wave, when every host has prepared", None),
            State::Switching { .. } => next("all switched hosts are watched, when the wave has switched", None),
            State::Verifying { wave, promoted, .. } => {
                let at = self.since.after(self.needed(*wave, *promoted));
                next(&format!("{}, when all have been well long enough", after(*wave)), Some(at))
            }
            State::Resting { next: wave, until } => next(&format!("wave {}", wave + 1), Some(*until)),
            State::Committing => next("it is complete, when every host has committed or is given up as unknown", None),
            State::RollingBack { .. } => {
                next("it is over, when every host is back, stuck or given up as unknown", None)
            }
            State::Paused { .. } | State::Held { .. } => None,
            _ if self.obligations().is_empty() => None,
            _ => next("hosts that come back get what was decided", None),
        }
    }

    fn advice(&self) -> Vec<Advice> {
        let id = self.id;
        let say =
            |verb: &str, effect: &str| Advice { command: format!("host fleet {verb} {id}"), effect: effect.to_owned() };
        let cancel = say("cancel", "puts switched hosts back and ends it");
        let keep = Advice {
            command: format!("host fleet cancel {id} --keep"),
            effect: "begins no further wave, and keeps what is switched once it is verified".to_owned(),
        };
        let pause = say("pause", "begins nothing more until it is resumed");
        let mut advice = match &self.state {
            State::Scheduled { .. } | State::Discovering { .. } => vec![say("cancel", "ends it; nothing has changed")],
            State::Preparing => vec![pause, say("cancel", "ends it; no host is switched")],
            State::Switching { .. } => vec![pause, cancel, keep],
            State::Verifying { .. } => {
                vec![say("promote", "goes on as soon as every host is well once"), pause, cancel, keep]
            }
            State::Resting { .. } => vec![say("promote", "begins the wave now"), pause, cancel, keep],
            State::Committing | State::RollingBack { .. } => vec![pause],
            State::Paused { .. } => vec![say("resume", "goes on where it stood"), cancel, keep],
            State::Held { .. } => {
                let retry = say("retry", "prepares and switches again the hosts that failed");
                vec![retry, say("cancel", "puts every switched host back"), keep]
            }
            _ => Vec::new(),
        };
        let lost = |record: &HostRecord| {
            let lost = matches!(record.state, HostState::Unknown { .. } | HostState::Stuck { .. });
            lost && record.resolved.is_none()
        };
        advice.extend(self.hosts.iter().filter(|(_, record)| lost(record)).take(WAITING_NAMED).map(|(host, _)| {
            Advice {
                command: format!("host fleet resolve {id} --host {host} --as committed|rolled-back|gone"),
                effect: "closes it with this host, on your word".to_owned(),
            }
        }));
        advice
    }
}

/// A length of time for people: the two largest units.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0..60 => write!(f, "{seconds}s"),
            60..3600 => write!(f, "{}m {}s", seconds / 60, seconds % 60),
            _ => write!(f, "{}h {}m", seconds / 3600, seconds % 3600 / 60),
        }
    }
}

/// One line for each thing, the most important first.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ago = |at: UnixNanos| Span(self.now.since(at));
        let left = |at: UnixNanos| Span(at.since(self.now));
        writeln!(f, "rollout {} of {} is {}, for {}", self.rollout, self.workload, self.state, ago(self.since))?;
        if let Some(because) = &self.because {
            writeln!(f, "  because: {because}")?;
        }
        for waiting in &self.waiting_for {
            let whom = waiting.host.as_ref().map(|host| format!("{host}: ")).unwrap_or_default();
            write!(f, "  waits for {whom}{}, for {}", waiting.what, ago(waiting.since))?;
            match waiting.until {
                Some(until) => writeln!(f, ", at most {} more", left(until))?,
                None => writeln!(f)?,
            }
        }
        match &self.next {
            Some(Next { what, at: Some(at) }) => writeln!(f, "  next: {what}, in {} at the earliest", left(*at))?,
            Some(Next { what, at: None }) => writeln!(f, "  next: {what}")?,
            None => writeln!(f, "  next: nothing happens by itself")?,
        }
        for Advice { command, effect } in &self.advice {
            writeln!(f, "  {command}: {effect}")?;
        }
        Ok(())
    }
}

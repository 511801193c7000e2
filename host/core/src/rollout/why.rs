//! What a rollout waits for, and what a person can do about it.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Ask, HostId, HostRecord, HostState, Link, Rollout, State, StateName, command::ActionKind};
use crate::{
    id::{RolloutId, WorkloadName},
    time::UnixNanos,
};

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

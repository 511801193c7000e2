//! Switched hosts are watched: every one of them, until each has been healthy, at one generation, for as long as it takes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Effect, EventKind, HEALTH_INTERVAL, HealthAnswer, HostId, HostRecord, HostState, Link, PauseReason, Rollout, State,
    drive::Step,
    policy::{HealthCheck, Strategy},
};
use crate::{
    id::{Generation, QuestionId},
    time::UnixNanos,
};

/// What is known of a switched host while it is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Since when every answer was good, at this generation.
    pub well_since: Option<(UnixNanos, Generation)>,
    /// When the last good answer came.
    pub last_well: Option<UnixNanos>,
    /// Answers in a row that were not good enough.
    pub bad: u32,
    /// Questions in a row that nobody could answer.
    pub unknown: u32,
    /// What comes next.
    pub next: Ask,
    /// What was last seen, in words.
    pub seen: String,
}

/// What comes next for a host that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// It is asked at this time.
    At(UnixNanos),
    /// It was asked.
    Open {
        /// With this number.
        ask: QuestionId,
        /// When an answer is no longer waited for.
        until: UnixNanos,
    },
}

impl Default for Ask {
    fn default() -> Self {
        Self::At(UnixNanos(0))
    }
}

impl Watch {
    /// Whether every answer was good for this long, all of one generation.
    pub(super) fn has_been_well_for(&self, needed: Duration, generation: Generation) -> bool {
        match (self.well_since, self.last_well) {
            (Some((since, of)), Some(last)) => of == generation && last >= since.after(needed),
            _ => false,
        }
    }

    /// When a host that is well is asked again: often enough, and exactly at the end.
    pub(super) fn next_ask(&self, needed: Duration, now: UnixNanos) -> Ask {
        let soon = now.after(HEALTH_INTERVAL);
        let end = self.well_since.map(|(since, _)| since.after(needed)).filter(|end| *end > now);
        Ask::At(end.map_or(soon, |end| end.min(soon)))
    }
}

impl Rollout {
    /// All hosts switched so far are watched until each has been healthy for as long as it takes.
    pub(super) fn verifying(&mut self, out: &mut Vec<Effect>) -> Step {
        let State::Verifying { promoted, watched, wave } = &mut self.state else { return Step::Waits };
        let (wave, promoted, mut watched) = (*wave, *promoted, std::mem::take(watched));
        let needed = self.needed(wave, promoted);
        watched.retain(|host, _| self.hosts.get(host).is_some_and(HostRecord::is_watched));
        if self.request.policy.health.check != HealthCheck::Off {
            let is_due = |host: &HostId| match watched.get(host).map(|watch| watch.next) {
                Some(Ask::At(at)) => self.now >= at,
                Some(Ask::Open { .. }) => false,
                None => true,
            };
            let reached = self.hosts.iter().filter(|(_, record)| record.is_watched() && record.link == Link::Up);
            let due: Vec<_> = reached.map(|(host, _)| host).filter(|host| is_due(host)).cloned().collect();
            for host in due {
                let next = self.ask(&host, out);
                watched.entry(host).or_default().next = next;
            }
        }
        let settled = !self.hosts.values().any(|record| record.is_under_way() || record.is_failing());
        let verified = self
            .hosts
            .iter()
            .filter(|(_, record)| record.is_watched())
            .all(|(host, record)| self.is_verified(record, watched.get(host), needed));
        self.state = State::Verifying { wave, promoted, watched };
        if !(settled && verified) {
            return Step::Waits;
        }
        for host in self.hosts_where(HostRecord::is_watched) {
            self.set_host(&host, HostState::Healthy { since: self.now }, out);
        }
        self.advance(out)
    }

    /// How long hosts must be healthy after this wave.
    pub(super) fn needed(&self, wave: usize, promoted: bool) -> Duration {
        let policy = &self.request.policy;
        match policy.strategy {
            _ if promoted => Duration::ZERO,
            Strategy::Canary { monitor, .. } if wave == 0 => monitor.max(policy.soak),
            _ => policy.soak,
        }
    }

    fn is_verified(&self, record: &HostRecord, watch: Option<&Watch>, needed: Duration) -> bool {
        if self.request.policy.health.check == HealthCheck::Off {
            let (HostState::Switched { since } | HostState::Healthy { since }) = record.state else { return false };
            return record.link == Link::Up && self.now >= since.max(self.since).after(needed);
        }
        watch.is_some_and(|watch| watch.has_been_well_for(needed, record.generation))
    }

    /// When a host that is watched is looked at next.
    pub(super) fn next_look(&self) -> Option<UnixNanos> {
        let State::Verifying { wave, promoted, watched } = &self.state else { return None };
        let hosts = self.hosts.iter().filter(|(_, record)| record.is_watched() && record.link == Link::Up);
        if self.request.policy.health.check == HealthCheck::Off {
            let needed = self.needed(*wave, *promoted);
            let since = |record: &HostRecord| match record.state {
                HostState::Switched { since } | HostState::Healthy { since } => since.max(self.since),
                _ => self.since,
            };
            return hosts.map(|(_, record)| since(record).after(needed)).filter(|at| *at > self.now).min();
        }
        let next = |watch: &Watch| match watch.next {
            Ask::At(at) => at,
            Ask::Open { until, .. } => until,
        };
        hosts.filter_map(|(host, _)| watched.get(host)).map(next).min()
    }

    /// Questions for health that nobody answered.
    pub(super) fn expire_questions(&mut self, out: &mut Vec<Effect>) {
        let State::Verifying { watched, .. } = &self.state else { return };
        let late = |watch: &Watch| matches!(watch.next, Ask::Open { until, .. } if self.now >= until);
        let hosts: Vec<_> = watched.iter().filter(|(_, watch)| late(watch)).map(|(host, _)| host.clone()).collect();
        for host in hosts {
            self.unknown_health(&host, "no answer came".to_owned(), out);
        }
    }

    /// A host's health is known, or known to be unknown.
    pub(super) fn health(&mut self, host: &HostId, ask: QuestionId, answer: HealthAnswer, out: &mut Vec<Effect>) {
        let State::Verifying { watched, .. } = &self.state else { return };
        let open =
            watched.get(host).is_some_and(|watch| matches!(watch.next, Ask::Open { ask: open, .. } if open == ask));
        let Some(record) = self.hosts.get(host).filter(|record| open && record.is_watched()) else { return };
        match answer {
            HealthAnswer::Unknown { why } => self.unknown_health(host, why, out),
            HealthAnswer::Known { generation, digest, .. }
                if generation != record.generation || digest != self.request.target.digest =>
            {
                // Something switched there that nobody told of yet: what it runs comes first.
                self.look_again(host, "it runs another generation than it reported", |watch| watch.bad += 1, out);
                self.ask_inventory(host, out);
            }
            HealthAnswer::Known { status, details, .. } => {
                let details: Vec<_> = details.iter().map(|(name, value)| format!("{name}={value}")).collect();
                let seen = format!("{} {}", status.as_str(), details.join(" ")).trim_end().to_owned();
                if self.request.policy.health.required.allows(status) {
                    self.well(host, seen, out);
                } else {
                    self.look_again(host, &seen, |watch| watch.bad += 1, out);
                }
            }
        }
    }

    fn well(&mut self, host: &HostId, seen: String, out: &mut Vec<Effect>) {
        let State::Verifying { wave, promoted, .. } = &self.state else { return };
        let needed = self.needed(*wave, *promoted);
        let (now, record) = (self.now, self.hosts.get(host));
        let generation = record.map_or(Generation(0), |record| record.generation);
        let Some(watch) = self.watch(host) else { return };
        let was_ill = watch.bad > 0 || watch.unknown > 0;
        match watch.well_since {
            Some((_, of)) if of == generation => {}
            _ => watch.well_since = Some((now, generation)),
        }
        (watch.last_well, watch.bad, watch.unknown) = (Some(now), 0, 0);
        watch.seen.clone_from(&seen);
        watch.next = watch.next_ask(needed, now);
        if was_ill {
            self.emit(EventKind::Health, Some(host), None, format!("{host} is well again: {seen}"), out);
        }
    }

    /// Nobody could find out how a host is. One that stays so is for a person: it may do its work or not.
    pub(super) fn unknown_health(&mut self, host: &HostId, why: String, out: &mut Vec<Effect>) {
        self.look_again(host, &format!("unknown: {why}"), |watch| watch.unknown += 1, out);
        let retries = self.request.policy.health.retries;
        if self.watch(host).is_some_and(|watch| watch.unknown > retries) {
            self.pause(PauseReason::UnknownHealth { host: host.clone(), why }, out);
        }
    }

    /// A host that is not well enough is asked again after a while, and has failed when that happened too often.
    fn look_again(&mut self, host: &HostId, seen: &str, count: impl FnOnce(&mut Watch), out: &mut Vec<Effect>) {
        let (now, health) = (self.now, self.request.policy.health.clone());
        let Some(watch) = self.watch(host) else { return };
        count(watch);
        watch.well_since = None;
        seen.clone_into(&mut watch.seen);
        watch.next = Ask::At(now.after(health.retry_delay));
        let bad = watch.bad;
        self.emit(EventKind::Health, Some(host), None, format!("{host} is {seen}"), out);
        if bad > health.retries {
            self.fail_host(host, &format!("its health is {seen}"));
        }
    }

    fn watch(&mut self, host: &HostId) -> Option<&mut Watch> {
        let State::Verifying { watched, .. } = &mut self.state else { return None };
        watched.get_mut(host)
    }
}

//! What a rollout does by itself: from what it knows to what comes next.
//!
//! Nothing here looks at what has just come in. Every step is decided from the state and the records of the hosts, so that it
//! makes no difference in which order things became known, nor whether the coordinator died in between.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Ask, Cause, Effect, EventKind, Extent, HEALTH_INTERVAL, HostId, HostRecord, HostState, Link, OnFailure,
    PREPARED_LIMIT, PauseReason, Rollout, State, Watch,
    command::{Action, ActionKind},
    planner::{self, Planned},
    policy::{HealthCheck, Strategy, Unreachable},
};
use crate::{
    fleet::{AssignmentChange, FleetView},
    id::Generation,
    time::UnixNanos,
};

/// What a step comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Another state was entered: look again.
    Moved,
    /// It waits.
    Waits,
}

impl Rollout {
    /// Goes on until there is something to wait for.
    pub(super) fn drive(&mut self, out: &mut Vec<Effect>) {
        while self.step(out) == Step::Moved {}
    }

    fn step(&mut self, out: &mut Vec<Effect>) -> Step {
        if self.state.waits_for_a_person() {
            return Step::Waits;
        }
        if self.expire(out) == Step::Moved {
            return Step::Moved;
        }
        if self.state.is_over() {
            return self.owe(out);
        }
        if self.state.is_forward() {
            let rehearses = self.request.extent == Extent::Rehearse;
            if let Some(why) = self.too_many_failures().filter(|_| !rehearses) {
                return self.fail(why, out);
            }
            self.put_back_failed(out);
        }
        match self.state {
            State::Scheduled { .. } | State::Discovering { .. } => Step::Waits,
            State::Preparing => self.preparing(out),
            State::Switching { wave } => self.switching(wave, out),
            State::Verifying { .. } => self.verifying(out),
            State::Resting { next, until } if self.now >= until => {
                self.enter(State::Switching { wave: next }, out);
                Step::Moved
            }
            State::Resting { .. } => Step::Waits,
            State::Committing => self.committing(out),
            State::RollingBack { .. } => self.rolling_back(out),
            _ => Step::Waits,
        }
    }

    /// Begins, if its time has come.
    fn scheduled(&mut self, out: &mut Vec<Effect>) {
        let State::Scheduled { at, latest } = self.state else { return };
        if self.now > latest {
            let late = self.now.since(at);
            let why = format!("it should have begun {late:?} ago, and may begin at most {:?} late", latest.since(at));
            self.enter(State::Failed { why }, out);
        } else if self.now >= at {
            self.enter(State::Discovering { waiting_for: BTreeSet::new() }, out);
            out.push(Effect::Discover);
        }
    }

    /// The fleet is known: plan, and begin to prepare.
    pub(super) fn discovered(&mut self, view: &FleetView, out: &mut Vec<Effect>) {
        if !matches!(self.state, State::Discovering { .. }) {
            return;
        }
        let plan = match planner::plan(&self.request, view) {
            Err(refusal) => return self.enter(State::Refused { refusal: Box::new(refusal) }, out),
            Ok(Planned::Wait { hosts }) => {
                // Not entered anew: how long they are waited for counts from the first time.
                self.state = State::Discovering { waiting_for: hosts };
                return;
            }
            Ok(Planned::Plan { plan }) => plan,
        };
        self.hosts =
            plan.hosts().map(|(wave, planned)| (planned.host.clone(), HostRecord::new(wave, planned))).collect();
        let started = format!(
            "{} {}: {} host(s) in {} wave(s), {} there already, {} left out",
            self.workload(),
            plan.to,
            self.hosts.len(),
            plan.waves.len(),
            plan.already.len(),
            plan.skipped.len()
        );
        self.plan = Some(plan);
        if self.request.extent == Extent::Roll {
            let change = AssignmentChange::Target { revision: self.request.target.clone() };
            out.push(Effect::Assignment { change });
        }
        self.emit(EventKind::Started, None, None, started, out);
        self.enter(State::Preparing, out);
    }

    /// Every host prepares, some at once; no host switches before all have.
    fn preparing(&mut self, out: &mut Vec<Effect>) -> Step {
        let under_way = self.hosts.values().filter(|record| record.open.is_some()).count();
        let at_once = usize::try_from(self.request.policy.prepare_at_once).unwrap_or(usize::MAX);
        let room = at_once.saturating_sub(under_way);
        let free = |record: &HostRecord| record.state == HostState::Pending && record.is_free();
        for host in self.hosts_where(free).into_iter().take(room) {
            self.send_prepare(&host, out);
        }
        if self.hosts.values().any(|record| record.state == HostState::Pending || record.is_under_way()) {
            return Step::Waits;
        }
        if self.request.extent == Extent::Rehearse {
            let end = match self.too_many_failures() {
                Some(why) => State::Failed { why },
                None => State::Rehearsed,
            };
            self.enter(end, out);
            return Step::Moved;
        }
        self.advance(out)
    }

    /// The next wave, a last look, or the commit.
    fn advance(&mut self, out: &mut Vec<Effect>) -> Step {
        let next = self.next_wave();
        let resting = matches!(self.state, State::Verifying { .. }) && !self.request.policy.wave_delay.is_zero();
        let unverified = |record: &HostRecord| matches!(record.state, HostState::Switched { .. });
        let state = match next {
            Some(next) if resting => State::Resting { next, until: self.now.after(self.request.policy.wave_delay) },
            Some(wave) => State::Switching { wave },
            None if self.hosts.values().any(unverified) => self.verify_all(),
            None if self.hosts.values().any(|record| record.state.is_switched()) => State::Committing,
            // Only the assignment changes.
            None if self.hosts.is_empty() => State::Committing,
            None if let Some(by) = self.cut.clone() => State::RollingBack { cause: Cause::Cancelled { by } },
            None => return self.fail("no host could be switched".to_owned(), out),
        };
        self.enter(state, out);
        Step::Moved
    }

    /// The first wave that has something left to do, unless no further one shall begin.
    fn next_wave(&self) -> Option<usize> {
        if self.cut.is_some() {
            return None;
        }
        self.hosts.values().filter(|record| record.is_to_do()).map(|record| record.wave).min()
    }

    /// A verification of all that is switched, as after the last wave that was begun.
    pub(super) fn verify_all(&self) -> State {
        let switched = self.hosts.values().filter(|record| record.state.is_switched());
        let wave = switched.map(|record| record.wave).max().unwrap_or(0);
        State::Verifying { wave, promoted: false, watched: BTreeMap::new() }
    }

    fn switching(&mut self, wave: usize, out: &mut Vec<Effect>) -> Step {
        if self.cut.is_none() {
            let ready = |record: &HostRecord| record.wave == wave && record.is_to_do() && record.is_free();
            for host in self.hosts_where(ready) {
                self.send_switch(&host, out);
            }
        }
        let goes_on = |record: &HostRecord| {
            let to_do = self.cut.is_none() && record.wave == wave && record.is_to_do();
            to_do || record.is_under_way()
        };
        if self.hosts.values().any(goes_on) {
            return Step::Waits;
        }
        if !self.hosts.values().any(|record| record.state.is_switched()) {
            return self.advance(out);
        }
        self.enter(State::Verifying { wave, promoted: false, watched: BTreeMap::new() }, out);
        Step::Moved
    }

    /// The switch, or the rehearsal again when the last one is too old to say anything.
    fn send_switch(&mut self, host: &HostId, out: &mut Vec<Effect>) {
        let Some(HostState::Prepared { at }) = self.hosts.get(host).map(|record| record.state.clone()) else {
            return self.send_prepare(host, out);
        };
        if self.now.since(at) > PREPARED_LIMIT {
            self.set_host(host, HostState::Pending, out);
            return self.send_prepare(host, out);
        }
        let action = Action::Switch {
            revision: Box::new(self.request.target.clone()),
            direction: self.request.direction,
            policy: self.request.policy.host.clone(),
        };
        self.set_host(host, HostState::Sent { prepared: at }, out);
        self.send(host, action, out);
    }

    fn send_prepare(&mut self, host: &HostId, out: &mut Vec<Effect>) {
        let action = Action::Prepare {
            revision: Box::new(self.request.target.clone()),
            source: self.request.source.clone(),
            direction: self.request.direction,
            policy: self.request.policy.host.clone(),
        };
        self.send(host, action, out);
    }

    fn send_roll_back(&mut self, host: &HostId, out: &mut Vec<Effect>) {
        let to = self.hosts.get(host).and_then(|record| record.before.clone());
        self.send(host, Action::RollBack { to, allow_loss: self.request.policy.host.allow_loss }, out);
    }

    /// Hosts that failed within the budget while they serve the new release go back by themselves.
    fn put_back_failed(&mut self, out: &mut Vec<Effect>) {
        if self.request.policy.on_failure == OnFailure::Hold {
            return;
        }
        let failed = |record: &HostRecord| record.failure.is_some() && record.state.is_switched() && record.is_free();
        for host in self.hosts_where(failed) {
            self.send_roll_back(&host, out);
        }
    }

    /// All hosts switched so far are watched until each has been healthy for as long as it takes.
    fn verifying(&mut self, out: &mut Vec<Effect>) -> Step {
        let State::Verifying { promoted, watched, wave } = &mut self.state else { return Step::Waits };
        let (wave, promoted, mut watched) = (*wave, *promoted, std::mem::take(watched));
        let needed = self.needed(wave, promoted);
        let watched_hosts = self.hosts_where(HostRecord::is_watched);
        watched.retain(|host, _| watched_hosts.contains(host));
        if self.request.policy.health.check != HealthCheck::Off {
            for host in &watched_hosts {
                let watch = watched.entry(host.clone()).or_default();
                let up = self.hosts.get(host).is_some_and(|record| record.link == Link::Up);
                if up && matches!(watch.next, Ask::At(at) if self.now >= at) {
                    watch.next = self.ask(host, out);
                }
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
        for host in watched_hosts {
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

    fn committing(&mut self, out: &mut Vec<Effect>) -> Step {
        for host in self.hosts_where(|record| record.state.is_switched() && record.is_free()) {
            self.send(&host, Action::Commit, out);
        }
        if self.hosts.values().any(|record| record.state.is_switched() || record.is_under_way()) {
            return Step::Waits;
        }
        let end = if self.cut.is_some() { State::Cancelled { kept: true } } else { State::Complete };
        self.enter(end, out);
        Step::Moved
    }

    fn rolling_back(&mut self, out: &mut Vec<Effect>) -> Step {
        for host in self.hosts_where(|record| record.is_to_put_back() && record.is_free()) {
            self.send_roll_back(&host, out);
        }
        if self.hosts.values().any(|record| record.is_to_put_back() || record.is_under_way()) {
            return Step::Waits;
        }
        let State::RollingBack { cause } = &self.state else { return Step::Waits };
        let (why, by_hand) = (cause.to_string(), !matches!(cause, Cause::Failure { .. }));
        let cancelled = matches!(cause, Cause::Cancelled { .. });
        let end = if self.hosts.values().any(HostRecord::is_open_end) {
            State::RollbackIncomplete { why }
        } else if cancelled || (by_hand && !self.any_was_switched()) {
            State::Cancelled { kept: false }
        } else if self.any_was_switched() {
            State::RolledBack { why }
        } else {
            State::Failed { why }
        };
        self.enter(end, out);
        Step::Moved
    }

    fn any_was_switched(&self) -> bool {
        self.hosts.values().any(|record| record.was_switched)
    }

    /// After the end: hosts that come back get what was decided meanwhile, and nothing else.
    fn owe(&mut self, out: &mut Vec<Effect>) -> Step {
        match self.state {
            State::Complete | State::Cancelled { kept: true } => {
                for host in self.hosts_where(|record| record.state.is_switched() && record.is_free()) {
                    self.send(&host, Action::Commit, out);
                }
                Step::Waits
            }
            State::Failed { .. } | State::RolledBack { .. } | State::Cancelled { kept: false } => {
                self.put_back_late(out);
                Step::Waits
            }
            State::RollbackIncomplete { .. } => {
                self.put_back_late(out);
                let open =
                    |record: &HostRecord| record.is_open_end() || record.is_to_put_back() || record.is_under_way();
                let State::RollbackIncomplete { why } = &self.state else { return Step::Waits };
                let why = why.clone();
                if self.hosts.values().any(open) {
                    return Step::Waits;
                }
                self.enter(State::RolledBack { why }, out);
                Step::Moved
            }
            _ => Step::Waits,
        }
    }

    fn put_back_late(&mut self, out: &mut Vec<Effect>) {
        for host in self.hosts_where(|record| record.is_to_put_back() && record.is_free()) {
            self.send_roll_back(&host, out);
        }
    }

    /// Something went wrong that the rollout can't go on with.
    pub(super) fn fail(&mut self, why: String, out: &mut Vec<Effect>) -> Step {
        let switched = self.hosts.values().any(HostRecord::may_be_switched);
        let state = match self.request.policy.on_failure {
            OnFailure::Hold if switched => State::Held { why },
            // Where nothing was switched there is nothing to hold: what is under way is waited for.
            OnFailure::Hold | OnFailure::RollBack => State::RollingBack { cause: Cause::Failure { why } },
        };
        self.enter(state, out);
        Step::Moved
    }

    /// Looks at the clock: hosts that did not answer, questions without an answer, and a rollout in which nothing moves.
    fn expire(&mut self, out: &mut Vec<Effect>) -> Step {
        if matches!(self.state, State::Scheduled { .. }) {
            self.scheduled(out);
            return Step::Waits;
        }
        self.expire_questions(out);
        if self.state.waits_for_a_person() {
            return Step::Moved;
        }
        for host in self.hosts.keys().cloned().collect::<Vec<_>>() {
            if self.silent_at(&host).is_some_and(|at| self.now >= at) && self.lose(&host, out) == Step::Moved {
                return Step::Moved;
            }
        }
        match self.stuck_at() {
            Some(at) if self.now >= at => self.no_progress(out),
            _ => Step::Waits,
        }
    }

    /// When a host counts as unknown, if it does not answer or come back.
    fn silent_at(&self, host: &HostId) -> Option<UnixNanos> {
        let record = self.hosts.get(host)?;
        if matches!(record.state, HostState::Unknown { .. }) {
            return None;
        }
        if let Some(open) = record.open {
            return Some(open.deadline);
        }
        let Link::Down { since } = record.link else { return None };
        let wanted = match &self.state {
            State::Preparing => record.state == HostState::Pending,
            State::Switching { wave } => self.cut.is_none() && record.wave == *wave && record.is_to_do(),
            State::Verifying { .. } => record.state.is_switched(),
            State::Committing => record.state.is_switched(),
            State::RollingBack { .. } => record.is_to_put_back(),
            _ => false,
        };
        wanted.then(|| since.max(self.since).after(self.request.policy.host_timeout))
    }

    /// A host did not answer in time. It is not failed: nobody knows what it did.
    fn lose(&mut self, host: &HostId, out: &mut Vec<Effect>) -> Step {
        let Some(record) = self.hosts.get_mut(host) else { return Step::Waits };
        if record.is_settled() {
            // It told by itself what became of it; its answer would add nothing.
            record.open = None;
            return Step::Waits;
        }
        record.loose |= record.open.is_some_and(|open| open.action == ActionKind::Switch);
        let (was, up) = (Box::new(record.state.clone()), record.link == Link::Up);
        self.set_host(host, HostState::Unknown { since: self.now, was }, out);
        if up {
            self.ask_inventory(host, out);
        }
        if !self.state.is_forward() {
            return Step::Waits;
        }
        match self.request.policy.unreachable {
            _ if self.keeps() => Step::Waits,
            Unreachable::Skip => Step::Waits,
            Unreachable::Pause => {
                self.pause(PauseReason::Unreachable { host: host.clone() }, out);
                Step::Moved
            }
            Unreachable::Rollback => {
                let timeout = self.request.policy.host_timeout;
                self.fail(format!("{host} did not answer within {timeout:?} (--unreachable rollback)"), out)
            }
        }
    }

    /// Questions for health that nobody answered.
    fn expire_questions(&mut self, out: &mut Vec<Effect>) {
        let State::Verifying { watched, .. } = &self.state else { return };
        let late = |watch: &Watch| matches!(watch.next, Ask::Open { until, .. } if self.now >= until);
        let hosts: Vec<_> = watched.iter().filter(|(_, watch)| late(watch)).map(|(host, _)| host.clone()).collect();
        for host in hosts {
            self.unknown_health(&host, "no answer came".to_owned(), out);
        }
    }

    /// When nothing has moved for too long.
    fn stuck_at(&self) -> Option<UnixNanos> {
        let deadline = self.request.policy.progress_deadline;
        match &self.state {
            State::Discovering { .. } => Some(self.since.after(deadline)),
            State::Preparing | State::Switching { .. } | State::Committing | State::RollingBack { .. } => {
                Some(self.progress.after(deadline))
            }
            State::Verifying { wave, promoted, .. } => {
                Some(self.since.after(self.needed(*wave, *promoted)).after(deadline))
            }
            _ => None,
        }
    }

    fn no_progress(&mut self, out: &mut Vec<Effect>) -> Step {
        let deadline = self.request.policy.progress_deadline;
        if let State::Discovering { waiting_for } = &self.state {
            let names: Vec<_> = waiting_for.iter().map(HostId::as_str).collect();
            let why = format!("{} did not come within {deadline:?}", names.join(", "));
            self.enter(State::Failed { why }, out);
            return Step::Moved;
        }
        if self.state.is_forward() {
            return self.fail(format!("nothing moved for {deadline:?}"), out);
        }
        // What is decided is owed to whoever could not be reached.
        let unsettled =
            |record: &HostRecord| record.is_under_way() || record.is_to_put_back() || record.state.is_switched();
        for host in self.hosts_where(unsettled) {
            self.lose(&host, out);
        }
        Step::Waits
    }

    /// When it wants [`Input::Tick`](super::Input::Tick).
    #[must_use]
    pub fn wakes_at(&self) -> Option<UnixNanos> {
        if self.state.waits_for_a_person() {
            return None;
        }
        let own = match &self.state {
            State::Scheduled { at, .. } => Some(*at),
            State::Resting { until, .. } => Some(*until),
            State::Verifying { .. } => self.next_look(),
            _ => None,
        };
        let hosts = self.hosts.keys().filter_map(|host| self.silent_at(host));
        hosts.chain(own).chain(self.stuck_at()).min()
    }

    /// When a host that is watched is looked at next.
    fn next_look(&self) -> Option<UnixNanos> {
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

    /// Stops everything that it begins by itself.
    pub(super) fn pause(&mut self, why: PauseReason, out: &mut Vec<Effect>) {
        let resume_to = Box::new(std::mem::replace(&mut self.state, State::Preparing));
        self.enter(State::Paused { resume_to, why }, out);
    }

    /// The hosts of which this holds, by name.
    fn hosts_where(&self, holds: impl Fn(&HostRecord) -> bool) -> Vec<HostId> {
        self.hosts.iter().filter(|(_, record)| holds(record)).map(|(host, _)| host.clone()).collect()
    }
}

impl HostRecord {
    fn new(wave: usize, planned: &planner::PlannedHost) -> Self {
        Self {
            wave,
            before: planned.before.clone(),
            state: HostState::Pending,
            link: Link::Up,
            open: None,
            asked: None,
            generation: planned.before.as_ref().map_or(Generation(0), |running| running.generation),
            failure: None,
            loose: false,
            was_switched: false,
            way_back: None,
            notes: Vec::new(),
            measured: None,
            resolved: None,
        }
    }

    /// A command is open, and an answer is still waited for.
    pub(super) const fn is_under_way(&self) -> bool {
        self.open.is_some() && !matches!(self.state, HostState::Unknown { .. })
    }

    /// It must be healthy before the rollout goes on.
    pub(super) const fn is_watched(&self) -> bool {
        self.state.is_switched() && self.failure.is_none()
    }

    /// It serves a release that fails there.
    const fn is_failing(&self) -> bool {
        self.state.is_switched() && self.failure.is_some()
    }

    /// It serves the new release, or might still begin to, and can be told to go back.
    pub(super) const fn is_to_put_back(&self) -> bool {
        let out_of_reach =
            matches!(self.state, HostState::Unknown { .. } | HostState::Stuck { .. } | HostState::Drifted { .. });
        self.resolved.is_none() && !out_of_reach && (self.state.is_switched() || self.loose)
    }

    /// Its way back did not work, or nobody knows where it is.
    pub(super) fn is_open_end(&self) -> bool {
        let unknown = matches!(self.state, HostState::Unknown { .. }) && self.may_be_switched();
        self.resolved.is_none() && (unknown || matches!(self.state, HostState::Stuck { .. }))
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

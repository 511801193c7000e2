//! What a rollout does by itself: from what it knows to what comes next.
//!
//! Nothing here looks at what has just come in. Every step is decided from the state and the records of the hosts, so that it
//! makes no difference in which order things became known, nor whether the coordinator died in between.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Cause, Effect, EventKind, Extent, HostId, HostRecord, HostState, OnFailure, PREPARED_LIMIT, PauseReason, Rollout,
    State,
    command::Action,
    planner::{self, Planned},
};
use crate::fleet::{AssignmentChange, FleetView};

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
    pub(super) fn scheduled(&mut self, out: &mut Vec<Effect>) {
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
    pub(super) fn advance(&mut self, out: &mut Vec<Effect>) -> Step {
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
                // Where the target is what shall run, a switch that is begun late does no harm.
                for record in self.hosts.values_mut().filter(|record| record.is_free()) {
                    record.loose &= matches!(record.state, HostState::Unknown { .. });
                }
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

    /// Stops everything that it begins by itself.
    pub(super) fn pause(&mut self, why: PauseReason, out: &mut Vec<Effect>) {
        let resume_to = Box::new(self.state.clone());
        self.enter(State::Paused { resume_to, why }, out);
    }

    /// The hosts of which this holds, by name.
    pub(super) fn hosts_where(&self, holds: impl Fn(&HostRecord) -> bool) -> Vec<HostId> {
        self.hosts.iter().filter(|(_, record)| holds(record)).map(|(host, _)| host.clone()).collect()
    }
}

//! What people order.

use super::{
    AuditRow, Cause, CommandEnd, Effect, EventKind, HostId, HostRecord, HostState, Link, Order, PauseReason,
    Resolution, Rollout, State, policy::Unreachable,
};

impl Rollout {
    /// Follows an order, or says why not. Both are audited.
    pub(super) fn order(&mut self, by: &str, order: &Order, out: &mut Vec<Effect>) {
        let result = match order {
            Order::Pause => self.pause_asked(by, out),
            Order::Resume => self.resume(by, out),
            Order::Promote => self.promote(),
            Order::Cancel { keep } => self.cancel(by, *keep, out),
            Order::Rollback => self.rollback(by, out),
            Order::Retry => self.retry(by, out),
            Order::Resolve { host, outcome } => self.resolve(by, host, *outcome, out),
        };
        let host = if let Order::Resolve { host, .. } = order { Some(host.clone()) } else { None };
        let row = AuditRow {
            who: by.to_owned(),
            what: format!("{} rollout {} of {}", order.as_str(), self.id, self.workload()),
            host,
            result: Some(result.as_ref().map_or_else(|why| format!("refused: {why}"), |()| "done".to_owned())),
        };
        out.push(Effect::Audit { row });
        out.extend(result.err().map(|why| Effect::Rejected { why }));
    }

    fn not_now(&self, what: &str) -> String {
        format!("rollout {} is {}: {what}", self.id, self.state.name())
    }

    fn pause_asked(&mut self, by: &str, out: &mut Vec<Effect>) -> Result<(), String> {
        if self.is_over() || self.state.waits_for_a_person() {
            return Err(self.not_now("there is nothing to pause"));
        }
        self.pause(PauseReason::Asked { by: by.to_owned() }, out);
        Ok(())
    }

    fn resume(&mut self, by: &str, out: &mut Vec<Effect>) -> Result<(), String> {
        if matches!(self.state, State::Held { .. }) {
            return Err(
                self.not_now("try again what failed with `retry`, or end it with `rollback` or `cancel --keep`")
            );
        }
        if !matches!(self.state, State::Paused { .. }) {
            return Err(self.not_now("it is not paused"));
        }
        self.unpause(out);
        let message = format!("{by} resumed it: {}", self.state.name());
        self.emit(EventKind::Resumed, None, None, message, out);
        Ok(())
    }

    /// Takes up the state that was paused. Hosts that a person waited for get their time anew.
    fn unpause(&mut self, out: &mut Vec<Effect>) {
        let State::Paused { resume_to, .. } = &self.state else { return };
        let resumed = (**resume_to).clone();
        let left = std::mem::replace(&mut self.state, resumed);
        self.stage(&left, out);
        if self.request.policy.unreachable == Unreachable::Pause {
            self.take_up_unknown();
        }
        self.renew();
        let now = self.now;
        for record in self.hosts.values_mut() {
            if let Link::Down { since } = &mut record.link {
                *since = now;
            }
        }
    }

    fn take_up_unknown(&mut self) {
        for record in self.hosts.values_mut() {
            if let HostState::Unknown { was, .. } = record.state.clone() {
                record.state = *was;
            }
        }
    }

    fn promote(&mut self) -> Result<(), String> {
        let now = self.now;
        match &mut self.state {
            State::Verifying { promoted, watched, .. } if !*promoted => {
                *promoted = true;
                // Whoever is being waited for is asked now.
                for watch in watched.values_mut() {
                    if let super::Ask::At(at) = &mut watch.next {
                        *at = now;
                    }
                }
                Ok(())
            }
            State::Resting { until, .. } => {
                *until = now;
                Ok(())
            }
            _ => Err(self.not_now("nothing is being monitored that could be promoted")),
        }
    }

    fn cancel(&mut self, by: &str, keep: bool, out: &mut Vec<Effect>) -> Result<(), String> {
        if self.is_over() {
            return Err(self.not_now("it is over"));
        }
        let inner = if let State::Paused { resume_to, .. } = &self.state { resume_to } else { &self.state };
        match inner {
            State::Committing => {
                return Err(
                    self.not_now("its hosts are letting go of their predecessors; roll back with a new rollout")
                );
            }
            State::RollingBack { .. } => return Err(self.not_now("its hosts are being put back already")),
            _ => {}
        }
        self.unpause(out);
        let by = by.to_owned();
        if matches!(self.state, State::Scheduled { .. } | State::Discovering { .. }) {
            self.enter(State::Cancelled { kept: false }, out);
        } else if keep && self.hosts.values().any(HostRecord::may_be_switched) {
            self.cut = Some(by);
            self.keep(out);
        } else {
            self.enter(State::RollingBack { cause: Cause::Cancelled { by } }, out);
        }
        Ok(())
    }

    /// No further wave: what is switched is verified and stays. Whatever failed before is the person's to know.
    fn keep(&mut self, out: &mut Vec<Effect>) {
        match self.state {
            // What is under way there is waited for.
            State::Switching { .. } | State::Verifying { .. } => {}
            _ => {
                if matches!(self.state, State::Held { .. }) {
                    for record in self.hosts.values_mut().filter(|record| record.state.is_switched()) {
                        record.failure = None;
                    }
                }
                let state = self.verify_all();
                self.enter(state, out);
            }
        }
    }

    fn rollback(&mut self, by: &str, out: &mut Vec<Effect>) -> Result<(), String> {
        let inner = if let State::Paused { resume_to, .. } = &self.state { resume_to } else { &self.state };
        if !(inner.is_forward() || matches!(inner, State::Held { .. })) {
            return Err(
                self.not_now("`host fleet rollback` of the workload begins a new rollout, once this one is over")
            );
        }
        self.unpause(out);
        self.enter(State::RollingBack { cause: Cause::Asked { by: by.to_owned() } }, out);
        Ok(())
    }

    fn retry(&mut self, by: &str, out: &mut Vec<Effect>) -> Result<(), String> {
        if !matches!(self.state, State::Held { .. }) {
            return Err(self.not_now("only one that is held can be tried again; begin a new one"));
        }
        let stuck = self.hosts.iter().find(|(_, record)| matches!(record.state, HostState::Stuck { .. }));
        if let Some((host, _)) = stuck {
            return Err(self.not_now(&format!("{host} is stuck, resolve it first")));
        }
        self.take_up_unknown();
        let now = self.now;
        for record in self.hosts.values_mut().filter(|record| record.resolved.is_none()) {
            record.failure = None;
            match record.state {
                HostState::Failed { .. } | HostState::RolledBack { .. } => record.state = HostState::Pending,
                HostState::Healthy { .. } => record.state = HostState::Switched { since: now },
                _ => {}
            }
        }
        self.renew();
        self.emit(EventKind::Resumed, None, None, format!("{by} tries again what failed"), out);
        self.enter(State::Preparing, out);
        Ok(())
    }

    fn resolve(&mut self, by: &str, host: &HostId, said: Resolution, out: &mut Vec<Effect>) -> Result<(), String> {
        let Some(record) = self.hosts.get_mut(host) else {
            return Err(format!("{host} has no part in rollout {}", self.id));
        };
        let lost = matches!(record.state, HostState::Unknown { .. } | HostState::Stuck { .. });
        if record.resolved.is_some() {
            return Err(format!("{host} is resolved already, as {}", record.state.as_str()));
        }
        if !lost && record.link == Link::Up {
            return Err(format!(
                "{host} is connected and {}: it tells by itself how it goes on",
                record.state.as_str()
            ));
        }
        let open = record.open.take();
        (record.loose, record.failure, record.resolved) = (false, None, Some(said));
        let state = match said {
            Resolution::Committed => HostState::Committed,
            Resolution::RolledBack => HostState::RolledBack { why: format!("{by} says so") },
            Resolution::Gone => HostState::Failed { why: format!("{by} says that it will not come back") },
        };
        if let Some(open) = open {
            self.command_ended(host, open, CommandEnd::Unknown, Some("a person said what became of it"), out);
        }
        self.set_host(host, state, out);
        Ok(())
    }

    /// Whether failures are let be: what is kept does not depend on whoever comes last.
    pub(super) const fn keeps(&self) -> bool {
        self.cut.is_some()
    }
}

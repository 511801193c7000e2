//! What the passing of time means: hosts that do not answer, and a rollout in which nothing moves.

use super::{
    CommandEnd, Effect, HostId, HostRecord, HostState, Link, PauseReason, Rollout, State, drive::Step,
    policy::Unreachable,
};
use crate::time::UnixNanos;

impl Rollout {
    /// Looks at the clock: hosts that did not answer, questions without an answer, and a rollout in which nothing moves.
    pub(super) fn expire(&mut self, out: &mut Vec<Effect>) -> Step {
        if matches!(self.state, State::Scheduled { .. }) {
            self.scheduled(out);
            return Step::Waits;
        }
        self.expire_questions(out);
        if self.state.waits_for_a_person() {
            return Step::Moved;
        }
        let silent = |record: &HostRecord| self.silent_at(record).is_some_and(|at| self.now >= at);
        for host in self.hosts_where(silent) {
            if self.lose(&host, out) == Step::Moved {
                return Step::Moved;
            }
        }
        match self.stuck_at() {
            Some(at) if self.now >= at => self.no_progress(out),
            _ => Step::Waits,
        }
    }

    /// When a host counts as unknown, if it does not answer or come back.
    fn silent_at(&self, record: &HostRecord) -> Option<UnixNanos> {
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
            if let Some(open) = record.open.take() {
                self.command_ended(host, open, CommandEnd::Unknown, Some("it told by itself what became of it"), out);
            }
            return Step::Waits;
        }
        let open = record.open;
        if let Some(open) = &mut record.open {
            open.told = true;
        }
        let (was, up) = (Box::new(record.state.clone()), record.link == Link::Up);
        self.set_host(host, HostState::Unknown { since: self.now, was }, out);
        if let Some(open) = open {
            self.audit_host(host, open.action, Some("no answer in time".to_owned()), out);
            self.command_ended(host, open, CommandEnd::Unknown, Some("no answer in time"), out);
        }
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
            let whoever = if names.is_empty() { "word of the fleet".to_owned() } else { names.join(", ") };
            let why = format!("{whoever} did not come within {deadline:?}");
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
        let hosts = self.hosts.values().filter_map(|record| self.silent_at(record));
        hosts.chain(own).chain(self.stuck_at()).min()
    }
}

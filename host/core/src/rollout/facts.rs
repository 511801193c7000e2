//! What becomes known of hosts, and what it means for where they stand.
//!
//! A host tells the same thing in several ways: by answering a command, by what it runs when it connects again, by a failure
//! of its own. All of them end here in one record, and only [`drive`](super::drive) decides what follows.

use super::{
    CommandEnd, Effect, EventKind, HostId, HostRecord, HostState, Link, Rollout, State,
    command::{ActionKind, Outcome},
    policy::Unreachable,
};
use crate::{
    fleet::{Busy, HostInventory, Recent, Running, WorkloadInventory},
    id::{CommandId, Epoch, Generation, QuestionId},
};

/// What a host runs, as its rollout sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// The new release.
    Target {
        /// The predecessor is kept.
        held: bool,
    },
    /// What ran before.
    Before,
    /// Something that neither was there nor shall be.
    Other,
}

/// Whether what a host runs says what became of the command it has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conclusive {
    /// It does: it was said after the command had come or was lost.
    Yes,
    /// It may have crossed the command.
    No,
}

impl Rollout {
    /// A host answered. Only what answers the open command counts: everything else was answered, or given up, before.
    pub(super) fn outcome(
        &mut self,
        host: &HostId,
        command: CommandId,
        epoch: Epoch,
        outcome: Outcome,
        out: &mut Vec<Effect>,
    ) {
        let open = self.hosts.get(host).and_then(|record| record.open);
        if open.is_some_and(|open| (open.command, open.epoch) == (command, epoch)) {
            self.settle(host, outcome, out);
        }
    }

    /// Takes the answer to the open command.
    fn settle(&mut self, host: &HostId, outcome: Outcome, out: &mut Vec<Effect>) {
        let Some(record) = self.hosts.get_mut(host) else { return };
        let Some(open) = record.open.take() else { return };
        // It was the last command: whatever came before it is never begun any more.
        record.loose = false;
        if outcome != Outcome::Expired {
            self.progress = self.now;
        }
        let result =
            outcome.why().map_or_else(|| outcome.as_str().to_owned(), |why| format!("{}: {why}", outcome.as_str()));
        self.audit_host(host, open.action, Some(result), out);
        self.command_ended(host, open, CommandEnd::of(&outcome), outcome.why(), out);
        if self.hosts.get(host).is_some_and(HostRecord::is_settled) {
            // It told by itself what became of it, and this crossed that.
            return;
        }
        match open.action {
            ActionKind::Prepare => self.prepare_answered(host, outcome, out),
            ActionKind::Switch => self.switch_answered(host, outcome, out),
            ActionKind::Commit => self.commit_answered(host, outcome, out),
            ActionKind::RollBack => self.roll_back_answered(host, outcome, out),
        }
    }

    fn prepare_answered(&mut self, host: &HostId, outcome: Outcome, out: &mut Vec<Effect>) {
        let Some(record) = self.hosts.get_mut(host) else { return };
        let given_up = matches!(record.state, HostState::Unknown { .. });
        match outcome {
            Outcome::Prepared { way_back, notes } => {
                (record.way_back, record.notes) = (way_back, notes);
                let prepared = HostState::Prepared { at: self.now };
                let state = if given_up { self.came_late(prepared) } else { prepared };
                self.set_host(host, state, out);
            }
            other => {
                let why = explained(ActionKind::Prepare, &other);
                self.fail_host(host, &why);
                self.set_host(host, HostState::Failed { why }, out);
            }
        }
    }

    fn switch_answered(&mut self, host: &HostId, outcome: Outcome, out: &mut Vec<Effect>) {
        let Some(record) = self.hosts.get_mut(host) else { return };
        match outcome {
            Outcome::Switched { generation, measured } => {
                record.generation = record.generation.max(generation);
                record.measured = Some(measured);
                self.set_host(host, HostState::Switched { since: self.now }, out);
            }
            Outcome::RolledBack { generation, why } => {
                record.generation = record.generation.max(generation.unwrap_or_default());
                record.was_switched = true;
                self.fail_host(host, &why);
                self.set_host(host, HostState::RolledBack { why }, out);
            }
            Outcome::Stuck { why } => {
                record.was_switched = true;
                self.fail_host(host, &why);
                self.set_host(host, HostState::Stuck { why }, out);
            }
            other => {
                let why = explained(ActionKind::Switch, &other);
                self.fail_host(host, &why);
                self.set_host(host, HostState::Failed { why }, out);
            }
        }
    }

    fn commit_answered(&mut self, host: &HostId, outcome: Outcome, out: &mut Vec<Effect>) {
        let Some(record) = self.hosts.get_mut(host) else { return };
        match outcome {
            Outcome::Committed { generation } => {
                record.generation = record.generation.max(generation);
                self.set_host(host, HostState::Committed, out);
            }
            Outcome::RolledBack { generation, why } => {
                record.generation = record.generation.max(generation.unwrap_or_default());
                self.fail_host(host, &why);
                self.set_host(host, HostState::RolledBack { why }, out);
            }
            Outcome::Expired => self.back_to_known(host, out),
            other => {
                let why = explained(ActionKind::Commit, &other);
                self.set_host(host, HostState::Stuck { why }, out);
            }
        }
    }

    fn roll_back_answered(&mut self, host: &HostId, outcome: Outcome, out: &mut Vec<Effect>) {
        let Some(record) = self.hosts.get_mut(host) else { return };
        match outcome {
            Outcome::RolledBack { generation, why } => {
                record.generation = record.generation.max(generation.unwrap_or_default());
                if record.was_switched {
                    let why = record.failure.clone().unwrap_or(why);
                    self.set_host(host, HostState::RolledBack { why }, out);
                } else {
                    // It was told so only to make sure that it never begins.
                    self.back_to_known(host, out);
                }
            }
            Outcome::Expired => {
                let fence = !record.was_switched;
                record.loose = fence;
                self.back_to_known(host, out);
            }
            other => {
                let why = explained(ActionKind::RollBack, &other);
                self.set_host(host, HostState::Stuck { why }, out);
            }
        }
    }

    /// Nothing changed on a host: one that was given up meanwhile is where it was.
    fn back_to_known(&mut self, host: &HostId, out: &mut Vec<Effect>) {
        if let Some(HostState::Unknown { was, .. }) = self.hosts.get(host).map(|record| record.state.clone()) {
            self.set_host(host, *was, out);
        }
    }

    /// Where a host stands that was given up before it could do its part. Where a person is waited for it is taken up again.
    fn came_late(&self, before: HostState) -> HostState {
        match self.request.policy.unreachable {
            Unreachable::Pause if !self.is_over() => before,
            _ => HostState::Failed { why: "it did not answer in time; what ran before runs there".to_owned() },
        }
    }

    /// A host is there, and says what it runs.
    pub(super) fn connected(&mut self, host: &HostId, inventory: &HostInventory, out: &mut Vec<Effect>) {
        if let State::Discovering { waiting_for } = &mut self.state
            && waiting_for.remove(host)
        {
            out.push(Effect::Discover);
        }
        // A connection takes the place of the one before, whose end may not have been noticed.
        self.disconnected(host);
        if let Some(record) = self.hosts.get_mut(host) {
            record.link = Link::Up;
        }
        self.inventory(host, inventory, Conclusive::Yes, out);
    }

    /// A connected host says what it runs.
    pub(super) fn told_inventory(
        &mut self,
        host: &HostId,
        ask: Option<QuestionId>,
        inventory: &HostInventory,
        out: &mut Vec<Effect>,
    ) {
        let asked = self.hosts.get(host).and_then(|record| record.asked);
        let conclusive = if ask.is_some() && ask == asked { Conclusive::Yes } else { Conclusive::No };
        self.inventory(host, inventory, conclusive, out);
    }

    fn inventory(&mut self, host: &HostId, inventory: &HostInventory, conclusive: Conclusive, out: &mut Vec<Effect>) {
        let inventory = inventory.of(self.workload());
        let Some(record) = self.hosts.get(host).filter(|record| record.resolved.is_none()) else { return };
        if let Some(open) = record.open {
            let answers = |recent: &&Recent| (recent.command, recent.epoch) == (open.command, open.epoch);
            if let Some(recent) = inventory.recent.iter().rev().find(answers) {
                let outcome = recent.outcome.clone();
                self.settle(host, outcome, out);
            } else if !self.has_drifted(host, &inventory) {
                // It is still at it, or the command may be on its way: the answer will come.
                let busy = inventory.busy == Some(Busy::Command(open.command));
                if busy || conclusive == Conclusive::No {
                    return;
                }
            }
        }
        self.learn(host, &inventory, conclusive, out);
    }

    fn has_drifted(&self, host: &HostId, inventory: &WorkloadInventory) -> bool {
        let target = &self.request.target;
        let seen = self.hosts.get(host).map(|record| record.seen(inventory, |running| target.is(running)));
        seen == Some(Seen::Other)
    }

    /// What a host runs decides where it stands; a command that it does not know of is given up.
    fn learn(&mut self, host: &HostId, inventory: &WorkloadInventory, conclusive: Conclusive, out: &mut Vec<Effect>) {
        let (target, late) = (&self.request.target, self.came_late(HostState::Pending));
        let Some(record) = self.hosts.get_mut(host) else { return };
        let generation = inventory.running.as_ref().map_or(record.generation, |running| running.generation);
        let gone = record.open.take_if(|_| conclusive == Conclusive::Yes);
        let lost = gone.map(|open| open.action);
        record.loose |= lost == Some(ActionKind::Switch);
        if let Some(open) = gone {
            self.command_ended(
                host,
                open,
                CommandEnd::Unknown,
                Some("no answer will come: what the host runs says what became of it"),
                out,
            );
        }
        let Some(record) = self.hosts.get_mut(host) else { return };
        if generation < record.generation && conclusive == Conclusive::No {
            return;
        }
        if generation < record.generation {
            let why =
                format!("it reports generation {generation} after {}: its data is not what it was", record.generation);
            self.fail_host(host, &why);
            return self.set_host(host, HostState::Stuck { why }, out);
        }
        record.generation = generation;
        let seen = record.seen(inventory, |running| target.is(running));
        let (known, given_up) = match record.state.clone() {
            HostState::Unknown { was, .. } => (*was, true),
            state => (state, false),
        };
        let state = match (known, seen) {
            (HostState::Committed | HostState::Drifted { .. }, _) => return,
            (_, Seen::Other) => HostState::Drifted { running: inventory.running.clone() },
            (known, Seen::Target { held }) => match known {
                // Told to commit, and the answer got lost.
                _ if !held && lost == Some(ActionKind::Commit) => HostState::Committed,
                HostState::Switched { .. } | HostState::Healthy { .. } | HostState::Stuck { .. } => known,
                // A switch whose answer got lost, or that nobody waited for any more; or a way back that was not taken.
                _ if held || record.loose => HostState::Switched { since: self.now },
                _ => HostState::Drifted { running: inventory.running.clone() },
            },
            (known, Seen::Before) => match known {
                HostState::Switched { .. } | HostState::Healthy { .. } => return self.went_back(host, lost, out),
                HostState::Pending | HostState::Prepared { .. } | HostState::Sent { .. } if given_up => late,
                // It has to begin anew: whatever it had prepared may be gone.
                HostState::Sent { .. } => HostState::Pending,
                HostState::Stuck { .. } => HostState::RolledBack { why: "what ran before was found there".to_owned() },
                known => known,
            },
        };
        // Where the target is what shall run, a switch that is begun late does no harm; where something else runs, none can be.
        let harmless = state.is_switched() || matches!(state, HostState::Drifted { .. }) || self.state.is_kept();
        record.loose &= !harmless;
        self.set_host(host, state, out);
    }

    /// A host that had switched runs what it ran before.
    fn went_back(&mut self, host: &HostId, told: Option<ActionKind>, out: &mut Vec<Effect>) {
        let by_itself = "it went back by itself".to_owned();
        let why = if told == Some(ActionKind::RollBack) {
            let failure = self.hosts.get(host).and_then(|record| record.failure.clone());
            failure.unwrap_or_else(|| "as it was told".to_owned())
        } else {
            self.fail_host(host, &by_itself);
            by_itself
        };
        if let Some(record) = self.hosts.get_mut(host) {
            record.loose = false;
        }
        self.set_host(host, HostState::RolledBack { why }, out);
    }

    pub(super) fn disconnected(&mut self, host: &HostId) {
        let now = self.now;
        let Some(record) = self.hosts.get_mut(host).filter(|record| record.link == Link::Up) else { return };
        record.link = Link::Down { since: now };
        // Nobody has seen whether it was well meanwhile.
        if let State::Verifying { watched, .. } = &mut self.state {
            watched.remove(host);
        }
    }

    /// A host's own probation failed. That is what it is, whatever was sent to it meanwhile: the generation has moved, and
    /// what was sent before no longer fits.
    pub(super) fn local_failure(
        &mut self,
        host: &HostId,
        generation: Generation,
        running: Option<Running>,
        why: &str,
        out: &mut Vec<Effect>,
    ) {
        let Some(record) = self.hosts.get_mut(host) else { return };
        let takes_part = record.state.is_switched()
            || matches!(record.state, HostState::Sent { .. } | HostState::Unknown { .. } | HostState::Stuck { .. });
        if record.resolved.is_some() || !takes_part || generation < record.generation {
            return;
        }
        (record.generation, record.loose) = (generation, false);
        record.was_switched = true;
        let back = match (&record.before, &running) {
            (Some(before), Some(running)) => before.same_as(running),
            (before, running) => before.is_none() && running.is_none(),
        };
        let state = match running {
            _ if back => HostState::RolledBack { why: why.to_owned() },
            None => HostState::Stuck { why: why.to_owned() },
            running => HostState::Drifted { running },
        };
        self.progress = self.now;
        self.fail_host(host, why);
        self.set_host(host, state, out);
    }

    /// The coordinator died and started again: no host is connected, and each command may have arrived or not.
    pub(super) fn recovered(&mut self, epoch: Epoch, out: &mut Vec<Effect>) {
        self.epoch = epoch;
        // Whoever keeps the time does not know of an earlier one.
        self.timer = None;
        let now = self.now;
        for record in self.hosts.values_mut() {
            record.link = Link::Down { since: now };
        }
        if self.is_over() {
            return;
        }
        self.renew();
        if let State::Discovering { waiting_for } = &mut self.state {
            waiting_for.clear();
            out.push(Effect::Discover);
        }
        let message = format!("taken up again by start {epoch} of the coordinator, {}", self.state.name());
        self.emit(EventKind::Resumed, None, None, message, out);
    }

    /// Time in which nobody looked, or nothing was to move, does not count against anybody.
    pub(super) fn renew(&mut self) {
        let deadline = self.now.after(self.request.policy.host_timeout);
        (self.since, self.progress) = (self.now, self.now);
        for record in self.hosts.values_mut() {
            if let Some(open) = record.open.as_mut().filter(|_| !matches!(record.state, HostState::Unknown { .. })) {
                open.deadline = deadline;
            }
        }
        if let State::Verifying { watched, .. } = &mut self.state {
            watched.clear();
        }
    }
}

impl HostRecord {
    fn seen(&self, inventory: &WorkloadInventory, is_target: impl Fn(&Running) -> bool) -> Seen {
        match (&inventory.running, &self.before) {
            _ if inventory.detached => Seen::Other,
            (Some(running), _) if is_target(running) => Seen::Target { held: inventory.held },
            (Some(running), Some(before)) if running.same_as(before) => Seen::Before,
            (None, None) => Seen::Before,
            _ => Seen::Other,
        }
    }
}

/// An answer that is no success, in words.
fn explained(action: ActionKind, outcome: &Outcome) -> String {
    match outcome.why() {
        Some(why) => why.to_owned(),
        None => format!("it answered `{}` to {}", outcome.as_str(), action.as_str()),
    }
}

//! Rollouts at work: what the machine asks for is done here.

use std::collections::VecDeque;

use host_core::{
    fleet::{Assignment, AssignmentChange, FleetHost, FleetRevision, FleetView, Selector},
    id::{HostId, RolloutId, WorkloadName},
    rollout::{
        Effect, Input as RolloutInput, Rollout, RolloutEvent,
        request::{RolloutRequest, Source},
    },
    time::UnixNanos,
};

use super::{Coordinator, Step, document};
use crate::{
    protocol::Down,
    store::{NewAudit, NewEvent, ReleaseRecord},
    telemetry::Observed,
};

impl Coordinator {
    /// A new rollout, begun.
    pub(super) fn roll(&mut self, request: RolloutRequest, now: UnixNanos, step: &mut Step) -> RolloutId {
        self.last_rollout = RolloutId(self.last_rollout.0 + 1);
        let id = self.last_rollout;
        let trace = self.tracer.as_ref().and_then(|tracer| tracer.begin());
        let rollout = Rollout::new(id, request, self.epoch, now).traced(trace);
        self.rollouts.insert(id, rollout);
        self.drive(id, RolloutInput::Begin, now, step);
        id
    }

    /// Gives a rollout its input, and does what it asks for. The reason when it rejected an order.
    pub(super) fn drive(
        &mut self,
        id: RolloutId,
        input: RolloutInput,
        now: UnixNanos,
        step: &mut Step,
    ) -> Option<String> {
        let mut inputs = VecDeque::from([input]);
        let mut rejected = None;
        while let Some(input) = inputs.pop_front() {
            let Some(rollout) = self.rollouts.get_mut(&id) else { return rejected };
            let effects = rollout.handle(input, now);
            let workload = rollout.workload().clone();
            self.touched.insert(id);
            for effect in effects {
                match effect {
                    Effect::Rejected { why } => rejected = Some(why),
                    Effect::Discover => {
                        let view = Box::new(self.fleet_view(&workload, Some(id)));
                        inputs.push_back(RolloutInput::Discovered { view });
                    }
                    effect => self.perform(id, &workload, effect, step),
                }
            }
        }
        rejected
    }

    fn perform(&mut self, id: RolloutId, workload: &WorkloadName, effect: Effect, step: &mut Step) {
        match effect {
            Effect::Send { host, command } => self.send(&host, Down::Command { command }, step),
            Effect::AskHealth { host, ask, check } => {
                let word = Down::AskHealth { rollout: id, ask, workload: workload.clone(), check };
                self.send(&host, word, step);
            }
            Effect::AskInventory { host, ask } => {
                self.send(&host, Down::AskInventory { question: Some((id, ask)) }, step);
            }
            Effect::Emit { event } => step.changes.events.push(told(event)),
            Effect::Audit { row } => step.changes.audit.push(NewAudit {
                who: row.who,
                what: row.what,
                target: row.host.map_or_else(|| workload.to_string(), String::from),
                result: row.result.unwrap_or_else(|| "begun".to_owned()),
            }),
            Effect::Assignment { change } => {
                if let AssignmentChange::Committed { revision } | AssignmentChange::Pinned { revision, .. } = &change {
                    self.remember_address(id, revision, step);
                }
                let assignment = self
                    .assignments
                    .entry(workload.clone())
                    .or_insert_with(|| Assignment::new(workload.clone(), Selector::All));
                assignment.apply(change);
                step.changes.assignments.push((workload.clone(), Some(document(assignment))));
            }
            Effect::Ended { part } => {
                let to = self.rollouts.get(&id).map(|rollout| rollout.request().target.version.clone());
                let ended =
                    to.map(|to| Observed::Ended { rollout: id, workload: workload.clone(), to, part: Box::new(part) });
                step.observed.extend(ended);
            }
            // The first two were taken by the caller; when to wake is asked of every rollout.
            Effect::Discover | Effect::Rejected { .. } | Effect::SetTimer { .. } => {}
        }
    }

    /// A release that hosts took from an address is known by it once it is what they shall run: a host that joins later needs it
    /// too. Not before: a digest that nobody could fetch must not be the version's for ever.
    fn remember_address(&mut self, id: RolloutId, revision: &FleetRevision, step: &mut Step) {
        let Some(rollout) = self.rollouts.get(&id) else { return };
        let key = (revision.workload.clone(), revision.version.clone());
        let Source::Address(from) = &rollout.request().source else { return };
        if self.releases.contains_key(&key) {
            return;
        }
        let release = ReleaseRecord {
            workload: revision.workload.clone(),
            version: revision.version.clone(),
            digest: revision.digest,
            size_bytes: None,
            from: Some(from.clone()),
            published: rollout.began(),
        };
        step.changes.releases.push(release.clone());
        self.releases.insert(key, release);
    }

    /// To a host that is connected; the inventory of one that is not will say what it missed.
    pub(super) fn send(&self, host: &HostId, word: Down, step: &mut Step) {
        if let Some(session) = self.hosts.get(host).and_then(|known| known.session) {
            step.sends.push((session, word));
        }
    }

    /// The same to every rollout: each takes what is its own.
    pub(super) fn drive_all(&mut self, input: &RolloutInput, now: UnixNanos, step: &mut Step) {
        let all: Vec<_> = self.rollouts.keys().copied().collect();
        for id in all {
            self.drive(id, input.clone(), now, step);
        }
    }

    pub(super) fn rollouts_of(&self, workload: &WorkloadName) -> impl Iterator<Item = RolloutId> {
        self.rollouts.iter().filter(move |(_, rollout)| rollout.workload() == workload).map(|(id, _)| *id)
    }

    /// The rollout that has a host in its hands, as far as this workload is concerned.
    pub(super) fn holder(&self, host: &HostId, workload: &WorkloadName) -> Option<RolloutId> {
        let holds = |rollout: &Rollout| rollout.workload() == workload && rollout.holds(host);
        self.rollouts.iter().find(|(_, rollout)| holds(rollout)).map(|(id, _)| *id)
    }

    /// All that is known, for a plan of this workload.
    pub(super) fn fleet_view(&self, workload: &WorkloadName, own: Option<RolloutId>) -> FleetView {
        let others = || self.rollouts.iter().filter(|(id, _)| Some(**id) != own);
        let of_it = |rollout: &Rollout| rollout.workload() == workload;
        let obliged = |host: &HostId| {
            let owes = |rollout: &Rollout| of_it(rollout) && rollout.is_over() && rollout.holds(host);
            others().find(|(_, rollout)| owes(rollout)).map(|(id, _)| *id)
        };
        let hosts = self.hosts.iter().map(|(name, host)| {
            let known = FleetHost {
                labels: host.labels.clone(),
                connected: host.session.is_some(),
                inventory: host.inventory.as_ref().map(|inventory| inventory.of(workload)),
                obliged_to: obliged(name),
            };
            (name.clone(), known)
        });
        let assignment = self.assignments.get(workload).cloned();
        FleetView {
            assignment: assignment.unwrap_or_else(|| Assignment::new(workload.clone(), Selector::All)),
            hosts: hosts.collect(),
            other: others().find(|(_, rollout)| of_it(rollout) && !rollout.is_over()).map(|(id, _)| *id),
        }
    }
}

/// A rollout's event as the fleet's.
fn told(event: RolloutEvent) -> NewEvent {
    NewEvent {
        name: event.kind.as_str().to_owned(),
        workload: Some(event.workload),
        rollout: Some(event.rollout),
        host: event.host,
        message: event.message,
    }
}

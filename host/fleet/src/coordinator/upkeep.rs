//! Outside of rollouts: every host is brought to what it is assigned, a few at a time.

use std::time::Duration;

use host_core::{
    fleet::{Convergence, RunWanted, WorkloadInventory, converge},
    id::{CommandId, HostId, WorkloadName},
    time::UnixNanos,
};

use super::{Coordinator, Host, Step, event};
use crate::{
    protocol::{Down, Task, Upkeep},
    store::NewEvent,
    telemetry::Observed,
};

/// Hosts that are brought up at once: a power cut's worth of hosts may come back together, and each may need the same bytes.
const AT_ONCE: usize = 10;
/// How long after a failed upkeep it is tried again, doubled each time.
const RETRY_FIRST: Duration = Duration::from_secs(10);
/// The longest such wait.
const RETRY_LIMIT: Duration = Duration::from_secs(600);
/// Upkeeps count apart from the commands of rollouts.
const UPKEEPS_FROM: u64 = 1 << 63;

/// What is being done for a workload on a host, or was tried.
#[derive(Debug)]
pub(super) enum Upkeeping {
    /// It was told.
    Sent { id: CommandId, wait: Duration },
    /// It failed, and waits to be tried again.
    Failed { why: String, again: UnixNanos, wait: Duration },
}

impl Upkeeping {
    fn is(&self, wanted: CommandId) -> bool {
        matches!(self, Self::Sent { id, .. } if *id == wanted)
    }

    pub(super) const fn wakes_at(&self) -> Option<UnixNanos> {
        match self {
            Self::Sent { .. } => None,
            Self::Failed { again, .. } => Some(*again),
        }
    }
}

impl Coordinator {
    /// What is to be done for each workload on a host.
    pub(super) fn convergence_of(&self, host: &HostId) -> Vec<(WorkloadName, Convergence)> {
        let Some(known) = self.hosts.get(host) else { return Vec::new() };
        let Some(inventory) = known.inventory.as_ref().filter(|_| !known.stale) else { return Vec::new() };
        let each = self.assignments.iter().map(|(workload, assignment)| {
            let holder = self.holder(host, workload);
            let here: WorkloadInventory = inventory.of(workload);
            (workload.clone(), converge(assignment, host, &known.labels, &here, holder))
        });
        each.filter(|(_, convergence)| *convergence != Convergence::Nothing).collect()
    }

    /// Forgets a workload that was removed once no host can have it any more: every one has been heard, and has it not, or has
    /// it in a person's hands. Otherwise one that was away would keep it, in the hands of a fleet that knows nothing of it.
    pub(super) fn forget_removed(&mut self, step: &mut Step) {
        let begun_anew = |workload: &WorkloadName| self.rollouts.values().any(|rollout| rollout.workload() == workload);
        let removed = self.assignments.values().filter(|assignment| assignment.run == RunWanted::Removed);
        let removed = removed.filter(|assignment| !begun_anew(&assignment.workload));
        let has_it_not = |workload: &WorkloadName, host: &Host| {
            let here = host.inventory.as_ref().filter(|_| !host.stale).map(|inventory| inventory.of(workload));
            here.is_some_and(|here| here.detached || (here.running.is_none() && here.busy.is_none()))
        };
        let gone = removed.filter(|assignment| self.hosts.values().all(|host| has_it_not(&assignment.workload, host)));
        let gone: Vec<_> = gone.map(|assignment| assignment.workload.clone()).collect();
        for workload in gone {
            self.assignments.remove(&workload);
            step.changes.assignments.push((workload.clone(), None));
            let message = format!("{workload} is gone from every host");
            step.changes.events.push(NewEvent { workload: Some(workload), ..event("workload.removed", message) });
        }
    }

    /// Gives connected hosts what they lack.
    pub(super) fn keep_up(&mut self, now: UnixNanos, step: &mut Step) {
        let mut room =
            AT_ONCE.saturating_sub(self.upkeeps.values().filter(|u| matches!(u, Upkeeping::Sent { .. })).count());
        let connected: Vec<_> =
            self.hosts.iter().filter(|(_, known)| known.session.is_some()).map(|(name, _)| name.clone()).collect();
        for host in connected {
            for (workload, convergence) in self.convergence_of(&host) {
                if room == 0 {
                    return;
                }
                let key = (host.clone(), workload.clone());
                match self.upkeeps.get(&key) {
                    Some(Upkeeping::Sent { .. }) => continue,
                    Some(Upkeeping::Failed { again, .. }) if *again > now => continue,
                    _ => {}
                }
                let Some(task) = self.task(convergence) else { continue };
                room -= 1;
                self.tell(host.clone(), workload, task, step);
            }
        }
    }

    fn task(&self, convergence: Convergence) -> Option<Task> {
        match convergence {
            Convergence::Deploy { revision, intent, .. } => {
                let source = self.source_of(&revision);
                Some(Task::Deploy { revision, source, intent })
            }
            Convergence::Commit => Some(Task::Commit),
            Convergence::Start => Some(Task::Start),
            Convergence::Stop => Some(Task::Stop),
            Convergence::Remove => Some(Task::Remove),
            Convergence::Nothing
            | Convergence::Drifted { .. }
            | Convergence::Unselected { .. }
            | Convergence::LeftTo { .. }
            | Convergence::Busy { .. }
            | Convergence::Failed { .. } => None,
        }
    }

    /// Tells a host to do something, and remembers that.
    pub(super) fn tell(&mut self, host: HostId, workload: WorkloadName, task: Task, step: &mut Step) {
        self.last_upkeep += 1;
        let id = CommandId(UPKEEPS_FROM + self.last_upkeep);
        let message = format!("{host} is told to {}", in_words(&task, &workload));
        step.changes.events.push(NewEvent {
            workload: Some(workload.clone()),
            host: Some(host.clone()),
            ..event("host.upkeep", message)
        });
        let upkeep = Upkeep { id, epoch: self.epoch, workload: workload.clone(), task };
        self.send(&host, Down::Upkeep { upkeep: Box::new(upkeep) }, step);
        let key = (host, workload);
        let wait = match self.upkeeps.get(&key) {
            Some(Upkeeping::Failed { wait, .. }) => (*wait * 2).min(RETRY_LIMIT),
            _ => RETRY_FIRST,
        };
        self.upkeeps.insert(key, Upkeeping::Sent { id, wait });
    }

    pub(super) fn upkept(
        &mut self,
        host: &HostId,
        workload: &WorkloadName,
        id: CommandId,
        failed: Option<String>,
        now: UnixNanos,
        step: &mut Step,
    ) {
        let key = (host.clone(), workload.clone());
        let Some(Upkeeping::Sent { wait, .. }) = self.upkeeps.get(&key).filter(|sent| sent.is(id)) else { return };
        let wait = *wait;
        step.observed.push(Observed::Upkept { done: failed.is_none() });
        let message = match failed {
            None => {
                self.upkeeps.remove(&key);
                format!("{workload} on {host} is as it shall be")
            }
            Some(why) => {
                let message = format!("{workload} on {host} is not as it shall be: {why}");
                self.upkeeps.insert(key, Upkeeping::Failed { why, again: now.after(wait), wait });
                message
            }
        };
        step.changes.events.push(NewEvent {
            workload: Some(workload.clone()),
            host: Some(host.clone()),
            ..event("host.upkept", message)
        });
        // What runs there now follows; until then the old inventory would ask for the same again.
        self.send(host, Down::AskInventory { question: None }, step);
        if let Some(known) = self.hosts.get_mut(host) {
            known.stale = true;
        }
    }

    /// Those of a host that is gone: what was not begun will not be, and what was, its inventory will show.
    pub(super) fn forget_upkeeps(&mut self, host: &HostId) {
        self.upkeeps.retain(|(of, _), _| of != host);
    }

    pub(super) fn troubles_of(&self, host: &HostId) -> Vec<String> {
        let of_it = self.upkeeps.iter().filter(|((of, _), _)| of == host);
        let failed = of_it.filter_map(|((_, workload), upkeeping)| match upkeeping {
            Upkeeping::Failed { why, .. } => Some(format!("{workload}: {why}")),
            Upkeeping::Sent { .. } => None,
        });
        failed.collect()
    }
}

fn in_words(task: &Task, workload: &WorkloadName) -> String {
    match task {
        Task::Deploy { revision, .. } => format!("run {workload} {}", revision.version),
        Task::Commit => format!("keep {workload} as it is"),
        Task::Start => format!("start {workload}"),
        Task::Stop => format!("stop {workload}"),
        Task::Remove => format!("remove {workload}"),
        Task::Attach { .. } => format!("give {workload} back to the fleet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{coordinator::Input, store::Loaded};
    use host_core::id::Epoch;

    #[test]
    fn an_upkeep_that_waits_for_something_else_than_time_does_not_keep_the_coordinator_awake() {
        let (mut coordinator, _) =
            Coordinator::begin(Epoch(1), Loaded::default(), UnixNanos(1)).expect("nothing was written");
        let key = ("a".parse().expect("a name"), "chat".parse().expect("a name"));
        let failed = Upkeeping::Failed { why: String::new(), again: UnixNanos(5), wait: RETRY_FIRST };
        coordinator.upkeeps.insert(key, failed);
        assert_eq!(coordinator.wakes_at(), Some(UnixNanos(5)));
        coordinator.handle(Input::Tick, UnixNanos(5));
        assert_eq!(coordinator.wakes_at(), None, "its host is not there");
    }
}

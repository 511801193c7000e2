//! What is declared in a file, against what is: told, or made true. All of it is checked before any of it begins.

use host_api::Failure;
use host_core::{
    fleet::{Assignment, FleetRevision, RunWanted, Selector},
    id::{HostId, RolloutId, WorkloadName},
    rollout::{
        planner::{self, Planned},
        request::RolloutRequest,
    },
    time::UnixNanos,
};

use super::{
    Coordinator, Host, Step,
    answer::{Answer, refused},
    audit, event,
};
use crate::{
    operator::{Declared, Deploy, Difference, Told},
    store::NewEvent,
};

/// Most workloads of one declaration: as many as a person can look through.
const DECLARED_LIMIT: usize = 256;

/// A declared workload, considered.
struct Considered {
    difference: Difference,
    /// The assignment as it shall be; without what a rollout will write into it.
    assignment: Assignment,
    request: Option<RolloutRequest>,
}

impl Coordinator {
    pub(super) fn declare(
        &mut self,
        by: &str,
        declared: Vec<Declared>,
        apply: bool,
        now: UnixNanos,
        step: &mut Step,
    ) -> Answer {
        if declared.len() > DECLARED_LIMIT {
            return Err(refused(format!("{} workloads are declared; at most {DECLARED_LIMIT} can be", declared.len())));
        }
        let last_revision = self.last_revision;
        let named: Vec<_> = declared.iter().map(|declared| declared.deploy.workload.clone()).collect();
        let considered: Vec<_> = declared.into_iter().map(|declared| self.consider(by, declared)).collect();
        let taken = std::mem::replace(&mut self.last_revision, last_revision);
        let problems: Vec<_> = considered.iter().filter_map(|each| each.difference.problem.as_deref()).collect();
        if apply && !problems.is_empty() {
            return Err(refused(problems.join("; "))
                .remedy("`host fleet diff -f` shows the rest; nothing of the file was begun"));
        }
        if apply && taken != last_revision {
            self.last_revision = taken;
            step.changes.last_revision = Some(taken);
        }
        let mut workloads = Vec::with_capacity(considered.len());
        for each in considered {
            workloads.push(if apply { self.make_true(by, each, now, step) } else { each.difference });
        }
        let others = self.assignments.values().filter(|other| other.run != RunWanted::Removed);
        let others = others.map(|other| other.workload.clone()).filter(|workload| !named.contains(workload)).collect();
        Ok(Told::Declared { workloads, others, applied: apply })
    }

    /// Only the numbers of new revisions are taken; nothing else changes.
    fn consider(&mut self, by: &str, declared: Declared) -> Considered {
        let Declared { deploy, running } = declared;
        let workload = deploy.workload.clone();
        let selector = deploy.assign.clone().unwrap_or_default();
        // One that is being removed is declared anew.
        let before = self.assignments.get(&workload).filter(|known| known.run != RunWanted::Removed).cloned();
        let mut assignment = before.clone().unwrap_or_else(|| Assignment::new(workload.clone(), selector.clone()));
        let target = self.target(&deploy, &assignment, &mut Step::default());
        let mut differs = Vec::new();
        match &before {
            None => differs.push(format!("it is assigned to {selector}")),
            Some(before) if before.selector != selector => {
                differs.push(format!("it is assigned to {selector}, not to {}", before.selector));
                differs.extend(self.let_go(before, &selector));
            }
            Some(_) => {}
        }
        let stopped = assignment.run == RunWanted::Stopped;
        if running == stopped {
            differs.push(if running { "it is started" } else { "it is stopped" }.to_owned());
        }
        assignment.selector = selector;
        assignment.run = if running { RunWanted::Running } else { RunWanted::Stopped };
        let difference = Difference { workload, differs, plan: Vec::new(), rollout: None, problem: None };
        let mut considered = Considered { difference, assignment, request: None };
        match target {
            Err(failure) => considered.difference.problem = Some(in_words(failure)),
            Ok(target) if running && stopped && !revision_differs(&considered.assignment, &target).is_empty() => {
                considered.difference.problem = Some(format!(
                    "{0} is stopped, and only what runs is brought to another revision; first: host fleet start {0}",
                    considered.difference.workload
                ));
            }
            Ok(target) => self.consider_revision(by, deploy, target, &mut considered),
        }
        considered
    }

    /// How the revision differs, and the rollout that brings it.
    fn consider_revision(&self, by: &str, deploy: Deploy, target: FleetRevision, considered: &mut Considered) {
        let Considered { difference, assignment, request } = considered;
        let revision = revision_differs(assignment, &target);
        let settled = difference.differs.is_empty();
        match self.under_way(&difference.workload) {
            Some((id, plan, brings)) if same(&brings, &target) && settled => {
                difference.differs.extend(revision);
                (difference.rollout, difference.plan) = (Some(id), plan);
            }
            // Where a workload is and whether it runs does not change under a rollout's hands.
            Some((id, _, brings)) => {
                difference.differs.extend(revision);
                difference.problem = Some(format!(
                    "rollout {id} of {} brings {}, which is not all that is declared; wait for its end, or cancel it: host fleet cancel {id}",
                    difference.workload, brings.version
                ));
            }
            None if revision.is_empty() => {}
            None => {
                difference.differs.extend(revision);
                let wanted = self.request_for(by, deploy, target);
                let planned = wanted.and_then(|wanted| Ok((self.planned(&wanted, assignment)?, wanted)));
                match planned {
                    Ok((plan, wanted)) => (difference.plan, *request) = (plan, Some(wanted)),
                    Err(failure) => difference.problem = Some(in_words(failure)),
                }
            }
        }
    }

    /// What a rollout would do for an assignment that is not kept yet, a line for each thing.
    pub(super) fn planned(&self, request: &RolloutRequest, assignment: &Assignment) -> Result<Vec<String>, Failure> {
        let mut fleet = self.fleet_view(request.workload(), None);
        fleet.assignment = assignment.clone();
        match planner::plan(request, &fleet) {
            Ok(Planned::Plan { plan }) => Ok(plan.lines()),
            Ok(Planned::Wait { hosts }) => {
                let names: Vec<_> = hosts.iter().map(HostId::as_str).collect();
                Ok(vec![format!("waits for {}", names.join(", "))])
            }
            Err(refusal) => Err(refused(refusal.to_string())),
        }
    }

    /// Hosts that run the workload and are chosen no more.
    fn let_go(&self, before: &Assignment, selector: &Selector) -> Option<String> {
        let runs = |host: &Host| {
            host.inventory.as_ref().is_some_and(|inventory| inventory.of(&before.workload).running.is_some())
        };
        let gone = self.hosts.iter().filter(|(name, host)| {
            runs(host) && before.selector.selects(name, &host.labels) && !selector.selects(name, &host.labels)
        });
        let names: Vec<_> = gone.map(|(name, _)| name.as_str()).collect();
        (!names.is_empty())
            .then(|| format!("{} let go: it runs on there until it is removed by hand on the host", names.join(", ")))
    }

    /// The rollout of a workload that is not over, its plan, and what it brings.
    fn under_way(&self, workload: &WorkloadName) -> Option<(RolloutId, Vec<String>, FleetRevision)> {
        let mut all = self.rollouts.iter().filter(|(_, rollout)| rollout.workload() == workload && !rollout.is_over());
        all.next().map(|(id, rollout)| {
            let plan = rollout.plan().map(|plan| plan.lines()).unwrap_or_default();
            (*id, plan, rollout.request().target.clone())
        })
    }

    fn make_true(&mut self, by: &str, considered: Considered, now: UnixNanos, step: &mut Step) -> Difference {
        let Considered { mut difference, mut assignment, request } = considered;
        let workload = difference.workload.clone();
        // One that is being removed goes on being so until hosts are told of what is new.
        if self.assignments.get(&workload).is_some_and(|known| known.run == RunWanted::Removed) {
            assignment.run = RunWanted::Removed;
        }
        if self.assignments.get(&workload) != Some(&assignment) {
            let message = format!("{workload} is declared anew: {}", difference.differs.join("; "));
            step.changes
                .events
                .push(NewEvent { workload: Some(workload.clone()), ..event("assignment.declared", message) });
            step.changes.audit.push(audit(by, "assignment.declare", workload.to_string(), "done"));
            self.assign(assignment, step);
        }
        if let Some(request) = request {
            difference.rollout = Some(self.begin_rollout(by, request, now, step));
        }
        difference
    }
}

/// A failure in a line.
fn in_words(failure: Failure) -> String {
    let remedy = failure.remedy.map(|remedy| format!("; {remedy}")).unwrap_or_default();
    format!("{}{remedy}", failure.what)
}

/// Whether two revisions are one, whatever their numbers.
fn same(one: &FleetRevision, other: &FleetRevision) -> bool {
    FleetRevision { id: one.id, ..other.clone() } == *one
}

/// How what hosts shall run differs from what is declared, a line for each thing.
fn revision_differs(assignment: &Assignment, target: &FleetRevision) -> Vec<String> {
    let Some(stable) = &assignment.stable else { return vec![format!("it runs {}", target.version)] };
    let mut lines = Vec::new();
    if stable.version != target.version {
        lines.push(format!("it runs {}, not {}", target.version, stable.version));
    } else if stable.digest != target.digest {
        lines.push(format!("it has the digest {}, not {}", target.digest.short(), stable.digest.short()));
    }
    if stable.listeners != target.listeners {
        let names = |revision: &FleetRevision| {
            let names: Vec<_> = revision.listeners.iter().map(ToString::to_string).collect();
            names.join(" ")
        };
        lines.push(format!("it listens on {}, not on {}", names(target), names(stable)));
    }
    if stable.config != target.config {
        lines.push("it has another config".to_owned());
    }
    if stable.topology != target.topology {
        lines.push("it has another topology".to_owned());
    }
    let pinned = assignment.pinned.iter().filter(|(_, revision)| !same(revision, target));
    let pinned: Vec<_> = pinned.map(|(host, revision)| format!("{host} ({})", revision.version)).collect();
    if !pinned.is_empty() {
        lines.push(format!("hosts of their own follow it too: {}", pinned.join(", ")));
    }
    lines
}

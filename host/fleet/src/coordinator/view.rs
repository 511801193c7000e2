//! What operators are shown.

use host_core::{
    fleet::Convergence,
    id::{HostId, WorkloadName},
    rollout::Rollout,
    time::UnixNanos,
};

use super::{Coordinator, Host};
use crate::operator::{FleetStatus, HostView, Placement, RolloutView};

/// A rollout for people and programs.
pub(super) fn rollout(rollout: &Rollout, now: UnixNanos) -> RolloutView {
    RolloutView {
        id: rollout.id(),
        workload: rollout.workload().clone(),
        version: rollout.request().target.version.clone(),
        by: rollout.request().by.clone(),
        began: rollout.began(),
        ended: rollout.ended(),
        plan: rollout.plan().map(|plan| plan.lines()).unwrap_or_default(),
        summary: rollout.summary(),
        why: rollout.why(now),
        owed: rollout.obligations().into_keys().collect(),
        trace: rollout.trace(),
    }
}

impl Coordinator {
    pub(super) fn status(&self, now: UnixNanos) -> FleetStatus {
        FleetStatus {
            epoch: self.epoch,
            since: self.since,
            hosts: self.hosts.len(),
            connected: self.hosts.values().filter(|host| host.session.is_some()).count(),
            assignments: self.assignments.values().cloned().collect(),
            rollouts: self.rollouts.values().map(|each| rollout(each, now)).collect(),
        }
    }

    pub(super) fn host_views(&self) -> Vec<HostView> {
        let view = |(name, host): (&HostId, &Host)| HostView {
            name: name.clone(),
            labels: host.labels.clone(),
            connected: host.session.is_some(),
            since: host.since,
            inventory: host.inventory.clone(),
            status: host.status.clone(),
            convergence: self.convergence_of(name),
            troubles: self.troubles_of(name),
        };
        self.hosts.iter().map(view).collect()
    }

    pub(super) fn placements(&self, workload: &WorkloadName) -> Vec<Placement> {
        let assignment = self.assignments.get(workload);
        let mut placements = Vec::new();
        for (name, host) in &self.hosts {
            let here = host.inventory.as_ref().map(|inventory| inventory.of(workload)).unwrap_or_default();
            let selected = assignment.filter(|assignment| assignment.selector.selects(name, &host.labels));
            if here.running.is_none() && selected.is_none() {
                continue;
            }
            let convergence = self.convergence_of(name).into_iter().find(|(of, _)| of == workload);
            placements.push(Placement {
                host: name.clone(),
                connected: host.session.is_some(),
                version: here.running.map(|running| running.version),
                wanted: selected.and_then(|assignment| assignment.wanted(name)).map(|wanted| wanted.version.clone()),
                state: state(host, assignment.is_some(), convergence.map(|(_, convergence)| convergence)),
            });
        }
        placements
    }
}

fn state(host: &Host, assigned: bool, convergence: Option<Convergence>) -> String {
    if host.session.is_none() {
        return "not connected; as last heard".to_owned();
    }
    match convergence {
        None if assigned => "as it shall be".to_owned(),
        None => "not assigned by the fleet".to_owned(),
        Some(Convergence::Nothing) => "as it shall be".to_owned(),
        Some(Convergence::Deploy { revision, .. }) => format!("to be brought to {}", revision.version),
        Some(Convergence::Commit) => "to be committed".to_owned(),
        Some(Convergence::Start) => "to be started".to_owned(),
        Some(Convergence::Stop) => "to be stopped".to_owned(),
        Some(Convergence::Remove) => "to be removed".to_owned(),
        Some(Convergence::Drifted { .. }) => "drifted: changed by hand".to_owned(),
        Some(Convergence::Unselected { .. }) => "runs, and is not assigned to this host".to_owned(),
        Some(Convergence::LeftTo { rollout }) => format!("in rollout {rollout}"),
        Some(Convergence::Busy { .. }) => "busy".to_owned(),
        Some(Convergence::Failed { why }) => format!("failed: {why}"),
    }
}

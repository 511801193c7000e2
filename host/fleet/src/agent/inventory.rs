//! What a host says it runs: its status, with what the journal knows of the fleet.

use std::collections::BTreeMap;

use host_core::{
    fleet::{Busy, HostInventory, Running, WorkloadInventory},
    id::{CommandId, Digest, Generation, WorkloadName},
    status::{HostStatus, RunState, WorkloadStatus},
    swap::PhaseName,
};

use super::journal::{Entry, Journal, JournalError};

/// All of it.
pub(super) fn of(
    status: &HostStatus,
    journal: &Journal,
    busy: &BTreeMap<WorkloadName, CommandId>,
) -> Result<HostInventory, JournalError> {
    let mut names: Vec<_> = status.workloads.iter().map(|workload| workload.name.clone()).collect();
    names.extend(journal.workloads()?);
    names.extend(busy.keys().cloned());
    names.sort_unstable();
    names.dedup();
    let mut workloads = BTreeMap::new();
    for name in names {
        let entry = journal.entry(&name)?;
        let here = status.workloads.iter().find(|workload| workload.name == name);
        let by_hand = || here.filter(|workload| under_way(workload)).map(|_| Busy::ByHand);
        let inventory = WorkloadInventory {
            running: here.map(|workload| running(workload, &entry)),
            run_state: here.map(|workload| workload.run_state.clone()),
            held: here.is_some_and(is_held),
            busy: busy.get(&name).copied().map(Busy::Command).or_else(by_hand),
            detached: entry.detached,
            recent: journal.recent(&name)?,
        };
        workloads.insert(name, inventory);
    }
    Ok(HostInventory { workloads })
}

/// What runs, with the fleet's number of it where the bytes are those that had it.
fn running(workload: &WorkloadStatus, entry: &Entry) -> Running {
    let numbered =
        |known: Option<(_, Digest)>| known.filter(|(_, digest)| *digest == workload.digest).map(|(id, _)| id);
    Running {
        version: workload.version.clone(),
        digest: workload.digest,
        generation: workload.generation,
        revision: numbered(entry.revision).or_else(|| numbered(entry.before)),
    }
}

/// On a probation that only somebody's word ends.
pub(super) fn is_held(workload: &WorkloadStatus) -> bool {
    let held = |swap: &host_core::status::SwapStatus| swap.phase == PhaseName::Probation && swap.remaining.is_none();
    workload.swap.as_ref().is_some_and(held)
}

/// In a swap that is not on probation yet.
fn under_way(workload: &WorkloadStatus) -> bool {
    workload.swap.as_ref().is_some_and(|swap| swap.phase != PhaseName::Probation)
}

/// The bytes in place.
pub(super) fn digest_of(status: &HostStatus, workload: &WorkloadName) -> Option<Digest> {
    status.workloads.iter().find(|here| here.name == *workload).map(|here| here.digest)
}

/// A held release that is no longer what runs.
pub(super) struct Left {
    pub(super) generation: Generation,
    pub(super) running: Option<Running>,
}

/// Whether a release that a command left on a held probation was left by the host itself.
pub(super) fn left_by_itself(status: &HostStatus, workload: &WorkloadName, entry: &Entry) -> Option<Left> {
    let held = entry.holding?;
    match status.workloads.iter().find(|here| here.name == *workload) {
        None => Some(Left { generation: held.next(), running: None }),
        Some(here) if matches!(here.run_state, RunState::Failed { .. }) => {
            Some(Left { generation: here.generation, running: None })
        }
        Some(here) if here.generation != held && !under_way(here) => {
            Some(Left { generation: here.generation, running: Some(running(here, entry)) })
        }
        Some(_) => None,
    }
}

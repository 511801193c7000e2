//! What shall be done with a host that joins, returns or strays.

use semver::Version;
use serde::{Deserialize, Serialize};

use super::{Assignment, Busy, FleetRevision, RunWanted, Running, WorkloadInventory};
use crate::{
    id::{HostId, RolloutId},
    label::Labels,
    plan::Intent,
    status::RunState,
};

/// What shall be done with one workload of a host, outside of its rollouts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Convergence {
    /// It is as it shall be.
    Nothing,
    /// An ordinary, guarded swap, or the first start.
    Deploy {
        /// To what.
        revision: Box<FleetRevision>,
        /// What runs; none where the workload is not.
        from: Option<Version>,
        /// Whether a lower version is meant.
        intent: Intent,
    },
    /// It runs what it shall, on a probation that nobody is left to end.
    Commit,
    /// It is stopped and shall run.
    Start,
    /// It runs and shall be stopped.
    Stop,
    /// It is there and shall be removed, with its state.
    Remove,
    /// A person took it out of the fleet's hands: it is shown and let be until it is adopted or reconciled.
    Drifted {
        /// What runs there.
        running: Option<Running>,
        /// What the fleet would have there.
        wanted: Option<Box<FleetRevision>>,
    },
    /// It runs, and the assignment does not choose this host: it is shown. Nothing is removed that nobody asked to be removed.
    Unselected {
        /// What runs there.
        running: Running,
    },
    /// A rollout has not closed with this host: that decides.
    LeftTo {
        /// Which.
        rollout: RolloutId,
    },
    /// Something is being done there: look again afterwards.
    Busy {
        /// What.
        with: Busy,
    },
    /// It failed there by itself, running what it shall: a person must look.
    Failed {
        /// Why.
        why: String,
    },
}

/// Decides what shall be done with a workload on a host.
///
/// `rollout` is one that holds the host: under way, or not closed with it.
#[must_use]
pub fn converge(
    assignment: &Assignment,
    host: &HostId,
    labels: &Labels,
    inventory: &WorkloadInventory,
    rollout: Option<RolloutId>,
) -> Convergence {
    if let Some(rollout) = rollout {
        return Convergence::LeftTo { rollout };
    }
    let wanted = assignment.wanted(host);
    if inventory.detached {
        let (running, wanted) = (inventory.running.clone(), wanted.cloned().map(Box::new));
        return Convergence::Drifted { running, wanted };
    }
    if let Some(with) = inventory.busy {
        return Convergence::Busy { with };
    }
    if assignment.run == RunWanted::Removed {
        return inventory.running.as_ref().map_or(Convergence::Nothing, |_| Convergence::Remove);
    }
    if !assignment.selector.selects(host, labels) {
        return inventory.running.clone().map_or(Convergence::Nothing, |running| Convergence::Unselected { running });
    }
    match (wanted, &inventory.running) {
        (None, _) => Convergence::Nothing,
        (Some(_), None) if assignment.run != RunWanted::Running => Convergence::Nothing,
        (Some(wanted), None) => Convergence::Deploy {
            revision: Box::new(wanted.clone()),
            from: None,
            intent: Intent::Deploy { downgrade: false },
        },
        (Some(wanted), Some(running)) => in_place(assignment.run, wanted, running, inventory),
    }
}

/// The workload is there.
fn in_place(run: RunWanted, wanted: &FleetRevision, running: &Running, inventory: &WorkloadInventory) -> Convergence {
    let stopped = !matches!(inventory.run_state, None | Some(RunState::Running));
    match (run, &inventory.run_state) {
        (RunWanted::Removed, _) => Convergence::Remove,
        (RunWanted::Stopped, _) if stopped => Convergence::Nothing,
        (RunWanted::Stopped, _) => Convergence::Stop,
        (RunWanted::Running, Some(RunState::Failed { why })) => Convergence::Failed { why: why.clone() },
        // A host swaps only what runs.
        (RunWanted::Running, Some(RunState::Stopped)) => Convergence::Start,
        (RunWanted::Running, _) if !wanted.is(running) => Convergence::Deploy {
            revision: Box::new(wanted.clone()),
            from: Some(running.version.clone()),
            intent: Intent::Deploy { downgrade: wanted.version < running.version },
        },
        (RunWanted::Running, _) if inventory.held => Convergence::Commit,
        (RunWanted::Running, _) => Convergence::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fleet::{AssignmentChange, Selector},
        id::{CommandId, Digest, Generation, RevisionId},
        release::Topology,
    };

    fn revision(minor: u64) -> FleetRevision {
        FleetRevision {
            id: RevisionId(minor),
            workload: "chat".parse().expect("a name"),
            version: Version::new(1, minor, 0),
            digest: Digest::new([u8::try_from(minor).expect("small"); 32]),
            listeners: Vec::new(),
            config: String::new(),
            topology: Topology::Single,
        }
    }

    fn runs(minor: u64) -> WorkloadInventory {
        let FleetRevision { id, version, digest, .. } = revision(minor);
        WorkloadInventory {
            running: Some(Running { version, digest, generation: Generation(3), revision: Some(id) }),
            run_state: Some(RunState::Running),
            ..WorkloadInventory::default()
        }
    }

    fn check(inventory: &WorkloadInventory) -> Convergence {
        check_with(inventory, |_| ())
    }

    fn check_with(inventory: &WorkloadInventory, change: impl FnOnce(&mut Assignment)) -> Convergence {
        let mut assignment = Assignment::new("chat".parse().expect("a name"), Selector::All);
        assignment.apply(AssignmentChange::Committed { revision: revision(1) });
        change(&mut assignment);
        converge(&assignment, &"a".parse().expect("a name"), &Labels::default(), inventory, None)
    }

    #[test]
    fn a_host_that_joins_gets_what_is_stable_and_not_what_a_rollout_is_about_to_bring() {
        let target = |assignment: &mut Assignment| {
            assignment.apply(AssignmentChange::Target { revision: revision(2) });
        };
        let Convergence::Deploy { revision: got, from: None, .. } = check_with(&WorkloadInventory::default(), target)
        else {
            panic!("a start")
        };
        assert_eq!(*got, revision(1));
        let nothing_yet = |assignment: &mut Assignment| assignment.stable = None;
        assert_eq!(check_with(&WorkloadInventory::default(), nothing_yet), Convergence::Nothing);
    }

    #[test]
    fn a_host_that_returns_is_brought_to_what_is_stable_down_as_well_as_up() {
        assert_eq!(check(&runs(1)), Convergence::Nothing);
        for (minor, downgrade) in [(0, false), (2, true)] {
            let Convergence::Deploy { intent, .. } = check(&runs(minor)) else { panic!("a swap") };
            assert_eq!(intent, Intent::Deploy { downgrade });
        }
    }

    #[test]
    fn what_a_person_took_in_hand_is_let_be() {
        let mut inventory = runs(2);
        inventory.detached = true;
        assert!(matches!(check(&inventory), Convergence::Drifted { running: Some(_), wanted: Some(_) }));
        let elsewhere = |assignment: &mut Assignment| assignment.selector = Selector::Names([].into());
        assert!(matches!(check_with(&runs(2), elsewhere), Convergence::Unselected { .. }));
        assert_eq!(check_with(&WorkloadInventory::default(), elsewhere), Convergence::Nothing);
    }

    #[test]
    fn a_host_in_a_rollout_or_in_the_middle_of_something_is_left_alone() {
        let assignment = Assignment::new("chat".parse().expect("a name"), Selector::All);
        let host = "a".parse().expect("a name");
        let left = converge(&assignment, &host, &Labels::default(), &runs(2), Some(RolloutId(4)));
        assert_eq!(left, Convergence::LeftTo { rollout: RolloutId(4) });
        let with = Busy::Command(CommandId(9));
        let inventory = WorkloadInventory { busy: Some(with), ..runs(2) };
        assert_eq!(check(&inventory), Convergence::Busy { with });
    }

    #[test]
    fn running_and_stopped_follow_the_assignment() {
        let with = |state: RunState| WorkloadInventory { run_state: Some(state), ..runs(1) };
        let stop = |assignment: &mut Assignment| assignment.run = RunWanted::Stopped;
        assert_eq!(check(&with(RunState::Stopped)), Convergence::Start);
        assert_eq!(check_with(&runs(1), stop), Convergence::Stop);
        assert_eq!(check_with(&with(RunState::Stopped), stop), Convergence::Nothing);
        let failed = RunState::Failed { why: "too often".to_owned() };
        assert_eq!(check(&with(failed)), Convergence::Failed { why: "too often".to_owned() });
        assert_eq!(check(&WorkloadInventory { held: true, ..runs(1) }), Convergence::Commit);
    }

    #[test]
    fn what_is_removed_goes_from_every_host_but_one_that_a_person_has_in_hand() {
        let remove = |assignment: &mut Assignment| assignment.run = RunWanted::Removed;
        assert_eq!(check_with(&runs(1), remove), Convergence::Remove);
        assert_eq!(check_with(&WorkloadInventory::default(), remove), Convergence::Nothing);
        let elsewhere = |assignment: &mut Assignment| {
            remove(assignment);
            assignment.selector = Selector::Names([].into());
        };
        assert_eq!(check_with(&runs(1), elsewhere), Convergence::Remove);
        let detached = WorkloadInventory { detached: true, ..runs(1) };
        assert!(matches!(check_with(&detached, remove), Convergence::Drifted { .. }));
    }

    #[test]
    fn the_same_bytes_with_another_config_are_not_the_same() {
        let mut inventory = runs(1);
        inventory.running.as_mut().expect("runs").revision = Some(RevisionId(7));
        assert!(matches!(check(&inventory), Convergence::Deploy { .. }));
        inventory.running.as_mut().expect("runs").revision = None;
        assert_eq!(check(&inventory), Convergence::Nothing, "by hand: the bytes decide");
    }
}

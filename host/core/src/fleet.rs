//! What a fleet is asked to run, and what its hosts say they run.
//!
//! An [`Assignment`] is the truth: which workload runs in which revision on which hosts. A rollout changes it; a host that
//! joins, returns or strays is brought to it ([`converge`]). Nothing here asks a host anything: what hosts report comes in as
//! [`HostInventory`].

mod convergence;

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;
use serde::{Deserialize, Serialize};

pub use self::convergence::{Convergence, converge};
use crate::{
    id::{CommandId, Digest, Epoch, Generation, HostId, RevisionId, RolloutId, WorkloadName},
    label::{Label, Labels},
    release::{ListenAddress, Topology},
    rollout::command::Outcome,
    status::RunState,
};

/// Most hosts of a fleet that one coordinator looks after: the whole of a rollout is written at each of its steps.
pub const HOSTS_LIMIT: usize = 10_000;
/// Most outcomes of commands that a host reports when it connects. A coordinator has one command open on a host; more than
/// one is asked for only by whoever has been away while another spoke.
pub const RECENT_LIMIT: usize = 16;

/// Which hosts are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selector {
    /// Every one.
    #[default]
    All,
    /// Those of which all this is said.
    Labels(BTreeSet<Label>),
    /// These.
    Names(BTreeSet<HostId>),
}

impl Selector {
    /// Whether this host is meant.
    #[must_use]
    pub fn selects(&self, host: &HostId, labels: &Labels) -> bool {
        match self {
            Self::All => true,
            Self::Labels(wanted) => wanted.iter().all(|label| labels.contains(label)),
            Self::Names(names) => names.contains(host),
        }
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("every host"),
            Self::Labels(labels) => {
                let words: Vec<_> = labels.iter().map(Label::to_string).collect();
                write!(f, "hosts with {}", words.join(","))
            }
            Self::Names(names) => {
                let words: Vec<_> = names.iter().map(HostId::as_str).collect();
                f.write_str(&words.join(", "))
            }
        }
    }
}

/// What a host needs to run a workload: a revision without what only a host can read out of the component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetRevision {
    /// Its number. Hosts keep it with the workload and report it, so that nobody has to compare listeners that a host chose
    /// itself.
    pub id: RevisionId,
    /// The workload.
    pub workload: WorkloadName,
    /// The label of the release.
    pub version: Version,
    /// Its bytes.
    pub digest: Digest,
    /// Where clients reach it on each host.
    pub listeners: Vec<ListenAddress>,
    /// The text given to `init`.
    pub config: String,
    /// How many instances serve it on each host.
    pub topology: Topology,
}

impl FleetRevision {
    /// Whether this is what runs there. A host that does not know the number runs what was put there by hand: the bytes decide.
    #[must_use]
    pub fn is(&self, running: &Running) -> bool {
        self.digest == running.digest && running.revision.is_none_or(|id| id == self.id)
    }
}

/// What a workload runs on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The label.
    pub version: Version,
    /// The bytes.
    pub digest: Digest,
    /// Raised by each switch.
    pub generation: Generation,
    /// The fleet's number of the revision; none when it was put there by hand.
    pub revision: Option<RevisionId>,
}

impl Running {
    /// Whether both run the same, whatever the generation.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.digest == other.digest && self.revision == other.revision
    }
}

/// What a host reports of one workload. By default: it is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadInventory {
    /// What is in place; none where the workload is not.
    pub running: Option<Running>,
    /// Whether it runs; none where the workload is not.
    pub run_state: Option<RunState>,
    /// It is on a probation that lasts until somebody commits it or rolls it back.
    pub held: bool,
    /// What is being done to it.
    pub busy: Option<Busy>,
    /// A person took it out of the fleet's hands on this host.
    pub detached: bool,
    /// What became of the last commands about this workload, the newest last; at most [`RECENT_LIMIT`].
    pub recent: Vec<Recent>,
}

/// What is being done to a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Busy {
    /// A command of the coordinator.
    Command(CommandId),
    /// What a person asked for on the host itself.
    ByHand,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recent {
    /// Which.
    pub command: CommandId,
    /// The coordinator's start that gave it.
    pub epoch: Epoch,
    /// What became of it.
    pub outcome: Outcome,
}

/// What a host says of itself when it connects, and whenever it is asked.
///
/// It must be said in order with the commands of its connection: one that came before the question is either named as what
/// the host is busy with, or its outcome is among the recent ones, or the host will never act on it. Commands of an
/// earlier connection are dropped before a host connects again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostInventory {
    /// Its workloads.
    pub workloads: BTreeMap<WorkloadName, WorkloadInventory>,
}

impl HostInventory {
    /// What it says of a workload; of one that it does not name: that it is not there.
    #[must_use]
    pub fn of(&self, workload: &WorkloadName) -> WorkloadInventory {
        self.workloads.get(workload).cloned().unwrap_or_default()
    }
}

/// Whether a workload shall run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunWanted {
    /// It shall.
    #[default]
    Running,
    /// A person stopped it on the whole fleet; its state is kept.
    Stopped,
    /// A person removed it from the whole fleet, with its state: it is removed from hosts as they are reached, and the assignment
    /// is forgotten when the last of them has said that it is gone.
    Removed,
}

/// What shall run where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The workload.
    pub workload: WorkloadName,
    /// On which hosts.
    pub selector: Selector,
    /// What hosts get that join or return; none until the first rollout has committed.
    pub stable: Option<FleetRevision>,
    /// What a rollout under way brings.
    pub target: Option<FleetRevision>,
    /// What was stable before: where `rollback` goes when nothing else is said.
    pub previous: Option<FleetRevision>,
    /// Hosts that were given something else than `stable` on purpose: by a rollout over chosen hosts, or by one that was
    /// cancelled and kept.
    pub pinned: BTreeMap<HostId, FleetRevision>,
    /// Whether it shall run.
    pub run: RunWanted,
}

/// How a rollout changes an assignment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum AssignmentChange {
    /// A rollout begins to prepare hosts.
    Target {
        /// What it brings.
        revision: FleetRevision,
    },
    /// It is what every host shall run from now on.
    Committed {
        /// What it brought.
        revision: FleetRevision,
    },
    /// It is what these hosts shall run from now on, and no others.
    Pinned {
        /// What it brought.
        revision: FleetRevision,
        /// Where.
        hosts: BTreeSet<HostId>,
    },
    /// The rollout brings nothing after all.
    TargetDropped,
}

impl Assignment {
    /// Of a workload that is nowhere yet.
    #[must_use]
    pub const fn new(workload: WorkloadName, selector: Selector) -> Self {
        Self {
            workload,
            selector,
            stable: None,
            target: None,
            previous: None,
            pinned: BTreeMap::new(),
            run: RunWanted::Running,
        }
    }

    /// What this host shall run outside of a rollout.
    #[must_use]
    pub fn wanted(&self, host: &HostId) -> Option<&FleetRevision> {
        self.pinned.get(host).or(self.stable.as_ref())
    }

    /// Every revision that it names.
    pub fn revisions(&self) -> impl Iterator<Item = &FleetRevision> {
        self.stable.iter().chain(&self.target).chain(&self.previous).chain(self.pinned.values())
    }

    /// Takes up what a rollout decided.
    pub fn apply(&mut self, change: AssignmentChange) {
        match change {
            AssignmentChange::Target { revision } => {
                self.target = Some(revision);
                if self.run == RunWanted::Removed {
                    self.run = RunWanted::Running;
                }
            }
            AssignmentChange::Committed { revision } => {
                let before = self.stable.replace(revision);
                if before != self.stable {
                    self.previous = before;
                }
                self.target = None;
                self.pinned.clear();
            }
            AssignmentChange::Pinned { revision, hosts } => {
                self.target = None;
                for host in hosts {
                    if self.stable.as_ref() == Some(&revision) {
                        self.pinned.remove(&host);
                    } else {
                        self.pinned.insert(host, revision.clone());
                    }
                }
            }
            AssignmentChange::TargetDropped => self.target = None,
        }
    }
}

/// A host, as the coordinator knows it when a rollout is planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetHost {
    /// What is said of it.
    pub labels: Labels,
    /// Whether it is connected now.
    pub connected: bool,
    /// What it last said of the workload; none if it never said anything.
    pub inventory: Option<WorkloadInventory>,
    /// The earlier rollout that has not closed with this host yet.
    pub obliged_to: Option<RolloutId>,
}

/// All that is known when a rollout is planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetView {
    /// What shall run where.
    pub assignment: Assignment,
    /// Every host of the fleet.
    pub hosts: BTreeMap<HostId, FleetHost>,
    /// Another rollout of the workload that has begun ([`Rollout::has_begun`](crate::rollout::Rollout::has_begun)) and is not over.
    pub other: Option<RolloutId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(id: u64) -> FleetRevision {
        FleetRevision {
            id: RevisionId(id),
            workload: "chat".parse().expect("a name"),
            version: Version::new(1, id, 0),
            digest: Digest::new([u8::try_from(id).expect("small"); 32]),
            listeners: Vec::new(),
            config: String::new(),
            topology: Topology::Single,
        }
    }

    #[test]
    fn a_selector_wants_all_of_its_labels() {
        let label = |text: &str| text.parse::<Label>().expect("a label");
        let labels = Labels::try_from(vec![label("region=eu"), label("tier=test")]).expect("sound");
        let host: HostId = "a".parse().expect("a name");
        let both = Selector::Labels([label("region=eu"), label("tier=test")].into());
        assert!(both.selects(&host, &labels));
        assert!(!Selector::Labels([label("region=us")].into()).selects(&host, &labels));
        assert!(Selector::All.selects(&host, &labels));
        assert!(!Selector::Names(BTreeSet::new()).selects(&host, &labels));
        assert_eq!(both.to_string(), "hosts with region=eu,tier=test");
    }

    #[test]
    fn a_commit_makes_the_target_stable_and_keeps_the_way_back() {
        let mut assignment = Assignment::new("chat".parse().expect("a name"), Selector::All);
        for id in [1, 2] {
            assignment.apply(AssignmentChange::Target { revision: revision(id) });
            assignment.apply(AssignmentChange::Committed { revision: revision(id) });
        }
        assert_eq!(assignment.stable, Some(revision(2)));
        assert_eq!(assignment.previous, Some(revision(1)));
        assert_eq!(assignment.target, None);
        assignment.apply(AssignmentChange::Committed { revision: revision(2) });
        assert_eq!(assignment.previous, Some(revision(1)), "the same again leaves the way back");
    }

    #[test]
    fn what_is_being_removed_is_not_any_more_once_a_rollout_brings_something() {
        let mut assignment = Assignment::new("chat".parse().expect("a name"), Selector::All);
        for (run, after) in [
            (RunWanted::Removed, RunWanted::Running),
            (RunWanted::Stopped, RunWanted::Stopped),
            (RunWanted::Running, RunWanted::Running),
        ] {
            assignment.run = run;
            assignment.apply(AssignmentChange::Target { revision: revision(1) });
            assert_eq!(assignment.run, after);
        }
    }

    #[test]
    fn chosen_hosts_are_pinned_until_all_get_the_same() {
        let (a, b): (HostId, HostId) = ("a".parse().expect("a name"), "b".parse().expect("a name"));
        let mut assignment = Assignment::new("chat".parse().expect("a name"), Selector::All);
        assignment.apply(AssignmentChange::Committed { revision: revision(1) });
        assignment.apply(AssignmentChange::Pinned { revision: revision(2), hosts: [a.clone()].into() });
        assert_eq!(assignment.wanted(&a), Some(&revision(2)));
        assert_eq!(assignment.wanted(&b), Some(&revision(1)));
        assignment.apply(AssignmentChange::Pinned { revision: revision(1), hosts: [a.clone()].into() });
        assert!(assignment.pinned.is_empty(), "what is stable needs no pin");
    }
}

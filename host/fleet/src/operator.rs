//! What an operator asks of a coordinator, and what is answered, as documents.
//!
//! They travel between two programs of one version. What `--output json` prints is made of them by the command line.

use std::{collections::BTreeSet, time::Duration};

use host_core::{
    fleet::{Assignment, Convergence, HostInventory, Selector},
    id::{Digest, Epoch, HostId, RolloutId, WorkloadName},
    label::{Label, Labels},
    release::{ListenAddress, Topology},
    rollout::{
        Order, Summary, Why,
        policy::{RolloutPolicy, Schedule},
        request::{Direction, Extent, Source},
    },
    status::HostStatus,
    time::UnixNanos,
    trace::TraceContext,
};
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::store::{AuditEntry, ReleaseRecord};

/// A question or an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Ask {
    /// The fleet at a glance.
    Status,
    /// The hosts, with what runs on each.
    Hosts,
    /// Which hosts run a workload, or are to.
    Where {
        /// Which.
        workload: WorkloadName,
    },
    /// Begin a rollout.
    Deploy {
        /// Which.
        deploy: Box<Deploy>,
    },
    /// What a rollout would do: the plan, made and thrown away.
    Plan {
        /// Which.
        deploy: Box<Deploy>,
    },
    /// Back to what was stable before, or to another version that the fleet knows.
    Rollback {
        /// Of what.
        workload: WorkloadName,
        /// To what; none means what was stable before.
        to: Option<Version>,
        /// On which hosts.
        hosts: Selector,
        /// In which manner.
        policy: Box<RolloutPolicy>,
    },
    /// An order to a rollout.
    Order {
        /// Which; none means the only one that is not over.
        rollout: Option<RolloutId>,
        /// What.
        order: Order,
    },
    /// One rollout.
    Show {
        /// Which; none means the newest.
        rollout: Option<RolloutId>,
    },
    /// Recent rollouts, newest first.
    History {
        /// Of this workload only.
        workload: Option<WorkloadName>,
        /// How many.
        limit: usize,
    },
    /// The releases of a workload that the fleet knows.
    Versions {
        /// Which.
        workload: WorkloadName,
    },
    /// Start or stop a workload on every host.
    Run {
        /// Which.
        workload: WorkloadName,
        /// Whether it shall run.
        running: bool,
    },
    /// Take a workload away from every host, with its state.
    Remove {
        /// Which.
        workload: WorkloadName,
    },
    /// Take what a drifted host runs as what it shall run.
    Adopt {
        /// Where.
        host: HostId,
    },
    /// Bring a drifted host back to what it shall run.
    Reconcile {
        /// Where.
        host: HostId,
    },
    /// A token for hosts or operators to join with.
    TokenCreate {
        /// How many may use it.
        uses: u32,
        /// How long.
        expires: Duration,
        /// For an operator, not for hosts.
        operator: bool,
        /// Labels that a host may claim; none means any.
        labels: Option<Vec<Label>>,
    },
    /// What is declared, against what is: the differences, and on request their end.
    Declare {
        /// The workloads, in the order in which they are taken up.
        declared: Vec<Declared>,
        /// Make them true; otherwise they are only told.
        apply: bool,
    },
    /// The audit log.
    AuditLog {
        /// From this entry on.
        from: u64,
        /// How many.
        limit: usize,
        /// Check the whole chain.
        verify: bool,
    },
}

/// A rollout that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploy {
    /// The workload.
    pub workload: WorkloadName,
    /// The version.
    pub version: Version,
    /// Which bytes; none where the fleet knows the version.
    pub digest: Option<Digest>,
    /// Where hosts get them.
    pub source: Source,
    /// New listeners; none keeps those there are.
    pub listeners: Option<Vec<ListenAddress>>,
    /// New config; none keeps the one there is.
    pub config: Option<String>,
    /// How many instances; none keeps what there is.
    pub topology: Option<Topology>,
    /// Of a workload that is not assigned yet: to which hosts it is, for ever.
    pub assign: Option<Selector>,
    /// To which of them now.
    pub hosts: Selector,
    /// In which order.
    pub order: Vec<Label>,
    /// Which way.
    pub direction: Direction,
    /// How far.
    pub extent: Extent,
    /// When.
    pub schedule: Option<Schedule>,
    /// In which manner.
    pub policy: RolloutPolicy,
}

/// A workload as it shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// The release, what is made of it, and how it is brought to the hosts; `assign` says to which.
    pub deploy: Deploy,
    /// Whether it shall run.
    pub running: bool,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Told {
    /// The fleet at a glance.
    Status {
        /// It.
        fleet: FleetStatus,
    },
    /// The hosts.
    Hosts {
        /// They.
        hosts: Vec<HostView>,
    },
    /// Where a workload runs.
    Where {
        /// What shall run.
        assignment: Option<Box<Assignment>>,
        /// What does.
        hosts: Vec<Placement>,
    },
    /// A rollout was begun, or an order given to it.
    Rollout {
        /// It.
        rollout: Box<RolloutView>,
    },
    /// What would be done.
    Plan {
        /// In words, a line for each thing.
        lines: Vec<String>,
    },
    /// Rollouts.
    History {
        /// They.
        rollouts: Vec<RolloutView>,
    },
    /// Releases.
    Versions {
        /// They.
        releases: Vec<ReleaseRecord>,
        /// Which of them is stable.
        stable: Option<Version>,
    },
    /// What is declared, against what is.
    Declared {
        /// By workload, in the order of the question.
        workloads: Vec<Difference>,
        /// Workloads of the fleet that were not declared: they are let be.
        others: Vec<WorkloadName>,
        /// Whether it was made true, or is being.
        applied: bool,
    },
    /// A token, shown once.
    Token {
        /// The secret line.
        token: String,
        /// Until when it can be used.
        expires: UnixNanos,
    },
    /// The audit log.
    AuditLog {
        /// A part of it.
        entries: Vec<AuditEntry>,
        /// Of a check: how many entries hold, and the last one's hash; or what is wrong.
        verified: Option<Result<(u64, Digest), String>>,
    },
    /// It is done, or will be: in words.
    Done {
        /// What.
        message: String,
    },
}

/// How a workload is not as it was declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Which.
    pub workload: WorkloadName,
    /// In words, a line for each thing that differs; none when it is as declared.
    pub differs: Vec<String>,
    /// What a rollout would do, or does, a line for each thing; none when it takes none.
    pub plan: Vec<String>,
    /// The rollout that brings it: begun for this, or under way already.
    pub rollout: Option<RolloutId>,
    /// Why it can't be made true as things are.
    pub problem: Option<String>,
}

/// The fleet at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetStatus {
    /// The coordinator's start.
    pub epoch: Epoch,
    /// Since when it runs.
    pub since: UnixNanos,
    /// Hosts that belong to the fleet.
    pub hosts: usize,
    /// Those that are connected.
    pub connected: usize,
    /// What shall run.
    pub assignments: Vec<Assignment>,
    /// Rollouts that are not over, or owe a host something.
    pub rollouts: Vec<RolloutView>,
}

/// A host as the coordinator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostView {
    /// Its name.
    pub name: HostId,
    /// What is said of it.
    pub labels: Labels,
    /// Whether it is connected.
    pub connected: bool,
    /// Since when it is or is not; none when it never was.
    pub since: Option<UnixNanos>,
    /// What it last said it runs.
    pub inventory: Option<HostInventory>,
    /// How it last said it is.
    pub status: Option<Box<HostStatus>>,
    /// What is to be done there, by workload; nothing where all is as it shall be.
    pub convergence: Vec<(WorkloadName, Convergence)>,
    /// Upkeeps that failed there.
    pub troubles: Vec<String>,
}

/// A workload on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The host.
    pub host: HostId,
    /// Whether it is connected.
    pub connected: bool,
    /// What it runs.
    pub version: Option<Version>,
    /// What it shall run.
    pub wanted: Option<Version>,
    /// In words.
    pub state: String,
}

/// A rollout for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutView {
    /// Its number.
    pub id: RolloutId,
    /// Of what.
    pub workload: WorkloadName,
    /// To what.
    pub version: Version,
    /// Who asked.
    pub by: String,
    /// When it was asked for.
    pub began: UnixNanos,
    /// When it was over.
    pub ended: Option<UnixNanos>,
    /// The plan, a line for each thing.
    pub plan: Vec<String>,
    /// How it went so far.
    pub summary: Summary,
    /// What it waits for.
    pub why: Why,
    /// Hosts that are still owed something.
    pub owed: BTreeSet<HostId>,
    /// Its own span; none where it is not traced.
    #[serde(default)]
    pub trace: Option<TraceContext>,
}

/// A component for the fleet's store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// The workload.
    pub workload: WorkloadName,
    /// The version.
    pub version: Version,
    /// Which bytes.
    pub digest: Digest,
    /// How many.
    pub size_bytes: u64,
}

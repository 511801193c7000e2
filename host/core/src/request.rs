//! What a person may ask of a host, valid by construction, and what they are told while it happens.

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::{
    id::{SwapId, WorkloadName},
    plan::Intent,
    policy::SwapPolicy,
    release::{ListenAddress, Topology},
    swap::PhaseName,
    trace::TraceContext,
};

/// `host deploy`, without the component's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeployRequest {
    /// The workload.
    pub workload: WorkloadName,
    /// The label of the release.
    pub version: Version,
    /// New listeners; none keeps those there are.
    pub listeners: Option<Vec<ListenAddress>>,
    /// New config; none keeps the one there is.
    pub config: Option<String>,
    /// How many instances shall serve it; none keeps what there is. Only the first deploy of a workload chooses.
    pub topology: Option<Topology>,
    /// Whether a lower version is meant.
    pub intent: Intent,
    /// How.
    pub policy: SwapPolicy,
    /// How far to go.
    pub extent: Extent,
    /// The span that this is a part of; none for a trace of its own.
    pub trace: Option<TraceContext>,
}

/// How far a deploy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The plan only: nothing is asked of the running instance (`host plan`).
    Plan,
    /// Up to and including `code-change` on a copy of the live state (`--dry-run`).
    Rehearse,
    /// Handle on a copy what the running release has handled, and compare (`host replay --with`).
    Replay,
    /// All the way.
    Swap,
}

/// `host rollback`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollbackRequest {
    /// The workload.
    pub workload: WorkloadName,
    /// The version to reinstate; none means the predecessor.
    pub to: Option<Version>,
    /// How.
    pub policy: SwapPolicy,
    /// The span that this is a part of; none for a trace of its own.
    pub trace: Option<TraceContext>,
}

/// What is told while a deploy goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Progress {
    /// A step of `prepare` began.
    Step {
        /// `store`, `compile`, `describe`, …
        name: String,
    },
    /// A phase began.
    Phase {
        /// The swap.
        swap: SwapId,
        /// The phase.
        phase: PhaseName,
    },
    /// Something a person should know.
    Note {
        /// In words.
        message: String,
    },
}

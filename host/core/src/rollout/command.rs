//! What a host is told to do, and what it answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    policy::HostPolicy,
    request::{Direction, Source},
};
use crate::{
    fleet::{FleetRevision, Running},
    history::ConnectionCount,
    id::{CommandId, Digest, Epoch, Generation, WorkloadName},
    plan::WayBack,
    trace::TraceContext,
};

/// What a host is told to do.
///
/// A host writes down the command, and the highest epoch it has seen, before it acts. It answers a command that it has
/// acted on with the outcome it wrote down; one with a lower number than it has seen for the workload, or of a lower epoch,
/// it refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Its number.
    pub id: CommandId,
    /// The coordinator's start that gives it.
    pub epoch: Epoch,
    /// The workload.
    pub workload: WorkloadName,
    /// What must be in place for it to be acted on; none if the workload must not be there.
    pub expected: Option<Expected>,
    /// What to do.
    pub action: Action,
    /// How long after its arrival it may still be begun; of a switch: until the pause begins. What has switched stays.
    pub time_to_live: Duration,
    /// Its span, in the rollout's trace: what the host does for it becomes a part of that. None where nobody traces.
    #[serde(default)]
    pub trace: Option<TraceContext>,
}

/// What must be in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// The bytes.
    pub digest: Digest,
    /// The generation.
    pub generation: Generation,
}

impl From<&Running> for Expected {
    fn from(running: &Running) -> Self {
        Self { digest: running.digest, generation: running.generation }
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Action {
    /// Fetch, verify and compile, and rehearse on a copy of the live state; hold no candidate afterwards.
    /// Answer: `Prepared` or `Refused`.
    Prepare {
        /// What.
        revision: Box<FleetRevision>,
        /// From where.
        source: Source,
        /// Whether a lower version is meant.
        direction: Direction,
        /// How the host would swap.
        policy: HostPolicy,
    },
    /// Swap to it and hold the probation, or start it where it is not. Answer: `Switched`, `RolledBack` when its own check
    /// failed, `Refused` or `Expired` when nothing changed, `Stuck` when it could go neither way.
    Switch {
        /// To what.
        revision: Box<FleetRevision>,
        /// Whether a lower version is meant.
        direction: Direction,
        /// How.
        policy: HostPolicy,
    },
    /// End the held probation: the predecessor goes. Where none is held there is nothing to do. Answer: `Committed` or
    /// `Refused`.
    Commit,
    /// Go back. A host that runs `to` already answers `RolledBack` at once, whatever generation it has. Answer: `RolledBack`
    /// or `Stuck`.
    RollBack {
        /// To what; none removes what was not there before.
        to: Option<Running>,
        /// When no other way leads back: lose what came since the switch.
        allow_loss: bool,
    },
}

impl Action {
    /// Its name.
    #[must_use]
    pub const fn kind(&self) -> ActionKind {
        match self {
            Self::Prepare { .. } => ActionKind::Prepare,
            Self::Switch { .. } => ActionKind::Switch,
            Self::Commit => ActionKind::Commit,
            Self::RollBack { .. } => ActionKind::RollBack,
        }
    }
}

/// An action's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionKind {
    /// See [`Action::Prepare`].
    Prepare,
    /// See [`Action::Switch`].
    Switch,
    /// See [`Action::Commit`].
    Commit,
    /// See [`Action::RollBack`].
    RollBack,
}

impl ActionKind {
    /// All of them, in the order in which a host is given them.
    pub const ALL: [Self; 4] = [Self::Prepare, Self::Switch, Self::Commit, Self::RollBack];

    /// As written for people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Switch => "switch",
            Self::Commit => "commit",
            Self::RollBack => "roll-back",
        }
    }
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Outcome {
    /// It can swap.
    Prepared {
        /// How it could go back afterwards; none where the workload is not there yet.
        way_back: Option<WayBack>,
        /// What a person should know: what the rehearsal showed.
        notes: Vec<String>,
    },
    /// The new release serves, on a probation that is held.
    Switched {
        /// Its generation.
        generation: Generation,
        /// What was measured.
        measured: Measured,
    },
    /// The new release serves for good.
    Committed {
        /// Its generation.
        generation: Generation,
    },
    /// What was there before serves again, or still.
    RolledBack {
        /// Its generation; none where nothing was there.
        generation: Option<Generation>,
        /// Why, when the host decided it by itself; how, when it was told to.
        why: String,
    },
    /// Nothing changed.
    Refused {
        /// Why.
        why: String,
    },
    /// It came too late to be begun: nothing changed.
    Expired,
    /// The host can't go back: the new release stays, or the workload is stopped.
    Stuck {
        /// Why.
        why: String,
    },
}

impl Outcome {
    /// One word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Prepared { .. } => "prepared",
            Self::Switched { .. } => "switched",
            Self::Committed { .. } => "committed",
            Self::RolledBack { .. } => "rolled-back",
            Self::Refused { .. } => "refused",
            Self::Expired => "expired",
            Self::Stuck { .. } => "stuck",
        }
    }

    /// Why, where there is something to explain.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::RolledBack { why, .. } | Self::Refused { why } | Self::Stuck { why } => Some(why),
            Self::Expired => Some("the command came too late"),
            Self::Prepared { .. } | Self::Switched { .. } | Self::Committed { .. } => None,
        }
    }
}

/// What a swap cost on its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// The host's own figure of the pause.
    pub pause: Option<Duration>,
    /// Connections across it.
    pub connections: Option<ConnectionCount>,
    /// From the command to its outcome.
    pub took: Duration,
}

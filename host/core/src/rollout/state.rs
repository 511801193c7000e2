//! Where a rollout stands.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use super::{Watch, planner::Refusal};
use crate::{id::HostId, time::UnixNanos};

/// Where a rollout stands. Each state carries what it needs and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum State {
    /// It waits for its time.
    Scheduled {
        /// When it begins.
        at: UnixNanos,
        /// When it is too late to begin.
        latest: UnixNanos,
    },
    /// What is known of the fleet is being gathered.
    Discovering {
        /// Hosts that are waited for.
        waiting_for: BTreeSet<HostId>,
    },
    /// Every host fetches, verifies, compiles and rehearses; nothing has changed on any.
    Preparing,
    /// The hosts of a wave are switched.
    Switching {
        /// Which wave, counted from 0.
        wave: usize,
    },
    /// All hosts switched so far are watched.
    Verifying {
        /// The wave that was switched last.
        wave: usize,
        /// A person ended the monitoring: healthy once is enough.
        promoted: bool,
        /// What is known of each host since the state was entered.
        watched: BTreeMap<HostId, Watch>,
    },
    /// All are healthy; the delay before the next wave runs.
    Resting {
        /// The next wave.
        next: usize,
        /// When it begins.
        until: UnixNanos,
    },
    /// Every switched host lets go of its predecessor.
    Committing,
    /// Switched hosts are put back.
    RollingBack {
        /// Why.
        cause: Cause,
    },
    /// Nothing moves until a person says so, and what is under way on hosts is let finish.
    Paused {
        /// Where it goes on.
        resume_to: Box<State>,
        /// Why.
        why: PauseReason,
    },
    /// It failed and is left as it is, predecessors kept, until a person decides.
    Held {
        /// Why.
        why: String,
    },
    /// Over: the target is what hosts shall run.
    Complete,
    /// Over: every host could switch; none was.
    Rehearsed,
    /// Over: it was refused before anything was asked of a host.
    Refused {
        /// Why.
        refusal: Box<Refusal>,
    },
    /// Over: it failed, or came too late, before any host was switched. Nothing has changed.
    Failed {
        /// Why.
        why: String,
    },
    /// Over: every host that was switched runs what it ran before.
    RolledBack {
        /// Why.
        why: String,
    },
    /// Over, but for hosts that could not be put back or did not answer.
    RollbackIncomplete {
        /// Why.
        why: String,
    },
    /// Over: a person cancelled it.
    Cancelled {
        /// What became of hosts that were switched.
        kept: bool,
    },
}

/// A state's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateName {
    /// See [`State::Scheduled`].
    Scheduled,
    /// See [`State::Discovering`].
    Discovering,
    /// See [`State::Preparing`].
    Preparing,
    /// See [`State::Switching`].
    Switching,
    /// See [`State::Verifying`].
    Verifying,
    /// See [`State::Resting`].
    Resting,
    /// See [`State::Committing`].
    Committing,
    /// See [`State::RollingBack`].
    RollingBack,
    /// See [`State::Paused`].
    Paused,
    /// See [`State::Held`].
    Held,
    /// See [`State::Complete`].
    Complete,
    /// See [`State::Rehearsed`].
    Rehearsed,
    /// See [`State::Refused`].
    Refused,
    /// See [`State::Failed`].
    Failed,
    /// See [`State::RolledBack`].
    RolledBack,
    /// See [`State::RollbackIncomplete`].
    RollbackIncomplete,
    /// See [`State::Cancelled`].
    Cancelled,
}

impl StateName {
    /// As written for people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Discovering => "discovering",
            Self::Preparing => "preparing",
            Self::Switching => "switching",
            Self::Verifying => "verifying",
            Self::Resting => "resting",
            Self::Committing => "committing",
            Self::RollingBack => "rolling-back",
            Self::Paused => "paused",
            Self::Held => "held",
            Self::Complete => "complete",
            Self::Rehearsed => "rehearsed",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::RolledBack => "rolled-back",
            Self::RollbackIncomplete => "rollback-incomplete",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl State {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> StateName {
        match self {
            Self::Scheduled { .. } => StateName::Scheduled,
            Self::Discovering { .. } => StateName::Discovering,
            Self::Preparing => StateName::Preparing,
            Self::Switching { .. } => StateName::Switching,
            Self::Verifying { .. } => StateName::Verifying,
            Self::Resting { .. } => StateName::Resting,
            Self::Committing => StateName::Committing,
            Self::RollingBack { .. } => StateName::RollingBack,
            Self::Paused { .. } => StateName::Paused,
            Self::Held { .. } => StateName::Held,
            Self::Complete => StateName::Complete,
            Self::Rehearsed => StateName::Rehearsed,
            Self::Refused { .. } => StateName::Refused,
            Self::Failed { .. } => StateName::Failed,
            Self::RolledBack { .. } => StateName::RolledBack,
            Self::RollbackIncomplete { .. } => StateName::RollbackIncomplete,
            Self::Cancelled { .. } => StateName::Cancelled,
        }
    }

    /// The wave, counted from 1, where it concerns one.
    #[must_use]
    pub(super) const fn wave(&self) -> Option<usize> {
        match self {
            Self::Switching { wave } | Self::Verifying { wave, .. } | Self::Resting { next: wave, .. } => {
                Some(*wave + 1)
            }
            _ => None,
        }
    }

    /// Whether it is over. Obligations to single hosts may remain.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(
            self,
            Self::Complete
                | Self::Rehearsed
                | Self::Refused { .. }
                | Self::Failed { .. }
                | Self::RolledBack { .. }
                | Self::RollbackIncomplete { .. }
                | Self::Cancelled { .. }
        )
    }

    /// Whether it is over, and its target is what its hosts shall run.
    #[must_use]
    pub(super) const fn is_kept(&self) -> bool {
        matches!(self, Self::Complete | Self::Cancelled { kept: true })
    }

    /// Whether only a person can move it.
    #[must_use]
    pub const fn waits_for_a_person(&self) -> bool {
        matches!(self, Self::Paused { .. } | Self::Held { .. })
    }

    /// Whether it still brings its target to hosts.
    #[must_use]
    pub(super) const fn is_forward(&self) -> bool {
        matches!(self, Self::Preparing | Self::Switching { .. } | Self::Verifying { .. } | Self::Resting { .. })
    }
}

/// Why hosts are put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Cause {
    /// Something went wrong.
    Failure {
        /// What.
        why: String,
    },
    /// A person asked for it.
    Asked {
        /// Who.
        by: String,
    },
    /// A person cancelled the rollout.
    Cancelled {
        /// Who.
        by: String,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failure { why } => f.write_str(why),
            Self::Asked { by } => write!(f, "{by} asked for it"),
            Self::Cancelled { by } => write!(f, "{by} cancelled it"),
        }
    }
}

/// Why nothing moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum PauseReason {
    /// A person said so.
    Asked {
        /// Who.
        by: String,
    },
    /// A host did not answer, and the policy is to wait for a person.
    Unreachable {
        /// Which.
        host: HostId,
    },
    /// A host is connected, and its health can't be found out.
    UnknownHealth {
        /// Which.
        host: HostId,
        /// Why.
        why: String,
    },
}

impl fmt::Display for PauseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked { by } => write!(f, "{by} paused it"),
            Self::Unreachable { host } => write!(f, "{host} did not answer in time"),
            Self::UnknownHealth { host, why } => {
                write!(f, "{host} is connected, and its health can't be found out: {why}")
            }
        }
    }
}

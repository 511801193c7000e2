//! What a rollout knows of one of its hosts.

use serde::{Deserialize, Serialize};

use super::{
    command::{ActionKind, Measured},
    planner::PlannedHost,
};
use crate::{
    fleet::Running,
    id::{CommandId, Epoch, Generation, QuestionId},
    plan::WayBack,
    time::UnixNanos,
    trace::SpanId,
};

/// Where a host stands in its rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum HostState {
    /// Nothing was done there.
    Pending,
    /// It rehearsed and could switch.
    Prepared {
        /// When.
        at: UnixNanos,
    },
    /// It was told to switch.
    Sent {
        /// When it was prepared.
        prepared: UnixNanos,
    },
    /// It serves the new release; the predecessor is kept.
    Switched {
        /// When that became known.
        since: UnixNanos,
    },
    /// It serves it and was healthy throughout its wave's verification; the predecessor is kept.
    Healthy {
        /// When it was verified.
        since: UnixNanos,
    },
    /// It serves it for good.
    Committed,
    /// What was there before serves again.
    RolledBack {
        /// Why.
        why: String,
    },
    /// It could not switch; what was there before serves on.
    Failed {
        /// Why.
        why: String,
    },
    /// It did not answer in time: it may have switched or not.
    Unknown {
        /// When that was found.
        since: UnixNanos,
        /// What it was last known to be.
        was: Box<HostState>,
    },
    /// It can't go back, or went wrong in a way that only a person can set right.
    Stuck {
        /// Why.
        why: String,
    },
    /// Somebody else changed what runs there; it is let be.
    Drifted {
        /// What runs there.
        running: Option<Running>,
    },
}

impl HostState {
    /// As written for people and programs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Prepared { .. } => "prepared",
            Self::Sent { .. } => "sent",
            Self::Switched { .. } => "switched",
            Self::Healthy { .. } => "healthy",
            Self::Committed => "committed",
            Self::RolledBack { .. } => "rolled-back",
            Self::Failed { .. } => "failed",
            Self::Unknown { .. } => "unknown",
            Self::Stuck { .. } => "stuck",
            Self::Drifted { .. } => "drifted",
        }
    }

    /// Whether it serves the new release and can still be put back.
    #[must_use]
    pub const fn is_switched(&self) -> bool {
        matches!(self, Self::Switched { .. } | Self::Healthy { .. })
    }

    /// Why, where there is something to explain.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::RolledBack { why } | Self::Failed { why } | Self::Stuck { why } => Some(why),
            _ => None,
        }
    }
}

/// A host's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// It is there.
    Up,
    /// It is not.
    Down {
        /// Since when.
        since: UnixNanos,
    },
}

/// A command that a host has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Which.
    pub command: CommandId,
    /// The coordinator's start that gave it.
    pub epoch: Epoch,
    /// What it says.
    pub action: ActionKind,
    /// When it was sent.
    pub sent: UnixNanos,
    /// When the host counts as unknown.
    pub deadline: UnixNanos,
    /// Its span; none where the rollout is not traced.
    #[serde(default)]
    pub span: Option<SpanId>,
    /// The span that it is a part of.
    #[serde(default)]
    pub parent: Option<SpanId>,
    /// That it ended was told already: it was given up, and its answer may still come.
    #[serde(default)]
    pub told: bool,
}

/// All that a rollout knows of one of its hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Its wave, counted from 0.
    pub wave: usize,
    /// What ran there; none where the workload was not.
    pub before: Option<Running>,
    /// Where it stands.
    pub state: HostState,
    /// Its connection.
    pub link: Link,
    /// The command it has not answered. Never is there a second one.
    pub open: Option<Open>,
    /// It was asked what it runs after the open command was sent: the answer says what became of that.
    pub asked: Option<QuestionId>,
    /// The highest generation it has reported.
    pub generation: Generation,
    /// Why it counts as failed, if it does.
    pub failure: Option<String>,
    /// It was sent a switch whose fate it has not told: only a later command makes sure that the switch is never begun.
    pub loose: bool,
    /// It has served the new release in this rollout.
    pub was_switched: bool,
    /// How it could go back, once it is prepared.
    pub way_back: Option<WayBack>,
    /// What its rehearsal showed.
    pub notes: Vec<String>,
    /// What its swap cost.
    pub measured: Option<Measured>,
    /// What a person said became of it.
    pub resolved: Option<Resolution>,
}

/// What a person says became of a host that can't tell itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resolution {
    /// It runs the new release for good.
    Committed,
    /// It runs what it ran before.
    RolledBack,
    /// It will not come back.
    Gone,
}

impl Resolution {
    /// As written for people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::RolledBack => "rolled-back",
            Self::Gone => "gone",
        }
    }
}

impl HostRecord {
    pub(super) fn new(wave: usize, planned: &PlannedHost) -> Self {
        Self {
            wave,
            before: planned.before.clone(),
            state: HostState::Pending,
            link: Link::Up,
            open: None,
            asked: None,
            generation: planned.before.as_ref().map_or(Generation(0), |running| running.generation),
            failure: None,
            loose: false,
            was_switched: false,
            way_back: None,
            notes: Vec::new(),
            measured: None,
            resolved: None,
        }
    }

    /// A command is open, and an answer is still waited for.
    pub(super) const fn is_under_way(&self) -> bool {
        self.open.is_some() && !matches!(self.state, HostState::Unknown { .. })
    }

    /// It must be healthy before the rollout goes on.
    pub(super) const fn is_watched(&self) -> bool {
        self.state.is_switched() && self.failure.is_none()
    }

    /// It serves a release that fails there.
    pub(super) const fn is_failing(&self) -> bool {
        self.state.is_switched() && self.failure.is_some()
    }

    /// It serves the new release, or might still begin to, and can be told to go back.
    pub(super) const fn is_to_put_back(&self) -> bool {
        let out_of_reach =
            matches!(self.state, HostState::Unknown { .. } | HostState::Stuck { .. } | HostState::Drifted { .. });
        self.resolved.is_none() && !out_of_reach && (self.state.is_switched() || self.loose)
    }

    /// Its way back did not work, or nobody knows where it is.
    pub(super) fn is_open_end(&self) -> bool {
        let unknown = matches!(self.state, HostState::Unknown { .. }) && self.may_be_switched();
        self.resolved.is_none() && (unknown || matches!(self.state, HostState::Stuck { .. }))
    }

    /// Whether it serves the new release, or may.
    #[must_use]
    pub fn may_be_switched(&self) -> bool {
        let unknown = matches!(&self.state, HostState::Unknown { was, .. } if was.is_switched());
        let under_way = self.open.is_some_and(|open| open.action == ActionKind::Switch);
        !self.is_settled() && (self.state.is_switched() || self.loose || unknown || under_way)
    }

    /// Whether its wave still has to come for it.
    #[must_use]
    pub const fn is_to_do(&self) -> bool {
        matches!(self.state, HostState::Pending | HostState::Prepared { .. })
    }

    /// What it is does not depend on an answer any more.
    pub(super) const fn is_settled(&self) -> bool {
        matches!(
            self.state,
            HostState::Committed | HostState::RolledBack { .. } | HostState::Stuck { .. } | HostState::Drifted { .. }
        )
    }

    /// Whether it can be given a command now.
    #[must_use]
    pub(super) const fn is_free(&self) -> bool {
        matches!(self.link, Link::Up) && self.open.is_none() && self.resolved.is_none()
    }
}

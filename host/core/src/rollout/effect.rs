//! What a rollout is told, and what it asks for.

use serde::{Deserialize, Serialize};

use super::{
    command::{Command, Outcome},
    part::Part,
    policy::HealthCheck,
    record::Resolution,
};
use crate::{
    fleet::{AssignmentChange, FleetView, HostInventory, Running},
    id::{CommandId, Digest, Epoch, Generation, HostId, QuestionId, RolloutId, WorkloadName},
    status::HealthStatus,
    time::UnixNanos,
};

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Input {
    /// It is there, and may begin.
    Begin,
    /// Look at the clock.
    Tick,
    /// What is known of the fleet: the answer to [`Effect::Discover`].
    Discovered {
        /// All of it.
        view: Box<FleetView>,
    },
    /// A host answered a command.
    Outcome {
        /// Which host.
        host: HostId,
        /// Which command.
        command: CommandId,
        /// The epoch the command had.
        epoch: Epoch,
        /// What became of it.
        outcome: Outcome,
    },
    /// A host connected.
    Connected {
        /// Which.
        host: HostId,
        /// What it says of itself.
        inventory: HostInventory,
    },
    /// A host that is connected said of itself how it is: asked ([`Effect::AskInventory`]) or because something changed. It says
    /// so before it refuses a command that no longer fits.
    Inventory {
        /// Which.
        host: HostId,
        /// The question it answers; none when nobody asked. What nobody asked for may have crossed a command.
        ask: Option<QuestionId>,
        /// What it says.
        inventory: HostInventory,
    },
    /// A host's connection is gone. Nothing that was sent over it will arrive any more.
    Disconnected {
        /// Which.
        host: HostId,
    },
    /// A host left its release by itself: its probation failed there. That is so whatever it was told meanwhile.
    LocalFailure {
        /// Which.
        host: HostId,
        /// The generation now.
        generation: Generation,
        /// What runs now; none when the workload is stopped because no way led back.
        running: Option<Running>,
        /// Why.
        why: String,
    },
    /// A host's health, or that nobody could find it out.
    Health {
        /// Which host.
        host: HostId,
        /// The question's number.
        ask: QuestionId,
        /// The answer.
        answer: HealthAnswer,
    },
    /// A person gives an order.
    Order {
        /// Who.
        by: String,
        /// What.
        order: Order,
    },
    /// The coordinator started again, and this is what it had written. No host is connected to it yet.
    Recovered {
        /// The number of its start.
        epoch: Epoch,
    },
}

/// The answer to a question for health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum HealthAnswer {
    /// So it is.
    Known {
        /// How well.
        status: HealthStatus,
        /// The generation that answered.
        generation: Generation,
        /// The bytes that answered.
        digest: Digest,
        /// What else was said, by name.
        details: Vec<(String, String)>,
    },
    /// Nobody could find out.
    Unknown {
        /// Why.
        why: String,
    },
}

/// What a person orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Order {
    /// Let finish what is under way, and begin nothing.
    Pause,
    /// Go on.
    Resume,
    /// End the canary's monitoring, or the delay before a wave, now.
    Promote,
    /// Let finish what is under way, then put the switched hosts back, or keep them.
    Cancel {
        /// Whether hosts that are switched stay so.
        keep: bool,
    },
    /// Put every switched host back.
    Rollback,
    /// Try again what failed: of a rollout that is held.
    Retry,
    /// Say what became of a host that can't tell itself.
    Resolve {
        /// Which host.
        host: HostId,
        /// What became of it.
        outcome: Resolution,
    },
}

impl Order {
    /// Its name.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote => "promote",
            Self::Cancel { keep: false } => "cancel",
            Self::Cancel { keep: true } => "cancel --keep",
            Self::Rollback => "rollback",
            Self::Retry => "retry",
            Self::Resolve { .. } => "resolve",
        }
    }
}

/// What shall happen, in this order. The machine, what is emitted, audited and changed in the assignment are written in one
/// transaction before anything is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Effect {
    /// Gather what is known of the fleet; answer [`Input::Discovered`].
    Discover,
    /// Give a connected host a command. One whose connection is gone by then gets nothing: its inventory will say so.
    Send {
        /// Which host.
        host: HostId,
        /// The command.
        command: Box<Command>,
    },
    /// Ask for a host's health; answer [`Input::Health`].
    AskHealth {
        /// Which host.
        host: HostId,
        /// The question's number, for the answer.
        ask: QuestionId,
        /// Whose word.
        check: HealthCheck,
    },
    /// Ask a connected host what it runs; answer [`Input::Inventory`].
    AskInventory {
        /// Which host.
        host: HostId,
        /// The question's number, for the answer.
        ask: QuestionId,
    },
    /// Send [`Input::Tick`] at this time. It takes the place of the one before.
    SetTimer {
        /// When.
        at: UnixNanos,
    },
    /// Tell whoever listens.
    Emit {
        /// What.
        event: RolloutEvent,
    },
    /// Write it in the audit log.
    Audit {
        /// What.
        row: AuditRow,
    },
    /// Change what shall run where.
    Assignment {
        /// How.
        change: AssignmentChange,
    },
    /// A part of the rollout is over: for whoever measures.
    Ended {
        /// Which, and when.
        part: Part,
    },
    /// The order that came can't be followed: whoever gave it is told why. Nothing changed.
    Rejected {
        /// Why, and what can be done.
        why: String,
    },
}

/// Something that happened in a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutEvent {
    /// What.
    pub kind: EventKind,
    /// When.
    pub at: UnixNanos,
    /// The rollout.
    pub rollout: RolloutId,
    /// The workload.
    pub workload: WorkloadName,
    /// The host, where it concerns one.
    pub host: Option<HostId>,
    /// The wave, counted from 1, where it concerns one.
    pub wave: Option<usize>,
    /// In words.
    pub message: String,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// It is planned, and hosts begin to prepare.
    Started,
    /// It entered another state.
    State,
    /// A wave begins.
    Wave,
    /// A host came to another state.
    Host,
    /// A host's health was asked for, and is not what it should be, or is again.
    Health,
    /// Hosts are put back, or have been.
    Rollback,
    /// It waits for a person.
    Paused,
    /// It goes on.
    Resumed,
    /// It is over, and did what it should.
    Completed,
    /// It is over, or is held, and did not.
    Failed,
    /// A person cancelled it.
    Cancelled,
}

impl EventKind {
    /// The event's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "rollout.started",
            Self::State => "rollout.state",
            Self::Wave => "rollout.wave",
            Self::Host => "rollout.host",
            Self::Health => "rollout.health",
            Self::Rollback => "rollout.rollback",
            Self::Paused => "rollout.paused",
            Self::Resumed => "rollout.resumed",
            Self::Completed => "rollout.completed",
            Self::Failed => "rollout.failed",
            Self::Cancelled => "rollout.cancelled",
        }
    }
}

/// A row of the audit log: who, what, where, with what result. Time and chain are the log's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRow {
    /// Who: a person, or `rollout N` for what it decides itself.
    pub who: String,
    /// What: an order, a command, a decision.
    pub what: String,
    /// Where, if it concerns one host.
    pub host: Option<HostId>,
    /// What came of it; none while that is not known.
    pub result: Option<String>,
}

/// What a host is still owed by a rollout that is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Obligation {
    /// A commit.
    Commit,
    /// The way back.
    RollBack,
    /// A person's word: it is stuck.
    Resolve,
}

impl Obligation {
    /// As written for people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::RollBack => "roll-back",
            Self::Resolve => "resolve",
        }
    }
}

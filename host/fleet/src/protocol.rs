//! What a coordinator and a host say to each other, as documents.
//!
//! Each is JSON of a value that checks itself when it is read: names, digests and listeners are newtypes. Fields may be added
//! with a default; a kind that the other side does not know is refused by it, and the connection ends with words about it.

use host_core::{
    fleet::{FleetRevision, HostInventory, Running},
    id::{CommandId, Epoch, Generation, HostId, QuestionId, RolloutId, WorkloadName},
    plan::Intent,
    rollout::{
        HealthAnswer,
        command::{Command, Outcome},
        policy::HealthCheck,
        request::Source,
    },
    status::HostStatus,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::pb;

/// Longest document in bytes: a host's inventory of a thousand workloads has a third of it.
pub const DOCUMENT_LIMIT_BYTES: usize = 4 << 20;

/// From the coordinator to a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Down {
    /// The first word.
    Welcome {
        /// Whose name the certificate says.
        host: HostId,
        /// This start of the coordinator.
        epoch: Epoch,
    },
    /// A step of a rollout.
    Command {
        /// It.
        command: Box<Command>,
    },
    /// Something outside of rollouts: a host is brought to what it is assigned.
    Upkeep {
        /// It.
        upkeep: Box<Upkeep>,
    },
    /// Say what runs: answered by [`Up::Inventory`], in order with the commands.
    AskInventory {
        /// The rollout that asks, and its question's number; none when the coordinator asks for itself.
        question: Option<(RolloutId, QuestionId)>,
    },
    /// Say how a workload is: answered by [`Up::Health`].
    AskHealth {
        /// The rollout that asks.
        rollout: RolloutId,
        /// The question's number.
        ask: QuestionId,
        /// Of which workload.
        workload: WorkloadName,
        /// Whose word.
        check: HealthCheck,
    },
    /// The session is over, and why. A host that is told to stay away does not come back by itself.
    Farewell {
        /// Why.
        why: String,
        /// Whether to come back.
        stay_away: bool,
    },
}

/// Something a host shall do outside of rollouts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upkeep {
    /// Its number, from the same count as commands.
    pub id: CommandId,
    /// The coordinator's start that gives it.
    pub epoch: Epoch,
    /// The workload.
    pub workload: WorkloadName,
    /// What to do.
    pub task: Task,
}

/// What a host does outside of rollouts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Task {
    /// An ordinary, guarded swap, or the first start.
    Deploy {
        /// To what.
        revision: Box<FleetRevision>,
        /// Where from.
        source: Source,
        /// Whether a lower version is meant.
        intent: Intent,
    },
    /// End a probation that nobody is left to end.
    Commit,
    /// Start it.
    Start,
    /// Stop it and keep its state.
    Stop,
    /// Stop it and forget its state.
    Remove,
    /// Take it back into the fleet's hands.
    Attach {
        /// The revision it counts as from now on; none where the fleet will bring another.
        revision: Option<host_core::id::RevisionId>,
    },
}

/// From a host to the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Up {
    /// The first word.
    Hello {
        /// The version of the host's program.
        host_version: String,
        /// Which process speaks: of two with one identity, the log says which is which.
        boot: u32,
        /// What it runs.
        inventory: HostInventory,
        /// What it left by itself, and has told nobody yet.
        #[serde(default)]
        left: Vec<LocalFailure>,
    },
    /// What became of a command.
    Outcome {
        /// Which.
        command: CommandId,
        /// The epoch it had.
        epoch: Epoch,
        /// What became of it.
        outcome: Outcome,
    },
    /// What became of an upkeep.
    Upkept {
        /// Which.
        id: CommandId,
        /// Of what.
        workload: WorkloadName,
        /// None when it was done.
        failed: Option<String>,
    },
    /// What runs.
    Inventory {
        /// The question it answers; none when nobody asked.
        question: Option<(RolloutId, QuestionId)>,
        /// All of it.
        inventory: HostInventory,
    },
    /// A held release was left by the host itself.
    LocalFailure(LocalFailure),
    /// A workload's health.
    Health {
        /// The rollout that asked.
        rollout: RolloutId,
        /// The question's number.
        ask: QuestionId,
        /// The answer.
        answer: HealthAnswer,
    },
    /// How the host is: now and then.
    Status {
        /// All of it.
        status: Box<HostStatus>,
    },
}

/// A held release that a host left by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalFailure {
    /// The workload.
    pub workload: WorkloadName,
    /// The generation now.
    pub generation: Generation,
    /// What runs now; none when it is stopped because no way led back.
    pub running: Option<Running>,
    /// Why.
    pub why: String,
}

/// A document that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableDocument {
    /// Too long.
    #[error("a document of {bytes} bytes is above the limit of {DOCUMENT_LIMIT_BYTES}")]
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// Not what was expected.
    #[error("the other side sent what this program does not understand; do both have the same version?")]
    Unknown(#[from] serde_json::Error),
}

/// A value as a message.
///
/// # Errors
/// When the value can't be written, or is too long.
pub fn write<T: Serialize>(value: &T) -> Result<pb::Document, UnreadableDocument> {
    let json = serde_json::to_vec(value)?;
    within(json.len())?;
    Ok(pb::Document { json: json.into() })
}

/// A message as a value: the validation door of documents.
///
/// # Errors
/// When it is too long or no such value.
pub fn read<T: DeserializeOwned>(document: &pb::Document) -> Result<T, UnreadableDocument> {
    within(document.json.len())?;
    Ok(serde_json::from_slice(&document.json)?)
}

const fn within(bytes: usize) -> Result<(), UnreadableDocument> {
    if bytes > DOCUMENT_LIMIT_BYTES { Err(UnreadableDocument::TooLong { bytes }) } else { Ok(()) }
}

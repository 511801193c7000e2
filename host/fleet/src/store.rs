//! What a coordinator must find again after its death: one database, one writer.
//!
//! The interface is coarse on purpose. A coordinator loads all of it once, decides in memory, and [`commit`](Store::commit)s
//! what changed in one transaction *before* anything is sent. Each commit carries the coordinator's epoch and is refused when a
//! newer one has begun: a coordinator that was taken for dead and comes back can't write.
//!
//! All methods block; a coordinator calls them apart from its network.

mod blobs;
mod chain;
mod sqlite;

pub use chain::ChainBroken;
pub use sqlite::Sqlite;

use host_core::{
    id::{Digest, Epoch, HostId, RevisionId, RolloutId, WorkloadName},
    time::UnixNanos,
};
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::{
    identity::{Kind, StoredToken, SubjectName, TokenId},
    join::MemberRecord,
};

/// Bytes of a component in one row and one message: a row is read whole, and a message must stay below gRPC's 4 MiB.
pub const CHUNK_BYTES: usize = 256 << 10;
/// Largest component that a fleet stores: what a single host takes.
pub const ARTIFACT_LIMIT_BYTES: u64 = 64 << 20;
/// Events kept to be read again. A rollout over a thousand hosts makes some ten thousand.
pub const EVENTS_LIMIT: u64 = 100_000;

/// A store's result.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Why a store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another coordinator has the file.
    #[error("another coordinator runs on {path}")]
    InUse {
        /// The database.
        path: String,
    },
    /// A newer coordinator has begun.
    #[error("epoch {ours} is over: a newer coordinator, of epoch {theirs}, has taken the store")]
    Fenced {
        /// Whose commit it was.
        ours: Epoch,
        /// Who has it now.
        theirs: Epoch,
    },
    /// A database of another program, or of a newer one.
    #[error("{path} has layout {found}, this program knows {known}: use the program that made it")]
    Layout {
        /// The database.
        path: String,
        /// What it says.
        found: i64,
        /// What this program writes.
        known: i64,
    },
    /// The database itself.
    #[error("the fleet's database failed")]
    Database(#[from] rusqlite::Error),
    /// A value in it can't be read.
    #[error("the fleet's database holds {what}, which can't be read")]
    Unreadable {
        /// Which.
        what: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The disk.
    #[error("{path} can't be used")]
    Disk {
        /// The file or folder.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Bytes that are not those of their digest.
    #[error("the bytes given are not those of {wanted}: theirs is {found}")]
    WrongDigest {
        /// What was announced.
        wanted: Digest,
        /// What came.
        found: Digest,
    },
    /// Too many bytes.
    #[error("a component of more than {} MiB is not stored", ARTIFACT_LIMIT_BYTES >> 20)]
    TooLarge,
}

/// A release that the fleet has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRecord {
    /// The workload.
    pub workload: WorkloadName,
    /// The label.
    pub version: Version,
    /// Which bytes.
    pub digest: Digest,
    /// How many; none where the coordinator never saw them.
    pub size_bytes: Option<u64>,
    /// Where a host gets them; none means from the coordinator.
    #[serde(default)]
    pub from: Option<String>,
    /// When it was published.
    pub published: UnixNanos,
}

/// Something that happened in a fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetEvent {
    /// Counted from 1 for the life of the fleet; given in the transaction that makes it true.
    pub seq: u64,
    /// When.
    pub at: UnixNanos,
    /// `rollout.started`, `host.joined`, …
    pub name: String,
    /// The workload, where it concerns one.
    pub workload: Option<WorkloadName>,
    /// The rollout, where it belongs to one.
    pub rollout: Option<RolloutId>,
    /// The host, where it concerns one.
    pub host: Option<HostId>,
    /// In words.
    pub message: String,
}

/// A line of the audit log: append-only, each carrying the hash of the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Counted from 1.
    pub seq: u64,
    /// When.
    pub at: UnixNanos,
    /// Who, as their certificate says; `coordinator` for what it does by itself.
    pub who: String,
    /// What, as `rollout.start` or `token.create`.
    pub what: String,
    /// To what: a workload, a host, a rollout.
    pub target: String,
    /// `done`, or the refusal.
    pub result: String,
    /// SHA-256 over the entry before and this one's fields.
    pub hash: Digest,
}

/// All that a coordinator begins with.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Who belongs to the fleet.
    pub members: Vec<MemberRecord>,
    /// The releases.
    pub releases: Vec<ReleaseRecord>,
    /// Assignments, as documents of core.
    pub assignments: Vec<Document>,
    /// Rollouts that are not over, as documents of core.
    pub rollouts: Vec<Document>,
    /// The last rollout's number.
    pub last_rollout: RolloutId,
    /// The last revision's number.
    pub last_revision: RevisionId,
}

/// A value of core's, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Under what: a workload's name, a rollout's number.
    pub key: String,
    /// JSON.
    pub text: String,
}

/// What changes in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Members that joined.
    pub members: Vec<MemberRecord>,
    /// Join tokens, made or used.
    pub tokens: Vec<StoredToken>,
    /// Releases published.
    pub releases: Vec<ReleaseRecord>,
    /// Assignments as they are now; none for one that is no more.
    pub assignments: Vec<(WorkloadName, Option<String>)>,
    /// Rollouts as they are now.
    pub rollouts: Vec<RolloutRecord>,
    /// Revisions up to this number were given.
    pub last_revision: Option<RevisionId>,
    /// What is told.
    pub events: Vec<NewEvent>,
    /// What is put on record.
    pub audit: Vec<NewAudit>,
}

impl Changes {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
            && self.tokens.is_empty()
            && self.releases.is_empty()
            && self.assignments.is_empty()
            && self.rollouts.is_empty()
            && self.last_revision.is_none()
            && self.events.is_empty()
            && self.audit.is_empty()
    }
}

/// A rollout, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutRecord {
    /// Which.
    pub id: RolloutId,
    /// Of what.
    pub workload: WorkloadName,
    /// When it was asked for.
    pub began: UnixNanos,
    /// It is over, and nothing is owed to any host.
    pub over: bool,
    /// The machine, as a document.
    pub text: String,
}

/// An event before it has its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Its name.
    pub name: String,
    /// The workload.
    pub workload: Option<WorkloadName>,
    /// The rollout.
    pub rollout: Option<RolloutId>,
    /// The host.
    pub host: Option<HostId>,
    /// In words.
    pub message: String,
}

/// A line of the audit log before it is chained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAudit {
    /// Who.
    pub who: String,
    /// What.
    pub what: String,
    /// To what.
    pub target: String,
    /// With what result.
    pub result: String,
}

/// The fleet's memory.
pub trait Store: Send + 'static {
    /// Begins a coordinator's time: no older one can commit from now on.
    ///
    /// # Errors
    /// When the store can't be written.
    fn begin(&mut self, at: UnixNanos) -> Result<Epoch>;

    /// All a coordinator needs to go on.
    ///
    /// # Errors
    /// When the store can't be read.
    fn load(&mut self) -> Result<Loaded>;

    /// Makes the changes durable, all or none. The events come back with their numbers.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when a newer coordinator has begun; otherwise when the store can't be written. Then nothing of it
    /// holds.
    fn commit(&mut self, epoch: Epoch, at: UnixNanos, changes: Changes) -> Result<Vec<FleetEvent>>;

    /// A join token.
    ///
    /// # Errors
    /// When the store can't be read.
    fn token(&mut self, id: TokenId) -> Result<Option<StoredToken>>;

    /// Whoever has this name among its kind.
    ///
    /// # Errors
    /// When the store can't be read.
    fn member(&mut self, kind: Kind, name: &SubjectName) -> Result<Option<MemberRecord>>;

    /// Checks the whole audit log; gives how many entries it has and the last one's hash.
    ///
    /// # Errors
    /// When the store can't be read. The inner one when the log is not what was written.
    fn verify_audit(&mut self) -> Result<std::result::Result<(u64, Digest), ChainBroken>>;

    /// Events after this number, at most `limit`.
    ///
    /// # Errors
    /// When the store can't be read.
    fn events_after(&mut self, seq: u64, limit: usize) -> Result<Vec<FleetEvent>>;

    /// Rollouts, newest first.
    ///
    /// # Errors
    /// When the store can't be read.
    fn history(&mut self, workload: Option<&WorkloadName>, limit: usize) -> Result<Vec<Document>>;

    /// One rollout.
    ///
    /// # Errors
    /// When the store can't be read.
    fn rollout(&mut self, id: RolloutId) -> Result<Option<Document>>;

    /// The audit log, oldest first, from this number on.
    ///
    /// # Errors
    /// When the store can't be read.
    fn audit(&mut self, from_seq: u64, limit: usize) -> Result<Vec<AuditEntry>>;

    /// Keeps a component under its digest. Nothing is kept when the bytes are others.
    ///
    /// # Errors
    /// When the bytes are not those of the digest, are too many, or the store can't be written.
    fn put_blob(&mut self, digest: Digest, bytes: &[u8]) -> Result<()>;

    /// A component's bytes from `offset` on, at most [`CHUNK_BYTES`]; none when it isn't here, empty at its end.
    ///
    /// # Errors
    /// When the store can't be read.
    fn blob(&mut self, digest: Digest, offset: u64) -> Result<Option<Vec<u8>>>;
}

//! The ledger: releases, what runs where it stands, and history, in SQLite.
//!
//! One connection behind one lock; every write is its own transaction with `synchronous = FULL`, so that what a method
//! reported is on disk. All methods block: [`Ledger::run`] is for async callers.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use host_core::{
    history::SwapReport,
    id::{Digest, Generation, SwapId, WorkloadName},
    plan::SwapPlan,
    policy::SwapPolicy,
    release::{Release, Revision},
    swap::{Outcome, Phase, RollbackWay, Swap},
    time::UnixNanos,
};
use rusqlite::{Connection, OptionalExtension as _, params};
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::{checkpoint::CheckpointName, error::LedgerError};

/// Raised with the layout of the tables.
const LAYOUT: i64 = 1;
/// Reports kept per workload.
const HISTORY_LIMIT: usize = 1000;

const TABLES: &str = "
    CREATE TABLE boots (boot INTEGER PRIMARY KEY, at INTEGER NOT NULL);
    CREATE TABLE swaps (id INTEGER PRIMARY KEY AUTOINCREMENT, workload TEXT NOT NULL, target TEXT NOT NULL, digest TEXT NOT NULL,
        began INTEGER NOT NULL, ended INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE releases (
        workload TEXT NOT NULL, version TEXT NOT NULL, digest TEXT NOT NULL,
        release TEXT NOT NULL, size INTEGER NOT NULL, stored INTEGER NOT NULL,
        PRIMARY KEY (workload, version)
    ) WITHOUT ROWID;
    CREATE TABLE workloads (name TEXT PRIMARY KEY, entry TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE history (id INTEGER PRIMARY KEY AUTOINCREMENT, workload TEXT NOT NULL, report TEXT NOT NULL);
    CREATE INDEX history_by_workload ON history (workload, id);
";

/// The ledger's handle. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Ledger(Arc<Mutex<Connection>>);

/// A workload as it must be found again after the host's death.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: WorkloadName,
    /// Whether it shall run.
    pub(crate) desired: Desired,
    pub(crate) generation: Generation,
    pub(crate) revision: Revision,
    /// What ran before, for `host rollback`.
    pub(crate) predecessor: Option<Revision>,
    /// A swap whose switch is durable and that is not permanent.
    pub(crate) probation: Option<ProbationRecord>,
    /// The swap that last took hold here or was undone. Its report may be missing: this is what became of it.
    #[serde(default)]
    pub(crate) last_swap: Option<LastSwap>,
    /// It was stopped with all it had handled on disk.
    pub(crate) clean: bool,
}

/// What became of a swap whose switch was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastSwap {
    pub(crate) id: SwapId,
    /// None when it took hold.
    pub(crate) undone: Option<RollbackWay>,
}

impl LastSwap {
    /// What becomes of this one, whose switch was made.
    pub(crate) const fn of(swap: &Swap) -> Self {
        let undone = match swap.phase() {
            Phase::RecordingRollback { way, .. } | Phase::Ended(Outcome::RolledBack { way, .. }) => Some(*way),
            _ => None,
        };
        Self { id: swap.id(), undone }
    }
}

/// Whether a workload shall run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Desired {
    Running,
    Stopped,
}

/// The switch record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProbationRecord {
    pub(crate) swap: SwapId,
    pub(crate) plan: SwapPlan,
    pub(crate) policy: SwapPolicy,
    /// When the switch was.
    pub(crate) switched: UnixNanos,
    /// When it becomes permanent.
    pub(crate) until: UnixNanos,
    /// How often the host has started since the switch.
    pub(crate) host_starts: u32,
    /// The state as it was handed over; none where each connection has its own.
    pub(crate) pinned: Option<CheckpointName>,
}

/// A swap as it is noted before it begins.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) workload: WorkloadName,
    pub(crate) to: Version,
    pub(crate) digest: Digest,
    pub(crate) began: UnixNanos,
}

/// A stored release.
#[derive(Clone, Debug)]
pub(crate) struct StoredRelease {
    pub(crate) release: Release,
    pub(crate) size_bytes: u64,
    pub(crate) stored: UnixNanos,
}

impl Ledger {
    /// Opens or makes the ledger and counts this boot.
    pub(crate) fn open(path: &Path, now: UnixNanos) -> Result<(Self, u32), LedgerError> {
        let mut connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let transaction = connection.transaction()?;
        let layout: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match layout {
            0 => {
                transaction.execute_batch(TABLES)?;
                transaction.pragma_update(None, "user_version", LAYOUT)?;
            }
            LAYOUT => {}
            found => return Err(LedgerError::Newer { found, known: LAYOUT }),
        }
        transaction.execute("INSERT INTO boots (at) VALUES (?1)", params![to_sql(now.0)])?;
        let boot = u32::try_from(transaction.last_insert_rowid()).unwrap_or(u32::MAX);
        transaction.commit()?;
        Ok((Self(Arc::new(Mutex::new(connection))), boot))
    }

    /// Runs `work` on a thread where it may block.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let ledger = self.clone();
        tokio::task::spawn_blocking(move || work(&ledger)).await.map_err(|_| LedgerError::Stopping)?
    }

    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        // SQLite's own transactions keep the data whole: a panic elsewhere is no reason to refuse.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A number for a new swap, never used before. It is under way until its report is appended.
    pub(crate) fn begin_swap(&self, attempt: &Attempt) -> Result<SwapId, LedgerError> {
        self.with(|connection| {
            connection.execute(
                "INSERT INTO swaps (workload, target, digest, began) VALUES (?1, ?2, ?3, ?4)",
                params![
                    attempt.workload.as_str(),
                    attempt.to.to_string(),
                    attempt.digest.to_string(),
                    to_sql(attempt.began.0)
                ],
            )?;
            Ok(SwapId(from_sql(connection.last_insert_rowid())))
        })
    }

    /// The swaps of a workload that were under way when the host died.
    pub(crate) fn open_swaps(&self, workload: &WorkloadName) -> Result<Vec<(SwapId, Attempt)>, LedgerError> {
        self.with(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT id, target, digest, began FROM swaps WHERE workload = ?1 AND ended = 0 ORDER BY id",
            )?;
            let rows = query.query_map(params![workload.as_str()], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get::<_, i64>(3)?))
            })?;
            let mut swaps = Vec::new();
            for row in rows {
                let (id, to, digest, began) = row?;
                // Both were written from such values by this host; a row that does not read is not worth a refusal to start.
                let (Ok(to), Ok(digest)) = (to.parse(), digest.parse()) else { continue };
                let attempt = Attempt { workload: workload.clone(), to, digest, began: UnixNanos(from_sql(began)) };
                swaps.push((SwapId(from_sql(id)), attempt));
            }
            Ok(swaps)
        })
    }

    /// The digest stored under a version.
    pub(crate) fn digest_of(&self, workload: &WorkloadName, version: &Version) -> Result<Option<Digest>, LedgerError> {
        Ok(self.release(workload, version)?.map(|stored| stored.release.digest))
    }

    /// Stores a release; one that is there stays as it is.
    pub(crate) fn store_release(&self, release: &Release, size_bytes: u64, now: UnixNanos) -> Result<(), LedgerError> {
        let text = serde_json::to_string(release)?;
        self.with(|connection| {
            connection.execute(
                "INSERT OR IGNORE INTO releases (workload, version, digest, release, size, stored) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    release.workload.as_str(),
                    release.version.to_string(),
                    release.digest.to_string(),
                    text,
                    to_sql(size_bytes),
                    to_sql(now.0)
                ],
            )?;
            Ok(())
        })
    }

    /// One release.
    pub(crate) fn release(
        &self,
        workload: &WorkloadName,
        version: &Version,
    ) -> Result<Option<StoredRelease>, LedgerError> {
        let all = self.releases(workload)?;
        Ok(all.into_iter().find(|stored| stored.release.version == *version))
    }

    /// The releases of a workload, lowest version first.
    pub(crate) fn releases(&self, workload: &WorkloadName) -> Result<Vec<StoredRelease>, LedgerError> {
        let mut releases = self.with(|connection| {
            let mut query =
                connection.prepare_cached("SELECT release, size, stored FROM releases WHERE workload = ?1")?;
            let rows =
                query.query_map(params![workload.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            let mut releases = Vec::new();
            for row in rows {
                let (text, size, stored): (String, i64, i64) = row?;
                releases.push(StoredRelease {
                    release: serde_json::from_str(&text)?,
                    size_bytes: from_sql(size),
                    stored: UnixNanos(from_sql(stored)),
                });
            }
            Ok(releases)
        })?;
        releases.sort_by(|a, b| a.release.version.cmp(&b.release.version));
        Ok(releases)
    }

    /// All workloads, by name.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>, LedgerError> {
        self.with(|connection| {
            let mut query = connection.prepare_cached("SELECT entry FROM workloads ORDER BY name")?;
            let rows = query.query_map([], |row| row.get::<_, String>(0))?;
            rows.map(|row| Ok(serde_json::from_str(&row?)?)).collect()
        })
    }

    /// One workload.
    pub(crate) fn entry(&self, name: &WorkloadName) -> Result<Option<Entry>, LedgerError> {
        self.with(|connection| {
            let mut query = connection.prepare_cached("SELECT entry FROM workloads WHERE name = ?1")?;
            let text: Option<String> = query.query_row(params![name.as_str()], |row| row.get(0)).optional()?;
            Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
        })
    }

    /// Writes down how a workload stands. Durable when it returns.
    pub(crate) fn put_entry(&self, entry: &Entry) -> Result<(), LedgerError> {
        let text = serde_json::to_string(entry)?;
        self.with(|connection| {
            connection.execute(
                "INSERT INTO workloads (name, entry) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET entry = ?2",
                params![entry.name.as_str(), text],
            )?;
            Ok(())
        })
    }

    /// Forgets a workload and its releases. Its history stays.
    pub(crate) fn remove(&self, name: &WorkloadName) -> Result<(), LedgerError> {
        self.with(|connection| {
            let transaction = connection.transaction()?;
            transaction.execute("DELETE FROM workloads WHERE name = ?1", params![name.as_str()])?;
            transaction.execute("DELETE FROM releases WHERE workload = ?1", params![name.as_str()])?;
            transaction.commit()?;
            Ok(())
        })
    }

    /// Appends to the history; the oldest beyond the limit go.
    pub(crate) fn append(&self, report: &SwapReport) -> Result<(), LedgerError> {
        let text = serde_json::to_string(report)?;
        self.with(|connection| {
            let name = report.workload.as_str();
            let transaction = connection.transaction()?;
            transaction.execute("UPDATE swaps SET ended = 1 WHERE id = ?1", params![to_sql(report.id.0)])?;
            transaction.execute("INSERT INTO history (workload, report) VALUES (?1, ?2)", params![name, text])?;
            transaction.execute(
                "DELETE FROM history WHERE workload = ?1 AND id <= \
                 (SELECT id FROM history WHERE workload = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                params![name, to_sql(HISTORY_LIMIT as u64)],
            )?;
            transaction.commit()?;
            Ok(())
        })
    }

    /// The newest reports, newest first.
    pub(crate) fn history(
        &self,
        workload: Option<&WorkloadName>,
        limit: usize,
    ) -> Result<Vec<SwapReport>, LedgerError> {
        self.with(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT report FROM history WHERE ?1 IS NULL OR workload = ?1 ORDER BY id DESC LIMIT ?2",
            )?;
            let name = workload.map(WorkloadName::as_str);
            let rows = query.query_map(params![name, to_sql(limit as u64)], |row| row.get::<_, String>(0))?;
            rows.map(|row| Ok(serde_json::from_str(&row?)?)).collect()
        })
    }
}

/// SQLite's integers are signed; ours are not, and stay below 2^63.
fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn from_sql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

//! The store in one SQLite file, for a coordinator that is alone.
//!
//! Every commit is a transaction with `synchronous = FULL` in a write-ahead log: what was reported is on disk. A lock on a file
//! beside the database keeps a second coordinator out for as long as this one lives.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use host_core::{
    id::{Digest, Epoch, RevisionId, RolloutId, WorkloadName},
    time::UnixNanos,
};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;

use crate::{
    identity::{Kind, StoredToken, SubjectName, TokenId},
    join::MemberRecord,
};

use super::{
    AuditEntry, ChainBroken, Changes, Document, EVENTS_LIMIT, FleetEvent, Loaded, NewAudit, NewEvent, Result, Store,
    StoreError, blobs, chain,
};

/// Raised with the layout of the tables.
const LAYOUT: i64 = 1;
/// Entries of the audit log that are checked at a time: a year's log need not fit into memory.
const VERIFY_STEP: usize = 1000;

const TABLES: &str = "
    CREATE TABLE epochs (epoch INTEGER PRIMARY KEY, at INTEGER NOT NULL);
    CREATE TABLE members (kind TEXT NOT NULL, name TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
    CREATE TABLE tokens (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE releases (workload TEXT NOT NULL, version TEXT NOT NULL, record TEXT NOT NULL,
        PRIMARY KEY (workload, version)) WITHOUT ROWID;
    CREATE TABLE assignments (workload TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE rollouts (id INTEGER PRIMARY KEY, workload TEXT NOT NULL, began INTEGER NOT NULL, over INTEGER NOT NULL,
        document TEXT NOT NULL);
    CREATE INDEX rollouts_by_workload ON rollouts (workload, id);
    CREATE INDEX rollouts_not_over ON rollouts (id) WHERE over = 0;
    CREATE TABLE revisions (last INTEGER NOT NULL);
    CREATE TABLE events (seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, event TEXT NOT NULL);
    CREATE TABLE audit (seq INTEGER PRIMARY KEY, entry TEXT NOT NULL);
";

/// A store in a file.
#[derive(Debug)]
pub struct Sqlite {
    database: Connection,
    /// Held for as long as the store is open.
    _lock: File,
}

impl Sqlite {
    /// Opens the fleet's database, or makes it.
    ///
    /// # Errors
    /// When another coordinator has it, it is of another layout, or the disk fails.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = || path.display().to_string();
        let disk = |source| StoreError::Disk { path: shown(), source };
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.with_extension("lock"))
            .map_err(disk)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| StoreError::InUse { path: shown() })?;
        let mut database = Connection::open(path)?;
        database.pragma_update(None, "journal_mode", "wal")?;
        database.pragma_update(None, "synchronous", "full")?;
        let found: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match found {
            LAYOUT => {}
            0 => {
                let transaction = database.transaction()?;
                transaction.execute_batch(TABLES)?;
                transaction.execute_batch(blobs::TABLES)?;
                transaction.execute("INSERT INTO revisions (last) VALUES (0)", [])?;
                transaction.pragma_update(None, "user_version", LAYOUT)?;
                transaction.commit()?;
            }
            found => return Err(StoreError::Layout { path: shown(), found, known: LAYOUT }),
        }
        Ok(Self { database, _lock: lock })
    }

    fn values<T: DeserializeOwned>(&self, what: &str, query: &str) -> Result<Vec<T>> {
        let mut statement = self.database.prepare_cached(query)?;
        let texts = statement.query_map([], |row| row.get::<_, String>(0))?;
        texts.map(|text| parse(what, &text?)).collect()
    }

    fn one<T: DeserializeOwned>(&self, what: &str, query: &str, key: impl rusqlite::Params) -> Result<Option<T>> {
        let text: Option<String> = self.database.query_row(query, key, |row| row.get(0)).optional()?;
        text.map(|text| parse(what, &text)).transpose()
    }

    fn documents(&self, query: &str, parameters: impl rusqlite::Params) -> Result<Vec<Document>> {
        let mut statement = self.database.prepare_cached(query)?;
        let documents = statement.query_map(parameters, document)?;
        Ok(documents.collect::<std::result::Result<_, _>>()?)
    }
}

impl Store for Sqlite {
    fn begin(&mut self, at: UnixNanos) -> Result<Epoch> {
        self.database.execute("INSERT INTO epochs (at) VALUES (?1)", [at.0])?;
        Ok(Epoch(self.database.last_insert_rowid().unsigned_abs()))
    }

    fn load(&mut self) -> Result<Loaded> {
        let last_rollout =
            self.database.query_row("SELECT coalesce(max(id), 0) FROM rollouts", [], |row| row.get(0))?;
        let last_revision = self.database.query_row("SELECT last FROM revisions", [], |row| row.get(0))?;
        Ok(Loaded {
            members: self.values("a member", "SELECT record FROM members ORDER BY kind, name")?,
            releases: self.values("a release", "SELECT record FROM releases ORDER BY workload, version")?,
            assignments: self.documents("SELECT workload, document FROM assignments ORDER BY workload", [])?,
            rollouts: self.documents("SELECT id, document FROM rollouts WHERE over = 0 ORDER BY id", [])?,
            last_rollout: RolloutId(last_rollout),
            last_revision: RevisionId(last_revision),
        })
    }

    fn commit(&mut self, epoch: Epoch, at: UnixNanos, changes: Changes) -> Result<Vec<FleetEvent>> {
        let transaction = self.database.transaction()?;
        // In the same transaction as what it guards.
        let theirs = transaction.query_row("SELECT coalesce(max(epoch), 0) FROM epochs", [], |row| row.get(0))?;
        if theirs != epoch.0 {
            return Err(StoreError::Fenced { ours: epoch, theirs: Epoch(theirs) });
        }
        write(&transaction, &changes)?;
        let events = tell(&transaction, at, changes.events)?;
        put_on_record(&transaction, at, changes.audit)?;
        transaction.commit()?;
        Ok(events)
    }

    fn token(&mut self, id: TokenId) -> Result<Option<StoredToken>> {
        self.one("a join token", "SELECT record FROM tokens WHERE id = ?1", [id.to_string()])
    }

    fn member(&mut self, kind: Kind, name: &SubjectName) -> Result<Option<MemberRecord>> {
        let query = "SELECT record FROM members WHERE kind = ?1 AND name = ?2";
        self.one("a member", query, [kind.as_str(), name.as_str()])
    }

    fn verify_audit(&mut self) -> Result<std::result::Result<(u64, Digest), ChainBroken>> {
        let (mut before, mut seq) = (chain::ROOT, 0);
        loop {
            let entries = self.audit(seq + 1, VERIFY_STEP)?;
            if entries.is_empty() {
                return Ok(Ok((seq, before)));
            }
            match chain::verify(before, seq, &entries) {
                Ok(reached) => (before, seq) = reached,
                Err(broken) => return Ok(Err(broken)),
            }
        }
    }

    fn events_after(&mut self, seq: u64, limit: usize) -> Result<Vec<FleetEvent>> {
        let mut statement =
            self.database.prepare_cached("SELECT seq, event FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
        let rows = statement.query_map(params![seq, limit], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
        let numbered = rows.map(|row| {
            let (seq, text) = row?;
            Ok(FleetEvent { seq, ..parse("an event", &text)? })
        });
        numbered.collect()
    }

    fn history(&mut self, workload: Option<&WorkloadName>, limit: usize) -> Result<Vec<Document>> {
        match workload {
            None => self.documents("SELECT id, document FROM rollouts ORDER BY id DESC LIMIT ?1", params![limit]),
            Some(workload) => self.documents(
                "SELECT id, document FROM rollouts WHERE workload = ?2 ORDER BY id DESC LIMIT ?1",
                params![limit, workload.as_str()],
            ),
        }
    }

    fn rollout(&mut self, id: RolloutId) -> Result<Option<Document>> {
        let found =
            self.database.query_row("SELECT id, document FROM rollouts WHERE id = ?1", [id.0], document).optional()?;
        Ok(found)
    }

    fn audit(&mut self, from_seq: u64, limit: usize) -> Result<Vec<AuditEntry>> {
        let mut statement =
            self.database.prepare_cached("SELECT entry FROM audit WHERE seq >= ?1 ORDER BY seq LIMIT ?2")?;
        let texts = statement.query_map(params![from_seq, limit], |row| row.get::<_, String>(0))?;
        texts.map(|text| parse("an entry of the audit log", &text?)).collect()
    }

    fn put_blob(&mut self, digest: Digest, bytes: &[u8]) -> Result<()> {
        blobs::put(&mut self.database, digest, bytes)
    }

    fn blob(&mut self, digest: Digest, offset: u64) -> Result<Option<Vec<u8>>> {
        blobs::get(&self.database, digest, offset)
    }
}

fn write(transaction: &Transaction<'_>, changes: &Changes) -> Result<()> {
    for member in &changes.members {
        let key = params![member.kind.as_str(), member.name.as_str(), text("a member", member)?];
        transaction.execute("INSERT OR REPLACE INTO members VALUES (?1, ?2, ?3)", key)?;
    }
    for token in &changes.tokens {
        let key = params![token.id.to_string(), text("a join token", token)?];
        transaction.execute("INSERT OR REPLACE INTO tokens VALUES (?1, ?2)", key)?;
    }
    for release in &changes.releases {
        let key = params![release.workload.as_str(), release.version.to_string(), text("a release", release)?];
        transaction.execute("INSERT OR REPLACE INTO releases VALUES (?1, ?2, ?3)", key)?;
    }
    for (workload, document) in &changes.assignments {
        let workload = workload.as_str();
        match document {
            Some(text) => {
                transaction.execute("INSERT OR REPLACE INTO assignments VALUES (?1, ?2)", params![workload, text])?
            }
            None => transaction.execute("DELETE FROM assignments WHERE workload = ?1", [workload])?,
        };
    }
    for rollout in &changes.rollouts {
        transaction.execute(
            "INSERT INTO rollouts (id, workload, began, over, document) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (id) DO UPDATE SET over = excluded.over, document = excluded.document",
            params![rollout.id.0, rollout.workload.as_str(), rollout.began.0, rollout.over, rollout.text],
        )?;
    }
    if let Some(last) = changes.last_revision {
        transaction.execute("UPDATE revisions SET last = max(last, ?1)", [last.0])?;
    }
    Ok(())
}

/// Gives the events their numbers, and forgets the oldest.
fn tell(transaction: &Transaction<'_>, at: UnixNanos, events: Vec<NewEvent>) -> Result<Vec<FleetEvent>> {
    let mut told = Vec::with_capacity(events.len());
    for NewEvent { name, workload, rollout, host, message } in events {
        let event = FleetEvent { seq: 0, at, name, workload, rollout, host, message };
        transaction
            .execute("INSERT INTO events (at, event) VALUES (?1, ?2)", params![at.0, text("an event", &event)?])?;
        told.push(FleetEvent { seq: transaction.last_insert_rowid().unsigned_abs(), ..event });
    }
    if let Some(last) = told.last() {
        transaction.execute("DELETE FROM events WHERE seq <= ?1", [last.seq.saturating_sub(EVENTS_LIMIT)])?;
    }
    Ok(told)
}

fn put_on_record(transaction: &Transaction<'_>, at: UnixNanos, entries: Vec<NewAudit>) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let last: Option<String> =
        transaction.query_row("SELECT entry FROM audit ORDER BY seq DESC LIMIT 1", [], |row| row.get(0)).optional()?;
    let last: Option<AuditEntry> = last.map(|last| parse("an entry of the audit log", &last)).transpose()?;
    let (mut before, mut seq) = last.map_or((chain::ROOT, 0), |last| (last.hash, last.seq));
    for NewAudit { who, what, target, result } in entries {
        seq += 1;
        let mut entry = AuditEntry { seq, at, who, what, target, result, hash: before };
        entry.hash = chain::hash(before, &entry);
        before = entry.hash;
        transaction
            .execute("INSERT INTO audit VALUES (?1, ?2)", params![seq, text("an entry of the audit log", &entry)?])?;
    }
    Ok(())
}

fn document(row: &Row<'_>) -> rusqlite::Result<Document> {
    let key = match row.get_ref(0)? {
        rusqlite::types::ValueRef::Integer(id) => id.to_string(),
        other => other.as_str()?.to_owned(),
    };
    Ok(Document { key, text: row.get(1)? })
}

fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|source| StoreError::Unreadable { what: what.to_owned(), source })
}

fn text<T: serde::Serialize>(what: &str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|source| StoreError::Unreadable { what: what.to_owned(), source })
}

#[cfg(test)]
mod tests;

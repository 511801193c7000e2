//! What a host must know of its fleet after its own death: which commands it began, and what became of them.
//!
//! Persist, then act: a command is written here before the host acts on it, and its outcome before it is told. So a duplicate
//! gets the outcome that was written, and a command that was begun when the host died is known to have been.
//!
//! One SQLite file in the host's data directory, `synchronous = FULL`. All methods block.

use std::path::Path;

use host_core::{
    fleet::{RECENT_LIMIT, Recent},
    id::{CommandId, Digest, Epoch, Generation, RevisionId, WorkloadName},
    rollout::command::{Command, Outcome},
};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Raised with the layout of the tables.
const LAYOUT: i64 = 1;

const TABLES: &str = "
    CREATE TABLE epoch (highest INTEGER NOT NULL);
    INSERT INTO epoch (highest) VALUES (0);
    CREATE TABLE commands (id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, workload TEXT NOT NULL, command TEXT NOT NULL,
        outcome TEXT);
    CREATE INDEX commands_by_workload ON commands (workload, id);
    CREATE TABLE workloads (name TEXT PRIMARY KEY, entry TEXT NOT NULL) WITHOUT ROWID;
";

/// The journal can't be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The database.
    #[error("the agent's journal failed")]
    Database(#[from] rusqlite::Error),
    /// A value in it.
    #[error("the agent's journal can't be read")]
    Unreadable(#[from] serde_json::Error),
    /// Of another program.
    #[error("the agent's journal has layout {found}, this program knows {LAYOUT}: use the program that made it")]
    Layout {
        /// What it says.
        found: i64,
    },
}

type Result<T> = std::result::Result<T, JournalError>;

/// What the fleet knows of a workload on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The fleet's revision in place, and the bytes it had.
    pub revision: Option<(RevisionId, Digest)>,
    /// The revision before, while a probation is held.
    pub before: Option<(RevisionId, Digest)>,
    /// A person took it out of the fleet's hands.
    pub detached: bool,
    /// The generation that a command of the fleet left on a held probation.
    pub holding: Option<Generation>,
}

/// What is known of a command that comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing: it is the newest.
    New,
    /// It was acted on, with this outcome.
    Done(Outcome),
    /// It was begun; its outcome is not known yet.
    Begun,
    /// It is older than what this host has seen.
    Stale {
        /// Why.
        why: String,
    },
}

/// The journal.
#[derive(Debug)]
pub struct Journal(Connection);

impl Journal {
    /// Opens it, or makes it.
    ///
    /// # Errors
    /// When the file can't be used, or is of another layout.
    pub fn open(path: &Path) -> Result<Self> {
        let mut database = Connection::open(path)?;
        database.pragma_update(None, "journal_mode", "wal")?;
        database.pragma_update(None, "synchronous", "full")?;
        let found: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match found {
            LAYOUT => {}
            0 => {
                let transaction = database.transaction()?;
                transaction.execute_batch(TABLES)?;
                transaction.pragma_update(None, "user_version", LAYOUT)?;
                transaction.commit()?;
            }
            found => return Err(JournalError::Layout { found }),
        }
        Ok(Self(database))
    }

    /// Takes note of a coordinator's epoch. False when a higher one has spoken.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn welcome(&mut self, epoch: Epoch) -> Result<bool> {
        self.0.execute("UPDATE epoch SET highest = max(highest, ?1)", [epoch.0])?;
        Ok(self.highest()? == epoch)
    }

    fn highest(&self) -> Result<Epoch> {
        Ok(Epoch(self.0.query_row("SELECT highest FROM epoch", [], |row| row.get(0))?))
    }

    /// What is known of a command.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn known(&self, id: CommandId, epoch: Epoch, workload: &WorkloadName) -> Result<Known> {
        let begun: Option<Option<String>> =
            self.0.query_row("SELECT outcome FROM commands WHERE id = ?1", [id.0], |row| row.get(0)).optional()?;
        match begun {
            Some(Some(outcome)) => return Ok(Known::Done(serde_json::from_str(&outcome)?)),
            Some(None) => return Ok(Known::Begun),
            None => {}
        }
        let highest = self.highest()?;
        if epoch < highest {
            let why = format!("it is from epoch {epoch}, and a coordinator of epoch {highest} has spoken since");
            return Ok(Known::Stale { why });
        }
        let last: u64 = self.0.query_row(
            "SELECT coalesce(max(id), 0) FROM commands WHERE workload = ?1",
            [workload.as_str()],
            |row| row.get(0),
        )?;
        if id.0 < last {
            return Ok(Known::Stale { why: format!("a later command, {last}, has been acted on since") });
        }
        Ok(Known::New)
    }

    /// Writes down that a command is about to be acted on.
    ///
    /// # Errors
    /// When it can't be written; then it must not be acted on.
    pub fn begin(&mut self, command: &Command) -> Result<()> {
        let transaction = self.0.transaction()?;
        transaction.execute("UPDATE epoch SET highest = max(highest, ?1)", [command.epoch.0])?;
        transaction.execute(
            "INSERT INTO commands (id, epoch, workload, command) VALUES (?1, ?2, ?3, ?4)",
            params![command.id.0, command.epoch.0, command.workload.as_str(), serde_json::to_string(command)?],
        )?;
        // What nobody asks for any more.
        transaction.execute(
            "DELETE FROM commands WHERE workload = ?1 AND outcome IS NOT NULL AND id NOT IN
                (SELECT id FROM commands WHERE workload = ?1 ORDER BY id DESC LIMIT ?2)",
            params![command.workload.as_str(), RECENT_LIMIT],
        )?;
        Ok(transaction.commit()?)
    }

    /// Writes down what became of a command, and of its workload.
    ///
    /// # Errors
    /// When it can't be written; then it must not be told.
    pub fn end(&mut self, id: CommandId, outcome: &Outcome, workload: &WorkloadName, entry: &Entry) -> Result<()> {
        let transaction = self.0.transaction()?;
        transaction.execute(
            "UPDATE commands SET outcome = ?2 WHERE id = ?1",
            params![id.0, serde_json::to_string(outcome)?],
        )?;
        transaction.execute(
            "INSERT OR REPLACE INTO workloads VALUES (?1, ?2)",
            params![workload.as_str(), serde_json::to_string(entry)?],
        )?;
        Ok(transaction.commit()?)
    }

    /// Commands that were begun and have no outcome.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn unfinished(&self) -> Result<Vec<Command>> {
        self.values("SELECT command FROM commands WHERE outcome IS NULL ORDER BY id", [])
    }

    /// The last outcomes of a workload's commands, the newest last.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn recent(&self, workload: &WorkloadName) -> Result<Vec<Recent>> {
        let mut statement = self.0.prepare_cached(
            "SELECT id, epoch, outcome FROM commands WHERE workload = ?1 AND outcome IS NOT NULL ORDER BY id DESC LIMIT ?2",
        )?;
        let rows = statement
            .query_map(params![workload.as_str(), RECENT_LIMIT], |row| {
                Ok((CommandId(row.get(0)?), Epoch(row.get(1)?), row.get::<_, String>(2)?))
            })?
            .collect::<std::result::Result<Vec<_>, _>>()?;
        rows.into_iter()
            .rev()
            .map(|(command, epoch, outcome)| Ok(Recent { command, epoch, outcome: serde_json::from_str(&outcome)? }))
            .collect()
    }

    /// What the fleet knows of a workload here.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn entry(&self, workload: &WorkloadName) -> Result<Entry> {
        let query = "SELECT entry FROM workloads WHERE name = ?1";
        let text: Option<String> = self.0.query_row(query, [workload.as_str()], |row| row.get(0)).optional()?;
        Ok(text.map(|text| serde_json::from_str(&text)).transpose()?.unwrap_or_default())
    }

    /// The workloads that the fleet has something to do with.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn workloads(&self) -> Result<Vec<WorkloadName>> {
        let mut statement =
            self.0.prepare_cached("SELECT name FROM workloads UNION SELECT workload FROM commands ORDER BY 1")?;
        let names = statement.query_map([], |row| row.get::<_, String>(0))?;
        let names = names.collect::<std::result::Result<Vec<_>, _>>()?;
        names.into_iter().map(|name| Ok(serde_json::from_value(serde_json::Value::String(name))?)).collect()
    }

    /// Keeps what the fleet knows of a workload here; an empty entry is forgotten.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn keep(&mut self, workload: &WorkloadName, entry: &Entry) -> Result<()> {
        if *entry == Entry::default() {
            self.0.execute("DELETE FROM workloads WHERE name = ?1", [workload.as_str()])?;
        } else {
            let row = params![workload.as_str(), serde_json::to_string(entry)?];
            self.0.execute("INSERT OR REPLACE INTO workloads VALUES (?1, ?2)", row)?;
        }
        Ok(())
    }

    fn values<T: DeserializeOwned>(&self, query: &str, parameters: impl rusqlite::Params) -> Result<Vec<T>> {
        let mut statement = self.0.prepare_cached(query)?;
        let texts = statement.query_map(parameters, |row| row.get::<_, String>(0))?;
        texts.map(|text| Ok(serde_json::from_str(&text?)?)).collect()
    }
}

//! What can go wrong at the library's face.

use std::{io, path::PathBuf};

use host_core::id::WorkloadName;

/// Why a host did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory can't be used.
    #[error("the data directory {} can't be used", path.display())]
    Data {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another host uses it.
    #[error("another host (process {pid}) already runs in {}; stop it, or choose another directory with --data", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Its process, as it wrote it down.
        pid: String,
    },
    /// The ledger can't be read.
    #[error("the ledger of this data directory can't be used")]
    Ledger(#[from] LedgerError),
    /// The stored components can't be used.
    #[error("the stored components of this data directory can't be used: {0}")]
    Store(String),
    /// The engine can't be made.
    #[error("the WebAssembly engine can't be made: {0}")]
    Engine(String),
}

/// Why a request came to nothing. Whatever ran goes on.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// No such workload.
    #[error("no workload is named {name}; {}", list(known))]
    UnknownWorkload {
        /// What was asked for.
        name: WorkloadName,
        /// What there is.
        known: Vec<WorkloadName>,
    },
    /// No such version.
    #[error("{name} has no stored version {version}; `host versions {name}` lists those there are")]
    UnknownVersion {
        /// The workload.
        name: WorkloadName,
        /// What was asked for.
        version: semver::Version,
    },
    /// The request does not fit the workload's state.
    #[error("{0}")]
    Refused(String),
    /// The prepared release is gone.
    #[error("nothing is prepared under {id}: it was used, or it expired after 60 s; prepare it again")]
    NotPrepared {
        /// What was asked for.
        id: u64,
    },
    /// A call was answered with an error.
    #[error("{name} answered: {message}")]
    CallFailed {
        /// The workload.
        name: WorkloadName,
        /// Its words.
        message: String,
    },
    /// A call was not answered in time.
    #[error("{name} did not answer within {limit:?}; it may still do what was asked")]
    CallTimedOut {
        /// The workload.
        name: WorkloadName,
        /// The limit.
        limit: std::time::Duration,
    },
    /// The artifact can't be stored or read.
    #[error("{0}")]
    Artifact(String),
    /// The ledger failed.
    #[error("the ledger failed; what ran goes on")]
    Ledger(#[from] LedgerError),
    /// The host is stopping.
    #[error("the host is stopping; ask again when it is up")]
    Stopping,
}

fn list(names: &[WorkloadName]) -> String {
    if names.is_empty() {
        return "there are none yet: `host deploy FILE --version V --listen tcp://ADDR` starts one".to_owned();
    }
    let names: Vec<_> = names.iter().map(WorkloadName::as_str).collect();
    format!("there is {}", names.join(", "))
}

/// Why the ledger failed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// SQLite.
    #[error("SQLite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A row that this host does not understand.
    #[error("a row does not read back: {0}")]
    Row(#[from] serde_json::Error),
    /// Written by a newer host.
    #[error("the ledger has layout {found}, this host knows {known}; use the newer host")]
    Newer {
        /// The layout on disk.
        found: i64,
        /// The newest this host knows.
        known: i64,
    },
    /// The thread that works on it is gone.
    #[error("the host is stopping")]
    Stopping,
}

/// Why a checkpoint can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file can't be read or written.
    #[error("checkpoint {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The bytes are not what was written.
    #[error("checkpoint {} is damaged: {what}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How.
        what: &'static str,
    },
}

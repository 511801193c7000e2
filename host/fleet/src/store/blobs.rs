//! Components in rows of equal length, so that a host that was cut off goes on where it stopped.

use host_core::id::Digest;
use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};

use super::{ARTIFACT_LIMIT_BYTES, CHUNK_BYTES, Result, StoreError};

pub(super) const TABLES: &str = "
    CREATE TABLE blobs (digest TEXT PRIMARY KEY, size INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE chunks (digest TEXT NOT NULL, part INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (digest, part));
";

pub(super) fn put(database: &mut Connection, digest: Digest, bytes: &[u8]) -> Result<()> {
    if bytes.len() as u64 > ARTIFACT_LIMIT_BYTES {
        return Err(StoreError::TooLarge);
    }
    let found = Digest::new(Sha256::digest(bytes).into());
    if found != digest {
        return Err(StoreError::WrongDigest { wanted: digest, found });
    }
    let transaction = database.transaction()?;
    let key = digest.to_string();
    let new = transaction
        .execute("INSERT OR IGNORE INTO blobs (digest, size) VALUES (?1, ?2)", params![key, bytes.len() as u64])?;
    if new == 1 {
        let mut chunk = transaction.prepare("INSERT INTO chunks (digest, part, bytes) VALUES (?1, ?2, ?3)")?;
        for (part, bytes) in bytes.chunks(CHUNK_BYTES).enumerate() {
            chunk.execute(params![key, part, bytes])?;
        }
    }
    Ok(transaction.commit()?)
}

/// From `offset` to the end of the row that has it.
pub(super) fn get(database: &Connection, digest: Digest, offset: u64) -> Result<Option<Vec<u8>>> {
    let key = digest.to_string();
    let size: Option<u64> =
        database.query_row("SELECT size FROM blobs WHERE digest = ?1", [&key], |row| row.get(0)).optional()?;
    let Some(size) = size else { return Ok(None) };
    if offset >= size {
        return Ok(Some(Vec::new()));
    }
    let (part, within) = (offset / CHUNK_BYTES as u64, offset % CHUNK_BYTES as u64);
    // SQLite counts from 1.
    let bytes = database.query_row(
        "SELECT substr(bytes, ?3) FROM chunks WHERE digest = ?1 AND part = ?2",
        params![key, part, within + 1],
        |row| row.get(0),
    )?;
    Ok(Some(bytes))
}

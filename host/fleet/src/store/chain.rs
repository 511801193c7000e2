//! The audit log's chain: an entry's hash covers the one before it, so that none can be changed, taken out or put in without
//! all later ones being wrong.
//!
//! What it does *not* do: it can't show that the newest entries were cut off, nor that the whole log was written anew. Whoever
//! must know that keeps the last hash elsewhere.

use host_core::id::Digest;
use sha2::{Digest as _, Sha256};

use super::AuditEntry;

/// The first entry's predecessor.
pub(super) const ROOT: Digest = Digest::new([0; 32]);

/// An entry that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainBroken {
    /// Its hash is another.
    #[error("entry {seq} of the audit log was changed, or one before it taken out or put in")]
    Changed {
        /// Its number.
        seq: u64,
    },
    /// Its number does not follow.
    #[error("entry {wanted} of the audit log is missing: {found} follows")]
    Missing {
        /// The number that should be there.
        wanted: u64,
        /// The one that is.
        found: u64,
    },
}

/// An entry's hash. Each field is preceded by its length, so that no two entries read the same.
pub(super) fn hash(before: Digest, entry: &AuditEntry) -> Digest {
    let mut sha = Sha256::new();
    sha.update(before.as_bytes());
    sha.update(entry.seq.to_be_bytes());
    sha.update(entry.at.0.to_be_bytes());
    for field in [&entry.who, &entry.what, &entry.target, &entry.result] {
        sha.update((field.len() as u64).to_be_bytes());
        sha.update(field.as_bytes());
    }
    Digest::new(sha.finalize().into())
}

/// Checks entries that follow `before`, and gives the last hash.
pub(super) fn verify<'a>(
    mut before: Digest,
    mut seq: u64,
    entries: impl IntoIterator<Item = &'a AuditEntry>,
) -> Result<(Digest, u64), ChainBroken> {
    for entry in entries {
        if entry.seq != seq + 1 {
            return Err(ChainBroken::Missing { wanted: seq + 1, found: entry.seq });
        }
        if hash(before, entry) != entry.hash {
            return Err(ChainBroken::Changed { seq: entry.seq });
        }
        (before, seq) = (entry.hash, entry.seq);
    }
    Ok((before, seq))
}

//! Bytes that were just seen to have their digest.

use bytes::Bytes;
use host_core::id::Digest;
use sha2::{Digest as _, Sha256};

/// A component whose bytes have the digest it goes by. There is no other way to get one than to hash the bytes.
#[derive(Clone, Debug)]
pub struct VerifiedArtifact {
    digest: Digest,
    bytes: Bytes,
}

/// Bytes that are not what they are said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes have digest {found}, not {expected}")]
pub struct VerifyError {
    /// The digest they should have.
    pub expected: Digest,
    /// The digest they have.
    pub found: Digest,
}

impl VerifiedArtifact {
    /// Takes bytes under the digest they turn out to have.
    #[must_use]
    pub fn of(bytes: Bytes) -> Self {
        Self { digest: digest(&bytes), bytes }
    }

    /// Takes bytes that should have this digest.
    ///
    /// # Errors
    /// They have another one.
    pub fn verify(expected: Digest, bytes: Bytes) -> Result<Self, VerifyError> {
        let artifact = Self::of(bytes);
        if artifact.digest == expected { Ok(artifact) } else { Err(VerifyError { expected, found: artifact.digest }) }
    }

    /// Its digest.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// SHA-256 of `bytes`.
pub(super) fn digest(bytes: &[u8]) -> Digest {
    Digest::new(Sha256::digest(bytes).into())
}

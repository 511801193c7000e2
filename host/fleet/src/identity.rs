//! Who belongs to a fleet, and how that is shown: its authority, its members' certificates, and the tokens to join with.
//!
//! - [`authority`] is the fleet's own small CA, on the coordinator's machine. It signs what is shown to it; whom it signs
//!   for is decided by [`token`].
//! - [`subject`] is the one place where a certificate's name is written and read; [`certificate`] the one where a
//!   certificate is believed or refused.
//! - [`request`] is a member's key and the request to sign it. The key never leaves the machine that made it.
//! - [`folder`] keeps a member's identity on disk.
//!
//! Refuses by design: other keys than ECDSA on P-256 (one algorithm everywhere: nothing to negotiate down), chains of
//! authorities, certificates that name more than one subject. Renewal and revocation are not here.

pub mod address;
pub mod authority;
pub mod certificate;
mod files;
pub mod folder;
pub mod request;
pub mod subject;
pub mod token;

pub use address::CoordinatorAddress;
pub use authority::{Authority, AuthorityError};
pub use certificate::{AuthorityCertificate, CertificateRefusal, KeyHash, Member, Serial};
pub use folder::{Folder, FolderError, Identity};
pub use request::{CertificateRequest, InvalidRequest, PrivateKey};
pub use subject::{FleetId, Kind, Subject, SubjectName};
pub use token::{JoinToken, Joiner, LabelRule, StoredToken, TokenId, TokenRefusal};

/// The one provider of cryptography.
pub(crate) fn provider() -> std::sync::Arc<rustls::crypto::CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<std::sync::Arc<rustls::crypto::CryptoProvider>> = std::sync::OnceLock::new();
    std::sync::Arc::clone(PROVIDER.get_or_init(|| std::sync::Arc::new(rustls::crypto::ring::default_provider())))
}

/// The machine gives no random bytes; nothing secret can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes, and without them no key, serial or token can be made")]
pub struct NoRandomness;

/// Bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    provider().secure_random.fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

//! A member's identity, and where it is kept on disk.
//!
//! A folder holds the key (`key.der`, PKCS #8), the authority's certificate (`authority.der`), where the coordinator is
//! reached (`coordinator`) and last the certificate (`certificate.der`): while that one is missing, nobody joined yet.
//! Only its owner may read it. Copied to a second machine it is the same member twice, and the newest session wins.

use std::{
    io,
    path::{Path, PathBuf},
};

use host_core::time::UnixNanos;
use rustls::pki_types::CertificateDer;

use super::{
    address::CoordinatorAddress,
    certificate::{AuthorityCertificate, CertificateRefusal, Member},
    files,
    request::{KeyError, PrivateKey},
};

const KEY: &str = "key.der";
const AUTHORITY: &str = "authority.der";
const COORDINATOR: &str = "coordinator";
const CERTIFICATE: &str = "certificate.der";

/// A member's key and certificate, which belong together.
#[derive(Debug)]
pub struct Identity {
    key: PrivateKey,
    certificate: CertificateDer<'static>,
    member: Member,
    authority: AuthorityCertificate,
}

impl Identity {
    pub(super) const fn new(
        key: PrivateKey,
        certificate: CertificateDer<'static>,
        member: Member,
        authority: AuthorityCertificate,
    ) -> Self {
        Self { key, certificate, member, authority }
    }

    /// Takes a certificate that was handed out for this key.
    ///
    /// # Errors
    /// When it is not signed by this authority, not valid, or for another key.
    pub fn try_new(
        key: PrivateKey,
        certificate: Vec<u8>,
        authority: AuthorityCertificate,
        now: UnixNanos,
    ) -> Result<Self, UnfitCertificate> {
        let member = authority.verify(&certificate, now)?;
        if member.key != key.hash() {
            return Err(UnfitCertificate::OtherKey);
        }
        Ok(Self { key, certificate: CertificateDer::from(certificate), member, authority })
    }

    /// Who this is.
    #[must_use]
    pub const fn member(&self) -> &Member {
        &self.member
    }

    /// Whom it trusts.
    #[must_use]
    pub const fn authority(&self) -> &AuthorityCertificate {
        &self.authority
    }

    /// Its certificate.
    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(crate) const fn key(&self) -> &PrivateKey {
        &self.key
    }
}

/// A certificate that does not make an identity with this key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitCertificate {
    /// It is not to be believed.
    #[error(transparent)]
    Refused(#[from] CertificateRefusal),
    /// It is somebody else's.
    #[error("the certificate is for another key")]
    OtherKey,
}

/// An identity can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Nobody joined from here.
    #[error(
        "there is no identity in {}: join a fleet first, with a token that `host fleet token create` prints on its \
         coordinator", folder.display()
    )]
    NotJoined {
        /// The folder.
        folder: PathBuf,
    },
    /// Others may read the key.
    #[error(
        "{} may be read by others (mode {mode:03o}), who could act as this member. If nobody did, `chmod 600` it and start \
         again; if in doubt, remove {} and join anew", key.display(), folder.display()
    )]
    Exposed {
        /// The folder.
        folder: PathBuf,
        /// The key.
        key: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file is not what was written.
    #[error("{} is damaged; remove {} and join the fleet anew with a new token", file.display(), folder.display())]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// The file.
        file: PathBuf,
    },
    /// The certificate is not valid any more, or never was.
    #[error("the identity in {} can't be used: {why}; {}", folder.display(), why.remedy())]
    Refused {
        /// The folder.
        folder: PathBuf,
        /// Why.
        why: CertificateRefusal,
    },
    /// No key can be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The system refuses.
    #[error("{} can't be read or written", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Its word.
        #[source]
        source: io::Error,
    },
}

/// Where an identity is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Says where; touches nothing.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key, made if there is none. It is kept before it is shown to anybody, so that joining again after an answer was
    /// lost is the same joiner's second try.
    ///
    /// # Errors
    /// When it can't be read or written, is damaged, or others may read it.
    pub fn key(&self) -> Result<PrivateKey, FolderError> {
        let path = self.path.join(KEY);
        match files::exposed(&path) {
            Ok(None) => {
                let pkcs8 = files::read(&path).map_err(failed(&path))?;
                PrivateKey::read(&pkcs8).map_err(|_| self.damaged(&path))
            }
            Ok(Some(mode)) => Err(FolderError::Exposed { folder: self.path.clone(), key: path, mode }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = PrivateKey::generate()?;
                files::create_folder(&self.path).map_err(failed(&self.path))?;
                files::write(&path, key.pkcs8()).map_err(failed(&path))?;
                Ok(key)
            }
            Err(source) => Err(failed(&path)(source)),
        }
    }

    /// Keeps an identity, and where its coordinator is reached. The certificate is written last: only with it does the
    /// identity exist.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn save(&self, identity: &Identity, address: &CoordinatorAddress) -> Result<(), FolderError> {
        files::create_folder(&self.path).map_err(failed(&self.path))?;
        let address = address.to_string();
        for (name, contents) in [
            (KEY, identity.key.pkcs8()),
            (AUTHORITY, identity.authority.der().as_ref()),
            (COORDINATOR, address.as_bytes()),
            (CERTIFICATE, identity.certificate.as_ref()),
        ] {
            let path = self.path.join(name);
            files::write(&path, contents).map_err(failed(&path))?;
        }
        Ok(())
    }

    /// The identity kept here.
    ///
    /// # Errors
    /// When nobody joined from here, or what is here can't be used.
    pub fn load(&self, now: UnixNanos) -> Result<Identity, FolderError> {
        let path = self.path.join(CERTIFICATE);
        let certificate = match files::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(FolderError::NotJoined { folder: self.path.clone() });
            }
            read => read.map_err(failed(&path))?,
        };
        let key_path = self.path.join(KEY);
        if !key_path.exists() {
            return Err(self.damaged(&key_path));
        }
        let key = self.key()?;
        let authority_path = self.path.join(AUTHORITY);
        let authority = files::read(&authority_path).map_err(failed(&authority_path))?;
        let authority = AuthorityCertificate::read(&authority).map_err(|_| self.damaged(&authority_path))?;
        Identity::try_new(key, certificate, authority, now).map_err(|unfit| match unfit {
            UnfitCertificate::Refused(
                why @ (CertificateRefusal::Expired { .. } | CertificateRefusal::NotYet { .. }),
            ) => FolderError::Refused { folder: self.path.clone(), why },
            _ => self.damaged(&path),
        })
    }

    /// Where the coordinator is reached.
    ///
    /// # Errors
    /// When nobody joined from here, or the file is damaged.
    pub fn coordinator(&self) -> Result<CoordinatorAddress, FolderError> {
        let path = self.path.join(COORDINATOR);
        match files::read(&path) {
            Ok(text) => {
                let text = String::from_utf8(text).map_err(|_| self.damaged(&path))?;
                text.trim().parse().map_err(|_| self.damaged(&path))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(FolderError::NotJoined { folder: self.path.clone() })
            }
            Err(source) => Err(failed(&path)(source)),
        }
    }

    /// Says where the coordinator is reached from now on.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn set_coordinator(&self, address: &CoordinatorAddress) -> Result<(), FolderError> {
        let path = self.path.join(COORDINATOR);
        files::write(&path, address.to_string().as_bytes()).map_err(failed(&path))
    }

    fn damaged(&self, file: &Path) -> FolderError {
        FolderError::Damaged { folder: self.path.clone(), file: file.to_owned() }
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    |source| FolderError::Io { path, source }
}

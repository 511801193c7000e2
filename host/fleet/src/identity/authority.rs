//! A fleet's own authority: it signs the certificates of the fleet's members, and nothing else.
//!
//! Its key lies in the coordinator's data directory (`identity/authority`, readable by its owner alone) and never leaves
//! it. It is made once; nothing here replaces it. Beside it lies the identity of the local operator
//! (`identity/operator`), so that the command line on the coordinator's machine works at once.
//!
//! Costs: whoever reads that directory is the fleet. Certificates are not renewed and not revoked yet, so their times are
//! long.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use host_core::time::UnixNanos;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType, SerialNumber, string::Ia5String,
};
use rustls::pki_types::CertificateDer;

use super::{
    NoRandomness,
    address::CoordinatorAddress,
    certificate::{AuthorityCertificate, CertificateRefusal, Serial},
    files,
    folder::{Folder, FolderError, Identity},
    request::{CertificateRequest, KeyError, PrivateKey, called},
    subject::{self, FleetId, Kind, Subject, SubjectName},
    token::Joiner,
};

const DAY: Duration = Duration::from_hours(24);
/// How long an authority is valid: longer than its machines. To replace it means to join every host anew.
pub const AUTHORITY_VALIDITY: Duration = DAY.saturating_mul(20 * 365);
/// How long a member is: as long as nothing renews certificates, one that ran out would take a host from the fleet at a
/// moment that nobody chose. A coordinator's is made anew at each of its starts.
pub const MEMBER_VALIDITY: Duration = DAY.saturating_mul(5 * 365);
/// How far certificates reach back: a machine whose clock is that much behind takes them all the same.
pub const CLOCK_TOLERANCE: Duration = Duration::from_hours(1);

const ROOM: &str = "identity";
const AUTHORITY: &str = "authority";
const OPERATOR: &str = "operator";
const KEY: &str = "key.der";
const CERTIFICATE: &str = "certificate.der";

/// The authority can't be made, found or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// There is one already.
    #[error(
        "there is a fleet in {} already; nothing was changed. Start it with `host coordinator --data {}`, or choose another \
         directory: a new authority would lock out every host that joined", data.display(), data.display()
    )]
    Exists {
        /// The data directory.
        data: PathBuf,
    },
    /// There is none.
    #[error("there is no fleet in {}; make one with `host fleet init --data {}`", data.display(), data.display())]
    NotThere {
        /// The data directory.
        data: PathBuf,
    },
    /// Others may read the key.
    #[error(
        "{} may be read by others (mode {mode:03o}); whoever has it can join as anybody. If nobody did, \
         `chmod 600` it and start again", key.display()
    )]
    Exposed {
        /// The key.
        key: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The files are not what they were.
    #[error("the fleet's authority in {} is damaged: {what}; restore {ROOM}/ of {} from a backup", data.display(), data.display())]
    Damaged {
        /// The data directory.
        data: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The system refuses.
    #[error("{} can't be read or written", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Its word.
        #[source]
        source: io::Error,
    },
    /// The operator's identity can't be written.
    #[error(transparent)]
    Operator(#[from] FolderError),
    /// Nothing can be signed.
    #[error("the authority can't sign")]
    Signing(#[source] KeyError),
    /// What was signed would not be believed: the clock stands where no certificate is valid, or a defect.
    #[error("the certificate that was just made would not be believed")]
    Unsound(#[source] CertificateRefusal),
    /// No random bytes.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

impl From<rcgen::Error> for AuthorityError {
    fn from(source: rcgen::Error) -> Self {
        Self::Signing(source.into())
    }
}

impl From<KeyError> for AuthorityError {
    fn from(source: KeyError) -> Self {
        Self::Signing(source)
    }
}

/// Where the local operator's identity lies in a coordinator's data directory.
#[must_use]
pub fn operator_folder(data: &Path) -> Folder {
    Folder::new(data.join(ROOM).join(OPERATOR))
}

/// Makes a fleet in this data directory: its authority, and the identity of the local operator of this name, who will look
/// for the coordinator at `address`. After a crash there is a whole one or none.
///
/// # Errors
/// When there is one already, or the directory can't be written.
pub fn init(
    data: &Path,
    operator: SubjectName,
    address: &CoordinatorAddress,
    now: UnixNanos,
) -> Result<Authority, AuthorityError> {
    let room = data.join(ROOM);
    if room.exists() {
        return Err(AuthorityError::Exists { data: data.to_owned() });
    }
    let authority = Authority::generate(now)?;
    // Built beside, then named: the name appears with everything in it.
    let beside = data.join(format!("{ROOM}.{}.new", Serial::draw()?));
    let made = authority.write(&beside, operator, address, now).and_then(|()| match fs::rename(&beside, &room) {
        Ok(()) => files::sync_folder(data).map_err(failed(data)),
        // Somebody else was faster: a folder with something in it is not replaced.
        Err(_) if room.exists() => Err(AuthorityError::Exists { data: data.to_owned() }),
        Err(source) => Err(failed(&room)(source)),
    });
    if made.is_err() {
        // What is left, if even this fails, is a key that signed nothing.
        let _ = fs::remove_dir_all(&beside);
    }
    made.map(|()| authority)
}

/// A fleet's authority, able to sign.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pkcs8: Pkcs8,
    certificate: AuthorityCertificate,
}

/// The bytes of the key, which show themselves to nobody.
struct Pkcs8(Vec<u8>);

impl std::fmt::Debug for Pkcs8 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[a key]")
    }
}

impl Authority {
    /// Makes one that lies nowhere yet.
    ///
    /// # Errors
    /// When the machine gives no random bytes.
    pub fn generate(now: UnixNanos) -> Result<Self, AuthorityError> {
        let fleet = FleetId::draw()?;
        let key = PrivateKey::generate()?;
        let mut params = params(&format!("hotswap fleet {fleet}"), &subject::authority_uri(fleet))?;
        valid(&mut params, now, now.after(AUTHORITY_VALIDITY));
        // It signs members, never another authority.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(key.pair())?;
        Self::of(key, certificate.der())
    }

    /// The one in this data directory.
    ///
    /// # Errors
    /// When there is none, it is damaged, or others may read its key.
    pub fn load(data: &Path) -> Result<Self, AuthorityError> {
        let folder = data.join(ROOM).join(AUTHORITY);
        if !folder.exists() {
            return Err(AuthorityError::NotThere { data: data.to_owned() });
        }
        let damaged = |what: String| AuthorityError::Damaged { data: data.to_owned(), what };
        let key = folder.join(KEY);
        if let Some(mode) = files::exposed(&key).map_err(failed(&key))? {
            return Err(AuthorityError::Exposed { key, mode });
        }
        let pkcs8 = files::read(&key).map_err(failed(&key))?;
        let certificate = folder.join(CERTIFICATE);
        let certificate = files::read(&certificate).map_err(failed(&certificate))?;
        let key = PrivateKey::read(&pkcs8).map_err(|_| damaged(format!("{KEY} is no key")))?;
        let belongs = AuthorityCertificate::read(&certificate).is_ok_and(|read| read.key() == key.hash());
        if !belongs {
            return Err(damaged(format!("{CERTIFICATE} is not that of {KEY}")));
        }
        Self::of(key, &CertificateDer::from(certificate))
    }

    fn of(key: PrivateKey, certificate: &CertificateDer<'_>) -> Result<Self, AuthorityError> {
        let read = AuthorityCertificate::read(certificate).map_err(AuthorityError::Unsound)?;
        let pkcs8 = Pkcs8(key.pkcs8().to_vec());
        let issuer = Issuer::from_ca_cert_der(certificate, key.into_pair())?;
        Ok(Self { issuer, pkcs8, certificate: read })
    }

    /// Its certificate: what members trust.
    #[must_use]
    pub const fn certificate(&self) -> &AuthorityCertificate {
        &self.certificate
    }

    /// The fleet.
    #[must_use]
    pub const fn fleet(&self) -> FleetId {
        self.certificate.fleet()
    }

    /// Signs a request. That the asker may be what it asks to be was decided before ([`token::admit`](super::token::admit)).
    ///
    /// # Errors
    /// When the machine gives no random bytes.
    pub fn sign(
        &self,
        request: &CertificateRequest,
        joiner: Joiner,
        now: UnixNanos,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        self.issue(joiner.into(), request.name().clone(), request.public_key(), now)
    }

    /// Makes a key and signs it: for a member on this machine, the coordinator itself or the local operator.
    ///
    /// # Errors
    /// When the machine gives no random bytes.
    pub fn identity(&self, kind: Kind, name: SubjectName, now: UnixNanos) -> Result<Identity, AuthorityError> {
        let key = PrivateKey::generate()?;
        let certificate = self.issue(kind, name, key.pair(), now)?;
        let member = self.certificate.verify(&certificate, now).map_err(AuthorityError::Unsound)?;
        Ok(Identity::new(key, certificate, member, self.certificate.clone()))
    }

    fn issue(
        &self,
        kind: Kind,
        name: SubjectName,
        key: &impl PublicKeyData,
        now: UnixNanos,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        let subject = Subject { fleet: self.fleet(), kind, name };
        let mut params = params(&subject.to_string(), &subject.uri())?;
        // Never beyond the authority's own end: what is valid then has nobody who answers for it.
        valid(&mut params, now, now.after(MEMBER_VALIDITY).min(self.certificate.until));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match kind {
            Kind::Host | Kind::Operator => ExtendedKeyUsagePurpose::ClientAuth,
            Kind::Coordinator => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(key, &self.issuer)?.der().clone())
    }

    fn write(
        &self,
        room: &Path,
        operator: SubjectName,
        address: &CoordinatorAddress,
        now: UnixNanos,
    ) -> Result<(), AuthorityError> {
        let folder = room.join(AUTHORITY);
        files::create_folder(&folder).map_err(failed(&folder))?;
        for (name, contents) in [(KEY, self.pkcs8.0.as_slice()), (CERTIFICATE, self.certificate.der().as_ref())] {
            let path = folder.join(name);
            files::write(&path, contents).map_err(failed(&path))?;
        }
        let operator = self.identity(Kind::Operator, operator, now)?;
        Folder::new(room.join(OPERATOR)).save(&operator, address)?;
        files::sync_folder(room).map_err(failed(room))
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> AuthorityError {
    let path = path.to_owned();
    |source| AuthorityError::Io { path, source }
}

fn params(called_by_people: &str, uri: &str) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = called(called_by_people);
    params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(uri)?)];
    params.serial_number = Some(SerialNumber::from_slice(Serial::draw()?.as_bytes()));
    Ok(params)
}

fn valid(params: &mut CertificateParams, now: UnixNanos, until: UnixNanos) {
    let seconds = |at: UnixNanos| Duration::from_secs(at.0 / 1_000_000_000);
    let start = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = start + seconds(now).saturating_sub(CLOCK_TOLERANCE);
    params.not_after = start + seconds(until);
}

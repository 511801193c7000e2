//! Where a certificate is believed or refused, and in which words.
//!
//! Nothing that a certificate says is used before its signature was checked against the fleet's authority, except to word
//! the refusal.

use std::{fmt, str::FromStr, sync::Arc};

use host_core::{
    hex,
    id::{Digest, InvalidDigest},
    time::UnixNanos,
};
use rustls::{
    CertificateError, RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    pki_types::{CertificateDer, UnixTime},
    server::{ParsedCertificate, WebPkiClientVerifier},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use x509_parser::{extensions::GeneralName, prelude::X509Certificate};

use super::{
    NoRandomness, provider, random,
    subject::{self, FleetId, Kind, Subject},
};
use crate::clock::written;

/// Longest certificate that is looked at; one of a fleet has about 600 bytes.
pub const CERTIFICATE_LIMIT_BYTES: usize = 8 << 10;

/// SHA-256 of a public key (of its `SubjectPublicKeyInfo`): who holds it, whatever certificates say of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHash(Digest);

impl KeyHash {
    /// The hash of this `SubjectPublicKeyInfo`.
    pub(crate) fn of(public_key_info: &[u8]) -> Self {
        Self(Digest::new(Sha256::digest(public_key_info).into()))
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl From<Digest> for KeyHash {
    fn from(digest: Digest) -> Self {
        Self(digest)
    }
}

impl From<KeyHash> for Digest {
    fn from(key: KeyHash) -> Self {
        key.0
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({self})")
    }
}

impl FromStr for KeyHash {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Only as it is written: a token has one form.
        let bytes = hex::read(text).ok_or_else(|| InvalidDigest { text: text.to_owned() })?;
        Ok(Self(Digest::new(bytes)))
    }
}

/// Serial number of a certificate: 16 random bytes, so that no counter must be kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial([u8; 16]);

impl Serial {
    /// One that there is not yet.
    pub(super) fn draw() -> Result<Self, NoRandomness> {
        let mut bytes: [u8; 16] = random()?;
        if let Some(first) = bytes.first_mut() {
            // Positive, and always of the same length.
            *first = *first & 0x3f | 0x40;
        }
        Ok(Self(bytes))
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(&self.0, f)
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

/// A certificate's holder, believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub subject: Subject,
    /// By which certificate. The same certificate in two processes is a copied identity.
    pub serial: Serial,
    /// With which key.
    pub key: KeyHash,
    /// Until when.
    pub until: UnixNanos,
}

/// Why a certificate is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefusal {
    /// It is no certificate, or too long to be one.
    #[error("the certificate can't be read")]
    Unreadable,
    /// It names nobody of a fleet.
    #[error("the certificate names no member of a hotswap fleet")]
    NotOfAFleet,
    /// Another authority signed it.
    #[error("the certificate of {subject} was signed by the authority of fleet {}, and this is fleet {ours}", subject.fleet)]
    OtherFleet {
        /// Whom it names.
        subject: Subject,
        /// Which fleet was asked.
        ours: FleetId,
    },
    /// It says it is of this fleet, but its authority did not sign it.
    #[error("the certificate of {subject} names fleet {}, whose authority did not sign it", subject.fleet)]
    Forged {
        /// Whom it names.
        subject: Subject,
    },
    /// Its time is over.
    #[error("the certificate of {subject} expired at {}", written(*until))]
    Expired {
        /// Whom it names.
        subject: Subject,
        /// When.
        until: UnixNanos,
    },
    /// Its time has not come.
    #[error("the certificate of {subject} is valid only from {} on", written(*from))]
    NotYet {
        /// Whom it names.
        subject: Subject,
        /// When.
        from: UnixNanos,
    },
    /// It is sound, but another kind of member is wanted here.
    #[error("the certificate is that of {subject}; here {wanted} is wanted")]
    WrongKind {
        /// Whom it names.
        subject: Subject,
        /// Who would be right.
        wanted: &'static str,
    },
}

impl CertificateRefusal {
    /// What the certificate's holder can do.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable | Self::NotOfAFleet => {
                "use the identity that `host fleet init` or joining the fleet made, not another certificate"
            }
            Self::OtherFleet { .. } => {
                "check the coordinator's address; to move to its fleet, join it with a token of its own and a new data \
                 directory"
            }
            Self::Forged { .. } => {
                "the fleet's authority was made anew, or somebody pretends: join again with a new token and a new data \
                 directory"
            }
            Self::Expired { .. } => {
                "check the clocks of both machines; if they are right, join again with a new token (`host fleet token create`)"
            }
            Self::NotYet { .. } => "check the clocks of both machines: one of them is wrong",
            Self::WrongKind { .. } => {
                "use the identity that was made for this: a host's to run, an operator's to give orders"
            }
        }
    }
}

/// The certificate of a fleet's authority: what its members trust.
#[derive(Clone, Debug)]
pub struct AuthorityCertificate {
    der: CertificateDer<'static>,
    fleet: FleetId,
    key: KeyHash,
    pub(super) until: UnixNanos,
    anchors: Arc<RootCertStore>,
}

impl AuthorityCertificate {
    /// Reads it. That it is the right one, only its key's hash tells.
    ///
    /// # Errors
    /// When it is no certificate of a fleet's authority.
    pub fn read(der: &[u8]) -> Result<Self, CertificateRefusal> {
        let parsed = parse(der)?;
        let fleet = uri(&parsed).and_then(subject::read_authority).ok_or(CertificateRefusal::NotOfAFleet)?;
        if !parsed.is_ca() {
            return Err(CertificateRefusal::NotOfAFleet);
        }
        let key = KeyHash::of(parsed.tbs_certificate.subject_pki.raw);
        let until = moment(parsed.validity().not_after.timestamp());
        let der = CertificateDer::from(der.to_vec());
        let mut anchors = RootCertStore::empty();
        anchors.add(der.clone()).map_err(|_| CertificateRefusal::Unreadable)?;
        Ok(Self { der, fleet, key, until, anchors: Arc::new(anchors) })
    }

    /// Its bytes.
    #[must_use]
    pub const fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The fleet.
    #[must_use]
    pub const fn fleet(&self) -> FleetId {
        self.fleet
    }

    /// The hash of its key, as join tokens name it.
    #[must_use]
    pub const fn key(&self) -> KeyHash {
        self.key
    }

    /// Whether this authority signed the certificate for the member it names, and it is valid now.
    ///
    /// # Errors
    /// Says why it is not to be believed.
    pub fn verify(&self, certificate: &[u8], now: UnixNanos) -> Result<Member, CertificateRefusal> {
        let Facts { member, from } = Facts::read(certificate)?;
        // Asked for the certificate's own first moment, so that a wrong signature is not told as a wrong time.
        if !self.signed(&CertificateDer::from(certificate), member.subject.kind, from)? {
            let subject = member.subject;
            let ours = self.fleet;
            return Err(if subject.fleet == ours {
                CertificateRefusal::Forged { subject }
            } else {
                CertificateRefusal::OtherFleet { subject, ours }
            });
        }
        if member.subject.fleet != self.fleet {
            return Err(CertificateRefusal::OtherFleet { subject: member.subject, ours: self.fleet });
        }
        if now < from {
            return Err(CertificateRefusal::NotYet { subject: member.subject, from });
        }
        if now >= member.until {
            return Err(CertificateRefusal::Expired { subject: member.subject, until: member.until });
        }
        Ok(member)
    }

    /// Whether the signature is this authority's, and the certificate made for what its kind does. No other certificate may
    /// stand between the two.
    fn signed(&self, certificate: &CertificateDer<'_>, kind: Kind, at: UnixNanos) -> Result<bool, CertificateRefusal> {
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_nanos(at.0));
        let provider = provider();
        let checked = match kind {
            Kind::Coordinator => {
                let parsed = ParsedCertificate::try_from(certificate).map_err(|_| CertificateRefusal::Unreadable)?;
                let algorithms = provider.signature_verification_algorithms.all;
                verify_server_cert_signed_by_trust_anchor(&parsed, &self.anchors, &[], at, algorithms)
            }
            Kind::Host | Kind::Operator => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.anchors), provider)
                    .build()
                    .map_err(|_| CertificateRefusal::Unreadable)?;
                verifier.verify_client_cert(certificate, &[], at).map(|_| ())
            }
        };
        match checked {
            Ok(()) => Ok(true),
            Err(rustls::Error::InvalidCertificate(CertificateError::BadEncoding)) => {
                Err(CertificateRefusal::Unreadable)
            }
            // Unknown issuer, wrong signature, wrong purpose: this authority makes none of these.
            Err(_) => Ok(false),
        }
    }
}

/// What a certificate says of itself; nothing of it is believed yet.
struct Facts {
    member: Member,
    from: UnixNanos,
}

impl Facts {
    fn read(der: &[u8]) -> Result<Self, CertificateRefusal> {
        let parsed = parse(der)?;
        let subject = uri(&parsed).and_then(subject::read).ok_or(CertificateRefusal::NotOfAFleet)?;
        let serial = <[u8; 16]>::try_from(parsed.raw_serial()).map_err(|_| CertificateRefusal::Unreadable)?;
        let validity = parsed.validity();
        let (from, until) = (moment(validity.not_before.timestamp()), moment(validity.not_after.timestamp()));
        let key = KeyHash::of(parsed.tbs_certificate.subject_pki.raw);
        Ok(Self { member: Member { subject, serial: Serial(serial), key, until }, from })
    }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateRefusal> {
    if der.len() > CERTIFICATE_LIMIT_BYTES {
        return Err(CertificateRefusal::Unreadable);
    }
    match x509_parser::parse_x509_certificate(der) {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err(CertificateRefusal::Unreadable),
    }
}

/// The one URI that it names; none if it names several, since then it is not said which one counts.
fn uri<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    match (uris.next(), uris.next()) {
        (Some(uri), None) => Some(uri),
        _ => None,
    }
}

/// Certificates count in seconds; times before 1970 are taken for 1970.
fn moment(unix_seconds: i64) -> UnixNanos {
    UnixNanos(u64::try_from(unix_seconds).unwrap_or(0).saturating_mul(1_000_000_000))
}

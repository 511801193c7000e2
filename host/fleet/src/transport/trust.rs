//! Whom each side of the port believes.

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

use crate::{
    clock::Clock,
    identity::{AuthorityCertificate, CertificateRefusal, FleetId, KeyHash, Kind, provider},
};

/// How a client knows its coordinator.
#[derive(Clone, Debug)]
pub enum Trust {
    /// By the fleet's authority: a member's way.
    Authority(AuthorityCertificate),
    /// By the hash of the authority's key, out of a join token: the coordinator must show the authority's certificate too.
    Key(KeyHash),
}

/// Why a client does not believe that it reached its coordinator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// Another fleet's coordinator, by the hash in the token.
    #[error("the coordinator belongs to another fleet{} than the join token", named(*fleet))]
    OtherFleet {
        /// Which it says it is of.
        fleet: Option<FleetId>,
    },
    /// What it shows is not believed.
    #[error(transparent)]
    Certificate(#[from] CertificateRefusal),
}

fn named(fleet: Option<FleetId>) -> String {
    fleet.map(|fleet| format!(" ({fleet})")).unwrap_or_default()
}

impl Distrust {
    /// The reason inside a failed handshake, if it failed for this.
    pub(super) fn within(error: &std::io::Error) -> Option<&Self> {
        match error.get_ref()?.downcast_ref()? {
            Error::InvalidCertificate(CertificateError::Other(OtherError(reason))) => reason.downcast_ref(),
            _ => None,
        }
    }
}

impl From<Distrust> for Error {
    fn from(distrust: Distrust) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(std::sync::Arc::new(distrust))))
    }
}

/// Believes a coordinator of the right fleet. The name under which it was reached is not looked at: no other kind of member
/// holds such a certificate.
#[derive(Debug)]
pub(super) struct CoordinatorVerifier {
    pub(super) trust: Trust,
    pub(super) clock: Clock,
}

impl CoordinatorVerifier {
    fn judge(&self, shown: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), Distrust> {
        let now = self.clock.now();
        let member = match &self.trust {
            Trust::Authority(authority) => authority.verify(shown, now)?,
            Trust::Key(key) => {
                let mut authorities =
                    others.iter().filter_map(|other| AuthorityCertificate::read(other).ok()).peekable();
                let fleet = authorities.peek().map(AuthorityCertificate::fleet);
                match authorities.find(|authority| authority.key() == *key) {
                    Some(authority) => authority.verify(shown, now)?,
                    // Nothing of a fleet at all: some other server.
                    None if fleet.is_none() => return Err(CertificateRefusal::NotOfAFleet.into()),
                    None => return Err(Distrust::OtherFleet { fleet }),
                }
            }
        };
        if member.subject.kind == Kind::Coordinator {
            Ok(())
        } else {
            Err(CertificateRefusal::WrongKind { subject: member.subject, wanted: "a coordinator" }.into())
        }
    }
}

impl ServerCertVerifier for CoordinatorVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(end_entity, intermediates)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// Lets every client through whose key fits the certificate that it shows, and those that show none.
///
/// That is no trust: [`Peer::of`](super::Peer::of) decides right after the handshake, and nothing is asked of a connection
/// before.
#[derive(Debug)]
pub(super) struct AnyHolder;

impl ClientCertVerifier for AnyHolder {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // No hints: a client of another fleet shall show what it has, to be told what is wrong with it.
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}

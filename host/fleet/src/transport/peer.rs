//! Who is at the other end of a connection, and what it may ask.

use std::{net::SocketAddr, sync::Arc};

use host_api::{Failure, FailureKind};
use host_core::time::UnixNanos;
use rustls::pki_types::CertificateDer;

use crate::identity::{AuthorityCertificate, CertificateRefusal, Kind, Member};

/// Who a client is, decided when it connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// It shows no certificate: it wants to join.
    Anonymous,
    /// A member of the fleet, which holds the key of its certificate.
    Known(Member),
    /// It shows a certificate that is not believed.
    Refused(CertificateRefusal),
}

impl Peer {
    /// Decides about what a client showed. That it holds the key was proven in the handshake.
    #[must_use]
    pub fn of(shown: Option<&[CertificateDer<'_>]>, authority: &AuthorityCertificate, now: UnixNanos) -> Self {
        let Some(certificate) = shown.and_then(<[_]>::first) else { return Self::Anonymous };
        match authority.verify(certificate, now) {
            Ok(member) if member.subject.kind == Kind::Coordinator => Self::Refused(CertificateRefusal::WrongKind {
                subject: member.subject,
                wanted: "a host or an operator",
            }),
            Ok(member) => Self::Known(member),
            Err(why) => Self::Refused(why),
        }
    }

    /// Whether it is a member of the fleet.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        matches!(self, Self::Known(_))
    }
}

/// Who calls, and from where; an extension of every request that came in over the fleet's port.
#[derive(Clone, Debug)]
pub struct Caller {
    peer: Arc<Peer>,
    address: Option<SocketAddr>,
}

impl Caller {
    pub(super) fn new(peer: Peer, address: Option<SocketAddr>) -> Self {
        Self { peer: Arc::new(peer), address }
    }

    /// Who sent this request. One that did not come over the fleet's port is anonymous.
    #[must_use]
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        request.extensions().get().cloned().unwrap_or_else(|| Self::new(Peer::Anonymous, None))
    }

    /// Who.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// From where.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The member, if it is one of this kind and its certificate is still valid. Ask for each call: connections are kept for
    /// long.
    ///
    /// # Errors
    /// Says to the caller why it is turned away.
    pub fn require(&self, kind: Kind, now: UnixNanos) -> Result<&Member, Failure> {
        let wanted = match kind {
            Kind::Host => "a host",
            Kind::Operator => "an operator",
            Kind::Coordinator => "a coordinator",
        };
        match &*self.peer {
            Peer::Anonymous => {
                let what = format!("this needs the certificate of {wanted}, and none was shown");
                Err(Failure::new(FailureKind::Refused, what)
                    .remedy("join the fleet first, with a token that `host fleet token create` prints"))
            }
            Peer::Refused(why) => Err(turned_away(why)),
            Peer::Known(member) if now >= member.until => {
                let subject = member.subject.clone();
                Err(turned_away(&CertificateRefusal::Expired { subject, until: member.until }))
            }
            Peer::Known(member) if member.subject.kind != kind => {
                Err(turned_away(&CertificateRefusal::WrongKind { subject: member.subject.clone(), wanted }))
            }
            Peer::Known(member) => Ok(member),
        }
    }
}

fn turned_away(why: &CertificateRefusal) -> Failure {
    Failure::new(FailureKind::Refused, format!("the coordinator refuses the connection: {why}")).remedy(why.remedy())
}

//! Reaches a coordinator.

use std::{io, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, client::Resumption, pki_types::ServerName, version::TLS13};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::Channel;

use super::{
    ALPN,
    limits::{self, CONNECT_LIMIT},
    trust::{CoordinatorVerifier, Distrust, Trust},
};
use crate::{
    clock::Clock,
    identity::{CertificateRefusal, CoordinatorAddress, Identity, provider},
};

/// How long a coordinator may take for its side of the handshake: as long as it gives its clients.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// No connection to a coordinator came about. Nothing was asked of anybody.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers there.
    #[error("no coordinator is reached at {address}: check the address, and that `host coordinator` runs there")]
    Unreachable {
        /// Where.
        address: CoordinatorAddress,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// Somebody takes the connection, then says nothing.
    #[error(
        "what listens at {address} did not answer within {after:?}: it is overloaded, stopped, or no hotswap coordinator"
    )]
    Silent {
        /// Where.
        address: CoordinatorAddress,
        /// How long it was waited for.
        after: Duration,
    },
    /// Somebody answers, but not as a coordinator does.
    #[error("what answers at {address} is no hotswap coordinator, or one that has no room left")]
    NotACoordinator {
        /// Where.
        address: CoordinatorAddress,
        /// What came instead.
        #[source]
        source: io::Error,
    },
    /// A coordinator answers, but of another fleet.
    #[error(
        "the coordinator at {address} belongs to another fleet: {why}; nothing was told to it. Check the address, and that \
         the token or the data directory is of this fleet"
    )]
    WrongFleet {
        /// Where.
        address: CoordinatorAddress,
        /// What is wrong.
        why: Distrust,
    },
    /// A member of the right fleet answers, but it is no coordinator.
    #[error("what answers at {address} may not act as a coordinator: {why}; nothing was told to it")]
    WrongKind {
        /// Where.
        address: CoordinatorAddress,
        /// What it is.
        why: CertificateRefusal,
    },
    /// The right coordinator, at a time when its certificate is not valid.
    #[error(
        "the coordinator at {address} can't be believed: {why}; check the clocks of both machines, then start it anew"
    )]
    OutOfTime {
        /// Where.
        address: CoordinatorAddress,
        /// What is wrong.
        why: CertificateRefusal,
    },
    /// The identity can't be used, or the library refuses.
    #[error("this member's identity can't be used for TLS")]
    Unusable(#[from] rustls::Error),
    /// TLS stands, HTTP/2 does not.
    #[error("the coordinator at {address} accepted the connection and then broke it off")]
    BrokeOff {
        /// Where.
        address: CoordinatorAddress,
        /// What happened.
        #[source]
        source: tonic::transport::Error,
    },
}

/// Reaches the coordinator at this address, as this member or, to join, as nobody. The connection that was made is kept; when
/// it breaks, the channel makes another with its next call, under the same trust.
///
/// That the coordinator takes the member's certificate is not known yet: it says so in its first answer, in words.
///
/// # Errors
/// Says whether nobody is there, somebody else is, or a coordinator that is not to be trusted.
pub async fn connect(
    address: &CoordinatorAddress,
    identity: Option<&Identity>,
    trust: Trust,
    clock: Clock,
) -> Result<Channel, ConnectError> {
    let tls = TlsConnector::from(Arc::new(config(identity, trust, clock)?));
    let dialer = Dialer { tls, address: address.clone(), handshake: HANDSHAKE_LIMIT };
    // The first connection is made here, so that its error is known as it is; a later one is made in its place.
    let mut first = Some(dialer.dial().await?);
    let again = dialer.clone();
    let connector = tower::service_fn(move |_: http::Uri| {
        let (ready, dialer) = (first.take(), again.clone());
        async move {
            let stream = match ready {
                Some(stream) => stream,
                None => dialer.dial().await?,
            };
            Ok::<_, ConnectError>(TokioIo::new(stream))
        }
    });
    let connected = limits::endpoint().connect_with_connector(connector).await;
    connected.map_err(|source| ConnectError::BrokeOff { address: address.clone(), source })
}

fn config(identity: Option<&Identity>, trust: Trust, clock: Clock) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(CoordinatorVerifier { trust, clock }));
    let mut config = match identity {
        Some(identity) => {
            builder.with_client_auth_cert(vec![identity.certificate().clone()], identity.key().for_tls())?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    // Its name is not known to it, and nobody else's business.
    config.enable_sni = false;
    Ok(config)
}

#[derive(Clone)]
struct Dialer {
    tls: TlsConnector,
    address: CoordinatorAddress,
    handshake: Duration,
}

impl Dialer {
    async fn dial(&self) -> Result<TlsStream<TcpStream>, ConnectError> {
        let unreachable = |source| ConnectError::Unreachable { address: self.address.clone(), source };
        let connecting = TcpStream::connect((self.address.host(), self.address.port()));
        let stream = match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
            Ok(connected) => connected.map_err(unreachable)?,
            Err(_) => return Err(unreachable(io::ErrorKind::TimedOut.into())),
        };
        // Answers are small and waited for.
        let _ = stream.set_nodelay(true);
        // The verifier does not look at it; the library wants one.
        let name = ServerName::try_from("coordinator").map_err(|_| rustls::Error::UnsupportedNameType)?;
        let handshake = tokio::time::timeout(self.handshake, self.tls.connect(name, stream)).await;
        let tls = match handshake {
            Ok(done) => done.map_err(|source| self.failed(source))?,
            Err(_) => return Err(ConnectError::Silent { address: self.address.clone(), after: self.handshake }),
        };
        if tls.get_ref().1.alpn_protocol() != Some(ALPN) {
            let source = io::Error::new(io::ErrorKind::InvalidData, "it does not speak HTTP/2");
            return Err(ConnectError::NotACoordinator { address: self.address.clone(), source });
        }
        Ok(tls)
    }

    fn failed(&self, source: io::Error) -> ConnectError {
        let address = self.address.clone();
        match Distrust::within(&source).cloned() {
            None | Some(Distrust::Certificate(CertificateRefusal::NotOfAFleet | CertificateRefusal::Unreadable)) => {
                ConnectError::NotACoordinator { address, source }
            }
            Some(Distrust::Certificate(why @ CertificateRefusal::WrongKind { .. })) => {
                ConnectError::WrongKind { address, why }
            }
            Some(Distrust::Certificate(
                why @ (CertificateRefusal::Expired { .. } | CertificateRefusal::NotYet { .. }),
            )) => ConnectError::OutOfTime { address, why },
            Some(
                why @ (Distrust::OtherFleet { .. }
                | Distrust::Certificate(CertificateRefusal::OtherFleet { .. } | CertificateRefusal::Forged { .. })),
            ) => ConnectError::WrongFleet { address, why },
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::identity::{JoinToken, KeyHash};

    #[tokio::test]
    async fn a_listener_that_says_nothing_is_given_up_at_the_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = CoordinatorAddress::from(listener.local_addr().expect("an address"));
        let token = JoinToken::generate(KeyHash::of(b"a key")).expect("random bytes");
        let config = config(None, Trust::Key(token.authority()), Clock::system()).expect("TLS");
        let handshake = Duration::from_millis(50);
        let dialer = Dialer { tls: TlsConnector::from(Arc::new(config)), address, handshake };
        let error = dialer.dial().await.expect_err("silence");
        assert!(matches!(&error, ConnectError::Silent { after, .. } if *after == handshake), "{error:?}");
    }
}

//! Accepts on the fleet's port.
//!
//! Handshakes run beside each other and beside the connections that are served; none holds up another. What fails here is
//! counted, not logged one by one: anybody on the network can make it fail.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use rustls::{ServerConfig, server::NoServerSessionStorage, version::TLS13};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::Stream;

use super::{
    ALPN, Limits,
    peer::{Caller, Peer},
    stream::FleetStream,
    trust::AnyHolder,
};
use crate::{
    clock::Clock,
    identity::{AuthorityCertificate, Identity, provider},
};

/// How long to wait when the process has no file left for a connection: some will be given back.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// Connections between their handshake and being served; the server takes them at once.
const READY_ROOM: usize = 16;

/// TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The key and the certificates do not go together, or the library refuses them.
    #[error("the coordinator's identity can't be used for TLS")]
    Unusable(#[from] rustls::Error),
}

/// What happened at the port since it was opened.
#[derive(Debug, Default)]
pub struct Counts {
    failed: AtomicU64,
    too_slow: AtomicU64,
    turned_away: AtomicU64,
    refused: AtomicU64,
}

impl Counts {
    /// Connections whose handshake failed: no TLS, a broken one, or a client that does not believe this coordinator.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Connections whose handshake was not done in time.
    #[must_use]
    pub fn too_slow(&self) -> u64 {
        self.too_slow.load(Ordering::Relaxed)
    }

    /// Connections for which there was no room.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// Connections with a certificate that was not believed.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Connections as they come, for [`Router::serve_with_incoming`](tonic::transport::server::Router::serve_with_incoming).
/// Dropping it closes the port.
#[derive(Debug)]
pub struct Incoming {
    ready: mpsc::Receiver<FleetStream>,
    counts: Arc<Counts>,
    /// The accepting task and, within it, the handshakes.
    _accepting: JoinSet<()>,
}

impl Incoming {
    /// Accepts on this listener as this coordinator, until dropped.
    ///
    /// # Errors
    /// When the identity can't be used for TLS.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(
        listener: TcpListener,
        coordinator: &Identity,
        clock: Clock,
        limits: Limits,
    ) -> Result<Self, TransportError> {
        let (out, ready) = mpsc::channel(READY_ROOM);
        let counts = Arc::new(Counts::default());
        let door = Arc::new(Door {
            tls: TlsAcceptor::from(Arc::new(config(coordinator)?)),
            authority: coordinator.authority().clone(),
            clock,
            limits,
            strangers: Arc::new(Semaphore::new(limits.strangers)),
            counts: Arc::clone(&counts),
            out,
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, door));
        Ok(Self { ready, counts, _accepting: accepting })
    }

    /// What happened so far; goes on counting when this is given to a server.
    #[must_use]
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }
}

impl Stream for Incoming {
    type Item = Result<FleetStream, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ready.poll_recv(context).map(|ready| ready.map(Ok))
    }
}

fn config(coordinator: &Identity) -> Result<ServerConfig, rustls::Error> {
    // The authority's certificate goes along: who joins knows it by its key's hash only.
    let chain = vec![coordinator.certificate().clone(), coordinator.authority().der().clone()];
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(AnyHolder))
        .with_single_cert(chain, coordinator.key().for_tls())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// What a handshake needs.
struct Door {
    tls: TlsAcceptor,
    authority: AuthorityCertificate,
    clock: Clock,
    limits: Limits,
    strangers: Arc<Semaphore>,
    counts: Arc<Counts>,
    out: mpsc::Sender<FleetStream>,
}

async fn accept(listener: TcpListener, door: Arc<Door>) {
    let connections = Arc::new(Semaphore::new(door.limits.connections));
    let mut handshakes = JoinSet::new();
    loop {
        while handshakes.len() >= door.limits.handshakes {
            handshakes.join_next().await;
        }
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => {
                    tokio::time::sleep(RETRY_AFTER).await;
                    continue;
                }
            },
            Some(_) = handshakes.join_next() => continue,
        };
        match Arc::clone(&connections).try_acquire_owned() {
            Ok(place) => {
                handshakes.spawn(Arc::clone(&door).welcome(stream, place));
            }
            Err(_) => count(&door.counts.turned_away),
        }
    }
}

impl Door {
    /// From a bare connection to one that is served, or to nothing.
    async fn welcome(self: Arc<Self>, stream: TcpStream, place: OwnedSemaphorePermit) {
        // Commands are small and waited for.
        let _ = stream.set_nodelay(true);
        let address = stream.peer_addr().ok();
        let tls = match tokio::time::timeout(self.limits.handshake, self.tls.accept(stream)).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(_)) => return count(&self.counts.failed),
            Err(_) => return count(&self.counts.too_slow),
        };
        let peer = Peer::of(tls.get_ref().1.peer_certificates(), &self.authority, self.clock.now());
        if let Peer::Refused(why) = &peer {
            count(&self.counts.refused);
            tracing::debug!(?address, %why, "a certificate was refused");
        }
        let (stranger, gone_by) = if peer.is_known() {
            (None, None)
        } else {
            let Ok(stranger) = Arc::clone(&self.strangers).try_acquire_owned() else {
                return count(&self.counts.turned_away);
            };
            (Some(stranger), Some(Box::pin(tokio::time::sleep(self.limits.stranger))))
        };
        let ready = FleetStream::new(tls, Caller::new(peer, address), gone_by, (place, stranger));
        // The port is being closed: so is this.
        let _ = self.out.send(ready).await;
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

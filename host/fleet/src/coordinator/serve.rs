//! The shell around a coordinator: it performs steps, one after the other, and keeps the port.
//!
//! Persist, then send: a step's changes are durable before any word of it leaves. When the store refuses (a newer coordinator has
//! begun, the disk is full), nothing is sent and the coordinator ends: what it holds in memory is not true any more, and the next
//! start begins from what was written.

mod desk;
mod service;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{net::TcpListener, sync::watch};

pub use desk::{Desk, Shared};

use self::service::Service;
use super::{Coordinator, Unreadable};
use crate::{
    clock::Clock,
    identity::{Authority, AuthorityError, Kind, SubjectName},
    join::{self, Joining},
    pb::fleet_server::FleetServer,
    protocol::DOCUMENT_LIMIT_BYTES,
    store::{Sqlite, Store, StoreError},
    telemetry::Telemetry,
    transport::{self, Incoming, Limits, TransportError},
};

/// A coordinator can't be served, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its identity.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Its store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store holds.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Its port.
    #[error("the coordinator can't listen on {address}")]
    Port {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// TLS.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// HTTP/2.
    #[error("the coordinator's port ended early")]
    Served(#[from] tonic::transport::Error),
}

/// A coordinator that has its store and its port, and is about to serve.
pub struct Server {
    desk: Desk<Sqlite>,
    incoming: Incoming,
    authority: Arc<Authority>,
    clock: Clock,
    telemetry: Telemetry,
    address: SocketAddr,
}

/// The database in a fleet's data directory.
#[must_use]
pub fn database(data: &Path) -> PathBuf {
    data.join("fleet.sqlite")
}

impl Server {
    /// Opens the fleet in this data directory and its port. From here on no older coordinator can write.
    ///
    /// # Errors
    /// When there is no fleet, another coordinator has it, or the port is taken.
    pub async fn open(data: &Path, listen: SocketAddr, clock: Clock, telemetry: Telemetry) -> Result<Self, ServeError> {
        let authority = Arc::new(Authority::load(data)?);
        let now = clock.now();
        let mut store = Sqlite::open(&database(data))?;
        let epoch = store.begin(now)?;
        let loaded = store.load()?;
        let (coordinator, first) = Coordinator::begin(epoch, loaded, now)?;
        let coordinator = coordinator.traced_by(telemetry.tracer());
        let port = |source| ServeError::Port { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(port)?;
        let address = listener.local_addr().map_err(port)?;
        let identity = authority.identity(Kind::Coordinator, name(), now)?;
        let incoming = Incoming::new(listener, &identity, clock.clone(), Limits::default())?;
        let desk =
            Desk::new(coordinator, Shared::new(store, telemetry.metrics().clone()), clock.clone(), telemetry.clone());
        desk.write(epoch, first).await?;
        Ok(Self { desk, incoming, authority, clock, telemetry, address })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it tells of itself.
    #[must_use]
    pub const fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Serves until `shutdown`, then ends its sessions. Hosts carry on and come back to the next coordinator.
    ///
    /// # Errors
    /// When the store refuses a step, or the port fails.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let Self { desk, incoming, authority, clock, .. } = self;
        let (stop, stopping) = watch::channel(false);
        let handle = desk.handle();
        let fleet = FleetServer::new(Service::new(handle.clone(), authority.clone(), clock.clone(), stopping))
            .max_decoding_message_size(DOCUMENT_LIMIT_BYTES)
            .max_encoding_message_size(DOCUMENT_LIMIT_BYTES);
        let joining = join::service(Joining::new(authority, Arc::new(handle), clock));
        let mut working = tokio::spawn(desk.run());
        let ended = async {
            tokio::select! {
                () = shutdown => Ok(()),
                ended = &mut working => ended.unwrap_or_else(|gone| std::panic::resume_unwind(gone.into_panic())),
            }
        };
        let (told, result) = tokio::sync::oneshot::channel();
        let until = async {
            drop(told.send(ended.await));
            stop.send_replace(true);
        };
        transport::limits::server()
            .add_service(fleet)
            .add_service(joining)
            .serve_with_incoming_shutdown(incoming, until)
            .await?;
        working.abort();
        result.await.unwrap_or(Ok(())).map_err(ServeError::from)
    }
}

/// A coordinator is known by its fleet, not by a name of its own.
fn name() -> SubjectName {
    "coordinator".parse().unwrap_or_else(|error| unreachable!("a fixed name: {error}"))
}

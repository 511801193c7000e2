//! Listeners: they accept whether or not an instance is there to serve.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use host_core::{id::WorkloadName, release::ListenAddress};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::Handle,
};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::{
    ids::Ids,
    mailbox::Mailbox,
    net::connection::{Connection, OutboxLimits},
    sessions::House,
    telemetry::WorkloadMetrics,
};

/// Connections the kernel holds until they are accepted: a burst of reconnects after a network fault.
const BACKLOG: u32 = 4096;
/// Wait after a failed accept (no descriptors, no memory): long enough not to spin, short enough not to be noticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound socket that accepts nothing yet: a port that is taken shows before anything has changed.
#[derive(Debug)]
pub(crate) struct Bound {
    /// The address as configured, with the port that the system chose if it was 0.
    pub(crate) address: ListenAddress,
    listener: std::net::TcpListener,
}

/// A socket that accepts. Dropping it closes it; its connections stay.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) address: ListenAddress,
    _task: AbortOnDropHandle<()>,
}

/// Where a workload's connections go in.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    /// All into one mailbox, to one instance.
    Shared(Arc<Mailbox>),
    /// Each to an instance of its own.
    Each(Arc<House>),
}

/// What every connection of a workload needs.
#[derive(Clone, Debug)]
pub(crate) struct Reception {
    pub(crate) workload: WorkloadName,
    pub(crate) door: Door,
    pub(crate) metrics: Arc<WorkloadMetrics>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) outboxes: Arc<OutboxLimits>,
    pub(crate) tasks: TaskTracker,
    /// Where its connections are served.
    pub(crate) runtime: Handle,
    pub(crate) capacity: Arc<Capacity>,
}

/// How many connections the host can hold at once, over all workloads.
#[derive(Debug)]
pub(crate) struct Capacity {
    pub(crate) limit: u64,
    open: AtomicU64,
}

impl Capacity {
    pub(crate) const fn new(limit: u64) -> Self {
        Self { limit, open: AtomicU64::new(0) }
    }

    fn enter(&self) -> bool {
        let entered = self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < self.limit).then_some(open + 1));
        entered.is_ok()
    }

    fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Bound {
    /// Binds.
    ///
    /// # Errors
    /// The system's: most often that the port is taken.
    pub(crate) fn bind(address: ListenAddress) -> io::Result<Self> {
        let wanted = address.address;
        let socket = if wanted.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A host that starts again must not wait for the old connections' TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(wanted)?;
        // Whoever accepts may live on another thread, whose runtime it then belongs to.
        let listener = socket.listen(BACKLOG)?.into_std()?;
        let address = ListenAddress { address: listener.local_addr()? };
        Ok(Self { address, listener })
    }

    /// Begins to accept, where the reception's connections are served.
    pub(crate) fn accept(self, reception: Reception) -> Listener {
        let address = self.address;
        let runtime = reception.runtime.clone();
        let task = runtime.spawn(accept(self.listener, Arc::from(address.to_string()), reception));
        Listener { address, _task: AbortOnDropHandle::new(task) }
    }
}

async fn accept(listener: std::net::TcpListener, name: Arc<str>, reception: Reception) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(workload = %reception.workload, listener = %name, %error, "nothing can be accepted here");
            return;
        }
    };
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => receive(stream, peer, &name, &reception),
            Err(error) => {
                tracing::warn!(workload = %reception.workload, listener = %name, %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn receive(stream: TcpStream, peer: SocketAddr, name: &Arc<str>, reception: &Reception) {
    if !reception.capacity.enter() {
        tracing::warn!(
            workload = %reception.workload, %peer, limit = reception.capacity.limit,
            "a connection is refused: the host is at its limit (raise the open-file limit)"
        );
        return;
    }
    // Small answers leave at once; the actor already gathers what belongs together.
    drop(stream.set_nodelay(true));
    let make = || {
        let id = reception.ids.connection();
        let (outboxes, metrics) = (reception.outboxes.clone(), reception.metrics.clone());
        Arc::new(Connection::new(id, name.clone(), peer.to_string().into(), stream, outboxes, metrics))
    };
    let capacity = reception.capacity.clone();
    match &reception.door {
        Door::Shared(mailbox) => {
            let (connection, mailbox) = (make(), mailbox.clone());
            reception.tasks.spawn(async move {
                connection.serve(mailbox).await;
                capacity.leave();
            });
        }
        Door::Each(house) => match house.admit(peer, make) {
            Some((connection, session)) => {
                reception.tasks.spawn(async move {
                    connection.serve(session).await;
                    capacity.leave();
                });
            }
            // Refused, counted and told; the socket closes.
            None => capacity.leave(),
        },
    }
}

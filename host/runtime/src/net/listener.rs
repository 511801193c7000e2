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
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::{config::NetLimits, ids::Ids, mailbox::Mailbox, net::connection::Connection, telemetry::WorkloadMetrics};

/// Connections the kernel holds until they are accepted: a burst of reconnects after a network fault.
const BACKLOG: u32 = 4096;
/// Wait after a failed accept (no descriptors, no memory): long enough not to spin, short enough not to be noticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound socket that accepts nothing yet: a port that is taken shows before anything has changed.
#[derive(Debug)]
pub(crate) struct Bound {
    /// The address as configured, with the port that the system chose if it was 0.
    pub(crate) address: ListenAddress,
    listener: TcpListener,
}

/// A socket that accepts. Dropping it closes it; its connections stay.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) address: ListenAddress,
    _task: AbortOnDropHandle<()>,
}

/// What every connection of a workload needs.
#[derive(Clone, Debug)]
pub(crate) struct Reception {
    pub(crate) workload: WorkloadName,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) metrics: Arc<WorkloadMetrics>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) limits: NetLimits,
    pub(crate) tasks: TaskTracker,
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
        let listener = socket.listen(BACKLOG)?;
        let address = ListenAddress { address: listener.local_addr()? };
        Ok(Self { address, listener })
    }

    /// Begins to accept.
    pub(crate) fn accept(self, reception: Reception) -> Listener {
        let address = self.address;
        let task = tokio::spawn(accept(self.listener, Arc::from(address.to_string()), reception));
        Listener { address, _task: AbortOnDropHandle::new(task) }
    }
}

async fn accept(listener: TcpListener, name: Arc<str>, reception: Reception) {
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
    let id = reception.ids.connection();
    let (limit, metrics) = (reception.limits.outbox_bytes, reception.metrics.clone());
    let connection = Arc::new(Connection::new(id, name.clone(), peer.to_string().into(), stream, limit, metrics));
    let (mailbox, capacity) = (reception.mailbox.clone(), reception.capacity.clone());
    reception.tasks.spawn(async move {
        connection.serve(mailbox).await;
        capacity.leave();
    });
}

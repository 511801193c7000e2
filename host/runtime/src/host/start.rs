//! From a data directory to a host.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    sync::Arc,
};

use host_core::capacity::Means;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Resource, getrlimit};
use tokio_util::task::TaskTracker;

use super::{Host, Inner};
use crate::{
    artifact::{ArtifactStore, Compiler},
    clock::Clock,
    config::HostConfig,
    engine::Engine,
    error::StartError,
    events::EventBus,
    ids::Ids,
    ledger::Ledger,
    net::listener::Capacity,
    sessions::Room,
    telemetry::Metrics,
    workload::Nursery,
};

/// Descriptors kept for everything but clients: listeners, files, the control socket.
const DESCRIPTORS_KEPT: u64 = 64;

pub(super) async fn start(config: HostConfig) -> Result<Host, StartError> {
    let data = config.data.clone();
    let unusable = |source| StartError::Data { path: data.clone(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&data).map_err(unusable)?;
    let lock = lock(&data)?;
    let clock = Arc::new(Clock::new());
    let (ledger, boot) = Ledger::open(&data.join("ledger.sqlite"), clock.unix())?;
    let store_failed = |error| StartError::Store(super::describe(&error));
    let store = ArtifactStore::open(&data.join("artifacts")).map_err(store_failed)?;
    let engine = Engine::new(config.engine).map_err(|error| StartError::Engine(super::describe(&error)))?;
    let compiler =
        Compiler::new(engine.clone(), &data.join("compiled")).map_err(store_failed)?.with_limits(config.limits);
    let metrics = Metrics::new();
    let capacity = capacity();
    metrics.set_connection_capacity(capacity);
    let room = Room::new(Means {
        maps: map_count_limit(),
        connections: capacity,
        memory_bytes: engine.memory_for_starts_bytes(),
        session_bytes: 0,
        wanted: config.sessions,
    });
    let session_capacity = room.most();
    tracing::info!(
        sessions = session_capacity.sessions,
        bound_by = session_capacity.bound_by.as_str(),
        connections = capacity,
        "room for connections, and for those with an instance each"
    );
    let inner = Inner {
        nursery: Nursery { engine, limits: config.limits, clock: clock.clone() },
        started: clock.moment(),
        ids: Arc::new(Ids::new(boot)),
        events: EventBus::new(clock.clone(), boot),
        config: Arc::new(config),
        clock,
        boot,
        ledger,
        store,
        compiler,
        metrics,
        capacity: Arc::new(Capacity::new(capacity)),
        room: Arc::new(room),
        session_engine: Default::default(),
        tasks: TaskTracker::new(),
        slots: Default::default(),
        prepared: Default::default(),
        stopping: false.into(),
        _lock: lock,
    };
    let room =
        format!("boot {boot}, room for {capacity} connections, {} with an instance each", session_capacity.sessions);
    inner.events.tell("host.started", None, None, room);
    let host = Host(Arc::new(inner));
    host.0.recover().await?;
    Ok(host)
}

/// One host per data directory: the kernel's lock goes with the process, however it ends.
fn lock(data: &Path) -> Result<fs::File, StartError> {
    let path = data.join("host.lock");
    let unusable = |source| StartError::Data { path: data.to_owned(), source };
    let mut file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(unusable)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        drop(file.read_to_string(&mut pid));
        return Err(StartError::InUse { path: data.to_owned(), pid: pid.trim().to_owned() });
    }
    let written: io::Result<()> = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(unusable)?;
    Ok(file)
}

/// How many connections this process may hold.
fn capacity() -> u64 {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    limit.saturating_sub(DESCRIPTORS_KEPT)
}

/// How many memory mappings this process may have; none where the system has no such limit.
fn map_count_limit() -> Option<u64> {
    fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

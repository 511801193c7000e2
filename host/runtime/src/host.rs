//! The library's face: a host and what can be asked of it.
//!
//! ```text
//! Artifact → VerifiedArtifact → PreparedRelease → swap
//! ```
//!
//! Only a [`PreparedRelease`](prepare::PreparedRelease) enters a swap. A request that was refused has changed nothing; a
//! request whose asker went away is carried out all the same.

mod deploy;
mod operations;
mod preflight;
mod prepare;
mod recovery;
mod rehearse;
mod replay;
mod sessions;
mod shadow;
mod start;

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use host_core::{
    history::SwapReport,
    id::{BatchSeq, Digest, SwapId, WorkloadName},
    request::{DeployRequest, Progress, RollbackRequest},
    status::{CheckpointStatus, HostStatus, RunState, VersionStatus, WorkloadStatus},
    time::Moment,
};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use self::prepare::{Prepared, PreparedRelease};
use crate::{
    artifact::{Artifact, ArtifactStore, Compiler, Staging},
    clock::Clock,
    config::HostConfig,
    error::{HostError, StartError},
    events::{EventBus, EventStream},
    ids::Ids,
    instance::words::cut,
    ledger::{Entry, Ledger},
    net::listener::Capacity,
    sessions::Room,
    telemetry::Metrics,
    workload::{Nursery, Ticket, Workload},
};

/// Where progress is told. A full channel loses progress, never the swap.
pub type ProgressSink = mpsc::Sender<Progress>;

/// Names a prepared release until it is executed or expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PreparedId(pub u64);

/// A host. Clones are the same host; [`Host::shutdown`] ends it.
#[derive(Clone)]
pub struct Host(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) config: Arc<HostConfig>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) boot: u32,
    pub(crate) started: Moment,
    pub(crate) ids: Arc<Ids>,
    pub(crate) ledger: Ledger,
    pub(crate) store: ArtifactStore,
    pub(crate) compiler: Compiler,
    pub(crate) nursery: Nursery,
    pub(crate) events: EventBus,
    pub(crate) metrics: Metrics,
    pub(crate) capacity: Arc<Capacity>,
    pub(crate) room: Arc<Room>,
    session_engine: Mutex<Option<sessions::SessionEngine>>,
    /// Connections, so that a stop can wait for their last bytes.
    pub(crate) tasks: TaskTracker,
    slots: Mutex<BTreeMap<WorkloadName, Arc<Slot>>>,
    prepared: Mutex<Prepared<PreparedRelease>>,
    stopping: AtomicBool,
    /// Held for the life of the host: one host per data directory.
    _lock: fs::File,
}

/// A workload's place on the host, whether it runs or not.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) name: WorkloadName,
    /// The swap, start or operation under way.
    busy: Arc<Mutex<Option<SwapId>>>,
    place: Mutex<Place>,
}

/// What stands there.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// An actor.
    Running(Workload),
    /// Nothing: it was never there, was stopped by hand, or could not be started (`why`). `checkpoint` is what a start would
    /// begin from.
    Empty { entry: Option<Box<Entry>>, why: Option<String>, checkpoint: Option<CheckpointStatus> },
}

impl Slot {
    fn new(name: WorkloadName) -> Self {
        let place = Mutex::new(Place::Empty { entry: None, why: None, checkpoint: None });
        Self { name, busy: Arc::default(), place }
    }

    pub(crate) fn place(&self) -> Place {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, place: Place) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    pub(crate) fn running(&self) -> Option<Workload> {
        match self.place() {
            Place::Running(workload) => Some(workload),
            Place::Empty { .. } => None,
        }
    }

    /// The right to change it; the number of whoever has it otherwise.
    pub(crate) fn ticket(&self, swap: SwapId) -> Result<Ticket, SwapId> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        match *busy {
            Some(other) => Err(other),
            None => {
                *busy = Some(swap);
                Ok(Ticket(self.busy.clone()))
            }
        }
    }

    pub(crate) fn busy(&self) -> Option<SwapId> {
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    /// Starts a host in its data directory and everything that ran there before.
    ///
    /// # Errors
    /// The directory can't be used, or another host uses it. A workload that can't be started again is no error: it is shown
    /// as failed, and the others run.
    pub async fn start(config: HostConfig) -> Result<Self, StartError> {
        start::start(config).await
    }

    /// Begins to store a component's bytes.
    ///
    /// # Errors
    /// The disk.
    pub fn stage(&self) -> Result<Staging, HostError> {
        self.0.store.stage().map_err(|error| HostError::Artifact(describe(&error)))
    }

    /// A component that is stored, by its digest.
    ///
    /// # Errors
    /// The disk.
    pub fn stored(&self, digest: Digest) -> Result<Option<Artifact>, HostError> {
        self.0.store.find(digest).map_err(|error| HostError::Artifact(describe(&error)))
    }

    /// Deploys, rehearses or plans, as `request.extent` says. A refusal, an abort and a rollback are reports too.
    ///
    /// Returns when the swap is permanent or undone. Dropping the future leaves the swap to the host.
    ///
    /// # Errors
    /// What never became a report: the ledger, or a host that stops.
    pub async fn deploy(
        &self,
        request: DeployRequest,
        artifact: Artifact,
        progress: ProgressSink,
    ) -> Result<SwapReport, HostError> {
        self.detached(|inner| async move { inner.deploy(request, artifact, progress).await }).await
    }

    /// The first part of a deploy: stored, verified, compiled, described, planned. Changes nothing that runs.
    /// The report tells the plan; the id is none when it was refused or there is nothing to do.
    ///
    /// # Errors
    /// As [`deploy`](Self::deploy).
    pub async fn prepare(
        &self,
        request: DeployRequest,
        artifact: Artifact,
        progress: ProgressSink,
    ) -> Result<(Option<PreparedId>, SwapReport), HostError> {
        self.detached(|inner| async move { inner.prepare_only(request, artifact, progress).await }).await
    }

    /// The second part: swaps to what was prepared within the last 60 s. Planned anew, since the world goes on.
    ///
    /// # Errors
    /// Nothing is prepared under this id (any more); otherwise as [`deploy`](Self::deploy).
    pub async fn execute(&self, id: PreparedId, progress: ProgressSink) -> Result<SwapReport, HostError> {
        self.detached(|inner| async move { inner.execute(id, progress).await }).await
    }

    /// Reinstates the predecessor, or another stored version.
    ///
    /// # Errors
    /// No such workload or version; otherwise as [`deploy`](Self::deploy).
    pub async fn rollback(&self, request: RollbackRequest, progress: ProgressSink) -> Result<SwapReport, HostError> {
        self.detached(|inner| async move { inner.roll_back(request, progress).await }).await
    }

    /// Ends a probation for good: one that is held, or one that has time left.
    ///
    /// # Errors
    /// No such workload, or it is on no probation.
    pub async fn commit(&self, name: &WorkloadName) -> Result<SwapReport, HostError> {
        let name = name.clone();
        self.detached(|inner| async move { inner.commit(&name).await }).await
    }

    /// Handles on a copy what a workload has handled since its last birth, and compares effects and state.
    ///
    /// # Errors
    /// No such workload, it does not run, or a call that had gone well failed.
    pub async fn replay(&self, name: &WorkloadName) -> Result<SwapReport, HostError> {
        let name = name.clone();
        self.detached(|inner| async move { inner.replay(&name).await }).await
    }

    /// How the host and its workloads are.
    pub async fn status(&self) -> HostStatus {
        let (memory_bytes, free_disk_bytes) = preflight::process_and_disk(&self.0.config.data);
        HostStatus {
            host_version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime: self.0.clock.moment().since(self.0.started),
            boot: self.0.boot,
            memory_bytes,
            free_disk_bytes,
            connection_capacity: self.0.capacity.limit,
            session_capacity: self.0.room.capacity(),
            sessions: self.0.room.taken(),
            workloads: self.0.slots().iter().filter_map(|slot| self.0.status_of(slot)).collect(),
        }
    }

    /// The stored versions of a workload, lowest first.
    ///
    /// # Errors
    /// No such workload, or the ledger.
    pub async fn versions(&self, name: &WorkloadName) -> Result<Vec<VersionStatus>, HostError> {
        self.0.versions(name).await
    }

    /// The newest reports, newest first; of one workload or of all.
    ///
    /// # Errors
    /// The ledger.
    pub async fn history(&self, name: Option<&WorkloadName>, limit: usize) -> Result<Vec<SwapReport>, HostError> {
        let name = name.cloned();
        Ok(self.0.ledger.run(move |ledger| ledger.history(name.as_ref(), limit)).await?)
    }

    /// Events to come, after those kept from `from_seq` on.
    #[must_use]
    pub fn events(&self, from_seq: Option<u64>) -> EventStream {
        self.0.events.subscribe(from_seq)
    }

    /// Every metric of this host.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.0.metrics.clone()
    }

    /// Runs work that goes on when its asker goes away.
    async fn detached<T, F>(&self, work: impl FnOnce(Arc<Inner>) -> F) -> Result<T, HostError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, HostError>> + Send + 'static,
    {
        if self.0.stopping.load(Ordering::Acquire) {
            return Err(HostError::Stopping);
        }
        tokio::spawn(work(self.0.clone())).await.map_err(|_| HostError::Stopping)?
    }
}

impl Inner {
    pub(crate) fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The slot of a workload, made if there is none.
    pub(crate) fn slot_or_new(&self, name: &WorkloadName) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry(name.clone()).or_insert_with(|| Arc::new(Slot::new(name.clone()))).clone()
    }

    /// The slot of a workload that is there.
    pub(crate) fn slot(&self, name: &WorkloadName) -> Result<Arc<Slot>, HostError> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |slot: &Arc<Slot>| !matches!(slot.place(), Place::Empty { entry: None, .. });
        slots.get(name).filter(|slot| known(slot)).cloned().ok_or_else(|| HostError::UnknownWorkload {
            name: name.clone(),
            known: slots.values().filter(|slot| known(slot)).map(|slot| slot.name.clone()).collect(),
        })
    }

    pub(crate) fn forget_slot(&self, name: &WorkloadName) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.metrics.forget(name);
    }

    fn status_of(&self, slot: &Slot) -> Option<WorkloadStatus> {
        match slot.place() {
            Place::Running(workload) => Some(workload.status(&self.clock)),
            Place::Empty { entry, why, checkpoint } => {
                let Entry { name, generation, revision, .. } = *entry?;
                let run_state = why.map_or(RunState::Stopped, |why| RunState::Failed { why });
                let batches = checkpoint.map_or(BatchSeq(0), |checkpoint| checkpoint.batches);
                let idle = WorkloadStatus::idle(name, generation, revision, run_state);
                Some(WorkloadStatus { checkpoint, batches, ..idle })
            }
        }
    }
}

/// Longest text of an error with its causes: a screen. What a component is named in can be as long as the component.
const DESCRIPTION_LIMIT_BYTES: usize = 8 << 10;

/// An error with its causes, for a person.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    // An engine's message may quote the component that it is about.
    cut(text, DESCRIPTION_LIMIT_BYTES)
}

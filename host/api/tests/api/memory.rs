//! A host in memory: it remembers what it was asked and answers what the test wants.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use host_api::{
    Client, Control, EventSource, Failure, FailureKind, Identity, Preparation, ProgressSink, Ready, Staging, serve,
    socket,
};
use host_core::{
    capacity::{Bound, SessionCapacity},
    event::HostEvent,
    history::{Check, SwapKind, SwapReport, Verdict},
    id::{Digest, Generation, SwapId, WorkloadName},
    plan::{Intent, Plan},
    policy::SwapPolicy,
    request::{DeployRequest, Extent, Progress, RollbackRequest},
    status::{HealthReport, HealthStatus, HostStatus, VersionStatus},
    swap::{Outcome, PhaseName, RollbackWay},
    time::UnixNanos,
};
use tempfile::TempDir;
use tokio::sync::{Notify, Semaphore};

/// What the host remembers, and what holds it back.
pub(crate) struct Memory {
    pub(crate) deploys: Mutex<Vec<(DeployRequest, Bytes)>>,
    pub(crate) rollbacks: Mutex<Vec<RollbackRequest>>,
    /// Deploys that are over.
    pub(crate) finished: AtomicUsize,
    /// Tells that a deploy began.
    pub(crate) began: Notify,
    /// A deploy needs one of these to end.
    pub(crate) may_end: Semaphore,
    /// How much progress a deploy tells.
    pub(crate) notes: AtomicUsize,
    /// Uploads that were begun and dropped.
    pub(crate) dropped: Arc<AtomicUsize>,
    pub(crate) events: Mutex<Vec<HostEvent>>,
}

/// A host on a socket, until it is dropped.
pub(crate) struct Running {
    pub(crate) host: Arc<Memory>,
    pub(crate) data: TempDir,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let host = Arc::new(Memory {
            deploys: Mutex::default(),
            rollbacks: Mutex::default(),
            finished: AtomicUsize::new(0),
            began: Notify::new(),
            may_end: Semaphore::new(1000),
            notes: AtomicUsize::new(1),
            dropped: Arc::default(),
            events: Mutex::new((1..=5).map(event).collect()),
        });
        let listener = socket::bind(&socket::path(data.path())).await.expect("bound");
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let control = Arc::clone(&host);
        let served = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            serve(control, listener, Identity::of_this_process(), shutdown).await.expect("served");
        });
        Self { host, data, stop: Some(stop), served }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&socket::path(self.data.path())).await.expect("connected")
    }

    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        tokio::time::timeout(Duration::from_secs(10), self.served).await.expect("it ends").expect("cleanly");
    }
}

pub(crate) fn event(seq: u64) -> HostEvent {
    let name = if seq.is_multiple_of(2) { "swap.phase" } else { "workload.started" };
    HostEvent {
        seq,
        at: UnixNanos(seq * 10),
        name: name.to_owned(),
        workload: Some(name_of("counter")),
        swap: None,
        message: format!("event {seq}"),
    }
}

pub(crate) fn name_of(name: &str) -> WorkloadName {
    name.parse().expect("a name")
}

pub(crate) fn request(workload: &str) -> DeployRequest {
    DeployRequest {
        workload: name_of(workload),
        version: "1.1.0".parse().expect("semver"),
        listeners: Some(vec!["tcp://127.0.0.1:7000".parse().expect("a listener")]),
        config: Some("rows = 5".to_owned()),
        topology: None,
        intent: Intent::Deploy { downgrade: true },
        policy: SwapPolicy { force: true, drain: Some(Duration::from_secs(3)), ..SwapPolicy::default() },
        extent: Extent::Swap,
        trace: None,
    }
}

pub(crate) fn report(workload: &WorkloadName, verdict: Verdict) -> SwapReport {
    SwapReport {
        id: SwapId(3),
        workload: workload.clone(),
        kind: SwapKind::Deploy,
        from: None,
        to: "1.1.0".parse().expect("semver"),
        digest: Digest::new([7; 32]),
        plan: Some(Plan::Start),
        verdict,
        running: None,
        generation: Generation(2),
        began: UnixNanos(5),
        ended: UnixNanos(9),
        phases: vec![],
        steps: vec![],
        pause: None,
        state: None,
        cost: None,
        comparison: None,
        connections: None,
        instances: None,
        checks: vec![],
        notes: vec!["größer".to_owned()],
    }
}

pub(crate) struct Upload {
    bytes: Vec<u8>,
    dropped: Option<Arc<AtomicUsize>>,
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(dropped) = &self.dropped {
            dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Staging for Upload {
    type Artifact = Bytes;

    async fn write(&mut self, chunk: Bytes) -> Result<(), Failure> {
        self.bytes.extend_from_slice(&chunk);
        Ok(())
    }

    async fn finish(mut self) -> Result<Bytes, Failure> {
        self.dropped = None;
        Ok(Bytes::from(std::mem::take(&mut self.bytes)))
    }
}

pub(crate) struct Events {
    past: VecDeque<HostEvent>,
    follow: bool,
}

impl EventSource for Events {
    async fn next(&mut self) -> Option<HostEvent> {
        match self.past.pop_front() {
            None if self.follow => std::future::pending().await,
            event => event,
        }
    }
}

/// A failure with all its parts.
pub(crate) fn unknown(workload: &WorkloadName) -> Failure {
    Failure::new(FailureKind::NotFound, format!("no workload is named {workload}; there is counter"))
        .still("counter 1.0.0 läuft weiter")
        .remedy("deploy it first")
}

impl Control for Memory {
    type Staging = Upload;
    type Artifact = Bytes;
    type Events = Events;

    async fn stage(&self) -> Result<Upload, Failure> {
        Ok(Upload { bytes: vec![], dropped: Some(Arc::clone(&self.dropped)) })
    }

    async fn stored(&self, _: Digest) -> Result<Option<Bytes>, Failure> {
        Ok(None)
    }

    async fn deploy(
        &self,
        request: DeployRequest,
        artifact: Bytes,
        progress: ProgressSink,
    ) -> Result<SwapReport, Failure> {
        let workload = request.workload.clone();
        self.deploys.lock().expect("whole").push((request, artifact));
        self.began.notify_one();
        for at in 0..self.notes.load(Ordering::SeqCst) {
            drop(progress.send(Progress::Note { message: at.to_string() }).await);
        }
        drop(progress.send(Progress::Phase { swap: SwapId(3), phase: PhaseName::CodeChange }).await);
        self.may_end.acquire().await.expect("open").forget();
        self.finished.fetch_add(1, Ordering::SeqCst);
        match workload.as_str() {
            "nowhere" => Err(unknown(&workload)),
            "defect" => panic!("on purpose"),
            _ => {
                let outcome = Outcome::RolledBack { why: "it trapped".to_owned(), way: RollbackWay::Downgrade };
                Ok(report(&workload, Verdict::Swap { outcome }))
            }
        }
    }

    async fn prepare(&self, request: DeployRequest, artifact: Bytes, _: ProgressSink) -> Result<Preparation, Failure> {
        let workload = request.workload.clone();
        self.deploys.lock().expect("whole").push((request, artifact));
        if workload.as_str() == "refused" {
            let why = "the versions don't meet".to_owned();
            return Ok(Preparation { ready: None, report: report(&workload, Verdict::Refused { why }) });
        }
        let ready = Some(Ready { prepared: 42, expires: Duration::from_secs(60) });
        Ok(Preparation { ready, report: report(&workload, Verdict::Rehearsed) })
    }

    async fn execute(&self, prepared: u64, _: ProgressSink) -> Result<SwapReport, Failure> {
        if prepared != 42 {
            return Err(Failure::new(FailureKind::NotFound, format!("nothing is prepared under {prepared}")));
        }
        Ok(report(&name_of("counter"), Verdict::Swap { outcome: Outcome::Permanent }))
    }

    async fn verify(&self, workload: WorkloadName) -> Result<Vec<Check>, Failure> {
        Ok(vec![Check { name: "health".to_owned(), passed: true, seen: format!("{workload} is ok") }])
    }

    async fn rollback(&self, request: RollbackRequest, _: ProgressSink) -> Result<SwapReport, Failure> {
        let workload = request.workload.clone();
        self.rollbacks.lock().expect("whole").push(request);
        Ok(report(&workload, Verdict::Done))
    }

    async fn status(&self) -> Result<HostStatus, Failure> {
        Ok(HostStatus {
            host_version: "0.1.0".to_owned(),
            pid: 7,
            uptime: Duration::from_millis(1500),
            boot: 2,
            memory_bytes: 3,
            free_disk_bytes: 4,
            connection_capacity: 5,
            session_capacity: SessionCapacity { sessions: 6, bound_by: Bound::Pool },
            sessions: 0,
            workloads: vec![],
        })
    }

    async fn versions(&self, workload: WorkloadName) -> Result<Vec<VersionStatus>, Failure> {
        Err(unknown(&workload))
    }

    async fn history(&self, workload: Option<WorkloadName>, limit: usize) -> Result<Vec<SwapReport>, Failure> {
        let workload = workload.unwrap_or_else(|| name_of("counter"));
        Ok(vec![report(&workload, Verdict::Nothing); limit])
    }

    async fn health(&self, workload: Option<WorkloadName>) -> Result<Vec<HealthReport>, Failure> {
        let workload = workload.unwrap_or_else(|| name_of("counter"));
        let details = vec![("rows".to_owned(), "5".to_owned())];
        Ok(vec![HealthReport { workload, status: HealthStatus::Degraded, details }])
    }

    async fn events(&self, from_seq: Option<u64>, follow: bool) -> Result<Events, Failure> {
        let from = from_seq.unwrap_or(0);
        let past = self.events.lock().expect("whole").iter().filter(|event| event.seq >= from).cloned().collect();
        Ok(Events { past, follow })
    }

    async fn call(&self, _: WorkloadName, method: String, payload: Bytes, _: Duration) -> Result<Bytes, Failure> {
        match method.as_str() {
            "huge" => Ok(Bytes::from(vec![0; host_api::convert::limits::PAYLOAD_LIMIT_BYTES + 1])),
            _ => Ok(payload),
        }
    }

    async fn commit(&self, workload: WorkloadName) -> Result<SwapReport, Failure> {
        Ok(report(&workload, Verdict::Swap { outcome: Outcome::Permanent }))
    }

    async fn replay(&self, workload: WorkloadName) -> Result<SwapReport, Failure> {
        Ok(report(&workload, Verdict::Replayed))
    }

    async fn stop(&self, workload: WorkloadName) -> Result<SwapReport, Failure> {
        Ok(report(&workload, Verdict::Done))
    }

    async fn start(&self, workload: WorkloadName) -> Result<SwapReport, Failure> {
        Err(Failure::new(FailureKind::Refused, "x".repeat(100_000)).still(format!("{workload} is stopped")))
    }

    async fn remove(&self, workload: WorkloadName) -> Result<SwapReport, Failure> {
        Ok(report(&workload, Verdict::Done))
    }
}

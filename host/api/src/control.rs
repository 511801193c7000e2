//! What a host can be asked, in core's types. The daemon implements it over the runtime, tests over nothing at all.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use host_core::{
    event::HostEvent,
    history::{Check, SwapReport},
    id::{Digest, WorkloadName},
    request::{DeployRequest, Progress, RollbackRequest},
    status::{HealthReport, HostStatus, VersionStatus},
};

use crate::Failure;

/// Where progress is told. Whoever tells it must not wait for room: a slow listener may not hold up a swap.
pub type ProgressSink = tokio::sync::mpsc::Sender<Progress>;

/// A host, as its control plane sees it.
///
/// A refusal, an abort and a rollback are reports whose verdict says so; a [`Failure`] is for what never became a report.
/// No call is dropped half-way: [`serve`](crate::serve) runs each one that changes something to its end, whether its caller
/// waits or not.
pub trait Control: Send + Sync + 'static {
    /// Takes a component's bytes.
    type Staging: Staging<Artifact = Self::Artifact>;
    /// A component that arrived whole.
    type Artifact: Send + 'static;
    /// Events, one by one.
    type Events: EventSource;

    /// Makes room for a component on its way.
    fn stage(&self) -> impl Future<Output = Result<Self::Staging, Failure>> + Send;

    /// A component that the host has, by its digest; none when it has not.
    fn stored(&self, digest: Digest) -> impl Future<Output = Result<Option<Self::Artifact>, Failure>> + Send;

    /// Plans, rehearses or does a swap, as `request.extent` says.
    fn deploy(
        &self,
        request: DeployRequest,
        artifact: Self::Artifact,
        progress: ProgressSink,
    ) -> impl Future<Output = Result<SwapReport, Failure>> + Send;

    /// Does everything that needs no pause. No number when nothing was prepared; the report says why.
    fn prepare(
        &self,
        request: DeployRequest,
        artifact: Self::Artifact,
        progress: ProgressSink,
    ) -> impl Future<Output = Result<Preparation, Failure>> + Send;

    /// Does the swap that was prepared.
    fn execute(
        &self,
        prepared: u64,
        progress: ProgressSink,
    ) -> impl Future<Output = Result<SwapReport, Failure>> + Send;

    /// Runs the smoke check on what runs.
    fn verify(&self, workload: WorkloadName) -> impl Future<Output = Result<Vec<Check>, Failure>> + Send;

    /// Reinstates an earlier version.
    fn rollback(
        &self,
        request: RollbackRequest,
        progress: ProgressSink,
    ) -> impl Future<Output = Result<SwapReport, Failure>> + Send;

    /// How the host and its workloads are.
    fn status(&self) -> impl Future<Output = Result<HostStatus, Failure>> + Send;

    /// What is stored of a workload.
    fn versions(&self, workload: WorkloadName) -> impl Future<Output = Result<Vec<VersionStatus>, Failure>> + Send;

    /// What was done, newest first.
    fn history(
        &self,
        workload: Option<WorkloadName>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<SwapReport>, Failure>> + Send;

    /// How healthy workloads are.
    fn health(&self, workload: Option<WorkloadName>)
    -> impl Future<Output = Result<Vec<HealthReport>, Failure>> + Send;

    /// Recent events from `from_seq` on (none: all that are held), then, with `follow`, those to come.
    fn events(&self, from_seq: Option<u64>, follow: bool)
    -> impl Future<Output = Result<Self::Events, Failure>> + Send;

    /// Calls a workload and waits for its reply.
    fn call(
        &self,
        workload: WorkloadName,
        method: String,
        payload: Bytes,
        timeout: Duration,
    ) -> impl Future<Output = Result<Bytes, Failure>> + Send;

    /// Ends a probation for good.
    fn commit(&self, workload: WorkloadName) -> impl Future<Output = Result<SwapReport, Failure>> + Send;

    /// Handles on a copy what the workload has handled, and compares.
    fn replay(&self, workload: WorkloadName) -> impl Future<Output = Result<SwapReport, Failure>> + Send;

    /// Stops a workload and keeps its state.
    fn stop(&self, workload: WorkloadName) -> impl Future<Output = Result<SwapReport, Failure>> + Send;

    /// Starts a stopped or failed workload.
    fn start(&self, workload: WorkloadName) -> impl Future<Output = Result<SwapReport, Failure>> + Send;

    /// Forgets a workload with its state.
    fn remove(&self, workload: WorkloadName) -> impl Future<Output = Result<SwapReport, Failure>> + Send;
}

/// A component on its way. Dropped before [`finish`](Self::finish), it leaves nothing behind.
pub trait Staging: Send + 'static {
    /// What it becomes.
    type Artifact;

    /// Takes the next chunk.
    fn write(&mut self, chunk: Bytes) -> impl Future<Output = Result<(), Failure>> + Send;

    /// That was all of it.
    fn finish(self) -> impl Future<Output = Result<Self::Artifact, Failure>> + Send;
}

/// Events, one by one.
pub trait EventSource: Send + 'static {
    /// The next one; none at the end. Cancel safe.
    fn next(&mut self) -> impl Future<Output = Option<HostEvent>> + Send;
}

/// What came of a preparation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preparation {
    /// Its number and how long it is kept; none when there is nothing to execute.
    pub ready: Option<Ready>,
    /// The plan and the steps, or the refusal.
    pub report: SwapReport,
}

/// A prepared swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// What `execute` is given.
    pub prepared: u64,
    /// How long it is kept.
    pub expires: Duration,
}

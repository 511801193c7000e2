//! The runtime's host as the control plane asks it.

use std::time::Duration;

use bytes::Bytes;
use host_api::{Control, EventSource, Failure, FailureKind, Preparation, ProgressSink, Ready, Staging};
use host_core::{
    event::HostEvent,
    history::{Check, SwapReport},
    id::{Digest, WorkloadName},
    policy::{Preflight, SwapPolicy},
    request::{DeployRequest, Extent, RollbackRequest},
    status::{HealthReport, HostStatus, RunState, VersionStatus, WorkloadStatus},
};
use host_fleet::agent::{ByHand, JournalError};
use host_runtime::{EventStream, Host, HostError, PreparedId, artifact};

/// How long the runtime keeps what was prepared.
const PREPARED_FOR: Duration = Duration::from_secs(60);
const DEPLOY_REMEDY: &str =
    "deploy it on the fleet with `host fleet deploy`, or take it out of the fleet's hands here with --detach";
const ROLLBACK_REMEDY: &str =
    "roll it back on the fleet with `host fleet rollback`, or take it out of the fleet's hands here with --detach";
const RUN_REMEDY: &str = "use `host fleet stop`, `start`, `remove` or the rollout's own commands";

/// A host behind its control plane.
pub(super) struct Service {
    host: Host,
    preflight: Preflight,
    /// Of a host in a fleet: what people may do.
    by_hand: Option<ByHand>,
}

impl Service {
    pub(super) fn new(host: Host, preflight: Preflight, by_hand: Option<ByHand>) -> Self {
        Self { host, preflight, by_hand }
    }

    /// What a fleet has in its hands is not changed by hand, unless it is taken out of them.
    async fn guard(&self, workload: &WorkloadName, detach: bool, remedy: &str) -> Result<(), Failure> {
        let Some(by_hand) = &self.by_hand else { return Ok(()) };
        let failed = |error: JournalError| Failure::new(FailureKind::Internal, error.to_string());
        if !by_hand.is_the_fleets(workload).await.map_err(failed)? {
            return Ok(());
        }
        if detach {
            return by_hand.detach(workload).await.map_err(failed);
        }
        Err(Failure::new(FailureKind::Refused, format!("{workload} is in the hands of a fleet on this host"))
            .still("it goes on as it is")
            .remedy(remedy))
    }

    /// The pre-flight's thresholds are the host's, not for whoever deploys to lower.
    fn policy(&self, policy: SwapPolicy) -> SwapPolicy {
        SwapPolicy { preflight: self.preflight, ..policy }
    }

    /// A refusal by a workload that does not run is of another kind: programs tell them apart.
    async fn unless_it_runs(&self, workload: &WorkloadName, error: HostError) -> Failure {
        let refused = matches!(error, HostError::Refused(_));
        let mut failure = failure(error);
        if refused {
            let status = self.host.status().await;
            let runs = |status: &WorkloadStatus| status.name == *workload && status.run_state == RunState::Running;
            if !status.workloads.iter().any(runs) {
                failure.kind = FailureKind::Stopped;
            }
        }
        failure
    }

    fn deploy_request(&self, request: DeployRequest) -> DeployRequest {
        DeployRequest { policy: self.policy(request.policy), ..request }
    }
}

impl Control for Service {
    type Staging = Upload;
    type Artifact = artifact::Artifact;
    type Events = Events;

    async fn stage(&self) -> Result<Upload, Failure> {
        let host = self.host.clone();
        let staging = blocking(move || host.stage()).await?;
        Ok(Upload(Some(staging)))
    }

    async fn stored(&self, digest: Digest) -> Result<Option<artifact::Artifact>, Failure> {
        let host = self.host.clone();
        blocking(move || host.stored(digest)).await
    }

    async fn deploy(
        &self,
        request: DeployRequest,
        artifact: artifact::Artifact,
        progress: ProgressSink,
    ) -> Result<SwapReport, Failure> {
        if request.extent == Extent::Swap {
            self.guard(&request.workload, request.policy.detach, DEPLOY_REMEDY).await?;
        }
        self.host.deploy(self.deploy_request(request), artifact, progress).await.map_err(failure)
    }

    async fn prepare(
        &self,
        request: DeployRequest,
        artifact: artifact::Artifact,
        progress: ProgressSink,
    ) -> Result<Preparation, Failure> {
        self.guard(&request.workload, request.policy.detach, DEPLOY_REMEDY).await?;
        let request = self.deploy_request(request);
        let (prepared, report) = self.host.prepare(request, artifact, progress).await.map_err(failure)?;
        let ready = prepared.map(|PreparedId(prepared)| Ready { prepared, expires: PREPARED_FOR });
        Ok(Preparation { ready, report })
    }

    async fn execute(&self, prepared: u64, progress: ProgressSink) -> Result<SwapReport, Failure> {
        self.host.execute(PreparedId(prepared), progress).await.map_err(failure)
    }

    async fn verify(&self, workload: WorkloadName) -> Result<Vec<Check>, Failure> {
        match self.host.verify(&workload).await {
            Ok(checks) => Ok(checks),
            Err(error) => Err(self.unless_it_runs(&workload, error).await),
        }
    }

    async fn rollback(&self, request: RollbackRequest, progress: ProgressSink) -> Result<SwapReport, Failure> {
        self.guard(&request.workload, request.policy.detach, ROLLBACK_REMEDY).await?;
        let request = RollbackRequest { policy: self.policy(request.policy), ..request };
        self.host.rollback(request, progress).await.map_err(failure)
    }

    async fn status(&self) -> Result<HostStatus, Failure> {
        Ok(self.host.status().await)
    }

    async fn versions(&self, workload: WorkloadName) -> Result<Vec<VersionStatus>, Failure> {
        self.host.versions(&workload).await.map_err(failure)
    }

    async fn history(&self, workload: Option<WorkloadName>, limit: usize) -> Result<Vec<SwapReport>, Failure> {
        let reports = self.host.history(workload.as_ref(), limit).await.map_err(failure)?;
        if let (Some(workload), true) = (workload, reports.is_empty()) {
            // One that was removed has its history still; this one has none and never had.
            self.host.versions(&workload).await.map_err(failure)?;
        }
        Ok(reports)
    }

    async fn health(&self, workload: Option<WorkloadName>) -> Result<Vec<HealthReport>, Failure> {
        self.host.health(workload.as_ref()).await.map_err(failure)
    }

    async fn events(&self, from_seq: Option<u64>, follow: bool) -> Result<Events, Failure> {
        Ok(Events { stream: self.host.events(Some(from_seq.unwrap_or(0))), follow })
    }

    async fn call(
        &self,
        workload: WorkloadName,
        method: String,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, Failure> {
        match self.host.call(&workload, &method, payload, timeout).await {
            Ok(reply) => Ok(reply),
            Err(error) => Err(self.unless_it_runs(&workload, error).await),
        }
    }

    async fn commit(&self, workload: WorkloadName) -> Result<SwapReport, Failure> {
        self.guard(&workload, false, RUN_REMEDY).await?;
        match self.host.commit(&workload).await {
            Ok(report) => Ok(report),
            Err(error) => Err(self.unless_it_runs(&workload, error).await),
        }
    }

    async fn replay(&self, workload: WorkloadName) -> Result<SwapReport, Failure> {
        match self.host.replay(&workload).await {
            Ok(report) => Ok(report),
            Err(error) => Err(self.unless_it_runs(&workload, error).await),
        }
    }

    async fn stop(&self, workload: WorkloadName) -> Result<SwapReport, Failure> {
        self.guard(&workload, false, RUN_REMEDY).await?;
        self.host.stop(&workload).await.map_err(failure)
    }

    async fn start(&self, workload: WorkloadName) -> Result<SwapReport, Failure> {
        self.guard(&workload, false, RUN_REMEDY).await?;
        self.host.start_workload(&workload).await.map_err(failure)
    }

    async fn remove(&self, workload: WorkloadName) -> Result<SwapReport, Failure> {
        self.guard(&workload, false, RUN_REMEDY).await?;
        self.host.remove(&workload).await.map_err(failure)
    }
}

/// A component on its way to the disk. The disk is written on threads that may wait for it.
pub(super) struct Upload(Option<artifact::Staging>);

impl Staging for Upload {
    type Artifact = artifact::Artifact;

    async fn write(&mut self, chunk: Bytes) -> Result<(), Failure> {
        let Some(mut staging) = self.0.take() else { return Err(broken_upload()) };
        let (staging, written) = blocking(move || {
            let written = staging.write(&chunk);
            Ok((staging, written))
        })
        .await?;
        written.map_err(not_stored)?;
        self.0 = Some(staging);
        Ok(())
    }

    async fn finish(mut self) -> Result<artifact::Artifact, Failure> {
        let Some(staging) = self.0.take() else { return Err(broken_upload()) };
        blocking(move || Ok(staging.finish())).await?.map_err(not_stored)
    }
}

fn broken_upload() -> Failure {
    Failure::new(FailureKind::Internal, "the upload had failed already").still("nothing was changed")
}

fn not_stored(error: artifact::StoreError) -> Failure {
    Failure::new(FailureKind::Refused, format!("the component can't be stored: {:#}", anyhow::Error::from(error)))
        .still("nothing was changed; what ran goes on")
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HostError> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(failure),
        Err(error) => Err(Failure::new(FailureKind::Internal, format!("a defect in the host: {error}"))),
    }
}

/// Events: those that are there, or also those to come.
pub(super) struct Events {
    stream: EventStream,
    follow: bool,
}

impl EventSource for Events {
    async fn next(&mut self) -> Option<HostEvent> {
        if self.follow { self.stream.next().await } else { self.stream.try_next() }
    }
}

/// The runtime's error as a person reads it.
fn failure(error: HostError) -> Failure {
    let kind = match &error {
        HostError::UnknownWorkload { .. } | HostError::UnknownVersion { .. } | HostError::NotPrepared { .. } => {
            FailureKind::NotFound
        }
        HostError::Refused(_) => FailureKind::Refused,
        HostError::CallFailed { .. } => FailureKind::Workload,
        HostError::CallTimedOut { .. } => FailureKind::TimedOut,
        HostError::Artifact(_) | HostError::Ledger(_) => FailureKind::Internal,
        HostError::Stopping => FailureKind::ShuttingDown,
    };
    let failure = Failure::new(kind, format!("{:#}", anyhow::Error::from(error)));
    match kind {
        FailureKind::NotFound | FailureKind::Refused => failure.still("nothing was changed; what runs goes on"),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wires_limit_is_the_runtimes() {
        assert_eq!(host_api::convert::limits::COMPONENT_LIMIT_BYTES, artifact::ARTIFACT_LIMIT_BYTES);
    }

    #[test]
    fn a_failure_names_the_workloads_there_are() {
        let known = vec!["chat".parse().expect("a name")];
        let failure = failure(HostError::UnknownWorkload { name: "counter".parse().expect("a name"), known });
        assert_eq!(failure.kind, FailureKind::NotFound);
        assert!(failure.what.contains("counter") && failure.what.contains("chat"), "{failure}");
    }
}

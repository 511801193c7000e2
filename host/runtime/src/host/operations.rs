//! What can be asked of a host besides swaps.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use host_core::{
    history::{Check, SwapKind, SwapReport, Verdict},
    id::{SwapId, WorkloadName},
    plan::Intent,
    request::{DeployRequest, Extent, RollbackRequest},
    status::{HealthReport, HealthStatus, Place as VersionPlace, RunState, VersionStatus},
};
use semver::Version;
use tokio::{sync::oneshot, time::timeout};

use super::{
    Host, Inner, Place, ProgressSink, Slot,
    deploy::{ask, checkpoint_folder},
    describe,
    prepare::current,
};
use crate::{
    artifact::Artifact,
    checkpoint::CheckpointFiles,
    error::HostError,
    ledger::{Desired, Entry},
    mailbox::{CallAnswer, Called, Item},
    workload::{Control, Workload},
};

/// How long a stop waits for the last bytes to be taken by their clients.
const LAST_BYTES: Duration = Duration::from_secs(5);

impl Host {
    /// How a workload is, or all of them: their own word and what the host sees.
    ///
    /// # Errors
    /// No such workload.
    pub async fn health(&self, name: Option<&WorkloadName>) -> Result<Vec<HealthReport>, HostError> {
        let slots = match name {
            Some(name) => vec![self.0.slot(name)?],
            None => self.0.slots(),
        };
        let mut reports = Vec::new();
        for slot in slots {
            match slot.place() {
                Place::Running(workload) => {
                    reports.push(ask(&workload.control, |report| Control::Health { report }).await?)
                }
                Place::Empty { entry: None, .. } => {}
                Place::Empty { why, .. } => {
                    let (status, detail) = match why {
                        Some(why) => (HealthStatus::Failed, why),
                        None => (HealthStatus::Degraded, "it is stopped".to_owned()),
                    };
                    let details = vec![("host".to_owned(), detail)];
                    reports.push(HealthReport { workload: slot.name.clone(), status, details });
                }
            }
        }
        Ok(reports)
    }

    /// The smoke check's five parts, now.
    ///
    /// # Errors
    /// No such workload, or it does not run.
    pub async fn verify(&self, name: &WorkloadName) -> Result<Vec<Check>, HostError> {
        let workload = self.0.live(name)?;
        ask(&workload.control, |checks| Control::Verify { checks }).await
    }

    /// Calls a workload and waits for its reply.
    ///
    /// # Errors
    /// No such workload, its own error, or no answer in time.
    pub async fn call(
        &self,
        name: &WorkloadName,
        method: &str,
        payload: Bytes,
        limit: Duration,
    ) -> Result<Bytes, HostError> {
        let workload = self.0.live(name)?;
        let deadline = self.0.clock.moment().after(limit);
        let timed_out = || HostError::CallTimedOut { name: name.clone(), limit };
        timeout(limit, workload.mailbox.room()).await.map_err(|_| timed_out())?;
        let (reply, answer) = oneshot::channel();
        workload.mailbox.put(Item::Called(Called { method: method.to_owned(), payload, deadline, reply }));
        match timeout(limit, answer).await {
            Ok(Ok(CallAnswer::Replied(Ok(data)))) => Ok(Bytes::from(data)),
            Ok(Ok(CallAnswer::Replied(Err(message)))) => Err(HostError::CallFailed { name: name.clone(), message }),
            Ok(Err(_)) => {
                Err(HostError::CallFailed { name: name.clone(), message: "the workload was stopped".to_owned() })
            }
            Ok(Ok(CallAnswer::TimedOut)) | Err(_) => Err(timed_out()),
        }
    }

    /// Stops a workload: what came in is handled, its state kept, its connections closed.
    ///
    /// # Errors
    /// No such workload, or a swap is under way.
    pub async fn stop(&self, name: &WorkloadName) -> Result<SwapReport, HostError> {
        let name = name.clone();
        self.detached(|inner| async move { inner.stop(&name).await }).await
    }

    /// Starts a workload that was stopped or that failed.
    ///
    /// # Errors
    /// No such workload, or it can't be started.
    pub async fn start_workload(&self, name: &WorkloadName) -> Result<SwapReport, HostError> {
        let name = name.clone();
        self.detached(|inner| async move { inner.start(&name).await }).await
    }

    /// Forgets a stopped workload: its state and its versions. The history stays.
    ///
    /// # Errors
    /// No such workload, or it runs.
    pub async fn remove(&self, name: &WorkloadName) -> Result<SwapReport, HostError> {
        let name = name.clone();
        self.detached(|inner| async move { inner.remove(&name).await }).await
    }

    /// Ends the host: every workload handles what came in and is checkpointed, connections take their last bytes.
    /// Workloads that ran will run again at the next start.
    pub async fn shutdown(&self) {
        if self.0.stopping.swap(true, Ordering::AcqRel) {
            return;
        }
        self.0.events.tell("host.stopping", None, None, String::new());
        for slot in self.0.slots() {
            if let Some(workload) = slot.running()
                && let Err(error) = self.0.halt(&slot, &workload, Desired::Running).await
            {
                tracing::error!(workload = %slot.name, "{}", describe(&error));
            }
        }
        self.0.tasks.close();
        drop(timeout(LAST_BYTES, self.0.tasks.wait()).await);
    }
}

impl Inner {
    /// The workload, if an actor has it.
    fn live(&self, name: &WorkloadName) -> Result<Workload, HostError> {
        let slot = self.slot(name)?;
        slot.running()
            .ok_or_else(|| HostError::Refused(format!("{name} is stopped; start it with `host start {name}`")))
    }

    pub(super) async fn versions(&self, name: &WorkloadName) -> Result<Vec<VersionStatus>, HostError> {
        let slot = self.slot(name)?;
        let (running, before) = match slot.place() {
            Place::Running(workload) => {
                let live = workload.shared.live();
                (Some(live.revision.release.version.clone()), live.predecessor.clone())
            }
            Place::Empty { entry, .. } => {
                entry.map_or((None, None), |entry| (Some(entry.revision.release.version), entry.predecessor))
            }
        };
        let before = before.map(|revision| revision.release.version);
        let place = |version: &Version| {
            if Some(version) == running.as_ref() {
                VersionPlace::Current
            } else if Some(version) == before.as_ref() {
                VersionPlace::Predecessor
            } else {
                VersionPlace::Stored
            }
        };
        let name = name.clone();
        let stored = self.ledger.run(move |ledger| ledger.releases(&name)).await?;
        Ok(stored
            .into_iter()
            .map(|stored| VersionStatus {
                place: place(&stored.release.version),
                version: stored.release.version,
                digest: stored.release.digest,
                format: stored.release.description.writes,
                size_bytes: stored.size_bytes,
                stored: stored.stored,
            })
            .collect())
    }

    /// Reinstates the predecessor or another stored version.
    pub(super) async fn roll_back(
        &self,
        request: RollbackRequest,
        progress: ProgressSink,
    ) -> Result<SwapReport, HostError> {
        let slot = self.slot(&request.workload)?;
        let name = request.workload.clone();
        let predecessor = match slot.place() {
            Place::Running(workload) => workload.shared.live().predecessor.clone(),
            Place::Empty { .. } => None,
        };
        let to =
            request.to.clone().or_else(|| Some(predecessor.as_ref()?.release.version.clone())).ok_or_else(|| {
                HostError::Refused(format!(
                    "{name} has no predecessor on this host; `host versions {name}` lists what --to may name"
                ))
            })?;
        let predecessor = predecessor.filter(|revision| revision.release.version == to);
        // On probation the predecessor stands by: the swap is undone rather than a new one begun.
        if let (Some(_), Some(workload)) = (&predecessor, slot.running()) {
            let (taken, answer) = oneshot::channel();
            let (done, report) = oneshot::channel();
            let why = "a person asked for it (`host rollback`)".to_owned();
            workload.control.send(Control::RollBack { why, taken, done }).await.map_err(|_| HostError::Stopping)?;
            if answer.await.map_err(|_| HostError::Stopping)? {
                return report.await.map_err(|_| HostError::Stopping);
            }
        }
        let (wanted, version) = (name.clone(), to.clone());
        let stored = self.ledger.run(move |ledger| ledger.release(&wanted, &version)).await?;
        let stored = stored.ok_or(HostError::UnknownVersion { name, version: to.clone() })?;
        let artifact = Artifact { digest: stored.release.digest, bytes: stored.size_bytes };
        let config = predecessor.map(|revision| revision.config);
        let request = DeployRequest {
            workload: request.workload,
            version: to,
            // The doors stay where clients find them; the config is the one the predecessor knew.
            listeners: None,
            config,
            intent: Intent::Rollback,
            policy: request.policy,
            extent: Extent::Swap,
        };
        self.swap(request, artifact, progress, SwapKind::Rollback).await
    }

    async fn stop(&self, name: &WorkloadName) -> Result<SwapReport, HostError> {
        let slot = self.slot(name)?;
        let mut report = self.operation(&slot)?;
        let _ticket = slot.ticket(report.id).map_err(|swap| under_way(name, swap))?;
        let Some(workload) = slot.running() else {
            return Err(HostError::Refused(format!("{name} is stopped already")));
        };
        self.halt(&slot, &workload, Desired::Stopped).await?;
        self.events.tell("workload.stopped", Some(name), None, "a person asked for it".to_owned());
        report.running = None;
        report.notes.push("stopped; its state is kept".to_owned());
        self.done(report).await
    }

    /// Ends an actor and writes down how the workload stands.
    async fn halt(&self, slot: &Slot, workload: &Workload, desired: Desired) -> Result<(), HostError> {
        let failed = matches!(workload.shared.live().run_state, RunState::Failed { .. });
        let kept = ask(&workload.control, |stopped| Control::Stop { stopped }).await?;
        if let Err(why) = &kept {
            tracing::warn!(workload = %slot.name, "{why}");
        }
        let name = slot.name.clone();
        let clean = kept.is_ok() && !failed;
        let entry = self.ledger.run(move |ledger| {
            let Some(mut entry) = ledger.entry(&name)? else { return Ok(None) };
            (entry.desired, entry.clean) = (desired, clean);
            ledger.put_entry(&entry)?;
            Ok(Some(entry))
        });
        slot.set(Place::Empty { entry: entry.await?.map(Box::new), why: None });
        Ok(())
    }

    async fn start(&self, name: &WorkloadName) -> Result<SwapReport, HostError> {
        let slot = self.slot(name)?;
        let mut report = self.operation(&slot)?;
        let _ticket = slot.ticket(report.id).map_err(|swap| under_way(name, swap))?;
        match slot.place() {
            Place::Running(workload) => {
                let revived = ask(&workload.control, |revived| Control::Revive { revived }).await?;
                revived.map_err(|why| HostError::Refused(format!("{name} was not started: {why}")))?;
            }
            Place::Empty { entry: Some(entry), .. } => {
                let resumed = self.resume(&slot, Entry { desired: Desired::Running, ..*entry }).await;
                resumed.map_err(|why| HostError::Refused(format!("{name} was not started: {why}")))?;
            }
            Place::Empty { entry: None, .. } => {
                return Err(HostError::UnknownWorkload { name: name.clone(), known: vec![] });
            }
        }
        self.fill_running(&slot, &mut report);
        report.notes.push("started".to_owned());
        self.done(report).await
    }

    async fn remove(&self, name: &WorkloadName) -> Result<SwapReport, HostError> {
        let slot = self.slot(name)?;
        let mut report = self.operation(&slot)?;
        let _ticket = slot.ticket(report.id).map_err(|swap| under_way(name, swap))?;
        if slot.running().is_some() {
            return Err(HostError::Refused(format!(
                "{name} runs; its connections and its state would be lost. Stop it first with `host stop {name}`"
            )));
        }
        let (folder, wanted) = (checkpoint_folder(&self.config.data, name), name.clone());
        self.ledger.run(move |ledger| ledger.remove(&wanted)).await?;
        let removed =
            tokio::task::spawn_blocking(move || CheckpointFiles::open(folder).and_then(|files| files.remove_all()));
        if let Ok(Err(error)) = removed.await {
            report.notes.push(format!("its files could not all be removed: {}", describe(&error)));
        }
        self.forget_slot(name);
        self.events.tell("workload.removed", Some(name), None, "a person asked for it".to_owned());
        report.running = None;
        report.notes.push("removed, with its state and its versions".to_owned());
        self.done(report).await
    }

    /// A report of an operation on what is there.
    fn operation(&self, slot: &Slot) -> Result<SwapReport, HostError> {
        let Some((revision, _)) = current(slot) else {
            return Err(HostError::UnknownWorkload { name: slot.name.clone(), known: vec![] });
        };
        let release = revision.release;
        let mut report = SwapReport::blank(slot.name.clone(), release.version, release.digest, self.clock.unix());
        (report.kind, report.verdict) = (SwapKind::Operation, Verdict::Done);
        self.fill_running(slot, &mut report);
        Ok(report)
    }

    async fn done(&self, mut report: SwapReport) -> Result<SwapReport, HostError> {
        report.ended = self.clock.unix();
        let kept = report.clone();
        self.ledger.run(move |ledger| ledger.append(&kept)).await?;
        Ok(report)
    }
}

fn under_way(name: &WorkloadName, swap: SwapId) -> HostError {
    HostError::Refused(host_core::plan::Refusal::SwapUnderWay { workload: name.clone(), swap }.to_string())
}

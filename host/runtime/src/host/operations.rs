//! What can be asked of a host besides swaps.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use host_core::{
    history::{Check, SwapKind, SwapReport, Verdict},
    id::{SwapId, WorkloadName},
    plan::Intent,
    request::{DeployRequest, Extent, RollbackRequest},
    status::{HealthReport, HealthStatus, Place as VersionPlace, RunState, VersionStatus},
};
use semver::Version;
use tokio::{sync::oneshot, task::JoinSet, time::timeout};

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
    instance::{limits::ERROR_LIMIT_BYTES, words::cut},
    ledger::{Desired, Entry},
    mailbox::{CallAnswer, Called, Item},
    workload::{Control, Workload},
};

/// How long a stop waits for the last bytes to be taken by their clients.
const LAST_BYTES: Duration = Duration::from_secs(5);

/// How long a workload may take to say how it is. It answers between two batches; who asks wants to know that it does not.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

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
        // All at once: who does not answer keeps nobody else's answer back.
        let asked: Vec<_> = slots.into_iter().map(|slot| tokio::spawn(health_of(slot))).collect();
        let mut reports = Vec::with_capacity(asked.len());
        for report in asked {
            reports.extend(report.await.map_err(|_| HostError::Stopping)??);
        }
        Ok(reports)
    }

    /// The smoke check's five parts, now.
    ///
    /// # Errors
    /// No such workload, or it does not run, or its batch does not end.
    pub async fn verify(&self, name: &WorkloadName) -> Result<Vec<Check>, HostError> {
        let workload = self.0.live(name)?;
        let checks = ask(&workload.control, |checks| Control::Verify { checks });
        timeout(ANSWER_LIMIT, checks).await.map_err(|_| HostError::Refused(format!("{name} {}", silent())))?
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
        let Some(mailbox) = workload.mailbox() else {
            return Err(HostError::Refused(format!(
                "{name} has an instance for each connection, and a call is for one that all share: there is none to call"
            )));
        };
        let deadline = self.0.clock.moment().after(limit);
        let timed_out = || HostError::CallTimedOut { name: name.clone(), limit };
        timeout(limit, mailbox.room()).await.map_err(|_| timed_out())?;
        let (reply, answer) = oneshot::channel();
        mailbox.put(Item::Called(Called { method: method.to_owned(), payload, deadline, reply }));
        match timeout(limit, answer).await {
            Ok(Ok(CallAnswer::Replied(Ok(data)))) => Ok(Bytes::from(data)),
            Ok(Ok(CallAnswer::Replied(Err(message)))) => {
                Err(HostError::CallFailed { name: name.clone(), message: cut(message, ERROR_LIMIT_BYTES) })
            }
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
        // All at once: one that does not come to an end keeps nobody else from being checkpointed.
        let mut halting = JoinSet::new();
        for slot in self.0.slots() {
            let Some(workload) = slot.running() else { continue };
            let inner = self.0.clone();
            halting.spawn(async move {
                if let Err(error) = inner.halt(&slot, &workload, Desired::Running).await {
                    tracing::error!(workload = %slot.name, "{}", describe(&error));
                }
            });
        }
        while halting.join_next().await.is_some() {}
        self.0.tasks.close();
        drop(timeout(LAST_BYTES, self.0.tasks.wait()).await);
    }
}

impl Inner {
    /// The workload, if an actor has it.
    pub(super) fn live(&self, name: &WorkloadName) -> Result<Workload, HostError> {
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
            let (why, allow_loss) = ("a person asked for it (`host rollback`)".to_owned(), request.policy.allow_loss);
            workload
                .control
                .send(Control::RollBack { why, allow_loss, taken, done })
                .await
                .map_err(|_| HostError::Stopping)?;
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
            topology: None,
            intent: Intent::Rollback,
            policy: request.policy,
            extent: Extent::Swap,
            trace: request.trace,
        };
        self.swap(request, artifact, progress, SwapKind::Rollback).await
    }

    pub(super) async fn commit(&self, name: &WorkloadName) -> Result<SwapReport, HostError> {
        let workload = self.live(name)?;
        let committed = ask(&workload.control, |done| Control::Commit { done }).await?;
        committed.ok_or_else(|| HostError::Refused(format!("{name} is on no probation: there is nothing to commit")))
    }

    async fn stop(&self, name: &WorkloadName) -> Result<SwapReport, HostError> {
        let slot = self.slot(name)?;
        let mut report = self.operation(&slot)?;
        let _ticket = slot.ticket(report.id).map_err(|swap| under_way(name, swap))?;
        let Some(workload) = slot.running() else {
            return Err(HostError::Refused(format!("{name} is stopped already")));
        };
        let lost = self.halt(&slot, &workload, Desired::Stopped).await?;
        self.events.tell("workload.stopped", Some(name), None, "a person asked for it".to_owned());
        report.running = None;
        report.notes.push("stopped; its state is kept".to_owned());
        report.notes.extend(lost);
        self.done(report).await
    }

    /// Ends an actor and writes down how the workload stands. What of it is lost, if something is.
    async fn halt(&self, slot: &Slot, workload: &Workload, desired: Desired) -> Result<Option<String>, HostError> {
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
        let entry = entry.await?.map(Box::new);
        let checkpoint = match &entry {
            Some(entry) => self.kept(entry).await,
            None => None,
        };
        slot.set(Place::Empty { entry, why: None, checkpoint });
        Ok(kept.err())
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
        let Some((revision, ..)) = current(slot) else {
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

/// How one workload is; none if there is none in the slot.
async fn health_of(slot: Arc<Slot>) -> Result<Option<HealthReport>, HostError> {
    let (status, detail) = match slot.place() {
        Place::Running(workload) => {
            match timeout(ANSWER_LIMIT, ask(&workload.control, |report| Control::Health { report })).await {
                Ok(report) => return report.map(Some),
                Err(_) => (HealthStatus::Failed, format!("it {}", silent())),
            }
        }
        Place::Empty { entry: None, .. } => return Ok(None),
        Place::Empty { why: Some(why), .. } => (HealthStatus::Failed, why),
        Place::Empty { why: None, .. } => (HealthStatus::Degraded, "it is stopped".to_owned()),
    };
    let details = vec![("host".to_owned(), detail)];
    Ok(Some(HealthReport { workload: slot.name.clone(), status, details }))
}

fn silent() -> String {
    format!("did not answer within {ANSWER_LIMIT:?}: its batch does not end")
}

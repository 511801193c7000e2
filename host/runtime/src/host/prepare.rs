//! From stored bytes to a release that may enter a swap.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use host_core::{
    history::{Step, SwapKind, SwapReport, Verdict},
    plan::{self, Plan, Running, Situation},
    policy::StateSource,
    release::{Release, Revision, Topology},
    request::{DeployRequest, Progress},
    status::RunState,
    time::Moment,
};

use super::{Inner, Place, PreparedId, ProgressSink, Slot, describe};
use crate::{
    artifact::Artifact,
    clock::Clock,
    error::HostError,
    telemetry::{CodeSource, compile_span},
    workload::Body,
};

/// How long a prepared release may wait: the live state, the disk and the health it was checked against move on.
const EXPIRES_AFTER: Duration = Duration::from_secs(60);
/// Prepared releases that wait at once.
const PREPARED_LIMIT: usize = 16;

/// A release whose bytes were verified and compiled, that described itself and has a plan.
#[derive(Clone, Debug)]
pub(crate) struct PreparedRelease {
    pub(super) request: DeployRequest,
    pub(super) artifact: Artifact,
    pub(super) body: Body,
    pub(super) plan: Plan,
    made: Moment,
}

/// The steps of a preparation, timed and told.
pub(super) struct Steps {
    clock: Arc<Clock>,
    progress: ProgressSink,
    current: Option<(&'static str, Moment)>,
    pub(super) done: Vec<Step>,
}

impl Steps {
    pub(super) fn new(clock: Arc<Clock>, progress: ProgressSink) -> Self {
        Self { clock, progress, current: None, done: Vec::new() }
    }

    /// The step before is over, this one begins.
    pub(super) fn begin(&mut self, name: &'static str) {
        self.end();
        self.current = Some((name, self.clock.moment()));
        drop(self.progress.try_send(Progress::Step { name: name.to_owned() }));
    }

    /// The last step is over.
    pub(super) fn end(&mut self) {
        if let Some((name, began)) = self.current.take() {
            self.done.push(Step { name: name.to_owned(), took: self.clock.moment().since(began) });
        }
    }

    pub(super) fn note(&self, message: String) {
        drop(self.progress.try_send(Progress::Note { message }));
    }
}

impl Inner {
    /// Verifies, compiles, describes and plans. The error is the refusal in words; nothing has changed then.
    pub(super) async fn prepare(
        &self,
        slot: &Slot,
        request: DeployRequest,
        artifact: Artifact,
        steps: &mut Steps,
        own: Option<host_core::id::SwapId>,
    ) -> Result<Result<PreparedRelease, String>, HostError> {
        steps.begin("compile");
        let began = self.clock.moment();
        let source = if self.compiler.is_kept(artifact.digest) { CodeSource::Cache } else { CodeSource::Compiled };
        let span = compile_span(&request.workload, &artifact.digest);
        let compiled = tracing::Instrument::instrument(self.compiler.load(&self.store, artifact.digest), span).await;
        let component = match compiled {
            Ok(component) => component,
            Err(error) => return Ok(Err(describe(&error))),
        };
        self.metrics.workload(&request.workload).code_ready(source, self.clock.moment().since(began));
        steps.begin("describe");
        let description = match self.compiler.describe(&component).await {
            Ok(description) => description,
            Err(error) => return Ok(Err(describe(&error))),
        };
        steps.begin("plan");
        let current = current(slot);
        let revision = Revision {
            release: Release {
                workload: request.workload.clone(),
                version: request.version.clone(),
                digest: artifact.digest,
                description,
                capabilities: BTreeSet::new(),
            },
            config: request.config.clone().or_else(|| Some(current.as_ref()?.0.config.clone())).unwrap_or_default(),
            listeners: request
                .listeners
                .clone()
                .or_else(|| Some(current.as_ref()?.0.listeners.clone()))
                .unwrap_or_default(),
            topology: Topology::Single,
        };
        let (name, version) = (request.workload.clone(), request.version.clone());
        let stored = self.ledger.run(move |ledger| ledger.digest_of(&name, &version)).await?;
        let source = request.policy.state_from;
        let running = current.as_ref().map(|(revision, state)| Running {
            revision,
            // A failed workload has no live state, but its last checkpoint can be handed over.
            live: match state {
                RunState::Running => true,
                RunState::Failed { .. } => source == StateSource::LastCheckpoint && slot.running().is_some(),
                RunState::Stopped => false,
            },
            swap: slot.busy().filter(|busy| Some(*busy) != own),
        });
        let plan = match plan::plan(&Situation { current: running, stored }, &revision, request.intent, source) {
            Ok(plan) => plan,
            Err(refusal) => return Ok(Err(refusal.to_string())),
        };
        let body = Body { revision, component, size_bytes: artifact.bytes };
        Ok(Ok(PreparedRelease { request, artifact, body, plan, made: self.clock.moment() }))
    }

    /// `prepare` as a request of its own.
    pub(super) async fn prepare_only(
        self: Arc<Self>,
        request: DeployRequest,
        artifact: Artifact,
        progress: ProgressSink,
    ) -> Result<(Option<PreparedId>, SwapReport), HostError> {
        let slot = self.slot_or_new(&request.workload);
        let mut report = self.draft(&slot, &request, &artifact, SwapKind::Deploy);
        let mut steps = Steps::new(self.clock.clone(), progress);
        let prepared = self.prepare(&slot, request, artifact, &mut steps, None).await?;
        steps.end();
        report.steps = steps.done;
        report.ended = self.clock.unix();
        let release = match prepared {
            Ok(release) => release,
            Err(why) => {
                report.verdict = Verdict::Refused { why };
                return Ok((None, report));
            }
        };
        report.plan = Some(release.plan.clone());
        report.verdict = if release.plan == Plan::Nothing { Verdict::Nothing } else { Verdict::Done };
        if release.plan == Plan::Nothing {
            return Ok((None, report));
        }
        Ok((Some(self.keep(release)?), report))
    }

    fn keep(&self, release: PreparedRelease) -> Result<PreparedId, HostError> {
        let mut prepared = self.prepared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = self.clock.moment();
        prepared.retain(|_, release| now.since(release.made) <= EXPIRES_AFTER);
        if prepared.len() >= PREPARED_LIMIT {
            return Err(HostError::Refused(format!(
                "{PREPARED_LIMIT} releases are prepared already; execute one, or wait a minute"
            )));
        }
        let id = self.next_prepared.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        prepared.insert(id, release);
        Ok(PreparedId(id))
    }

    /// Takes what was prepared, if it has not expired.
    pub(super) fn take_prepared(&self, id: PreparedId) -> Result<PreparedRelease, HostError> {
        let mut prepared = self.prepared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let release = prepared.remove(&id.0);
        let now = self.clock.moment();
        release.filter(|release| now.since(release.made) <= EXPIRES_AFTER).ok_or(HostError::NotPrepared { id: id.0 })
    }

    /// A report to be filled in.
    pub(super) fn draft(
        &self,
        slot: &Slot,
        request: &DeployRequest,
        artifact: &Artifact,
        kind: SwapKind,
    ) -> SwapReport {
        let began = self.clock.unix();
        let mut report = SwapReport::blank(request.workload.clone(), request.version.clone(), artifact.digest, began);
        report.kind = kind;
        self.fill_running(slot, &mut report);
        report.from = current(slot).map(|(revision, _)| revision.release.version);
        report
    }

    /// What runs now.
    pub(super) fn fill_running(&self, slot: &Slot, report: &mut SwapReport) {
        match slot.place() {
            Place::Running(workload) => {
                let live = workload.shared.live();
                report.generation = live.generation;
                report.running = (live.run_state == RunState::Running).then(|| live.revision.release.version.clone());
            }
            Place::Empty { entry, .. } => {
                report.generation = entry.map_or(report.generation, |entry| entry.generation);
                report.running = None;
            }
        }
    }
}

/// The revision in place and whether it runs.
pub(super) fn current(slot: &Slot) -> Option<(Revision, RunState)> {
    match slot.place() {
        Place::Running(workload) => {
            let live = workload.shared.live();
            Some((live.revision.clone(), live.run_state.clone()))
        }
        Place::Empty { entry, why } => {
            let state = why.map_or(RunState::Stopped, |why| RunState::Failed { why });
            entry.map(|entry| (entry.revision, state))
        }
    }
}

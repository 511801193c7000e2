//! From stored bytes to a release that may enter a swap.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
    time::Duration,
};

use host_core::{
    history::{Step, SwapKind, SwapReport, Verdict},
    id::Generation,
    plan::{self, Plan, Running, Situation},
    policy::StateSource,
    release::{Release, Revision, Topology},
    request::{DeployRequest, Extent, Progress},
    status::RunState,
    time::Moment,
    trace::TraceContext,
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
    /// The generation that the plan leads on from. A plan for another is not carried out.
    pub(super) planned_for: Generation,
}

/// What was prepared and waits to be executed, each under a number that is used once.
#[derive(Debug)]
pub(crate) struct Prepared<T> {
    kept: BTreeMap<u64, (Moment, T)>,
    last: u64,
}

impl<T> Default for Prepared<T> {
    fn default() -> Self {
        Self { kept: BTreeMap::new(), last: 0 }
    }
}

impl<T> Prepared<T> {
    /// Keeps one more. None when too many wait already; those that expired don't count.
    fn keep(&mut self, release: T, now: Moment) -> Option<PreparedId> {
        self.kept.retain(|_, (made, _)| now.since(*made) <= EXPIRES_AFTER);
        if self.kept.len() >= PREPARED_LIMIT {
            return None;
        }
        self.last += 1;
        self.kept.insert(self.last, (now, release));
        Some(PreparedId(self.last))
    }

    /// Takes one, unless it was taken or has expired.
    fn take(&mut self, id: PreparedId, now: Moment) -> Option<T> {
        let (made, release) = self.kept.remove(&id.0)?;
        (now.since(made) <= EXPIRES_AFTER).then_some(release)
    }
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
        let current = current(slot);
        let topology = request.topology.or_else(|| Some(current.as_ref()?.0.topology)).unwrap_or_default();
        let compiler = match self.compiler_for(topology) {
            Ok(compiler) => compiler,
            Err(why) => return Ok(Err(why)),
        };
        let source = if compiler.is_kept(artifact.digest) { CodeSource::Cache } else { CodeSource::Compiled };
        let span = compile_span(&request.workload, &artifact.digest);
        self.adopt(&span, request.trace);
        let compiled = tracing::Instrument::instrument(compiler.load(&self.store, artifact.digest), span).await;
        let component = match compiled {
            Ok(component) => component,
            Err(error) => return Ok(Err(describe(&error))),
        };
        self.metrics.workload(&request.workload).code_ready(source, self.clock.moment().since(began));
        steps.begin("describe");
        let description = match compiler.describe(&component).await {
            Ok(description) => description,
            Err(error) => return Ok(Err(describe(&error))),
        };
        steps.begin("plan");
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
            topology,
        };
        let (name, version) = (request.workload.clone(), request.version.clone());
        let stored = self.ledger.run(move |ledger| ledger.digest_of(&name, &version)).await?;
        let source = request.policy.state_from;
        let running = current.as_ref().map(|(revision, state, _)| Running {
            revision,
            // A failed workload has no live state, but its last checkpoint can be handed over; sessions that are parked have
            // theirs.
            live: match state {
                RunState::Running => true,
                RunState::Failed { .. } => {
                    let kept = source == StateSource::LastCheckpoint || revision.topology == Topology::PerConnection;
                    kept && slot.running().is_some()
                }
                RunState::Stopped => false,
            },
            swap: slot.busy().filter(|busy| Some(*busy) != own),
        });
        let plan = match plan::plan(&Situation { current: running, stored }, &revision, request.intent, source) {
            Ok(plan) => plan,
            Err(refusal) => return Ok(Err(refusal.to_string())),
        };
        if request.extent != Extent::Plan
            && let Err(refusal) = plan::admit(&plan, &revision, &request.policy)
        {
            return Ok(Err(refusal.to_string()));
        }
        let body = Body { revision, component, size_bytes: artifact.bytes };
        let planned_for = current.map_or(Generation(0), |(_, _, generation)| generation);
        Ok(Ok(PreparedRelease { request, artifact, body, plan, planned_for }))
    }

    /// Makes a span a part of the trace that the request is of.
    pub(super) fn adopt(&self, span: &tracing::Span, trace: Option<TraceContext>) {
        if let (Some(adopt), Some(trace)) = (self.config.adopt, trace) {
            adopt(span, trace);
        }
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
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.keep(release, self.clock.moment()).ok_or_else(|| {
            HostError::Refused(format!("{PREPARED_LIMIT} releases are prepared already; execute one, or wait a minute"))
        })
    }

    /// Takes what was prepared, if it has not expired.
    pub(super) fn take_prepared(&self, id: PreparedId) -> Result<PreparedRelease, HostError> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.take(id, self.clock.moment()).ok_or(HostError::NotPrepared { id: id.0 })
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
        report.from = current(slot).map(|(revision, ..)| revision.release.version);
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

/// The revision in place, whether it runs, and its generation.
pub(super) fn current(slot: &Slot) -> Option<(Revision, RunState, Generation)> {
    match slot.place() {
        Place::Running(workload) => {
            let live = workload.shared.live();
            Some((live.revision.clone(), live.run_state.clone(), live.generation))
        }
        Place::Empty { entry, why, .. } => {
            let state = why.map_or(RunState::Stopped, |why| RunState::Failed { why });
            entry.map(|entry| (entry.revision, state, entry.generation))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_prepared_is_taken_once_and_not_after_a_minute() {
        let (now, mut prepared) = (Moment(7), Prepared::default());
        let [first, second, third] = ["first", "second", "third"].map(|what| prepared.keep(what, now).expect("room"));
        let (limit, later) = (now.after(EXPIRES_AFTER), Moment(now.after(EXPIRES_AFTER).0 + 1));
        assert_eq!(prepared.take(first, limit), Some("first"));
        assert_eq!(prepared.take(first, limit), None, "it was used");
        assert_eq!(prepared.take(second, later), None, "it expired");
        assert_eq!(prepared.take(second, limit), None, "and is gone");
        assert_eq!(prepared.take(third, now), Some("third"));
    }

    #[test]
    fn there_is_an_end_to_what_waits_and_what_expired_makes_room() {
        let (now, mut prepared) = (Moment(0), Prepared::default());
        assert!((0..PREPARED_LIMIT).all(|what| prepared.keep(what, now).is_some()));
        assert_eq!(prepared.keep(99, now.after(EXPIRES_AFTER)), None);
        assert!(prepared.keep(99, Moment(now.after(EXPIRES_AFTER).0 + 1)).is_some());
    }
}

//! The driver of a swap: everything before the pause, then the offer to the actor, then the wait.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use host_core::{
    history::{StateCarried, SwapKind, SwapReport, Verdict},
    id::{BatchSeq, Generation},
    plan::{Plan, SwapPlan},
    policy::{StateSource, SwapPolicy},
    release::{ListenAddress, Topology},
    request::{DeployRequest, Extent},
    status::RunState,
    swap::{Input, Outcome, PhaseName, PhaseTime, Swap},
    time::UnixNanos,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep_until, timeout},
};

use super::{
    Inner, Place, PreparedId, ProgressSink, Slot, preflight,
    prepare::{PreparedRelease, Steps},
};
use crate::{
    artifact::Artifact,
    bindings::types::{Event, Start},
    checkpoint::{Checkpoint, CheckpointFiles},
    engine::Purpose,
    error::HostError,
    fault,
    ledger::{Attempt, Desired, Entry},
    mailbox::Mailbox,
    net::{
        connection::OutboxLimits,
        listener::{Bound, Door, Reception},
    },
    telemetry::SwapSpan,
    workload::{
        Active, CONTROL_LIMIT, Candidate, Control, Inlet, Lane, Live, Offer, Scribe, Shared, Ticket, Workload,
        actor::{Actor, Beginning, Surroundings},
        in_call::InCall,
        passed_over,
    },
};

/// Steps over which a drain is spread.
const DRAIN_STEPS: usize = 20;

/// A swap on its way to the actor.
pub(super) struct Driver<'a> {
    pub(super) slot: &'a Slot,
    pub(super) report: SwapReport,
    pub(super) swap: Swap,
    pub(super) span: SwapSpan,
    pub(super) steps: Steps,
    pub(super) progress: ProgressSink,
    pub(super) ticket: Ticket,
}

impl Inner {
    pub(super) async fn deploy(
        self: Arc<Self>,
        request: DeployRequest,
        artifact: Artifact,
        progress: ProgressSink,
    ) -> Result<SwapReport, HostError> {
        match request.extent {
            Extent::Swap => self.swap(request, artifact, progress, SwapKind::Deploy).await,
            Extent::Plan => {
                let (prepared, report) = self.clone().prepare_only(request, artifact, progress).await?;
                // Only looked at.
                drop(prepared.map(|id| self.take_prepared(id)));
                Ok(report)
            }
            Extent::Replay => self.replay_with(request, artifact, progress).await,
            Extent::Rehearse => self.rehearse(request, artifact, progress).await,
        }
    }

    pub(super) async fn execute(
        self: Arc<Self>,
        id: PreparedId,
        progress: ProgressSink,
    ) -> Result<SwapReport, HostError> {
        let PreparedRelease { request, artifact, .. } = self.take_prepared(id)?;
        // The code is compiled already; only the plan is made anew.
        self.swap(request, artifact, progress, SwapKind::Deploy).await
    }

    /// All the way.
    pub(super) async fn swap(
        &self,
        request: DeployRequest,
        artifact: Artifact,
        progress: ProgressSink,
        kind: SwapKind,
    ) -> Result<SwapReport, HostError> {
        let slot = self.slot_or_new(&request.workload);
        let mut report = self.draft(&slot, &request, &artifact, kind);
        let attempt = Attempt {
            workload: request.workload.clone(),
            to: request.version.clone(),
            digest: artifact.digest,
            began: report.began,
        };
        report.id = self.ledger.run(move |ledger| ledger.begin_swap(&attempt)).await?;
        let mut span = SwapSpan::begin(report.id, kind, &request.workload, report.from.as_ref(), &request.version);
        self.adopt(span.swap(), request.trace);
        let ticket = match slot.ticket(report.id) {
            Ok(ticket) => ticket,
            Err(swap) => {
                let refusal = host_core::plan::Refusal::SwapUnderWay { workload: request.workload, swap };
                return self.refused(&slot, report, span, refusal.to_string()).await;
            }
        };
        let swap = Swap::new(report.id, request.policy.clone(), self.clock.moment());
        span.enter(PhaseName::Prepare);
        fault::at(PhaseName::Prepare.as_str());
        self.events.tell(
            "swap.started",
            Some(&request.workload),
            Some(report.id),
            format!("{} to {}", report.from.as_ref().map_or("nothing".to_owned(), ToString::to_string), report.to),
        );
        let steps = Steps::new(self.clock.clone(), progress.clone());
        let mut driver = Driver { slot: &slot, report, swap, span, steps, progress, ticket };
        let id = Some(driver.report.id);
        let prepared = self.prepare(&slot, request, artifact, &mut driver.steps, id).await?;
        let release = match prepared {
            Ok(release) => release,
            Err(why) => return self.refuse(driver, why).await,
        };
        driver.report.plan = Some(release.plan.clone());
        match release.plan.clone() {
            Plan::Nothing => {
                driver.report.verdict = Verdict::Nothing;
                self.close(driver.report, driver.span).await
            }
            Plan::Start => self.begin(driver, release).await,
            Plan::Swap(plan) => self.offer(driver, release, plan).await,
        }
    }

    /// The rest of the preparation, then the actor's part.
    async fn offer(
        &self,
        mut driver: Driver<'_>,
        mut release: PreparedRelease,
        plan: SwapPlan,
    ) -> Result<SwapReport, HostError> {
        let Some(workload) = driver.slot.running() else {
            return self.refuse(driver, "it is stopped".to_owned()).await;
        };
        let policy = release.request.policy.clone();
        if !policy.force {
            driver.steps.begin("pre-flight");
            let health = match policy.state_from {
                StateSource::Live => {
                    let asked = ask(&workload.control, |report| Control::Health { report });
                    match timeout(policy.pause_limit, asked).await {
                        Ok(health) => Some(health?),
                        // Asked at a batch boundary, as quiescing would be: it would end no sooner.
                        Err(_) => return self.abort(driver, still_busy(policy.pause_limit)).await,
                    }
                }
                StateSource::LastCheckpoint => None,
            };
            if let Err(why) = preflight::check(&self.config.data, policy.preflight, health.as_ref()) {
                return self.refuse(driver, why).await;
            }
        }
        if let Some(sessions) = workload.sessions() {
            return self.offer_sessions(driver, release, plan, sessions, &workload).await;
        }
        let Driver { steps, report, .. } = &mut driver;
        if let Err(why) = self.shadow(&policy, &release, &plan, &workload, steps, report).await {
            return self.refuse(driver, why).await;
        }
        let candidate = match self.candidate(&mut driver, &mut release, &workload).await {
            Ok(candidate) => candidate,
            Err(why) => return self.refuse(driver, why).await,
        };
        if policy.state_from == StateSource::LastCheckpoint {
            driver.steps.note(cost_of_checkpoint(&workload, self.clock.unix()));
        }
        if let Err(why) = self.drain_and_brace(&mut driver, &workload, &policy).await? {
            return self.abort(driver, why).await;
        }
        driver.steps.end();
        let Driver { slot, mut report, mut swap, mut span, steps, progress, ticket } = driver;
        report.steps = steps.done;
        // Its answer is always to quiesce; the actor takes the offer at its next batch boundary.
        swap.handle(Input::Prepared(Ok(plan)), self.clock.moment());
        span.enter(PhaseName::Quiesce);
        fault::at(PhaseName::Quiesce.as_str());
        let deadline = swap.wakes_at().map(|at| self.clock.instant_of(at));
        let (done, mut answer) = oneshot::channel();
        let offer = Offer::new(
            release.planned_for,
            Active {
                swap,
                report,
                span: Some(span),
                progress: Some(progress),
                done: vec![done],
                asker: None,
                candidate: Some(candidate),
                ticket: Some(ticket),
                old: None,
                handed: None,
                migrated: UnixNanos(0),
                quiesced: None,
                untold: Vec::new(),
                baseline: None,
            },
        );
        workload.control.send(Control::Swap(offer.clone())).await.map_err(|_| HostError::Stopping)?;
        if let Some(deadline) = deadline {
            tokio::select! {
                biased;
                report = &mut answer => return report.map_err(|_| HostError::Stopping),
                () = sleep_until(deadline.into()) => {
                    if let Some(active) = offer.take() {
                        return self.too_late(slot, active).await;
                    }
                }
            }
        }
        answer.await.map_err(|_| HostError::Stopping)
    }

    /// The last steps before the offer. The inner error is why the swap is off.
    pub(super) async fn drain_and_brace(
        &self,
        driver: &mut Driver<'_>,
        workload: &Workload,
        policy: &SwapPolicy,
    ) -> Result<Result<(), String>, HostError> {
        if let Some(over) = policy.drain {
            driver.steps.begin("drain");
            drain(workload, over).await?;
        }
        driver.steps.begin("brace");
        let braced = timeout(policy.pause_limit, ask(&workload.control, |braced| Control::Brace { braced })).await;
        braced.map_or_else(|_| Ok(Err(still_busy(policy.pause_limit))), |braced| braced.map(Ok))
    }

    /// New listeners bound, instance made and initialised.
    async fn candidate(
        &self,
        driver: &mut Driver<'_>,
        release: &mut PreparedRelease,
        workload: &Workload,
    ) -> Result<Candidate, String> {
        driver.steps.begin("listen");
        let open = workload.shared.live().revision.listeners.clone();
        let bound = bind(&mut release.body.revision.listeners, &open)?;
        driver.steps.begin("init");
        let newborn = self.nursery.initialised(&release.body, Purpose::Replacement).await?;
        let mark = InCall::open(&workload_folder(&self.config.data, &workload.name)).ok();
        Ok(Candidate { body: release.body.clone(), newborn, mark, bound })
    }

    /// The swap is off before anybody was paused.
    pub(super) async fn abort(&self, driver: Driver<'_>, why: String) -> Result<SwapReport, HostError> {
        let Driver { slot, mut report, mut swap, span, mut steps, ticket, .. } = driver;
        steps.end();
        report.steps = steps.done;
        swap.handle(Input::Prepared(Err(why.clone())), self.clock.moment());
        report.phases = swap.times().to_vec();
        report.verdict = Verdict::Swap { outcome: Outcome::Aborted { why } };
        self.fill_running(slot, &mut report);
        drop(ticket);
        self.close(report, span).await
    }

    /// The running batch did not end in time: the swap is off, and nobody was paused.
    async fn too_late(&self, slot: &Slot, active: Active) -> Result<SwapReport, HostError> {
        let Active { mut swap, mut report, span, ticket, .. } = active;
        swap.handle(Input::Tick, self.clock.moment());
        let why = match swap.phase() {
            host_core::swap::Phase::Ended(Outcome::Aborted { why }) => why.clone(),
            _ => "the running batch did not end in time".to_owned(),
        };
        report.phases = swap.times().to_vec();
        report.verdict = Verdict::Swap { outcome: Outcome::Aborted { why } };
        self.fill_running(slot, &mut report);
        drop(ticket);
        let Some(span) = span else { return Ok(report) };
        self.close(report, span).await
    }

    /// A workload that was not there.
    async fn begin(&self, mut driver: Driver<'_>, mut release: PreparedRelease) -> Result<SwapReport, HostError> {
        driver.report.kind = SwapKind::Start;
        let policy = &release.request.policy;
        if !policy.force {
            driver.steps.begin("pre-flight");
            if let Err(why) = preflight::check(&self.config.data, policy.preflight, None) {
                return self.refuse(driver, why).await;
            }
        }
        driver.steps.begin("listen");
        let bound = match bind(&mut release.body.revision.listeners, &[]) {
            Ok(bound) => bound,
            Err(why) => return self.refuse(driver, why).await,
        };
        driver.steps.begin("init");
        if release.body.revision.topology == Topology::PerConnection {
            return self.begin_sessions(driver, release, bound).await;
        }
        let body = release.body.clone();
        let born = async {
            let mut instance = self.nursery.initialised(&body, Purpose::Start).await?.begins();
            let schema = body.revision.release.description.writes.schema;
            let state = instance.snapshot(self.clock.unix(), schema).await;
            let state = state.map_err(|error| format!("its first snapshot failed: {error}"))?;
            Ok::<_, String>((instance, state))
        };
        let (instance, state) = match born.await {
            Ok(born) => born,
            Err(why) => return self.refuse(driver, why).await,
        };
        driver.steps.begin("record");
        let checkpoint = Checkpoint {
            written_by: body.revision.release.version.clone(),
            digest: body.revision.release.digest,
            format: state.format(),
            generation: Generation(1),
            batches: BatchSeq(0),
            events: 0,
            made: self.clock.unix(),
            state: Bytes::from(state.into_data()),
            timers: Vec::new(),
            calls: Vec::new(),
            connections: Arc::default(),
        };
        let written = checkpoint.status();
        driver.report.state = Some(StateCarried {
            format: checkpoint.format,
            bytes: checkpoint.state.len() as u64,
            bytes_after: None,
            peak_memory_bytes: Some(instance.peak_memory_bytes() as u64),
        });
        let entry = Entry {
            name: driver.slot.name.clone(),
            desired: Desired::Running,
            generation: Generation(1),
            revision: body.revision.clone(),
            predecessor: None,
            probation: None,
            last_swap: None,
            clean: false,
        };
        if let Err(why) = self.record_start(&entry, checkpoint, body.size_bytes).await {
            return self.refuse(driver, format!("it could not be written down: {why}")).await;
        }
        let beginning = Beginning {
            body,
            generation: Generation(1),
            predecessor: None,
            instance: Some(instance),
            listeners: Vec::new(),
            front: vec![Event::Started(Start::Fresh)],
            timers: Vec::new(),
            batches: BatchSeq(0),
            events: 0,
            checkpoint: written,
            active: None,
            damaged: Vec::new(),
        };
        let workload = match self.spawn(driver.slot, beginning, bound) {
            Ok(workload) => workload,
            Err(why) => return self.refuse(driver, why).await,
        };
        driver.slot.set(Place::Running(workload));
        self.started(driver).await
    }

    /// It runs for the first time.
    pub(super) async fn started(&self, mut driver: Driver<'_>) -> Result<SwapReport, HostError> {
        driver.steps.end();
        let Driver { slot, mut report, span, steps, .. } = driver;
        report.steps = steps.done;
        report.verdict = Verdict::Started;
        self.fill_running(slot, &mut report);
        let name = &slot.name;
        self.events.tell("workload.started", Some(name), Some(report.id), format!("{} runs", report.to));
        tracing::info!(workload = %name, version = %report.to, "it runs");
        self.close(report, span).await
    }

    async fn record_start(&self, entry: &Entry, checkpoint: Checkpoint, size_bytes: u64) -> Result<(), String> {
        let (entry, data) = (entry.clone(), self.config.data.clone());
        let written = self.ledger.run(move |ledger| {
            let files = match CheckpointFiles::open(folder(&data, &entry)) {
                Ok(files) => files,
                Err(error) => return Ok(Err(super::describe(&error))),
            };
            if let Err(error) = files.write(&checkpoint) {
                return Ok(Err(super::describe(&error)));
            }
            ledger.store_release(&entry.revision.release, size_bytes, checkpoint.made)?;
            ledger.put_entry(&entry)?;
            Ok(Ok(()))
        });
        written.await.map_err(|error| super::describe(&error))?
    }

    /// Starts an actor with its lane, its scribe and its listeners.
    pub(super) fn spawn(&self, slot: &Slot, mut beginning: Beginning, bound: Vec<Bound>) -> Result<Workload, String> {
        let name = slot.name.clone();
        let lane = Lane::start(name.as_str()).map_err(|error| {
            format!("it can't have a thread of its own: {error}; raise the limits on threads and files")
        })?;
        let metrics = self.metrics.workload(&name);
        let mailbox = Arc::new(Mailbox::new(self.config.net.mailbox_bytes));
        let files = CheckpointFiles::open(checkpoint_folder(&self.config.data, &name));
        let files = files.map_err(|error| super::describe(&error))?;
        let pinned = beginning.active.as_ref().and_then(|active| active.handed.as_ref()).map(|handed| handed.name());
        let named = (beginning.generation, pinned);
        let (scribe, done) = Scribe::spawn(name.clone(), self.ledger.clone(), files.clone(), metrics.clone(), named);
        let shared = Arc::new(Shared::new(Live {
            revision: beginning.body.revision.clone(),
            generation: beginning.generation,
            predecessor: beginning.predecessor.clone(),
            run_state: RunState::Running,
            restarts: 0,
            checkpoint: Some(beginning.checkpoint),
            swap: beginning.active.as_ref().and_then(Active::live),
            warnings: beginning
                .damaged
                .last()
                .map(|what| ("checkpoint-damaged", passed_over(what)))
                .into_iter()
                .collect(),
        }));
        let reception = Reception {
            workload: name.clone(),
            door: Door::Shared(mailbox.clone()),
            metrics: metrics.clone(),
            ids: self.ids.clone(),
            outboxes: Arc::new(OutboxLimits::new(self.config.net.outbox_bytes, self.config.net.outboxes_bytes)),
            tasks: lane.tasks.clone(),
            runtime: lane.handle.clone(),
            capacity: self.capacity.clone(),
        };
        beginning.listeners = bound.into_iter().map(|bound| bound.accept(reception.clone())).collect();
        let (control, commands) = mpsc::channel(CONTROL_LIMIT);
        let around = Surroundings {
            name: name.clone(),
            config: self.config.clone(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            nursery: self.nursery.clone(),
            events: self.events.clone(),
            metrics: metrics.clone(),
            mailbox: mailbox.clone(),
            shared: shared.clone(),
            reception,
            scribe,
            files,
        };
        metrics.set_generation(beginning.generation);
        let ended = lane.run(Actor::new(around, beginning, commands, done).run());
        // So that the end of the host waits for its last bytes.
        self.tasks.spawn(ended);
        Ok(Workload { name, control, inlet: Inlet::Mailbox(mailbox), shared, metrics })
    }

    pub(super) async fn refuse(&self, driver: Driver<'_>, why: String) -> Result<SwapReport, HostError> {
        let Driver { slot, mut report, swap, span, mut steps, .. } = driver;
        steps.end();
        report.steps = steps.done;
        let took = self.clock.moment().since(swap.began());
        report.phases = vec![PhaseTime { phase: PhaseName::Prepare, took }];
        self.refused(slot, report, span, why).await
    }

    async fn refused(
        &self,
        slot: &Slot,
        mut report: SwapReport,
        span: SwapSpan,
        why: String,
    ) -> Result<SwapReport, HostError> {
        tracing::warn!(workload = %slot.name, version = %report.to, "refused: {why}");
        report.verdict = Verdict::Refused { why };
        self.fill_running(slot, &mut report);
        self.close(report, span).await
    }

    /// The end of what never reached an actor: counted, told, kept.
    pub(super) async fn close(&self, mut report: SwapReport, span: SwapSpan) -> Result<SwapReport, HostError> {
        report.ended = self.clock.unix();
        self.metrics.workload(&report.workload).swap_ended(&report);
        span.end(&report);
        // A first start has told its own event: it is the workload's, not a swap's.
        if report.verdict != Verdict::Started {
            let event = format!("swap.{}", report.verdict.as_str());
            let message = report.verdict.why().map_or_else(|| format!("{} runs already", report.to), str::to_owned);
            self.events.tell(&event, Some(&report.workload), Some(report.id), message);
        }
        let kept = report.clone();
        self.ledger.run(move |ledger| ledger.append(&kept)).await?;
        Ok(report)
    }
}

/// Binds those of `listeners` that are not open yet, and puts in the ports the system chose.
pub(super) fn bind(listeners: &mut [ListenAddress], open: &[ListenAddress]) -> Result<Vec<Bound>, String> {
    let mut bound = Vec::new();
    for listener in listeners.iter_mut().filter(|listener| !open.contains(listener)) {
        let socket = Bound::bind(*listener)
            .map_err(|error| format!("can't listen on {listener}: {error}; choose another address with --listen"))?;
        *listener = socket.address;
        bound.push(socket);
    }
    Ok(bound)
}

/// What a swap from the last checkpoint will cost, in words, before it does.
fn cost_of_checkpoint(workload: &Workload, now: UnixNanos) -> String {
    let status = workload.shared.live().checkpoint;
    status.map_or_else(
        || "the state comes from the last checkpoint on disk; what happened since is lost".to_owned(),
        |checkpoint| {
            let batches = workload.shared.batches().0.saturating_sub(checkpoint.batches.0);
            let age = now.since(checkpoint.at).as_secs_f64();
            format!("the state comes from the last checkpoint, {age:.1} s old: what {batches} batches since then did is lost")
        },
    )
}

/// Closes the connections of now, oldest first and evenly over this time. Whoever comes meanwhile stays.
async fn drain(workload: &Workload, over: Duration) -> Result<(), HostError> {
    let open = ask(&workload.control, |ids| Control::Connections { ids }).await?;
    let steps = open.chunks(open.len().div_ceil(DRAIN_STEPS).max(1));
    let pause = over / u32::try_from(steps.len()).unwrap_or(1).max(1);
    for ids in steps {
        let drained = workload.control.send(Control::Drain { ids: ids.to_vec() }).await;
        drained.map_err(|_| HostError::Stopping)?;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

/// Why a swap is off whose workload did not come to a batch boundary.
pub(super) fn still_busy(limit: Duration) -> String {
    format!("the running batch did not end within {limit:?} (--timeout)")
}

/// Asks an actor and waits for its answer.
pub(super) async fn ask<T>(
    control: &mpsc::Sender<Control>,
    question: impl FnOnce(oneshot::Sender<T>) -> Control,
) -> Result<T, HostError> {
    let (to, answer) = oneshot::channel();
    control.send(question(to)).await.map_err(|_| HostError::Stopping)?;
    answer.await.map_err(|_| HostError::Stopping)
}

fn folder(data: &std::path::Path, entry: &Entry) -> std::path::PathBuf {
    checkpoint_folder(data, &entry.name)
}

/// Where a workload's checkpoints are.
pub(super) fn checkpoint_folder(data: &std::path::Path, name: &host_core::id::WorkloadName) -> std::path::PathBuf {
    workload_folder(data, name).join("checkpoints")
}

/// Where everything else of it is.
pub(super) fn workload_folder(data: &std::path::Path, name: &host_core::id::WorkloadName) -> std::path::PathBuf {
    data.join("workloads").join(name.as_str())
}

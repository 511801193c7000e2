//! The driver's part for workloads with an instance for each connection: engine and compiler of their own, first start, swap,
//! rehearsal, recovery. What it shares with the driver for single instances stays there.

use std::sync::Arc;

use host_core::{
    history::{StateCarried, SwapKind, SwapReport, Verdict},
    id::Generation,
    plan::SwapPlan,
    release::{Revision, Topology},
    status::RunState,
    swap::{Input, Outcome, Phase, PhaseName, PhaseTime, RollbackWay, Swap},
};
use tokio::{runtime::Handle, sync::oneshot, time::sleep_until};

use super::{
    Inner, Place, Slot,
    deploy::{Driver, bind},
    describe,
    prepare::{PreparedRelease, Steps},
    recovery::{RolledBack, STARTS_ON_PROBATION_LIMIT, bind_all},
};
use crate::{
    artifact::Compiler,
    engine::Engine,
    error::HostError,
    fault,
    ledger::{Desired, Entry, ProbationRecord},
    net::{
        connection::OutboxLimits,
        listener::{Bound, Door, Reception},
    },
    sessions::{self, Foundation, Move, Offer, Old, Proposal, Sessions},
    workload::{Body, Live, Shared, Workload},
};

/// What compiles and runs instances with a connection each. Made when the first such workload comes: a host without one
/// doesn't pay for it.
#[derive(Clone)]
pub(crate) struct SessionEngine {
    engine: Engine,
    compiler: Compiler,
}

impl Inner {
    /// The compiler for a topology.
    pub(super) fn compiler_for(&self, topology: Topology) -> Result<Compiler, String> {
        match topology {
            Topology::Single => Ok(self.compiler.clone()),
            Topology::PerConnection => Ok(self.session_engine()?.compiler),
        }
    }

    fn session_engine(&self) -> Result<SessionEngine, String> {
        let mut made = self.session_engine.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(made) = &*made {
            return Ok(made.clone());
        }
        let engine = sessions::engine(&self.nursery.engine, self.room.most()).map_err(|error| describe(&error))?;
        // A folder of its own: the same component's code for the other engine is another.
        let folder = self.config.data.join("compiled-sessions");
        let compiler = Compiler::new(engine.clone(), &folder).map_err(|error| describe(&error))?;
        let compiler = compiler.with_limits(self.config.limits);
        Ok(made.insert(SessionEngine { engine, compiler }).clone())
    }

    /// A workload that was not there: nothing of it is persisted but that it runs.
    pub(super) async fn begin_sessions(
        &self,
        mut driver: Driver<'_>,
        release: PreparedRelease,
        bound: Vec<Bound>,
    ) -> Result<SwapReport, HostError> {
        let body = release.body;
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
        let founded = self.found(driver.slot, body.clone(), &entry, None, bound);
        let (workload, sessions) = match founded {
            Ok(founded) => founded,
            Err(why) => return self.refuse(driver, why).await,
        };
        // Tried before it is written down: a release that refuses its config never ran.
        let tried = sessions.house.probe(&body).await;
        driver.steps.begin("record");
        let recorded = match tried {
            Ok(()) => self.record_sessions(entry, body.size_bytes).await,
            Err(why) => Err(why),
        };
        if let Err(why) = recorded {
            return self.refuse(driver, why).await;
        }
        driver.slot.set(Place::Running(workload));
        self.started(driver).await
    }

    async fn record_sessions(&self, entry: Entry, size_bytes: u64) -> Result<(), String> {
        let now = self.clock.unix();
        let written = self.ledger.run(move |ledger| {
            ledger.store_release(&entry.revision.release, size_bytes, now)?;
            ledger.put_entry(&entry)
        });
        written.await.map_err(|error| format!("it could not be written down: {}", describe(&error)))
    }

    /// Starts a director, its threads and its listeners.
    fn found(
        &self,
        slot: &Slot,
        body: Body,
        entry: &Entry,
        active: Option<Move>,
        bound: Vec<Bound>,
    ) -> Result<(Workload, Sessions), String> {
        let name = slot.name.clone();
        let metrics = self.metrics.workload(&name);
        let shared = Arc::new(Shared::new(Live {
            revision: body.revision.clone(),
            generation: entry.generation,
            predecessor: entry.predecessor.clone(),
            run_state: RunState::Running,
            restarts: 0,
            checkpoint: None,
            swap: active.as_ref().and_then(Move::live),
            warnings: Default::default(),
        }));
        let net = self.config.net;
        let outboxes = Arc::new(OutboxLimits::new(net.outbox_bytes, net.outboxes_bytes));
        let reception = |door: Door| Reception {
            workload: name.clone(),
            door,
            metrics: metrics.clone(),
            ids: self.ids.clone(),
            outboxes: outboxes.clone(),
            tasks: self.tasks.clone(),
            runtime: Handle::current(),
            capacity: self.capacity.clone(),
        };
        let foundation = Foundation {
            name: name.clone(),
            config: self.config.clone(),
            clock: self.clock.clone(),
            events: self.events.clone(),
            metrics: metrics.clone(),
            shared: shared.clone(),
            ledger: self.ledger.clone(),
            room: self.room.clone(),
            engine: self.session_engine()?.engine,
            body,
            generation: entry.generation,
            predecessor: entry.predecessor.clone(),
            active,
        };
        metrics.set_generation(entry.generation);
        let founded = sessions::found(foundation, bound, reception);
        let (sessions, control) = founded.map_err(|error| format!("its threads can't be started: {error}"))?;
        let workload =
            Workload { name: name.clone(), control, inlet: sessions.clone().into(), shared, metrics: metrics.clone() };
        Ok((workload, sessions))
    }

    /// The rest of the preparation, then the director's part.
    pub(super) async fn offer_sessions(
        &self,
        mut driver: Driver<'_>,
        mut release: PreparedRelease,
        plan: SwapPlan,
        sessions: &Sessions,
        workload: &Workload,
    ) -> Result<SwapReport, HostError> {
        let policy = release.request.policy.clone();
        driver.steps.begin("listen");
        let open = workload.shared.live().revision.listeners.clone();
        let bound = match bind(&mut release.body.revision.listeners, &open) {
            Ok(bound) => bound,
            Err(why) => return self.refuse(driver, why).await,
        };
        driver.steps.begin("migrate-ahead");
        let migrated = sessions.house.migrate_ahead(driver.report.id, &release.body, &plan, policy.pause_limit).await;
        let candidates = match migrated {
            Ok(candidates) => candidates,
            Err(why) => return self.abort(driver, why).await,
        };
        if let Err(why) = self.drain_and_brace(&mut driver, workload, &policy).await? {
            return self.abort(driver, why).await;
        }
        driver.steps.end();
        let Driver { slot, mut report, mut swap, mut span, steps, progress, ticket } = driver;
        report.steps = steps.done;
        // Its answer is always to quiesce; the director takes the offer when no session runs.
        swap.handle(Input::Prepared(Ok(plan)), self.clock.moment());
        span.enter(PhaseName::Quiesce);
        fault::at(PhaseName::Quiesce.as_str());
        let (done, mut answer) = oneshot::channel();
        let PreparedRelease { body, planned_for, .. } = release;
        let proposal = Proposal { swap, report, span, progress, done, ticket, body, planned_for, candidates, bound };
        let offer = Offer::new(proposal);
        sessions.offers.send(offer.clone()).await.map_err(|_| HostError::Stopping)?;
        if let Some(deadline) = offer.deadline {
            tokio::select! {
                biased;
                report = &mut answer => return report.map_err(|_| HostError::Stopping),
                () = sleep_until(self.clock.instant_of(deadline).into()) => {
                    if let Some(proposal) = offer.take() {
                        return self.take_back(slot, proposal).await;
                    }
                }
            }
        }
        answer.await.map_err(|_| HostError::Stopping)
    }

    /// A session did not come to a batch boundary in time: the swap is off, and the others go on.
    async fn take_back(&self, slot: &Slot, proposal: Proposal) -> Result<SwapReport, HostError> {
        let Proposal { mut swap, mut report, span, ticket, candidates, .. } = proposal;
        drop(candidates);
        swap.handle(Input::Tick, self.clock.moment());
        let why = match swap.phase() {
            Phase::Ended(Outcome::Aborted { why }) => why.clone(),
            _ => "a session did not come to the end of its batch in time".to_owned(),
        };
        report.phases = swap.times().to_vec();
        report.verdict = Verdict::Swap { outcome: Outcome::Aborted { why } };
        self.fill_running(slot, &mut report);
        drop(ticket);
        self.close(report, span).await
    }

    /// Every session is migrated, while they serve; then the candidates are thrown away.
    pub(super) async fn rehearse_sessions(
        &self,
        sessions: &Sessions,
        release: &PreparedRelease,
        plan: &SwapPlan,
        report: &mut SwapReport,
        steps: &mut Steps,
    ) -> Result<(), String> {
        steps.begin("migrate-ahead");
        let began = self.clock.moment();
        let limit = release.request.policy.pause_limit;
        let candidates = sessions.house.migrate_ahead(report.id, &release.body, plan, limit).await?;
        // Half of the time of one thread: all of them, in a pause, take no longer than half of that.
        let all = self.clock.moment().since(began) / 2;
        let (bytes, peak_memory_bytes) = candidates.sizes();
        report.state = Some(StateCarried {
            format: plan.state.snapshot_format(),
            bytes,
            bytes_after: None,
            peak_memory_bytes: Some(peak_memory_bytes),
        });
        report.instances = Some(candidates.count());
        report.phases = vec![PhaseTime { phase: PhaseName::CodeChange, took: all }];
        report.pause = Some(all);
        report.notes.push(
            "the pause is that of a swap in which every session did something since it was migrated ahead; it takes the \
             share of it that is active"
                .to_owned(),
        );
        Ok(())
    }

    /// What ran before runs again, without a session: its connections are gone.
    pub(super) async fn resume_sessions(&self, slot: &Slot, entry: Entry) -> Result<(), String> {
        let began = self.clock.unix();
        let (mut entry, how, active) = self.sessions_again(entry).await?;
        let body = self.body_of(&entry.revision).await?;
        let bound = bind_all(&entry)?;
        (entry.clean, entry.desired) = (false, Desired::Running);
        let kept = entry.clone();
        self.ledger.run(move |ledger| ledger.put_entry(&kept)).await.map_err(|error| describe(&error))?;
        let (workload, _) = self.found(slot, body, &entry, active, bound)?;
        slot.set(Place::Running(workload));
        self.resumed(slot, &entry, (how, None), began).await
    }

    /// Which release, and the probation that goes on.
    async fn sessions_again(&self, mut entry: Entry) -> Result<(Entry, String, Option<Move>), String> {
        let version = entry.revision.release.version.clone();
        let Some(record) = &mut entry.probation else {
            return Ok((entry, format!("{version} runs again; its sessions ended with their connections"), None));
        };
        record.host_starts += 1;
        let (record, predecessor) = (record.clone(), entry.predecessor.clone());
        let Some(predecessor) = predecessor else {
            return Ok((entry, format!("{version} runs again; its sessions ended with their connections"), None));
        };
        if record.host_starts >= STARTS_ON_PROBATION_LIMIT {
            let why = format!("the host started {} times while it was on probation", record.host_starts);
            let release = entry.revision.release.clone();
            let entry = Entry {
                generation: entry.generation.next(),
                revision: predecessor,
                predecessor: None,
                probation: None,
                ..entry
            };
            let how = format!("{version} was rolled back ({why}): {} runs again", entry.revision.release.version);
            let rolled_back = RolledBack { probation: record, release, why, way: RollbackWay::Downgrade, cost: None };
            self.report_rollback(&rolled_back, &entry).await?;
            return Ok((entry, how, None));
        }
        let active = self.probation_again(&entry, record, &predecessor).await;
        let how = format!("{version} runs again, on probation; its sessions ended with their connections");
        Ok((entry, how, Some(active)))
    }

    async fn probation_again(&self, entry: &Entry, record: ProbationRecord, predecessor: &Revision) -> Move {
        let release = &entry.revision.release;
        let mut report =
            SwapReport::blank(entry.name.clone(), release.version.clone(), release.digest, record.switched);
        (report.id, report.kind) = (record.swap, SwapKind::Deploy);
        report.from = Some(record.plan.from.clone());
        report.notes.push("the host started again while it was on probation".to_owned());
        let now = self.clock.moment();
        let until = now.after(record.until.since(self.clock.unix()));
        // Without its code the predecessor can't come back; the probation ends by time alone.
        let old = self.body_of(predecessor).await.ok().map(|body| Old { body, predecessor: None });
        Move::resumed(Swap::resumed(record.swap, record.policy, record.plan, now, until), report, old)
    }
}

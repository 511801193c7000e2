//! The shell of [`host_core::swap::Swap`]: performs what the machine decides and feeds the results back.
//!
//! From the batch boundary to the resume everything happens in the actor's task, without a hop to another and without a
//! write to disk. The mailbox is not taken from meanwhile: that is what parks the events, in order.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use host_core::{
    history::{StateCarried, SwapReport, Verdict},
    id::{Generation, SwapId, WorkloadName},
    plan::StatePath,
    release::Revision,
    request::Progress,
    status::RunState,
    swap::{CallFault, Effect, Input, NoWay, Outcome, Phase, PhaseName, Side, Swap},
    time::{Moment, UnixNanos},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use super::{
    Body, LiveSwap,
    actor::{Actor, Surroundings, answer},
    checks::Baseline,
    in_call::InCall,
    nursery::Newborn,
    recorded::Recorded,
    scribe::Job,
};
use crate::{
    bindings::types::{CloseReason, Start},
    checkpoint::{Checkpoint, CheckpointName},
    fault,
    instance::{CallError, GuestState},
    ledger::{Desired, Entry, LastSwap, ProbationRecord},
    net::listener::Bound,
    telemetry::SwapSpan,
};

/// A call inside a pause that takes longer than this is told while it lasts. Shorter ones cost the pause no word: telling wakes
/// whoever listens.
const LONG: Duration = Duration::from_millis(5);

/// A release that stands ready to take over.
pub(crate) struct Candidate {
    pub(crate) body: Body,
    pub(crate) newborn: Newborn,
    /// Where its calls are marked while it is on probation.
    pub(crate) mark: Option<InCall>,
    /// Its new listeners, bound but not accepting.
    pub(crate) bound: Vec<Bound>,
}

/// A swap on offer: the actor takes it at a batch boundary, or its driver takes it back when the deadline comes first.
/// Whoever takes it has it, so a straggling batch never leads to a pause that nobody waits for any more.
#[derive(Clone)]
pub(crate) struct Offer {
    /// The generation that its plan leads on from.
    planned_for: Generation,
    active: Arc<Mutex<Option<Active>>>,
}

impl std::fmt::Debug for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Offer")
    }
}

impl Offer {
    pub(crate) fn new(planned_for: Generation, active: Active) -> Self {
        Self { planned_for, active: Arc::new(Mutex::new(Some(active))) }
    }

    /// Takes it, once.
    pub(crate) fn take(&self) -> Option<Active> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The right to swap a workload, one at a time. Given back when it is dropped.
pub(crate) struct Ticket(pub(crate) Arc<Mutex<Option<SwapId>>>);

impl Drop for Ticket {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A swap in the actor's hands.
pub(crate) struct Active {
    pub(crate) swap: Swap,
    pub(crate) report: SwapReport,
    pub(crate) span: Option<SwapSpan>,
    pub(crate) progress: Option<mpsc::Sender<Progress>>,
    pub(crate) done: Vec<oneshot::Sender<SwapReport>>,
    /// Who asked for a rollback.
    pub(crate) asker: Option<oneshot::Sender<SwapReport>>,
    pub(crate) candidate: Option<Candidate>,
    /// Given back when probation begins: from then on another swap may come.
    pub(crate) ticket: Option<Ticket>,
    /// What ran before the switch.
    pub(crate) old: Option<Old>,
    /// The state as it was handed over: the birth of the new release, and the last resort of the old one.
    pub(crate) handed: Option<Arc<Checkpoint>>,
    /// When the candidate took it over.
    pub(crate) migrated: UnixNanos,
    pub(crate) quiesced: Option<Moment>,
    /// Phases passed in the pause and not told yet.
    pub(crate) untold: Vec<PhaseName>,
    pub(crate) baseline: Option<Baseline>,
}

/// A predecessor on call.
pub(crate) struct Old {
    /// Taken apart after the pause: giving its memory back disturbs every thread of the process.
    pub(crate) instance: Option<Recorded>,
    pub(crate) body: Body,
    pub(crate) predecessor: Option<Revision>,
}

impl Active {
    /// For the status of a workload that starts with it.
    pub(crate) fn live(&self) -> Option<LiveSwap> {
        let until = self.swap.wakes_at();
        let (from, to) = (self.report.from.clone()?, self.report.to.clone());
        Some(LiveSwap { id: self.swap.id(), phase: self.swap.phase_name()?, from, to, until })
    }

    fn tell_phases(&mut self, around: &Surroundings) {
        let phases = std::mem::take(&mut self.untold);
        let Some(phase) = phases.last().copied() else { return };
        let id = self.swap.id();
        if let Some(progress) = &self.progress {
            for phase in &phases {
                // A full or closed channel is the listener's loss.
                drop(progress.try_send(Progress::Phase { swap: id, phase: *phase }));
            }
        }
        let until = match self.swap.phase() {
            Phase::Probation { until } => *until,
            _ => None,
        };
        let (from, to) = (self.report.from.clone(), self.report.to.clone());
        let from = from.unwrap_or_else(|| to.clone());
        around.shared.live().swap = Some(LiveSwap { id, phase, from, to, until });
        for phase in phases {
            around.events.tell("swap.phase", Some(&around.name), Some(id), phase.as_str().to_owned());
        }
    }

    pub(super) fn is_serving(&self) -> bool {
        matches!(self.swap.phase(), Phase::Recording { .. } | Phase::Verifying { .. } | Phase::Probation { .. })
    }
}

impl Actor {
    /// The driver offers a prepared swap; the actor stands at a batch boundary.
    pub(super) async fn take_offer(&mut self, offer: Offer) {
        // Taken back: this actor was too late, and the driver has said so.
        let Some(mut active) = offer.take() else { return };
        self.make_permanent().await;
        // A rollback that is not on disk yet is not made permanent by that: it keeps its place.
        if self.active.is_some() || offer.planned_for != self.generation {
            return self.turn_down(active).await;
        }
        active.quiesced = Some(self.now());
        self.active = Some(active);
        self.advance(Input::Quiesced).await;
    }

    /// Ends a swap whose plan leads on from what is no longer in place: from its state, config and listeners.
    async fn turn_down(&mut self, active: Active) {
        let why = overtaken(&self.around.name, &self.body.revision);
        let under_way = self.active.replace(active);
        self.advance(Input::Failed(why)).await;
        self.around.shared.live().swap = under_way.as_ref().and_then(Active::live);
        self.active = under_way;
    }

    pub(super) async fn roll_back(
        &mut self,
        wanted: Input,
        taken: oneshot::Sender<bool>,
        done: oneshot::Sender<SwapReport>,
    ) {
        let serving = self.active.as_mut().filter(|active| active.is_serving());
        answer(taken, serving.is_some());
        if let Some(active) = serving {
            active.asker = Some(done);
            self.advance(wanted).await;
        }
    }

    pub(super) async fn make_permanent(&mut self) {
        if self.active.is_some() {
            self.advance(Input::MakePermanent).await;
        }
    }

    pub(super) async fn tick(&mut self, now: Moment) {
        if self.active.as_ref().and_then(|active| active.swap.wakes_at()).is_some_and(|at| at <= now) {
            self.advance(Input::Tick).await;
        }
    }

    pub(super) async fn recorded(&mut self, side: Side, result: Result<host_core::status::CheckpointStatus, String>) {
        let awaited = match self.active.as_ref().map(|active| active.swap.phase()) {
            Some(Phase::Recording { .. }) => Some(Side::New),
            Some(Phase::RecordingRollback { .. }) => Some(Side::Old),
            _ => None,
        };
        // One from before a rollback: overtaken.
        if awaited != Some(side) {
            return;
        }
        let result = result.map(|status| self.note_durable(status));
        if let Some(old) = self.active.as_mut().and_then(|active| active.old.as_mut()) {
            old.instance = None;
        }
        self.advance(Input::Recorded(result)).await;
    }

    /// Feeds the machine until it waits for something from outside.
    pub(super) async fn advance(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = self.now();
            let Some(active) = &mut self.active else { return };
            let before = active.swap.phase_name();
            let effects = active.swap.handle(input, now);
            if active.swap.phase_name() != before {
                self.note_phase();
            }
            for effect in effects {
                inputs.extend(self.perform_swap(effect).await);
            }
            if self.active.as_ref().is_some_and(Active::is_serving)
                && let Some(why) = self.trouble.take()
            {
                // Before anything else: what was seen of an instance that is gone no longer counts.
                inputs.push_front(Input::Failed(why));
            }
        }
        self.tell_phases();
    }

    fn note_phase(&mut self) {
        let Some(active) = &mut self.active else { return };
        let Some(phase) = active.swap.phase_name() else { return };
        fault::at(phase.as_str());
        if let Some(span) = &mut active.span {
            span.enter(phase);
        }
        active.untold.push(phase);
        if let Phase::Probation { .. } = active.swap.phase() {
            active.ticket = None;
        }
        if active.quiesced.is_none() {
            self.tell_phases();
        }
    }

    /// Tells the phases passed. Not inside a pause: waking whoever listens takes longer than some phases.
    fn tell_phases(&mut self) {
        if let Some(active) = &mut self.active {
            active.tell_phases(&self.around);
        }
    }

    async fn perform_swap(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            // Done already: the actor takes an offer only at a batch boundary.
            Effect::Quiesce { .. } => Some(Input::Quiesced),
            Effect::Snapshot { schema, deadline } => Some(Input::Snapshot(self.hand_over(schema, deadline).await)),
            Effect::LoadCheckpoint => Some(Input::Snapshot(self.hand_over_checkpoint().await)),
            Effect::CodeChange { deadline } => Some(Input::CodeChanged(self.migrate(deadline).await)),
            Effect::Switch => {
                self.switch();
                Some(Input::Switched)
            }
            Effect::Resume(_) => {
                let now = self.now();
                if let Some(active) = &mut self.active
                    && let Some(quiesced) = active.quiesced.take()
                {
                    active.report.pause = Some(now.since(quiesced));
                }
                None
            }
            Effect::Record(side) => {
                self.record(side).await;
                None
            }
            Effect::Verify => Some(Input::Verified(self.verify().await)),
            Effect::Rebuild => {
                self.tell_phases();
                if let Some(lost) = self.instance.take() {
                    self.wreck = Some(lost.into_journal());
                }
                let restarted = self.restart("its snapshot failed during a swap").await;
                Some(Input::Rebuilt(restarted.map(|()| self.note_restart())))
            }
            Effect::RollBack(way) => Some(Input::RolledBack(self.reinstate(way).await.map_err(NoWay::Blocked))),
            Effect::DropCandidate => {
                if let Some(active) = &mut self.active {
                    active.candidate = None;
                }
                None
            }
            Effect::Stay(why) => {
                self.stand_again().await;
                self.stays(why);
                None
            }
            Effect::Hold => {
                self.held();
                None
            }
            Effect::Release => {
                self.release().await;
                None
            }
            Effect::Stop => {
                self.give_up("the swap could not be undone".to_owned());
                None
            }
            Effect::Finish(outcome) => {
                self.finish(outcome).await;
                None
            }
        }
    }

    /// `snapshot` for the candidate.
    async fn hand_over(&mut self, schema: u32, deadline: Moment) -> Result<(), CallFault> {
        let (now, unix) = (self.now(), self.around.clock.unix());
        self.baseline();
        let Self { instance: Some(instance), active: Some(active), around, .. } = self else {
            return Err(CallFault::Error("no instance runs".to_owned()));
        };
        let call = timeout(deadline.since(now), instance.snapshot(unix, schema));
        let state = match told_if_long(call, || active.tell_phases(around)).await {
            Ok(state) => state.map_err(|error| fault_of(&error))?,
            Err(_) => return Err(CallFault::Lost("it did not end before the deadline (--timeout)".to_owned())),
        };
        let checkpoint = self.checkpoint_of(state, unix);
        self.hand(checkpoint);
        Ok(())
    }

    /// The last checkpoint for the candidate.
    async fn hand_over_checkpoint(&mut self) -> Result<(), CallFault> {
        self.baseline();
        // From the disk: not short in any case.
        self.tell_phases();
        let checkpoint = self.newest_checkpoint().await.map_err(CallFault::Error)?;
        let cost = self.cost_since(&checkpoint, self.around.clock.unix(), "--state-from last-checkpoint");
        if let Some(active) = &mut self.active {
            active.report.cost = Some(cost);
        }
        self.hand(checkpoint);
        Ok(())
    }

    fn baseline(&mut self) {
        let pace = self.pace.begin_anew();
        let connections = self.connections.watch();
        if let Some(active) = &mut self.active {
            active.baseline = Some(Baseline { connections, pace });
        }
    }

    fn hand(&mut self, mut checkpoint: Checkpoint) {
        let Some(active) = &mut self.active else { return };
        active.report.state = Some(StateCarried {
            format: checkpoint.format,
            bytes: checkpoint.state.len() as u64,
            bytes_after: None,
            peak_memory_bytes: None,
        });
        // It is the birth of the generation to come.
        checkpoint.generation = self.generation.next();
        active.handed = Some(Arc::new(checkpoint));
    }

    async fn migrate(&mut self, deadline: Moment) -> Result<(), CallFault> {
        let (now, unix) = (self.now(), self.around.clock.unix());
        let Some(active) = &mut self.active else { return Err(CallFault::Error("the swap is gone".to_owned())) };
        let (Some(mut candidate), Some(handed)) =
            (active.candidate.take(), active.handed.as_mut().and_then(Arc::get_mut))
        else {
            return Err(CallFault::Error("the candidate is gone".to_owned()));
        };
        // Lent, not copied: nobody else holds it yet.
        let state = GuestState::new(handed.format, std::mem::take(&mut handed.state).into());
        let from = handed.written_by.to_string();
        let instance = &mut candidate.newborn.instance;
        instance.advance(unix);
        active.migrated = unix;
        let call = timeout(deadline.since(now), instance.code_change(&state, &from));
        let changed = told_if_long(call, || active.tell_phases(&self.around)).await;
        if let Some(handed) = active.handed.as_mut().and_then(Arc::get_mut) {
            handed.state = state.into_data().into();
        }
        if let Some(carried) = &mut active.report.state {
            carried.peak_memory_bytes = Some(instance.peak_memory_bytes() as u64);
        }
        active.candidate = Some(candidate);
        match changed {
            Ok(changed) => changed.map_err(|error| fault_of(&error)),
            Err(_) => Err(CallFault::Lost("it did not end before the deadline (--timeout)".to_owned())),
        }
    }

    /// The candidate takes its place. Nothing in here can fail.
    fn switch(&mut self) {
        let Some(active) = &mut self.active else { return };
        let (Some(candidate), Some(handed)) = (active.candidate.take(), active.handed.clone()) else { return };
        let from = self.body.revision.release.version.to_string();
        let old_body = std::mem::replace(&mut self.body, candidate.body);
        let old_predecessor = self.predecessor.replace(old_body.revision.clone());
        let mut instance = candidate.newborn.took_over(active.migrated, handed.clone());
        // Opened ahead, with everything else that need not be done in the pause.
        instance.mark_calls(candidate.mark);
        let old_instance = self.instance.replace(instance);
        self.wreck = None;
        self.suspects.acquit();
        active.old = Some(Old { instance: old_instance, body: old_body, predecessor: old_predecessor });
        self.generation = self.generation.next();
        self.listeners.extend(candidate.bound.into_iter().map(|bound| bound.accept(self.around.reception.clone())));
        let from_checkpoint = matches!(active.swap.plan().map(|plan| plan.state), Some(StatePath::Checkpoint { .. }));
        let start = Start::Swapped(from);
        if from_checkpoint {
            self.restore(&handed, start, CloseReason::Error);
        } else {
            self.greet(start);
        }
        self.show_place();
    }

    async fn record(&mut self, side: Side) {
        let Some(active) = &self.active else { return };
        let Some(checkpoint) = active.handed.clone() else { return };
        let mut entry = self.entry();
        let size_bytes = self.body.size_bytes;
        let job = match side {
            Side::Old => Job::Record { side, checkpoint, size_bytes, entry: Box::new(|_| entry) },
            Side::New => {
                let (swap, policy, plan) =
                    (active.swap.id(), active.swap.policy().clone(), active.swap.plan().cloned());
                let switched = self.around.clock.unix();
                let until = switched.after(policy.probation);
                let entry = move |pinned: CheckpointName| {
                    entry.probation = plan.map(|plan| ProbationRecord {
                        swap,
                        plan,
                        policy,
                        switched,
                        until,
                        host_starts: 0,
                        pinned: Some(pinned),
                    });
                    entry
                };
                Job::Record { side, checkpoint, size_bytes, entry: Box::new(entry) }
            }
        };
        self.around.scribe.write(job).await;
    }

    async fn verify(&mut self) -> Result<(), String> {
        let baseline = self.active.as_mut().and_then(|active| active.baseline.take());
        let (checks, connections) = self.checks(baseline.as_ref()).await;
        let failed: Vec<_> = checks
            .iter()
            .filter(|check| !check.passed)
            .map(|check| format!("{}: {}", check.name, check.seen))
            .collect();
        if let Some(active) = &mut self.active {
            (active.report.checks, active.report.connections) = (checks, Some(connections));
        }
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }

    /// The swap is over: nothing of the predecessor is needed any more.
    async fn release(&mut self) {
        let wanted = self.body.revision.listeners.clone();
        self.listeners.retain(|listener| wanted.contains(&listener.address));
        if let Some(instance) = &mut self.instance {
            instance.mark_calls(None);
        }
        let entry = Box::new(self.entry());
        self.around.scribe.write(Job::Release { entry }).await;
    }

    async fn finish(&mut self, outcome: Outcome) {
        self.tell_phases();
        let Some(active) = self.active.take() else { return };
        let Active { swap, mut report, span, mut done, asker, .. } = active;
        done.extend(asker);
        report.phases = swap.times().to_vec();
        report.ended = self.around.clock.unix();
        report.running = self.instance.is_some().then(|| self.body.revision.release.version.clone());
        report.generation = self.generation;
        report.verdict = Verdict::Swap { outcome: outcome.clone() };
        {
            let mut live = self.around.shared.live();
            live.swap = None;
            if self.instance.is_some() {
                live.run_state = RunState::Running;
            }
        }
        let id = swap.id();
        let event = match &outcome {
            Outcome::Permanent => "swap.permanent",
            Outcome::Aborted { .. } => "swap.aborted",
            Outcome::RolledBack { .. } => "swap.rolled-back",
            Outcome::Stopped { .. } => "swap.stopped",
        };
        let message = report.verdict.why().map_or_else(|| format!("{} runs", report.to), str::to_owned);
        self.around.events.tell(event, Some(&self.around.name), Some(id), message.clone());
        match outcome {
            Outcome::Permanent => tracing::info!(workload = %self.around.name, swap = %id, "{message}"),
            _ => {
                tracing::warn!(workload = %self.around.name, swap = %id, outcome = report.verdict.as_str(), "{message}")
            }
        }
        self.around.metrics.swap_ended(&report);
        if let Some(span) = span {
            span.end(&report);
        }
        self.around.scribe.write(Job::Finish { report: Box::new(report), done }).await;
    }

    /// Whoever asked decides from here on: the probation has no end of its own.
    fn held(&mut self) {
        self.tell_phases();
        self.tell("swap.held", "the new release is on probation until it is committed or rolled back");
        let (generation, running) = (self.generation, self.body.revision.release.version.clone());
        let ended = self.around.clock.unix();
        let Some(active) = &mut self.active else { return };
        let report = active.report.held(active.swap.times().to_vec(), running, generation, ended);
        for done in active.done.drain(..) {
            answer(done, report.clone());
        }
    }

    /// What stays must serve. An instance that was lost on a way back failed in nothing that it is needed for, so it is no
    /// failure of the release: it is made anew as it was. One that can't be is.
    async fn stand_again(&mut self) {
        if self.instance.is_some() {
            return;
        }
        match self.replay_wreck().await {
            Ok(how) => {
                self.trouble = None;
                self.around.shared.live().restarts += 1;
                self.around.metrics.restarted();
                let version = &self.body.revision.release.version;
                self.tell(
                    "workload.restarted",
                    &format!("{version} runs again {how}; a rollback had cost its instance"),
                );
            }
            Err(error) => {
                self.trouble.get_or_insert_with(|| error.to_string());
            }
        }
    }

    /// Whoever asked for a rollback that is not possible is told so; whoever waits for the swap's end waits on.
    fn stays(&mut self, why: String) {
        self.tell_phases();
        self.tell("swap.stays", &why);
        let (generation, running) = (self.generation, self.body.revision.release.version.clone());
        let Some(active) = &mut self.active else { return };
        if let Some(asker) = active.asker.take() {
            answer(asker, active.report.stays(why, running, generation));
        }
    }

    /// Ends a probation that somebody held, or cuts one short. None is no error of the workload's.
    pub(super) async fn commit(&mut self, done: oneshot::Sender<Option<SwapReport>>) {
        let on_probation = |active: &&mut Active| matches!(active.swap.phase(), Phase::Probation { .. });
        let Some(active) = self.active.as_mut().filter(on_probation) else {
            return answer(done, None);
        };
        let (report, told) = oneshot::channel();
        active.done.push(report);
        self.around.reception.tasks.spawn(async move { answer(done, told.await.ok()) });
        self.advance(Input::MakePermanent).await;
    }

    fn note_restart(&mut self) {
        if let Some(active) = &mut self.active {
            let note = "the running version failed in its own snapshot and was made anew; `host history` says how";
            active.report.notes.push(note.to_owned());
        }
    }

    /// How the workload stands, as the ledger keeps it.
    pub(super) fn entry(&self) -> Entry {
        Entry {
            name: self.around.name.clone(),
            desired: Desired::Running,
            generation: self.generation,
            revision: self.body.revision.clone(),
            predecessor: self.predecessor.clone(),
            probation: None,
            last_swap: self.active.as_ref().map(|active| LastSwap::of(&active.swap)),
            clean: false,
        }
    }

    pub(super) fn show_place(&mut self) {
        self.supervision.health_fails = None;
        self.around.metrics.set_generation(self.generation);
        let mut live = self.around.shared.live();
        live.revision = self.body.revision.clone();
        live.generation = self.generation;
        live.predecessor = self.predecessor.clone();
        live.restarts = 0;
        live.warnings.clear();
        live.run_state = RunState::Running;
    }
}

/// Why a swap is off whose plan was made for another generation.
pub(crate) fn overtaken(name: &WorkloadName, running: &Revision) -> String {
    let running = &running.release.version;
    format!("{name} is no longer what this swap was planned for: {running} was reinstated meanwhile; deploy again")
}

/// Waits for a call of a pause. One that takes long is told, once, while it goes on.
async fn told_if_long<T>(call: impl Future<Output = T>, tell: impl FnOnce()) -> T {
    let mut call = pin!(call);
    tokio::select! {
        biased;
        answer = &mut call => return answer,
        () = sleep(LONG) => tell(),
    }
    call.await
}

fn fault_of(error: &CallError) -> CallFault {
    match error {
        CallError::Failed(why) => CallFault::Error(why.clone()),
        error => CallFault::Lost(error.to_string()),
    }
}

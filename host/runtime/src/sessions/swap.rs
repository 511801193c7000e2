//! The shell of [`host_core::swap::Swap`] for many instances: performs what the machine decides, on all sessions or none.
//!
//! The pause begins when the gate closes and lasts until it opens. In it the threads of the sessions are the swap's: they take
//! the states of those that changed since they were migrated ahead, and give them to their candidates. The switch itself is one
//! number: from then on whoever has a turn puts its candidate in place first. So the pause depends on how many sessions did
//! something lately, not on how many there are.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use host_core::{
    history::{StateCarried, SwapReport, Verdict},
    plan::common_format,
    release::{ListenAddress, Revision},
    request::Progress,
    status::RunState,
    swap::{CallFault, Effect, Input, NoWay, Outcome, Phase, PhaseName, RollbackWay, Side, Swap},
    time::Moment,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep_until, timeout},
};

use super::{
    ahead::Candidates,
    checks::Baseline,
    director::Director,
    house::{Back, Current, Passage},
    offer::{Offer, Proposal},
    round::{Round, Visit},
    session::Session,
};
use crate::{
    error::LedgerError,
    fault,
    ledger::ProbationRecord,
    net::listener::Bound,
    telemetry::SwapSpan,
    workload::{Body, LiveSwap, Ticket, answer, overtaken},
};

/// How long a rollback's report waits for sessions to go back, each of which serves from then on. What comes later is not in it.
const GOING_BACK: Duration = Duration::from_secs(30);

/// A swap in the director's hands.
pub(crate) struct Move {
    pub(super) swap: Swap,
    report: SwapReport,
    span: Option<SwapSpan>,
    progress: Option<mpsc::Sender<Progress>>,
    done: Vec<oneshot::Sender<SwapReport>>,
    /// Who asked for a rollback.
    asker: Option<oneshot::Sender<SwapReport>>,
    /// Given back when probation begins: from then on another swap may come.
    ticket: Option<Ticket>,
    candidate: Option<Candidate>,
    /// Sessions whose state was taken in the pause.
    taken: Vec<Arc<Session>>,
    /// When the gate closed.
    closed: Option<Moment>,
    /// Phases passed in the pause and not told yet.
    untold: Vec<PhaseName>,
    baseline: Option<Baseline>,
    /// What ran before the switch.
    old: Option<Old>,
}

struct Candidate {
    body: Body,
    candidates: Candidates,
    bound: Vec<Bound>,
}

/// A predecessor on call.
pub(crate) struct Old {
    pub(crate) body: Body,
    pub(crate) predecessor: Option<Revision>,
}

impl Move {
    fn new(proposal: Proposal, closed: Moment) -> Self {
        let Proposal { swap, report, span, progress, done, ticket, body, candidates, bound, .. } = proposal;
        Self {
            swap,
            report,
            span: Some(span),
            progress: Some(progress),
            done: vec![done],
            asker: None,
            ticket: Some(ticket),
            candidate: Some(Candidate { body, candidates, bound }),
            taken: Vec::new(),
            closed: Some(closed),
            untold: Vec::new(),
            baseline: None,
            old: None,
        }
    }

    /// One whose probation goes on after a restart of the host.
    pub(crate) fn resumed(swap: Swap, report: SwapReport, old: Option<Old>) -> Self {
        Self {
            swap,
            report,
            span: None,
            progress: None,
            done: Vec::new(),
            asker: None,
            ticket: None,
            candidate: None,
            taken: Vec::new(),
            closed: None,
            untold: Vec::new(),
            baseline: None,
            old,
        }
    }

    pub(super) fn is_serving(&self) -> bool {
        matches!(self.swap.phase(), Phase::Recording { .. } | Phase::Verifying { .. } | Phase::Probation { .. })
    }

    /// For the status.
    pub(crate) fn live(&self) -> Option<LiveSwap> {
        let (from, to) = (self.report.from.clone(), self.report.to.clone());
        let from = from.unwrap_or_else(|| to.clone());
        let until = self.swap.wakes_at().filter(|_| matches!(self.swap.phase(), Phase::Probation { .. }));
        Some(LiveSwap { id: self.swap.id(), phase: self.swap.phase_name()?, from, to, until })
    }

    fn note_phase(&mut self) {
        let Some(phase) = self.swap.phase_name() else { return };
        fault::at(phase.as_str());
        if let Some(span) = &mut self.span {
            span.enter(phase);
        }
        self.untold.push(phase);
        if let Phase::Probation { .. } = self.swap.phase() {
            self.ticket = None;
        }
    }
}

impl Director {
    /// The driver offers a prepared swap: every session stops at a batch boundary, or none does.
    pub(super) async fn take_offer(&mut self, offer: Offer) {
        // Taken back while the director was busy: its driver has said so, and nothing comes of it.
        if offer.is_taken() {
            return;
        }
        // Before the pause: it writes to the disk.
        self.make_permanent().await;
        let (closed, Some(deadline)) = (self.now(), offer.deadline) else { return };
        let deadline = self.house.clock.instant_of(deadline);
        self.house.queue.close();
        let stopped = tokio::select! {
            biased;
            () = self.house.queue.stopped() => true,
            () = sleep_until(deadline.into()) => false,
        };
        let proposal = if stopped { offer.take() } else { None };
        let Some(proposal) = proposal else {
            // A straggler, or the driver was faster: it has taken the swap back, and has said so.
            self.reopen();
            return;
        };
        let input = if proposal.planned_for == self.generation {
            Input::Quiesced
        } else {
            Input::Failed(overtaken(&self.house.name, &self.body.revision))
        };
        self.active = Some(Move::new(proposal, closed));
        self.advance(input).await;
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

    async fn make_permanent(&mut self) {
        if self.active.is_some() {
            self.advance(Input::MakePermanent).await;
        }
    }

    pub(super) async fn tick(&mut self) {
        let now = self.now();
        if self.active.as_ref().and_then(|active| active.swap.wakes_at()).is_some_and(|at| at <= now) {
            self.advance(Input::Tick).await;
        }
    }

    pub(super) async fn fail(&mut self, why: String) {
        self.advance(Input::Failed(why)).await;
    }

    /// Feeds the machine until it waits for something from outside.
    async fn advance(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = self.now();
            let Some(active) = &mut self.active else { return };
            let before = active.swap.phase_name();
            let effects = active.swap.handle(input, now);
            if active.swap.phase_name() != before {
                active.note_phase();
                if active.closed.is_none() {
                    self.tell_phases();
                }
            }
            for effect in effects {
                inputs.extend(self.perform(effect).await);
            }
        }
        self.tell_phases();
    }

    /// Tells the phases passed. Not inside a pause: waking whoever listens takes longer than some phases.
    fn tell_phases(&mut self) {
        let Some(active) = &mut self.active else { return };
        let phases = std::mem::take(&mut active.untold);
        if phases.is_empty() {
            return;
        }
        let swap = active.swap.id();
        if let Some(progress) = &active.progress {
            for phase in &phases {
                // A full or closed channel is the listener's loss.
                drop(progress.try_send(Progress::Phase { swap, phase: *phase }));
            }
        }
        if let Some(live) = active.live() {
            self.house.shared.live().swap = Some(live);
        }
        for phase in phases {
            self.tell("swap.phase", phase.as_str());
        }
    }

    async fn perform(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            // Done already: an offer is taken only when no session runs.
            Effect::Quiesce { .. } => Some(Input::Quiesced),
            Effect::Snapshot { deadline, .. } => Some(Input::Snapshot(self.take_states(deadline).await)),
            Effect::LoadCheckpoint => {
                Some(Input::Snapshot(Err(CallFault::Error("sessions have no checkpoints".to_owned()))))
            }
            Effect::CodeChange { deadline } => Some(Input::CodeChanged(self.give_states(deadline).await)),
            Effect::Switch => {
                self.switch();
                Some(Input::Switched)
            }
            Effect::Resume(_) => {
                self.resume();
                None
            }
            Effect::Record(side) => Some(Input::Recorded(self.record(side).await)),
            Effect::Verify => Some(Input::Verified(self.verify().await)),
            // The session whose snapshot failed is closed; there is nothing else to be made anew.
            Effect::Rebuild => Some(Input::Rebuilt(Ok(()))),
            Effect::RollBack(way) => Some(Input::RolledBack(self.reinstate(way).await)),
            Effect::DropCandidate => {
                if let Some(active) = &mut self.active {
                    active.candidate = None;
                }
                None
            }
            Effect::Stay(why) => {
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
                self.give_up();
                None
            }
            Effect::Finish(outcome) => {
                self.finish(outcome).await;
                None
            }
        }
    }

    /// `snapshot` of every session that changed since it was migrated ahead.
    async fn take_states(&mut self, deadline: Moment) -> Result<(), CallFault> {
        let baseline = Baseline {
            connections: self.house.len() as u64,
            dropped: self.house.tally.dropped(),
            pace: self.house.begin_pace_anew(),
        };
        let Some(active) = &mut self.active else { return Err(CallFault::Error("the swap is gone".to_owned())) };
        active.baseline = Some(baseline);
        let Some(candidate) = &active.candidate else {
            return Err(CallFault::Error("the candidates are gone".to_owned()));
        };
        let ahead = candidate.candidates.ahead.clone();
        active.taken = ahead.take_list();
        let (sessions, until) = (active.taken.clone(), self.house.clock.instant_of(deadline));
        let late = too_late(until);
        self.all(sessions, Box::new(move |session| late().and_then(|()| ahead.snapshot(session, until)))).await
    }

    /// `code-change` of their candidates.
    async fn give_states(&mut self, deadline: Moment) -> Result<(), CallFault> {
        let until = self.house.clock.instant_of(deadline);
        let Some((active, candidate)) =
            self.active.as_mut().and_then(|active| Some((&mut active.taken, active.candidate.as_ref()?)))
        else {
            return Err(CallFault::Error("the candidates are gone".to_owned()));
        };
        let (sessions, ahead) = (std::mem::take(active), candidate.candidates.ahead.clone());
        let late = too_late(until);
        let changed =
            self.all(sessions, Box::new(move |session| late().and_then(|()| ahead.code_change(session, until)))).await;
        self.note_figures();
        changed
    }

    /// Has every guest thread work on these while no session runs.
    async fn all(&self, sessions: Vec<Arc<Session>>, visit: Visit) -> Result<(), CallFault> {
        if sessions.is_empty() {
            return Ok(());
        }
        let round = Round::new(sessions, visit);
        self.house.queue.put_to_work(round.clone());
        round.over().await
    }

    fn note_figures(&mut self) {
        let Some(active) = &mut self.active else { return };
        let Some(candidate) = &active.candidate else { return };
        let (bytes, peak_memory_bytes) = candidate.candidates.sizes();
        active.report.instances = Some(candidate.candidates.count());
        let format = candidate.candidates.ahead.format();
        let peak_memory_bytes = (peak_memory_bytes > 0).then_some(peak_memory_bytes);
        active.report.state = Some(StateCarried { format, bytes, bytes_after: None, peak_memory_bytes });
    }

    /// The candidates take their sessions over. Nothing in here can fail.
    fn switch(&mut self) {
        let Some(active) = &mut self.active else { return };
        let Some(Candidate { body, mut candidates, bound }) = active.candidate.take() else { return };
        candidates.switched();
        self.parked = false;
        let from = self.body.revision.release.version.to_string();
        let old_body = std::mem::replace(&mut self.body, body.clone());
        let old_predecessor = self.predecessor.replace(old_body.revision.clone());
        active.old = Some(Old { body: old_body, predecessor: old_predecessor });
        self.generation = self.generation.next();
        let passage = Some(Passage::Ahead { swap: active.swap.id(), from });
        self.house.tally.begin_generation();
        self.house.set_current(Current { generation: self.generation, body, passage });
        let reception = self.reception.clone();
        self.listeners.extend(bound.into_iter().map(|bound| bound.accept(reception.clone())));
    }

    /// The gate opens. The instances of a release that has just taken over are greeted in what time is left.
    fn resume(&mut self) {
        self.reopen();
        let now = self.now();
        let Some(active) = &mut self.active else { return };
        if let Some(closed) = active.closed.take() {
            active.report.pause = Some(now.since(closed));
        }
        // Not where a rollback was not possible: what serves has served before.
        if matches!(active.swap.phase(), Phase::Recording { .. }) {
            self.show_place();
            self.house.go_round(self.house.sessions(), Box::new(greet));
        }
    }

    async fn record(&mut self, side: Side) -> Result<(), String> {
        let Some(active) = &self.active else { return Err("the swap is gone".to_owned()) };
        let mut entry = self.entry();
        let switched = self.house.clock.unix();
        if let (Side::New, Some(plan)) = (side, active.swap.plan().cloned()) {
            let policy = active.swap.policy().clone();
            entry.probation = Some(ProbationRecord {
                swap: active.swap.id(),
                plan,
                switched,
                until: switched.after(policy.probation),
                policy,
                host_starts: 0,
                pinned: None,
            });
        }
        let size_bytes = self.body.size_bytes;
        let stored = self.ledger.run(move |ledger| {
            // From here on its version has these bytes for ever: it has run.
            ledger.store_release(&entry.revision.release, size_bytes, switched)?;
            ledger.put_entry(&entry)
        });
        stored.await.map_err(|error: LedgerError| error.to_string())
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

    /// Reinstates the predecessor: each session goes back by itself, before it handles anything else. One that can't is closed,
    /// unless that was not allowed: then nothing is changed.
    async fn reinstate(&mut self, way: RollbackWay) -> Result<(), NoWay> {
        if matches!(way, RollbackWay::Replay | RollbackWay::Checkpoint) {
            return Err("sessions keep neither a journal nor a checkpoint".into());
        }
        let closed = self.now();
        let (limit, may_lose) = {
            let Some(active) = &mut self.active else { return Err("the swap is gone".into()) };
            if active.old.is_none() {
                return Err("the predecessor is gone".into());
            }
            active.closed = Some(closed);
            (active.swap.policy().pause_limit, active.swap.may_lose())
        };
        if !self.stop_all(self.house.clock.instant_of(closed.after(limit))).await {
            if !may_lose {
                // One may have come to its end just now.
                let busy = self.house.queue.busy().max(1);
                return Err(NoWay::Costs(format!(
                    "{busy} sessions did not come to the end of a batch within {limit:?}"
                )));
            }
            // What they do is not done any more.
            self.house.sessions().iter().for_each(|session| session.doom_if_taken());
        } else if way == RollbackWay::Unchanged && !may_lose {
            self.none_changed()?;
        }
        let Some(old) = self.active.as_mut().and_then(|active| active.old.take()) else {
            return Err("the predecessor is gone".into());
        };
        let schema = common_format(&self.body.revision, &old.body.revision)
            .filter(|_| way == RollbackWay::Downgrade)
            .map(|format| format.schema);
        let back = Arc::new(Back {
            from: self.generation,
            version: self.body.revision.release.version.to_string(),
            schema,
            limit,
            closed: Default::default(),
        });
        let opened: Vec<ListenAddress> = self.body.revision.listeners.clone();
        let kept = old.body.revision.listeners.clone();
        (self.body, self.predecessor) = (old.body, old.predecessor);
        self.generation = self.generation.next();
        self.listeners.retain(|listener| kept.contains(&listener.address) || !opened.contains(&listener.address));
        let passage = Some(Passage::Back(back.clone()));
        self.house.tally.begin_generation();
        self.house.set_current(Current { generation: self.generation, body: self.body.clone(), passage });
        self.show_place();
        // Nobody waits for the others: whoever has a turn goes back first, and the rest follow.
        self.house.queue.open();
        let now = self.now();
        let round = self.house.go_round(self.house.sessions(), Box::new(greet));
        let all_back = timeout(GOING_BACK, round.over()).await.is_ok();
        if let Some(active) = &mut self.active {
            active.closed = None;
            if !all_back {
                active
                    .report
                    .notes
                    .push(format!("after {GOING_BACK:?} sessions were still going back; more may be closed"));
            }
            active.report.pause = Some(now.since(closed));
            let mut count = active.report.instances.unwrap_or_default();
            count.closed = back.closed.load(Ordering::Relaxed);
            active.report.instances = Some(count);
        }
        Ok(())
    }

    /// Closes the gate. False if there are sessions that don't come to a batch boundary in time.
    async fn stop_all(&self, until: Instant) -> bool {
        self.house.queue.close();
        tokio::select! {
            biased;
            () = self.house.queue.stopped() => true,
            () = sleep_until(until.into()) => false,
        }
    }

    /// While no session runs: whether each can go back with the state that was handed over at the switch.
    fn none_changed(&self) -> Result<(), NoWay> {
        let sessions = self.house.sessions();
        let changed = sessions.iter().filter(|session| session.has_changed_since(self.generation)).count();
        if changed == 0 {
            return Ok(());
        }
        Err(NoWay::Costs(format!(
            "{changed} of {} sessions changed since the switch and would be closed, for {} can't write the old format",
            sessions.len(),
            self.body.revision.release.version
        )))
    }

    /// The swap is over: nothing of the predecessor is needed any more.
    async fn release(&mut self) {
        let wanted = self.body.revision.listeners.clone();
        self.listeners.retain(|listener| wanted.contains(&listener.address));
        let entry = self.entry();
        if let Err(error) = self.ledger.run(move |ledger| ledger.put_entry(&entry)).await {
            let warning = format!(
                "the ledger could not be written: {error}; after a restart of the host an older revision may run"
            );
            tracing::warn!(workload = %self.house.name, "{warning}");
            self.house.shared.live().warnings.insert("ledger", warning);
        }
    }

    /// No way led back. Connections stay, events park.
    fn give_up(&mut self) {
        self.parked = true;
        self.house.queue.park();
        let message = format!(
            "the swap could not be undone; its sessions are parked. A deploy puts another release in place, \
             `host start {}` goes on with this one",
            self.house.name
        );
        tracing::error!(workload = %self.house.name, "{message}");
        self.house.shared.live().run_state = RunState::Failed { why: message.clone() };
        self.tell("workload.stopped", &message);
    }

    /// Whoever asked decides from here on: the probation has no end of its own.
    fn held(&mut self) {
        self.tell_phases();
        self.tell("swap.held", "the new release is on probation until it is committed or rolled back");
        let (generation, running) = (self.generation, self.body.revision.release.version.clone());
        let ended = self.house.clock.unix();
        let Some(active) = &mut self.active else { return };
        let report = active.report.held(active.swap.times().to_vec(), running, generation, ended);
        for done in active.done.drain(..) {
            answer(done, report.clone());
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

    /// Ends a probation that somebody held, or cuts one short.
    pub(super) async fn commit(&mut self, done: oneshot::Sender<Option<SwapReport>>) {
        let on_probation = |active: &&mut Move| matches!(active.swap.phase(), Phase::Probation { .. });
        let Some(active) = self.active.as_mut().filter(on_probation) else {
            return answer(done, None);
        };
        let (report, told) = oneshot::channel();
        active.done.push(report);
        tokio::spawn(async move { answer(done, told.await.ok()) });
        self.advance(Input::MakePermanent).await;
    }

    async fn finish(&mut self, outcome: Outcome) {
        self.tell_phases();
        let Some(active) = self.active.take() else { return };
        let Move { swap, mut report, span, mut done, asker, .. } = active;
        done.extend(asker);
        report.phases = swap.times().to_vec();
        report.ended = self.house.clock.unix();
        report.running = Some(self.body.revision.release.version.clone());
        report.generation = self.generation;
        report.verdict = Verdict::Swap { outcome: outcome.clone() };
        self.house.shared.live().swap = None;
        let id = swap.id();
        let event = match &outcome {
            Outcome::Permanent => "swap.permanent",
            Outcome::Aborted { .. } => "swap.aborted",
            Outcome::RolledBack { .. } => "swap.rolled-back",
            Outcome::Stopped { .. } => "swap.stopped",
        };
        let message = report.verdict.why().map_or_else(|| format!("{} runs", report.to), str::to_owned);
        self.house.events.tell(event, Some(&self.house.name), Some(id), message.clone());
        match outcome {
            Outcome::Permanent => tracing::info!(workload = %self.house.name, swap = %id, "{message}"),
            _ => {
                tracing::warn!(workload = %self.house.name, swap = %id, outcome = report.verdict.as_str(), "{message}");
            }
        }
        self.house.metrics.swap_ended(&report);
        if let Some(span) = span {
            span.end(&report);
        }
        let kept = report.clone();
        if let Err(error) = self.ledger.run(move |ledger| ledger.append(&kept)).await {
            tracing::error!(workload = %report.workload, swap = %report.id, %error, "a report could not be kept");
        }
        for done in done {
            // Whoever asked may have gone; the history has it.
            answer(done, report.clone());
        }
    }
}

fn greet(session: &Arc<Session>) -> Result<(), CallFault> {
    session.greet();
    Ok(())
}

/// Ends a round whose time is over: what is left would only make the pause longer.
fn too_late(until: Instant) -> impl Fn() -> Result<(), CallFault> + Send + Sync + 'static {
    move || {
        if Instant::now() < until {
            Ok(())
        } else {
            Err(CallFault::Error("the sessions did not all come across before the deadline (--timeout)".to_owned()))
        }
    }
}

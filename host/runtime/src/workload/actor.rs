//! The actor of a workload: `run` is `select`, then `apply`. One thing at a time, no locks on the path of a message.
//!
//! Its cost: a workload is served by one task, so it uses one core at most. That is the price of an order of events that
//! every instance sees alike.

use std::{collections::VecDeque, ops::ControlFlow, pin::pin, sync::Arc, time::Duration};

use host_core::{
    history::SwapReport,
    id::{BatchSeq, Generation, WorkloadName},
    release::Revision,
    status::{CheckpointStatus, HealthReport, HealthStatus, RunState},
    swap::Input,
    time::{Moment, UnixNanos},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Body, Control, Copy, Nursery, Scribe, Shared, Witness,
    calls::Calls,
    checkpoints::Checkpoints,
    checks::Pace,
    connections::Connections,
    journal::Journal,
    recorded::Recorded,
    scribe::Done,
    supervision::Supervision,
    suspects::Suspects,
    swap::Active,
    timers::Timers,
    watcher::{Watched, Watcher, Watching, watch},
};
use crate::{
    bindings::types::{self, CloseReason, Closed, Event, Received},
    checkpoint::{Checkpoint, CheckpointFiles},
    clock::Clock,
    config::{HostConfig, NetLimits},
    events::EventBus,
    ids::Ids,
    instance::{CallError, GuestState},
    mailbox::{CallAnswer, Item, Mailbox},
    net::{
        connection::End,
        listener::{Listener, Reception},
    },
    telemetry::WorkloadMetrics,
};

/// How long a workload that is stopped may go on handling what its clients sent before: a mailbox is emptied in a fraction
/// of a second, and a stop must come to an end.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// What an actor has around it.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) name: WorkloadName,
    pub(crate) config: Arc<HostConfig>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) nursery: Nursery,
    pub(crate) events: EventBus,
    pub(crate) metrics: Arc<WorkloadMetrics>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) reception: Reception,
    pub(crate) scribe: Scribe,
    pub(crate) files: CheckpointFiles,
}

/// What an actor begins with.
pub(crate) struct Beginning {
    pub(crate) body: Body,
    pub(crate) generation: Generation,
    pub(crate) predecessor: Option<Revision>,
    pub(crate) instance: Option<Recorded>,
    pub(crate) listeners: Vec<Listener>,
    /// The first events of the instance.
    pub(crate) front: Vec<Event>,
    pub(crate) timers: Vec<(u64, UnixNanos)>,
    pub(crate) batches: BatchSeq,
    pub(crate) events: u64,
    /// What it began from, on disk.
    pub(crate) checkpoint: CheckpointStatus,
    /// A swap whose probation goes on.
    pub(crate) active: Option<Active>,
    /// Checkpoints that did not read back and were passed over.
    pub(crate) damaged: Vec<String>,
}

/// See the module.
pub(crate) struct Actor {
    pub(super) around: Surroundings,
    control: mpsc::Receiver<Control>,
    done: mpsc::Receiver<Done>,

    pub(super) body: Body,
    pub(super) generation: Generation,
    pub(super) predecessor: Option<Revision>,
    /// None when it failed and was not made anew.
    pub(super) instance: Option<Recorded>,
    /// What is left of the instance that failed.
    pub(super) wreck: Option<Journal>,
    pub(super) listeners: Vec<Listener>,
    /// Events that come before what waits in the mailbox.
    pub(super) front: VecDeque<Event>,
    /// Those of them that are handled one at a time.
    pub(super) suspects: Suspects,
    pub(super) connections: Connections,
    pub(super) timers: Timers,
    pub(super) calls: Calls,
    pub(super) batches: BatchSeq,
    /// Events in those batches.
    pub(super) events: u64,
    pub(super) active: Option<Active>,
    pub(super) checkpoints: Checkpoints,
    pub(super) supervision: Supervision,
    pub(super) pace: Pace,
    /// A shadow of a candidate, perhaps.
    watcher: Option<Watcher>,
    /// Why the instance was lost, until something is done about it.
    pub(super) trouble: Option<String>,
    /// Kept for its memory.
    items: Vec<Item>,
}

/// What the actor does next.
enum Action {
    Control(Control),
    Done(Done),
    Wake,
    Batch,
    End,
}

impl Actor {
    pub(crate) fn new(
        around: Surroundings,
        beginning: Beginning,
        control: mpsc::Receiver<Control>,
        done: mpsc::Receiver<Done>,
    ) -> Self {
        let mut timers = Timers::default();
        timers.restore(&beginning.timers);
        let checkpoints = Checkpoints::new(around.config.checkpoint_every, around.clock.moment());
        Self {
            around,
            control,
            done,
            body: beginning.body,
            generation: beginning.generation,
            predecessor: beginning.predecessor,
            instance: beginning.instance,
            wreck: None,
            listeners: beginning.listeners,
            front: beginning.front.into(),
            suspects: Suspects::default(),
            connections: Connections::default(),
            timers,
            calls: Calls::default(),
            batches: beginning.batches,
            events: beginning.events,
            active: beginning.active,
            checkpoints,
            supervision: Supervision::default(),
            pace: Pace::default(),
            watcher: None,
            trouble: None,
            items: Vec::new(),
        }
    }

    /// Runs until it is stopped or the host is gone.
    pub(crate) async fn run(mut self) {
        let mut sleep = pin!(sleep_until(Instant::now()));
        let mut set_for = None;
        loop {
            let wake = self.wakes_at();
            if let (Some(at), true) = (wake, wake != set_for) {
                sleep.as_mut().reset(self.around.clock.instant_of(at).into());
                set_for = wake;
            }
            let waiting = self.front.is_empty();
            let action = tokio::select! {
                biased;
                control = self.control.recv() => control.map_or(Action::End, Action::Control),
                Some(done) = self.done.recv() => Action::Done(done),
                () = &mut sleep, if wake.is_some() => {
                    // A timer that fired is to be set again, even for the same moment.
                    set_for = None;
                    Action::Wake
                }
                () = async { if waiting { self.around.mailbox.filled().await } }, if self.instance.is_some() => Action::Batch,
            };
            if self.apply(action).await.is_break() {
                return;
            }
            // Here and nowhere deeper: whatever failed, it is dealt with between two actions.
            if let Some(why) = self.trouble.take() {
                self.recover(why).await;
            }
        }
    }

    async fn apply(&mut self, action: Action) -> ControlFlow<()> {
        match action {
            Action::Control(control) => return self.control(control).await,
            Action::Done(done) => self.done(done).await,
            Action::Wake => self.wake().await,
            Action::Batch => self.batch().await,
            Action::End => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    async fn control(&mut self, control: Control) -> ControlFlow<()> {
        match control {
            Control::Swap(offer) => self.take_offer(offer).await,
            Control::Brace { braced } => {
                self.connections.records();
                answer(braced, ());
            }
            Control::RollBack { why, allow_loss, taken, done } => {
                let wanted = Input::RollBackWanted { why, allow_loss };
                self.roll_back(wanted, taken, done).await;
            }
            Control::Commit { done } => self.commit(done).await,
            Control::Copy { schema, limit, copy } => {
                let copied = self.copy(schema, limit).await;
                answer(copy, copied);
            }
            Control::Witness { witness } => {
                let seen = self.witness().await;
                answer(witness, seen);
            }
            Control::Watch { schema, limit, watching } => {
                let begun = self.watch(schema, limit).await;
                answer(watching, begun);
            }
            Control::Health { report } => {
                let health = self.health().await;
                answer(report, health);
            }
            Control::Verify { checks } => {
                let (seen, _) = self.checks(None).await;
                answer(checks, seen);
            }
            Control::Connections { ids } => answer(ids, self.connections.ids()),
            Control::Drain { ids } => self.connections.drain(&ids),
            Control::Revive { revived } => {
                let result = self.revive().await;
                answer(revived, result);
            }
            Control::Stop { stopped } => {
                let result = self.stop().await;
                answer(stopped, result);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    async fn done(&mut self, done: Done) {
        match done {
            Done::Checkpointed(result) => self.checkpointed(result),
            Done::Recorded(side, result) => self.recorded(side, result).await,
            Done::Released(Ok(())) => self.take_back("ledger"),
            Done::Reported(Ok(())) => self.take_back("history"),
            Done::Reported(Err(error)) => {
                self.warn("history", format!("a report could not be written: {error}; it is tried again"));
            }
            Done::Released(Err(error)) => {
                self.warn("ledger", format!("the ledger could not be written: {error}; it is tried again, and until then a host that starts anew may run an older revision"));
            }
        }
    }

    /// When it wants to be woken without anything happening.
    fn wakes_at(&self) -> Option<Moment> {
        let clock = &self.around.clock;
        let timer = self.timers.next().filter(|_| self.instance.is_some()).map(|due| {
            let (now, unix) = (clock.moment(), clock.unix());
            now.after(due.since(unix))
        });
        let swap = self.active.as_ref().and_then(|active| active.swap.wakes_at());
        let checkpoint = self.checkpoints.due().filter(|_| self.instance.is_some());
        [timer, swap, checkpoint, self.calls.next()].into_iter().flatten().min()
    }

    async fn wake(&mut self) {
        let now = self.around.clock.moment();
        self.calls.expire(now);
        self.show_counts();
        self.tick(now).await;
        if self.instance.is_some() && self.checkpoints.due().is_some_and(|due| due <= now) {
            self.checkpoint().await;
        }
        if self.timers.next().is_some_and(|due| due <= self.around.clock.unix()) {
            self.batch().await;
        }
    }

    /// Gives the instance what has happened.
    pub(super) async fn batch(&mut self) {
        // Without an instance everything stays parked where it is.
        if self.instance.is_none() {
            return;
        }
        let (now, events) = match self.next_suspect() {
            Some(suspect) => (self.around.clock.unix(), vec![suspect]),
            None => self.gather(),
        };
        if !events.is_empty() {
            self.handle(now, events).await;
        }
        // A mailbox that is never empty must not keep this thread from the connections' tasks.
        tokio::task::consume_budget().await;
    }

    /// What waits, as far as one batch takes it, and the batch's time.
    ///
    /// The time is read once, after everything has come in: a timer set "in a second" is a second from no earlier than its
    /// event. Timers fire by the same time, or a predecessor that is given the batch again would see one fire that did not.
    fn gather(&mut self) -> (UnixNanos, Vec<Event>) {
        let limits: NetLimits = self.around.config.net;
        let mut events: Vec<Event> = self.front.drain(..).collect();
        // Half at most: timers that are always due must not keep clients out.
        let half = limits.batch_events / 2;
        let due = self.timers.next().is_some_and(|due| due <= self.around.clock.unix());
        let kept_free = if due { half } else { 0 };
        let mut items = std::mem::take(&mut self.items);
        let room = limits.batch_events.saturating_sub(events.len().max(kept_free));
        let (waiting, bytes) = self.around.mailbox.take(&mut items, room, limits.batch_bytes);
        self.around.metrics.set_queued(waiting as u64, bytes as u64);
        let now = self.around.clock.unix();
        while events.len() < half {
            let Some(fired) = self.timers.fire(now) else { break };
            events.push(Event::Fired(fired));
        }
        for item in items.drain(..) {
            events.extend(self.event(item, limits));
        }
        self.items = items;
        (now, events)
    }

    fn event(&mut self, item: Item, limits: NetLimits) -> Option<Event> {
        match item {
            Item::Received(connection, data) => {
                let event = Event::Received(Received { connection: connection.0, data });
                self.connections.is_heard(connection.0).then_some(event)
            }
            Item::Opened(connection) => Some(self.connections.open(connection)),
            Item::Closed(id, reason) => {
                let known = self.connections.close(id, reason);
                known.then_some(Event::Closed(Closed { connection: id.0, reason }))
            }
            Item::Called(called) => {
                if called.deadline <= self.around.clock.moment() {
                    answer(called.reply, CallAnswer::TimedOut);
                    return None;
                }
                let id = self.around.ids.call();
                self.calls.add(id, called.deadline, called.reply, limits.calls).then(|| {
                    let (method, payload) = (called.method, called.payload.into());
                    Event::Called(types::Called { call: id.0, method, payload })
                })
            }
        }
    }

    async fn handle(&mut self, now: UnixNanos, events: Vec<Event>) {
        let Some(instance) = &mut self.instance else { return };
        let seq = BatchSeq(self.batches.0 + 1);
        let began = std::time::Instant::now();
        match instance.handle(seq, now, &events).await {
            Ok(effects) => {
                let took = began.elapsed();
                self.batches = seq;
                self.events += events.len() as u64;
                self.pace.note(took, events.len());
                self.around.metrics.batch(events.len() as u64, effects.len() as u64, took);
                self.around.metrics.set_guest_memory(instance.memory_bytes() as u64);
                self.checkpoints.changed();
                if let Some(watcher) = &self.watcher {
                    let (events, effects) = (events.clone(), effects.clone());
                    if !watcher.tell(Watched { seq, now, events, effects }) {
                        self.watcher = None;
                    }
                }
                self.perform(effects);
                // After the effects: what the guest sent in answer to the last bytes still leaves.
                self.connections.forget_closed(&events);
                self.rebase_if_full().await;
            }
            Err(error) => self.lose_batch(&error, events),
        }
        // After the effects, which set timers and answer calls.
        self.show_counts();
    }

    fn show_counts(&self) {
        self.around.shared.count(self.timers.len(), self.calls.len(), self.batches);
    }

    /// The instance is gone; what follows is decided between two actions.
    pub(super) fn lose(&mut self, why: String) {
        if let Some(lost) = self.instance.take() {
            self.wreck = Some(lost.into_journal());
        }
        self.trouble.get_or_insert(why);
    }

    /// The instance is gone in the middle of a batch: none of it happened, so all of it is still to come.
    fn lose_batch(&mut self, error: &CallError, events: Vec<Event>) {
        self.suspects.add(events.len(), error);
        for event in events.into_iter().rev() {
            self.front.push_front(event);
        }
        self.lose(error.to_string());
    }

    /// A copy of the live state. A guest that fails in it is made anew, as anywhere; one that takes longer than a swap would
    /// let it is cut off as it would be there.
    async fn copy(&mut self, schema: u32, limit: Duration) -> Result<Copy, String> {
        let longest_batch = self.pace.longest();
        let began = std::time::Instant::now();
        let checkpoint = self.snapshot_within(schema, limit).await?;
        Ok(Copy { checkpoint, took: began.elapsed(), longest_batch })
    }

    async fn snapshot_within(&mut self, schema: u32, limit: Duration) -> Result<Checkpoint, String> {
        let Ok(checkpoint) = timeout(limit, self.snapshot(schema)).await else {
            let why = format!("snapshot did not end within {limit:?} (--timeout)");
            self.lose(why.clone());
            return Err(why);
        };
        checkpoint
    }

    /// The journal as it stands, and the state it leads to.
    async fn witness(&mut self) -> Result<Witness, String> {
        let instance = self.instance.as_ref().ok_or("no instance runs")?;
        let journal = instance.journal().copy().ok_or("there is no journal: it had outgrown its limit")?;
        let (body, schema) = (self.body.clone(), self.state_schema());
        let state = self.snapshot(schema).await;
        let now = state.as_ref().map_or_else(|_| self.around.clock.unix(), |checkpoint| checkpoint.made);
        let state = state.map(|checkpoint| GuestState::new(checkpoint.format, checkpoint.state.into()));
        Ok(Witness { body, journal, state, now })
    }

    async fn watch(&mut self, schema: u32, limit: Duration) -> Result<Watching, String> {
        let checkpoint = self.snapshot_within(schema, limit).await?;
        let (watcher, batches) = watch();
        // One at a time: a swap, whose shadow this is, is one at a time.
        self.watcher = Some(watcher);
        Ok(Watching { checkpoint, batches })
    }

    /// A snapshot of the live instance with all that the host holds beside it.
    pub(super) async fn snapshot(&mut self, schema: u32) -> Result<Checkpoint, String> {
        let now = self.around.clock.unix();
        let Some(instance) = &mut self.instance else { return Err("no instance runs".to_owned()) };
        match instance.snapshot(now, schema).await {
            Ok(state) => Ok(self.checkpoint_of(state, now)),
            Err(error) if instance.is_lost() => {
                let why = format!("snapshot failed: {error}");
                self.lose(why.clone());
                Err(why)
            }
            Err(error) => Err(format!("snapshot failed: {error}")),
        }
    }

    pub(super) async fn health(&mut self) -> HealthReport {
        let workload = self.around.name.clone();
        let now = self.around.clock.unix();
        let (mut status, mut details) = match &mut self.instance {
            None => (HealthStatus::Failed, vec![("instance".to_owned(), "none runs".to_owned())]),
            Some(_) if self.supervision.health_fails.is_some() => (HealthStatus::Failed, Vec::new()),
            Some(instance) => match instance.health(now).await {
                Ok(health) => (health.status, health.details),
                Err(error) => {
                    // Asked again it would fail again, and cost another instance.
                    self.supervision.health_fails = Some(error.to_string());
                    self.lose(error.to_string());
                    (HealthStatus::Failed, Vec::new())
                }
            },
        };
        details.extend(self.supervision.health_fails.clone().map(|why| ("health".to_owned(), why)));
        let live = self.around.shared.live();
        if let RunState::Failed { why } = &live.run_state {
            details.push(("host".to_owned(), why.clone()));
        }
        if !live.warnings.is_empty() {
            status = status.max(HealthStatus::Degraded);
        }
        details.extend(live.warnings.iter().map(|(about, warning)| ((*about).to_owned(), warning.clone())));
        drop(live);
        HealthReport { workload, status, details }
    }

    /// Handles what has come in, checkpoints, closes the connections after their last answers. The error is why what it
    /// begins from next time is not all that happened.
    async fn stop(&mut self) -> Result<(), String> {
        // A probation goes on when the workload does: its record is on disk.
        self.active = None;
        self.listeners.clear();
        self.around.mailbox.close_input();
        // What clients sent before is answered. A guest that keeps failing here is left with its last checkpoint.
        let until = self.now().after(STOP_LIMIT);
        let mut dropped = None;
        while self.instance.is_some() && !(self.front.is_empty() && self.around.mailbox.is_empty()) {
            if self.now() >= until {
                let waiting = self.front.len() + self.around.mailbox.depth().0;
                dropped = Some(format!("{waiting} events were not handled within {STOP_LIMIT:?} and are dropped"));
                break;
            }
            self.batch().await;
            if let Some(why) = self.trouble.take() {
                self.recover(why).await;
            }
        }
        let kept = match (&self.trouble, &self.instance) {
            (None, Some(_)) => self.last_checkpoint().await.and(dropped.map_or(Ok(()), Err)),
            (None, None) => Err("its last checkpoint counts, for no instance ran at its end".to_owned()),
            (Some(why), _) => {
                Err(format!("its last checkpoint counts, for it failed while it was being stopped: {why}"))
            }
        };
        self.calls.fail("the workload was stopped before it answered");
        self.connections.end_all();
        self.end_parked();
        self.around.scribe.flush().await;
        kept
    }

    /// Connections that no instance ever saw.
    fn end_parked(&mut self) {
        let mut items = std::mem::take(&mut self.items);
        self.around.mailbox.take(&mut items, usize::MAX, usize::MAX);
        for item in items {
            if let Item::Opened(connection) = item {
                connection.end(End::Flush(CloseReason::Drained));
            }
        }
    }

    /// Something a person should look at; shown until it is taken back.
    pub(super) fn warn(&self, about: &'static str, warning: String) {
        tracing::warn!(workload = %self.around.name, "{warning}");
        self.tell("workload.degraded", &warning);
        self.around.shared.live().warnings.insert(about, warning);
    }

    pub(super) fn take_back(&self, about: &'static str) {
        self.around.shared.live().warnings.remove(about);
    }

    pub(super) fn tell(&self, event: &str, message: &str) {
        let swap = self.active.as_ref().map(|active| active.swap.id());
        self.around.events.tell(event, Some(&self.around.name), swap, message.to_owned());
    }

    /// A report about something the host did by itself.
    pub(super) fn blank_report(&self, began: UnixNanos) -> SwapReport {
        let release = &self.body.revision.release;
        SwapReport::blank(self.around.name.clone(), release.version.clone(), release.digest, began)
    }

    pub(super) fn state_schema(&self) -> u32 {
        self.body.revision.release.description.writes.schema
    }

    pub(super) fn now(&self) -> Moment {
        self.around.clock.moment()
    }
}

/// Whoever asked may have gone.
pub(crate) fn answer<T>(to: oneshot::Sender<T>, value: T) {
    drop(to.send(value));
}

/// In milliseconds, for words.
pub(crate) fn ms(duration: Duration) -> String {
    format!("{:.3} ms", duration.as_secs_f64() * 1e3)
}

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
    time::{Moment, UnixNanos},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    Body, Control, Copy, Nursery, Scribe, Shared, calls::Calls, checkpoints::Checkpoints, checks::Pace,
    connections::Connections, scribe::Done, supervision::Supervision, swap::Active, timers::Timers,
};
use crate::{
    bindings::types::{self, CloseReason, Closed, Event, Received},
    checkpoint::{Checkpoint, CheckpointFiles},
    clock::Clock,
    config::{HostConfig, NetLimits},
    events::EventBus,
    ids::Ids,
    instance::{Batch, Instance},
    mailbox::{CallAnswer, Item, Mailbox},
    net::{
        connection::End,
        listener::{Listener, Reception},
    },
    telemetry::WorkloadMetrics,
};

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
    pub(crate) instance: Option<Instance>,
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
}

/// See the module.
pub(crate) struct Actor {
    pub(super) around: Surroundings,
    control: mpsc::Receiver<Control>,
    done: mpsc::Receiver<Done>,

    pub(super) body: Body,
    pub(super) generation: Generation,
    pub(super) predecessor: Option<Revision>,
    /// None when it failed for good.
    pub(super) instance: Option<Instance>,
    pub(super) listeners: Vec<Listener>,
    /// Events that come before what waits in the mailbox.
    pub(super) front: VecDeque<Event>,
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
            listeners: beginning.listeners,
            front: beginning.front.into(),
            connections: Connections::default(),
            timers,
            calls: Calls::default(),
            batches: beginning.batches,
            events: beginning.events,
            active: beginning.active,
            checkpoints,
            supervision: Supervision::default(),
            pace: Pace::default(),
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
            Control::RollBack { why, taken, done } => self.roll_back(why, taken, done).await,
            Control::Copy { schema, copy } => {
                let copied = self.copy(schema).await;
                answer(copy, copied);
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
            Done::Released(Ok(())) => {}
            Done::Released(Err(error)) => {
                self.warn("ledger", format!("the ledger could not be written: {error}; after a restart of the host an older revision may run"));
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
        let limits: NetLimits = self.around.config.net;
        let now = self.around.clock.unix();
        let mut events: Vec<Event> = self.front.drain(..).collect();
        while events.len() < limits.batch_events {
            let Some(fired) = self.timers.fire(now) else { break };
            events.push(Event::Fired(fired));
        }
        let mut items = std::mem::take(&mut self.items);
        let room = limits.batch_events.saturating_sub(events.len());
        let (waiting, bytes) = self.around.mailbox.take(&mut items, room, limits.batch_bytes);
        self.around.metrics.set_queued(waiting as u64, bytes as u64);
        let mut closed = Vec::new();
        for item in items.drain(..) {
            events.extend(self.event(item, &mut closed, limits));
        }
        self.items = items;
        if !events.is_empty() {
            self.handle(now, &events).await;
        }
        // After the effects: what the guest sent in answer to the last bytes still leaves.
        for (id, reason) in closed {
            self.connections.forget(id, reason);
        }
        // A mailbox that is never empty must not keep this thread from the connections' tasks.
        tokio::task::consume_budget().await;
    }

    fn event(
        &mut self,
        item: Item,
        closed: &mut Vec<(host_core::id::ConnectionId, CloseReason)>,
        limits: NetLimits,
    ) -> Option<Event> {
        match item {
            Item::Received(connection, data) => Some(Event::Received(Received { connection: connection.0, data })),
            Item::Opened(connection) => Some(self.connections.open(connection)),
            Item::Closed(id, reason) => {
                closed.push((id, reason));
                Some(Event::Closed(Closed { connection: id.0, reason }))
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

    async fn handle(&mut self, now: UnixNanos, events: &[Event]) {
        let Some(instance) = &mut self.instance else { return };
        self.batches = BatchSeq(self.batches.0 + 1);
        self.events += events.len() as u64;
        let began = std::time::Instant::now();
        let batch = Batch { now, seed: self.batches.0, events };
        let handled = instance.handle(batch).await;
        let took = began.elapsed();
        match handled {
            Ok(effects) => {
                self.pace.note(took, events.len());
                self.around.metrics.batch(events.len() as u64, effects.len() as u64, took);
                self.around.metrics.set_guest_memory(instance.memory_bytes() as u64);
                self.checkpoints.changed();
                self.perform(effects);
            }
            Err(error) => self.failed(error.to_string()),
        }
        // After the effects, which set timers and answer calls.
        self.around.shared.count(self.timers.len(), self.calls.len(), self.batches);
    }

    /// The instance is gone; what follows is decided between two actions.
    pub(super) fn failed(&mut self, why: String) {
        self.instance = None;
        self.trouble.get_or_insert(why);
    }

    /// A copy of the live state. A guest that fails in it is made anew, as anywhere.
    async fn copy(&mut self, schema: u32) -> Result<Copy, String> {
        let longest_batch = self.pace.longest();
        let began = std::time::Instant::now();
        let checkpoint = self.snapshot(schema).await?;
        Ok(Copy { checkpoint, took: began.elapsed(), longest_batch })
    }

    /// A snapshot of the live instance with all that the host holds beside it.
    pub(super) async fn snapshot(&mut self, schema: u32) -> Result<Checkpoint, String> {
        let now = self.around.clock.unix();
        let Some(instance) = &mut self.instance else { return Err("no instance runs".to_owned()) };
        instance.advance(now);
        match instance.snapshot(schema).await {
            Ok(state) => Ok(self.checkpoint_of(state, now)),
            Err(error) if instance.is_lost() => {
                let why = format!("snapshot failed: {error}");
                self.failed(why.clone());
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
            Some(instance) => {
                instance.advance(now);
                match instance.health().await {
                    Ok(health) => (health.status, health.details),
                    Err(error) => {
                        let why = error.to_string();
                        self.failed(why.clone());
                        (HealthStatus::Failed, vec![("health".to_owned(), why)])
                    }
                }
            }
        };
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

    /// Handles what has come in, checkpoints, closes the connections after their last answers.
    async fn stop(&mut self) -> Result<(), String> {
        // A probation goes on when the workload does: its record is on disk.
        self.active = None;
        self.listeners.clear();
        self.around.mailbox.close_input();
        // What clients sent before is answered. A guest that keeps failing here is left with its last checkpoint.
        while self.instance.is_some() && !(self.front.is_empty() && self.around.mailbox.is_empty()) {
            self.batch().await;
        }
        let kept = match &self.trouble {
            None if self.instance.is_some() => self.last_checkpoint().await,
            None => Ok(()),
            Some(why) => Err(format!("its last checkpoint counts, for it failed while it was being stopped: {why}")),
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
pub(super) fn answer<T>(to: oneshot::Sender<T>, value: T) {
    drop(to.send(value));
}

/// In milliseconds, for words.
pub(super) fn ms(duration: Duration) -> String {
    format!("{:.3} ms", duration.as_secs_f64() * 1e3)
}

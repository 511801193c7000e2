//! The ways back to the predecessor.
//!
//! 1. *Downgrade*: the new release writes the old format. If its instance trapped, it is made anew first, exactly.
//! 2. *Replay*: the predecessor is born from the state at the switch and handles what came since, into a shadow of the
//!    host's tables; then the tables follow it. Clients keep the answers they have.
//! 3. *Checkpoint*: the state at the switch alone. What came since is lost, and counted.
//!
//! In the first two no event is lost: a batch that the new release failed on is still to come, and the predecessor gets it.

use std::{collections::BTreeMap, sync::Arc};

use host_core::{
    comparison::Comparison, plan::common_format, release::ListenAddress, swap::RollbackWay, time::UnixNanos,
};

use super::{
    actor::Actor,
    comparing,
    journal::{Entry, Handled, JournalCopy},
    recorded::Recorded,
    timers::Timers,
};
use crate::{
    bindings::types::{CloseMode, CloseReason, Effect, Event, Start},
    checkpoint::Checkpoint,
    engine::Purpose,
    net::connection::End,
};

/// A predecessor that stands ready.
struct Reinstated {
    instance: Recorded,
    /// Its birth, as far as the disk shall know.
    checkpoint: Arc<Checkpoint>,
    /// What the host's tables have to follow; only after a replay.
    shadow: Option<Shadow>,
}

/// The host's tables as the predecessor would have them.
#[derive(Default)]
struct Shadow {
    timers: Timers,
    replies: BTreeMap<u64, Result<Vec<u8>, String>>,
    closes: Vec<(u64, CloseMode)>,
    /// It was given its first event.
    greeted: bool,
    comparison: Comparison,
}

impl Shadow {
    /// What the predecessor is given of a batch. Timers are its own: those of the release that goes are none of its affair.
    fn events(&mut self, handled: Handled, from: &str) -> Vec<Event> {
        let fired = std::iter::from_fn(|| self.timers.fire(handled.now)).map(Event::Fired);
        let mut events: Vec<_> = fired.collect();
        for event in handled.events {
            match event {
                Event::Fired(_) => {}
                Event::Started(_) => {
                    self.greeted = true;
                    events.insert(0, Event::Started(Start::RolledBack(from.to_owned())));
                }
                event => events.push(event),
            }
        }
        events
    }

    fn perform(&mut self, effects: Vec<Effect>, timers_limit: usize) {
        for effect in effects {
            match effect {
                Effect::SetTimer(set) => {
                    self.timers.set(set.timer, UnixNanos(set.at), timers_limit);
                }
                Effect::CancelTimer(timer) => {
                    self.timers.cancel(timer);
                }
                Effect::Close(close) => self.closes.push((close.connection, close.mode)),
                Effect::Reply(reply) => {
                    self.replies.entry(reply.call).or_insert(reply.outcome);
                }
                // Clients have their answers.
                _ => {}
            }
        }
    }
}

impl Actor {
    /// Reinstates the predecessor.
    pub(super) async fn reinstate(&mut self, way: RollbackWay) -> Result<(), String> {
        let now = self.now();
        let Some(active) = &mut self.active else { return Err("the swap is gone".to_owned()) };
        active.quiesced.get_or_insert(now);
        let reinstated = match way {
            RollbackWay::Downgrade => self.by_downgrade().await?,
            RollbackWay::Replay => self.by_replay().await?,
            RollbackWay::Checkpoint => self.by_checkpoint().await?,
            RollbackWay::Unchanged => return Err("that way is for instances with a connection each".to_owned()),
        };
        self.put_back(reinstated, way);
        Ok(())
    }

    async fn by_downgrade(&mut self) -> Result<Reinstated, String> {
        let body = self.old_body()?;
        let format = common_format(&self.body.revision, &body.revision)
            .ok_or("the new version does not write the old format")?;
        if self.instance.is_none() {
            let how = self.replay_wreck().await.map_err(|error| error.to_string())?;
            self.note(format!("the new version was made anew to write the old format: {how}"));
        }
        let checkpoint = Arc::new(self.snapshot(format.schema).await?);
        let instance = self.around.nursery.born(&body, checkpoint.clone(), Purpose::Replacement).await?;
        Ok(Reinstated { instance, checkpoint, shadow: None })
    }

    async fn by_replay(&mut self) -> Result<Reinstated, String> {
        let (body, handed) = (self.old_body()?, self.handed()?);
        let journal = self.journal_since(&handed)?;
        let from = self.body.revision.release.version.to_string();
        let mut instance = self.around.nursery.born_back_then(&body, handed.clone(), Purpose::Replacement).await?;
        let shadow = repeat(&mut instance, &handed, &journal, &from, self.around.config.net.timers).await?;
        // What the disk shall know is the state after the replay. Where the predecessor can't write it, the state at the
        // switch has to do until the next checkpoint.
        let now = self.around.clock.unix();
        let checkpoint = match instance.snapshot(now, body.revision.release.description.writes.schema).await {
            Ok(state) => {
                let mut checkpoint = self.checkpoint_of(state, now);
                (checkpoint.written_by, checkpoint.digest) =
                    (body.revision.release.version.clone(), body.revision.release.digest);
                checkpoint.timers = shadow.timers.list();
                Arc::new(checkpoint)
            }
            Err(error) if instance.is_lost() => return Err(format!("after the replay its snapshot failed: {error}")),
            Err(_) => handed,
        };
        Ok(Reinstated { instance, checkpoint, shadow: Some(shadow) })
    }

    async fn by_checkpoint(&mut self) -> Result<Reinstated, String> {
        let (body, checkpoint) = (self.old_body()?, self.handed()?);
        let instance = self.around.nursery.born(&body, checkpoint.clone(), Purpose::Replacement).await?;
        Ok(Reinstated { instance, checkpoint, shadow: None })
    }

    fn old_body(&self) -> Result<super::Body, String> {
        let old = self.active.as_ref().and_then(|active| active.old.as_ref());
        Ok(old.ok_or("the predecessor is gone")?.body.clone())
    }

    fn handed(&self) -> Result<Arc<Checkpoint>, String> {
        let handed = self.active.as_ref().and_then(|active| active.handed.clone());
        handed.ok_or_else(|| "there is no checkpoint of the switch".to_owned())
    }

    /// Every call since the switch, if they are all there.
    fn journal_since(&self, handed: &Checkpoint) -> Result<JournalCopy, String> {
        let journal = self.instance.as_ref().map(Recorded::journal).or(self.wreck.as_ref());
        let journal = journal.and_then(|journal| journal.copy()).ok_or("there is no journal")?;
        match &journal.base.state {
            Some((_, base)) if base.name() == handed.name() => Ok(journal),
            _ => Err(
                "the journal does not reach back to the switch: it has outgrown its limit, or the host started again \
                      since"
                    .to_owned(),
            ),
        }
    }

    /// The predecessor takes its place. Nothing in here can fail.
    fn put_back(&mut self, reinstated: Reinstated, way: RollbackWay) {
        let Reinstated { instance, checkpoint, shadow } = reinstated;
        let cost =
            self.cost_since(&checkpoint, self.around.clock.unix(), "the state as it was at the switch was reinstated");
        let from = self.body.revision.release.version.to_string();
        let Some(active) = &mut self.active else { return };
        let Some(old) = active.old.take() else { return };
        let opened: Vec<ListenAddress> = self.body.revision.listeners.clone();
        let kept = old.body.revision.listeners.clone();
        (self.body, self.predecessor) = (old.body, old.predecessor);
        self.instance = Some(instance);
        (self.wreck, self.trouble) = (None, None);
        self.suspects.acquit();
        self.generation = self.generation.next();
        self.listeners.retain(|listener| kept.contains(&listener.address) || !opened.contains(&listener.address));
        let mut birth = Checkpoint::clone(&checkpoint);
        birth.generation = self.generation;
        let start = Start::RolledBack(from);
        match way {
            RollbackWay::Downgrade | RollbackWay::Unchanged => self.greet(start),
            RollbackWay::Replay => self.follow(shadow.unwrap_or_default(), start),
            RollbackWay::Checkpoint => {
                active.report.cost = Some(cost);
                self.restore(&birth, start, CloseReason::Error);
                self.calls
                    .fail("the release that worked on this call was rolled back; whether it took effect is not known");
                // Numbers never fall, so that what is written from here on counts as newer.
                (birth.batches, birth.events) = (self.batches, self.events);
            }
        }
        if let Some(active) = &mut self.active {
            active.handed = Some(Arc::new(birth));
        }
        self.show_place();
    }

    /// The host's tables follow a predecessor that handled again what came since the switch: its timers count, calls it
    /// answered that nobody had answered are answered, connections it closed are closed.
    fn follow(&mut self, shadow: Shadow, start: Start) {
        self.timers = shadow.timers;
        self.forget_fired();
        for (call, outcome) in shadow.replies {
            // Most were answered before.
            self.calls.reply(call, outcome);
        }
        for (connection, mode) in shadow.closes {
            let end = match mode {
                CloseMode::Flush => End::Flush(CloseReason::Requested),
                CloseMode::Abort => End::Abort(CloseReason::Requested),
            };
            self.connections.end(connection, end);
        }
        if shadow.greeted {
            self.checkpoints.begin_anew(self.now());
        } else {
            self.greet(start);
        }
        if let Some(active) = &mut self.active {
            active.report.comparison = Some(shadow.comparison);
        }
    }

    fn note(&mut self, note: String) {
        if let Some(active) = &mut self.active {
            active.report.notes.push(note);
        }
    }
}

/// The predecessor handles what came since the switch.
async fn repeat(
    instance: &mut Recorded,
    handed: &Checkpoint,
    journal: &JournalCopy,
    from: &str,
    timers_limit: usize,
) -> Result<Shadow, String> {
    let failed = |error: String| format!("the old version failed when it handled what came since: {error}");
    let mut shadow = Shadow::default();
    shadow.timers.restore(&handed.timers);
    for entry in journal.entries() {
        let Entry::Handled(handled) = entry.map_err(|error| failed(error.to_string()))? else { continue };
        let (seq, now, sums) = (handled.seq, handled.now, handled.sums.clone());
        let events = shadow.events(handled, from);
        let effects = match events.is_empty() {
            true => Vec::new(),
            false => instance.handle(seq, now, &events).await.map_err(|error| failed(error.to_string()))?,
        };
        comparing::with_sums(&mut shadow.comparison, seq, &events, &sums, &effects);
        shadow.perform(effects, timers_limit);
    }
    Ok(shadow)
}

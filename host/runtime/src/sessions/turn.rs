//! A session's turn: what has come in becomes one batch, and what the instance wants is done.

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use host_core::time::UnixNanos;

use super::{
    house::{Current, Passage},
    maker::Unborn,
    session::{Seat, Session, UNAWAITED},
};
use crate::{
    bindings::types::{CloseMode, CloseReason, Closed, Effect, Event, Opened, Received, Start},
    engine::Purpose,
    instance::Batch,
    mailbox::Item,
    net::connection::End,
};

/// Timers of one session. A state machine has one or two; ten thousand sessions may have a million together.
const TIMERS_LIMIT: usize = 100;

/// What a thread keeps from turn to turn, for its memory.
#[derive(Default)]
pub(super) struct Scratch {
    items: Vec<Item>,
    events: Vec<Event>,
    pieces: Vec<Bytes>,
}

/// Why a session can't go on.
pub(super) enum Unfit {
    /// It never began: there is no room for its instance. That is nobody's failure.
    NoRoom(String),
    /// What it is to run failed, or no way led there.
    Failed { reason: CloseReason, why: String },
}

impl Session {
    /// Takes the turn, if it is to be had, and gives it back.
    pub(super) fn turn(self: &Arc<Self>, scratch: &mut Scratch) {
        if self.begin_turn() {
            self.serve(scratch);
            self.end_turn();
        }
    }

    /// In a round: greets the instance of a release that has just taken over, if nobody has done so yet.
    pub(super) fn greet(self: &Arc<Self>) {
        if self.try_turn() {
            self.serve(&mut Scratch::default());
            self.end_turn();
        }
    }

    fn serve(self: &Arc<Self>, scratch: &mut Scratch) {
        let house = self.house.clone();
        let limits = house.config.net;
        let mut seat = self.seat();
        let only_closes = self.only_closes();
        self.take(&mut scratch.items, limits.batch_events, limits.batch_bytes);
        if seat.instance.is_none() && scratch.items.is_empty() {
            return;
        }
        if let Err(unfit) = self.catch_up(&mut seat, only_closes) {
            scratch.items.clear();
            return self.refuse(&mut seat, unfit);
        }
        let now = house.clock.unix();
        let closed = self.gather(&mut seat, scratch, now);
        if !scratch.events.is_empty() {
            let alive = self.handle(&mut seat, scratch, now);
            scratch.events.clear();
            if !alive {
                return;
            }
        }
        match closed {
            // After the effects: what the guest sent in answer to the last bytes still leaves.
            Some(reason) => self.close(&mut seat, reason),
            None => self.set_alarm(&mut seat),
        }
    }

    /// The events of a batch: the greeting, timers that are due, what has come in.
    fn gather(&self, seat: &mut Seat, scratch: &mut Scratch, now: UnixNanos) -> Option<CloseReason> {
        let Scratch { items, events, .. } = scratch;
        seat.used |= !items.is_empty();
        events.extend(seat.greeting.take().map(Event::Started));
        while let Some(fired) = seat.timers.fire(now) {
            seat.used = true;
            events.push(Event::Fired(fired));
        }
        let mut closed = None;
        for item in items.drain(..) {
            events.push(match item {
                Item::Received(id, data) => Event::Received(Received { connection: id.0, data }),
                Item::Opened(connection) => Event::Opened(Opened {
                    connection: connection.id.0,
                    listener: connection.listener.to_string(),
                    peer: connection.peer.to_string(),
                    protocol: None,
                    handshake: None,
                }),
                Item::Closed(id, reason) => {
                    closed = Some(reason);
                    Event::Closed(Closed { connection: id.0, reason })
                }
                // Refused where they come in.
                Item::Called(_) => continue,
            });
        }
        closed
    }

    /// False if the instance did not survive it.
    fn handle(self: &Arc<Self>, seat: &mut Seat, scratch: &mut Scratch, now: UnixNanos) -> bool {
        let house = &self.house;
        let Some(instance) = &mut seat.instance else { return false };
        let seq = self.batches.fetch_add(1, Ordering::AcqRel) + 1;
        let began = std::time::Instant::now();
        let handled = instance.handle(Batch { now, seed: seq, events: &scratch.events });
        let took = began.elapsed();
        match handled {
            // The release was rolled back while it worked on this: whoever waits for the answer has been given up.
            Ok(_) if self.doomed.load(Ordering::Acquire) => {
                self.die(seat, UNAWAITED);
                false
            }
            Ok(effects) => {
                let (memory, _) = instance.memory_bytes();
                house.tally.memory(mem::replace(&mut seat.memory_bytes, memory), memory);
                house.note_batch(took, scratch.events.len(), effects.len());
                self.outdate();
                self.perform(seat, effects, &mut scratch.pieces);
                true
            }
            Err(error) => {
                self.die(seat, &error.to_string());
                false
            }
        }
    }

    /// Does what the guest wants. Ids that are not its own do nothing and are counted.
    fn perform(&self, seat: &mut Seat, effects: Vec<Effect>, pieces: &mut Vec<Bytes>) {
        let own = self.id().0;
        let mut unknown = 0;
        for effect in effects {
            let known = match effect {
                Effect::Send(send) => {
                    let data = Bytes::from(send.data);
                    let strangers = send.to.iter().filter(|id| **id != own).count();
                    pieces.extend(send.to.iter().filter(|id| **id == own).map(|_| data.clone()));
                    unknown += strangers as u64;
                    continue;
                }
                Effect::Close(close) if close.connection == own => {
                    self.connection.send(pieces);
                    self.connection.end(match close.mode {
                        CloseMode::Flush => End::Flush(CloseReason::Requested),
                        CloseMode::Abort => End::Abort(CloseReason::Requested),
                    });
                    true
                }
                Effect::SetTimer(set) => {
                    if !seat.timers.set(set.timer, UnixNanos(set.at), TIMERS_LIMIT) {
                        self.house.warn_once("timers", || {
                            format!("a timer was not set: {} already has {TIMERS_LIMIT}", self.name())
                        });
                    }
                    true
                }
                // One that fired in the meantime is no mistake of the guest's.
                Effect::CancelTimer(timer) => seat.timers.cancel(timer),
                // What belongs to protocols without a listener, to calls, or to other connections.
                _ => false,
            };
            unknown += u64::from(!known);
        }
        if !pieces.is_empty() {
            self.connection.send(pieces);
        }
        if unknown > 0 {
            self.house.metrics.unknown_ids(unknown);
        }
    }

    /// Makes sure that the instance is one of the release in place.
    ///
    /// # Errors
    /// There can't be one, and why.
    pub(super) fn catch_up(self: &Arc<Self>, seat: &mut Seat, only_closes: bool) -> Result<(), Unfit> {
        let house = &self.house;
        if seat.instance.is_some() && seat.generation == house.generation() {
            return Ok(());
        }
        let current = house.current();
        let Some(instance) = seat.instance.take() else {
            let made = house.maker.initialised(&current.body, Purpose::Start);
            let instance = made.map_err(|unborn| match unborn {
                Unborn::NoRoom(why) => Unfit::NoRoom(why),
                Unborn::Failed(why) => Unfit::Failed { reason: CloseReason::Error, why },
            })?;
            seat.instance = Some(instance);
            (seat.generation, seat.greeting) = (current.generation, Some(Start::Fresh));
            house.tally.instance_made();
            if let Some(ahead) = house.ahead() {
                ahead.list(self);
            }
            return Ok(());
        };
        seat.instance = Some(instance);
        match &current.passage {
            Some(Passage::Ahead { swap, from }) => {
                // Its candidate was dropped: the end is the last it hears, and it hears it from the release it knows.
                if only_closes {
                    return Ok(());
                }
                let standby = self.standby().take().filter(|standby| standby.ahead.swap == *swap);
                let (instance, handed) = standby.map(|standby| standby.take_over()).unwrap_or_default();
                if instance.is_none() {
                    let why = "it was not migrated with the others".to_owned();
                    return Err(Unfit::Failed { reason: CloseReason::Error, why });
                }
                (seat.instance, seat.handed) = (instance, handed);
                (seat.generation, seat.used) = (current.generation, false);
                seat.greeting = Some(Start::Swapped(from.clone()));
                Ok(())
            }
            Some(Passage::Back(back)) if seat.generation == back.from => self.go_back(seat, &current, back),
            // The release it knows is in place again before it noticed that it was gone.
            Some(Passage::Back(_)) | None => {
                *self.standby() = None;
                seat.generation = current.generation;
                Ok(())
            }
        }
    }

    /// The same between batches. False if it can't be, which is its end.
    pub(super) fn caught_up(self: &Arc<Self>, seat: &mut Seat) -> bool {
        let only_closes = self.only_closes();
        match self.catch_up(seat, only_closes) {
            Ok(()) => true,
            Err(unfit) => {
                self.refuse(seat, unfit);
                false
            }
        }
    }

    /// From a release that was rolled back to the one in place.
    fn go_back(&self, seat: &mut Seat, current: &Current, back: &super::house::Back) -> Result<(), Unfit> {
        let house = &self.house;
        let lost = |why: String| {
            back.closed.fetch_add(1, Ordering::Relaxed);
            Unfit::Failed { reason: CloseReason::SetAside, why: format!("no way led back for it: {why}") }
        };
        if self.doomed.load(Ordering::Acquire) {
            return Err(lost("it did not come to an end".to_owned()));
        }
        let Some(instance) = &mut seat.instance else { return Ok(()) };
        let until = std::time::Instant::now() + back.limit;
        let state = match (back.schema, seat.handed.take()) {
            (Some(schema), _) => {
                instance.advance(house.clock.unix());
                instance.snapshot(schema, Some(until)).map_err(|error| lost(format!("its snapshot failed: {error}")))?
            }
            (None, Some(handed)) if !seat.used => handed,
            (None, _) => {
                return Err(lost("it changed since the switch, and the release can't write the old format".to_owned()));
            }
        };
        let mut old =
            house.maker.initialised(&current.body, Purpose::Replacement).map_err(|unborn| lost(unborn.to_string()))?;
        old.advance(house.clock.unix());
        old.code_change(&state, &back.version, Some(until))
            .map_err(|error| lost(format!("code-change failed: {error}")))?;
        seat.instance = Some(old);
        seat.generation = current.generation;
        seat.greeting = Some(Start::RolledBack(back.version.clone()));
        Ok(())
    }

    /// The instance failed, and takes its connection with it.
    pub(super) fn die(&self, seat: &mut Seat, why: &str) {
        self.house.died(self, seat.generation, why);
        self.end(seat, CloseReason::SetAside);
    }

    fn refuse(&self, seat: &mut Seat, unfit: Unfit) {
        match unfit {
            Unfit::NoRoom(why) => {
                self.house.refused(&self.connection.peer, || {
                    format!("there is no room for its instance: {why}; start the host with a higher --guest-memory")
                });
                self.end(seat, CloseReason::Limit);
            }
            Unfit::Failed { reason, why } => {
                self.house.died(self, seat.generation, &why);
                self.end(seat, reason);
            }
        }
    }

    fn close(&self, seat: &mut Seat, reason: CloseReason) {
        self.house.tally.closed(self.connection.was_dropped(reason));
        self.end(seat, reason);
    }

    fn set_alarm(self: &Arc<Self>, seat: &mut Seat) {
        let next = seat.timers.next();
        let alarm = mem::replace(&mut seat.alarm, next);
        self.house.alarms.move_to(self.id(), alarm, next.map(|at| (at, self)));
    }
}

//! One session: a connection, what it sent, and the instance that serves it.
//!
//! A session is run by one guest thread at a time: whoever has its *turn*. The connection's task puts events in and, if nobody
//! has the turn, queues it; who has it when more comes in has it again. So no thread ever waits for another one's guest.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use host_core::{
    id::{ConnectionId, Generation},
    time::UnixNanos,
};
use tokio::sync::Notify;

use super::{
    House,
    ahead::{Ahead, Standby},
    room::Permit,
};
use crate::{
    bindings::types::{CloseReason, Start},
    instance::{GuestState, blocking::BlockingInstance},
    mailbox::{Inbox, Item},
    net::connection::{Connection, End},
    workload::timers::Timers,
};

/// Bytes that wait for one session: four chunks. A client that sends faster than its session works is held back by TCP;
/// thousands that do must not fill the host.
const INFLOW_LIMIT_BYTES: usize = 64 << 10;

/// Why a session ends that was given up in the middle of its turn.
pub(super) const UNAWAITED: &str = "it did not come to an end before nobody waited for it any more";

/// See the module.
pub(crate) struct Session {
    pub(super) connection: Arc<Connection>,
    pub(super) house: Arc<House>,
    inflow: Mutex<Inflow>,
    /// Told when there is room in the inflow again.
    drained: Notify,
    pub(super) seat: Mutex<Seat>,
    /// A candidate of the release to come, made while this one serves.
    pub(super) standby: Mutex<Option<Standby>>,
    /// Batches handled. What a candidate was made after is compared with it.
    pub(super) batches: AtomicU64,
    /// A rollback could not wait for its turn to end: its instance is not to be used again.
    pub(super) doomed: AtomicBool,
    permit: Mutex<Option<Permit>>,
}

struct Inflow {
    items: VecDeque<Item>,
    bytes: usize,
    turn: Turn,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Nobody's: there is nothing to do.
    Nobody,
    /// It waits in the queue.
    Queued,
    /// A thread's.
    Taken,
    /// A thread's, and it has to come again.
    TakenAgain,
    /// It is over: nothing that comes in matters any more.
    Over,
}

/// What serves a session. Touched by whoever has the turn, or by a swap while nobody has one.
#[derive(Default)]
pub(super) struct Seat {
    pub(super) instance: Option<BlockingInstance>,
    /// Of the release that the instance runs.
    pub(super) generation: Generation,
    /// Its next batch begins with this.
    pub(super) greeting: Option<Start>,
    /// The state as it was handed over at the switch, where a rollback would need it.
    pub(super) handed: Option<GuestState>,
    /// It handled more than its greeting since the switch.
    pub(super) used: bool,
    pub(super) timers: Timers,
    /// The alarm that is set for its timers.
    pub(super) alarm: Option<UnixNanos>,
    /// The instance's memory, as it was counted.
    pub(super) memory_bytes: usize,
}

impl Session {
    pub(super) fn new(connection: Arc<Connection>, house: Arc<House>, permit: Permit) -> Arc<Self> {
        Arc::new(Self {
            connection,
            house,
            inflow: Mutex::new(Inflow { items: VecDeque::new(), bytes: 0, turn: Turn::Nobody }),
            drained: Notify::new(),
            seat: Mutex::default(),
            standby: Mutex::default(),
            batches: AtomicU64::new(0),
            doomed: AtomicBool::new(false),
            permit: Mutex::new(Some(permit)),
        })
    }

    pub(super) fn id(&self) -> ConnectionId {
        self.connection.id
    }

    /// In words, for whoever looks for it.
    pub(super) fn name(&self) -> String {
        format!("connection {} ({})", self.connection.id, self.connection.peer)
    }

    /// Something besides input is to be done: a timer fell due.
    pub(super) fn poke(self: &Arc<Self>) {
        if self.inflow().ask() {
            self.house.queue.push(self.clone());
        }
    }

    /// Takes the turn. False if somebody has it, who will come again, or if the session is over.
    pub(super) fn begin_turn(&self) -> bool {
        let mut inflow = self.inflow();
        match inflow.turn {
            Turn::Nobody | Turn::Queued => {
                inflow.turn = Turn::Taken;
                true
            }
            Turn::Taken | Turn::TakenAgain => {
                inflow.turn = Turn::TakenAgain;
                false
            }
            Turn::Over => false,
        }
    }

    /// Takes the turn if nobody has it; whoever has it is not asked to come again.
    pub(super) fn try_turn(&self) -> bool {
        let mut inflow = self.inflow();
        let free = matches!(inflow.turn, Turn::Nobody | Turn::Queued);
        if free {
            inflow.turn = Turn::Taken;
        }
        free
    }

    /// Gives the turn back; queued again if there is something to do.
    pub(super) fn end_turn(self: &Arc<Self>) {
        if self.doomed.load(Ordering::Acquire) && !self.is_over() {
            return self.die(&mut self.seat(), UNAWAITED);
        }
        let mut inflow = self.inflow();
        let again = inflow.turn == Turn::TakenAgain || !inflow.items.is_empty();
        match inflow.turn {
            Turn::Taken | Turn::TakenAgain => inflow.turn = if again { Turn::Queued } else { Turn::Nobody },
            Turn::Nobody | Turn::Queued | Turn::Over => return,
        }
        drop(inflow);
        if again {
            self.house.queue.push(self.clone());
        }
    }

    /// Moves what has come in into `items`, up to these limits.
    pub(super) fn take(&self, items: &mut Vec<Item>, events: usize, bytes: usize) {
        let mut inflow = self.inflow();
        let mut taken = 0;
        let mut count = 0;
        while count < events && taken < bytes {
            let Some(item) = inflow.items.pop_front() else { break };
            taken += item.bytes();
            count += 1;
            items.push(item);
        }
        inflow.bytes -= taken;
        drop(inflow);
        self.house.waiting.leave(count, taken);
        self.drained.notify_waiters();
    }

    /// Whether all that is left to be told is that the connection ended.
    pub(super) fn only_closes(&self) -> bool {
        let inflow = self.inflow();
        inflow.items.len() == 1 && matches!(inflow.items.front(), Some(Item::Closed(..)))
    }

    /// It has not come to the end of its turn, and nobody waits for it any more.
    pub(super) fn doom_if_taken(&self) {
        if matches!(self.inflow().turn, Turn::Taken | Turn::TakenAgain) {
            self.doomed.store(true, Ordering::Release);
        }
    }

    /// Whether the state that its instance took over when this generation began is no longer its state. While no session runs.
    pub(super) fn has_changed_since(&self, generation: Generation) -> bool {
        let seat = self.seat();
        seat.instance.is_some() && seat.generation == generation && (seat.used || seat.handed.is_none())
    }

    pub(super) fn is_over(&self) -> bool {
        self.inflow().turn == Turn::Over
    }

    /// Its end: the instance goes, nothing that comes in matters any more, and there is room for another one.
    pub(super) fn end(&self, seat: &mut Seat, reason: CloseReason) {
        let (items, bytes) = {
            let mut inflow = self.inflow();
            inflow.turn = Turn::Over;
            (std::mem::take(&mut inflow.items), std::mem::take(&mut inflow.bytes))
        };
        self.house.waiting.leave(items.len(), bytes);
        self.drained.notify_waiters();
        self.connection.end(End::Flush(reason));
        self.house.tally.instance_gone(seat.instance.is_some(), std::mem::take(&mut seat.memory_bytes));
        self.house.alarms.move_to(self.id(), seat.alarm.take(), None);
        *seat = Seat::default();
        *self.standby() = None;
        self.house.forget(self.id());
        drop(self.permit.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// The workload is stopped. One that has its turn ends with that, which nobody waits for.
    pub(super) fn stop(&self) {
        self.connection.end(End::Flush(CloseReason::Drained));
        if self.try_turn() {
            self.end(&mut self.seat(), CloseReason::Drained);
        } else {
            self.doomed.store(true, Ordering::Release);
        }
    }

    pub(super) fn seat(&self) -> MutexGuard<'_, Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn standby(&self) -> MutexGuard<'_, Option<Standby>> {
        self.standby.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch was handled: a candidate made before it is no longer up to date.
    pub(super) fn outdate(self: &Arc<Self>) {
        let ahead: Option<Arc<Ahead>> = self.standby().as_ref().map(|standby| standby.ahead.clone());
        if let Some(ahead) = ahead {
            ahead.list(self);
        }
    }

    pub(super) fn batches(&self) -> u64 {
        self.batches.load(Ordering::Acquire)
    }

    fn inflow(&self) -> MutexGuard<'_, Inflow> {
        self.inflow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inflow {
    /// Whether it has to be queued now.
    fn ask(&mut self) -> bool {
        match self.turn {
            Turn::Nobody => {
                self.turn = Turn::Queued;
                true
            }
            Turn::Taken => {
                self.turn = Turn::TakenAgain;
                false
            }
            Turn::Queued | Turn::TakenAgain | Turn::Over => false,
        }
    }
}

impl Inbox for Session {
    fn put(self: &Arc<Self>, item: Item) {
        let bytes = item.bytes();
        let mut inflow = self.inflow();
        if inflow.turn == Turn::Over {
            return;
        }
        // Counted under the lock: who takes the item takes it from the count too.
        self.house.waiting.enter(bytes);
        inflow.items.push_back(item);
        inflow.bytes += bytes;
        let queue = inflow.ask();
        drop(inflow);
        if queue {
            self.house.queue.push(self.clone());
        }
    }

    async fn room(&self) {
        loop {
            let drained = self.drained.notified();
            let full = {
                let inflow = self.inflow();
                inflow.bytes >= INFLOW_LIMIT_BYTES && inflow.turn != Turn::Over && !self.house.waiting.input_closed()
            };
            if full {
                drained.await;
            } else {
                // All sessions together, too.
                self.house.waiting.room().await;
                return;
            }
        }
    }

    fn input_closed(&self) -> bool {
        self.house.waiting.input_closed()
    }
}

//! The mailbox between a workload's connections and its actor, bounded in bytes.
//!
//! Nobody waits to put something in: connections ask for room *before* they read from their socket, so that a full mailbox
//! stops the reading and TCP's own flow control is the back-pressure. `opened` and `closed` always fit. While a swap runs
//! the actor does not take: whatever is in here is parked, in order.

use std::{
    collections::VecDeque,
    future::poll_fn,
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
};

use bytes::Bytes;
use host_core::{id::ConnectionId, time::Moment};
use tokio::sync::{Notify, oneshot};

use crate::{bindings::types::CloseReason, net::connection::Connection};

/// What an item costs besides its payload: its place in the queue and in the guest's list.
const ITEM_BYTES: usize = 64;

/// What happened at the workload's border.
#[derive(Debug)]
pub(crate) enum Item {
    /// A client's connection was accepted.
    Opened(Arc<Connection>),
    /// It sent something.
    Received(ConnectionId, Vec<u8>),
    /// It ended.
    Closed(ConnectionId, CloseReason),
    /// Somebody calls.
    Called(Called),
}

/// A call on its way in.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) method: String,
    pub(crate) payload: Bytes,
    pub(crate) deadline: Moment,
    pub(crate) reply: oneshot::Sender<CallAnswer>,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) enum CallAnswer {
    Replied(Result<Vec<u8>, String>),
    TimedOut,
}

impl Item {
    pub(crate) fn bytes(&self) -> usize {
        ITEM_BYTES
            + match self {
                Self::Received(_, data) => data.len(),
                Self::Called(called) => called.payload.len() + called.method.len(),
                Self::Opened(_) | Self::Closed(..) => 0,
            }
    }
}

/// Where a connection's events go, in order, and when there is room for more.
pub(crate) trait Inbox: Send + Sync + 'static {
    /// Puts an item in. Whoever puts bytes in has waited for [`room`](Self::room).
    fn put(self: &Arc<Self>, item: Item);

    /// Waits for room for one more chunk. Cancel safe.
    fn room(&self) -> impl Future<Output = ()> + Send;

    /// Whether the connection shall read no more.
    fn input_closed(&self) -> bool;
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Mailbox {
    limit_bytes: usize,
    queue: Mutex<VecDeque<Item>>,
    /// Beside the queue, so that readers look without the lock.
    bytes: AtomicUsize,
    closed: AtomicBool,
    /// The actor waits here for something to do.
    filled: Notify,
    /// Connections wait here for room.
    drained: Notify,
}

impl Mailbox {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            queue: Mutex::default(),
            bytes: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            filled: Notify::new(),
            drained: Notify::new(),
        }
    }

    /// Puts an item in. It may exceed the limit by one chunk per thread that reads.
    pub(crate) fn put(&self, item: Item) {
        let bytes = item.bytes();
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // Added under the lock: a taker that sees the item also sees its bytes.
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let first = queue.is_empty();
        queue.push_back(item);
        drop(queue);
        if first {
            self.filled.notify_one();
        }
    }

    /// Room for one more chunk.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) < self.limit_bytes
    }

    /// Waits for room. Cancel safe.
    pub(crate) async fn room(&self) {
        while !self.has_room() {
            let drained = self.drained.notified();
            if self.has_room() {
                return;
            }
            drained.await;
        }
    }

    /// Nothing more is read from any connection.
    pub(crate) fn close_input(&self) {
        self.closed.store(true, Ordering::Release);
        self.drained.notify_waiters();
    }

    /// Whether connections shall read no more.
    pub(crate) fn input_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Waits until there is something to take. Cancel safe; for one waiter.
    ///
    /// Whoever had to wait goes behind the connections that are ready too, so that theirs comes into the same batch: a call
    /// into the guest costs as much as several events in it.
    pub(crate) async fn filled(&self) {
        if !self.is_empty() {
            return;
        }
        while self.is_empty() {
            self.filled.notified().await;
        }
        behind_the_ready().await;
    }

    /// Moves up to `events` items and about `bytes` bytes into `batch`, in order. Items and bytes that still wait.
    pub(crate) fn take(&self, batch: &mut Vec<Item>, events: usize, bytes: usize) -> (usize, usize) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = 0;
        while batch.len() < events && taken < bytes {
            let Some(item) = queue.pop_front() else { break };
            taken += item.bytes();
            batch.push(item);
        }
        let waiting = queue.len();
        drop(queue);
        let before = self.bytes.fetch_sub(taken, Ordering::Relaxed);
        // Woken at half, not at the brim: otherwise every chunk would wake everybody.
        let half = self.limit_bytes / 2;
        if before >= half && before - taken < half {
            self.drained.notify_waiters();
        }
        (waiting, before.saturating_sub(taken))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Items and bytes that wait.
    pub(crate) fn depth(&self) -> (usize, usize) {
        let items = self.queue.lock().unwrap_or_else(PoisonError::into_inner).len();
        (items, self.bytes.load(Ordering::Relaxed))
    }
}

impl Inbox for Mailbox {
    fn put(self: &Arc<Self>, item: Item) {
        Self::put(self, item);
    }

    async fn room(&self) {
        Self::room(self).await;
    }

    fn input_closed(&self) -> bool {
        Self::input_closed(self)
    }
}

/// Goes to the end of the queue of tasks that are ready to run. Unlike [`tokio::task::yield_now`] it does not ask the system
/// for more of them.
async fn behind_the_ready() {
    let mut went = false;
    poll_fn(|context| {
        if mem::replace(&mut went, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(id: u64, length: usize) -> Item {
        Item::Received(ConnectionId(id), vec![0; length])
    }

    #[tokio::test]
    async fn order_holds_and_room_comes_back() {
        let mailbox = Arc::new(Mailbox::new(1000));
        for id in 0..10 {
            mailbox.put(received(id, 100));
        }
        assert!(!mailbox.has_room());
        let waiting = tokio::spawn({
            let mailbox = mailbox.clone();
            async move { mailbox.room().await }
        });
        let mut taken = Vec::new();
        while !mailbox.is_empty() {
            tokio::task::yield_now().await;
            let three_more = taken.len() + 3;
            mailbox.take(&mut taken, three_more, 1 << 20);
        }
        waiting.await.unwrap();
        let ids: Vec<_> = taken.iter().map(|item| if let Item::Received(id, _) = item { id.0 } else { 99 }).collect();
        assert_eq!(ids, (0..10).collect::<Vec<_>>());
        assert_eq!(mailbox.depth(), (0, 0));
    }

    #[tokio::test]
    async fn a_waiting_actor_is_woken_by_the_first_item() {
        let mailbox = Arc::new(Mailbox::new(1000));
        let waiting = tokio::spawn({
            let mailbox = mailbox.clone();
            async move { mailbox.filled().await }
        });
        tokio::task::yield_now().await;
        mailbox.put(received(1, 0));
        waiting.await.unwrap();
    }
}

//! Somebody who watches a workload: each batch with its effects, as long as he keeps up.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use host_core::{id::BatchSeq, time::UnixNanos};
use tokio::sync::mpsc;

use crate::{
    bindings::types::{Effect, Event},
    checkpoint::Checkpoint,
};

/// Batches that may wait for a watcher.
const BEHIND_BATCHES: usize = 4096;

/// Bytes that may wait for him: a watcher this far behind will not catch up.
const BEHIND_BYTES: usize = 64 << 20;

/// A batch that took hold.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) seq: BatchSeq,
    pub(crate) now: UnixNanos,
    pub(crate) events: Vec<Event>,
    pub(crate) effects: Vec<Effect>,
}

/// What a watcher gets.
#[derive(Debug)]
pub(crate) struct Watching {
    /// The state at the boundary before the first batch.
    pub(crate) checkpoint: Checkpoint,
    pub(crate) batches: Batches,
}

/// The watcher's end.
#[derive(Debug)]
pub(crate) struct Batches {
    receiver: mpsc::Receiver<Box<Watched>>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// The actor's end.
#[derive(Debug)]
pub(crate) struct Watcher {
    sender: mpsc::Sender<Box<Watched>>,
    waiting_bytes: Arc<AtomicUsize>,
}

pub(crate) fn watch() -> (Watcher, Batches) {
    let (sender, receiver) = mpsc::channel(BEHIND_BATCHES);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    (Watcher { sender, waiting_bytes: waiting_bytes.clone() }, Batches { receiver, waiting_bytes })
}

impl Watcher {
    /// Tells of a batch. False when nobody watches any more, or too slowly.
    pub(crate) fn tell(&self, watched: Watched) -> bool {
        let bytes = watched.bytes();
        let waiting = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        waiting + bytes <= BEHIND_BYTES && self.sender.try_send(Box::new(watched)).is_ok()
    }
}

impl Batches {
    /// The next batch; none when the actor gave up on this watcher, or is gone.
    pub(crate) async fn next(&mut self) -> Option<Box<Watched>> {
        let watched = self.receiver.recv().await?;
        self.waiting_bytes.fetch_sub(watched.bytes(), Ordering::Relaxed);
        Some(watched)
    }
}

impl Watched {
    /// About how much memory it takes.
    fn bytes(&self) -> usize {
        let event = |event: &Event| match event {
            Event::Received(received) => received.data.len(),
            Event::Called(called) => called.payload.len(),
            _ => 0,
        };
        let effect = |effect: &Effect| match effect {
            Effect::Send(send) => send.data.len() + send.to.len() * size_of::<u64>(),
            Effect::Reply(reply) => reply.outcome.as_ref().map_or_else(String::len, Vec::len),
            _ => 0,
        };
        self.events.iter().map(|it| size_of::<Event>() + event(it)).sum::<usize>()
            + self.effects.iter().map(|it| size_of::<Effect>() + effect(it)).sum::<usize>()
    }
}

//! The host's event bus: what happened, for whoever listens, and the last of it for whoever comes late.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use host_core::{
    event::HostEvent,
    id::{SwapId, WorkloadName},
};
use tokio::sync::broadcast;

use crate::clock::Clock;

/// Events kept for those who come late: a day of swaps, and less than a megabyte.
const KEPT: usize = 4096;

/// Events that a listener may be behind before it misses some.
const BEHIND: usize = 1024;

/// Where the host tells what happened. Clones tell to the same listeners.
#[derive(Clone, Debug)]
pub(crate) struct EventBus(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Arc<Clock>,
    kept: Mutex<Kept>,
    sender: broadcast::Sender<HostEvent>,
}

#[derive(Debug)]
struct Kept {
    next: u64,
    events: VecDeque<HostEvent>,
}

impl EventBus {
    /// A bus whose numbers follow on those of earlier boots.
    pub(crate) fn new(clock: Arc<Clock>, boot: u32) -> Self {
        let (sender, _) = broadcast::channel(BEHIND);
        let kept = Mutex::new(Kept { next: (u64::from(boot) << 32) | 1, events: VecDeque::new() });
        Self(Arc::new(Inner { clock, kept, sender }))
    }

    /// Tells that something happened.
    pub(crate) fn tell(&self, name: &str, workload: Option<&WorkloadName>, swap: Option<SwapId>, message: String) {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let event = HostEvent {
            seq: kept.next,
            at: self.0.clock.unix(),
            name: name.to_owned(),
            workload: workload.cloned(),
            swap,
            message,
        };
        kept.next += 1;
        if kept.events.len() == KEPT {
            kept.events.pop_front();
        }
        kept.events.push_back(event.clone());
        // Sent under the lock, so that a subscriber sees each event once: in what was kept, or from the channel.
        // Nobody listening is no error.
        drop(self.0.sender.send(event));
    }

    /// The kept events from `from_seq` on, then those to come.
    pub(crate) fn subscribe(&self, from_seq: Option<u64>) -> EventStream {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let from = from_seq.unwrap_or(u64::MAX);
        let past = kept.events.iter().filter(|event| event.seq >= from).cloned().collect();
        EventStream { past, live: self.0.sender.subscribe() }
    }
}

/// Events as they happen.
#[derive(Debug)]
pub struct EventStream {
    past: VecDeque<HostEvent>,
    live: broadcast::Receiver<HostEvent>,
}

impl EventStream {
    /// The next event that is already there.
    pub fn try_next(&mut self) -> Option<HostEvent> {
        self.past.pop_front().or_else(|| self.live.try_recv().ok())
    }

    /// The next event; none when the host is gone. A listener that is far behind misses the oldest: their numbers tell.
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<HostEvent> {
        if let Some(event) = self.past.pop_front() {
            return Some(event);
        }
        loop {
            match self.live.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_late_listener_gets_what_was_kept_and_then_what_comes() {
        let bus = EventBus::new(Arc::new(Clock::new()), 1);
        bus.tell("a", None, None, String::new());
        bus.tell("b", None, None, String::new());
        let mut stream = bus.subscribe(Some(0));
        bus.tell("c", None, None, String::new());
        let mut names = Vec::new();
        for _ in 0..3 {
            names.push(stream.next().await.expect("an event").name);
        }
        assert_eq!(names, ["a", "b", "c"]);
        assert!(bus.subscribe(None).try_next().is_none());
    }
}

//! Events of a batch that failed: all of them are still to come, one at a time, until the one at fault is known.

use std::time::Duration;

use host_core::time::UnixNanos;

use super::actor::Actor;
use crate::{
    bindings::types::{Event, Start},
    instance::CallError,
};

/// How many of the events at the front are handled one at a time, and whether the first is known to be at fault.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Suspects {
    count: usize,
    convicted: bool,
    /// The last batch that failed was one event.
    alone: bool,
}

impl Suspects {
    /// A batch failed; its events stand at the front again. Alone in its batch, an event is at fault, except where the call
    /// took too long on the clock, or found no memory that others had not taken: neither is its doing.
    pub(super) fn add(&mut self, events: usize, error: &CallError) {
        self.alone = events == 1;
        self.convicted = self.alone && !error.may_be_others_doing();
        self.count += events;
    }

    /// Whether the last failure was that of one event: after that of many, each is tried alone, and that is progress.
    pub(super) const fn failed_alone(self) -> bool {
        self.count > 0 && self.alone
    }

    /// Another release will handle them: what one could not do the other may. They stay on their own.
    pub(super) const fn acquit(&mut self) {
        self.convicted = false;
    }

    /// Something was put in front of them.
    pub(super) const fn shift(&mut self) {
        if self.count > 0 {
            self.count += 1;
        }
    }

    pub(super) const fn count(self) -> usize {
        self.count
    }

    /// All of these are handled one at a time.
    pub(super) const fn watch(&mut self, events: usize) {
        self.count = events;
    }

    pub(super) const fn clear(&mut self) {
        (self.count, self.convicted) = (0, false);
    }

    const fn take(&mut self) -> bool {
        let some = self.count > 0;
        self.count = self.count.saturating_sub(1);
        some
    }
}

impl Actor {
    /// The next of the events that are handled one at a time.
    pub(super) fn next_suspect(&mut self) -> Option<Event> {
        while self.suspects.take() {
            let event = self.front.pop_front()?;
            match &event {
                // Its connection was set aside with what it sent before.
                Event::Received(received) if !self.connections.is_heard(received.connection) => {}
                // Its opening was: a guest that never heard of it hears of no end either.
                Event::Closed(closed) if self.connections.is_unknown(closed.connection) => {
                    self.connections.forget(closed.connection);
                }
                _ => return Some(event),
            }
        }
        None
    }

    /// Takes out what timers had told when their batch failed: a table took the place of theirs in which they are still set.
    pub(super) fn forget_fired(&mut self) {
        let fired = |event: &Event| matches!(event, Event::Fired(_));
        let count = self.suspects.count();
        let among = self.front.iter().take(count).filter(|event| fired(event)).count();
        self.front.retain(|event| !fired(event));
        self.suspects.watch(count - among);
    }

    /// What timers told in batches that are still to come: to the state, they are still set.
    pub(super) fn fired_to_come(&self) -> impl Iterator<Item = (u64, UnixNanos)> {
        self.front.iter().filter_map(|event| match event {
            Event::Fired(fired) => Some((fired.timer, UnixNanos(fired.due))),
            _ => None,
        })
    }

    /// Connections that the guest is still to hear of.
    pub(super) fn opened_to_come(&self) -> impl Iterator<Item = u64> {
        self.front.iter().filter_map(|event| match event {
            Event::Opened(opened) => Some(opened.connection),
            _ => None,
        })
    }

    /// Whether the event at fault is one that no instance can do without.
    pub(super) fn is_start_convicted(&self) -> bool {
        self.suspects.convicted && matches!(self.front.front(), Some(Event::Started(_)))
    }

    /// Drops the event at fault and ends the connection it came from. What was dropped, in words.
    pub(super) fn set_aside(&mut self) -> Option<String> {
        if !self.suspects.convicted {
            return None;
        }
        self.suspects.convicted = false;
        if matches!(self.front.front(), Some(Event::Started(_))) {
            return None;
        }
        self.suspects.take();
        let event = self.front.pop_front()?;
        let what = in_words(&event);
        match event {
            Event::Received(received) => self.connections.set_aside(received.connection, true),
            Event::Opened(opened) => self.connections.set_aside(opened.connection, false),
            Event::Closed(closed) => self.connections.forget(closed.connection),
            Event::Message(message) => self.connections.set_aside(message.connection, true),
            Event::Called(called) => {
                let why = "the workload failed on this call, which was set aside; nothing of it took effect".to_owned();
                self.calls.reply(called.call, Err(why));
            }
            _ => {}
        }
        self.around.metrics.set_aside();
        self.tell("workload.set-aside", &what);
        tracing::error!(workload = %self.around.name, "set aside: {what}");
        Some(what)
    }
}

/// Longest part of what a client sent that is shown.
const SHOWN_BYTES: usize = 48;

/// An event as a person reads it.
pub(crate) fn in_words(event: &Event) -> String {
    match event {
        Event::Started(start) => match start {
            Start::Fresh => "the start of the workload".to_owned(),
            Start::Swapped(from) => format!("its start, swapped from {from}"),
            Start::Restarted(_) => "its restart".to_owned(),
            Start::RolledBack(from) => format!("its start, rolled back from {from}"),
        },
        Event::Opened(opened) => format!("connection {} opened by {}", opened.connection, opened.peer),
        Event::Received(received) => {
            format!("{} bytes from connection {}: {}", received.data.len(), received.connection, shown(&received.data))
        }
        Event::Closed(closed) => format!("connection {} closed", closed.connection),
        Event::Fired(fired) => format!("timer {}, {:?} late", fired.timer, Duration::from_nanos(fired.late_ns)),
        Event::Called(called) => {
            format!("call {} of `{}` with {}", called.call, called.method, shown(&called.payload))
        }
        Event::HttpRequest(request) => format!("request {}", request.request),
        Event::HttpBody(body) => format!("the body of request {}", body.request),
        Event::HttpGone(gone) => format!("the end of request {}", gone.request),
        Event::Message(message) => format!("a message from connection {}", message.connection),
        Event::Fetched(fetched) => format!("the answer to fetch {}", fetched.request),
        Event::Connected(connected) => format!("the answer to connect {}", connected.request),
    }
}

/// The beginning of some bytes, safe for a terminal.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let beginning = bytes.get(..SHOWN_BYTES).unwrap_or(bytes);
    let more = if beginning.len() < bytes.len() { "…" } else { "" };
    format!("\"{}\"{more}", beginning.escape_ascii())
}

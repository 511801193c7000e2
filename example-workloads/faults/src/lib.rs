//! What the guests that misbehave have in common: on the wire and in its state, each is counter 1.0.0, except for its fault.
//!
//! A guest is a file in `examples/`: a type that implements [`Fault`], where every method it does not write does what the
//! counter does, and [`fault!`].

use std::sync::atomic::{AtomicBool, Ordering};

use guest_sdk::prelude::*;
use guest_sdk::{Description, Effect, Instance, StoredState};

// The same file, not the same crate: a crate would bring its exports along.
#[path = "../../counter-1.0.0/src/counter.rs"]
pub mod counter;
mod export;
pub mod holding;
pub mod world;

pub use counter::Counter;
pub use guest_sdk;

/// A counter 1.0.0 with a fault. Every method has the counter's behaviour to begin with.
pub trait Fault: Sized {
    /// Whose behaviour it is: the [`Counter`], but for those whose state is another.
    type Inner: Workload;

    /// What the component says of itself.
    fn describe() -> Description {
        Instance::<Self::Inner>::describe()
    }

    /// Makes the state of a workload that never ran.
    ///
    /// # Errors
    /// As the counter, or as the fault wants.
    fn init(inner: &mut Instance<Self::Inner>, config: &str) -> Result<(), String> {
        inner.init(config)
    }

    /// The state.
    ///
    /// # Errors
    /// As the counter, or as the fault wants.
    fn snapshot(inner: &mut Instance<Self::Inner>, schema: u32) -> Result<StoredState, String> {
        inner.snapshot(schema)
    }

    /// Takes over a state.
    ///
    /// # Errors
    /// As the counter, or as the fault wants.
    fn code_change(inner: &mut Instance<Self::Inner>, old: StoredState, from_version: &str) -> Result<(), String> {
        inner.code_change(old, from_version)
    }

    /// How it is.
    fn health(inner: &Instance<Self::Inner>) -> Health {
        inner.health()
    }

    /// Sees every event before the counter does.
    fn event(event: &Event, out: &mut Effects) {
        let _ = (event, out);
    }

    /// Takes a line away from the counter. Only a line that came whole, in one chunk, is recognised.
    fn line(inner: &mut Instance<Self::Inner>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        let _ = (inner, connection, line, out);
        Taken::No
    }

    /// Handles a batch.
    fn handle(inner: &mut Instance<Self::Inner>, now: Timestamp, events: Vec<Event>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for event in events {
            let mut out = Effects::at_time(now);
            Self::event(&event, &mut out);
            effects.extend(out.into_effects());
            match event {
                Event::Received { connection, data } => {
                    received::<Self>(inner, now, connection, &data, &mut effects);
                }
                other => effects.extend(inner.handle(now, vec![other]).into_effects()),
            }
        }
        effects
    }
}

/// Whether a fault took a line for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The counter never sees it.
    Yes,
    /// The counter handles it.
    No,
}

/// Offers each line to the fault and gives the rest to the counter, in order.
fn received<F: Fault>(
    inner: &mut Instance<F::Inner>,
    now: Timestamp,
    connection: ConnectionId,
    data: &[u8],
    effects: &mut Vec<Effect>,
) {
    let mut rest = Vec::with_capacity(data.len());
    let pass = |inner: &mut Instance<F::Inner>, rest: &mut Vec<u8>, effects: &mut Vec<Effect>| {
        if !rest.is_empty() {
            let event = Event::Received { connection, data: std::mem::take(rest) };
            effects.extend(inner.handle(now, vec![event]).into_effects());
        }
    };
    for piece in data.split_inclusive(|byte| *byte == b'\n') {
        let mut out = Effects::at_time(now);
        let line = std::str::from_utf8(piece).ok().and_then(|text| text.strip_suffix('\n'));
        let taken = line.map_or(Taken::No, |line| F::line(inner, connection, line.trim_end_matches('\r'), &mut out));
        if taken == Taken::Yes {
            pass(inner, &mut rest, effects);
        } else {
            rest.extend_from_slice(piece);
        }
        effects.extend(out.into_effects());
    }
    pass(inner, &mut rest, effects);
}

/// Whether a client sent `break` to this instance. Not in the state: an instance made from an earlier checkpoint is whole.
static BROKEN: AtomicBool = AtomicBool::new(false);

/// Takes the line `break` and answers `1.0.0 broken`.
pub fn breaks(connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
    if line != "break" {
        return Taken::No;
    }
    BROKEN.store(true, Ordering::Relaxed);
    out.send(connection, "1.0.0 broken\n");
    Taken::Yes
}

/// Whether a client sent `break`.
pub fn is_broken() -> bool {
    BROKEN.load(Ordering::Relaxed)
}

/// Keeps the processor busy for so many iterations, about a nanosecond each.
pub fn burn(iterations: u64) {
    for i in 0..iterations {
        std::hint::black_box(i);
    }
}

/// Never returns.
pub fn forever() -> ! {
    loop {
        std::hint::black_box(());
    }
}

/// The number of `burn = N` in a config, and the config without it, which is the counter's.
pub fn take_burn(config: &str) -> (Option<u64>, String) {
    let mut burn = None;
    let mut rest = String::new();
    for line in config.lines() {
        match line.split_once('=').filter(|(key, _)| key.trim() == "burn") {
            Some((_, value)) => burn = value.trim().parse().ok(),
            None => rest.extend([line, "\n"]),
        }
    }
    (burn, rest)
}

/// Makes a type with a field `counter` a workload that behaves like it: for the guests whose state is of another type.
#[macro_export]
macro_rules! wrap_counter {
    ($name:ident) => {
        impl $crate::guest_sdk::Workload for $name {
            fn init(config: &str) -> Result<Self, String> {
                Ok(Self { counter: $crate::guest_sdk::Workload::init(config)?, ..Self::default() })
            }
            fn configure(&mut self, config: &str) -> Result<(), String> {
                self.counter.configure(config)
            }
            fn handle(&mut self, event: $crate::guest_sdk::Event, out: &mut $crate::guest_sdk::Effects) {
                self.counter.handle(event, out);
            }
            fn health(&self) -> $crate::guest_sdk::Health {
                self.counter.health()
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::{Counter, Fault, Taken, breaks, take_burn};
    use guest_sdk::prelude::*;
    use guest_sdk::{Effect, Instance};

    struct Breaks;

    impl Fault for Breaks {
        type Inner = Counter;

        fn line(_: &mut Instance<Counter>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
            breaks(connection, line, out)
        }
    }

    #[test]
    fn a_fault_answers_between_the_counters_lines_and_leaves_the_rest_to_it() {
        let ann = ConnectionId::new(1);
        let mut inner = Instance::new();
        Breaks::init(&mut inner, "").unwrap();
        let mut said = Vec::new();
        for chunk in ["incr\nbreak\nincr\nin", "cr\nbreak\n"] {
            let event = Event::Received { connection: ann, data: chunk.into() };
            for effect in Breaks::handle(&mut inner, Timestamp::default(), vec![event]) {
                if let Effect::Send { data, .. } = effect {
                    said.extend(data);
                }
            }
        }
        let said = String::from_utf8(said).unwrap();
        assert_eq!(said, "1.0.0 1\n1.0.0 broken\n1.0.0 2\n1.0.0 3\n1.0.0 broken\n");
    }

    #[test]
    fn the_counter_never_sees_the_faults_own_config() {
        assert_eq!(take_burn("rows = 5\nburn = 7\n"), (Some(7), "rows = 5\n".to_owned()));
        assert_eq!(take_burn(""), (None, String::new()));
    }
}

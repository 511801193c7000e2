//! `handle` traps on every start: no restart helps.

use faults::{Counter, Fault};
use guest_sdk::{Effects, Event};

struct HandleTrapsAlwaysAfterStart;

impl Fault for HandleTrapsAlwaysAfterStart {
    type Inner = Counter;

    fn event(event: &Event, _: &mut Effects) {
        if let Event::Started(start) = event {
            panic!("started({start:?}) traps, on purpose");
        }
    }
}

faults::fault!(HandleTrapsAlwaysAfterStart);

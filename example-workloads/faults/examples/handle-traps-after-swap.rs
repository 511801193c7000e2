//! `handle` traps on the first `incr` after a swap to it: nothing is wrong until clients use it.

use std::sync::atomic::{AtomicBool, Ordering};

use faults::{Counter, Fault, Taken};
use guest_sdk::{ConnectionId, Effects, Event, Instance, Start};

static SWAPPED: AtomicBool = AtomicBool::new(false);

struct HandleTrapsAfterSwap;

impl Fault for HandleTrapsAfterSwap {
    type Inner = Counter;

    fn event(event: &Event, _: &mut Effects) {
        if let Event::Started(start) = event {
            SWAPPED.store(matches!(start, Start::Swapped { .. }), Ordering::Relaxed);
        }
    }

    fn line(_: &mut Instance<Counter>, _: ConnectionId, line: &str, _: &mut Effects) -> Taken {
        if line == "incr" && SWAPPED.load(Ordering::Relaxed) {
            panic!("the first incr after a swap traps, on purpose");
        }
        Taken::No
    }
}

faults::fault!(HandleTrapsAfterSwap);

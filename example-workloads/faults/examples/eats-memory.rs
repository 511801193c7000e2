//! Takes memory until there is none: in `handle` on the line `eat`, or in the call that the config names (`eat = init`,
//! `health`, `snapshot`; in `health` and `snapshot` once a client sent the line `break`).

use std::cell::RefCell;

use faults::{Counter, Fault, Taken};
use guest_sdk::{ConnectionId, Effects, Health, Instance, StoredState};

struct EatsMemory;

thread_local! {
    static WHERE: RefCell<String> = const { RefCell::new(String::new()) };
}

fn eat() -> ! {
    // Written to, because memory that is only reserved costs the host nothing.
    let mut taken = Vec::new();
    loop {
        taken.push(vec![1_u8; 1 << 20]);
        std::hint::black_box(&taken);
    }
}

fn eat_in(call: &str) {
    if faults::is_broken() && WHERE.with_borrow(|place| place == call) {
        eat();
    }
}

impl Fault for EatsMemory {
    type Inner = Counter;

    fn init(inner: &mut Instance<Counter>, config: &str) -> Result<(), String> {
        let place = config.trim().strip_prefix("eat = ").unwrap_or_default();
        if place == "init" {
            eat();
        }
        WHERE.set(place.to_owned());
        inner.init("")
    }

    fn health(inner: &Instance<Counter>) -> Health {
        eat_in("health");
        inner.health()
    }

    fn snapshot(inner: &mut Instance<Counter>, schema: u32) -> Result<StoredState, String> {
        eat_in("snapshot");
        inner.snapshot(schema)
    }

    fn line(_: &mut Instance<Counter>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        if line == "eat" {
            eat();
        }
        faults::breaks(connection, line, out)
    }
}

faults::fault!(EatsMemory);

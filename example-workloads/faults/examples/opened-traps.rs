//! `handle` traps on every new connection once a client sent the line `shut`, and on the end of one that it never heard of.
//! `busy N` keeps the processor busy for N million iterations, then answers.

use std::cell::RefCell;
use std::collections::BTreeSet;

use faults::{Counter, Fault, Taken};
use guest_sdk::{ConnectionId, Effects, Event, Instance};

struct OpenedTraps;

thread_local! {
    static SHUT: RefCell<bool> = const { RefCell::new(false) };
    static KNOWN: RefCell<BTreeSet<ConnectionId>> = const { RefCell::new(BTreeSet::new()) };
}

impl Fault for OpenedTraps {
    type Inner = Counter;

    fn event(event: &Event, _: &mut Effects) {
        match event {
            Event::Opened { connection, .. } => {
                assert!(SHUT.with_borrow(|shut| !shut), "a connection opened, on purpose");
                KNOWN.with_borrow_mut(|known| known.insert(*connection));
            }
            Event::Closed { connection, .. } => {
                assert!(KNOWN.with_borrow_mut(|known| known.remove(connection)), "whose end is that?");
            }
            _ => {}
        }
    }

    fn line(_: &mut Instance<Counter>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        if line == "shut" {
            SHUT.set(true);
            out.send(connection, "1.0.0 shut\n");
            return Taken::Yes;
        }
        let Some(millions) = line.strip_prefix("busy ").and_then(|text| text.trim().parse::<u64>().ok()) else {
            return Taken::No;
        };
        faults::burn(millions.saturating_mul(1_000_000));
        out.send(connection, "1.0.0 busy done\n");
        Taken::Yes
    }
}

faults::fault!(OpenedTraps);

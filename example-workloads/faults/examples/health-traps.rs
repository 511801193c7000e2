//! `health` traps, once a client sent the line `break`.

use faults::{Counter, Fault, Taken};
use guest_sdk::{ConnectionId, Effects, Health, Instance};

struct HealthTraps;

impl Fault for HealthTraps {
    type Inner = Counter;

    fn health(inner: &Instance<Counter>) -> Health {
        if faults::is_broken() {
            panic!("health traps, on purpose");
        }
        inner.health()
    }

    fn line(_: &mut Instance<Counter>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        faults::breaks(connection, line, out)
    }
}

faults::fault!(HealthTraps);

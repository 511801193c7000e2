//! `handle` never returns from the line `hang`.

use faults::{Counter, Fault, Taken};
use guest_sdk::{ConnectionId, Effects, Instance};

struct HandleNeverReturns;

impl Fault for HandleNeverReturns {
    type Inner = Counter;

    fn line(_: &mut Instance<Counter>, _: ConnectionId, line: &str, _: &mut Effects) -> Taken {
        if line != "hang" {
            return Taken::No;
        }
        faults::forever()
    }
}

faults::fault!(HandleNeverReturns);

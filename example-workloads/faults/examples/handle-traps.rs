//! `handle` traps on the line `trap`.

use faults::{Counter, Fault, Taken};
use guest_sdk::{ConnectionId, Effects, Instance};

struct HandleTraps;

impl Fault for HandleTraps {
    type Inner = Counter;

    fn line(_: &mut Instance<Counter>, _: ConnectionId, line: &str, _: &mut Effects) -> Taken {
        if line != "trap" {
            return Taken::No;
        }
        panic!("handle traps, on purpose");
    }
}

faults::fault!(HandleTraps);

//! On the line `exit` it ends its process.

use faults::{Counter, Fault, Taken};
use guest_sdk::{ConnectionId, Effects, Instance};

struct Exits;

impl Fault for Exits {
    type Inner = Counter;

    fn line(_: &mut Instance<Counter>, _: ConnectionId, line: &str, _: &mut Effects) -> Taken {
        if line != "exit" {
            return Taken::No;
        }
        std::process::exit(7)
    }
}

faults::fault!(Exits);

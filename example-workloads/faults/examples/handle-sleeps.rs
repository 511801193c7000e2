//! `handle` sleeps for ten seconds on the line `sleep`.

use std::time::Duration;

use faults::{Counter, Fault, Taken};
use guest_sdk::{ConnectionId, Effects, Instance};

struct HandleSleeps;

impl Fault for HandleSleeps {
    type Inner = Counter;

    fn line(_: &mut Instance<Counter>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        if line != "sleep" {
            return Taken::No;
        }
        std::thread::sleep(Duration::from_secs(10));
        out.send(connection, "1.0.0 slept\n");
        Taken::Yes
    }
}

faults::fault!(HandleSleeps);

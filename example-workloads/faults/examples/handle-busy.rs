//! `handle` keeps the processor busy for N million iterations on the line `busy N`, then answers.

use faults::{Counter, Fault, Taken};
use guest_sdk::{ConnectionId, Effects, Instance};

struct HandleBusy;

impl Fault for HandleBusy {
    type Inner = Counter;

    fn line(_: &mut Instance<Counter>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        let Some(millions) = line.strip_prefix("busy ").and_then(|text| text.trim().parse::<u64>().ok()) else {
            return Taken::No;
        };
        faults::burn(millions.saturating_mul(1_000_000));
        out.send(connection, "1.0.0 busy done\n");
        Taken::Yes
    }
}

faults::fault!(HandleBusy);

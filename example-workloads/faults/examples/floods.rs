//! On the line `flood N` it sends N KiB to the one who asked.

use faults::{Counter, Fault, Taken};
use guest_sdk::{ConnectionId, Effects, Instance};

struct Floods;

impl Fault for Floods {
    type Inner = Counter;

    fn line(_: &mut Instance<Counter>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        let Some(kib) = line.strip_prefix("flood ").and_then(|text| text.trim().parse::<u64>().ok()) else {
            return Taken::No;
        };
        let size = usize::try_from(kib.saturating_mul(1024)).unwrap_or(usize::MAX);
        out.send(connection, vec![b'~'; size]);
        out.send(connection, "\n");
        Taken::Yes
    }
}

faults::fault!(Floods);

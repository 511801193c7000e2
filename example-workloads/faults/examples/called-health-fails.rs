//! A call of `health` is answered `ok`, and `failed` once a client sent the line `break`.

use faults::{Counter, Fault, Taken};
use guest_sdk::{ConnectionId, Effects, Event, Instance};

struct CalledHealthFails;

impl Fault for CalledHealthFails {
    type Inner = Counter;

    /// The counter answers too, that it has no such method: an answer that comes second is none.
    fn event(event: &Event, out: &mut Effects) {
        if let Event::Called { call, method, .. } = event
            && method == "health"
        {
            out.reply(*call, if faults::is_broken() { "failed" } else { "ok" });
        }
    }

    fn line(_: &mut Instance<Counter>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        faults::breaks(connection, line, out)
    }
}

faults::fault!(CalledHealthFails);

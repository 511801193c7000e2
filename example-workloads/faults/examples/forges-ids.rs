//! On the line `forge` it sends to, closes, cancels and answers ids that it was never given, then answers.

use faults::{Counter, Fault, Taken};
use guest_sdk::{CallId, ConnectionId, Effects, Instance, RequestId, Response, TimerId};

struct ForgesIds;

impl Fault for ForgesIds {
    type Inner = Counter;

    fn line(inner: &mut Instance<Counter>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        if line != "forge" {
            return Taken::No;
        }
        // Small numbers, and those around its own: other workloads of the host have such.
        let near = connection.get().saturating_sub(500)..=connection.get().saturating_add(500);
        let own = inner.workload().map(|counter| counter.open.clone()).unwrap_or_default();
        for id in (0..500).chain(near).chain([u64::MAX]) {
            let forged = ConnectionId::new(id);
            if own.contains(&forged) {
                continue;
            }
            out.send(forged, "forged\n");
            out.abort(forged);
            out.cancel(TimerId::new(id));
            out.reply(CallId::new(id), "forged");
            out.respond(RequestId::new(id), Response::new(200, "forged"));
            out.send_text([forged], "forged");
        }
        out.send(connection, "1.0.0 forged\n");
        Taken::Yes
    }
}

faults::fault!(ForgesIds);

//! Answers out of bounds: on the lines `effects N`, `bytes N` (in MiB) and `targets N` with so much in one batch; in the call
//! that the config names (`long = init`, `health`, `snapshot`) with 32 MiB of text.

use std::cell::RefCell;

use faults::{Counter, Fault, Taken};
use guest_sdk::{ConnectionId, Effects, Health, Instance, StoredState, TimerId};

struct AnswersTooMuch;

thread_local! {
    static WHERE: RefCell<String> = const { RefCell::new(String::new()) };
}

fn is_long(call: &str) -> bool {
    WHERE.with_borrow(|place| place == call)
}

fn long() -> String {
    "x".repeat(32 << 20)
}

impl Fault for AnswersTooMuch {
    type Inner = Counter;

    fn init(inner: &mut Instance<Counter>, config: &str) -> Result<(), String> {
        WHERE.set(config.trim().strip_prefix("long = ").unwrap_or_default().to_owned());
        if is_long("init") { Err(long()) } else { inner.init("") }
    }

    fn health(inner: &Instance<Counter>) -> Health {
        if is_long("health") { Health::ok().with("long", long()) } else { inner.health() }
    }

    fn snapshot(inner: &mut Instance<Counter>, schema: u32) -> Result<StoredState, String> {
        // The first one is that of the start: without it nothing would run.
        if is_long("snapshot") && faults::is_broken() { Err(long()) } else { inner.snapshot(schema) }
    }

    fn line(_: &mut Instance<Counter>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        let Some((what, count)) = line.split_once(' ') else { return faults::breaks(connection, line, out) };
        let count = count.parse::<usize>().unwrap_or_default();
        match what {
            "effects" => (0..count).for_each(|_| out.cancel(TimerId::new(1))),
            "bytes" => out.send(connection, vec![b'x'; count << 20]),
            "targets" => out.send_all(vec![connection; count], "x"),
            _ => return Taken::No,
        }
        out.send(connection, "1.0.0 answered\n");
        Taken::Yes
    }
}

faults::fault!(AnswersTooMuch);

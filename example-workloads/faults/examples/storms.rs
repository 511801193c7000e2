//! Storms of effects. On the line `spin` it sets a timer for a time that has passed, and again each time that it fires; on the
//! line `storm` it does so with 500 timers at once; on the line `timers N` it sets N timers for next year; on the line
//! `churn N` it sets, moves and cancels N timers and closes N connections that there are not.

use std::time::Duration;

use faults::{Counter, Fault, Taken};
use guest_sdk::{ConnectionId, Effects, Event, Instance, TimerId, Timestamp};

struct Storms;

/// Timers from here on are the storm's; the counter's own have small numbers.
const FIRST: u64 = 1 << 32;

const YEAR: Duration = Duration::from_secs(365 * 86_400);

impl Fault for Storms {
    type Inner = Counter;

    fn event(event: &Event, out: &mut Effects) {
        if let Event::Fired { timer, .. } = event
            && timer.get() >= FIRST
        {
            out.at(*timer, Timestamp::from_nanos(0));
        }
    }

    fn line(_: &mut Instance<Counter>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        let (what, count) = line.split_once(' ').unwrap_or((line, "0"));
        let count = count.parse::<u64>().unwrap_or_default();
        let timers = |count| (FIRST..FIRST + count).map(TimerId::new);
        match what {
            "spin" => out.at(TimerId::new(FIRST), Timestamp::from_nanos(0)),
            "storm" => timers(500).for_each(|timer| out.at(timer, Timestamp::from_nanos(0))),
            "timers" => timers(count).for_each(|timer| out.after(timer, YEAR)),
            "churn" => {
                for timer in timers(count) {
                    out.after(timer, YEAR);
                    out.after(timer, YEAR * 2);
                    out.cancel(timer);
                    out.abort(ConnectionId::new(timer.get()));
                }
            }
            _ => return Taken::No,
        }
        out.send(connection, "1.0.0 stormed\n");
        Taken::Yes
    }
}

faults::fault!(Storms);

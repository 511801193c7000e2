//! Asks too much of WASI: on the line `hoard N` it takes N pollables and gives none back; `poll N` polls N at once; `write N`
//! writes N bytes at once; `draw N` draws N MiB of random numbers, 64 KiB at once; `resolve N` asks for a name of N bytes.

use faults::{Counter, Fault, Taken, world};
use guest_sdk::{ConnectionId, Effects, Instance};

struct AsksTooMuch;

impl Fault for AsksTooMuch {
    type Inner = Counter;

    fn line(_: &mut Instance<Counter>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        let Some((what, count)) = line.split_once(' ') else { return Taken::No };
        let count = count.parse::<usize>().unwrap_or_default();
        let mut got = "much".to_owned();
        match what {
            "hoard" => world::hoard(count as u64),
            "poll" => world::poll(count),
            "write" => world::write(count),
            "draw" => (0..count * 16).for_each(|_| world::draw(64 << 10)),
            "resolve" => got = world::resolve(&"x".repeat(count)),
            _ => return Taken::No,
        }
        out.send(connection, format!("1.0.0 got {got}\n"));
        Taken::Yes
    }
}

faults::fault!(AsksTooMuch);

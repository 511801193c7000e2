//! On the line `recurse` it calls itself without end.

use faults::{Counter, Fault, Taken};
use guest_sdk::{ConnectionId, Effects, Instance};

struct Recurses;

#[expect(unconditional_recursion, reason = "it is what this guest is for")]
fn deeper(depth: u64) -> u64 {
    // Something on the stack that can't be left out.
    let here = std::hint::black_box([depth; 16]);
    deeper(depth + 1) + here.iter().sum::<u64>()
}

impl Fault for Recurses {
    type Inner = Counter;

    fn line(_: &mut Instance<Counter>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        if line != "recurse" {
            return Taken::No;
        }
        out.send(connection, deeper(0).to_string());
        Taken::Yes
    }
}

faults::fault!(Recurses);

//! `init` traps.

use faults::{Counter, Fault};
use guest_sdk::Instance;

struct InitTraps;

impl Fault for InitTraps {
    type Inner = Counter;

    fn init(_: &mut Instance<Counter>, _: &str) -> Result<(), String> {
        panic!("init traps, on purpose");
    }
}

faults::fault!(InitTraps);

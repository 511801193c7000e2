//! `code-change` traps.

use faults::{Counter, Fault};
use guest_sdk::{Instance, StoredState};

struct CodeChangeTraps;

impl Fault for CodeChangeTraps {
    type Inner = Counter;

    fn code_change(_: &mut Instance<Counter>, _: StoredState, from: &str) -> Result<(), String> {
        panic!("code-change from {from} traps, on purpose");
    }
}

faults::fault!(CodeChangeTraps);

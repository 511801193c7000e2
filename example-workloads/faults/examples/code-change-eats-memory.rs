//! `code-change` takes memory until there is none.

use faults::{Counter, Fault};
use guest_sdk::{Instance, StoredState};

struct CodeChangeEatsMemory;

impl Fault for CodeChangeEatsMemory {
    type Inner = Counter;

    fn code_change(_: &mut Instance<Counter>, _: StoredState, _: &str) -> Result<(), String> {
        // Written to, because memory that is only reserved costs the host nothing.
        let mut taken = Vec::new();
        loop {
            taken.push(vec![1_u8; 1 << 20]);
            std::hint::black_box(&taken);
        }
    }
}

faults::fault!(CodeChangeEatsMemory);

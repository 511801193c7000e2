//! `code-change` answers with an error.

use faults::{Counter, Fault};
use guest_sdk::{Instance, StoredState};

struct CodeChangeErrors;

impl Fault for CodeChangeErrors {
    type Inner = Counter;

    fn code_change(_: &mut Instance<Counter>, _: StoredState, from: &str) -> Result<(), String> {
        Err(format!("this version can't take over the state of {from}, on purpose"))
    }
}

faults::fault!(CodeChangeErrors);

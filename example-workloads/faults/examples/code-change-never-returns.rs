//! `code-change` never returns.

use faults::{Counter, Fault};
use guest_sdk::{Instance, StoredState};

struct CodeChangeNeverReturns;

impl Fault for CodeChangeNeverReturns {
    type Inner = Counter;

    fn code_change(_: &mut Instance<Counter>, _: StoredState, _: &str) -> Result<(), String> {
        faults::forever()
    }
}

faults::fault!(CodeChangeNeverReturns);

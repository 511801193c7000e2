//! `code-change` answers with an error where the total is 13, and traps where it is 17: of many instances, only some fail.

use faults::{Counter, Fault};
use guest_sdk::{Instance, StoredState};

struct CodeChangeUnlucky;

impl Fault for CodeChangeUnlucky {
    type Inner = Counter;

    fn code_change(inner: &mut Instance<Counter>, old: StoredState, from: &str) -> Result<(), String> {
        inner.code_change(old, from)?;
        match inner.workload().map(|counter| counter.total) {
            Some(13) => Err("13 is no number to go on with, on purpose".to_owned()),
            Some(17) => panic!("17 is worse, on purpose"),
            _ => Ok(()),
        }
    }
}

faults::fault!(CodeChangeUnlucky);

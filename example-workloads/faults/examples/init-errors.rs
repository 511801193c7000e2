//! `init` answers with an error.

use faults::{Counter, Fault};
use guest_sdk::Instance;

struct InitErrors;

impl Fault for InitErrors {
    type Inner = Counter;

    fn init(_: &mut Instance<Counter>, _: &str) -> Result<(), String> {
        Err("this version refuses every config, on purpose".to_owned())
    }
}

faults::fault!(InitErrors);

//! The state has schema 2 and can be given back as schema 1, which it does not take over.

use faults::{Counter, Fault};
use guest_sdk::prelude::*;

#[derive(Default, Serialize, Deserialize, Schema, State)]
#[state(version = 2, to = Counter)]
struct Ahead {
    counter: Counter,
    ahead: bool,
}

impl Downgrade<Counter> for Ahead {
    fn downgrade(&self) -> Result<Counter, String> {
        Ok(self.counter.clone())
    }
}

faults::wrap_counter!(Ahead);

struct DowngradeOnly;

impl Fault for DowngradeOnly {
    type Inner = Ahead;
}

faults::fault!(DowngradeOnly);

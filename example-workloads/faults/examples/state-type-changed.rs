//! The state is of another type under the same schema number: what an author forgot.

use faults::{Counter, Fault};
use guest_sdk::prelude::*;

#[derive(Default, Serialize, Deserialize, Schema, State)]
#[state(version = 1)]
struct Changed {
    forgotten: u64,
    counter: Counter,
}

faults::wrap_counter!(Changed);

struct StateTypeChanged;

impl Fault for StateTypeChanged {
    type Inner = Changed;
}

faults::fault!(StateTypeChanged);

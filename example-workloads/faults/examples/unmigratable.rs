//! The state has schema 9 and accepts nothing older.

use faults::{Counter, Fault};
use guest_sdk::prelude::*;

#[derive(Default, Serialize, Deserialize, Schema, State)]
#[state(version = 9)]
struct Alone {
    counter: Counter,
    alone: bool,
}

faults::wrap_counter!(Alone);

struct Unmigratable;

impl Fault for Unmigratable {
    type Inner = Alone;
}

faults::fault!(Unmigratable);

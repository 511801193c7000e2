//! The state has schema 2 and takes over schema 1, but can't be given back.

use faults::{Counter, Fault};
use guest_sdk::prelude::*;

#[derive(Default, Serialize, Deserialize, Schema, State)]
#[state(version = 2, from = Counter)]
struct OneWay {
    counter: Counter,
    upgraded: bool,
}

impl Upgrade<Counter> for OneWay {
    fn upgrade(counter: Counter) -> Result<Self, String> {
        Ok(Self { counter, upgraded: true })
    }
}

faults::wrap_counter!(OneWay);

struct UpgradeOnly;

impl Fault for UpgradeOnly {
    type Inner = OneWay;
}

faults::fault!(UpgradeOnly);

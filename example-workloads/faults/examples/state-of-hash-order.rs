//! The state's bytes hang on the order of a hash map, which is another one in every instance.

use std::collections::HashMap;

use faults::{Counter, Fault};
use guest_sdk::prelude::*;
use guest_sdk::{Instance, StoredState};

#[derive(Default, Serialize, Deserialize, Schema, State)]
#[state(version = 2, from = Counter)]
struct Ordered {
    counter: Counter,
    order: [u8; 8],
}

impl Upgrade<Counter> for Ordered {
    fn upgrade(counter: Counter) -> Result<Self, String> {
        Ok(Self { counter, order: [0; 8] })
    }
}

faults::wrap_counter!(Ordered);

struct StateOfHashOrder;

impl Fault for StateOfHashOrder {
    type Inner = Ordered;

    fn snapshot(inner: &mut Instance<Ordered>, schema: u32) -> Result<StoredState, String> {
        let mut state = inner.snapshot(schema)?;
        let map: HashMap<u8, ()> = (0..64).map(|key| (key, ())).collect();
        // `order` is the last field, byte for byte.
        for (byte, key) in state.data.iter_mut().rev().zip(map.into_keys().take(8)) {
            *byte = key;
        }
        Ok(state)
    }
}

faults::fault!(StateOfHashOrder);

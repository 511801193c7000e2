//! The state's bytes hold the address of something on the heap, which is another one in an instance with another past.

use faults::{Counter, Fault};
use guest_sdk::prelude::*;
use guest_sdk::{Instance, StoredState};

#[derive(Default, Serialize, Deserialize, Schema, State)]
#[state(version = 2, from = Counter)]
struct Addressed {
    counter: Counter,
    address: [u8; 4],
}

impl Upgrade<Counter> for Addressed {
    fn upgrade(counter: Counter) -> Result<Self, String> {
        Ok(Self { counter, address: [0; 4] })
    }
}

faults::wrap_counter!(Addressed);

struct StateOfAddresses;

impl Fault for StateOfAddresses {
    type Inner = Addressed;

    fn code_change(inner: &mut Instance<Addressed>, old: StoredState, from_version: &str) -> Result<(), String> {
        // A past: it depends on the state that was taken over.
        std::hint::black_box(vec![1_u8; old.data.len() * 64].leak());
        inner.code_change(old, from_version)
    }

    fn snapshot(inner: &mut Instance<Addressed>, schema: u32) -> Result<StoredState, String> {
        let mut state = inner.snapshot(schema)?;
        let address = std::ptr::from_ref(std::hint::black_box(Box::leak(Box::new([0_u8; 4096])))).addr();
        // `address` is the last field, byte for byte.
        for (byte, part) in state.data.iter_mut().rev().zip(address.to_le_bytes()) {
            *byte = part;
        }
        Ok(state)
    }
}

faults::fault!(StateOfAddresses);

//! As `holds-calls`, whose state it takes over and can't give back.

use faults::{Fault, Taken, holding::Holding};
use guest_sdk::Instance;
use guest_sdk::prelude::*;

#[derive(Default, Serialize, Deserialize, Schema, State)]
#[state(version = 3, from = Holding)]
struct OneWay {
    counter: Holding,
    upgraded: bool,
}

impl Upgrade<Holding> for OneWay {
    fn upgrade(counter: Holding) -> Result<Self, String> {
        Ok(Self { counter, upgraded: true })
    }
}

faults::wrap_counter!(OneWay);

struct HoldsCallsUpgradeOnly;

impl Fault for HoldsCallsUpgradeOnly {
    type Inner = OneWay;

    fn line(inner: &mut Instance<OneWay>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        inner.workload_mut().map_or(Taken::No, |one_way| one_way.counter.line(connection, line, out))
    }
}

faults::fault!(HoldsCallsUpgradeOnly);

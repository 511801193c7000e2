//! The state has schema 2, takes over schema 1 and can't be given back; the line `trap` traps, and `other` is answered as 1.0.0 would not.

use faults::{Counter, Fault, Taken};
use guest_sdk::Instance;
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

struct UpgradeOnlyTraps;

impl Fault for UpgradeOnlyTraps {
    type Inner = OneWay;

    fn line(_: &mut Instance<OneWay>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        match line {
            "trap" => panic!("handle traps, on purpose"),
            // 1.0.0 answers an error to it.
            "other" => {
                out.send(connection, "2.0.0 other\n");
                Taken::Yes
            }
            _ => Taken::No,
        }
    }
}

faults::fault!(UpgradeOnlyTraps);

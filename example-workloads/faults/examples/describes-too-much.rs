//! `describe` lists a million formats.

use faults::{Counter, Fault};
use guest_sdk::{Description, Instance, StateFormat};

struct DescribesTooMuch;

impl Fault for DescribesTooMuch {
    type Inner = Counter;

    fn describe() -> Description {
        let format = |schema| StateFormat { schema, fingerprint: 0 };
        Description { upgrades_from: (0..1_000_000).map(format).collect(), ..Instance::<Counter>::describe() }
    }
}

faults::fault!(DescribesTooMuch);

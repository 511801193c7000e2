//! `describe` traps.

use faults::{Counter, Fault};
use guest_sdk::Description;

struct DescribeTraps;

impl Fault for DescribeTraps {
    type Inner = Counter;

    fn describe() -> Description {
        panic!("describe traps, on purpose");
    }
}

faults::fault!(DescribeTraps);

//! `describe` never returns.

use faults::{Counter, Fault};
use guest_sdk::Description;

struct DescribeNeverReturns;

impl Fault for DescribeNeverReturns {
    type Inner = Counter;

    fn describe() -> Description {
        faults::forever()
    }
}

faults::fault!(DescribeNeverReturns);

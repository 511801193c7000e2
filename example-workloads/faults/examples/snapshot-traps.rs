//! `snapshot` traps, once a client sent the line `break`.

use faults::{Counter, Fault, Taken};
use guest_sdk::{ConnectionId, Effects, Instance, StoredState};

struct SnapshotTraps;

impl Fault for SnapshotTraps {
    type Inner = Counter;

    fn snapshot(inner: &mut Instance<Counter>, schema: u32) -> Result<StoredState, String> {
        if faults::is_broken() {
            panic!("snapshot traps, on purpose");
        }
        inner.snapshot(schema)
    }

    fn line(_: &mut Instance<Counter>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        faults::breaks(connection, line, out)
    }
}

faults::fault!(SnapshotTraps);

//! On the line `copy N` it fills a buffer of 100 MiB N times: each is one instruction.

use faults::{Counter, Fault, Taken};
use guest_sdk::{ConnectionId, Effects, Instance};

struct CopiesMemory;

impl Fault for CopiesMemory {
    type Inner = Counter;

    fn line(_: &mut Instance<Counter>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        let Some(times) = line.strip_prefix("copy ").and_then(|text| text.parse::<u64>().ok()) else {
            return Taken::No;
        };
        let mut buffer = vec![0_u8; 100 << 20];
        for time in 0..times {
            // The number is not known before, so that it stays one instruction and is done each time.
            let byte = std::hint::black_box(time).to_le_bytes()[0];
            buffer.fill(byte);
            std::hint::black_box(&buffer);
        }
        out.send(connection, "1.0.0 copied\n");
        Taken::Yes
    }
}

faults::fault!(CopiesMemory);

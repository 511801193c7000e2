//! On the line `log N` it logs N MiB; on the line `log and trap` it logs one MiB and traps.

use faults::{Counter, Fault, Taken};
use guest_sdk::{ConnectionId, Effects, Instance};

struct FloodsLog;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is what this guest is for")]
fn log(mib: u64) {
    let line = "flood ".repeat(170);
    for _ in 0..mib * 512 {
        println!("{line}");
        eprintln!("{line}");
    }
}

impl Fault for FloodsLog {
    type Inner = Counter;

    fn line(_: &mut Instance<Counter>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        match line.strip_prefix("log ") {
            Some("and trap") => {
                log(1);
                panic!("it trapped after it had logged, on purpose");
            }
            Some(mib) => log(mib.parse().unwrap_or_default()),
            None => return Taken::No,
        }
        out.send(connection, "1.0.0 logged\n");
        Taken::Yes
    }
}

faults::fault!(FloodsLog);

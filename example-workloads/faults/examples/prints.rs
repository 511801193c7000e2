//! On the line `print X` it writes X to stdout and stderr.

use faults::{Counter, Fault, Taken};
use guest_sdk::{ConnectionId, Effects, Instance};

struct Prints;

impl Fault for Prints {
    type Inner = Counter;

    #[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is what this guest is for")]
    fn line(_: &mut Instance<Counter>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        let Some(text) = line.strip_prefix("print ") else {
            return Taken::No;
        };
        println!("{text}");
        eprintln!("{text}");
        out.send(connection, "1.0.0 printed\n");
        Taken::Yes
    }
}

faults::fault!(Prints);

//! Takes memory and keeps it: on the line `take N` N MiB, or it traps; on the line `try N` it answers whether it got them.

use std::cell::RefCell;

use faults::{Counter, Fault, Taken};
use guest_sdk::{ConnectionId, Effects, Instance};

struct TakesMemory;

thread_local! {
    static TAKEN: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

fn keep(memory: Vec<u8>) {
    TAKEN.with_borrow_mut(|taken| taken.push(memory));
}

impl Fault for TakesMemory {
    type Inner = Counter;

    fn line(_: &mut Instance<Counter>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        let Some((word, mib)) = line.split_once(' ') else { return Taken::No };
        let Ok(mib) = mib.trim().parse::<usize>() else { return Taken::No };
        let answer = match word {
            "take" => {
                keep(vec![1; mib << 20]);
                format!("1.0.0 took {mib}\n")
            }
            "try" => {
                let mut memory = Vec::new();
                if memory.try_reserve_exact(mib << 20).is_ok() {
                    keep(memory);
                    format!("1.0.0 took {mib}\n")
                } else {
                    "1.0.0 there is none\n".to_owned()
                }
            }
            _ => return Taken::No,
        };
        out.send(connection, answer);
        Taken::Yes
    }
}

faults::fault!(TakesMemory);

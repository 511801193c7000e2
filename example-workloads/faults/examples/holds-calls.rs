//! A call of `hold` is answered when a client sends `release`, by whatever version then runs. `code-change` keeps the processor
//! busy for `burn = N` iterations (config).

use faults::{Fault, Taken, burn, holding::Holding, take_burn};
use guest_sdk::prelude::*;
use guest_sdk::{Instance, StoredState};
use std::sync::atomic::{AtomicU64, Ordering};

static BURN: AtomicU64 = AtomicU64::new(0);

struct HoldsCalls;

impl Fault for HoldsCalls {
    type Inner = Holding;

    fn init(inner: &mut Instance<Holding>, config: &str) -> Result<(), String> {
        let (iterations, config) = take_burn(config);
        BURN.store(iterations.unwrap_or(0), Ordering::Relaxed);
        inner.init(&config)
    }

    fn code_change(inner: &mut Instance<Holding>, old: StoredState, from_version: &str) -> Result<(), String> {
        burn(BURN.load(Ordering::Relaxed));
        inner.code_change(old, from_version)
    }

    fn line(inner: &mut Instance<Holding>, connection: ConnectionId, line: &str, out: &mut Effects) -> Taken {
        inner.workload_mut().map_or(Taken::No, |holding| holding.line(connection, line, out))
    }
}

faults::fault!(HoldsCalls);

//! `code-change` keeps the processor busy for `burn = N` iterations (config), then succeeds.

use std::sync::atomic::{AtomicU64, Ordering};

use faults::{Counter, Fault};
use guest_sdk::{Instance, StoredState};

/// About a fifth of a second.
const BURN_DEFAULT: u64 = 200_000_000;
static BURN: AtomicU64 = AtomicU64::new(BURN_DEFAULT);

struct CodeChangeSlow;

impl Fault for CodeChangeSlow {
    type Inner = Counter;

    fn init(inner: &mut Instance<Counter>, config: &str) -> Result<(), String> {
        let (burn, rest) = faults::take_burn(config);
        BURN.store(burn.unwrap_or(BURN_DEFAULT), Ordering::Relaxed);
        inner.init(&rest)
    }

    fn code_change(inner: &mut Instance<Counter>, old: StoredState, from: &str) -> Result<(), String> {
        faults::burn(BURN.load(Ordering::Relaxed));
        inner.code_change(old, from)
    }
}

faults::fault!(CodeChangeSlow);

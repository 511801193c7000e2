//! The example workload `counter`, version 1.1.0: it also counts what each connection adds.

mod counter;
pub mod v1;

pub use counter::*;

guest_sdk::export!(Counter);

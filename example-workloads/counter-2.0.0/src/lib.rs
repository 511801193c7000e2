//! The example workload `counter`, version 2.0.0: it also knows when a connection opened and was last heard.

mod counter;
#[path = "../../counter-1.1.0/src/v1.rs"]
pub mod v1;
pub mod v2;

pub use counter::*;

guest_sdk::export!(Counter);

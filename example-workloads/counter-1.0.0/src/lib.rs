//! The example workload `counter`, version 1.0.0: one total, shared by all connections.
//!
//! Its lines, config and calls are described in [`counter`]; what later versions add, in theirs.

// A file of its own, because the guests that misbehave take it over without its exports.
pub mod counter;

pub use counter::Counter;

guest_sdk::export!(Counter);

//! The example workload `session`, version 1.0.0: a login and transfers, with an instance for each connection.
//!
//! It is deployed with `--topology per-connection`. Its lines, config and states are described in [`session`]; what 1.1.0
//! adds, there.

pub mod config;
pub mod input;
pub mod session;

pub use session::{Phase, Session};

guest_sdk::export!(Session);

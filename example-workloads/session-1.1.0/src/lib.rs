//! The example workload `session`, version 1.1.0: it also counts a session's transfers and knows the largest.

mod session;
pub mod v1;

pub use session::*;

guest_sdk::export!(Session);

//! Pure decisions of the host.
//!
//! Nothing here waits, reads a clock, opens a file or draws a random number: time and results are passed in, and what shall
//! happen is handed back as values. So every order of failure can be tested without a socket or a sleep. `runtime` and
//! `fleet` perform what is decided here and feed the results back.
#![warn(missing_docs)]

pub mod capacity;
pub mod comparison;
pub mod event;
pub mod fleet;
pub mod hex;
pub mod history;
pub mod id;
pub mod label;
pub mod plan;
pub mod policy;
pub mod release;
pub mod request;
pub mod rollout;
pub mod sessions;
pub mod status;
pub mod swap;
pub mod time;
pub mod trace;

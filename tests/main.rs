//! End to end: real host processes, real sockets, the binary as a person uses it. One test binary.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod calls;
mod cli;
mod contract;
mod demo;
mod docs;
mod faults;
mod features;
mod fleet;
mod fuzz;
mod harness;
mod hostile;
mod kills;
mod net;
mod replays;
mod rollbacks;
mod sessions;
mod storage;
mod suspects;
mod swaps;
mod telemetry;

//! End to end: real host processes, real sockets, the binary as a person uses it. One test binary.

mod cli;
mod demo;
mod docs;
mod faults;
mod features;
mod harness;
mod kills;
mod swaps;
mod telemetry;
